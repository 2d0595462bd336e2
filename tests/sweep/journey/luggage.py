"""Consumers beside the main line: batches of each guarantee, a filter, a late message, a long delay."""

from __future__ import annotations

from messaging import Batch, BatchContext, Context, PermanentError, Retry, consumer
from tests.sweep.journey.events import DayBegun, LastCallGiven, LuggageChecked, TicketScanned
from tests.sweep.journey.models import Effect

LOAD, WEIGH, FILM, HEAVE = "journey.load", "journey.weigh", "journey.film", "journey.heave"
CALL, SCAN, OPEN = "journey.call", "journey.scan", "journey.open"
AT_ONCE = Batch(size=4, seconds=0)
NEVER_AGAIN = Retry(immediate=0, delays=())


@consumer(LuggageChecked, name=LOAD, guarantee="exactly_once", batch=AT_ONCE, retry=NEVER_AGAIN)
def load(events: list[LuggageChecked], batch: BatchContext) -> None:
    _leave_traces(batch)
    if any(event.kind == "broken" for event in events):
        raise PermanentError("This piece does not close.")


@consumer(LuggageChecked, name=WEIGH, guarantee="at_least_once", batch=AT_ONCE, retry=NEVER_AGAIN)
def weigh(events: list[LuggageChecked], batch: BatchContext) -> None:
    _leave_traces(batch)


@consumer(LuggageChecked, name=FILM, guarantee="at_most_once", batch=AT_ONCE, retry=NEVER_AGAIN)
def film(events: list[LuggageChecked], batch: BatchContext) -> None:
    _leave_traces(batch)


@consumer(
    LuggageChecked, name=HEAVE, guarantee="exactly_once", retry=Retry(immediate=0, delays=("1h",)),
    filter={"weight": [{"numeric": [">", 20]}]},
)  # fmt: skip
def heave(event: LuggageChecked, context: Context) -> None:
    _leave_trace(context)
    if event.kind in ("hastened", "cancelled") and context.attempt == 1:
        raise ConnectionError("Nobody is free; an hour later somebody is.")


@consumer(LastCallGiven, name=CALL, guarantee="exactly_once", retry=NEVER_AGAIN)
def call(event: LastCallGiven, context: Context) -> None:
    _leave_trace(context)


@consumer(TicketScanned, name=SCAN, guarantee="exactly_once", retry=NEVER_AGAIN)
def scan(event: TicketScanned, context: Context) -> None:
    _leave_trace(context)


@consumer(DayBegun, name=OPEN, guarantee="exactly_once", retry=NEVER_AGAIN)
def open_gates(event: DayBegun, context: Context) -> None:
    _leave_trace(context)


def _leave_traces(batch: BatchContext) -> None:
    for context in batch.contexts:
        _leave_trace(context)


def _leave_trace(context: Context) -> None:
    Effect.objects.create(consumer=context.consumer, message_id=context.message_id, run=context.run)
