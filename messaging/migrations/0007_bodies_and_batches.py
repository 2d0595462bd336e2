"""Where a large body is, when a message expires, and how many messages a batch consumer takes."""

from __future__ import annotations

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('messaging', '0006_seals'),
    ]

    operations = [
        migrations.AddField(
            model_name='message',
            name='expires_at',
            field=models.DateTimeField(null=True),
        ),
        migrations.AddField(
            model_name='message',
            name='blob',
            field=models.JSONField(null=True),
        ),
        migrations.AddField(
            model_name='consumerstate',
            name='batch_size',
            field=models.PositiveIntegerField(null=True),
        ),
        migrations.AddField(
            model_name='consumerstate',
            name='batch_seconds',
            field=models.FloatField(null=True),
        ),
    ]
