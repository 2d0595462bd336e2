"""manage.py ingest: recorded messages through the same door as REST."""

from __future__ import annotations

import gzip
import io
import json
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from examples.ecommerce.orders.models import Order
from messaging.models import Message, QuarantinedMessage
from messaging.settings import options
from messaging.subscriptions import synchronise
from tests.shop import draft, let_retries_come_due

pytestmark = pytest.mark.django_db(transaction=True)


def placed(number: int, **changes: Any) -> dict[str, Any]:
    order = draft(number=number)
    data = {**order, "total": "10.00"}
    return {"type": "ecommerce.OrderPlaced", "version": 2, "id": f"recorded-{number}", "data": data, **changes}


def write(path: Path, *lines: dict[str, Any] | bytes) -> Path:
    path.write_bytes(b"\n".join(line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines))
    return path


def ingest(path: Path, *arguments: str) -> dict[str, Any]:
    out = io.StringIO()
    call_command("ingest", str(path), "--json", *arguments, stdout=out)
    report: dict[str, Any] = json.loads(out.getvalue())
    return report


class TestIngest:
    def test_publishes_every_line_and_the_flow_runs(self, tmp_path: Path) -> None:
        synchronise()
        report = ingest(write(tmp_path / "orders.jsonl", *(placed(n) for n in range(3))))
        assert (report["lines"], report["accepted"]) == (3, 3)
        let_retries_come_due()
        assert set(Order.objects.values_list("state", flat=True)) == {"confirmed"}

    def test_takes_a_message_once_when_it_is_run_again(self, tmp_path: Path) -> None:
        path = write(tmp_path / "orders.jsonl", *(placed(n) for n in range(3)))
        ingest(path)
        report = ingest(path)
        assert (report["accepted"], report["duplicate"]) == (0, 3)
        assert Message.objects.count() == 3

    def test_keeps_what_it_cannot_publish_and_goes_on(self, tmp_path: Path) -> None:
        too_long = b'{"type": "' + b"x" * (options().max_body_bytes + 10_000) + b'"}'
        path = write(
            tmp_path / "orders.jsonl",
            placed(1),
            b"\xff\xfe not UTF-8",
            b'{"type": "ecommerce.Order',
            placed(2, type="ecommerce.OrderForgotten"),
            too_long,
            placed(1, data={**draft(number=1), "total": "99.00"}),
            b"",
            placed(3),
        )
        report = ingest(path)
        assert (report["accepted"], report["quarantined"], report["parked"], report["conflict"]) == (2, 3, 1, 1)
        where = {problem["line"]: problem["outcome"] for problem in report["problems"]}
        assert where == {2: "quarantined", 3: "quarantined", 4: "parked", 5: "quarantined", 6: "conflict"}
        assert all(problem["reason"] for problem in report["problems"])
        assert QuarantinedMessage.objects.count() == 5

    def test_reads_compressed_files(self, tmp_path: Path) -> None:
        path = tmp_path / "orders.jsonl.gz"
        path.write_bytes(gzip.compress(json.dumps(placed(1)).encode()))
        assert ingest(path)["accepted"] == 1

    def test_reads_cloudevents(self, tmp_path: Path) -> None:
        data = placed(1)["data"]
        event = {"specversion": "1.0", "id": "ce-1", "source": "/till/7", "type": "ecommerce.OrderPlaced", "data": data}
        report = ingest(write(tmp_path / "events.jsonl", event), "--format", "cloudevents")
        assert report["accepted"] == 1, report

    def test_says_that_a_file_cannot_be_read(self, tmp_path: Path) -> None:
        with pytest.raises(CommandError, match="Cannot read") as refused:
            ingest(tmp_path / "missing.jsonl")
        assert refused.value.returncode == 2

    def test_keeps_what_came_before_a_damaged_part(self, tmp_path: Path) -> None:
        whole = gzip.compress(b"".join(json.dumps(placed(n)).encode() + b"\n" for n in range(2000)), compresslevel=0)
        path = tmp_path / "cut.jsonl.gz"
        path.write_bytes(whole[: len(whole) // 2])
        with pytest.raises(CommandError) as refused:
            ingest(path)
        assert refused.value.returncode == 2
        assert Message.objects.exists()
