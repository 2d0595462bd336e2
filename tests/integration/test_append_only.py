from __future__ import annotations

from typing import Any

import pytest
from django.db import DatabaseError, transaction

from messaging import clock
from messaging.models import AuditRecord


def record() -> AuditRecord:
    return AuditRecord.objects.create(
        at=clock.now(), actor="ann", actor_kind="user", action="replay", outcome="done", target="message:1"
    )


@pytest.mark.django_db(transaction=True)
class TestAppendOnlyHistory:
    """Two tests with rows each: the flush between them has to work as well."""

    @pytest.mark.parametrize("change", [{"reason": "tidied up"}, {"outcome": "refused"}])
    def test_refuses_to_change_a_record(self, change: dict[str, Any]) -> None:
        kept = record()
        with pytest.raises(DatabaseError, match="append-only: UPDATE refused"), transaction.atomic():
            AuditRecord.objects.filter(id=kept.id).update(**change)
        kept.refresh_from_db()
        assert (kept.reason, kept.outcome) == ("", "done")

    def test_refuses_to_delete_a_record(self) -> None:
        kept = record()
        with pytest.raises(DatabaseError, match="append-only: DELETE refused"), transaction.atomic():
            AuditRecord.objects.filter(id=kept.id).delete()
        assert AuditRecord.objects.count() == 1
