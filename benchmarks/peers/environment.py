"""The peers' own environment: made once from the lock, in .cache/peers."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LOCK, PLACE = ROOT / "requirements" / "peers.txt", ROOT / ".cache" / "peers"
PYTHON = PLACE / "bin" / "python"


def ensure() -> None:
    """Make the environment unless it was made from this lock; needs the network the first time."""
    stamp, wanted = PLACE / "lock", hashlib.sha256(LOCK.read_bytes()).hexdigest()
    if stamp.exists() and stamp.read_text() == wanted:
        return
    print("Installing the peers …", flush=True)
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(PLACE)], check=True)
    uv = shutil.which("uv")
    installer = (
        [uv, "pip", "install", "-q", "--python", str(PYTHON)] if uv else [str(PYTHON), "-m", "pip", "-q", "install"]
    )
    subprocess.run([*installer, "--require-hashes", "-r", str(LOCK)], check=True)
    stamp.write_text(wanted)
