"""Say whether new is slower than legacy. Advisory: no latency moves a route by itself.

In shadow the two sides answer the same request, so pairs are counted (the sign test on "new took more than
1.2 times as long as legacy"); both share one process, which is why it decides nothing. In canary different
callers are compared (Mann-Whitney on two mergeable histograms), with at least 50 answers a side, and at
looks planned beforehand only. Pure.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from dataclasses import dataclass, field
from statistics import NormalDist
from typing import TYPE_CHECKING, TypedDict

from gateway.rollout.pairs import binomial_upper_tail

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

SLOWER_FACTOR = 1.2
"""New is called slower on a pair when it took more than this many times as long."""

MIN_ANSWERS = 50
"""Answers a side that a rank test needs."""

BINS_PER_DOUBLING = 5
_SHORTEST_S = 1e-5
_LAST_BIN = 150

BIN_EDGES_S = [_SHORTEST_S * 2 ** (number / BINS_PER_DOUBLING) for number in range(_LAST_BIN)]
"""The upper edge of every bin but the last, in seconds; an edge belongs to the bin below it.

A list, since :func:`bisect.bisect_left` searches one fastest: requests are binned while clients wait.
"""


class Quantiles(TypedDict):
    """Be response times in seconds, or None where nothing was timed."""

    p50_s: float | None
    p95_s: float | None
    p99_s: float | None


@dataclass(frozen=True, slots=True)
class Latency:
    """Be a histogram of response times: ``bins`` maps a bin's number to how many answers fell into it.

    Five bins a doubling (each 15% wide) from 10 µs; the last one, from 3 hours up, takes all that is slower.
    """

    bins: Mapping[int, int] = field(default_factory=dict)

    @property
    def total(self) -> int:
        """Return how many answers were timed."""
        return sum(self.bins.values())

    def __add__(self, other: Latency) -> Latency:
        sums = dict(self.bins)
        for number, count in other.bins.items():
            sums[number] = sums.get(number, 0) + count
        return Latency(sums)

    def quantile_s(self, fraction: float) -> float | None:
        """Return the time, in seconds, below which ``fraction`` of the answers came; None without any.

        It is the middle of the bin (in ratio), so at most 7.2% away from the exact one.
        """
        wanted = fraction * self.total
        seen = 0
        for number, count in sorted(self.bins.items()):
            seen += count
            if seen >= wanted:
                return bin_middle_s(number)
        return None

    def quantiles(self) -> Quantiles:
        """Return the three that people are shown."""
        return {
            "p50_s": self.quantile_s(0.5),
            "p95_s": self.quantile_s(0.95),
            "p99_s": self.quantile_s(0.99),
        }


def bin_of(seconds: float) -> int:
    """Return the number of the histogram bin that a response time of ``seconds`` falls into."""
    return bisect_left(BIN_EDGES_S, seconds)


def bin_middle_s(number: int) -> float:
    """Return the geometric middle of a bin, in seconds."""
    if number <= 0:
        return _SHORTEST_S
    return float(_SHORTEST_S * 2 ** ((number - 0.5) / BINS_PER_DOUBLING))


def is_slower(new_s: float, legacy_s: float) -> bool:
    """Tell whether new was slower on one pair of answers to the same request (times in seconds)."""
    return new_s > SLOWER_FACTOR * legacy_s


def sign_p_value(slower: int, pairs: int) -> float:
    """Return P(X ≥ ``slower``) for X ~ Bin(``pairs``, ½): small when new is slower on most pairs."""
    return binomial_upper_tail(slower, pairs)


def mann_whitney_p_value(new: Latency, legacy: Latency) -> float | None:
    """Return the one-sided p-value that new tends to be slower; None below :data:`MIN_ANSWERS` a side.

    Normal approximation with the correction for ties (Hollander and Wolfe) and for continuity, on the bins.
    """
    n, m = new.total, legacy.total
    if min(n, m) < MIN_ANSWERS:
        return None
    u, tied = 0.0, 0
    legacy_below = 0
    for number in sorted(new.bins.keys() | legacy.bins.keys()):
        of_new, of_legacy = new.bins.get(number, 0), legacy.bins.get(number, 0)
        u += of_new * (legacy_below + of_legacy / 2)
        legacy_below += of_legacy
        size = of_new + of_legacy
        tied += size**3 - size
    total = n + m
    variance = n * m / 12 * (total + 1 - tied / (total * (total - 1)))
    if variance <= 0:
        return 1.0
    return 1 - NormalDist().cdf((u - n * m / 2 - 0.5) / math.sqrt(variance))


def planned_looks(last: int) -> Iterator[int]:
    """Yield the sample sizes at which a fixed-sample test may be read: 50, 100, 200, ... up to ``last``."""
    size = MIN_ANSWERS
    while size <= last:
        yield size
        size *= 2


def crossed_look(before: int, after: int) -> int | None:
    """Return the number (from 1) of the last planned look between two sample sizes; None if there is none."""
    passed = [look for look, size in enumerate(planned_looks(after), 1) if size > before]
    return passed[-1] if passed else None


def look_alpha(look: int, alpha: float) -> float:
    """Return the level at the ``look``-th planned look: α/2, α/4, ... so that all of them spend α."""
    return math.ldexp(alpha, -look)
