"""The admin site: what the bus holds, read only; dead letters can be replayed and discarded, like everywhere else.

It reads the models directly, which the rest of the console does not, and changes nothing by itself: its actions call
the same guarded operations, with the same permission and audit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any
from uuid import UUID, uuid4

from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.auth.admin import GroupAdmin as PlainGroupAdmin
from django.contrib.auth.admin import UserAdmin as PlainUserAdmin
from django.contrib.auth.models import Group, User
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.db.models import Model, Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.functional import cached_property
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.admin import ModelAdmin
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm

from console.actors import actor_of
from messaging import contracts, operations
from messaging.errors import BodyUnavailable, OperationRefused, StorageUnavailable
from messaging.models import (
    Attempt,
    AuditRecord,
    ConsumerState,
    DeadLetter,
    Message,
    QuarantinedMessage,
    Worker,
)
from messaging.operations.access import record_denied
from messaging.queries.pages import COUNT_CAP

MOST_AT_ONCE = 1_000
"""One action changes at most this many rows; more belong into a narrower filter."""
SHOWN_BYTES = 100_000


class CappedPaginator(Paginator):  # type: ignore[type-arg]  # not subscriptable at run time
    """Counts no further than COUNT_CAP: the history can hold many millions of rows."""

    @cached_property
    def count(self) -> int:
        rows: Any = self.object_list
        return int(rows.order_by()[:COUNT_CAP].count())


class ReadOnlyAdmin(ModelAdmin):
    """Shows rows to whoever may see the console; nobody adds, changes or deletes them here."""

    paginator = CappedPaginator
    show_full_result_count = False
    list_per_page = 50
    list_max_show_all = 0
    ordering = ("-pk",)
    ids: tuple[str, ...] = ("id",)
    """Fields that a search for an id looks at."""
    texts: tuple[str, ...] = ()
    """Fields that a search for any other text must equal."""
    unread: tuple[str, ...] = ()
    """Long columns that the list does not read."""

    def has_view_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return request.user.has_perm("messaging.view_console")

    def has_module_permission(self, request: HttpRequest) -> bool:
        return self.has_view_permission(request)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        rows: QuerySet[Any] = super().get_queryset(request)
        return rows.defer(*self.unread) if self.unread else rows

    def get_search_fields(self, request: HttpRequest) -> Sequence[str]:
        return (*self.ids, *self.texts)

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """Find an id or an exact text: a search inside texts would read every row."""
        term = search_term.strip()
        if not term or "\x00" in term:
            return queryset if not term else queryset.none(), False
        wanted = Q(pk__in=[])
        with suppress(ValueError):
            wanted |= _any_of(self.ids, UUID(term))
        return queryset.filter(wanted | _any_of(self.texts, term)), False


def _any_of(fields: Sequence[str], value: object) -> Q:
    condition = Q(pk__in=[])
    for field in fields:
        condition |= Q(**{field: value})
    return condition


def moment(field: str) -> Callable[[Model], SafeString | str]:
    """Return a list column that shows a time in one line, in UTC."""

    @admin.display(description=field.removesuffix("_at").replace("_", " "), ordering=field)
    def column(row: Model) -> SafeString | str:
        at = getattr(row, field)
        return format_html('<span style="white-space: nowrap">{}</span>', f"{at:%Y-%m-%d %H:%M:%S}") if at else "-"

    return column


def _preformatted(text: str) -> SafeString:
    return format_html(
        '<pre style="font: 12px/20px monospace; white-space: pre-wrap; overflow-wrap: anywhere">{}</pre>', text
    )


def _body(message: Message) -> SafeString:
    """Show a body with its sensitive fields masked, cut when it is long."""
    try:
        shown = contracts.mask(message.type, message.version, message.content())
    except (BodyUnavailable, StorageUnavailable) as error:
        return _preformatted(str(error))
    text = shown[:SHOWN_BYTES].decode("utf-8", "backslashreplace").replace("\x00", "\\x00")
    return _preformatted(text + (f"\n… {len(shown) - SHOWN_BYTES:,} more bytes" if len(shown) > SHOWN_BYTES else ""))


def _headers(headers: dict[str, Any]) -> SafeString:
    shown = contracts.mask_headers(headers)
    return _preformatted("\n".join(f"{name}: {value}" for name, value in sorted(shown.items())) or "none")


class ConsumerFilter(admin.SimpleListFilter):
    """Offers the registered consumers; a DISTINCT over the listed table could read millions of rows."""

    title = "consumer"
    parameter_name = "consumer"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(name, name) for name in ConsumerState.objects.order_by("name").values_list("name", flat=True)]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(consumer=self.value()) if self.value() else queryset


class ErrorTypeFilter(admin.SimpleListFilter):
    """Offers the error types of unresolved dead letters, which an index holds."""

    title = "error type"
    parameter_name = "error_type"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        unresolved = DeadLetter.objects.filter(~Q(state__in=["resolved", "discarded"]))
        names = unresolved.order_by("error_type").values_list("error_type", flat=True).distinct()[:50]
        return [(name, name.rpartition(".")[2]) for name in names]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(error_type=self.value()) if self.value() else queryset


@admin.register(DeadLetter)
class DeadLetterAdmin(ReadOnlyAdmin):
    """Dead letters, with replay and discard."""

    list_display = (moment("dead_at"), "state", "consumer", "error", "type", "attempts", "resolved_by")
    list_filter = ("state", ConsumerFilter, ErrorTypeFilter)
    ids = ("id", "message_id")
    texts = ("correlation_id", "fingerprint")
    unread = ("traceback",)
    actions = ("replay", "discard")
    fields = (
        "id", "message_id", "consumer", "run", "type", "version", "key", "correlation_id", "reason", "attempts",
        "dead_at", "state", "resolution", "resolved_at", "resolved_by", "copy_id", "fingerprint",
        "error_type", "error_message", "location", "shown_traceback", "body",
    )  # fmt: skip
    readonly_fields = ("shown_traceback", "body")

    def has_operate_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("messaging.operate")

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, str] | None = None) -> Any:
        asked = request.POST.get("action", "")
        if asked in self.actions and self.has_view_permission(request) and not self.has_operate_permission(request):
            record_denied(actor=actor_of(request), action=f"dead_letter.{asked}", target="dead_letter:selection")
            raise PermissionDenied("messaging.operate")
        return super().changelist_view(request, extra_context)

    @admin.display(description="error", ordering="error_type")
    def error(self, row: DeadLetter) -> str:
        message = row.error_message[:80] + ("…" if len(row.error_message) > 80 else "")
        return f"{row.error_type.rpartition('.')[2]}: {message}"

    @admin.display(description="traceback")
    def shown_traceback(self, row: DeadLetter) -> SafeString:
        return _preformatted(row.traceback)

    @admin.display(description="body")
    def body(self, row: DeadLetter) -> SafeString | str:
        message = Message.objects.filter(id=row.message_id).first()
        return _body(message) if message else "The message is past retention."

    @admin.action(description="Replay…", permissions=["operate"])
    def replay(self, request: HttpRequest, queryset: QuerySet[DeadLetter]) -> HttpResponse | None:
        """Run the selected dead letters again, unchanged."""
        return self._operate(request, queryset, "replay", "Replay", operations.replay_dead_letters)

    @admin.action(description="Discard…", permissions=["operate"])
    def discard(self, request: HttpRequest, queryset: QuerySet[DeadLetter]) -> HttpResponse | None:
        """Give the selected dead letters up."""
        return self._operate(request, queryset, "discard", "Discard", operations.discard_dead_letters)

    def _operate(
        self,
        request: HttpRequest,
        queryset: QuerySet[DeadLetter],
        action: str,
        verb: str,
        operation: Callable[..., operations.BulkResult],
    ) -> HttpResponse | None:
        """Ask for a reason first; then call the operation for the ids that were on that page."""
        ids = list(queryset.order_by("-pk").values_list("id", flat=True)[: MOST_AT_ONCE + 1])
        if len(ids) > MOST_AT_ONCE:
            words = f"More than {MOST_AT_ONCE:,} are selected; nothing was changed. Narrow the filter."
            self.message_user(request, words, messages.ERROR)
            return None
        problem = ""
        if "confirmed" in request.POST:
            try:
                result = operation(
                    ids=ids,
                    actor=actor_of(request),
                    reason=request.POST.get("reason", "").strip(),
                    request_id=request.POST.get("request_id") or None,
                )
            except OperationRefused as refusal:
                problem = str(refusal)
            else:
                self._report(request, verb, result)
                return None
        return self._confirm(request, ids, action, verb, problem)

    def _confirm(self, request: HttpRequest, ids: list[UUID], action: str, verb: str, problem: str) -> HttpResponse:
        rows = DeadLetter.objects.filter(id__in=ids).defer("traceback").order_by("-id")
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": f"{verb} {len(ids):,} dead letter{'' if len(ids) == 1 else 's'}",
            "verb": verb,
            "action": action,
            "ids": ids,
            "rows": rows[:20],
            "more": max(0, len(ids) - 20),
            "consumers": sorted({row.consumer for row in rows}),
            "checkbox": ACTION_CHECKBOX_NAME,
            "request_id": request.POST.get("request_id") or str(uuid4()),
            "reason": request.POST.get("reason", ""),
            "problem": problem,
        }
        status = 422 if problem else 200
        return render(request, "admin/signalbox/confirm_operation.html", context, status=status)

    def _report(self, request: HttpRequest, verb: str, result: operations.BulkResult) -> None:
        past = {"Replay": "sent again; not settled yet", "Discard": "discarded"}[verb]
        if result.done:
            self.message_user(request, f"{len(result.done):,} {past}.", messages.SUCCESS)
        if result.refused:
            why = "; ".join(sorted({refusal.why for refusal in result.refused})[:5])
            self.message_user(request, f"{len(result.refused):,} left as they are: {why}.", messages.WARNING)


@admin.register(Message)
class MessageAdmin(ReadOnlyAdmin):
    """Every message as it was published."""

    list_display = (moment("published_at"), "type", "version", "key", "source", "correlation_id", "id")
    texts = ("correlation_id",)
    unread = ("body",)
    fields = (
        "id", "type", "version", "kind", "source", "tenant", "content_type", "shown_headers", "key", "position",
        "correlation_id", "causation_id", "traceparent", "occurred_at", "published_at", "shown_body",
    )  # fmt: skip
    readonly_fields = ("shown_headers", "shown_body")

    @admin.display(description="headers")
    def shown_headers(self, row: Message) -> SafeString:
        return _headers(row.headers)

    @admin.display(description="body")
    def shown_body(self, row: Message) -> SafeString:
        return _body(row)


@admin.register(Attempt)
class AttemptAdmin(ReadOnlyAdmin):
    """Every execution and how it ended."""

    list_display = (moment("started_at"), "consumer", "outcome", "number", "duration_us", "error_type", "message_id")
    ids = ("id", "message_id")
    unread = ("traceback", "error_message")


@admin.register(ConsumerState)
class ConsumerAdmin(ReadOnlyAdmin):
    """Consumers as deployed."""

    list_display = (
        "name",
        "guarantee",
        "queue",
        moment("paused_at"),
        "paused_by",
        "pause_reason",
        moment("retired_at"),
    )
    ordering = ("name",)
    ids = ()
    texts = ("name",)


@admin.register(Worker)
class WorkerAdmin(ReadOnlyAdmin):
    """Processes with a heartbeat."""

    list_display = ("name", "role", "host", "pid", "release", moment("started_at"), moment("heartbeat_at"))
    texts = ("name", "host")


@admin.register(AuditRecord)
class AuditAdmin(ReadOnlyAdmin):
    """Who did what."""

    list_display = (moment("at"), "actor", "action", "outcome", "target", "reason")
    texts = ("actor", "target", "action", "request_id")


@admin.register(QuarantinedMessage)
class QuarantineAdmin(ReadOnlyAdmin):
    """What an ingress could not take in; retried and discarded on the console's own page."""

    list_display = (moment("received_at"), "kind", "source", "type", "reason", "state")
    list_filter = ("state", "kind")
    ids = ("id", "message_id")
    texts = ("external_id", "type")
    unread = ("raw",)
    exclude = ("raw", "headers")
    readonly_fields = ("shown_headers",)

    @admin.display(description="headers")
    def shown_headers(self, row: QuarantinedMessage) -> SafeString:
        return _headers(row.headers)


admin.site.unregister(User)
admin.site.unregister(Group)


@admin.register(User)
class UserAdmin(PlainUserAdmin, ModelAdmin):  # type: ignore[type-arg]
    """Accounts."""

    form = UserChangeForm
    add_form = UserCreationForm
    change_password_form = AdminPasswordChangeForm


@admin.register(Group)
class GroupAdmin(PlainGroupAdmin, ModelAdmin):
    """Roles."""
