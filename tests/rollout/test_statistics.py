"""Hold the sequential tests to their published values, to scipy, and to their laws."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, special, stats

from gateway.rollout.beta import log_beta, log_incomplete_beta
from gateway.rollout.bounds import wilson_interval
from gateway.rollout.canary import ErrorShare, is_worse, log_evidence, log_run_evidence, needed_errors
from gateway.rollout.latency import (
    Latency,
    bin_middle_s,
    bin_of,
    crossed_look,
    look_alpha,
    mann_whitney_p_value,
    sign_p_value,
)
from gateway.rollout.pairs import is_new_failing, log_pair_evidence, mcnemar_p_value
from gateway.rollout.parity import (
    is_below_budget,
    log_evidence_above,
    log_evidence_below,
    missing_comparisons,
    needed_comparisons,
)


@pytest.mark.parametrize(
    ("alpha", "budget", "needed"),
    [
        (0.05, 0.01, [449, 683, 882]),
        (0.05, 0.001, [4512, 6851, 8848]),
        (0.01, 0.01, [644, 896, 1110]),
        (0.01, 0.001, [6471, 8997, 11142]),
    ],
)
def test_the_parity_gate_needs_as_many_comparisons_as_published(
    alpha: float, budget: float, needed: list[int]
) -> None:
    assert [needed_comparisons(k, budget, alpha) for k in range(3)] == needed


@pytest.mark.parametrize(
    ("alpha", "needed"), [(0.05, [4, 8, 10, 17, 29]), (0.01, [5, 10, 13, 21, 36])], ids=["5%", "1%"]
)
def test_the_canary_test_needs_as_many_errors_as_published(alpha: float, needed: list[int]) -> None:
    assert [needed_errors(weight, alpha) for weight in (0.01, 0.05, 0.10, 0.25, 0.50)] == needed


def test_mcnemar_gives_the_published_values() -> None:
    assert round(mcnemar_p_value(5, 0), 3) == 0.031
    assert round(mcnemar_p_value(7, 0), 3) == 0.008


@given(x=st.floats(1e-6, 0.999), a=st.floats(0.5, 3000), b=st.floats(0.5, 3000))
def test_the_incomplete_beta_function_agrees_with_scipy(x: float, a: float, b: float) -> None:
    ours = log_incomplete_beta(x, a, b) - log_beta(a, b)
    theirs = special.betainc(a, b, x)
    if theirs > 1e-290:
        assert math.isclose(math.exp(min(ours, 0.0)), theirs, rel_tol=1e-9)
    else:
        assert ours < -600


@pytest.mark.parametrize("mismatches", [0, 1, 7])
@pytest.mark.parametrize("comparisons", [10, 700, 1900])
@pytest.mark.parametrize("budget", [0.001, 0.01, 0.3])
def test_parity_evidence_is_the_integral_that_defines_it(
    mismatches: int, comparisons: int, budget: float
) -> None:
    def ratio(q: float) -> float:
        return float(
            (q / budget) ** mismatches * math.exp((comparisons - mismatches) * _log_ratio(q, budget))
        )

    below, _ = integrate.quad(ratio, 0, budget, limit=200, epsabs=0, epsrel=1e-10)
    evidence = log_evidence_below(mismatches, comparisons, budget)
    assert math.isclose(evidence, math.log(below / budget), rel_tol=1e-6, abs_tol=1e-9)
    above, _ = integrate.quad(
        ratio, budget, 1, points=[budget, min(1, 3 * budget)], limit=500, epsabs=0, epsrel=1e-10
    )
    evidence = log_evidence_above(mismatches, comparisons, budget)
    assert math.isclose(evidence, math.log(above / (1 - budget)), rel_tol=1e-6, abs_tol=1e-9)


def _log_ratio(q: float, p: float) -> float:
    return math.log1p(-q) - math.log1p(-p) if q < 1 else -math.inf


@given(mismatches=st.integers(0, 50), more=st.integers(0, 20_000), budget=st.sampled_from([0.1, 0.01, 0.001]))
def test_a_match_never_lowers_the_evidence_and_a_mismatch_never_raises_it(
    mismatches: int, more: int, budget: float
) -> None:
    comparisons = mismatches + more
    evidence = log_evidence_below(mismatches, comparisons, budget)
    assert log_evidence_below(mismatches, comparisons + 1, budget) >= evidence - 1e-9
    assert log_evidence_below(mismatches + 1, comparisons + 1, budget) <= evidence + 1e-9


@given(mismatches=st.integers(0, 12), more=st.integers(0, 30_000))
def test_the_missing_comparisons_are_exactly_those_that_pass_the_gate(mismatches: int, more: int) -> None:
    comparisons = mismatches + more
    missing = missing_comparisons(mismatches, comparisons, 0.001, 0.05)
    assert is_below_budget(mismatches, comparisons + missing, 0.001, 0.05)
    assert missing == 0 or not is_below_budget(mismatches, comparisons + missing - 1, 0.001, 0.05)


def test_evidence_stays_finite_over_a_billion_comparisons() -> None:
    for mismatches in (0, 999_000, 1_000_000, 1_001_000, 10**9):
        assert math.isfinite(log_evidence_below(mismatches, 10**9, 0.001))
        assert math.isfinite(log_evidence_above(mismatches, 10**9, 0.001))


@pytest.mark.parametrize("weight", [0.0001, 0.01, 0.25, 0.5, 0.99])
def test_the_canary_evidence_averages_to_one_when_new_is_no_worse(weight: float) -> None:
    for callers in (1, 7, 60):
        chances = [stats.binom.pmf(k, callers, weight) for k in range(callers + 1)]
        values = [math.exp(log_evidence(ErrorShare(k, callers, weight))) for k in range(callers + 1)]
        assert math.isclose(sum(c * v for c, v in zip(chances, values, strict=True)), 1, rel_tol=1e-7)


@pytest.mark.parametrize("budget", [0.001, 0.01, 0.2])
def test_the_parity_evidence_averages_to_one_at_the_budget(budget: float) -> None:
    for comparisons in (1, 10, 400):
        chances = stats.binom.logpmf(range(comparisons + 1), comparisons, budget)
        for evidence in (log_evidence_below, log_evidence_above):
            terms = [chance + evidence(k, comparisons, budget) for k, chance in enumerate(chances)]
            assert math.isclose(math.fsum(map(math.exp, terms)), 1, rel_tol=1e-6)


def test_evidence_of_the_steps_of_a_run_multiplies() -> None:
    steps = [ErrorShare(4, 5, 0.01), ErrorShare(6, 9, 0.05), ErrorShare(13, 20, 0.25)]
    assert math.isclose(log_run_evidence(steps), sum(map(log_evidence, steps)))
    assert not any(is_worse([step], 0.01) for step in steps)
    assert is_worse(steps, 0.01)


def test_new_that_fails_fewer_callers_than_its_share_is_never_worse() -> None:
    assert log_evidence(ErrorShare(0, 2000, 0.5)) > math.log(100)
    assert not is_worse([ErrorShare(0, 2000, 0.5)], 0.05)


@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_without_a_legacy_share_there_is_no_evidence(weight: float) -> None:
    assert log_evidence(ErrorShare(50, 50, weight)) == 0
    assert not is_worse([ErrorShare(50, 50, weight)], 0.05)


@given(new_only=st.integers(0, 80), legacy_only=st.integers(0, 80))
def test_mcnemar_agrees_with_scipy(new_only: int, legacy_only: int) -> None:
    trials = new_only + legacy_only
    theirs = stats.binomtest(new_only, trials, alternative="greater").pvalue if trials else 1.0
    assert math.isclose(mcnemar_p_value(new_only, legacy_only), theirs, rel_tol=1e-9)


def test_the_sequential_form_of_error_pairs_needs_twenty_nine_of_twenty_nine() -> None:
    assert not is_new_failing(28, 0, 0.05)
    assert is_new_failing(29, 0, 0.05)
    assert not is_new_failing(0, 500, 0.05)
    assert log_pair_evidence(0, 0) == 0


@given(successes=st.integers(0, 400), more=st.integers(1, 400))
def test_the_displayed_bound_agrees_with_scipy(successes: int, more: int) -> None:
    trials = successes + more
    theirs = stats.binomtest(successes, trials).proportion_ci(0.95, method="wilson")
    assert wilson_interval(successes, trials) == pytest.approx((theirs.low, theirs.high), abs=1e-9)
    assert wilson_interval(0, 0) == (0.0, 1.0)


bins = st.dictionaries(st.integers(40, 60), st.integers(1, 60), min_size=2, max_size=12)


@settings(max_examples=60)
@given(new=bins, legacy=bins)
def test_mann_whitney_on_bins_agrees_with_scipy(new: dict[int, int], legacy: dict[int, int]) -> None:
    ours = mann_whitney_p_value(Latency(new), Latency(legacy))
    if min(sum(new.values()), sum(legacy.values())) < 50:
        assert ours is None
        return
    spread = [[number for number, count in side.items() for _ in range(count)] for side in (new, legacy)]
    theirs = stats.mannwhitneyu(*spread, alternative="greater", method="asymptotic").pvalue
    assert ours == pytest.approx(theirs, rel=1e-6, abs=1e-12)


@given(seconds=st.floats(1e-5, 9000))
def test_a_bin_is_within_a_fourteenth_of_what_fell_into_it(seconds: float) -> None:
    assert bin_middle_s(bin_of(seconds)) == pytest.approx(seconds, rel=0.0721)


def test_latencies_add_up_and_give_quantiles() -> None:
    fast, slow = Latency({bin_of(0.010): 90}), Latency({bin_of(1.0): 10})
    both = fast + slow
    assert both.total == 100
    assert both.quantile_s(0.5) == pytest.approx(0.010, rel=0.08)
    assert both.quantile_s(0.99) == pytest.approx(1.0, rel=0.08)
    assert Latency().quantile_s(0.5) is None


def test_the_sign_test_is_exact() -> None:
    assert sign_p_value(60, 80) == pytest.approx(stats.binomtest(60, 80, alternative="greater").pvalue)


def test_planned_looks_spend_no_more_than_alpha() -> None:
    assert [crossed_look(0, n) for n in (49, 50, 99, 100, 400)] == [None, 1, 1, 2, 4]
    assert crossed_look(100, 199) is None
    assert sum(look_alpha(look, 0.01) for look in range(1, 60)) <= 0.01
