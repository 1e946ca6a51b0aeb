"""Decide whether mismatches are rarer than the budget, at any moment, however often one looks.

The gate from shadow to canary. With k mismatches among n comparisons and the budget p, the evidence that
the true rate is *below* p is the mixture (Robbins 1970; Howard et al. 2021, truncated one-sided)

    E = (1/p) ∫₀ᵖ (q/p)ᵏ ((1−q)/(1−p))ⁿ⁻ᵏ dq

a non-negative martingale that starts at 1 when the rate is p, and falls when it is higher: it ever reaches
1/α with a chance of at most α (Ville), so it may be read after every request. The mirrored integral over
(p, 1) is the evidence that the rate is *above* the budget. Pure; every value is a natural logarithm.
"""

from __future__ import annotations

import math
from functools import lru_cache

from gateway.rollout.beta import log_incomplete_beta


def log_evidence_below(mismatches: int, comparisons: int, budget: float) -> float:
    """Return ln E, the evidence that the mismatch rate is below ``budget`` (a fraction in (0, 1))."""
    matches = _matches(mismatches, comparisons, budget)
    return (
        log_incomplete_beta(budget, mismatches + 1, matches + 1)
        - math.log(budget)
        - mismatches * math.log(budget)
        - matches * math.log1p(-budget)
    )


def log_evidence_above(mismatches: int, comparisons: int, budget: float) -> float:
    """Return the logarithm of the evidence that the mismatch rate is above ``budget``."""
    matches = _matches(mismatches, comparisons, budget)
    return (
        log_incomplete_beta(1 - budget, matches + 1, mismatches + 1)
        - math.log1p(-budget)
        - mismatches * math.log(budget)
        - matches * math.log1p(-budget)
    )


def is_below_budget(mismatches: int, comparisons: int, budget: float, alpha: float) -> bool:
    """Tell whether the route may be promoted: ``mismatches`` are rarer than ``budget`` at level ``alpha``."""
    return log_evidence_below(mismatches, comparisons, budget) >= -math.log(alpha)


def is_above_budget(mismatches: int, comparisons: int, budget: float, alpha: float) -> bool:
    """Tell whether mismatches are more frequent than ``budget`` at level ``alpha``."""
    return log_evidence_above(mismatches, comparisons, budget) >= -math.log(alpha)


@lru_cache(maxsize=4096)
def needed_comparisons(mismatches: int, budget: float, alpha: float) -> int:
    """Return the smallest number of comparisons with which ``mismatches`` of them pass the gate."""
    low = mismatches
    step = max(16, mismatches)
    while not is_below_budget(mismatches, low + step, budget, alpha):
        low += step
        step *= 2
    high = low + step
    while high - low > 1:
        middle = (low + high) // 2
        if is_below_budget(mismatches, middle, budget, alpha):
            high = middle
        else:
            low = middle
    return high


def missing_comparisons(mismatches: int, comparisons: int, budget: float, alpha: float) -> int:
    """Return how many more comparisons, all of them matched, the gate still needs; 0 when it is passed."""
    if is_below_budget(mismatches, comparisons, budget, alpha):
        return 0
    return needed_comparisons(mismatches, budget, alpha) - comparisons


def _matches(mismatches: int, comparisons: int, budget: float) -> int:
    if not 0 < budget < 1:
        raise ValueError(f"a budget is a fraction between 0 and 1, not {budget}")
    if not 0 <= mismatches <= comparisons:
        raise ValueError(f"{mismatches} mismatches among {comparisons} comparisons cannot be")
    return comparisons - mismatches
