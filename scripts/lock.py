"""Write requirements/base.txt and requirements/dev.txt from pyproject.toml, without naming a package index.

`--upgrade` (make lock ARGS=--upgrade) moves every package to its newest allowed version.
"""

from __future__ import annotations

import shutil
import subprocess
import sys

from bootstrap import BASE, DEV, INSTALLER, PEERS, ROOT

OPTIONS = ["--universal", "--python-version", "3.11", "--generate-hashes", "--no-header", "--no-emit-index-url"]


def main() -> int:
    uv = shutil.which("uv")
    if uv is None:
        print("signalbox: `make lock` needs uv on PATH: pip install uv", file=sys.stderr)
        return 1
    command = [uv, "pip", "compile", "--quiet", *OPTIONS, *sys.argv[1:], "pyproject.toml"]
    for group, lock in (("installer", INSTALLER), ("peers", PEERS)):
        result = subprocess.run(
            [*command[:-1], "--group", group, "-o", str(lock.relative_to(ROOT))],
            cwd=ROOT, stdout=subprocess.DEVNULL, check=False,
        )  # fmt: skip
        if result.returncode:
            return result.returncode
    base, dev = str(BASE.relative_to(ROOT)), str(DEV.relative_to(ROOT))  # relative: uv writes them into the lock
    # The examples need a library of their own; what stores large bodies at S3 is for those who do.
    for extra in (["--extra", "examples", "-o", base], ["--all-extras", "--group", "dev", "-c", base, "-o", dev]):
        result = subprocess.run([*command, *extra], cwd=ROOT, stdout=subprocess.DEVNULL, check=False)
        if result.returncode:
            return result.returncode
    return 0


if __name__ == "__main__":
    sys.exit(main())
