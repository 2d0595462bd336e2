"""The bank's HTTP face: it takes payments and answers how they ended."""

from __future__ import annotations

from http import HTTPStatus
from uuid import UUID

from django.http import HttpRequest, JsonResponse
from django.urls import path, reverse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_GET, require_POST
from pydantic import BaseModel, ConfigDict

from examples.payments.events import AccountId, Cents, Country, Device, MerchantId
from examples.payments.initiating import PaymentConflict, initiate_payment
from examples.payments.ledger import UnknownAccount
from examples.payments.models import Payment
from examples.problems import Refusals, problem, taking


class NewPayment(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    payment_id: UUID | None = None
    """Sent again with the same id, a payment is taken once."""
    account: AccountId
    merchant: MerchantId
    amount_cents: Cents
    country: Country
    device: Device


_REFUSALS: Refusals = {
    UnknownAccount: lambda error: problem(422, f"account: {error}", field="account"),
    PaymentConflict: lambda error: problem(HTTPStatus.CONFLICT, f"payment_id: {error}", field="payment_id"),
}


@csrf_exempt  # no cookie gives anyone a right here
@require_POST
@taking("a payment", _REFUSALS)
def payments(request: HttpRequest) -> JsonResponse:
    """Take a payment: 201, also when it was taken before; 409 when its id is another's, 422 without an account."""
    new = NewPayment.model_validate_json(request.body)
    id = initiate_payment(**new.model_dump())
    response = JsonResponse(_state(Payment.objects.get(id=id)), status=201)
    response["Location"] = reverse("bank-payment", args=[id])
    return response


@require_GET
def payment(request: HttpRequest, payment_id: UUID) -> JsonResponse:
    """Answer the state of one payment."""
    found = Payment.objects.filter(id=payment_id).first()
    return JsonResponse(_state(found)) if found else problem(404, f"There is no payment {payment_id}.")


def _state(row: Payment) -> dict[str, object]:
    return {"payment_id": str(row.id), "account": row.account_id, "state": row.state, "reason": row.reason}


urlpatterns = [
    path("payments", payments, name="bank-payments"),
    path("payments/<uuid:payment_id>", payment, name="bank-payment"),
]
