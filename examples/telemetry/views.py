"""The plant's HTTP face: gateways hand over what their sensors said, many readings at a time."""

from __future__ import annotations

from typing import Annotated

from django.db import transaction
from django.http import HttpRequest, JsonResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST
from pydantic import Field, TypeAdapter

from examples.problems import taking
from examples.telemetry.events import TelemetryReceived
from messaging import publish

MOST = 1000
_READINGS: TypeAdapter[list[TelemetryReceived]] = TypeAdapter(
    Annotated[list[TelemetryReceived], Field(max_length=MOST)]
)


@csrf_exempt  # no cookie gives anyone a right here
@require_POST
@taking("a list of readings")
def readings(request: HttpRequest) -> JsonResponse:
    """Take all of them or none: 202 with their number."""
    given = _READINGS.validate_json(request.body)
    with transaction.atomic():
        for event in given:
            publish(event, key=event.sensor)
    return JsonResponse({"accepted": len(given)}, status=202)


urlpatterns = [path("readings", readings, name="plant-readings")]
