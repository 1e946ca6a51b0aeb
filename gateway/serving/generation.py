"""Prepare one generation of the table for serving: everything that a request needs, worked out beforehand.

A :class:`Way` is what one route means here: which application answers, within which limits, counted
where. A request looks one up and does nothing that could have been done at load.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from gateway.backends.asgi import AsgiBackend
from gateway.compare.engine import terms_for
from gateway.rollout.breaker import Breaker, BreakerState
from gateway.rollout.persistence import scope_of
from gateway.rollout.positions import fingerprint, standing_row
from gateway.serving.deadlines import Deadlines
from gateway.serving.decide import Decision, is_settled, settled
from gateway.serving.paths import refuse_path, spell_plainly
from gateway.serving.rewriting import answer_head, rewrite_path
from gateway.serving.tally import Counts, Tally
from gateway.serving.witness import Witness
from gateway.table.spec import Stage

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.backends.base import AsgiApp, Backend
    from gateway.compare.engine import Terms
    from gateway.compare.redaction import Redactor
    from gateway.rollout.positions import Position
    from gateway.rollout.state import State
    from gateway.serving.answers import Answers
    from gateway.serving.guard import Guard
    from gateway.serving.tally import Overhead
    from gateway.store import Scope
    from gateway.table.route import Route, Snapshot
    from gateway.table.spec import RouteSpec


@dataclass(frozen=True, slots=True, eq=False)
class Sampling:
    """Say which share of a row's requests is compared (basis points), how, and as evidence of what.

    ``is_rehearsing`` tells that requests that may write are compared as well: new comes first, and is undone.
    """

    sample_bp: int
    terms: Terms
    cap_bytes: int
    may_write: bool
    scope: Scope
    is_rehearsing: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Way:
    """Be one route's way through the gateway; ``route`` is None for what no row takes.

    ``route`` is as it is served: its stage and weight are those of its position, which may differ from the
    file's. ``decision`` is None where it differs from caller to caller. ``is_plain`` tells that the decision
    is made and nothing is to be limited or repeated, ``breaker`` stands between the row and new. ``counts``
    are those of ``tally`` at the stage of ``route``. ``is_new_in_process`` tells that new can be watched.
    """

    route: Route | None
    decision: Decision | None
    is_plain: bool
    legacy: AsgiApp
    new: AsgiApp
    deadlines: Deadlines
    tally: Tally
    counts: Counts
    allow_encoded_slash: bool = False
    body_limit_bytes: int | None = None
    sampling: Sampling | None = None
    breaker: Breaker | None = None
    witness: Witness | None = None
    scope: Scope | None = None
    is_new_in_process: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Generation:
    """Be one immutable generation: a snapshot with its ways. A request sees exactly one."""

    snapshot: Snapshot
    guard: Guard
    answers: Answers
    ways: Mapping[Route, Way]
    to_legacy: Way
    to_new: Way
    own_paths: frozenset[str]
    is_legacy_known: bool
    is_exposed: bool
    overhead: Overhead

    def way_of(self, method: str, path: str) -> Way:
        """Return the way of a request. What no row takes is legacy's, unless only new knows the path."""
        if not path.isascii() or path[-1:] == "\n":
            return self._way_of_odd(method, path)
        return self._way_of(method, path)

    def _way_of_odd(self, method: str, path: str) -> Way:
        """Decide for what only Flask takes as for its plain spelling: a row given to new stays given.

        Otherwise such a path would bring the row's requests back to legacy. New, which does not take it
        either, is not asked: it is a 404.
        """
        way = self._way_of(method, path)
        plain = spell_plainly(path)
        if plain == path:
            return way
        meant = self._way_of(method, plain)
        return way if meant is way or meant.route is None else replace(meant, new=refuse_path)

    def _way_of(self, method: str, path: str) -> Way:
        route = self.snapshot.matcher.match(method, path)
        if route is not None:
            return self.ways[route]
        routes = self.snapshot.matcher.routes_at(path)
        if not routes:
            return self.to_legacy
        if self.is_legacy_known:
            is_known_to_legacy = any(found.legacy_rules for found in routes)
        else:
            is_known_to_legacy = any(found.spec.stage is not Stage.RETIRED for found in routes)
        return self.to_legacy if is_known_to_legacy else self.to_new


