"""What the API takes and gives. Rows of lists are the dataclasses of ``messaging.queries`` as they are."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Generic, Literal, TypeVar
from uuid import UUID

from django.http import HttpRequest
from ninja import Schema
from pydantic import AfterValidator, AwareDatetime, ConfigDict, Field, StringConstraints

from console.api.problems import Problem
from messaging.queries import outbox
from messaging.queries.messages import Status

Row = TypeVar("Row")

EARLIEST, LATEST = datetime(1970, 1, 1, tzinfo=UTC), datetime(9000, 1, 1, tzinfo=UTC)


def _in_range(moment: datetime) -> datetime:
    # Beyond it a shift of time zones leaves what Python and the databases can hold.
    if not EARLIEST <= moment <= LATEST:
        raise ValueError("give a time between the years 1970 and 9000")
    return moment.astimezone(UTC)


def _storable(text: str) -> str:
    if "\x00" in text:
        raise ValueError("remove the character NUL")
    return text


Moment = Annotated[AwareDatetime, AfterValidator(_in_range)]
Text = Annotated[str, StringConstraints(max_length=200), AfterValidator(_storable)]
Reason = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=1000), AfterValidator(_storable)
]
OptionalReason = Annotated[str, StringConstraints(strip_whitespace=True, max_length=1000), AfterValidator(_storable)]


class Body(Schema):
    model_config = ConfigDict(extra="forbid")


class Parameters(Schema):
    """What may stand behind the question mark."""

    def only_known(self, request: HttpRequest) -> None:
        """Refuse a parameter nobody knows: a mistyped filter must not list everything.

        Raises:
            Problem: 400, naming it.
        """
        unknown = sorted(set(request.GET) - set(type(self).model_fields))
        if unknown:
            message = f"Unknown parameter; known are {', '.join(sorted(type(self).model_fields))}."
            errors = [(name[:100], message) for name in unknown[:10]]
            raise Problem(400, "unknown_field", f"Unknown parameter: {unknown[0][:100]}.", errors=errors)


class Query(Parameters):
    """Filters and the cursor of a list."""

    limit: int = Field(50, ge=1, le=200)
    after: UUID | None = Field(None, description="The `next` of the page before: continues with older rows.")

    def filters(self) -> dict[str, Any]:
        return self.model_dump(exclude={"limit", "after"})


class MessageQuery(Query):
    type: Text = ""
    status: Status | None = None
    correlation_id: Text = ""
    key: Text = ""
    consumer: Text = ""
    source: Text = ""
    since: Moment | None = None
    until: Moment | None = None


class DeadLetterQuery(Query):
    fingerprint: Text = ""
    consumer: Text = ""
    type: Text = ""
    state: Literal["", "open", "replaying", "resubmitting", "resolved", "discarded"] = Field(
        "", description="Empty: every unresolved one."
    )
    key: Text = ""
    correlation_id: Text = ""
    since: Moment | None = None
    until: Moment | None = None


class QuarantineQuery(Query):
    state: Literal["open", "accepted", "discarded"] = "open"
    kind: Literal["", "parked", "quarantined", "conflict"] = ""


class AuditQuery(Query):
    outcome: Literal["", "done", "refused", "denied"] = ""
    target: Annotated[str, StringConstraints(max_length=300), AfterValidator(_storable)] = ""
    actor: Text = ""
    action: Text = ""


class DueQuery(Query):
    """Of lists whose next due row comes first."""

    after: Annotated[str, StringConstraints(max_length=200), AfterValidator(_storable)] = Field(  # type: ignore[assignment]
        "", description="The `next` of the page before: continues with what is due later."
    )


class ScheduledQuery(DueQuery):
    type: Text = ""


class WaitingQuery(DueQuery):
    consumer: Text = ""


class OutboxQuery(Query):
    after: int | None = Field(  # type: ignore[assignment]
        None, ge=0, le=2**62, description="The `next` of the page before: continues with newer rows."
    )


class RevealQuery(Schema):
    reveal: bool = Field(False, description="Show masked fields: needs the scope reveal and a reason; is audited.")
    reason: OptionalReason = ""


class Listing(Schema, Generic[Row]):
    """Newest first. ``next`` is the cursor for `after`; null on the last page."""

    items: list[Row]
    next: UUID | None


class DueListing(Schema, Generic[Row]):
    """The next due first. ``next`` is the cursor for `after`; null on the last page."""

    items: list[Row]
    next: str | None


class OutboxAnswer(Schema):
    """Rows oldest first."""

    state: outbox.OutboxState
    items: list[outbox.OutboxRow]
    next: int | None


class Items(Schema, Generic[Row]):
    items: list[Row]


class Why(Body):
    reason: Reason


class OptionalWhy(Body):
    reason: OptionalReason = ""


class WaitingChange(OptionalWhy):
    ids: list[Annotated[str, StringConstraints(max_length=300), AfterValidator(_storable)]] = Field(
        min_length=1, max_length=500, description='"<message id>/<run>/<consumer>", as the list gives them.'
    )


class RefusedOne(Schema):
    id: str
    why: str


class DeliveriesDone(Schema):
    done: list[str]
    refused: list[RefusedOne]


class ScheduleChanged(Schema):
    name: str
    is_paused: bool


class Fired(Schema):
    name: str
    message_id: UUID


class PauseRequest(Why):
    until: Moment | None = Field(None, description="Resumes by itself then.")


class TripRequest(Why):
    until: Moment | None = Field(None, description="A probe may pass from then on; else it stays open until reset.")


class RateSpec(Body):
    count: float = Field(gt=0, le=1_000_000)
    per: Annotated[str, StringConstraints(max_length=20), AfterValidator(_storable)] = Field("1s", examples=["1m"])
    burst: int | None = Field(None, ge=1, le=1_000_000)


class LimitsRequest(Why):
    """A rate, a concurrency or both, in place of the code's."""

    rate: RateSpec | None = None
    concurrency: int | None = Field(None, ge=1, le=10_000)


