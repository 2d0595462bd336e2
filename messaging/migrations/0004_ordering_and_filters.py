"""Positions of ordered deliveries and filters of subscriptions. Columns have defaults in the database, so that a process
of the release before can still write these tables while a deploy is under way.
"""

from __future__ import annotations

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('messaging', '0003_limits'),
    ]

    operations = [
        migrations.CreateModel(
            name='KeyCounter',
            fields=[
                ('key', models.CharField(max_length=200, primary_key=True, serialize=False)),
                ('last', models.BigIntegerField()),
            ],
        ),
        migrations.RemoveIndex(
            model_name='delivery',
            name='delivery_claimable',
        ),
        migrations.AddField(
            model_name='consumerstate',
            name='filter',
            field=models.JSONField(null=True),
        ),
        migrations.AddField(
            model_name='consumerstate',
            name='is_ordered',
            field=models.BooleanField(db_default=False),
        ),
        migrations.AddField(
            model_name='consumerstate',
            name='on_failure',
            field=models.CharField(blank=True, db_default='', max_length=8),
        ),
        migrations.AddField(
            model_name='deadletter',
            name='blocks',
            field=models.BooleanField(db_default=False),
        ),
        migrations.AddField(
            model_name='deadletter',
            name='position',
            field=models.BigIntegerField(null=True),
        ),
        migrations.AddField(
            model_name='subscription',
            name='filter',
            field=models.JSONField(null=True),
        ),
        migrations.AddField(
            model_name='subscription',
            name='is_ordered',
            field=models.BooleanField(db_default=False),
        ),
        migrations.AlterField(
            model_name='attempt',
            name='outcome',
            field=models.CharField(choices=[('handled', 'Handled'), ('ignored', 'Ignored'), ('retried', 'Retried'), ('postponed', 'Postponed'), ('dead_lettered', 'Dead Lettered'), ('crashed', 'Crashed'), ('dropped', 'Dropped'), ('filtered', 'Filtered')], max_length=16),
        ),
        migrations.AddIndex(
            model_name='deadletter',
            index=models.Index(condition=models.Q(('blocks', True)), fields=['consumer', 'key', 'position'], name='dead_letter_blocks'),
        ),
        migrations.AddIndex(
            model_name='delivery',
            index=models.Index(condition=models.Q(('claim_token', None), ('position', None)), fields=['consumer', 'available_at', 'message_id'], name='delivery_unordered'),
        ),
        migrations.AddIndex(
            model_name='delivery',
            index=models.Index(condition=models.Q(('claim_token', None), ('position__isnull', False)), fields=['consumer', 'available_at'], name='delivery_ordered'),
        ),
        migrations.AddIndex(
            model_name='delivery',
            index=models.Index(condition=models.Q(('position__isnull', False)), fields=['consumer', 'key', 'position'], name='delivery_lane'),
        ),
        migrations.AddIndex(
            model_name='outboxentry',
            index=models.Index(condition=models.Q(('position__isnull', False)), fields=['key', 'position'], name='outbox_lane'),
        ),
    ]
