"""Claim check: what is too large for a row lies in a storage, and neither gets lost nor stays behind."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, ClassVar
from uuid import UUID, uuid4

import pytest
from django.db import connection, transaction
from django.test import Client
from django.test.utils import CaptureQueriesContext

from messaging import BodyUnavailable, Context, Event, Sensitive, payloads, publish
from messaging.database import store
from messaging.errors import StorageUnavailable
from messaging.models import DeadLetter, Message
from messaging.operations import replay_dead_letters
from messaging.pruning import prune
from messaging.replays.selecting import left_out_in_shadow
from messaging.settings import options
from messaging.subscriptions import synchronise
from messaging.sweeping import GRACE, sweep_bodies
from messaging.testing import Harness
from messaging.verification import verify
from tests import rows
from tests.api import Api, problem
from tests.factories import ANA, ANNOUNCE, Station, TrainArrived, outcomes
from tests.servers import Process, free_port, is_listening

MEGABYTES = 1_000_000
TEN_MEGABYTES = "x" * 10 * MEGABYTES
MESSAGING = {"max_body_bytes": 20 * MEGABYTES, "inline_body_bytes": 1000}
LARGE = TrainArrived(train="L" * 2000)


class ManifestFiled(Event, version=1, name="tests.ManifestFiled"):
    text: str


class PassportScanned(Event, version=1, name="tests.PassportScanned"):
    holder: Annotated[str, Sensitive("name")]
    scan: str


@pytest.fixture
def folder(settings: Any, tmp_path: Path) -> Iterator[Path]:
    """Large bodies lie in a directory."""
    file_system = {"BACKEND": "django.core.files.storage.FileSystemStorage", "OPTIONS": {"location": str(tmp_path)}}
    yield from _storage(settings, file_system, tmp_path)


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An S3-compatible server of the test's own, on loopback."""
    port = free_port()
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    server = Process(command, directory=tmp_path_factory.mktemp("s3"))
    server.wait_until(lambda: is_listening(port))
    yield f"http://127.0.0.1:{port}"
    server.stop()


@pytest.fixture(params=["file system", "S3"])
def anywhere(request: pytest.FixtureRequest, settings: Any, tmp_path: Path) -> Iterator[Any]:
    """Large bodies lie in a directory, then the same in a bucket."""
    if request.param == "file system":
        yield request.getfixturevalue("folder")
        return
    import boto3

    address = request.getfixturevalue("s3")
    access = {"region_name": "eu-central-1", "access_key": "test", "secret_key": "test"}
    name = f"bodies-{uuid4()}"
    boto3.client(
        "s3", endpoint_url=address, region_name="eu-central-1", aws_access_key_id="test", aws_secret_access_key="test"
    ).create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
    bucket = {"bucket_name": name, "endpoint_url": address, "location": "bus", "file_overwrite": False}
    backend = {"BACKEND": "storages.backends.s3.S3Storage", "OPTIONS": {**bucket, **access}}
    yield from _storage(settings, backend, tmp_path)


def _storage(settings: Any, backend: dict[str, Any], place: Path) -> Iterator[Path]:
    settings.STORAGES = {**settings.STORAGES, "signalbox": backend}
    settings.MESSAGING = {**settings.MESSAGING, **MESSAGING}
    options.cache_clear()
    yield place
    options.cache_clear()


def stored() -> list[str]:
    """Return the names of all bodies in the storage."""
    try:
        days, _ = payloads.storage().listdir("bodies")
    except FileNotFoundError:
        return []
    return [name for day in days for name in payloads.storage().listdir(f"bodies/{day}")[1]]


