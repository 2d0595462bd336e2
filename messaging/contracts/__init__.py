"""Contracts: what a message of a name and version looks like. ``known``, ``find`` and ``decode`` read the registry."""

from messaging.contracts.model import Command, Event, MessageModel
from messaging.contracts.redaction import Sensitive, mask, mask_headers, mask_received, unmask
from messaging.contracts.registry import Contract, current, decode, find, known, validate
from messaging.contracts.upcasting import upcast

__all__ = [
    "Command", "Contract", "Event", "MessageModel", "Sensitive", "current", "decode", "find", "known", "mask",
    "mask_headers", "mask_received", "unmask", "upcast", "validate",
]  # fmt: skip
