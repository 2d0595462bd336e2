"""The laboratory's HTTP face: it takes training runs and answers how they ended."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated
from uuid import UUID

from django.http import HttpRequest, JsonResponse
from django.urls import path, reverse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_GET, require_POST
from pydantic import BaseModel, ConfigDict, Field

from examples.problems import Refusals, problem, taking
from examples.training.events import Dataset
from examples.training.models import TrainingRun
from examples.training.starting import RunConflict, start_training


class NewRun(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    run_id: UUID | None = None
    """Sent again with the same id, a run is started once."""
    dataset: Dataset
    strength: Annotated[float, Field(gt=0)] = 1.0
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0


_REFUSALS: Refusals = {
    RunConflict: lambda error: problem(HTTPStatus.CONFLICT, f"run_id: {error}", field="run_id"),
}


@csrf_exempt  # no cookie gives anyone a right here
@require_POST
@taking("a training run", _REFUSALS)
def runs(request: HttpRequest) -> JsonResponse:
    """Start a training run: 201, also when it was started before; 409 when its id is another's."""
    new = NewRun.model_validate_json(request.body)
    id = start_training(**new.model_dump())
    response = JsonResponse(_state(TrainingRun.objects.get(id=id)), status=201)
    response["Location"] = reverse("lab-run", args=[id])
    return response


@require_GET
def run(request: HttpRequest, run_id: UUID) -> JsonResponse:
    """Answer the state of one run."""
    found = TrainingRun.objects.filter(id=run_id).first()
    return JsonResponse(_state(found)) if found else problem(404, f"There is no run {run_id}.")


def _state(row: TrainingRun) -> dict[str, object]:
    return {"run_id": str(row.id), "dataset": row.dataset, "state": row.state}


urlpatterns = [path("runs", runs, name="lab-runs"), path("runs/<uuid:run_id>", run, name="lab-run")]
