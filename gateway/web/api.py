"""Answer the admin listener's JSON API: what is so now from the workers' reports, the rest from the store.

The live part keeps answering when the store does not: then ``standing`` is null and ``store_error`` says why.
Changes are orders that a worker carries out; a refusal keeps its status and its sentence.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.routing import Route

from gateway.errors import OrderRefused
from gateway.web.inquiry import live_findings
from gateway.web.stream import EventStream, events_of

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from starlette.requests import Request
    from starlette.responses import Response

    from gateway.web.inquiry import Inquiry, Known
    from gateway.web.reports import Overview, RouteReport

VERBS = ("promote", "rollback", "hold", "resume")
BODY_LIMIT_BYTES = 65_536

_ORDER_KEYS = frozenset({"to", "weight", "by", "reason", "dry_run"})


class Api:
    """Serve ``/api``; ``provider`` returns the workers' merged report, ``stopping`` ends open streams."""

    def __init__(self, provider: Callable[[], Overview], inquiry: Inquiry, stopping: asyncio.Event) -> None:
        self._provider = provider
        self._inquiry = inquiry
        self._stopping = stopping

    def routes(self) -> list[Route]:
        """Return the routes of the API."""
        return [
            Route("/api/routes", self.list_routes),
            Route("/api/routes/{id}", self.show_route),
            *(Route(f"/api/routes/{{id}}/{verb}", self._changing(verb), methods=["POST"]) for verb in VERBS),
            Route("/api/differences", self.list_differences),
            Route("/api/differences/{id}/{signature}", self.show_difference),
            Route("/api/events", self.list_events),
            Route("/api/status", self.show_status),
            Route("/api/stream", self.stream),
        ]

    async def list_routes(self, _: Request) -> Response:
        """List every route with its counts, and where it stands."""
        overview, known = self._provider(), await self._inquiry.known()
        return JSONResponse(
            {
                "generation": overview.report.generation,
                "routes": [_route(overview, route, known) for route in overview.report.routes],
                **_levels(known),
            }
        )

    async def show_route(self, request: Request) -> Response:
        """Show one route."""
        overview, known = self._provider(), await self._inquiry.known()
        route = _route(overview, _find(overview, request), known)
        return JSONResponse({**route, "store_error": known.error or None})

    async def list_differences(self, request: Request) -> Response:
        """List the findings of all workers since the store was made; without it, of the workers now."""
        report = self._provider().report
        found: dict[str, Any] = {}
        try:
            found = await self._inquiry.order({"verb": "findings", **_query(request, "route", "limit")})
            error = None
        except OrderRefused as refusal:
            if refusal.status < 500:
                raise
            error = refusal.detail
        return JSONResponse(
            {
                "differences": found.get("differences", live_findings(report)),
                "dropped": dict(report.shadow_dropped),
                "stopped": dict(report.shadow_stopped),
                "store_error": error,
            }
        )

    async def show_difference(self, request: Request) -> Response:
        """Show one finding whole, with its examples."""
        wanted = {"route": request.path_params["id"], "signature": request.path_params["signature"]}
        return JSONResponse(await self._inquiry.order({"verb": "finding", **wanted}))

    async def list_events(self, request: Request) -> Response:
        """List the newest events, of one ``route`` and ``after`` an id where that is asked for."""
        wanted = _query(request, "route", "after", "limit")
        return JSONResponse(await self._inquiry.order({"verb": "events", **wanted}))

    async def show_status(self, _: Request) -> Response:
        """Show the workers, the table in force, and every trouble."""
        return JSONResponse(_status(self._provider(), await self._inquiry.known()))

    async def stream(self, request: Request) -> Response:
        """Send what changes, as it changes."""
        last = request.headers.get("last-event-id", "")
        after_id = int(last) if last.isascii() and last.isdigit() else None
        return EventStream(
            events_of(self._provider, self._inquiry, self._stopping, _route, after_id=after_id)
        )

    def _changing(self, verb: str) -> Callable[[Request], Any]:
        async def change(request: Request) -> Response:
            order = {**await _order(request), "verb": verb, "route": _find(self._provider(), request).id}
            order.setdefault("by", "the admin API")
            return JSONResponse(await self._inquiry.order(order))

        return change


def _find(overview: Overview, request: Request) -> RouteReport:
    wanted = request.path_params["id"]
    for route in overview.report.routes:
        if route.id == wanted:
            return route
    raise HTTPException(404, f"no route has the id {wanted}; /api/routes lists them all")


def _route(overview: Overview, route: RouteReport, known: Known) -> dict[str, Any]:
    standing = known.of(route)
    return {
        **asdict(route),
        "latency": {name: each.quantiles() for name, each in overview.totals.latencies(route.key).items()},
        "standing": standing.as_json() if standing is not None else None,
    }


def _levels(known: Known) -> dict[str, Any]:
    return {
        "false_promotions": known.false_promotions,
        "false_rollbacks": known.false_rollbacks,
        "controller": known.controller,
        "store_error": known.error or None,
    }


def _status(overview: Overview, known: Known) -> dict[str, Any]:
    report = overview.report
    return {
        "address": overview.address,
        "config": overview.config,
        "started_at": overview.started_at,
        "restarts": overview.restarts,
        "workers": [asdict(worker) for worker in overview.workers],
        "generation": report.generation,
        "digest": report.digest,
        "is_uniform": overview.is_uniform,
        "is_valid": report.is_valid,
        "problems": report.problems,
        "is_ready": report.is_ready,
        "reasons": report.reasons,
        "backends": dict(report.backends),
        "threads": dict(report.threads),
        "store": dict(report.store),
        "limits": dict(report.limits),
        "event_loop_lag_s": report.lag_s,
        "breakers": dict(report.breakers),
        "receivers": list(report.receivers),
        "shadow_dropped": dict(report.shadow_dropped),
        "shadow_stopped": dict(report.shadow_stopped),
        **_levels(known),
    }


def _query(request: Request, *names: str) -> dict[str, Any]:
    """Return the named query parameters; those of digits only are numbers, as orders want them."""
    found: dict[str, Any] = {}
    for name in names:
        text = request.query_params.get(name)
        if text is not None:
            is_number = name != "route" and text.isascii() and text.isdigit() and len(text) < 20
            found[name] = int(text) if is_number else text
    return found


async def _order(request: Request) -> dict[str, Any]:
    """Return the JSON object of a change's body; nothing is the same as an empty one."""
    data = b""
    async for chunk in request.stream():
        data += chunk
        if len(data) > BODY_LIMIT_BYTES:
            raise HTTPException(413, "an order is a small JSON object")
    try:
        body = json.loads(data) if data.strip() else {}
    except ValueError as exc:
        raise HTTPException(400, f"the body is no JSON: {exc}") from exc
    if not isinstance(body, dict):
        raise HTTPException(400, "the body is no JSON object")
    unknown = sorted(body.keys() - _ORDER_KEYS)
    if unknown:
        raise HTTPException(400, f"{unknown[0]!r} is no key of an order: {', '.join(sorted(_ORDER_KEYS))}")
    return body
