"""The tables. Hot ones hold work and stay small; history is appended and never updated.

Hot: OutboxEntry, ScheduledMessage, KeyCounter, Delivery, DeadLetter, Worker, ConsumerState, Gate, Subscription,
Schedule, QuarantinedMessage, UnsealedRecords, InjectedFault, SagaInstance, HistoryReplay.
History (partitioned by UUIDv7 on PostgreSQL, no foreign key points into it): Message, Attempt, AuditRecord,
SagaTransition.
Kept for ever: EventStream and StoredEvent (appended); derived from them: StreamSnapshot, ProjectionBuild,
ProjectionCheckpoint.
Bounded by age and number, losable: Span, Trace.
The bus writes through ``messaging.database``; these classes serve migrations, queries and the admin.
"""

from __future__ import annotations

from messaging.models.chain import ChainAnchor, ChainCheck, ChainHead, Seal, UnsealedRecords
from messaging.models.consumers import ConsumerState, Gate, Subscription, Worker
from messaging.models.deliveries import Attempt, DeadLetter, Delivery
from messaging.models.eventstore import EventStream, ProjectionBuild, ProjectionCheckpoint, StoredEvent, StreamSnapshot
from messaging.models.faults import InjectedFault
from messaging.models.ingress import QuarantinedMessage, ReceivedMessage, RequestRecord
from messaging.models.messages import KeyCounter, Message, OutboxEntry
from messaging.models.records import AuditRecord, Rollup, RollupDelta, Total, TypeTotal
from messaging.models.replays import HistoryReplay
from messaging.models.sagas import SagaInstance, SagaTransition
from messaging.models.scheduling import CancelledMessage, Housekeeping, Schedule, ScheduledMessage, ScheduleFiring
from messaging.models.spans import Span, Trace

__all__ = [
    "Attempt",
    "AuditRecord",
    "CancelledMessage",
    "ChainAnchor",
    "ChainCheck",
    "ChainHead",
    "ConsumerState",
    "DeadLetter",
    "Delivery",
    "EventStream",
    "Gate",
    "HistoryReplay",
    "Housekeeping",
    "InjectedFault",
    "KeyCounter",
    "Message",
    "OutboxEntry",
    "ProjectionBuild",
    "ProjectionCheckpoint",
    "QuarantinedMessage",
    "ReceivedMessage",
    "RequestRecord",
    "Rollup",
    "RollupDelta",
    "SagaInstance",
    "SagaTransition",
    "Schedule",
    "ScheduleFiring",
    "ScheduledMessage",
    "Seal",
    "Span",
    "StoredEvent",
    "StreamSnapshot",
    "Subscription",
    "Total",
    "Trace",
    "TypeTotal",
    "UnsealedRecords",
    "Worker",
]
