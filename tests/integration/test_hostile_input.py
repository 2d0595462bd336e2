"""What nobody should ever send or keep, sent and kept: no page breaks, no secret shows."""

from __future__ import annotations

import json
from uuid import UUID

import pytest
from django.contrib.auth.models import User
from django.test import Client

from examples.ecommerce.events import OrderPlaced
from messaging import failure, ingest
from messaging.models import AuditRecord
from tests import rows
from tests.api import Api
from tests.pages import signed_in

pytestmark = pytest.mark.django_db

ORDER = {
    "order_id": "01a1eef6-efee-7af2-9cee-c5cf0b15fe17", "customer_email": "ada@example.com",
    "card_token": "tok_of_ada", "items": [{"sku": "TEA", "quantity": 1, "unit_price": "5.00"}], "currency": "EUR",
}  # fmt: skip


def set_aside(document: object, *, content_type: str = "application/json") -> UUID:
    raw = document if isinstance(document, bytes) else json.dumps(document).encode()
    received = ingest.ingest(
        raw, content_type=content_type, source="partner", headers={"Authorization": "Basic cGFzcw=="}
    )
    assert received.quarantine_id
    return received.quarantine_id


class TestQuarantineMasks:
    @pytest.mark.parametrize(
        "envelope",
        [
            {"type": "ecommerce.OrderPlaced", "version": 2, "data": ORDER},
            {"type": "ecommerce.OrderPlaced", "version": 99, "data": ORDER},
            {"type": "ecommerce.OrderPlaced", "version": 2, "data": ORDER, "surprise": 1},
            {"specversion": "1.0", "id": "1", "source": "/p", "type": "ecommerce.OrderPlaced.v2", "data": ORDER},
        ],
        ids=["against its contract", "unknown version", "unknown field", "cloud event"],
    )
    def test_the_sensitive_fields_of_what_it_kept(self, envelope: dict[str, object]) -> None:
        item = set_aside(envelope)
        page = signed_in("vera", "view_console").get(f"/quarantine/{item}").content.decode()
        assert "EUR" in page
        assert "ada@example.com" not in page
        assert b"ada@example.com".hex(" ")[:20] not in page

    def test_credentials_among_headers_in_the_admin_too(self) -> None:
        item = set_aside(b"no json")
        root = Client()
        root.force_login(User.objects.create_superuser("root"))
        page = root.get(f"/admin/messaging/quarantinedmessage/{item}/change/").content.decode()
        assert "hidden, 14 characters" in page
        assert "cGFzcw" not in page


class TestApi:
    def test_hides_credentials_among_headers_until_they_are_revealed(self) -> None:
        message = rows.message(headers={"authorization": "Basic cGFzcw==", "region": "north"})
        hidden = Api("read").get(f"/messages/{message.id}").json()["headers"]
        assert (hidden["region"], "cGFzcw" in hidden["authorization"]) == ("north", False)
        shown = Api("read", "reveal").get(f"/messages/{message.id}", reveal=1, reason="ticket 4").json()["headers"]
        assert shown["authorization"] == "Basic cGFzcw=="


class TestTracebacks:
    def test_never_quote_the_values_of_a_message(self) -> None:
        broken = {**ORDER, "total": "much"}
        try:
            OrderPlaced.model_validate(broken)
        except ValueError as error:
            kept = failure.describe(error, consumer="x")
        assert "total" in kept.message
        assert "ada@" not in kept.traceback
        assert "much" not in kept.traceback


class TestPages:
    def test_answer_the_highest_id_there_is(self) -> None:
        viewer = signed_in("vera", "view_console")
        assert viewer.get("/messages?upto=ffffffff-ffff-ffff-ffff-ffffffffffff").status_code == 200

    @pytest.mark.parametrize("path", ["/consumers/%00", "/dead-letters/%00"])
    def test_deny_a_path_that_no_database_can_store(self, path: str) -> None:
        assert signed_in("eve").get(path).status_code == 403
        assert AuditRecord.objects.get().outcome == "denied"

    def test_note_an_address_of_any_length(self) -> None:
        response = signed_in("eve").get("/messages", REMOTE_ADDR="spoofed by a proxy header " * 20)
        assert response.status_code == 403
        assert len(AuditRecord.objects.get().address) == 64

    def test_send_whoever_is_signed_in_on_from_the_login(self) -> None:
        assert signed_in("vera", "view_console").get("/login?next=/login")["Location"] == "/"

    @pytest.mark.parametrize("path", ["/messages", "/dead-letters", "/quarantine", "/audit"])
    def test_stay_out_of_every_cache(self, path: str) -> None:
        assert "no-store" in signed_in("vera", "view_console").get(path)["Cache-Control"]


class TestAdmin:
    @pytest.mark.parametrize("path", ["deadletter/?state=%00", "attempt/?consumer=%00", "consumerstate/%00/change/"])
    def test_refuses_what_no_database_can_look_for(self, path: str) -> None:
        root = Client()
        root.force_login(User.objects.create_superuser("root"))
        assert root.get(f"/admin/messaging/{path}").status_code == 400
