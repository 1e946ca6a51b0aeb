"""Peek after every single observation, thousands of times over, and count how often the tests are fooled.

Seeded; an optional-stopping guarantee of α must show as a frequency of at most α, up to the simulation's own
error of three standard deviations.
"""

from __future__ import annotations

import math
import random
from functools import cache

import pytest

from gateway.rollout.bounds import wilson_interval
from gateway.rollout.canary import ErrorShare, is_worse
from gateway.rollout.parity import is_above_budget, is_below_budget, needed_comparisons

RUNS = 2000


def allowed(alpha: float, runs: int = RUNS) -> float:
    return alpha + 3 * math.sqrt(alpha * (1 - alpha) / runs)


@cache
def gate(mismatches: int, budget: float, alpha: float) -> int:
    return needed_comparisons(mismatches, budget, alpha)


def is_ever_promoted(chance: random.Random, rate: float, budget: float, alpha: float, horizon: int) -> bool:
    """Play comparisons of a route with the true mismatch ``rate``, peeking after each.

    Between two mismatches the evidence only rises, so it is enough to look just before each.
    """
    comparisons, mismatches = 0, 0
    while comparisons < horizon:
        comparisons += int(math.log(1 - chance.random()) / math.log1p(-rate)) + 1
        if min(comparisons - 1, horizon) >= gate(mismatches, budget, alpha):
            return True
        mismatches += 1
    return False


@pytest.mark.parametrize(("budget", "alpha"), [(0.01, 0.05), (0.001, 0.05), (0.01, 0.01)])
def test_a_route_at_its_budget_is_promoted_no_more_often_than_alpha(budget: float, alpha: float) -> None:
    chance = random.Random(20261122)
    promoted = sum(is_ever_promoted(chance, budget, budget, alpha, round(300 / budget)) for _ in range(RUNS))
    assert promoted / RUNS <= allowed(alpha)


def test_a_route_well_below_its_budget_is_promoted() -> None:
    chance = random.Random(7)
    promoted = sum(is_ever_promoted(chance, 0.0005, 0.01, 0.05, 2000) for _ in range(RUNS))
    assert promoted / RUNS >= 0.95


def test_a_fixed_sample_bound_would_be_fooled_by_peeking() -> None:
    """Show why the displayed bound gates nothing: read every ten requests, it promotes far too often."""
    chance = random.Random(3)
    fooled = 0
    for _ in range(400):
        mismatches = 0
        for n in range(1, 3001):
            mismatches += chance.random() < 0.01
            if n % 10 == 0 and n >= 100 and wilson_interval(mismatches, n, 0.90)[1] < 0.01:
                fooled += 1
                break
    assert fooled / 400 > 0.15


@pytest.mark.parametrize("weight", [0.01, 0.05, 0.25, 0.5])
@pytest.mark.parametrize("alpha", [0.05, 0.01])
def test_new_that_is_no_worse_is_rolled_back_no_more_often_than_alpha(weight: float, alpha: float) -> None:
    chance = random.Random(11)
    runs, rolled_back = 1000, 0
    for _ in range(runs):
        on_new = 0
        for callers in range(1, 251):
            if chance.random() < weight:
                on_new += 1
                if is_worse([ErrorShare(on_new, callers, weight)], alpha):
                    rolled_back += 1
                    break
    assert rolled_back / runs <= allowed(alpha, runs)


def test_a_run_over_several_weights_is_rolled_back_no_more_often_than_alpha() -> None:
    chance = random.Random(12)
    weights, alpha, runs, rolled_back = (0.01, 0.05, 0.25, 0.5), 0.05, 800, 0
    for _ in range(runs):
        done: list[ErrorShare] = []
        for weight in weights:
            on_new, callers, is_back = 0, 0, False
            for callers in range(1, chance.randrange(5, 80)):
                if chance.random() < weight:
                    on_new += 1
                    is_back = is_worse([*done, ErrorShare(on_new, callers, weight)], alpha)
                    if is_back:
                        break
            done.append(ErrorShare(on_new, callers, weight))
            if is_back:
                rolled_back += 1
                break
    assert rolled_back / runs <= allowed(alpha, runs)


@pytest.mark.parametrize("weight", [0.01, 0.05, 0.25, 0.5])
def test_new_that_fails_five_times_as_many_callers_is_rolled_back(weight: float) -> None:
    chance = random.Random(13)
    share = 5 * weight / (5 * weight + 1 - weight)
    found = 0
    for _ in range(300):
        on_new = 0
        for callers in range(1, max(301, round(10 / weight))):
            on_new += chance.random() < share
            if is_worse([ErrorShare(on_new, callers, weight)], 0.01):
                found += 1
                break
    assert found / 300 >= 0.95


def test_a_route_within_its_budget_is_found_above_it_no_more_often_than_alpha() -> None:
    chance = random.Random(14)
    runs, found, budget, alpha = 1000, 0, 0.01, 0.05
    for _ in range(runs):
        comparisons = 0
        for mismatches in range(1, 60):
            comparisons += int(math.log(1 - chance.random()) / math.log1p(-budget)) + 1
            if is_above_budget(mismatches, comparisons, budget, alpha):
                found += 1
                break
    assert found / runs <= allowed(alpha, runs)


def test_a_route_at_three_times_its_budget_is_found() -> None:
    chance = random.Random(15)
    found = 0
    for _ in range(300):
        mismatches = 0
        for comparisons in range(1, 2500):
            if chance.random() < 0.03:
                mismatches += 1
                if is_above_budget(mismatches, comparisons, 0.01, 0.01):
                    found += 1
                    break
        assert not is_below_budget(mismatches, comparisons, 0.01, 0.05)
    assert found / 300 >= 0.95
