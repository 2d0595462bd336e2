"""Moves of sagas enter the hash chain; those that were made before are noted for the next seal."""

from collections.abc import Iterator
from typing import Any

from django.db import migrations

BATCH = 10_000


def note_unsealed(apps: Any, schema_editor: Any) -> None:
    noted = apps.get_model("messaging", "UnsealedRecords")
    moves = apps.get_model("messaging", "SagaTransition").objects
    for ids in _batches(moves):
        noted.objects.create(kind="saga", ids=b"".join(each.bytes for each in ids))


def _batches(moves: Any) -> Iterator[list[Any]]:
    found = moves.order_by("id").values_list("id", flat=True)
    ids = list(found[:BATCH])
    while ids:
        yield ids
        ids = list(found.filter(id__gt=ids[-1])[:BATCH])


class Migration(migrations.Migration):
    dependencies = [
        ("messaging", "0013_sagas"),
    ]

    operations = [
        migrations.RunPython(note_unsealed, migrations.RunPython.noop),
    ]
