"""Decide whether new fails more callers than its share of them explains, at any moment.

Of N callers that met an error, k met it on new, which serves the share w. If new is no worse, each of them
is on new with chance w, whatever made them fail. Lindon and Malek (NeurIPS 2022, arXiv 2011.03567):

    e = B(a+k, b+N−k) / B(a, b) ÷ (wᵏ (1−w)ᴺ⁻ᵏ),   a = 100 w, b = 100 (1−w)

is an e-process of that hypothesis; it rejects at e ≥ 1/α while k/N > w. With sticky assignment the unit is
the *caller*: one caller that retries for ever is one error. Each step of a run has its own w; because a
caller counts only once in a run (at its first error), the steps' e-values multiply. Pure.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from gateway.rollout.beta import log_beta

if TYPE_CHECKING:
    from collections.abc import Iterable

CONCENTRATION = 100.0
"""a + b of the beta mixture: how near to w the alternative is looked for."""


@dataclass(frozen=True, slots=True)
class ErrorShare:
    """Count the callers that met their first error while new served ``weight`` (a fraction) of all callers.

    ``on_new`` of ``callers`` met it on new.
    """

    on_new: int
    callers: int
    weight: float


def log_evidence(share: ErrorShare) -> float:
    """Return ln e of one step: 0 where there is nothing to compare (a weight of 0 or 1)."""
    if not 0 < share.weight < 1:
        return 0.0
    on_new, on_legacy = share.on_new, share.callers - share.on_new
    if on_new < 0 or on_legacy < 0:
        raise ValueError(f"{share.on_new} of {share.callers} callers cannot be")
    a, b = CONCENTRATION * share.weight, CONCENTRATION * (1 - share.weight)
    return (
        log_beta(a + on_new, b + on_legacy)
        - log_beta(a, b)
        - on_new * math.log(share.weight)
        - on_legacy * math.log1p(-share.weight)
    )


def log_run_evidence(shares: Iterable[ErrorShare]) -> float:
    """Return ln of the product of the steps' e-values: the evidence of a whole run."""
    return math.fsum(map(log_evidence, shares))


def is_worse(shares: Iterable[ErrorShare], alpha: float) -> bool:
    """Tell whether new fails more callers than its share explains, at level ``alpha``."""
    shares = tuple(share for share in shares if 0 < share.weight < 1)
    excess = math.fsum(share.on_new - share.callers * share.weight for share in shares)
    return excess > 0 and log_run_evidence(shares) >= -math.log(alpha)


@lru_cache(maxsize=1024)
def needed_errors(weight: float, alpha: float) -> int:
    """Return how many callers, all of them on new, make the test reject at once."""
    low, high = 0, 1
    while not is_worse([ErrorShare(high, high, weight)], alpha):
        low, high = high, high * 2
    while high - low > 1:
        middle = (low + high) // 2
        if is_worse([ErrorShare(middle, middle, weight)], alpha):
            high = middle
        else:
            low = middle
    return high
