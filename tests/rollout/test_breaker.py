"""Claim when the breaker opens, when it tries again, and what it leaves alone."""

from __future__ import annotations

import itertools

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from gateway.rollout.breaker import Breaker, BreakerState


def fail(breaker: Breaker, times: int, now: float = 0.0) -> list[bool]:
    return [breaker.record_new(now, is_failure=True) for _ in range(times)]


def opened(now: float = 0.0) -> Breaker:
    breaker = Breaker()
    fail(breaker, 5, now)
    assert breaker.state is BreakerState.OPEN
    return breaker


def test_five_failures_in_a_row_open_it_and_a_success_between_does_not() -> None:
    breaker = Breaker()
    fail(breaker, 4)
    breaker.record_new(0.0, is_failure=False)
    assert fail(breaker, 5) == [False] * 4 + [True]
    assert breaker.way(0.0) == "legacy"
    assert breaker.reason == "5 failures of new in a row"


def test_over_half_of_twenty_in_ten_seconds_open_it() -> None:
    breaker = Breaker()
    outcomes = [breaker.record_new(n * 0.3, is_failure=n % 4 != 3) for n in range(21)]
    assert outcomes == [False] * 20 + [True]
    assert breaker.reason == "16 of 21 answers of new failed in 10 s"


def test_failures_of_more_than_ten_seconds_ago_do_not_count() -> None:
    breaker = Breaker()
    for n in range(200):
        breaker.record_new(n * 1.0, is_failure=n % 4 != 3)
    assert breaker.state is BreakerState.CLOSED, "ten a window are too few to judge"


def test_it_half_opens_after_thirty_seconds_times_how_often_it_opened_and_lets_one_through() -> None:
    breaker, now = opened(), 0.0
    for times in range(1, 5):
        assert breaker.way(now + 30.0 * times - 0.01) == "legacy"
        now += 30.0 * times
        assert [breaker.way(now) for _ in range(4)] == ["probe", "legacy", "legacy", "legacy"]
        assert breaker.record_new(now, is_failure=True, is_probe=True)
        assert (breaker.state, breaker.times_opened) == (BreakerState.OPEN, times + 1)


def test_a_probe_that_succeeds_closes_it() -> None:
    breaker = opened()
    assert breaker.way(30.0) == "probe"
    assert breaker.record_new(30.1, is_failure=False, is_probe=True)
    assert breaker.way(30.2) == "new"
    assert fail(breaker, 5, 31.0)[-1], "and it opens again as it did before"
    assert breaker.wait_s == 60.0


def test_ten_good_minutes_are_forgiven() -> None:
    breaker = opened()
    breaker.way(30.0)
    breaker.record_new(30.0, is_failure=False, is_probe=True)
    fail(breaker, 5, 631.0)
    assert breaker.times_opened == 1


def test_a_probe_whose_client_left_or_that_never_came_back_is_followed_by_another() -> None:
    breaker = opened()
    assert breaker.way(30.0) == "probe"
    breaker.abandon_probe()
    assert breaker.way(30.0) == "probe"
    assert breaker.way(89.9) == "legacy"
    assert breaker.way(90.0) == "probe"


def test_late_answers_of_requests_from_before_it_opened_change_nothing() -> None:
    breaker = opened()
    breaker.way(30.0)
    assert not breaker.record_new(30.0, is_failure=False)
    assert not breaker.record_new(30.0, is_failure=True)
    assert breaker.state is BreakerState.HALF_OPEN


def test_it_stays_closed_while_legacy_fails_as_well_and_says_so() -> None:
    breaker = Breaker()
    for _ in range(5):
        breaker.record_legacy(0.0, is_failure=True)
    fail(breaker, 50)
    assert breaker.way(0.0) == "new"
    assert breaker.is_legacy_failing
    breaker.record_legacy(1.0, is_failure=False)
    assert not breaker.is_legacy_failing
    assert breaker.record_new(1.0, is_failure=True), "legacy is a way out again"


def test_legacy_that_failed_long_ago_is_not_failing() -> None:
    breaker = Breaker()
    for _ in range(5):
        breaker.record_legacy(0.0, is_failure=True)
    assert fail(breaker, 5, 60.0)[-1]


