"""Add up what all workers have counted, those that are gone included: a sum here never goes back.

A worker reports how far each of its own counts has come; what is added is the difference to its last
report. So a worker's death loses what it had not reported yet, at most a second, and its successor's start
at zero is no step back. Pure. The names are those of :mod:`gateway.web.reports`.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.rollout.latency import Latency


class Totals:
    """Hold sums by route (or what stands for one) and name. Bounded by the tables that were in force."""

    __slots__ = ("_sums",)

    def __init__(self) -> None:
        self._sums: defaultdict[str, dict[str, float]] = defaultdict(dict)

    def add(self, label: str, name: str, increase: float) -> None:
        """Add what one count of one worker has grown by; less than nothing counts as nothing."""
        if increase > 0:
            sums = self._sums[label]
            sums[name] = sums.get(name, 0) + increase

    def snapshot(self) -> dict[str, dict[str, float]]:
        """Return a copy of all sums."""
        return {label: dict(sums) for label, sums in self._sums.items()}

    def latencies(self, label: str) -> dict[str, Latency]:
        """Return how long responses on one route took to their first message, by backend that answered."""
        from gateway.rollout.latency import Latency  # it brings statistics, which most supervisors never need

        bins: defaultdict[str, dict[int, int]] = defaultdict(dict)
        for name, n in list(self._sums.get(label, {}).items()):
            if name.startswith("seconds."):
                _, backend, number = name.split(".")
                bins[backend][int(number)] = int(n)
        return {backend: Latency(found) for backend, found in bins.items()}
