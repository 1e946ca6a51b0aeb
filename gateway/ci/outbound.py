"""Put into words what two sides' calls to others cannot share: the moment at which they were made."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from gateway.compare.rows import NOW_UTC, scalar

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.compare.observation import OutboundCall
    from gateway.compare.rows import Window


def settled(calls: Iterable[OutboundCall], window: Window) -> tuple[OutboundCall, ...]:
    """Return the calls with every moment within ``window`` in a JSON body called now, as in rows."""
    return tuple(replace(call, body=_body(call.body, window)) for call in calls)


def _body(body: bytes | None, window: Window) -> bytes | None:
    if body is None or body[:1] not in (b"{", b"["):
        return body
    try:
        value = json.loads(body)
        named = _named(value, window)
    except (ValueError, RecursionError):
        return body
    return body if named == value else json.dumps(named, ensure_ascii=False).encode("utf-8", "replace")


def _named(value: Any, window: Window) -> Any:
    if isinstance(value, dict):
        return {name: _named(each, window) for name, each in value.items()}
    if isinstance(value, list):
        return [_named(each, window) for each in value]
    if isinstance(value, str):
        return scalar(value, window)
    if isinstance(value, int | float) and 1e9 < value < 1e13:
        seconds = value / 1000 if value > 1e11 else value
        return NOW_UTC if window.name_of(datetime.fromtimestamp(seconds, UTC)) else value
    return value
