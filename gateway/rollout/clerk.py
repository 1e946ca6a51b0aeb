"""Take people's orders in a worker: what changes something goes to the store, who only looks makes none."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Any

from gateway.errors import OrderRefused
from gateway.rollout.order import CHANGES, Order, Verb, parse_order
from gateway.rollout.orders import carry_out
from gateway.rollout.reading import NothingKept, look
from gateway.store import StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from gateway.rollout.standing import Row
    from gateway.rollout.state import State
    from gateway.store import Ledger

log = logging.getLogger("gateway.rollout")


class Clerk:
    """Carry out orders on ``state``; ``rows`` returns the table in force."""

    def __init__(self, state: State, rows: Callable[[], Sequence[Row]]) -> None:
        self._state = state
        self._rows = rows

    async def carry_out(self, data: Mapping[str, object]) -> dict[str, Any]:
        """Return the answer to an order, as JSON-able values; raise :class:`OrderRefused`."""
        order, rows = parse_order(data), self._rows()
        is_change = order.verb in CHANGES
        if self._state.store is None and not is_change:
            return await asyncio.to_thread(look, NothingKept(), rows, order, time.time())
        store = await self._state.opened()

        def question(ledger: Ledger) -> dict[str, Any]:
            return carry_out(ledger, rows, order, time.time())

        try:
            answer = await asyncio.wrap_future(store.ask(question))
        except StoreUnavailable as error:
            raise OrderRefused(503, f"the store cannot be used: {error}{_way_out(order, rows)}") from error
        if is_change and answer["changed"] and not order.is_dry:
            _log(order, answer)
        return answer


def _way_out(order: Order, rows: Sequence[Row]) -> str:
    """Say what moves a row while the store cannot be used: the file."""
    key = next((row.spec.key for row in rows if row.route_id == order.route_id), None)
    if key is None or order.verb not in (Verb.PROMOTE, Verb.ROLLBACK):
        return ""
    return f"; the file needs no store: gateway {order.verb} '{key}'"


def _log(order: Order, answer: Mapping[str, Any]) -> None:
    log.warning(
        "%s: %s, %s → %s, by %s%s",
        answer["route"]["key"],
        answer["kind"],
        answer["before"],
        answer["after"],
        order.by,
        f": {order.reason}" if order.reason else "",
    )
