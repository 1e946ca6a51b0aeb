"""Claim what evidence leads to: advance, roll back, hold, and the sentence that says why."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.rollout.canary import needed_errors
from gateway.rollout.evidence import (
    COUNTER_NAMES,
    CallerSketch,
    Evidence,
    SideEvidence,
    parse_evidence,
    request_counters,
    sketch_bit,
)
from gateway.rollout.latency import bin_of
from gateway.rollout.persistence import evidence_of, run_evidence, scope_of
from gateway.rollout.positions import Position, fingerprint, own_step
from gateway.rollout.verdict import Outcome, Verdict, false_moves_allowed, judge
from gateway.store.records import Scope, StoredEvidence
from gateway.table.spec import Rollout, RolloutStep
from tests.rollout.rows import LEGACY, NEW, ROLLOUT, ROUTE_ID, SHADOW, canary, make_row


def sketch(callers: int) -> CallerSketch:
    whole = CallerSketch()
    for number in range(callers):
        word, bits = sketch_bit(int.from_bytes(hashlib.sha256(b"%d" % number).digest()[:8]) >> 1)
        words = list(CallerSketch().words)
        words[word] = bits
        whole |= CallerSketch(tuple(words))
    return whole


def verdict(
    step: RolloutStep,
    *run: tuple[RolloutStep, Evidence],
    elapsed_s: float = 601.0,
    rollout: Rollout = ROLLOUT,
) -> Verdict:
    row = make_row(SHADOW, rollout)
    position = Position(ROUTE_ID, row.key, fingerprint(row), own_step(row), step, since=1000.0)
    return judge(row, position, run, now=1000.0 + elapsed_s)


GOOD_CANARY = Evidence(new=SideEvidence(requests=500, sketch=sketch(40)), legacy=SideEvidence(requests=9000))


def test_no_data_is_inconclusive_and_says_what_is_missing() -> None:
    silent = verdict(SHADOW)
    assert silent.outcome is Outcome.INCONCLUSIVE
    assert "4,512 matched comparisons are needed, 0 are there" in silent.sentence
    assert silent.numbers["parity.missing"] == 4512


@pytest.mark.parametrize(
    ("evidence", "sentence"),
    [
        pytest.param(
            Evidence(comparisons=1203),
            "4,512 matched comparisons are needed, 1,203 are there",
            id="some",
        ),
        pytest.param(
            Evidence(comparisons=8000, mismatches=2),
            "with 2 mismatches 8,848 comparisons are needed, 8,000 are there",
            id="mismatches",
        ),
    ],
)
def test_too_little_data_is_inconclusive(evidence: Evidence, sentence: str) -> None:
    found = verdict(SHADOW, (SHADOW, evidence))
    assert (found.outcome, found.sentence) == (Outcome.INCONCLUSIVE, sentence)


def test_enough_matched_comparisons_pass() -> None:
    found = verdict(SHADOW, (SHADOW, Evidence(comparisons=4512)))
    assert found.outcome is Outcome.PASS
    assert found.sentence.startswith(
        "ready for canary 1%: 0 mismatches in 4,512 comparisons: below the budget"
    )


def test_a_minimum_of_time_is_needed_on_top() -> None:
    found = verdict(SHADOW, (SHADOW, Evidence(comparisons=9000)), elapsed_s=100.0)
    assert found.outcome is Outcome.INCONCLUSIVE
    assert found.sentence == "10 min at this step are needed, 2 min have passed"


def test_more_mismatches_than_the_budget_fail() -> None:
    found = verdict(SHADOW, (SHADOW, Evidence(comparisons=200, mismatches=12)))
    assert found.outcome is Outcome.FAIL
    assert found.sentence == "12 of 200 comparisons differ (6%), more than the budget of 0.1%"


def test_new_that_fails_where_legacy_does_not_fails() -> None:
    evidence = Evidence(comparisons=100_000, new_only_failures=60)
    assert verdict(SHADOW, (SHADOW, evidence)).outcome is Outcome.FAIL
    balanced = Evidence(comparisons=100_000, new_only_failures=60, legacy_only_failures=60)
    assert verdict(SHADOW, (SHADOW, balanced)).outcome is Outcome.PASS


def test_tests_that_begin_anew_at_each_step_share_alpha_among_the_steps() -> None:
    needed = needed_errors(0.5, ROLLOUT.alpha_rollback / 6)
    assert needed > needed_errors(0.5, ROLLOUT.alpha_rollback)
    for pairs, outcome in ((needed - 1, Outcome.PASS), (needed, Outcome.FAIL)):
        evidence = replace(GOOD_CANARY, new_only_failures=pairs)
        assert verdict(canary(5), (canary(5), evidence)).outcome is outcome


def test_a_canary_needs_requests_and_callers_of_new() -> None:
    step = canary(5)
    assert verdict(step, (step, GOOD_CANARY)).outcome is Outcome.PASS
    few = replace(GOOD_CANARY, new=replace(GOOD_CANARY.new, requests=499))
    assert verdict(step, (step, few)).sentence == "500 requests to new are needed, 499 are there"
    alone = replace(GOOD_CANARY, new=replace(GOOD_CANARY.new, sketch=sketch(1)))
    assert verdict(step, (step, alone)).sentence == "10 callers of new are needed, 1 is there"


def test_a_canary_that_fails_too_many_callers_is_rolled_back() -> None:
    step = canary(5)
    failing = replace(GOOD_CANARY, new=replace(GOOD_CANARY.new, callers_with_error=10))
    found = verdict(step, (step, failing))
    assert found.outcome is Outcome.FAIL
    assert found.sentence == "10 of 10 callers with an error met it on new, where its share explains 0.5"
    assert found.numbers["canary_errors.needed"] == 10
    nine = replace(GOOD_CANARY, new=replace(GOOD_CANARY.new, callers_with_error=9))
    assert verdict(step, (step, nine)).outcome is Outcome.PASS


def test_evidence_of_earlier_steps_of_the_run_weighs_in() -> None:
    one, five = canary(1), canary(5)
    earlier = Evidence(new=SideEvidence(callers_with_error=4))
    later = replace(GOOD_CANARY, new=replace(GOOD_CANARY.new, callers_with_error=6))
    assert verdict(five, (five, later)).outcome is Outcome.PASS
    assert verdict(five, (one, earlier), (five, later)).outcome is Outcome.FAIL


def test_mismatches_in_canary_roll_back() -> None:
    step = canary(25)
    differing = replace(GOOD_CANARY, comparisons=300, mismatches=12)
    assert verdict(step, (step, differing)).outcome is Outcome.FAIL


def test_at_the_last_step_nothing_follows_but_a_rollback_may() -> None:
    done = verdict(NEW, (NEW, GOOD_CANARY))
    assert (done.outcome, done.sentence) == (Outcome.INCONCLUSIVE, "the last step of the rollout is reached")
    assert verdict(NEW, (NEW, Evidence(comparisons=300, mismatches=12))).outcome is Outcome.FAIL


def test_from_legacy_only_shadow_follows_by_itself() -> None:
    row = make_row(LEGACY, Rollout((SHADOW, canary(1))))
    position = Position(ROUTE_ID, row.key, fingerprint(row), LEGACY, LEGACY, 0.0)
    assert judge(row, position, (), now=0.0).outcome is Outcome.PASS
    jumping = make_row(LEGACY, Rollout((canary(1),)))
    assert judge(jumping, position, (), now=1e9).outcome is Outcome.INCONCLUSIVE


def test_the_levels_say_how_many_false_moves_they_allow() -> None:
    assert false_moves_allowed([ROLLOUT] * 20) == pytest.approx((1.0, 0.6))


@given(
    comparisons=st.integers(0, 30_000),
    share=st.floats(0, 0.02),
    elapsed_s=st.floats(0, 2000),
    stage=st.sampled_from([SHADOW, canary(1), canary(50), NEW]),
    requests=st.integers(0, 2000),
)
def test_a_pass_always_has_data_time_and_a_step_to_go_to(
    comparisons: int, share: float, elapsed_s: float, stage: RolloutStep, requests: int
) -> None:
    evidence = Evidence(
        comparisons=comparisons,
        mismatches=int(comparisons * share),
        new=SideEvidence(requests=requests, sketch=sketch(min(requests, 30))),
    )
    found = verdict(stage, (stage, evidence), elapsed_s=elapsed_s)
    assert found.sentence
    if found.outcome is Outcome.PASS:
        assert elapsed_s >= ROLLOUT.min_time_s
        assert stage != NEW
        assert comparisons >= 4512 if stage == SHADOW else requests >= ROLLOUT.min_requests


names = st.sampled_from([*sorted(COUNTER_NAMES), "new.latency.40", "legacy.latency.41"])
counts = st.dictionaries(names, st.integers(0, 1000), max_size=8)
words = st.lists(st.tuples(st.integers(0, 16), st.integers(0, 2**60 - 1)), max_size=4)


@given(parts=st.lists(st.tuples(counts, words), max_size=5))
def test_evidence_of_summed_counters_is_the_sum_of_the_evidences(
    parts: list[tuple[dict[str, int], list[tuple[int, int]]]],
) -> None:
    sums: dict[str, int] = {}
    united: list[tuple[int, int]] = []
    total = Evidence()
    for part, seen in parts:
        total += parse_evidence(part, {"new": seen}, {"new": 2})
        united += seen
        for name, n in part.items():
            sums[name] = sums.get(name, 0) + n
    whole = parse_evidence(sums, {"new": united}, {"new": 2 * len(parts)})
    assert whole == total


@pytest.mark.parametrize("callers", [0, 1, 10, 100, 1000, 2000])
def test_a_sketch_counts_callers_within_a_twelfth(callers: int) -> None:
    assert sketch(callers).callers == pytest.approx(callers, rel=1 / 12, abs=1)


def test_one_answered_request_becomes_counters_and_these_become_evidence() -> None:
    evidence = parse_evidence(request_counters("new", is_error=True, seconds=0.02), {}, {})
    assert (evidence.new.requests, evidence.new.errors) == (1, 1)
    assert evidence.new.latency.bins == {bin_of(0.02): 1}
    assert request_counters("legacy", is_error=False) == {"legacy.requests": 1}


def test_evidence_of_a_run_comes_from_the_store_step_by_step() -> None:
    row = make_row()
    position = Position(ROUTE_ID, row.key, fingerprint(row), SHADOW, canary(1), 0.0, run=3)
    scope = scope_of(ROUTE_ID, row, position)
    assert scope == Scope(ROUTE_ID, 3, "canary 1%")
    stored = {
        scope: StoredEvidence({"new.requests": 7}, {"new": ((0, 3),)}, {"new": 1}),
        Scope(ROUTE_ID, 3, "shadow"): StoredEvidence({"comparisons": 5000}),
        Scope(ROUTE_ID, 2, "shadow"): StoredEvidence({"comparisons": 9}),
    }
    (shadow, compared), (first, tried) = run_evidence(row, position, stored)
    assert (shadow, compared.comparisons) == (SHADOW, 5000)
    assert (first, tried.new.requests, tried.new.callers_with_error) == (canary(1), 7, 1)
    assert evidence_of(None) == Evidence()
