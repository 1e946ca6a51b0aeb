"""Understand what a person asks of the running gateway: a JSON object in, one :class:`Order` out. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from gateway.errors import OrderRefused
from gateway.table.spec import Stage
from gateway.table.spelling import Wrong, listed, shown
from gateway.table.units import percent_bp

if TYPE_CHECKING:
    from collections.abc import Mapping

DEFAULT_LIMIT, HIGHEST_LIMIT = 100, 5_000
LONGEST_TEXT = 500


class Verb(StrEnum):
    """Name what can be asked."""

    STANDINGS = "standings"
    EVENTS = "events"
    FINDINGS = "findings"
    FINDING = "finding"
    PROMOTE = "promote"
    ROLLBACK = "rollback"
    HOLD = "hold"
    RESUME = "resume"


CHANGES = frozenset({Verb.PROMOTE, Verb.ROLLBACK, Verb.HOLD, Verb.RESUME})


@dataclass(frozen=True, slots=True)
class Order:
    """Be one order as it was understood. ``to`` and ``weight_bp`` are None where nobody said."""

    verb: Verb
    route_id: str | None = None
    to: Stage | None = None
    weight_bp: int | None = None
    by: str = "somebody"
    reason: str = ""
    is_dry: bool = False
    signature: str = ""
    after_id: int = 0
    limit: int = DEFAULT_LIMIT


def parse_order(data: Mapping[str, object]) -> Order:
    """Return the order that a JSON object holds; raise :class:`OrderRefused` (400) for any other."""
    try:
        verb = Verb(str(data.get("verb")))
    except ValueError:
        raise OrderRefused(400, f"there is no order {shown(data.get('verb'))}") from None
    order = Order(
        verb=verb,
        route_id=_text(data, "route") or None,
        to=_stage(data.get("to")),
        weight_bp=_weight(data.get("weight")),
        by=_text(data, "by") or "somebody",
        reason=_text(data, "reason"),
        is_dry=data.get("dry_run") is True,
        signature=_text(data, "signature"),
        after_id=_number(data, "after", 0, 2**62),
        limit=_number(data, "limit", DEFAULT_LIMIT, HIGHEST_LIMIT),
    )
    if order.weight_bp is not None and order.to not in (None, Stage.CANARY):
        raise OrderRefused(400, f"a weight belongs to canary, not to {order.to}; leave one of them out")
    return order


def _text(data: Mapping[str, object], name: str) -> str:
    value = data.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise OrderRefused(400, f"{name}: {shown(value)} is no text")
    return shown(value.strip(), LONGEST_TEXT) if value.strip() else ""


def _number(data: Mapping[str, object], name: str, usual: int, highest: int) -> int:
    value = data.get(name, usual)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= highest:
        raise OrderRefused(400, f"{name}: {shown(value)} is no whole number from 0 to {highest}")
    return value


def _stage(value: object) -> Stage | None:
    if value is None:
        return None
    try:
        return Stage(str(value))
    except ValueError:
        raise OrderRefused(400, f"to: {shown(value)} is no stage: {listed(map(str, Stage))}") from None


def _weight(value: object) -> int | None:
    if value is None:
        return None
    try:
        return percent_bp(value)
    except Wrong as wrong:
        raise OrderRefused(400, f"weight: {wrong.message}; {wrong.repair}") from wrong
