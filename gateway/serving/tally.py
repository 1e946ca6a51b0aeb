"""Count and time what was served, per route: plain numbers, which the event loop writes and others read.

The law of this file: whatever a client sends, the number of things that are counted is bounded by the
table. Methods that a row does not list count as one, and so do all paths that no row takes.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from dataclasses import dataclass, field
from functools import cache
from operator import methodcaller
from typing import TYPE_CHECKING

from gateway.rollout.latency import BIN_EDGES_S

if TYPE_CHECKING:
    from collections.abc import Iterator

UNMATCHED = "unmatched"
"""The route of everything that no row takes; it has no stage."""

NO_STAGE = "none"
OTHER_METHOD = "other"
MEASURED_EVERY_S = 0.01

_values = methodcaller("values")

_COMMON_METHODS = frozenset({"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"})


class Counts:
    """Count one route's responses while it is at one stage.

    ``cells`` is keyed by (``legacy``, ``new`` or ``gateway``; HTTP status; method), and there by the bin of
    :mod:`gateway.rollout.latency`: one addition a response, whatever is asked of it later.
    """

    __slots__ = ("_methods", "cells")

    def __init__(self, methods: frozenset[str]) -> None:
        self.cells: dict[tuple[str, int, str], defaultdict[int, int]] = {}
        self._methods = methods

    def add(self, backend: str, status: int, method: str, seconds: float) -> None:
        """Count one response.

        ``seconds`` is the time from the request's entry into the front to the response's first message.
        """
        try:
            bins = self.cells[backend, status, method]
        except KeyError:
            bins = self._first(backend, status, method)
        bins[bisect_left(BIN_EDGES_S, seconds)] += 1

    def _first(self, backend: str, status: int, method: str) -> defaultdict[int, int]:
        """Return the bins of what was not counted yet, or is counted as one with all that has no name."""
        if method not in self._methods:
            method = OTHER_METHOD
        return self.cells.setdefault((backend, status, method), defaultdict(int))


class Tally:
    """Count what happened to one route, from the start of the process on.

    ``failures`` counts exceptions and timeouts by backend, ``fallbacks`` the requests that legacy answered
    for new, ``blocks`` how often a request of this route held the event loop.
    """

    __slots__ = ("_methods", "blocks", "by_stage", "failures", "fallbacks", "route")

    def __init__(self, route: str, methods: frozenset[str] | None) -> None:
        """Count for the row whose canonical key is ``route`` and that takes ``methods`` (None: any)."""
        self.route = route
        self.by_stage: dict[str, Counts] = {}
        self.failures: defaultdict[str, int] = defaultdict(int)
        self.fallbacks = 0
        self.blocks = 0
        self._methods = _named(methods)

    def at(self, stage: str) -> Counts:
        """Return what counts this route's responses at ``stage``, as long as the process lives."""
        return self.by_stage.setdefault(stage, Counts(self._methods))

    def cells(self) -> Iterator[tuple[str, str, int, str, int, int]]:
        """Yield (stage, backend, status, method, bin, number of responses)."""
        for stage, counts in list(self.by_stage.items()):
            for (backend, status, method), bins in list(counts.cells.items()):
                for number, count in list(bins.items()):
                    yield stage, backend, status, method, number, count

    def mark(self) -> int:
        """Return a number that has grown whenever anything here has."""
        # One sum for all cells of a stage: without a step of Python in between, so nobody writes meanwhile.
        counted = sum(
            sum(map(sum, map(_values, counts.cells.values()))) for counts in list(self.by_stage.values())
        )
        return counted + sum(list(self.failures.values())) + self.fallbacks + self.blocks

    def by_backend(self) -> dict[str, int]:
        """Return the number of responses by who served them."""
        sums = {"legacy": 0, "new": 0, "gateway": 0}
        for counts in list(self.by_stage.values()):
            for (backend, _status, _method), bins in list(counts.cells.items()):
                sums[backend] += sum(bins.values())
        return sums


@dataclass(slots=True)
class Overhead:
    """Hold what the gateway itself takes of a request: before it calls the backend, and at the first message.

    One request in ``MEASURED_EVERY_S`` is asked, for asking adds to what it measures; one whose answer
    begins at or after ``due_s`` (monotonic) is the next.
    """

    bins: defaultdict[int, int] = field(default_factory=lambda: defaultdict(int))
    sum_s: float = 0.0
    due_s: float = 0.0

    def measure(self, before_s: float, came_s: float, now_s: float) -> None:
        """Take in one: ``before_s`` seconds before the call, from ``came_s`` to ``now_s`` at its answer."""
        seconds = before_s + now_s - came_s
        self.bins[bisect_left(BIN_EDGES_S, seconds)] += 1
        self.sum_s += seconds
        self.due_s = now_s + MEASURED_EVERY_S


@cache
def _named(methods: frozenset[str] | None) -> frozenset[str]:
    """Return the methods that are counted by name; a row that takes GET takes HEAD."""
    return _COMMON_METHODS if methods is None else methods | ({"HEAD"} if "GET" in methods else set())
