"""How uvicorn serves the console, in one process with everything or as a role of its own."""

from __future__ import annotations

import errno
import gc
import socket
from importlib import import_module

import uvicorn
from django.conf import settings
from django.core.management.base import CommandError

MAX_SOCKET_MESSAGE = 64 * 1024
KEEP_ALIVE = 75
"""Seconds that a browser may be silent and find its connection again: pages read themselves anew within a minute."""


def keep_collections_short() -> None:
    """Load what pages need, and have the garbage collector look at it never again.

    A page that reads thousands of rows makes it look at all objects there are: with those of the code among them, one
    request of ten took a quarter of a second more.
    """
    import_module("console.asgi")
    import_module(settings.ROOT_URLCONF)
    gc.collect()
    gc.freeze()


def config() -> uvicorn.Config:
    keep_collections_short()
    from console.live.audience import before_telling
    from console.ui.shared import board

    board.open()
    before_telling.add(board.wipe)
    return uvicorn.Config(
        "console.asgi:application",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        ws_max_size=MAX_SOCKET_MESSAGE,
        timeout_graceful_shutdown=1,
        timeout_keep_alive=KEEP_ALIVE,
    )


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket, taken before anything else starts.

    Raises:
        CommandError: the address cannot be had; says what to do.
    """
    if not 0 <= port <= 65_535:
        raise CommandError(f"port {port} does not exist; choose one up to 65535: PORT=8000")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise CommandError(
                f"port {port} on {host} is in use. Stop what listens there, or choose another: PORT={port + 1}"
            ) from error
        raise CommandError(
            f"cannot listen on {host} port {port}: {error.strerror or error}. Check HOST and PORT."
        ) from error
    listener.listen(1024)
    return listener


def address(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"
