"""Who acts, and with what permission. Every guarded operation takes an Actor and asks it first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

VIEW: Final = "view"
OPERATE: Final = "operate"
REVEAL: Final = "reveal"
PUBLISH: Final = "publish"
TRACE: Final = "trace"
Permission = Literal["view", "operate", "reveal", "publish", "trace"]
ActorKind = Literal["user", "token", "command", "task"]


@dataclass(frozen=True, kw_only=True)
class Actor:
    """A person, a token, a command line or a scheduled task. ``name`` is what the audit shows."""

    name: str
    kind: ActorKind
    permissions: frozenset[str]
    address: str = ""

    def may(self, permission: Permission) -> bool:
        return permission in self.permissions


def command_line(name: str) -> Actor:
    """The person at a shell on the host: may do everything, is named in the audit."""
    return Actor(name=name, kind="command", permissions=frozenset({VIEW, OPERATE, REVEAL, PUBLISH}))


def task(name: str) -> Actor:
    """A scheduled task acting by itself."""
    return Actor(name=name, kind="task", permissions=frozenset({VIEW, OPERATE}))
