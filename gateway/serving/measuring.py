"""Word what this worker has counted, under the names of :mod:`gateway.web.reports`: sums that only grow.

It runs in a thread of the worker's, once a second; what it reads, the event loop writes. A route that was
asked nothing since the last time costs one sum over what it holds.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gateway.serving.tally import Overhead, Tally
    from gateway.shadowing.ledger import Ledger

WORKER = ""
"""The label of what belongs to the worker as a whole, and to no route."""

_UPGRADED = 101
_NOTHING: Mapping[str, int] = {}

Sums = dict[str, float]


class Measures:
    """Word ``tallies`` (by route id), ``ledger``, ``overhead``, and what ``more`` returns of the worker."""

    def __init__(
        self,
        tallies: Mapping[str, Tally],
        ledger: Ledger,
        overhead: Overhead,
        more: Callable[[], Mapping[str, float]],
    ) -> None:
        self._tallies = tallies
        self._ledger = ledger
        self._overhead = overhead
        self._more = more
        self._worded: dict[str, tuple[int, Sums]] = {}

    def read(self) -> dict[str, Sums]:
        """Return all sums by label and name; what has not changed is the same object as the last time."""
        compared, differed = self._ledger.all_outcomes(), self._differed()
        sums = {
            tally.route: self._of(
                tally, compared.get(tally.route, _NOTHING), differed.get(tally.route, _NOTHING)
            )
            for tally in list(self._tallies.values())
        }
        sums[WORKER] = self._of_worker()
        return {label: values for label, values in sums.items() if values}

    def _of(self, tally: Tally, compared: Mapping[str, int], kinds: Mapping[str, int]) -> Sums:
        mark = tally.mark() + sum(compared.values()) + sum(kinds.values())
        known = self._worded.get(tally.route)
        if known is not None and known[0] == mark:
            return known[1]
        sums: defaultdict[str, float] = defaultdict(int)
        for stage, backend, status, method, number, count in tally.cells():
            sums[f"requests.{stage}.{method}.{backend}.{status}"] += count
            if status != _UPGRADED:  # what follows an upgrade is a conversation, and no response
                sums[f"seconds.{backend}.{number}"] += count
        for backend, count in list(tally.failures.items()):
            sums[f"failures.{backend}"] = count
        for name, count in (("fallbacks", tally.fallbacks), ("blocks", tally.blocks)):
            if count:
                sums[name] = count
        sums.update({f"compared.{outcome}": count for outcome, count in compared.items()})
        sums.update({f"differed.{kind}": count for kind, count in kinds.items()})
        self._worded[tally.route] = (mark, dict(sums))
        return self._worded[tally.route][1]

    def _of_worker(self) -> Sums:
        overhead = self._overhead
        sums: Sums = {f"overhead.{number}": count for number, count in list(overhead.bins.items())}
        if sums:
            sums["overhead.sum"] = overhead.sum_s
        sums |= {f"dropped.{reason}": count for reason, count in self._ledger.dropped().items()}
        return {**sums, **self._more()}

    def _differed(self) -> dict[str, Counter[str]]:
        """Return by route how often a finding of each kind came up that nobody had accepted."""
        found: defaultdict[str, Counter[str]] = defaultdict(Counter)
        for finding in self._ledger.findings():
            signature = finding.signature
            found[signature.route][signature.kind.value] += finding.count - finding.waived
        return found
