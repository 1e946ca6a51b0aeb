"""Word what a worker serves, route by route, as JSON-able values for the supervisor and the admin listener.

What stays the same for as long as a snapshot does is worded once. It runs in a thread of the worker's, once
a second: what it reads, the event loop writes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gateway.backends.inspect import place_of
from gateway.table.spec import Stage

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.compare.signature import Finding
    from gateway.rollout.breaker import BreakerState
    from gateway.serving.generation import Generation, Way
    from gateway.serving.tally import Tally
    from gateway.shadowing.ledger import Ledger
    from gateway.table.route import Route, Snapshot

SHOWN_FINDINGS = 50

_Mark = tuple[int, int, "Way", "BreakerState | None"]
"""What a route's words depend on, besides the snapshot."""


class Reporter:
    """Report on routes by ``tallies`` (by route id) and on comparisons by ``ledger``."""

    def __init__(self, tallies: Mapping[str, Tally], ledger: Ledger) -> None:
        self._tallies = tallies
        self._ledger = ledger
        self._snapshot: Snapshot | None = None
        self._rows: list[dict[str, Any]] = []
        self._worded: dict[str, tuple[_Mark, dict[str, Any]]] = {}

    def routes(self, generation: Generation) -> list[dict[str, Any]]:
        """Return every route with its stage, both implementations, its counts and its states.

        A route of which nothing has changed is the same object as the last time.
        """
        if self._snapshot is not generation.snapshot:
            self._snapshot, self._worded = generation.snapshot, {}
            self._rows = [_word(route) for route in generation.snapshot.routes]
        outcomes = self._ledger.all_outcomes()
        return [
            self._word_now(route, row, generation.ways[route], outcomes.get(route.key, {}))
            for route, row in zip(generation.snapshot.routes, self._rows, strict=True)
        ]

    def differences(self) -> list[dict[str, Any]]:
        """Return the most frequent findings."""
        return [_word_finding(finding) for finding in self._ledger.findings()[:SHOWN_FINDINGS]]

    def _word_now(
        self, route: Route, row: dict[str, Any], way: Way, outcomes: Mapping[str, int]
    ) -> dict[str, Any]:
        tally = self._tallies[route.id]
        state = way.breaker.state if way.breaker is not None else None
        mark = (tally.mark(), sum(outcomes.values()), way, state)
        known = self._worded.get(route.id)
        if known is not None and known[0] == mark:
            return known[1]
        counts = tally.by_backend() | {f"compared.{outcome}": n for outcome, n in outcomes.items()}
        worded = {**row, "counts": counts, "states": _states(route, way)}
        self._worded[route.id] = (mark, worded)
        return worded


def _states(route: Route, way: Way) -> dict[str, str]:
    """Return where the route stands if that is not where the file says, and how its breaker is."""
    states = {}
    if way.route is not None and way.route.spec.stage is not route.spec.stage:
        states["position"] = way.route.spec.stage.value
    if way.breaker is not None:
        states["breaker"] = way.breaker.state.value
    return states


def _word(route: Route) -> dict[str, Any]:
    spec = route.spec
    return {
        "id": route.id,
        "key": route.key,
        "methods": sorted(route.methods) if route.methods is not None else ["ANY"],
        "path": spec.path,
        "stage": spec.stage.value,
        "weight": f"{spec.weight_bp / 100:g}%" if spec.stage is Stage.CANARY else None,
        "sample": f"{spec.sample_bp / 100:g}%" if _is_compared(route) else None,
        "owner": spec.owner,
        "is_listed": route.is_listed,
        "legacy_view": route.legacy_rules[0].view if route.legacy_rules else "",
        "new_view": _place_of_new(route),
    }


def _is_compared(route: Route) -> bool:
    methods = route.methods if route.methods is not None else ("GET",)
    return any(route.is_compared(method) for method in methods)


def _place_of_new(route: Route) -> str:
    endpoint = getattr(route.new_route.route, "endpoint", None) if route.new_route is not None else None
    return place_of(endpoint) if endpoint is not None else ""


def _word_finding(finding: Finding) -> dict[str, Any]:
    difference = finding.difference
    return {
        "route": finding.signature.route,
        "kind": finding.signature.kind.value,
        "place": finding.signature.place,
        "count": finding.count,
        "waived": finding.waived,
        "is_advisory": difference.is_advisory,
        "first": finding.first_s,
        "last": finding.last_s,
        "message": difference.message,
        "control": difference.control,
        "candidate": difference.candidate,
        "curl": finding.examples[0].curl if finding.examples else "",
    }
