"""``python -m benchmarks``: what ``make bench-quick`` runs, and with ``--full`` the orders part of ``make bench``."""

from __future__ import annotations

import sys

from benchmarks.run import main

if __name__ == "__main__":
    sys.exit(main())
