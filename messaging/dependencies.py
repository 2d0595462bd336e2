"""Dependencies: what consumers call, named once, each with a breaker that all of its consumers share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from messaging.context import current_scope
from messaging.errors import ConfigurationError
from messaging.limits import Breaker

_dependencies: dict[str, Dependency] = {}


class Dependency:
    """A thing that consumers call and that may be down; declaring it makes it known by its name."""

    def __init__(self, name: str, *, breaker: Breaker | None = None) -> None:
        if not name or len(name) > 200:
            raise ConfigurationError(f"Dependency({name!r}) needs a name of 1 to 200 characters.")
        self.name = name
        self.breaker = breaker or Breaker()
        earlier = _dependencies.get(name)
        if earlier and earlier.breaker != self.breaker:
            raise ConfigurationError(f"The dependency {name} is declared twice with different breakers.")
        _dependencies[name] = self


def find_dependency(name: str) -> Dependency | None:
    return _dependencies.get(name)


def forget_dependency(name: str) -> None:
    """Take a dependency out of the registry again (for tests that declare their own)."""
    _dependencies.pop(name, None)


@contextmanager
def dependency(name: str) -> Iterator[None]:
    """Hold an exception of this block against the dependency ``name``, and not the handler's other mistakes.

    Outside a handler it does nothing.

    Raises:
        ConfigurationError: nobody declared it, or the consumer does not name it in depends_on.
    """
    declared, scope = find_dependency(name), current_scope.get()
    if declared is None:
        raise ConfigurationError(f'Nobody declared the dependency {name}: write Dependency("{name}") once.')
    if scope is None:
        yield
        return
    if name not in scope.depends_on:
        raise ConfigurationError(f'{scope.context.consumer} calls {name}: say so, depends_on=("{name}",).')
    try:
        yield
    except Exception as error:
        scope.touched[name] = scope.touched.get(name, False) or isinstance(error, declared.breaker.counts)
        raise
    scope.touched.setdefault(name, False)
