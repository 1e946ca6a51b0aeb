"""Gather what was recorded until it is written: bounded, added up, and O(1) for whoever records.

Counting the same thing twice takes no more memory than once, so a store that is down for a day costs the
size of the table of routes and not of the traffic. What does not fit is dropped and counted by kind. Safe
for any number of threads.
"""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, TypeVar

from gateway.store.records import EXAMPLES_KEPT

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.store.records import EventRecord, ExampleRecord, FindingRecord, Scope, Side


_CALLER_MASK = 2**63 - 1

_K = TypeVar("_K")
_V = TypeVar("_V")


@dataclass(frozen=True, slots=True)
class Limits:
    """Bound one batch: entries of each kind, and the bytes of all example pairs together."""

    counters: int = 50_000
    sketch_words: int = 50_000
    error_callers: int = 20_000
    events: int = 1_000
    findings: int = 1_000
    examples_bytes: int = 8_388_608
    example_bytes: int = 1_048_576


@dataclass(slots=True)
class Batch:
    """Be everything that one transaction writes; ``error_callers`` says where each first error was."""

    counters: dict[tuple[Scope, str], int] = field(default_factory=dict)
    sketch_words: dict[tuple[Scope, Side, int], int] = field(default_factory=dict)
    error_callers: dict[tuple[str, int, int], tuple[str, Side]] = field(default_factory=dict)
    events: list[EventRecord] = field(default_factory=list)
    findings: dict[tuple[str, str], FindingRecord] = field(default_factory=dict)
    examples: dict[tuple[str, str], list[ExampleRecord]] = field(default_factory=dict)
    examples_bytes: int = 0

    def __len__(self) -> int:
        return (
            len(self.counters)
            + len(self.sketch_words)
            + len(self.error_callers)
            + len(self.events)
            + len(self.findings)
        )

    def cut(self, entries: int) -> Batch:
        """Take up to ``entries`` out of this batch as one of their own; a finding counts for ten."""
        piece = Batch()
        _move(self.counters, piece.counters, entries)
        _move(self.sketch_words, piece.sketch_words, entries - len(piece))
        _move(self.error_callers, piece.error_callers, entries - len(piece))
        room = entries - len(piece)
        piece.events, self.events = self.events[:room], self.events[room:]
        _move(self.findings, piece.findings, -(-(entries - len(piece)) // 10))
        for key in piece.findings:
            if key in self.examples:
                piece.examples[key] = self.examples.pop(key)
        return piece


def _move(source: dict[_K, _V], target: dict[_K, _V], entries: int) -> None:
    for _ in range(min(entries, len(source))):
        key, value = source.popitem()
        target[key] = value


class Buffer:
    """Hold one growing :class:`Batch`, and count what did not fit."""

    def __init__(self, limits: Limits | None = None) -> None:
        self._limits = limits or Limits()
        self._lock = threading.Lock()
        self._batch = Batch()
        self.dropped: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._batch)

    def count(self, scope: Scope, counts: Mapping[str, int]) -> None:
        """Add ``counts`` to the scope's sums."""
        with self._lock:
            counters = self._batch.counters
            for name, n in counts.items():
                key = (scope, name)
                if key in counters:
                    counters[key] += n
                elif len(counters) < self._limits.counters:
                    counters[key] = n
                else:
                    self.dropped["counter"] += n

    def see_caller(self, scope: Scope, side: Side, word: int, bits: int) -> None:
        """Set ``bits`` in a word of the sketch of a side's callers."""
        with self._lock:
            words = self._batch.sketch_words
            key = (scope, side, word)
            if key in words:
                words[key] |= bits
            elif len(words) < self._limits.sketch_words:
                words[key] = bits
            else:
                self.dropped["caller"] += 1

    def see_error_caller(self, scope: Scope, side: Side, caller: int) -> None:
        """Note that a caller met an error on ``side``; only its first one of the run counts."""
        with self._lock:
            callers = self._batch.error_callers
            key = (scope.route_id, scope.run, caller & _CALLER_MASK)
            if key in callers:
                return
            if len(callers) < self._limits.error_callers:
                callers[key] = (scope.step, side)
            else:
                self.dropped["error_caller"] += 1

    def add_event(self, event: EventRecord) -> None:
        """Append an event."""
        with self._lock:
            if len(self._batch.events) < self._limits.events:
                self._batch.events.append(event)
            else:
                self.dropped["event"] += 1

    def add_finding(self, finding: FindingRecord, example: ExampleRecord | None) -> None:
        """Add to a signature's count, and keep ``example`` while it has too few."""
        with self._lock:
            batch, limits = self._batch, self._limits
            key = (finding.route_id, finding.signature)
            before = batch.findings.get(key)
            if before is not None:
                batch.findings[key] = replace(
                    finding,
                    count=before.count + finding.count,
                    first_seen=min(before.first_seen, finding.first_seen),
                    last_seen=max(before.last_seen, finding.last_seen),
                )
            elif len(batch.findings) < limits.findings:
                batch.findings[key] = finding
            else:
                self.dropped["finding"] += finding.count
                return
            if example is None:
                return
            kept = batch.examples.setdefault(key, [])
            size = len(example.document)
            if len(kept) >= EXAMPLES_KEPT:
                return
            if size > limits.example_bytes or batch.examples_bytes + size > limits.examples_bytes:
                self.dropped["example"] += 1
                return
            kept.append(example)
            batch.examples_bytes += size

    def drop(self, kind: str, n: int) -> None:
        """Count something that was lost after it had been taken."""
        if not n:
            return
        with self._lock:
            self.dropped[kind] += n

    def losses(self) -> dict[str, int]:
        """Return how many entries of each kind were dropped so far."""
        with self._lock:
            return dict(self.dropped)

    def take(self) -> Batch:
        """Return what was gathered, and begin anew."""
        with self._lock:
            batch, self._batch = self._batch, Batch()
        return batch
