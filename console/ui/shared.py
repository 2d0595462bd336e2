"""Parts of pages that all who may see the same share: each is drawn once for a hint, see console.drawings.

What is shared is drawn for an onlooker who has its readers' permissions and nothing else: no name, no session, no token
for forms. So a drawing cannot show what one person alone may see. A view that asks for more is drawn for that person.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any, Protocol, TypeVar, cast

from django.http import HttpRequest, HttpResponse, HttpResponseBase, QueryDict

from console.drawings import Board
from console.permissions import CODENAMES

View = TypeVar("View", bound=Callable[..., HttpResponseBase])


class Reader(Protocol):
    def has_perm(self, perm: str) -> bool: ...


class IsPersonal(Exception):
    """A view asked who is reading."""


@dataclass(frozen=True)
class Drawing:
    status: int
    headers: tuple[tuple[str, str], ...]
    content: bytes

    def response(self) -> HttpResponse:
        return HttpResponse(self.content, status=self.status, headers=dict(self.headers))


class Onlooker:
    """Whoever holds these permissions. Anything else that is asked of it is personal."""

    is_authenticated = is_active = True
    is_anonymous = False

    def __init__(self, held: frozenset[str]) -> None:
        self._held = held

    def has_perm(self, perm: str) -> bool:
        if perm not in CODENAMES.values():
            raise IsPersonal(perm)
        return perm in self._held

    def __getattr__(self, name: str) -> Any:
        raise IsPersonal(name)


class Glance(HttpRequest):
    """The question of an onlooker: an address and the part that is wanted, nothing that a browser adds."""

    def __init__(self, request: HttpRequest, part: str, held: frozenset[str]) -> None:
        super().__init__()
        self.method = "GET"
        self.path, self.path_info = request.path, request.path_info
        self.resolver_match = request.resolver_match
        query = request.META.get("QUERY_STRING", "")
        self.META = {"REQUEST_METHOD": "GET", "QUERY_STRING": query, "HTTP_HX_REQUEST": "true", "HTTP_HX_TARGET": part}
        self.GET = QueryDict(query)
        self.user = Onlooker(held)  # type: ignore[assignment]

    def get_host(self) -> str:
        raise IsPersonal("the name that the console is reached by")

    def __getattr__(self, name: str) -> Any:
        if name in {"session", "csp_nonce", "correlation_id"}:
            raise IsPersonal(name)
        raise AttributeError(name)


board: Board[Drawing] = Board()

PERSONAL_SECONDS = 10.0
"""How long a part that turned out to be personal, as one with a form is, is not tried for an onlooker first."""
_personal: dict[tuple[Any, str, frozenset[str]], float] = {}


def shared(*parts: str) -> Callable[[View], View]:
    """Share what htmx reads into one of these elements. To stand below ``viewer``, which asks who may read it."""

    def decorate(view: View) -> View:
        @wraps(view)
        def drawn(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
            # A server says when it came: since then, a hint may have been told while it waited for a thread.
            asked_at = getattr(request, "asked_at", None) or time.monotonic()
            part = request.headers.get("HX-Target", "")
            if request.method != "GET" or part not in parts:
                return view(request, *args, **kwargs)
            held = frozenset(name for name in CODENAMES.values() if cast(Reader, request.user).has_perm(name))
            kind = (view, part, held)
            if asked_at < _personal.get(kind, float("-inf")) + PERSONAL_SECONDS:
                return view(request, *args, **kwargs)

            def draw() -> Drawing:
                glance = Glance(request, part, held)
                response = cast(HttpResponse, view(glance, *args, **kwargs))
                if "CSRF_COOKIE" in glance.META or response.cookies:
                    raise IsPersonal("a token")
                return Drawing(response.status_code, tuple(response.items()), response.content)

            try:
                return board.get((request.get_full_path(), part, held), draw, asked_at=asked_at).response()
            except IsPersonal:
                _personal[kind] = time.monotonic()
                return view(request, *args, **kwargs)

        return cast(View, drawn)

    return decorate
