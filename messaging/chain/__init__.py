"""The tamper-evident chain over attempts, audit records and moves of sagas: sealed, verified, anchored outside.

Each transaction that appends records also notes their ids as unsealed. One sealer at a time takes these notes, hashes
the records of each kind and day, and chains the hash to the seal before (a hash chain as in RFC 6962's spirit, linear:
the whole is read to verify it anyway). It selects by what is there, never by a cursor, so a transaction that commits
late is sealed late, not never. What it proves: no sealed record was changed, removed or slipped in, and no seal was cut
off after an exported anchor. It cannot tell what somebody with write access did before the next seal, seconds later.
"""

from messaging.chain.anchors import Anchor, export_anchors, forget_pruned, newest_anchors, read_anchors
from messaging.chain.digests import KINDS, table_of
from messaging.chain.sealing import seal, seal_everything
from messaging.chain.verifying import ChainReport, check_chain, verify_chain

__all__ = [
    "KINDS",
    "Anchor",
    "ChainReport",
    "check_chain",
    "export_anchors",
    "forget_pruned",
    "newest_anchors",
    "read_anchors",
    "seal",
    "seal_everything",
    "table_of",
    "verify_chain",
]
