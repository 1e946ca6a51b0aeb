"""Send what changes on the admin listener as server-sent events: routes, and events of the rollout.

    event: routes    data: {"routes": [...]}     those whose counts or standing changed
    event: events    data: {"events": [...]}     oldest first; the id of the last one is the event's id
    event: trouble   data: {"detail": "..."}     why the store says nothing (empty: it does again)

A browser that reconnects says which event it saw last, and gets what it missed. An open stream never keeps
the process from stopping: it ends with ``stopping``.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from typing import TYPE_CHECKING, Any

from starlette.responses import StreamingResponse

from gateway.errors import OrderRefused

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from gateway.web.inquiry import Inquiry, Known
    from gateway.web.reports import Overview, RouteReport

    Describe = Callable[[Overview, RouteReport, Known], dict[str, Any]]

PERIOD_S = 1.0
QUIET_S = 15.0
"""How long nothing may be sent before a comment shows that the stream is alive."""

MISSED_EVENTS = 500


class EventStream(StreamingResponse):
    """Be an answer of server-sent events."""

    media_type = "text/event-stream"


async def events_of(
    provider: Callable[[], Overview],
    inquiry: Inquiry,
    stopping: asyncio.Event,
    describe: Describe,
    *,
    after_id: int | None = None,
) -> AsyncIterator[str]:
    """Yield the stream's text, until ``stopping``; ``after_id`` is the last event seen (None: none yet)."""
    sent: dict[str, Any] = {}
    trouble = ""
    spoke_at = time.monotonic()
    yield "retry: 2000\n\n"
    while not stopping.is_set():
        known = await inquiry.known()
        messages = []
        overview = provider()
        fresh = {route.id: describe(overview, route, known) for route in overview.report.routes}
        changed = [route for id_, route in fresh.items() if _seen(route) != sent.get(id_)]
        if changed:
            messages.append(_message("routes", {"routes": changed}))
        sent = {id_: _seen(route) for id_, route in fresh.items()}
        if known.error != trouble:
            trouble = known.error
            messages.append(_message("trouble", {"detail": trouble}))
        if not trouble:
            events, after_id = await _news(inquiry, known, after_id)
            if events:
                messages.append(_message("events", {"events": events}, number=after_id))
        if not messages and time.monotonic() - spoke_at >= QUIET_S:
            messages.append(": still here\n\n")
        for message in messages:
            spoke_at = time.monotonic()
            yield message
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PERIOD_S):
                await stopping.wait()


async def _news(
    inquiry: Inquiry, known: Known, after_id: int | None
) -> tuple[list[dict[str, Any]], int | None]:
    """Return the events after ``after_id``, oldest first, and the newest id; without one, only the id."""
    newest = max((event["id"] for event in known.events), default=0)
    if after_id is None or newest <= after_id:
        return [], newest if after_id is None else after_id
    try:
        answer = await inquiry.order({"verb": "events", "after": after_id, "limit": MISSED_EVENTS})
    except OrderRefused:
        return [], after_id  # they are told when the store answers again
    events = list(reversed(answer["events"]))
    return events, max((event["id"] for event in events), default=after_id)


def _seen(route: dict[str, Any]) -> dict[str, Any]:
    """Return a route without what changes by the clock alone."""
    standing = route.get("standing")
    if standing is None:
        return route
    by_clock = ("numbers", "missing", "sentence")
    return {**route, "standing": {name: v for name, v in standing.items() if name not in by_clock}}


def _message(event: str, data: dict[str, Any], *, number: int | None = None) -> str:
    head = f"id: {number}\n" if number is not None else ""
    return f"{head}event: {event}\ndata: {json.dumps(data, separators=(',', ':'))}\n\n"
