"""Decide whether new fails where legacy does not, from pairs of answers to the same request.

Only pairs in which exactly one side failed count. If new is no worse, either side is the failing one with
chance one half. At looks planned beforehand that is McNemar's exact test; continuously it is the canary's
test with w = ½. Pure.
"""

from __future__ import annotations

import math

from gateway.rollout.canary import ErrorShare, is_worse, log_evidence

EVEN = 0.5


def mcnemar_p_value(new_only: int, legacy_only: int) -> float:
    """Return P(X ≥ ``new_only``) for X ~ Bin(``new_only`` + ``legacy_only``, ½): one-sided, exact.

    5 of 5 give 0.031, 7 of 7 give 0.008. Valid at looks planned beforehand only.
    """
    return binomial_upper_tail(new_only, new_only + legacy_only)


def binomial_upper_tail(at_least: int, trials: int) -> float:
    """Return P(X ≥ ``at_least``) for X ~ Bin(``trials``, ½), summed from the smallest term up."""
    if at_least <= 0:
        return 1.0
    scale = math.lgamma(trials + 1) - trials * math.log(2)
    terms = (
        math.exp(scale - math.lgamma(i + 1) - math.lgamma(trials - i + 1))
        for i in range(at_least, trials + 1)
    )
    return min(1.0, math.fsum(terms))


def log_pair_evidence(new_only: int, legacy_only: int) -> float:
    """Return ln of the sequential evidence that new fails more often than legacy."""
    return log_evidence(ErrorShare(new_only, new_only + legacy_only, EVEN))


def is_new_failing(new_only: int, legacy_only: int, alpha: float) -> bool:
    """Tell whether new fails more often than legacy at level ``alpha``; may be asked after every pair."""
    return is_worse([ErrorShare(new_only, new_only + legacy_only, EVEN)], alpha)
