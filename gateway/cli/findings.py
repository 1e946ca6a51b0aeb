"""Find what a person means by ``gateway differences [ROUTE] [ID]``, on a running gateway or in its state."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gateway.cli import live
from gateway.cli.loaded import NOT_STARTED, WRONG_USAGE, refuse
from gateway.cli.ordering import find_route
from gateway.errors import OrderRefused

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from gateway.rollout.order import Order

LIMIT = 5_000

_SIGNATURE = re.compile(r"[0-9a-f]{4,16}")


@dataclass(frozen=True, slots=True)
class Source:
    """Be where findings come from. ``note`` says why that is no running gateway (empty: it is one)."""

    routes: Callable[[], list[dict[str, Any]]]
    findings: Callable[[str | None], list[dict[str, Any]]]
    finding: Callable[[str, str], dict[str, Any]]
    note: str = ""


@dataclass(frozen=True, slots=True)
class Selection:
    """Be what was found: a list, worst first, or one ``whole``."""

    listed: list[dict[str, Any]]
    whole: dict[str, Any] | None = None
    hidden: int = 0
    route: str = ""
    now: float = 0.0


def open_source(config: Path, admin: str | None) -> Source:
    """Return the running gateway as a source, or else the state of the table; exit with 3 without both."""
    try:
        listener = live.find_admin(config, admin)
        listener.get("/api/status")
    except live.NoGatewayError as exc:
        if admin:
            live.refuse_unreachable(exc)
        return _stored(config, str(exc))
    return Source(
        routes=lambda: list(listener.get("/api/routes")["routes"]),
        findings=lambda route: list(
            listener.get("/api/differences", route=route, limit=LIMIT)["differences"]
        ),
        finding=lambda route, signature: listener.get(f"/api/differences/{route}/{signature}"),
    )


def _stored(config: Path, why: str) -> Source:
    from gateway.cli.situation import read_store
    from gateway.rollout.order import Order, Verb
    from gateway.table.compile import route_id

    def ask(order: Order) -> dict[str, Any]:
        answer, _, error = read_store(config, order)
        if error:
            refuse(f"no gateway can be asked: {why}; and its state says nothing: {error}", NOT_STARTED)
        return answer

    def routes() -> list[dict[str, Any]]:
        _, spec, _ = read_store(config, Order(Verb.EVENTS, limit=0))
        return [{"id": route_id(row.key), "key": row.key, "path": row.path} for row in spec.routes]

    return Source(
        routes=routes,
        findings=lambda route: list(ask(Order(Verb.FINDINGS, route_id=route, limit=LIMIT))["differences"]),
        finding=lambda route, signature: ask(Order(Verb.FINDING, route_id=route, signature=signature)),
        note=why,
    )


def find(source: Source, what: Sequence[str], *, is_everything: bool) -> Selection:
    """Return what ``what`` names; exit with 2 where it names nothing, or with the gateway's refusal."""
    try:
        return _find(source, what, is_everything=is_everything)
    except live.NoGatewayError as exc:
        live.refuse_unreachable(exc)
    except live.RefusedError as exc:
        refuse(str(exc), exc.exit_code)
    except OrderRefused as exc:
        refuse(exc.detail, WRONG_USAGE)


def _find(source: Source, what: Sequence[str], *, is_everything: bool) -> Selection:
    if len(what) > 1 and what[1].startswith("/"):
        what = [f"{what[0]} {what[1]}", *what[2:]]  # a route without its quotes
    if len(what) > 2:
        refuse(
            "differences takes a route and a finding's id, at most; quote a route: 'GET /users'", WRONG_USAGE
        )
    *routes, last = what or [""]
    found = source.findings(None)
    named = [each for each in found if _SIGNATURE.fullmatch(last) and each["signature"].startswith(last)]
    if routes or not named:
        if last and not routes and _SIGNATURE.fullmatch(last) and len(last) != 12:
            refuse(f"no finding has the id {last}; `gateway differences` lists them all", WRONG_USAGE)
        text = routes[0] if routes else last
        if text:
            route_id, key = find_route(text, source.routes())
            found = [each for each in found if each["route_id"] == route_id]
            named = [each for each in named if each["route_id"] == route_id]
            if routes and not named:
                refuse(f"{key} has no finding {last}; gateway differences '{key}' lists its own", WRONG_USAGE)
            if not routes:
                return _listed(found, key, is_everything=is_everything)
    if len(named) == 1:
        return Selection([], source.finding(named[0]["route_id"], named[0]["signature"]))
    if named:
        return _listed(named, "", is_everything=True)
    return _listed(found, "", is_everything=is_everything)


def _listed(found: list[dict[str, Any]], route: str, *, is_everything: bool) -> Selection:
    shown = [each for each in found if is_everything or not (each["is_waived"] or each["is_advisory"])]
    return Selection(shown, None, len(found) - len(shown), route, time.time())
