"""Ask a worker for what the store knows, on behalf of everybody who looks at the admin listener.

Ten open pages must not cost ten times the queries: where the routes stand is asked for at most once a second
(less often where that takes long), and by one at a time. What cannot be answered is an answer, too: why not.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from gateway.errors import OrderRefused
from gateway.rollout.standing import Standing, parse_standing
from gateway.shadowing.keeping import signature_id
from gateway.table.compile import route_id

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.web.reports import Report, RouteReport

Ask = Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]
"""What carries out an order; it raises :class:`~gateway.errors.OrderRefused`."""

FRESH_S, FRESH_TROUBLE_S = 1.0, 3.0

LOOKING_SHARE = 0.1
"""The share of the time that looking may take a worker's store thread, however large the table is."""

SHOWN_EVENTS, SHOWN_FINDINGS = 20, 50


@dataclass(frozen=True, slots=True)
class Known:
    """Be what the store knows of all routes at one moment; ``error`` says why it is nothing.

    ``standings`` are by route id, ``events`` newest first, ``findings`` worst first (as JSON objects).
    """

    standings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    events: tuple[Mapping[str, Any], ...] = ()
    findings: tuple[Mapping[str, Any], ...] = ()
    false_promotions: float = 0.0
    false_rollbacks: float = 0.0
    controller: str | None = None
    error: str = ""

    def of(self, route: RouteReport) -> Standing | None:
        """Return where one route stands: as the file says, unless the store knows better; None in trouble."""
        found = self.standings.get(route.id)
        if found is not None:
            return parse_standing(found)
        if self.error:
            return None
        step = f"{route.stage} {route.weight}" if route.weight else route.stage
        return Standing(route.id, route.key, step, step, (step,))


class Inquiry:
    """Ask by ``ask`` (None: there is nobody to ask)."""

    def __init__(self, ask: Ask | None) -> None:
        self._ask = ask
        self._known = Known()
        self._asked_at = float("-inf")
        self._fresh_s = FRESH_S
        self._lock = asyncio.Lock()

    async def order(self, order: dict[str, Any]) -> dict[str, Any]:
        """Return the answer to one order; raise :class:`OrderRefused`."""
        if self._ask is None:
            raise OrderRefused(503, "there is no worker to ask")
        answer = await self._ask(order)
        if answer.get("changed"):
            self._asked_at = float("-inf")
        return answer

    async def known(self) -> Known:
        """Return what is known, at most a second old."""
        async with self._lock:
            began = time.monotonic()
            if began - self._asked_at >= self._fresh_s:
                self._known = await self._look()
                self._asked_at = time.monotonic()
                usual_s = FRESH_TROUBLE_S if self._known.error else FRESH_S
                self._fresh_s = max(usual_s, (self._asked_at - began) / LOOKING_SHARE)
            return self._known

    async def _look(self) -> Known:
        try:
            stand = await self.order({"verb": "standings"})
            events = await self.order({"verb": "events", "limit": SHOWN_EVENTS})
            findings = await self.order({"verb": "findings", "limit": SHOWN_FINDINGS})
        except OrderRefused as refusal:
            return Known(error=refusal.detail)
        return Known(
            standings={each["route_id"]: each for each in stand["standings"]},
            events=tuple(events["events"]),
            findings=tuple(findings["differences"]),
            false_promotions=stand["false_promotions"],
            false_rollbacks=stand["false_rollbacks"],
            controller=stand["controller"],
        )


def live_findings(report: Report) -> list[dict[str, Any]]:
    """Return what the workers themselves remember of findings, as the store would list it, worst first."""
    found = [
        {
            "route": finding["route"],
            "route_id": route_id(finding["route"]),
            "signature": signature_id(finding["kind"], finding["place"]),
            "kind": finding["kind"],
            "place": finding["place"],
            "sentence": finding["message"],
            "is_waived": finding["waived"] >= finding["count"],
            "is_advisory": finding["is_advisory"],
            "count": finding["count"],
            "first_seen": finding["first"],
            "last_seen": finding["last"],
        }
        for finding in report.differences
    ]
    return sorted(found, key=lambda each: (each["is_waived"] or each["is_advisory"], -each["count"]))
