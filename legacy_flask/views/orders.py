"""Take and show orders."""

from flask import Blueprint, jsonify, url_for
from flask.typing import ResponseReturnValue
from flask_login import current_user, login_required

from legacy_flask import providers
from legacy_flask.database import session
from legacy_flask.models import Order, Product
from legacy_flask.validation import LARGEST_ID, InvalidInputError, json_object, whole_number

blueprint = Blueprint("orders", __name__)

REFUSALS = {"declined": ("The payment was declined", 402), "failed": ("The payment provider failed", 502)}


@blueprint.post("/orders")
@login_required  # type: ignore[untyped-decorator]  # Flask-Login has no types
def create() -> ResponseReturnValue:
    """Store the order, then call the providers one after another, while the client waits.

    The order is committed before the calls: no transaction stays open while another company thinks.
    """
    body = json_object()
    product_id = whole_number(body, "product_id", least=1, most=LARGEST_ID)
    quantity = whole_number(body, "quantity", least=1, most=100)
    product = session().get(Product, product_id)
    if product is None:
        raise InvalidInputError("product_id names no product")
    total_cents = product.price_cents * quantity
    order = Order(user_id=current_user.id, product=product, quantity=quantity, total_cents=total_cents)
    session().add(order)
    session().commit()

    payment = providers.pay(order.id, order.total_cents)
    providers.send_mail(current_user.email, f"Your order {order.id}")
    providers.note_event("order.placed", order.id)

    order.status, order.payment_reference = payment.status, payment.reference
    session().commit()
    if payment.status in REFUSALS:
        message, status = REFUSALS[payment.status]
        return {"error": message}, status
    return jsonify(order.to_dict()), 201, {"Location": url_for("orders.show", order_id=order.id)}


@blueprint.get("/orders/<int:order_id>")
@login_required  # type: ignore[untyped-decorator]  # Flask-Login has no types
def show(order_id: int) -> ResponseReturnValue:
    """Show an order to its owner and to administrators; to others it does not exist."""
    order = session().get(Order, order_id) if order_id <= LARGEST_ID else None
    if order is None or not (order.user_id == current_user.id or current_user.is_admin):
        return {"error": "Not found"}, 404
    return jsonify(order.to_dict())