@dataclass(frozen=True, slots=True, eq=False)
class WayMaker:
    """Make ways out of routes. Tallies, deadlines and breakers outlive generations.

    ``positions`` returns where routes stand, by route id; ``redactor`` takes secrets out of what is found.
    """

    legacy: Backend
    new: Backend
    state: State
    redactor: Redactor
    is_legacy_known: bool
    tallies: dict[str, Tally]
    deadlines_of: dict[float, Deadlines]
    breakers: dict[str, tuple[str, Breaker]]

    def ways(self, snapshot: Snapshot) -> dict[Route, Way]:
        """Return the way of every route of ``snapshot``."""
        positions = self.state.positions
        return {route: self.way(snapshot, route, positions.get(route.id)) for route in snapshot.routes}

    def moved(self, generation: Generation) -> Generation | None:
        """Return ``generation`` with every route where it stands now; None where nothing has moved."""
        snapshot, ways = generation.snapshot, dict(generation.ways)
        has_moved = False
        for route_id, position in self.state.positions.items():
            route = snapshot.by_id.get(route_id)
            if route is not None and ways[route].scope != scope_of(route_id, route.spec, position):
                ways[route] = self.way(snapshot, route, position)
                has_moved = True
        return replace(generation, ways=ways) if has_moved else None

    def way(self, snapshot: Snapshot, route: Route, position: Position | None) -> Way:
        """Return the way of one route that stands at ``position`` (None: where the file says)."""
        row = route.spec
        scope: Scope | None = None
        if position is not None or row.rollout is not None or row.sample_bp:
            scope = scope_of(route.id, row, position)
        if position is not None:
            route = replace(route, spec=standing_row(row, position))
        spec = route.spec
        decision = settled(spec.stage, spec.weight_bp) if is_settled(route) else None
        is_plain = (
            decision is not None
            and not spec.rate_limits
            and spec.body_limit_bytes is None
            and not (spec.has_fallback and decision.backend == "new")
        )
        tally = self.tallies.setdefault(route.id, Tally(route.key, route.methods))
        breaker = self._breaker_of(route, row)
        is_witnessed = breaker is not None or spec.rollout is not None
        return Way(
            route,
            decision,
            is_plain,
            self.legacy,
            self._new_for(route),
            self.deadlines_of.setdefault(spec.timeout_s, Deadlines(spec.timeout_s)),
            tally,
            tally.at(spec.stage.value),
            spec.allow_encoded_slash,
            spec.body_limit_bytes,
            self._sampling_of(snapshot, route, scope),
            breaker,
            Witness(route, breaker, scope if spec.rollout is not None else None, self.state)
            if is_witnessed
            else None,
            scope,
            isinstance(self.new, AsgiBackend),
        )

    def breaker_report(self) -> dict[str, dict[str, Any]]:
        """Return the breakers that people should know of, by route id: open ones, and those kept shut."""
        return {
            route_id: {
                "state": str(breaker.state),
                "reason": breaker.reason,
                "wait_s": breaker.wait_s,
                "times_opened": breaker.times_opened,
                "is_legacy_failing": breaker.is_legacy_failing,
            }
            for route_id, (_mark, breaker) in list(self.breakers.items())
            if breaker.state is not BreakerState.CLOSED or breaker.is_legacy_failing
        }

    def _new_for(self, route: Route) -> AsgiApp:
        prepare = getattr(self.new, "for_route", None)
        app: AsgiApp = self.new
        if prepare is not None and route.new_route is not None and route.new_route.kind == "route":
            app = prepare(route.new_route)
        if route.new_template is not None:
            app = rewrite_path(app, route.template, route.new_template)
        if route.new_route is not None and _lacks_head(route):
            app = answer_head(app)
        return app

    def _breaker_of(self, route: Route, row: RouteSpec) -> Breaker | None:
        """Return the breaker of a route that new may answer and legacy still can.

        ``row`` is what the file says of it: when that changes, a new breaker gives new another chance.

        Where legacy's rules cannot be seen, only canary and ``fallback: legacy`` say that it can.
        """
        spec = route.spec
        if route.is_websocket or spec.stage not in (Stage.CANARY, Stage.NEW):
            return None
        is_known_to_legacy = bool(route.legacy_rules)
        if not self.is_legacy_known:
            is_known_to_legacy = spec.stage is Stage.CANARY or spec.has_fallback
        if not is_known_to_legacy:
            return None
        mark = fingerprint(row)
        known = self.breakers.get(route.id)
        if known is None or known[0] != mark:
            known = self.breakers[route.id] = (mark, Breaker())
        return known[1]

    def _sampling_of(self, snapshot: Snapshot, route: Route, scope: Scope | None) -> Sampling | None:
        """Return how a row is compared, or None: nothing asked for, or nothing to compare with."""
        spec = route.spec
        if scope is None or not spec.sample_bp or route.is_websocket:
            return None
        settings = snapshot.spec.compare
        terms = terms_for(spec, settings, today=datetime.now(UTC).date(), redactor=self.redactor)
        is_rehearsing = spec.writes == "rehearse" and isinstance(self.new, AsgiBackend)
        return Sampling(
            spec.sample_bp, terms, settings.body_cap_bytes, spec.safe is True, scope, is_rehearsing
        )


def _lacks_head(route: Route) -> bool:
    methods = route.new_route.methods if route.new_route is not None else None
    return methods is not None and "GET" in methods and "HEAD" not in methods
