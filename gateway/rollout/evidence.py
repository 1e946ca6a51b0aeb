"""Hold what has been observed on one route at one step: frozen, and made of sums, whoever counted them.

The store adds up named counters, unites sketches of callers, and counts callers with an error once each;
this module says what the names mean, and turns them into :class:`Evidence`. Pure.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

from gateway.compare.difference import Outcome as ComparisonOutcome
from gateway.rollout.canary import ErrorShare
from gateway.rollout.latency import Latency, bin_of, is_slower

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from gateway.compare.difference import Comparison
    from gateway.compare.observation import Observation

SideName = Literal["legacy", "new"]

SKETCH_WORDS = 17
SKETCH_WORD_BITS = 60
_SKETCH_BITS = SKETCH_WORDS * SKETCH_WORD_BITS

_SUMS = (
    "comparisons",
    "mismatches",
    "waived",
    "new_only_failures",
    "legacy_only_failures",
    "timed_pairs",
    "slower_pairs",
    "fallbacks",
)

COUNTER_NAMES = frozenset(
    {*_SUMS, *(f"{side}.{name}" for side in ("legacy", "new") for name in ("requests", "errors"))}
)
"""The plain counters; ``legacy.latency.N`` and ``new.latency.N`` (N a bin) come on top."""


@dataclass(frozen=True, slots=True)
class CallerSketch:
    """Count different callers roughly in 17 words of 60 bits (linear counting, Whang et al. 1990).

    Uniting the sketches of several workers is a bitwise or, so nobody is counted twice. The estimate is
    within some 5% up to 2,000 callers, and a lower bound beyond 5,000.
    """

    words: tuple[int, ...] = (0,) * SKETCH_WORDS

    def __or__(self, other: CallerSketch) -> CallerSketch:
        return CallerSketch(tuple(a | b for a, b in zip(self.words, other.words, strict=True)))

    @property
    def callers(self) -> int:
        """Return the estimated number of different callers."""
        unset = _SKETCH_BITS - sum(word.bit_count() for word in self.words)
        return round(-_SKETCH_BITS * math.log(max(unset, 1) / _SKETCH_BITS))


def sketch_bit(caller: int) -> tuple[int, int]:
    """Return (word, bits): what a caller's digest (a non-negative integer) sets in a sketch."""
    word, bit = divmod(caller % _SKETCH_BITS, SKETCH_WORD_BITS)
    return word, 1 << bit


@dataclass(frozen=True, slots=True)
class SideEvidence:
    """Be what one backend did as primary: answers, failed ones (5xx, exception, timeout), callers, times.

    ``callers_with_error`` met their first error of the run here; ``callers`` is an estimate.
    """

    requests: int = 0
    errors: int = 0
    callers_with_error: int = 0
    sketch: CallerSketch = CallerSketch()
    latency: Latency = field(default_factory=Latency)

    def __add__(self, other: SideEvidence) -> SideEvidence:
        return SideEvidence(
            self.requests + other.requests,
            self.errors + other.errors,
            self.callers_with_error + other.callers_with_error,
            self.sketch | other.sketch,
            self.latency + other.latency,
        )

    @property
    def callers(self) -> int:
        """Return the estimated number of different callers."""
        return self.sketch.callers


@dataclass(frozen=True, slots=True)
class Evidence:
    """Be all that is known of a route at one step of one run.

    Of ``comparisons`` of two answers, ``mismatches`` differed (``waived`` ones matched but for accepted
    differences). ``new_only_failures`` and ``legacy_only_failures`` are pairs in which one side failed.
    Evidence of different workers adds up, provided that their callers with an error are different people;
    the store sees to that.
    """

    comparisons: int = 0
    mismatches: int = 0
    waived: int = 0
    new_only_failures: int = 0
    legacy_only_failures: int = 0
    timed_pairs: int = 0
    slower_pairs: int = 0
    fallbacks: int = 0
    legacy: SideEvidence = SideEvidence()
    new: SideEvidence = SideEvidence()

    def __add__(self, other: Evidence) -> Evidence:
        sums = {name: getattr(self, name) + getattr(other, name) for name in _SUMS}
        return Evidence(**sums, legacy=self.legacy + other.legacy, new=self.new + other.new)

    def error_share(self, weight_bp: int) -> ErrorShare:
        """Return the callers with an error as the canary's test wants them; ``weight_bp`` in basis points."""
        on_new = self.new.callers_with_error
        return ErrorShare(on_new, on_new + self.legacy.callers_with_error, weight_bp / 10_000)

    @property
    def mismatch_rate(self) -> float:
        """Return the share of comparisons that differed; 0 without any."""
        return self.mismatches / self.comparisons if self.comparisons else 0.0


def request_counters(side: SideName, *, is_error: bool, seconds: float | None = None) -> dict[str, int]:
    """Return the counters that one answered request adds to; ``seconds`` is its time to the first byte."""
    counts = {f"{side}.requests": 1}
    if is_error:
        counts[f"{side}.errors"] = 1
    if seconds is not None:
        counts[f"{side}.latency.{bin_of(seconds)}"] = 1
    return counts


def comparison_counters(
    comparison: Comparison, control: Observation, candidate: Observation
) -> dict[str, int]:
    """Return the counters that one comparison adds to; one that was not made to its end adds no comparison.

    A side failed that answered 5xx, or not at all. Times are those to the first byte.
    """
    counts: dict[str, int] = {}
    if comparison.outcome is not ComparisonOutcome.TRUNCATED:
        counts["comparisons"] = 1
    if comparison.outcome is ComparisonOutcome.MISMATCHED:
        counts["mismatches"] = 1
    elif comparison.outcome is ComparisonOutcome.WAIVED:
        counts["waived"] = 1
    has_new_failed, has_legacy_failed = (not 0 < side.status < 500 for side in (candidate, control))
    if has_new_failed != has_legacy_failed:
        counts["new_only_failures" if has_new_failed else "legacy_only_failures"] = 1
    if candidate.first_byte_s is not None and control.first_byte_s is not None:
        counts["timed_pairs"] = 1
        if is_slower(candidate.first_byte_s, control.first_byte_s):
            counts["slower_pairs"] = 1
    return counts


def parse_evidence(
    counts: Mapping[str, int],
    words: Mapping[SideName, Iterable[tuple[int, int]]],
    callers_with_error: Mapping[SideName, int],
) -> Evidence:
    """Return the evidence that named sums make; names that are not known are left out.

    ``words`` are (number, bits) of the callers' sketches by side.
    """
    sums = {name: counts.get(name, 0) for name in _SUMS}
    return replace(
        Evidence(**sums),  # type: ignore[arg-type]  # every name in _SUMS is a field that counts
        legacy=_side("legacy", counts, words, callers_with_error),
        new=_side("new", counts, words, callers_with_error),
    )


def _side(
    side: SideName,
    counts: Mapping[str, int],
    words: Mapping[SideName, Iterable[tuple[int, int]]],
    callers_with_error: Mapping[SideName, int],
) -> SideEvidence:
    prefix = f"{side}.latency."
    bins = {int(name[len(prefix) :]): count for name, count in counts.items() if name.startswith(prefix)}
    sketch = [0] * SKETCH_WORDS
    for number, bits in words.get(side, ()):
        if 0 <= number < SKETCH_WORDS:
            sketch[number] |= bits
    return SideEvidence(
        requests=counts.get(f"{side}.requests", 0),
        errors=counts.get(f"{side}.errors", 0),
        callers_with_error=callers_with_error.get(side, 0),
        sketch=CallerSketch(tuple(sketch)),
        latency=Latency(bins),
    )
