"""Gather what ``gateway status`` shows: from the running gateway, or else from the table and the store.

Without a gateway the store is only looked at: none is made, and none is migrated.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from gateway.cli import live
from gateway.cli.loaded import NOT_STARTED, refuse
from gateway.rollout.standing import Row, Standing, parse_standing
from gateway.table.compile import route_id

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from gateway.rollout.latency import Quantiles
    from gateway.rollout.order import Order
    from gateway.table.spec import TableSpec


@dataclass(frozen=True, slots=True)
class RouteNow:
    """Be one route: where it stands, and what the workers that run now answered (None: nobody runs)."""

    standing: Standing
    counts: Mapping[str, int] | None = None
    is_listed: bool = True
    is_known: bool = True
    """Whether the store has said where it stands; else only the stage that is served is known."""
    latency: Mapping[str, Quantiles] = field(default_factory=dict)
    """Times to the first byte since the start, by backend."""
    breaker: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_quiet(self) -> bool:
        """Tell whether there is nothing to say of the route but who answers it."""
        standing = self.standing
        is_still = not (standing.is_automatic or standing.is_held or standing.is_rolled_back)
        return is_still and not standing.comparisons and not self.breaker and not standing.outcome


@dataclass(frozen=True, slots=True)
class Situation:
    """Be everything at one moment. ``note`` says why no gateway was asked (empty: one was)."""

    config: str
    routes: tuple[RouteNow, ...]
    note: str = ""
    address: str = ""
    workers: int = 0
    generation: int = 0
    started_at: float = 0.0
    now: float = 0.0
    problems: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()
    store_error: str = ""
    dropped: Mapping[str, int] = field(default_factory=dict)
    stopped: Mapping[str, str] = field(default_factory=dict)
    receivers: tuple[Mapping[str, Any], ...] = ()
    is_uniform: bool = True
    false_promotions: float = 0.0
    false_rollbacks: float = 0.0
    controller: str | None = None

    @property
    def is_running(self) -> bool:
        """Tell whether a gateway was asked."""
        return not self.note


def look(config: Path, admin: str | None) -> Situation:
    """Return the situation; exit with 3 when neither a gateway nor a table can be read."""
    try:
        listener = live.find_admin(config, admin)
        return _from_gateway(listener)
    except live.NoGatewayError as exc:
        if admin:
            live.refuse_unreachable(exc)
        return _from_file(config, str(exc))
    except live.RefusedError as exc:
        refuse(str(exc), exc.exit_code)


def _from_gateway(listener: live.Admin) -> Situation:
    status, answer = listener.get("/api/status"), listener.get("/api/routes")
    store = status["store"]
    trouble = answer["store_error"]
    if not trouble and not store.get("is_ok", True):
        trouble = f"the store is in trouble: {store.get('reason', '')}"
    return Situation(
        config=status["config"],
        routes=tuple(_route(each, status["breakers"].get(each["id"])) for each in answer["routes"]),
        address=status["address"],
        workers=sum(worker["state"] == "serving" for worker in status["workers"]),
        generation=status["generation"],
        started_at=status["started_at"],
        now=time.time(),
        problems=tuple(status["problems"]) or (() if status["is_valid"] else ("the table is refused",)),
        reasons=tuple(status["reasons"]),
        store_error=trouble or "",
        dropped=status["shadow_dropped"],
        stopped=status["shadow_stopped"],
        receivers=tuple(status.get("receivers", ())),
        is_uniform=status["is_uniform"],
        false_promotions=answer["false_promotions"],
        false_rollbacks=answer["false_rollbacks"],
        controller=answer["controller"],
    )


def _route(route: Mapping[str, Any], breaker: Mapping[str, Any] | None) -> RouteNow:
    standing = route["standing"]
    step = f"{route['stage']} {route['weight']}" if route["weight"] else route["stage"]
    served = route["states"].get("position", step)
    return RouteNow(
        standing=parse_standing(standing) if standing else Standing(route["id"], route["key"], step, served),
        counts=route["counts"],
        is_listed=route["is_listed"],
        is_known=standing is not None,
        latency=route.get("latency", {}),
        breaker=breaker or {},
    )


def read_store(config: Path, order: Order) -> tuple[dict[str, Any], TableSpec, str]:
    """Return the store's answer to a look without a gateway, the table, and why the store said nothing.

    Exits with 3 when there is no table that can be read.
    """
    from gateway.errors import SettingsError
    from gateway.rollout.reading import NothingKept
    from gateway.rollout.reading import look as look_up
    from gateway.store import Ledger, StoreUnavailable, locate
    from gateway.table.read import read_table

    parsed = read_table(config, environ=os.environ)
    if parsed.spec is None:
        refuse("; ".join(map(str, parsed.problems)), NOT_STARTED)
    rows = [Row(route_id(spec.key), spec) for spec in parsed.spec.routes]
    now = time.time()
    try:
        with Ledger(locate(parsed.spec.store, config), may_create=False) as ledger:
            return look_up(ledger, rows, order, now), parsed.spec, ""
    except (StoreUnavailable, SettingsError) as exc:
        return look_up(NothingKept(), rows, order, now), parsed.spec, str(exc)


def _from_file(config: Path, why: str) -> Situation:
    from gateway.rollout.order import Order, Verb

    answer, spec, error = read_store(config, Order(Verb.STANDINGS))
    return Situation(
        config=spec.source,
        routes=tuple(RouteNow(parse_standing(each)) for each in answer["standings"]),
        note=why,
        now=time.time(),
        store_error=error,
        false_promotions=answer["false_promotions"],
        false_rollbacks=answer["false_rollbacks"],
    )


def chosen(situation: Situation, ids: Sequence[str]) -> tuple[RouteNow, ...]:
    """Return the routes with one of ``ids``."""
    return tuple(route for route in situation.routes if route.standing.route_id in ids)
