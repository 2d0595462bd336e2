"""A storage for large bodies that refuses, answers not at all, or outlives the process that wrote to it."""

from __future__ import annotations

from io import BytesIO
from typing import Any

from django.core.files.base import File
from django.core.files.storage import Storage

from tests.simulation.stage import world


class Shelf(Storage):
    """Every call is a point at which the process may be struck; what is stored does not roll back."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}

    def _save(self, name: str, content: Any) -> str:
        self._answer("storage.save")
        self.files[name] = content.read()
        self._answer("storage.saved")
        return name

    def _open(self, name: str, mode: str = "rb") -> File[bytes]:
        self._answer("storage.open")
        if name not in self.files:
            raise FileNotFoundError(name)
        return File(BytesIO(self.files[name]), name=name)

    def exists(self, name: str) -> bool:
        return name in self.files

    def delete(self, name: str) -> None:
        self._answer("storage.delete")
        self.files.pop(name, None)

    def listdir(self, path: str) -> tuple[list[str], list[str]]:
        self._answer("storage.listdir")
        below = [name.removeprefix(f"{path}/") for name in sorted(self.files) if name.startswith(f"{path}/")]
        folders = sorted({name.partition("/")[0] for name in below if "/" in name})
        return folders, [name for name in below if "/" not in name]

    def _answer(self, name: str) -> None:
        world().reach(name)
        if world().is_struck("refused"):
            raise OSError(f"the simulated storage does not answer to {name}")
