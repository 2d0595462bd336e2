#!/usr/bin/env python
"""Django's command line. ``manage.py help`` lists the bus's commands under [messaging] and [console]."""

import os
import sys

KEEP_CONNECTIONS = {"relay", "worker", "scheduler"}


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "console.settings")
    if sys.argv[1:2] and sys.argv[1] in KEEP_CONNECTIONS:
        # Settings ask for the role: without one, a worker would open a database connection for every wake-up.
        os.environ.setdefault("SIGNALBOX_ROLE", sys.argv[1])
    from django.core.exceptions import ImproperlyConfigured
    from django.core.management import execute_from_command_line

    try:
        execute_from_command_line(sys.argv)
    except ImproperlyConfigured as problem:
        if "--traceback" in sys.argv:
            raise
        sys.exit(f"signalbox: {problem}")


if __name__ == "__main__":
    main()
