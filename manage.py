#!/usr/bin/env python
"""Django's command line. ``manage.py help`` lists the bus's commands under [messaging] and [console]."""

import os
import sys

ROLES = {"web", "relay", "worker", "scheduler"}


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "console.settings")
    if sys.argv[1:2] and sys.argv[1] in ROLES:
        # Settings ask for the role: without one, every wake-up and request would open a database connection.
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
