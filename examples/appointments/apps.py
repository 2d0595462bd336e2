from __future__ import annotations

from django.apps import AppConfig


class AppointmentsConfig(AppConfig):
    """Appointments by a saga over an event-sourced schedule (R2); see docs/flows/appointments.md."""

    name = "examples.appointments"
    default_auto_field = "django.db.models.BigAutoField"
