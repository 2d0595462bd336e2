"""Every page of the console that is read, its parts that renew themselves, and its API twins, as addresses.

Placeholders stand for what the stored history has: ``samples`` finds one of each. tests/unit/test_measured_pages.py
fails when a page is neither here nor left out by name.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Address:
    """One request. ``part`` is the swap target that htmx names; empty for a whole page."""

    name: str
    path: str
    part: str = ""

    def filled(self, samples: dict[str, Any]) -> str:
        return self.path.format(**samples)


_TABLE = """
overview                                   /
overview, last day                         /?window=24h
shell                                      /shell
messages                                   /messages
messages, all time                         /messages?range=all
messages, a day                            /messages?range=24h
messages, deep page                        /messages?range=all&after={deep_message}
messages, page before                      /messages?range=all&before={deep_message}
messages, of a type                        /messages?type={type}
messages, of a type all time               /messages?type={type}&range=all
messages, of a type between times          /messages?type={type}&from={since}&to={until}
messages, of a flow                        /messages?correlation={flow}
messages, of a key                         /messages?key={key}&range=all
messages, of an unknown key                /messages?key=nobody
messages, of a source                      /messages?source=signalbox
messages, of an unknown source             /messages?source=nobody
messages, of a consumer                    /messages?consumer={consumer}
messages, of a consumer all time           /messages?consumer={consumer}&range=all
messages, of an unknown consumer           /messages?consumer=nobody
messages, dead                             /messages?status=dead&range=all
messages, retrying                         /messages?status=retrying&range=all
messages, handled                          /messages?status=handled
messages, dead of a consumer               /messages?status=dead&consumer={consumer}&range=all
messages, scheduled                        /messages?status=scheduled&range=all
messages, discarded                        /messages?status=discarded&range=all
messages, in the drawer                    /messages?message={message}
messages, search by id                     /messages?q={message}
messages, search by trace                  /messages?q={trace}
messages, search by flow                   /messages?q={flow}
messages, search by external id            /messages?q={external}
messages, search for nothing               /messages?q=nobody
message                                    /messages/{message}
message, audit                             /messages/{message}?tab=audit
message, body                              /messages/{message}/body
dead letters, groups                       /dead-letters
dead letters, a group                      /dead-letters/{fingerprint}
dead letters, a group second page          /dead-letters/{fingerprint}?after={deep_dead}
dead letters, resolved of a group          /dead-letters/{fingerprint}?state=resolved
dead letters, discarded of a group         /dead-letters/{fingerprint}?state=discarded
dead letter                                /dead-letters/one/{dead}
resubmit                                   /dead-letters/one/{dead}/resubmit
consumers                                  /consumers
consumer                                   /consumers/{consumer}
dependencies                               /dependencies
scheduled                                  /scheduled
scheduled, retries                         /scheduled?tab=retries
scheduled, recurring                       /scheduled?tab=recurring
scheduled, housekeeping                    /scheduled?tab=housekeeping
scheduled, storage                         /scheduled?tab=storage
scheduled, cancelled                       /scheduled?tab=cancelled
scheduled, of a type                       /scheduled?type={type}
scheduled, second page                     /scheduled?after={deep_scheduled}
schedule                                   /scheduled/benchmark.nightly
outbox                                     /outbox
quarantine                                 /quarantine
quarantine, discarded                      /quarantine?state=discarded
quarantined                                /quarantine/{quarantined}
replays                                    /operations
replay                                     /operations/{replay}
sagas                                      /sagas
sagas, failed                              /sagas?show=failed
sagas, ended                               /sagas?show=ended
sagas, all                                 /sagas?show=all
sagas, deep page                           /sagas?show=all&after={deep_saga}
sagas, of a state                          /sagas?state=compensating
sagas, of a correlation                    /sagas?correlation={saga}
sagas, of an unknown name                  /sagas?saga=nobody&show=all
saga                                       /sagas/{saga_name}/{saga}
saga, failed                               /sagas/{saga_name}/{failed_saga}
audit                                      /audit
audit, deep page                           /audit?after={deep_audit}
audit, of an actor                         /audit?actor=ana
audit, denied                              /audit?outcome=denied
audit, of an unknown action                /audit?action=nothing
audit, of a target                         /audit?target=message:{message}
audit, of consumers                        /audit?target=consumer:
flows, compared                            /flows
flows, compared a day                      /flows?range=24h
flows, of a type                           /flows?type={first_type}
flows, of a type second page               /flows?type={first_type}&after={deep_message}
flows, of a type that starts none          /flows?type={type}
flow, sequence                             /flows/{flow}
flow, causes                               /flows/{flow}?tab=tree
traces                                     /traces
traces, all time                           /traces?range=all
traces, deep page                          /traces?range=all&after={deep_trace}
traces, slow                               /traces?view=slow&range=all
traces, failed                             /traces?view=failed&range=all
traces, long                               /traces?min=600000000&range=all
traces, of a service                       /traces?service=signalbox&range=all
traces, of an unknown service              /traces?service=nobody&range=all
traces, of a consumer                      /traces?consumer={consumer}
traces, of a consumer all time             /traces?consumer={consumer}&range=all
traces, of an unknown consumer all time    /traces?consumer=nobody&range=all
traces, of a type                          /traces?type={type}&range=all
traces, slow of a type                     /traces?type={type}&view=slow&range=all
traces, of a flow                          /traces?correlation={traced_flow}
traces, search                             /traces?q={trace}
trace                                      /traces/{trace}
trace, a span                              /traces/{trace}?detail={span}
traces, compared                           /traces/{trace}/compare?with={other_trace}
overview, now [now]                        /
overview, charts [charts]                  /
overview, notices [notices]                /
messages, rows again [rows]                /messages?upto={message}
messages, newer [newer]                    /messages?than={deep_message}
message, deliveries [deliveries]           /messages/{message}
message, in the drawer [message]           /messages/{message}
dead letters, groups [groups]              /dead-letters
dead letters, figures [figures]            /dead-letters/{fingerprint}
dead letters, newer [newer]                /dead-letters/{fingerprint}?than={deep_dead}
dead letters, rows again [rows]            /dead-letters/{fingerprint}?rows={dead}
consumers [consumers]                      /consumers
consumer [consumer]                        /consumers/{consumer}
dependencies [dependencies]                /dependencies
scheduled [scheduled]                      /scheduled
schedule [schedule]                        /scheduled/benchmark.nightly
outbox [outbox]                            /outbox
quarantine [quarantine]                    /quarantine
replays [operations]                       /operations
replay [operation]                         /operations/{replay}
sagas [sagas]                              /sagas
saga [saga]                                /sagas/{saga_name}/{saga}
audit [audit]                              /audit
audit, chain [chain]                       /audit
flows, compared [flow-kinds]               /flows
flow [flow]                                /flows/{flow}
trace [trace]                              /traces/{trace}
traces, newer [newer]                      /traces?than={deep_trace}&range=all
API stats                                  /api/v1/stats
API messages                               /api/v1/messages
API messages, of a type                    /api/v1/messages?type={type}
API messages, of a type between times      /api/v1/messages?type={type}&since={since}&until={until}
API messages, 200 deep                     /api/v1/messages?limit=200&after={deep_message}
API messages, of a flow                    /api/v1/messages?correlation_id={flow}
API messages, of a key                     /api/v1/messages?key={key}
API messages, of an unknown key            /api/v1/messages?key=nobody
API messages, of a consumer                /api/v1/messages?consumer={consumer}
API messages, of an unknown consumer       /api/v1/messages?consumer=nobody
API messages, of an unknown source         /api/v1/messages?source=nobody
API messages, dead                         /api/v1/messages?status=dead
API message                                /api/v1/messages/{message}
API dead letters                           /api/v1/dead-letters
API dead letters, of a consumer            /api/v1/dead-letters?consumer={consumer}
API dead letters, of a group               /api/v1/dead-letters?fingerprint={fingerprint}
API dead letters, of a type between times  /api/v1/dead-letters?type={type}&since={since}&until={until}
API dead letters, resolved of a key        /api/v1/dead-letters?state=resolved&key={key}
API dead letters, deep page                /api/v1/dead-letters?after={deep_dead}
API dead letter                            /api/v1/dead-letters/{dead}
API quarantine                             /api/v1/quarantine
API consumers                              /api/v1/consumers
API consumer                               /api/v1/consumers/{consumer}
API blocked keys                           /api/v1/consumers/{consumer}/blocked-keys
API dependencies                           /api/v1/dependencies
API sagas                                  /api/v1/sagas
API saga                                   /api/v1/sagas/{saga_name}/{saga}
API flows, compared                        /api/v1/flows
API flows, of a type                       /api/v1/flows/{first_type}
API faults                                 /api/v1/faults
API replays                                /api/v1/replays
API replay                                 /api/v1/replays/{replay}
API traces                                 /api/v1/traces
API traces, of a consumer                  /api/v1/traces?consumer={consumer}
API traces, of an unknown type             /api/v1/traces?type=nobody
API traces, between times                  /api/v1/traces?since={since}&until={until}
API trace                                  /api/v1/traces/{trace}
API audit                                  /api/v1/audit
API audit, of an actor                     /api/v1/audit?actor=ana
API audit chain                            /api/v1/audit/chain
API scheduled                              /api/v1/scheduled
API waiting                                /api/v1/waiting
API schedules                              /api/v1/schedules
API schedule                               /api/v1/schedules/benchmark.nightly
API housekeeping                           /api/v1/housekeeping
API storage                                /api/v1/storage
API outbox                                 /api/v1/outbox
"""


def _read(line: str) -> Address:
    name, path = re.split(r"  +", line)
    part = re.search(r"\[(.+)\]", name)
    return Address(name=name, path=path, part=part[1] if part else "")


ADDRESSES = tuple(_read(line) for line in _TABLE.strip().splitlines())


def samples() -> dict[str, Any]:
    """Find one of everything in a database with history; deep cursors lie in the middle of it."""
    from messaging.models import (
        AuditRecord,
        DeadLetter,
        HistoryReplay,
        Message,
        QuarantinedMessage,
        ReceivedMessage,
        SagaInstance,
        ScheduledMessage,
        Span,
        Trace,
    )
    from messaging.queries.due_pages import cursor_of

    newest, oldest = Message.objects.order_by("-id")[1000], Message.objects.order_by("id")[0]
    middle = oldest.published_at + (newest.published_at - oldest.published_at) / 2
    dead = DeadLetter.objects.filter(state="open").order_by("-id")[0]
    traces = Trace.objects.order_by("-sort_id")
    waiting = ScheduledMessage.objects.order_by("due_at")[ScheduledMessage.objects.count() // 2]
    sagas = SagaInstance.objects.order_by("-id")
    failed = sagas.get(
        flow=DeadLetter.objects.filter(consumer="orders.OrderFulfilment").order_by("-id")[0].correlation_id
    )
    return {
        "type": "ecommerce.PaymentProcessed", "first_type": "ecommerce.OrderPlaced", "consumer": "orders.confirm_order",
        "saga_name": "orders.OrderFulfilment",
        "message": newest.id, "flow": newest.correlation_id, "key": newest.key,
        "external": ReceivedMessage.objects.order_by("-received_at")[0].external_id,
        "since": f"{middle:%Y-%m-%dT%H:%M:%SZ}", "until": f"{middle + timedelta(hours=6):%Y-%m-%dT%H:%M:%SZ}",
        "deep_message": _middle(Message, middle), "deep_dead": _middle(DeadLetter, middle),
        "deep_audit": _middle(AuditRecord, middle), "deep_saga": _middle(SagaInstance, middle),
        "deep_scheduled": cursor_of(waiting.due_at, waiting.message_id),
        "deep_trace": traces[traces.count() // 2].sort_id,
        "dead": dead.id, "fingerprint": dead.fingerprint,
        "quarantined": QuarantinedMessage.objects.order_by("-id")[0].id,
        "replay": HistoryReplay.objects.order_by("-id")[0].id, "saga": sagas[0].correlation,
        "failed_saga": failed.correlation, "trace": traces[0].trace_id, "other_trace": traces[1].trace_id,
        "traced_flow": traces[0].correlation_id, "span": Span.objects.filter(trace_id=traces[0].trace_id)[0].span_id,
    }  # fmt: skip


def _middle(model: Any, moment: Any) -> Any:
    from messaging.ids import id_at

    return model.objects.filter(id__gte=id_at(moment)).order_by("id").values_list("id", flat=True)[0]
