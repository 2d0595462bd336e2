"""Guarded operations: the one way to change delivery from outside the delivery itself.

Browser, admin, REST, command line and scheduled tasks all call these. Each one checks the actor's permission,
is one conditional UPDATE per row, is idempotent by ``request_id`` (the first answer is given again), and writes
an audit record in its own transaction, also when it is refused or denied.

Raises, all of them: OperationRefused with code "forbidden" (permission), "invalid" (input; ``field`` names it),
"not_found", "conflict", or "request_id_reused" (the same id with another question).
"""

from messaging.actors import OPERATE, PUBLISH, REVEAL, TRACE, VIEW, Actor, command_line, task
from messaging.operations.chain import request_chain_check
from messaging.operations.consumers import drain_consumer, pause_consumer, resume_consumer
from messaging.operations.dead_letters import (
    BulkResult,
    Refusal,
    discard_dead_letters,
    replay_dead_letters,
)
from messaging.operations.deliveries import (
    DeliveriesResult,
    DeliveryId,
    RefusedDelivery,
    cancel_deliveries,
    hasten_deliveries,
)
from messaging.operations.faults import Faults, end_faults, inject_faults
from messaging.operations.lanes import release_key
from messaging.operations.limits import clear_override, override_limits, reset_breaker, trip_breaker
from messaging.operations.projections import rebuild_projection
from messaging.operations.quarantine import discard_quarantined, retry_quarantined
from messaging.operations.replays import abort_replay, replay_history, resume_replay
from messaging.operations.resubmit import ResubmitCheck, ResubmitResult, check_resubmission, resubmit_dead_letter
from messaging.operations.sagas import compensate_saga, complete_saga, fire_saga_timeout, retry_saga
from messaging.operations.scheduling import (
    cancel_messages,
    fire_schedule,
    hasten_messages,
    pause_schedule,
    resume_schedule,
)

__all__ = [
    "OPERATE", "PUBLISH", "REVEAL", "TRACE", "VIEW", "Actor", "BulkResult", "DeliveriesResult", "DeliveryId",
    "Faults", "Refusal", "RefusedDelivery", "ResubmitCheck", "ResubmitResult", "abort_replay",
    "cancel_deliveries", "cancel_messages", "check_resubmission", "clear_override", "command_line",
    "compensate_saga", "complete_saga", "discard_dead_letters", "discard_quarantined", "drain_consumer",
    "end_faults", "fire_saga_timeout", "fire_schedule", "hasten_deliveries", "hasten_messages", "inject_faults",
    "override_limits", "pause_consumer", "pause_schedule", "rebuild_projection", "release_key",
    "replay_dead_letters", "replay_history", "request_chain_check", "reset_breaker", "resubmit_dead_letter",
    "resume_consumer", "resume_replay", "resume_schedule", "retry_quarantined", "retry_saga", "task",
    "trip_breaker",
]  # fmt: skip
