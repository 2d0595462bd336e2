"""Sagas. What happened to them is appended only."""

from typing import Any

import messaging.ids
from django.db import migrations, models

from messaging.database.migrating import RunOnTables

from messaging.database.partitions import CreatePartitionedModel

TABLES = ("messaging_sagatransition",)


def forbid_changes(apps: Any, schema_editor: Any) -> None:
    if schema_editor.connection.vendor == "postgresql":
        for table in TABLES:
            schema_editor.execute(
                f"CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON {table}"
                " FOR EACH ROW EXECUTE FUNCTION messaging_append_only()"
            )
        return
    for table in TABLES:
        schema_editor.execute(
            f"CREATE TRIGGER {table}_no_update BEFORE UPDATE ON {table}"
            f" BEGIN SELECT RAISE(ABORT, '{table} is append-only: UPDATE refused'); END"
        )
        schema_editor.execute(
            f"CREATE TRIGGER {table}_no_delete BEFORE DELETE ON {table} WHEN NOT signalbox_retention()"
            f" BEGIN SELECT RAISE(ABORT, '{table} is append-only: DELETE refused'); END"
        )


def create_first_partitions(apps: Any, schema_editor: Any) -> None:
    from messaging.database.partitions import ensure_partitions

    ensure_partitions()


class Migration(migrations.Migration):
    dependencies = [
        ("messaging", "0012_event_store_and_replays"),
    ]

    operations = [
        migrations.CreateModel(
            name="SagaInstance",
            fields=[
                (
                    "id",
                    models.UUIDField(default=messaging.ids.new_id, editable=False, primary_key=True, serialize=False),
                ),
                ("saga", models.CharField(max_length=200)),
                ("correlation", models.CharField(max_length=200)),
                ("flow", models.CharField(max_length=200)),
                ("state", models.CharField(max_length=100)),
                ("version", models.PositiveIntegerField()),
                ("data", models.TextField()),
                ("steps", models.JSONField(default=list)),
                ("answers", models.JSONField(default=list)),
                ("timeouts", models.JSONField(default=dict)),
                ("undoing_to", models.CharField(blank=True, max_length=100)),
                ("started_at", models.DateTimeField()),
                ("changed_at", models.DateTimeField()),
                ("ended_at", models.DateTimeField(null=True)),
            ],
        ),
        CreatePartitionedModel(
            name="SagaTransition",
            fields=[
                (
                    "id",
                    models.UUIDField(default=messaging.ids.new_id, editable=False, primary_key=True, serialize=False),
                ),
                ("instance", models.UUIDField()),
                ("saga", models.CharField(max_length=200)),
                ("correlation", models.CharField(max_length=200)),
                ("number", models.PositiveIntegerField()),
                ("at", models.DateTimeField()),
                (
                    "kind",
                    models.CharField(
                        choices=[
                            ("message", "Message"),
                            ("composite", "Composite"),
                            ("timeout", "Timeout"),
                            ("undo", "Undo"),
                            ("operator", "Operator"),
                            ("ignored", "Ignored"),
                        ],
                        max_length=16,
                    ),
                ),
                ("rule", models.CharField(max_length=100)),
                ("message_id", models.UUIDField()),
                ("message_type", models.CharField(max_length=200)),
                ("state_before", models.CharField(blank=True, max_length=100)),
                ("state_after", models.CharField(max_length=100)),
                ("changes", models.JSONField(default=dict)),
                ("messages_out", models.JSONField(default=list)),
                ("timeouts", models.JSONField(default=list)),
                ("completed", models.CharField(blank=True, max_length=100)),
                ("undone", models.CharField(blank=True, max_length=100)),
                ("actor", models.CharField(blank=True, max_length=200)),
                ("note", models.TextField(blank=True)),
            ],
        ),
        migrations.AddIndex(
            model_name="deadletter",
            index=models.Index(
                condition=models.Q(("state__in", ["resolved", "discarded"]), _negated=True),
                fields=["correlation_id"],
                name="dead_letter_flow",
            ),
        ),
        migrations.AddIndex(
            model_name="sagainstance",
            index=models.Index(
                condition=models.Q(("ended_at", None)), fields=["saga", "state"], name="saga_unfinished"
            ),
        ),
        migrations.AddIndex(
            model_name="sagainstance",
            index=models.Index(fields=["flow"], name="saga_flow"),
        ),
        migrations.AddIndex(
            model_name="sagainstance",
            index=models.Index(fields=["ended_at"], name="saga_ended"),
        ),
        migrations.AddConstraint(
            model_name="sagainstance",
            constraint=models.UniqueConstraint(fields=("saga", "correlation"), name="saga_once"),
        ),
        migrations.AddIndex(
            model_name="sagatransition",
            index=models.Index(fields=["instance", "number"], name="saga_history"),
        ),
        RunOnTables(forbid_changes, RunOnTables.noop),
        RunOnTables(create_first_partitions, RunOnTables.noop),
    ]
