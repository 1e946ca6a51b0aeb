"""Prepare one generation of the table for serving: everything that a request needs, worked out beforehand.

A :class:`Way` is what one route means here: which application answers, within which limits, counted
where. A request looks one up and does nothing that could have been done at load.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from gateway.compare.engine import terms_for
from gateway.serving.deadlines import Deadlines
from gateway.serving.decide import Decision, is_settled, settled
from gateway.serving.paths import refuse_path, spell_plainly
from gateway.serving.rewriting import answer_head, rewrite_path
from gateway.serving.tally import Tally
from gateway.table.spec import Stage

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.backends.base import AsgiApp, Backend
    from gateway.compare.engine import Terms
    from gateway.serving.answers import Answers
    from gateway.serving.guard import Guard
    from gateway.table.route import Route, Snapshot

UNMATCHED = "unmatched"
_COMPARED_STAGES = frozenset({Stage.SHADOW, Stage.CANARY, Stage.NEW})


@dataclass(frozen=True, slots=True, eq=False)
class Sampling:
    """Say which share of a row's requests is compared (basis points), and how."""

    sample_bp: int
    terms: Terms
    cap_bytes: int
    may_write: bool


@dataclass(frozen=True, slots=True, eq=False)
class Way:
    """Be one route's way through the gateway; ``route`` is None for what no row takes.

    ``decision`` is None where it differs from caller to caller. ``is_plain`` tells that the decision is
    made and nothing is to be limited, recorded or repeated.
    """

    route: Route | None
    decision: Decision | None
    is_plain: bool
    legacy: AsgiApp
    new: AsgiApp
    deadlines: Deadlines
    tally: Tally
    allow_encoded_slash: bool = False
    body_limit_bytes: int | None = None
    sampling: Sampling | None = None


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


def make_ways(
    snapshot: Snapshot,
    legacy: Backend,
    new: Backend,
    *,
    tallies: dict[str, Tally],
    deadlines_of: dict[float, Deadlines],
) -> dict[Route, Way]:
    """Return the way of every route of ``snapshot``; tallies and deadlines outlive generations."""
    ways = {}
    prepare = getattr(new, "for_route", None)
    for route in snapshot.routes:
        spec = route.spec
        answers_new: AsgiApp = new
        if prepare is not None and route.new_route is not None and route.new_route.kind == "route":
            answers_new = prepare(route.new_route)
        if route.new_template is not None:
            answers_new = rewrite_path(answers_new, route.template, route.new_template)
        if route.new_route is not None and _lacks_head(route):
            answers_new = answer_head(answers_new)
        decision = settled(spec.stage, spec.weight_bp) if is_settled(route) else None
        is_plain = (
            decision is not None
            and not spec.rate_limits
            and spec.body_limit_bytes is None
            and not (spec.has_fallback and decision.backend == "new")
        )
        tally = tallies.setdefault(route.id, Tally())
        deadlines = deadlines_of.setdefault(spec.timeout_s, Deadlines(spec.timeout_s))
        ways[route] = Way(
            route,
            decision,
            is_plain,
            legacy,
            answers_new,
            deadlines,
            tally,
            spec.allow_encoded_slash,
            spec.body_limit_bytes,
            _sampling_of(snapshot, route),
        )
    return ways


def _sampling_of(snapshot: Snapshot, route: Route) -> Sampling | None:
    """Return how a row is compared, or None: nothing asked for, or nothing to compare with."""
    spec = route.spec
    if not spec.sample_bp or route.is_websocket or spec.stage not in _COMPARED_STAGES:
        return None
    settings = snapshot.spec.compare
    terms = terms_for(spec, settings, today=datetime.now(UTC).date())
    return Sampling(spec.sample_bp, terms, settings.body_cap_bytes, spec.safe is True)


def _lacks_head(route: Route) -> bool:
    methods = route.new_route.methods if route.new_route is not None else None
    return methods is not None and "GET" in methods and "HEAD" not in methods
