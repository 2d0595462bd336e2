"""The bank's HTTP face: it takes payments and answers how they ended."""

from __future__ import annotations

from uuid import UUID

from django.http import HttpRequest, JsonResponse
from django.urls import path, reverse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_GET, require_POST
from pydantic import BaseModel, ConfigDict

from examples.payments.events import AccountId, Cents, Country, Device, MerchantId
from examples.payments.initiating import initiate_payment
from examples.payments.ledger import UnknownAccount
from examples.payments.models import Payment
from examples.problems import problem, taking


class NewPayment(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    payment_id: UUID | None = None
    """Sent again with the same id, a payment is taken once."""
    account: AccountId
    merchant: MerchantId
    amount_cents: Cents
    country: Country
    device: Device


@csrf_exempt  # no cookie gives anyone a right here
@require_POST
@taking("a payment")
def payments(request: HttpRequest) -> JsonResponse:
    """Take a payment: 201, also when it was taken before; 422 when nobody opened the account."""
    new = NewPayment.model_validate_json(request.body)
    try:
        id = initiate_payment(**new.model_dump())
    except UnknownAccount as error:
        return problem(422, f"account: {error}", field="account")
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