class ResubmitRequest(Why):
    data: dict[str, Any] = Field(description="The corrected body; masked values that are left as they are stay.")
    audience: Literal["failed", "all"] = Field("failed", description="The consumer that failed, or every subscriber.")
    headers: dict[Text, Annotated[str, StringConstraints(max_length=4000), AfterValidator(_storable)]] | None = None


class PublishRequest(Body):
    """The bus's own JSON form."""

    type: str = Field(examples=["ecommerce.OrderPlaced"], max_length=200)
    version: int = Field(ge=1)
    data: dict[str, Any]
    key: str | None = Field(None, max_length=200, description="What the event is about; orders its deliveries.")
    correlation_id: str | None = Field(None, max_length=200)
    id: str | None = Field(None, max_length=200, description="The sender's own id: the same id again is a duplicate.")
    occurred_at: datetime | None = Field(None, description="When it happened.")
    expires_at: datetime | None = Field(None, description="A consumer that has not begun by then never does.")


class Accepted(Schema):
    id: UUID
    status: Literal["accepted", "duplicate"]


class Done(Schema):
    id: UUID
    status: str


class Resubmitted(Done):
    message_id: UUID = Field(description="The edited copy.")


class ConsumerChanged(Schema):
    name: str
    is_paused: bool


class KeysQuery(Query):
    pass


class ReleaseKey(Why):
    key: Annotated[str, StringConstraints(min_length=1, max_length=200), AfterValidator(_storable)]


class KeyReleased(Schema):
    name: str
    key: str
    released: int = Field(description="Dead letters that held it; they stay open.")


Share = Annotated[float, Field(ge=0, le=1)]


class InjectFaults(Why):
    consumer: Text = Field("*", description="Its name; * for every consumer that has nothing of its own.")
    failure_rate: Share = Field(0.0, description="Share of runs that fail before the handler is called.")
    redelivery_rate: Share = Field(0.0, description="Share of runs that are undone after the handler returned.")
    crash_rate: Share = Field(0.0, description="Share of runs in which the worker's process is killed.")
    wakeup_loss_rate: Share = 0.0
    wakeup_repeat_rate: Share = 0.0
    delay_seconds: float = Field(0.0, ge=0, le=60, description="How long each delivery waits before its handler.")
    lasts_seconds: float = Field(600.0, ge=1, le=86_400, description="Ends by itself after so long.")


class StartReplay(Why):
    consumer: Text = Field(description="Its name. Types that it handles are replayed.")
    mode: Literal["shadow", "real"] = Field(description="Shadow rolls each run back and reports; real sends new runs.")
    since: Moment = Field(description="Published from then on.")
    until: Moment | None = Field(None, description="Published before then; now, if not given.")
    types: list[Text] = Field([], max_length=100, description="Only these; all that the consumer handles, if empty.")
    rate: float = Field(50.0, gt=0, le=1000, description="At most so many messages per second.")
    only_missing: bool = Field(False, description="Leave out what the consumer had: the backfill of a new one.")


class EndFaults(Body):
    consumer: Text | None = Field(None, description="Only this one's; * is the row for every consumer.")


class FaultsEnded(Schema):
    ended: int


class Changed(Schema):
    name: str
    status: str
