"""Signing out closes the person's open pages' sockets, in whichever process they are."""

from __future__ import annotations

import logging
from typing import Any

from asgiref.sync import async_to_sync
from channels.layers import get_channel_layer
from django.contrib.auth.signals import user_logged_out

from console.live.groups import of_user

log = logging.getLogger(__name__)


def _on_logged_out(sender: object, user: Any = None, **extra: object) -> None:
    layer = get_channel_layer()
    if user is None or layer is None:
        return
    try:
        async_to_sync(layer.group_send)(of_user(user.pk), {"type": "signed.out"})
    except Exception as problem:  # noqa: BLE001  the minute's check closes them; signing out must not fail
        log.warning("sockets of %s not closed at sign-out: %s", user, problem)


def connect() -> None:
    user_logged_out.connect(_on_logged_out, dispatch_uid="console.live.signing_out")
