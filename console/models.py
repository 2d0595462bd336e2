from __future__ import annotations

from django.db import models


class ApiToken(models.Model):
    """A program's key to the API. The secret is shown once at creation; only its hash is kept."""

    prefix = models.CharField(primary_key=True, max_length=16)
    """The public half, by which the row is found and named in lists."""
    digest = models.CharField(max_length=64)
    name = models.CharField(max_length=100)
    scopes = models.JSONField(default=list)
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField(null=True)
    last_used_at = models.DateTimeField(null=True)
    """Exact to about a minute: a write for every request would cost more than it tells."""
    revoked_at = models.DateTimeField(null=True)

    class Meta:
        verbose_name = "API token"
        constraints = [
            models.UniqueConstraint(
                fields=["name"], condition=models.Q(revoked_at=None), name="api_token_name_in_use_once"
            ),
        ]

    def __str__(self) -> str:
        return self.name
