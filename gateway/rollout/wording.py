"""Word where a route stands, the same way on the admin page and in a terminal. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.rollout.standing import SideStanding, Standing

EVENT_WORDS = {
    "placed": "taken up",
    "changed": "the row changed",
    "advanced": "moved on",
    "rolled_back": "rolled back",
    "held": "held",
    "resumed": "resumed",
    "forgotten": "row removed",
    "breaker_opened": "breaker opened",
    "breaker_closed": "breaker closed",
}


def duration(seconds: float) -> str:
    """Return ``12 s``, ``5 min``, ``3 h``, ``2 d``: whole units, rounded down."""
    whole = int(max(0.0, seconds))
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if whole >= size:
            return f"{whole // size} {unit}"
    return f"{whole} s"


def ago(at: float, now: float) -> str:
    """Return how long ago ``at`` was (both in Unix seconds)."""
    return f"{duration(now - at)} ago" if now - at >= 1 else "just now"


def percent(fraction: float) -> str:
    """Return a share with two significant digits, three from 10% on: ``0.14%``, ``12.5%``."""
    return f"{fraction * 100:.2g}%" if fraction < 0.1 else f"{fraction * 100:.3g}%"


def milliseconds(seconds: float | None) -> str:
    """Return a response time in ms without its unit: ``0.42``, ``8.1``, ``1,200``; a dash without one."""
    if seconds is None:
        return "–"
    ms = seconds * 1000
    return f"{ms:.2f}" if ms < 1 else f"{ms:.1f}" if ms < 10 else f"{ms:,.0f}"


def differing(standing: Standing) -> str:
    """Return k of n and the bound of its rate: ``2 of 5,120 differ: 0.039%, at most 0.14%``."""
    n = standing.comparisons
    if not n:
        return "nothing compared yet"
    waived = f", {standing.waived:,} waived" if standing.waived else ""
    if not standing.mismatches:
        return f"0 of {n:,} differ: at most {percent(standing.rate_high)}{waived}"
    rate = percent(standing.mismatches / n)
    return f"{standing.mismatches:,} of {n:,} differ: {rate}, at most {percent(standing.rate_high)}{waived}"


def quantiles(side: SideStanding) -> str:
    """Return ``p50 / p95 / p99`` in ms; empty without answers."""
    if side.p50_s is None:
        return ""
    return " / ".join(map(milliseconds, (side.p50_s, side.p95_s, side.p99_s)))


def verdict(standing: Standing) -> str:
    """Say in one sentence what stands between the route and its next step; empty where nothing is to say."""
    if standing.is_rolled_back and standing.is_held:
        return "rolled back, and held: nothing moves it until somebody resumes it"
    if standing.is_rolled_back:
        why = f": {standing.reason}" if standing.reason else ""
        return f"rolled back by {standing.moved_by or 'somebody'}{why}"
    if standing.outcome == "pass":
        return standing.sentence
    if standing.outcome == "fail":
        return f"new is not good enough: {standing.sentence}"
    if standing.outcome and not standing.next_step:
        return "at the last step of its rollout"
    if standing.missing and standing.next_step:
        return f"for {standing.next_step}: {'; '.join(standing.missing)}"
    return ""


def undelivered(receiver: Mapping[str, Any], now: float) -> str:
    """Say what keeps events from a receiver, as :mod:`gateway.rollout.webhooks` reports it; else nothing."""
    if receiver["is_stopped"]:
        return f"events are not sent to {receiver['url']} any more: {receiver['last_error']}"
    if receiver["failing_since"]:
        since = duration(now - receiver["failing_since"])
        return f"events do not reach {receiver['url']}, for {since} now: {receiver['last_error']}"
    return ""


def moved(before: str, after: str) -> str:
    """Return what an event did to a route's step: ``shadow → canary 1%``, or the step alone."""
    if before and after and before != after:
        return f"{before} → {after}"
    return after or before
