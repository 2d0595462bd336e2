"""One turn of a saga: what a message does to its instance, saved with the handler's outcome or not at all."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

from pydantic import ValidationError

from messaging import failpoints, tracing
from messaging.context import Context, current_scope
from messaging.contracts.model import MessageModel
from messaging.database import store
from messaging.errors import CorrelationChanged, PermanentError, StaleSave
from messaging.ids import new_id
from messaging.models import SagaInstance, SagaTransition, UnsealedRecords
from messaging.policy import seconds
from messaging.publishing import NUL, publish_to
from messaging.sagas.declaring import Rule
from messaging.sagas.messages import SagaTimedOut
from messaging.scheduling.due import cancel_scheduled

if TYPE_CHECKING:
    from messaging.sagas.saga import Saga

Kind = SagaTransition.Kind


@dataclass
class Turn:
    """An instance under way. Its row is as it was read until ``save``."""

    saga: type[Saga[Any]]
    row: SagaInstance
    context: Context
    is_new: bool = False
    read_version: int = 0
    transitions: list[SagaTransition] = field(default_factory=list)

    def act(self, action: Callable[..., None], *message: MessageModel, state: str) -> dict[str, list[Any]]:
        """Call one of the saga's methods and return how the data changed.

        Raises:
            CorrelationChanged, PermanentError: the data cannot be kept.
        """
        running = self.saga(
            correlation=self.row.correlation, state=state, context=self.context, answers=self.row.answers
        )
        before = {} if not self.row.data else json.loads(self.row.data)
        if self.row.data:
            running.data = self._data()
        action(running, *message)
        kept = getattr(running, "data", None)
        if not isinstance(kept, self.saga.definition.data):
            raise PermanentError(f"{self.row.saga}: the method that starts it must set self.data.")
        self.row.data = _text(kept.model_dump_json(), self.row.saga)
        after = json.loads(self.row.data)
        name = self.saga.definition.correlation
        if name in after and str(getattr(kept, name)) != self.row.correlation:
            raise CorrelationChanged(
                f"{self.row.saga}: {name} changed from {self.row.correlation} to {getattr(kept, name)};"
                " a saga keeps its correlation."
            )
        fields = {*before, *after}
        return {f: [before.get(f), after.get(f)] for f in sorted(fields) if before.get(f) != after.get(f)}

    def _data(self) -> Any:
        try:
            return self.saga.definition.data.model_validate_json(self.row.data)
        except ValidationError as error:
            raise PermanentError(
                f"{self.row.saga} {self.row.correlation}: its stored data does not fit"
                f" {self.saga.definition.data.__name__} ({error.errors()[0]['msg']}); give new fields a default."
            ) from error

    def move(self, kind: str, rule: str, to: str, *, action: Callable[[], dict[str, list[Any]]] | None = None,
             entering: bool = False, **facts: Any) -> None:  # fmt: skip
        """Run ``action``, enter ``to`` and note the transition. ``entering`` sets timeouts though the state stays."""
        with self._span(kind, rule, to=to, entering=entering, facts=facts):
            self._move(kind, rule, to, action, entering=entering, **facts)

    def _span(self, kind: str, rule: str, *, to: str, facts: dict[str, Any], entering: bool = False) -> Any:
        """Return the span of a transition, inside the handler's; what the saga sends is below it."""
        if not tracing.is_on():
            return nullcontext()
        row, context = self.row, self.context
        return tracing.span(
            f"ignore {row.saga}" if kind == Kind.IGNORED else f"move {row.saga} to {to}",
            messaging__system="signalbox", messaging__operation__name="ignore" if kind == Kind.IGNORED else "move",
            messaging__message__id=str(context.message_id), messaging__message__conversation_id=context.correlation_id,
            messaging__destination__name=context.type, messaging__consumer__group__name=row.saga,
            signalbox__saga__name=row.saga, signalbox__saga__correlation=row.correlation,
            signalbox__saga__kind=str(kind), signalbox__saga__rule=rule or None,
            signalbox__saga__state_before=None if entering else row.state, signalbox__saga__state_after=to,
            signalbox__saga__completed=facts.get("completed") or None,
            signalbox__saga__undone=facts.get("undone") or None,
        )  # fmt: skip

    def _move(self, kind: str, rule: str, to: str, action: Callable[[], dict[str, list[Any]]] | None, *,
              entering: bool, **facts: Any) -> None:  # fmt: skip
        scope = current_scope.get()
        sent_before = len(scope.published) if scope else 0
        before = self.row.state
        changes = action() if action else {}
        timeouts = self._leave(to) if to != before else []
        self.row.state = to
        if to != before or entering:
            changes = _merged(changes, self._arrive(to))
            timeouts += self._enter(to)
        sent = scope.published[sent_before:] if scope else []
        self.row.version += 1
        if self.saga.definition.is_final(to):
            self.row.ended_at = store().now()
        else:
            self.row.ended_at = None
        self._note(
            kind, rule, before="" if entering else before, changes=changes, timeouts=timeouts,
            messages_out=[
                {"id": str(each.id), "type": each.type, "consumer": each.consumer}
                for each in sent if each.type != SagaTimedOut.contract_name
            ], **facts,
        )  # fmt: skip

    def ignore(self, note: str) -> None:
        """Note a message that changes nothing, so that nobody looks for it in vain."""
        with self._span(Kind.IGNORED, "", to=self.row.state, facts={}):
            self._note(Kind.IGNORED, "", before=self.row.state, note=note)

    def _note(self, kind: str, rule: str, *, before: str, **facts: Any) -> None:
        self.transitions.append(
            SagaTransition(
                id=new_id(),
                instance=self.row.id,
                saga=self.row.saga,
                correlation=self.row.correlation,
                number=self.row.version,
                at=store().now(),
                kind=kind,
                rule=rule,
                message_id=self.context.message_id,
                message_type=self.context.type,
                state_before=before,
                state_after=self.row.state,
                **facts,
            )
        )

    def _leave(self, to: str) -> list[dict[str, str]]:
        definition = self.saga.definition
        staying = {rule.name for rule in definition.timeouts_at(to)}
        noted = []
        for name in sorted(set(self.row.timeouts) - staying):
            cancel_scheduled(UUID(self.row.timeouts.pop(name)["message_id"]), reason=f"{self.row.saga} left the state")
            noted.append({"name": name, "what": "cancelled"})
        return noted

    def _arrive(self, state: str) -> dict[str, list[Any]]:
        changes: dict[str, list[Any]] = {}
        for rule in self.saga.definition.entries_to(state):
            changes = _merged(changes, self.act(rule.action, state=state))
        return changes

    def _enter(self, state: str) -> list[dict[str, str]]:
        noted = []
        for rule in self.saga.definition.timeouts_at(state):
            if rule.name in self.row.timeouts:
                continue  # it spans several states and was set in an earlier one
            due = _due(rule, self._data())
            told = SagaTimedOut(correlation=self.row.correlation, timeout=rule.name)
            message_id = publish_to(self.row.saga, told, key=self.row.correlation, at=due)
            self.row.timeouts[rule.name] = {"message_id": str(message_id), "due_at": due.isoformat()}
            noted.append({"name": rule.name, "what": "requested", "due_at": due.isoformat()})
        return noted

    def save(self) -> None:
        """Write the instance if nobody else did since it was read, and append what happened.

        Raises:
            StaleSave: somebody did; the whole transaction runs again.
        """
        row = self.row
        row.changed_at = store().now()
        if row.version != self.read_version:
            if self.is_new:
                SagaInstance.objects.bulk_create([row], ignore_conflicts=True)
                # Two messages may start it at once: the unique key lets one of them through.
                saved = SagaInstance.objects.filter(id=row.id).count()
            else:
                saved = SagaInstance.objects.filter(id=row.id, version=self.read_version).update(
                    state=row.state, version=row.version, data=row.data, steps=row.steps, answers=row.answers,
                    timeouts=row.timeouts, undoing_to=row.undoing_to, changed_at=row.changed_at, ended_at=row.ended_at,
                )  # fmt: skip
            if not saved:
                raise StaleSave(f"{row.saga} {row.correlation} was changed by another message meanwhile.")
        failpoints.reach("saga.saved")
        SagaTransition.objects.bulk_create(self.transitions)
        UnsealedRecords.objects.create(kind="saga", ids=b"".join(each.id.bytes for each in self.transitions))


def _merged(first: dict[str, list[Any]], then: dict[str, list[Any]]) -> dict[str, list[Any]]:
    """Return what two changes of the data, one after the other, come to."""
    return {**first, **{name: [first.get(name, pair)[0], pair[1]] for name, pair in then.items()}}


def _due(rule: Rule, data: Any) -> datetime:
    wanted = rule.after(data) if callable(rule.after) else timedelta(seconds=seconds(rule.after or 0))
    return wanted if isinstance(wanted, datetime) else store().now() + wanted


def _text(document: str, saga: str) -> str:
    if NUL.search(document.encode()):
        raise PermanentError(f"{saga}: its data holds a NUL character, which cannot be stored as text.")
    return document
