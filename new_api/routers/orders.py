"""Take and show orders."""

import asyncio

from fastapi import APIRouter, HTTPException, Response

from new_api.database import Session
from new_api.identity import CurrentUser
from new_api.models import Order, Product
from new_api.providers import ProvidersClient
from new_api.schemas import OrderCreate, OrderOut, RowId

router = APIRouter(prefix="/orders", tags=["orders"])

REFUSALS = {"declined": (402, "The payment was declined"), "failed": (502, "The payment provider failed")}


@router.post("", status_code=201, response_model=OrderOut)
async def create(
    data: OrderCreate, user: CurrentUser, session: Session, providers: ProvidersClient, response: Response
) -> Order:
    """Store the order, then call the three providers at once: the client waits for the slowest only.

    The order is committed before the calls: no transaction stays open while another company thinks.
    """
    product = await session.get(Product, data.product_id)
    if product is None:
        raise HTTPException(400, "product_id names no product")
    total_cents = product.price_cents * data.quantity
    order = Order(user_id=user.id, product=product, quantity=data.quantity, total_cents=total_cents)
    session.add(order)
    await session.commit()

    async with asyncio.TaskGroup() as group:
        paying = group.create_task(providers.pay(order.id, order.total_cents))
        group.create_task(providers.send_mail(user.email, f"Your order {order.id}"))
        group.create_task(providers.note_event("order.placed", order.id))
    payment = paying.result()

    order.status, order.payment_reference = payment.status, payment.reference
    await session.commit()
    if payment.status in REFUSALS:
        raise HTTPException(*REFUSALS[payment.status])
    response.headers["Location"] = f"/orders/{order.id}"
    return order


@router.get("/{order_id}", response_model=OrderOut)
async def show(order_id: RowId, user: CurrentUser, session: Session) -> Order:
    """Show an order to its owner and to administrators; to others it does not exist."""
    order = await session.get(Order, order_id)
    if order is None or not (order.user_id == user.id or user.is_admin):
        raise HTTPException(404)
    return order
