"""Keep what the comparisons of this worker came to: counts per route, and findings with redacted examples.

Everything that is kept has passed the redactor first. What is here is this process's alone; what all workers
found goes to the store besides, as evidence and as findings. Written by the comparing thread, read by the
event loop: every public method takes the lock.
"""

from __future__ import annotations

import os
import threading
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from time import time
from typing import TYPE_CHECKING

from gateway.compare.observation import Observation, RequestRecord
from gateway.compare.redaction import Redactor
from gateway.compare.signature import Finding, Findings
from gateway.rollout.evidence import comparison_counters
from gateway.shadowing.keeping import to_records

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.compare.difference import Comparison
    from gateway.store import Scope, Store


_NOTHING = RequestRecord("", ""), Observation(0), Observation(0)


@dataclass(slots=True)
class Ledger:
    """Gather comparisons.

    ``redactor`` replaces secrets before anything is kept; ``store`` returns the store (None: there is none).
    """

    redactor: Redactor = field(default_factory=lambda: Redactor(os.urandom(32)))
    store: Callable[[], Store | None] = field(default=lambda: None)
    _outcomes: defaultdict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    _dropped: Counter[str] = field(default_factory=Counter)
    _stopped: dict[str, str] = field(default_factory=dict)
    _findings: Findings = field(default_factory=Findings)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(
        self,
        route: str,
        comparison: Comparison,
        request: RequestRecord,
        control: Observation,
        candidate: Observation,
        *,
        scope: Scope,
    ) -> None:
        """Count one comparison on ``route`` (a row's canonical key), and keep what differed.

        It is evidence of ``scope``.
        """
        store = self.store()
        if store is not None:
            store.record(scope, comparison_counters(comparison, control, candidate))
        with self._lock:
            self._outcomes[route][comparison.outcome] += 1
            if not comparison.differences:
                return
            has_example = self._findings.wants_example(route, comparison)
        if has_example:
            request = self.redactor.request(request)
            control, candidate = self.redactor.observation(control), self.redactor.observation(candidate)
        else:  # counted only; what was not redacted is not handed on
            request, control, candidate = _NOTHING
        with self._lock:
            counted = self._findings.add(
                route, comparison, at_s=time(), request=request, control=control, candidate=candidate
            )
        if store is not None:
            for finding in counted:
                store.record_finding(*to_records(scope.route_id, finding))

    def drop(self, reason: str) -> None:
        """Count a comparison that was due and did not come about."""
        with self._lock:
            self._dropped[reason] += 1

    def stop(self, route: str, why: str) -> None:
        """Note that ``route`` is not compared any more: its second call tried what it must not."""
        with self._lock:
            self._stopped.setdefault(route, why)

    def is_stopped(self, route: str) -> bool:
        """Tell whether :meth:`stop` was called for ``route``."""
        return route in self._stopped

    def outcomes(self, route: str) -> dict[str, int]:
        """Return how many comparisons of ``route`` came to which outcome."""
        with self._lock:
            return dict(self._outcomes[route]) if route in self._outcomes else {}

    def all_outcomes(self) -> dict[str, dict[str, int]]:
        """Return the outcomes of every route that was compared."""
        with self._lock:
            return {route: dict(outcomes) for route, outcomes in self._outcomes.items()}

    def dropped(self) -> dict[str, int]:
        """Return how many comparisons were dropped, by reason."""
        with self._lock:
            return dict(self._dropped)

    def stopped(self) -> dict[str, str]:
        """Return the routes that are not compared any more, each with the reason."""
        with self._lock:
            return dict(self._stopped)

    def findings(self) -> tuple[Finding, ...]:
        """Return the findings, most frequent first."""
        with self._lock:
            return tuple(sorted(self._findings, key=lambda finding: -finding.count))
