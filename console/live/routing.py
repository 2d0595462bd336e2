"""Which sockets there are, and who may open them: our own pages, signed in."""

from __future__ import annotations

from channels.auth import AuthMiddlewareStack
from channels.routing import URLRouter
from channels.security.websocket import AllowedHostsOriginValidator
from django.urls import path

from console.live.socket import LiveSocket

websocket = AllowedHostsOriginValidator(AuthMiddlewareStack(URLRouter([path("ws/live", LiveSocket.as_asgi())])))
