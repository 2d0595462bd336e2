"""Asking: commands answered in time, about when their timeout fires, late, or never; the asker is told once."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import ClassVar
from uuid import UUID

from django.db import transaction

from messaging import Command, Context, Event, PermanentError, ReplyTimedOut, RetryLater, clock, consumer, reply, send
from messaging.context import IN_REPLY_TO
from messaging.models import AuditRecord, DeadLetter, Message
from tests.simulation.actors import Client
from tests.simulation.cast.consumers import SOON, Trouble
from tests.simulation.cast.models import Effect, Line, Sent
from tests.simulation.oracle import Facts
from tests.simulation.parts.part import Part, taken_out
from tests.simulation.stage import world

ANSWERER, ASKER = "cast.answerer", "cast.asker"
HOWS = ("at once", "at once", "fails", "in a while", "in a while", "in a while", "never")
WAIT = 6


class Asked(Command, version=1, name="cast.Asked"):
    number: int
    how: str


class Answered(Event, version=1, name="cast.Answered"):
    number: int


@consumer(Asked, name=ANSWERER, retry=SOON)
def answer(command: Asked, context: Context) -> None:
    """Answer, and perhaps fail after it: that answer was never given."""
    reply(Answered(number=command.number))
    if command.how == "never":
        raise PermanentError("No answer.")
    if command.how == "fails" and context.attempt == 1:
        raise Trouble
    waited = (clock.now() - context.published_at).total_seconds()
    if command.how == "in a while" and waited < WAIT - 1:
        raise RetryLater(world().rng.uniform(WAIT - 2, WAIT + 2))


@consumer(Answered, ReplyTimedOut, name=ASKER, retry=SOON)
def hear(event: Answered | ReplyTimedOut, context: Context) -> None:
    what = "timed out" if isinstance(event, ReplyTimedOut) else f"answered {context.reply_status}".strip()
    Line.objects.create(about=str(context.in_reply_to), what=what)
    Effect.objects.create(consumer=context.consumer, message_id=context.message_id, run=context.run, at=clock.now())


class Asking(Part):
    consumers = taken_out(ANSWERER, ASKER)
    guarantees: ClassVar[dict[str, str]] = {ASKER: "exactly_once"}

    def clients(self) -> list[Client]:
        return [Client(range(1, 1 + world().rng.randint(2, 5)), _ask)]

    def violations(self, facts: Facts) -> Iterator[str]:
        asked = dict(Sent.objects.filter(what="ask").values_list("message_id", "number"))
        # A dead letter that its copy reopened names the last copy only, the audit all of them.
        resubmitted = AuditRecord.objects.filter(action="dead_letter.resubmit", outcome="done")
        copies = {UUID(details["copy_id"]) for details in resubmitted.values_list("details", flat=True)}
        stored = set(Message.objects.filter(type="cast.Asked").values_list("id", flat=True)) - copies
        if set(asked) != stored:
            yield f"I1 {len(asked)} commands were sent, {len(stored)} are stored"
        heard: defaultdict[str, Counter[str]] = defaultdict(Counter)
        for about, what in Line.objects.values_list("about", "what"):
            heard[about][what] += 1
        for id in asked.keys() - _given_up():
            lines = heard[str(id)]
            if lines["answered"] + lines["timed out"] != 1:
                yield f"I2 who sent {id} was told by {dict(lines) or 'nothing'}"
            if lines["answered late"] and not lines["timed out"]:
                yield f"I2 the answer to {id} says that it is late, but nothing timed out"


def _given_up() -> set[UUID]:
    """Return the commands of which people decided: copied, or what the asker was to hear is dead."""
    copied = DeadLetter.objects.filter(consumer=ANSWERER).exclude(copy_id=None)
    unheard = DeadLetter.objects.filter(consumer=ASKER).exclude(state=DeadLetter.State.RESOLVED)
    answers = Message.objects.filter(id__in=unheard.values("message_id"))
    return {
        *copied.values_list("message_id", flat=True),
        *(UUID(headers[IN_REPLY_TO]) for headers in answers.values_list("headers", flat=True)),
    }


def _ask(number: int) -> None:
    with transaction.atomic():
        command = Asked(number=number, how=world().rng.choice(HOWS))
        message_id = send(command, reply_to=ASKER, timeout=WAIT)
        Sent.objects.create(what="ask", number=number, message_id=message_id, at=clock.now())
