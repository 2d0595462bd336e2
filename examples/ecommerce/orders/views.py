"""The shop's HTTP face: it takes real orders and answers how far they got."""

from __future__ import annotations

from http import HTTPStatus
from uuid import UUID

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import reverse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_GET, require_POST

from examples.ecommerce.orders.models import Order
from examples.ecommerce.orders.placing import LARGEST_TOTAL, NewOrder, OrderConflict, OrderTooLarge, place_order
from examples.problems import Refusals, problem, taking

SOURCE_HEADER = "X-Order-Source"


_REFUSALS: Refusals = {
    OrderTooLarge: lambda _: problem(422, f"items: the total is more than {LARGEST_TOTAL}.", field="items"),
    OrderConflict: lambda _: problem(
        HTTPStatus.CONFLICT, "order_id: it belongs to another order; make a new id.", field="order_id"
    ),
}


@csrf_exempt  # no cookie gives anyone a right here
@require_POST
@taking("an order", _REFUSALS)
def orders(request: HttpRequest) -> HttpResponse:
    """Take an order: 201, 200 when it was taken before, 409 when its id belongs to another order."""
    placed = place_order(NewOrder.model_validate_json(request.body), source=_source(request))
    response = JsonResponse(_state(placed.order), status=201 if placed.is_new else 200)
    response["Location"] = reverse("shop-order", args=[placed.order.id])
    return response


@require_GET
def order(request: HttpRequest, order_id: UUID) -> JsonResponse:
    """Answer the state of one order."""
    found = Order.objects.filter(id=order_id).first()
    if found is None:
        return problem(HTTPStatus.NOT_FOUND, f"There is no order {order_id}.")
    return JsonResponse(_state(found))


def _state(order: Order) -> dict[str, object]:
    return {
        "order_id": str(order.id),
        "form": order.form,
        "state": order.state,
        "total": str(order.total),
        "currency": order.currency,
        "cancel_reason": order.cancel_reason,
        "placed_at": order.placed_at.isoformat(),
        "settled_at": order.settled_at.isoformat() if order.settled_at else None,
    }


def _source(request: HttpRequest) -> str:
    given = request.headers.get(SOURCE_HEADER, "")
    return given if given.isascii() and given.isprintable() and len(given) <= 50 else ""