def test_more_than_a_fifth_of_fallbacks_open_it() -> None:
    breaker = Breaker()
    for n in range(100):
        is_fallback = n % 5 == 4
        breaker.record_new(n / 100, is_failure=is_fallback)
        assert not breaker.record_request(n / 100, is_fallback=is_fallback)
    assert breaker.state is BreakerState.CLOSED, "a fifth is within the budget"
    breaker.record_new(1.0, is_failure=True)
    assert breaker.record_request(1.0, is_fallback=True)
    assert breaker.reason == "21 of 101 requests fell back to legacy in 10 s"


class Model(RuleBasedStateMachine):
    """Hold the breaker against a model that keeps every answer for ever."""

    def __init__(self) -> None:
        super().__init__()
        self.breaker = Breaker()
        self.now = 0.0
        self.new: list[tuple[float, bool]] = []
        self.legacy: list[tuple[float, bool]] = []
        self.requests: list[tuple[float, bool]] = []
        self.is_closed = True
        self.opened_at = 0.0
        self.times = 0
        self.closed_at: float | None = None
        self.probe_at: float | None = None

    def window(self, answers: list[tuple[float, bool]]) -> tuple[int, int]:
        recent = [failed for at, failed in answers if int(at) > int(self.now) - 10]
        return len(recent), sum(recent)

    def in_a_row(self, answers: list[tuple[float, bool]]) -> int:
        return sum(1 for _ in itertools.takewhile(lambda answer: answer[1], reversed(answers)))

    def is_broken(self) -> bool:
        count, failures = self.window(self.new)
        requests, fallbacks = self.window(self.requests)
        return (
            self.in_a_row(self.new) >= 5
            or (count >= 20 and failures * 2 > count)
            or (requests >= 20 and fallbacks * 5 > requests)
        )

    def is_legacy_failing(self) -> bool:
        count, failures = self.window(self.legacy)
        failed_at = max((at for at, failed in self.legacy if failed), default=-99.0)
        is_row = self.in_a_row(self.legacy) >= 5 and self.now - failed_at < 10
        return is_row or (count >= 20 and failures * 2 > count)

    def expect_opening(self) -> bool:
        if not self.is_closed or not self.is_broken() or self.is_legacy_failing():
            return False
        self.open()
        return True

    def open(self) -> None:
        if self.closed_at is not None and self.now - self.closed_at >= 600:
            self.times = 0
        self.is_closed = False
        self.times += 1
        self.opened_at, self.closed_at, self.probe_at = self.now, None, None

    @rule(seconds=st.sampled_from([0.1, 0.9, 3.0, 11.0, 31.0, 700.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @precondition(lambda self: self.is_closed)
    @rule(failures=st.lists(st.booleans(), min_size=1, max_size=25), with_fallback=st.booleans())
    def answer(self, failures: list[bool], with_fallback: bool) -> None:
        for failed in failures:
            if not self.is_closed:
                break
            self.new.append((self.now, failed))
            assert self.breaker.record_new(self.now, is_failure=failed) == (failed and self.expect_opening())
            is_fallback = failed and with_fallback
            self.requests.append((self.now, is_fallback))
            assert self.breaker.record_request(self.now, is_fallback=is_fallback) == (
                is_fallback and self.expect_opening()
            )

    @rule(failures=st.lists(st.booleans(), min_size=1, max_size=25))
    def answer_by_legacy(self, failures: list[bool]) -> None:
        for failed in failures:
            self.legacy.append((self.now, failed))
            self.breaker.record_legacy(self.now, is_failure=failed)

    @rule(failed=st.sampled_from([True, False, None]))
    def ask(self, failed: bool | None) -> None:
        way = self.breaker.way(self.now)
        if self.is_closed:
            assert way == "new"
            return
        is_due = self.now - self.opened_at >= 30 * self.times
        is_free = self.probe_at is None or self.now - self.probe_at >= 60
        assert way == ("probe" if is_due and is_free else "legacy")
        if way != "probe":
            return
        self.probe_at = self.now
        if failed is None:
            return
        assert self.breaker.record_new(self.now, is_failure=failed, is_probe=True)
        if failed:
            self.open()
        else:
            self.is_closed, self.closed_at = True, self.now
            self.new.clear()
            self.requests.clear()

    @invariant()
    def the_two_agree(self) -> None:
        assert (self.breaker.state is BreakerState.CLOSED) == self.is_closed
        assert self.breaker.times_opened == self.times


TestModel = Model.TestCase
TestModel.settings = settings(max_examples=120, stateful_step_count=30, deadline=None)
