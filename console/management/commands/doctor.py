from __future__ import annotations

import json
import sys
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from console.doctor import Finding, examine, heartbeat


class Command(BaseCommand):
    help = "Say in plain words what is wrong with this deployment and what to do; exit 1 when something is."
    requires_system_checks = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--json", action="store_true", dest="as_json")
        parser.add_argument("--role", help="look only for a live process of this role on this host (a health check)")

    def handle(self, *, as_json: bool, role: str | None, **_: Any) -> None:
        findings = list(heartbeat(role)) if role else examine()
        has_problem = any(finding.level == "problem" for finding in findings)
        if as_json:
            report = {"ok": not has_problem, "findings": [finding.as_json() for finding in findings]}
            self.stdout.write(json.dumps(report, indent=2))
        else:
            for finding in findings:
                self.show(finding)
        if has_problem:
            sys.exit(1)

    def show(self, finding: Finding) -> None:
        paint = {"ok": self.style.SUCCESS, "warning": self.style.WARNING, "problem": self.style.ERROR}[finding.level]
        self.stdout.write(f"{paint(f'{finding.level:<8}')} {finding.area:<13} {finding.text}")
        if finding.remedy:
            self.stdout.write(f"{'':<23}→ {finding.remedy}")