class Noted:
    """A consumer that notes how much it was given."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.__qualname__ = f"Noted of {id(self)}"

    def __call__(self, event: Any, context: Context) -> None:
        self.sizes.append(len(event.train if hasattr(event, "train") else event.text))


class TestLargeBody:
    def test_of_10_megabytes_goes_from_rest_to_its_consumer_and_back(
        self, anywhere: Any, harness: Harness, station: Station
    ) -> None:
        handler = Noted()
        station.declare(handler, to=ManifestFiled)
        api = Api("publish", "read")
        sent = {"type": "tests.ManifestFiled", "version": 1, "data": {"text": TEN_MEGABYTES}}
        answer = api.post("/messages", sent)
        assert answer.status_code == 202, answer.content
        row = Message.objects.get()
        assert row.blob is not None
        assert (bytes(row.body), row.blob["bytes"]) == (b"", len(row.content()))
        harness.run()
        assert handler.sizes == [10 * MEGABYTES]
        assert api.get(f"/messages/{row.id}").json()["data"]["text"] == TEN_MEGABYTES
        assert len(stored()) == 1
        assert verify().is_sound

    def test_is_refused_beyond_the_limit_of_what_is_accepted(self, folder: Path, db: None) -> None:
        sent = {"type": "tests.ManifestFiled", "version": 1, "data": {"text": TEN_MEGABYTES * 2}}
        problem(Api("publish").post("/messages", sent), 413)
        assert stored() == []

    def test_that_the_storage_does_not_take_is_refused_whole_and_may_be_sent_again(
        self, folder: Path, db: None
    ) -> None:
        (folder / "bodies").write_text("not a directory")
        sent = {"type": "tests.ManifestFiled", "version": 1, "id": "m-1", "data": {"text": TEN_MEGABYTES}}
        answer = Api("publish").post("/messages", sent)
        problem(answer, 503)
        assert answer["Retry-After"]
        assert not Message.objects.exists()
        (folder / "bodies").unlink()
        assert Api("publish", name="till").post("/messages", sent).json()["status"] == "accepted"

    def test_stays_in_its_row_when_it_is_small_or_where_no_storage_is_set(
        self, folder: Path, db: None, settings: Any
    ) -> None:
        with transaction.atomic():
            publish(TrainArrived(train="short"))
            settings.STORAGES = {name: value for name, value in settings.STORAGES.items() if name != "signalbox"}
            publish(LARGE)
        assert list(Message.objects.values_list("blob", flat=True)) == [None, None]

    def test_of_a_follow_up_and_of_a_scheduled_message_goes_the_same_way(
        self, folder: Path, harness: Harness, station: Station
    ) -> None:
        handler = Noted()
        station.declare(lambda event, context: publish(LARGE), to=ManifestFiled)
        station.declare(handler, name="station.note")
        harness.publish(ManifestFiled(text="go"))
        harness.publish(LARGE, delay="1h")
        harness.finish()
        assert handler.sizes == [2000, 2000]
        assert len(stored()) == 2


class TestLostBody:
    def test_is_dead_lettered_with_the_reason_and_replayed_once_it_is_restored(
        self, folder: Path, harness: Harness, station: Station
    ) -> None:
        handler = Noted()
        station.declare(handler)
        harness.publish(LARGE)
        [file] = folder.rglob("*.json")
        whole = file.read_bytes()
        file.unlink()
        harness.run()
        [letter] = harness.dead_lettered(TrainArrived, reason="permanent", error=BodyUnavailable)
        assert "is missing from the storage" in letter.error_message
        file.write_bytes(whole)
        replay_dead_letters(ids=[letter.id], actor=ANA, reason="restored from the backup")
        harness.run()
        assert handler.sizes == [2000]

    def test_that_was_changed_is_not_handled(self, folder: Path, harness: Harness, station: Station) -> None:
        handler = Noted()
        station.declare(handler)
        harness.publish(LARGE)
        [file] = folder.rglob("*.json")
        file.write_text('{"train": "another"}')
        harness.run()
        [letter] = harness.dead_lettered(TrainArrived, error=BodyUnavailable)
        assert "was changed" in letter.error_message
        assert handler.sizes == []

    def test_is_tried_again_when_the_storage_does_not_answer(
        self, folder: Path, harness: Harness, station: Station
    ) -> None:
        handler = Noted()
        station.declare(handler)
        harness.publish(LARGE)
        [day] = (folder / "bodies").iterdir()
        hidden = day.rename(folder / "hidden")
        day.write_text("not a directory")
        harness.run()
        assert outcomes()[-1] == "retried"
        problem(Api("read").get(f"/messages/{Message.objects.get().id}"), 503)
        day.unlink()
        hidden.rename(day)
        harness.finish()
        assert handler.sizes == [2000]


class TestFilteredLargeBody:
    """The relay reads no storage: what filters say of a large body is noted while it is in hand, at the publish."""

    WANTED: ClassVar[dict[str, Any]] = {"train": [{"prefix": "L"}]}

    def test_is_asked_like_a_small_one(self, anywhere: Any, harness: Harness, station: Station) -> None:
        station.declare(handler := Noted(), filter=self.WANTED)
        harness.publish(LARGE)
        harness.publish(TrainArrived(train="S" * 3000))
        harness.publish(TrainArrived(train="L"))
        harness.run()
        assert sorted(handler.sizes) == [1, 2000]
        assert outcomes().count("filtered") == 1
        assert verify().is_sound

    def test_needs_no_storage_when_it_is_relayed(self, folder: Path, harness: Harness, station: Station) -> None:
        station.declare(filter={"train": [{"prefix": "S"}]})
        harness.publish(LARGE)
        harness.publish(TrainArrived(train="S"))
        shutil.rmtree(folder / "bodies")
        harness.run()
        assert sorted(outcomes()) == ["filtered", "handled"]

    def test_is_not_needed_by_a_filter_of_headers(self, folder: Path, harness: Harness, station: Station) -> None:
        station.declare(handler := Noted(), filter={"headers.region": ["eu"]})
        harness.publish(LARGE, headers={"region": "eu"})
        harness.publish(LARGE, headers={"region": "us"})
        harness.run()
        assert handler.sizes == [2000]
        assert all(not (row.blob or {}).get("verdicts") for row in Message.objects.all())

    def test_passes_a_filter_that_came_after_the_publish(
        self, folder: Path, harness: Harness, station: Station
    ) -> None:
        station.declare(handler := Noted(), filter=self.WANTED)
        harness.publish(TrainArrived(train="S" * 3000), delay="1h")
        harness.publish(LARGE, delay="1h")
        station.declare(handler, filter={"train": [{"prefix": "X"}]})
        synchronise(is_deploy=True)
        harness.finish()
        assert sorted(handler.sizes) == [2000, 3000]

    def test_of_a_scheduled_message_is_asked_when_it_is_due(
        self, folder: Path, harness: Harness, station: Station
    ) -> None:
        station.declare(handler := Noted(), filter=self.WANTED)
        harness.publish(TrainArrived(train="S" * 3000), delay="1h")
        harness.finish()
        assert (handler.sizes, outcomes()) == ([], ["filtered"])

    @pytest.mark.parametrize("wanted", [{"train": [{"numeric": [">=", 0.1]}]}, {"$or": [{"train": ["x", 1e22, "é"]}]}])
    def test_knows_its_filter_again_whoever_reads_the_row(
        self, folder: Path, harness: Harness, station: Station, wanted: dict[str, Any]
    ) -> None:
        station.declare(handler := Noted(), filter=wanted)
        harness.publish(LARGE)
        harness.run()
        assert (handler.sizes, outcomes()) == ([], ["filtered"])

    def test_costs_small_bodies_no_question(self, folder: Path, harness: Harness, station: Station) -> None:
        station.declare(filter=self.WANTED)
        with CaptureQueriesContext(connection) as small:
            harness.publish(TrainArrived(train="L"))
        with CaptureQueriesContext(connection) as large:
            harness.publish(LARGE)
        assert len(large) == len(small) + 1

    def test_is_read_for_a_replay_whose_filter_was_not_asked_then(
        self, folder: Path, harness: Harness, station: Station
    ) -> None:
        station.declare(name="station.other")
        harness.publish(LARGE)
        harness.publish(TrainArrived(train="S" * 3000))
        harness.run()
        declared = station.declare(filter={"train": [{"prefix": "S"}]})
        found = left_out_in_shadow(declared, list(Message.objects.order_by("id")))
        assert found == {Message.objects.earliest("id").id: "not wanted by its filter"}

    def test_that_cannot_be_read_for_a_replay_holds_the_replay_back(
        self, folder: Path, harness: Harness, station: Station
    ) -> None:
        harness.publish(LARGE)
        shutil.rmtree(folder / "bodies")
        (folder / "bodies").write_text("not a directory")
        with pytest.raises(StorageUnavailable):
            left_out_in_shadow(station.declare(filter=self.WANTED), list(Message.objects.all()))


class TestSweep:
    def test_collects_what_a_rolled_back_publish_left_but_not_too_early(self, anywhere: Any, db: None) -> None:
        with transaction.atomic():
            publish(LARGE)
            transaction.set_rollback(True)
        with transaction.atomic():
            kept = publish(LARGE)
        assert len(stored()) == 2
        now = store().now()
        assert sweep_bodies(now + GRACE - timedelta(minutes=1), keep_from=now) == 0
        assert sweep_bodies(now + GRACE + timedelta(minutes=1), keep_from=now - timedelta(days=30)) == 1
        assert stored() == [f"{kept.hex}.json"]

    def test_is_part_of_retention_which_leaves_no_body_behind_and_takes_none_too_early(
        self, folder: Path, transactional_db: None
    ) -> None:
        old, young, needed = (_large(age) for age in (60, 5, 45))
        rows.dead_letter(Message.objects.get(id=needed))
        prune()
        assert sorted(stored()) == sorted(f"{id.hex}.json" for id in (young, needed))
        DeadLetter.objects.update(state="discarded", resolved_at=store().now() - timedelta(days=60))
        prune()
        assert stored() == [f"{young.hex}.json"]
        assert not Message.objects.filter(id=old).exists()

    def test_needs_no_storage(self, db: None, settings: Any) -> None:
        settings.STORAGES = {name: value for name, value in settings.STORAGES.items() if name != "signalbox"}
        assert sweep_bodies(store().now(), keep_from=store().now()) == 0


class TestConsole:
    def test_shows_the_beginning_and_hands_out_the_rest_as_a_file(
        self, folder: Path, db: None, admin_client: Client
    ) -> None:
        with transaction.atomic():
            id = publish(PassportScanned(holder="Ada Lovelace", scan=TEN_MEGABYTES))
        page = admin_client.get(f"/messages/{id}").content.decode()
        assert len(page) < 300_000
        assert "The first 64 KiB of 9.5" in page
        assert "Ada Lovelace" not in page
        file = admin_client.get(f"/messages/{id}/body")
        assert file["Content-Disposition"] == f'attachment; filename="{id}.json"'
        assert file["X-Content-Type-Options"] == "nosniff"
        assert json.loads(file.content)["scan"] == TEN_MEGABYTES
        assert b"Ada Lovelace" not in file.content

    def test_says_that_a_body_is_gone(self, folder: Path, db: None, admin_client: Client) -> None:
        with transaction.atomic():
            id = publish(LARGE)
        next(folder.rglob("*.json")).unlink()
        assert "is missing from the storage" in admin_client.get(f"/messages/{id}").content.decode()
        assert admin_client.get(f"/messages/{id}/body").status_code == 410
        assert (
            "is missing from the storage" in admin_client.get(f"/admin/messaging/message/{id}/change/").content.decode()
        )
        problem(Api("read").get(f"/messages/{id}"), 410)

    def test_offers_no_editor_for_it_and_takes_a_corrected_copy_through_rest(
        self, folder: Path, harness: Harness, station: Station, admin_client: Client
    ) -> None:
        handler = Noted()
        station.declare(handler)
        harness.fail(ANNOUNCE, times=9)
        harness.publish(LARGE)
        harness.finish()
        [letter] = harness.dead_lettered(TrainArrived)
        answer = admin_client.get(f"/dead-letters/one/{letter.id}/resubmit", follow=True)
        assert "too much for an editor" in answer.content.decode()
        body = {"data": {"train": "M" * 3000}, "reason": "corrected"}
        sent = Api("read", "operate").post(f"/dead-letters/{letter.id}/resubmit", body)
        assert sent.status_code < 300, sent.content
        harness.fail(ANNOUNCE, times=0)
        harness.finish()
        assert handler.sizes[-1] == 3000


def _large(days: int) -> UUID:
    """Store a large message that was published so many days ago."""
    from messaging.database.partitions import ensure_partitions

    at = store().now() - timedelta(days=days)
    ensure_partitions(today=at, days_ahead=0)
    id = rows.id_of(at)
    rows.message(id=id, published_at=at, body=b"", blob=payloads.set_aside(id, b"{}" + b" " * 2000))
    return id
