"""New raises, slows down, hangs or blocks the loop: what clients see is counted, and legacy's see nothing."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from tests.faults.lab import Lab, item, key_of, serving
from tests.faults.load import Load, quantile_s, told
from tests.running import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.faults.load import Answer, Asked

ROUTES = """\
  GET /steady/{item_id:int}: legacy
  GET /breaking/{item_id:int}: new
  GET /guarded/{item_id:int}: {stage: new, fallback: legacy, timeout: 400ms}
  GET /waiting/{item_id:int}: {stage: new, fallback: legacy, timeout: 400ms}
  GET /tenth/{item_id:int}:
    {stage: canary, weight: 25%, sample: 0%, rollout: {steps: [canary 50%, new], min_time: 1h}}
  GET /slow/{item_id:int}:
    {stage: canary, weight: 25%, sample: 0%, rollout: {steps: [canary 50%, new], min_time: 1h}}
  GET /hanging/{item_id:int}: {stage: canary, weight: 25%, sample: 0%, timeout: 400ms}
  GET /blocking/{item_id:int}: new
"""
NEEDED_ERRORS = 21
"""Callers with an error, all of them on new, that make the test reject at 25% and α = 0.01 (rollout.md)."""


@pytest.fixture(scope="module", params=["1", "4"], ids=["1 worker", "4 workers"])
def lab(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with serving(tmp_path_factory.mktemp("new"), ROUTES, "--workers", request.param) as running:
        yield running


def workers(lab: Lab) -> int:
    return int(lab.options[-1])


def beside_steady(row: str) -> Callable[[int], Asked]:
    """Return the load that asks ``row`` and a row of legacy in turn, as three hundred callers."""
    return lambda number: item(row if number % 2 else "steady", number % 50, user=f"u{number % 300}")


def of(answers: list[Answer], row: str) -> list[Answer]:
    return [each for each in answers if each.asked.path.startswith(f"/{row}/")]


def opened(lab: Lab, row: str) -> int:
    """Return how many breakers of ``row`` have opened."""
    return lab.text().count(f"{key_of(row)}: the breaker is open")


def assert_nobody_waited(load: Load, before_s: float, faulty_since: float) -> None:
    """Hold what legacy's clients saw against what they saw before, with room for a busy machine."""
    during_s = quantile_s(of(load.since(faulty_since), "steady"), 0.9)
    assert during_s < max(0.2, 3 * before_s), f"{before_s:.3f} s before, {during_s:.3f} s meanwhile"


def test_new_that_raises_on_every_request_is_cut_off_within_twenty(lab: Lab) -> None:
    # One by one, so that no request is under way to new while another one opens the breaker.
    with Load(lab.url, lambda n: item("breaking", n % 50), connections=1, is_keeping=False) as load:
        wait_until(lambda: load.has_answered(20), what="answers before")
        lab.break_new("breaking", "raise")
        broken_at = time.monotonic()
        wait_until(lambda: load.has_answered(200, since=broken_at), timeout_s=30, what="200 more")
    assert 5 <= len(load.failures) <= 5 * workers(lab) <= 20
    assert {(each.by, each.status) for each in load.failures} == {("new", 500)}, told(load.failures)
    opened_at = load.failures[-1].at
    assert {each.by for each in load.answers if each.at > opened_at} == {"legacy"}
    assert opened(lab, "breaking") == workers(lab)


@pytest.mark.parametrize(("row", "fault"), [("guarded", "raise"), ("waiting", "hang")])
def test_with_a_fallback_no_safe_request_fails(lab: Lab, row: str, fault: str) -> None:
    with Load(lab.url, lambda n: item(row, n % 50), rate=60) as load:
        wait_until(lambda: load.by("new"), what="answers before")
        lab.break_new(row, fault)
        wait_until(lambda: opened(lab, row), timeout_s=30, what="an open breaker")
        opened_at = time.monotonic()
        wait_until(lambda: load.has_answered(60, since=opened_at), what="60 more")
    assert load.failures == [], told(load.failures)


def test_new_that_raises_for_a_tenth_is_rolled_back_in_every_worker_for_good(lab: Lab) -> None:
    # Every second caller is a new one, so that those who meet an error are many and never five in a row.
    def ask(number: int) -> Asked:
        return item("tenth", number % 50, user=f"fresh{number}" if number % 2 else f"known{number % 60}")

    with Load(lab.url, ask, rate=200) as load:
        wait_until(lambda: load.by("new") and load.by("legacy"), what="a canary")
        lab.break_new("tenth", "raise 10%")
        wait_until(lambda: lab.events("tenth", "rolled_back"), timeout_s=60, what="the rollback")
        moved_at = time.monotonic()
        wait_until(
            lambda: load.since(moved_at + 5) and len(load.since(moved_at)) > 100, what="five more seconds"
        )
    met: dict[str, float] = {}
    for answer in load.failures:
        assert (answer.by, answer.status) == ("new", 500), told(load.failures)
        met.setdefault(answer.asked.user, answer.at + answer.seconds)
    rejects_at = sorted(met.values())[NEEDED_ERRORS - 1]
    last_new = max(each.at for each in load.by("new"))
    assert last_new - rejects_at < 5, "from the moment the test rejects to the switch in every worker"
    assert opened(lab, "tenth") == 0, "it is the verdict that moved it"
    (event,) = lab.events("tenth", "rolled_back")
    assert (event.before, event.after, event.caused_by) == ("canary 25%", "shadow", "controller")
    in_two_turns = sum(at < rejects_at + 2.5 for at in met.values())
    assert NEEDED_ERRORS <= event.numbers["canary_errors.on_new"] <= in_two_turns
    assert event.numbers["canary_errors.needed"] == NEEDED_ERRORS
    lab.break_new("tenth", "")
    lab.stop()
    lab.start()
    with Load(lab.url, ask) as load:
        wait_until(lambda: load.has_answered(150), what="150 answers after a restart of everything")
    assert load.failures == [], told(load.failures)
    assert {each.by for each in load.answers} == {"legacy"}


def test_new_that_is_slow_fails_nobody_and_slows_legacy_down_for_nobody(lab: Lab) -> None:
    with Load(lab.url, beside_steady("slow")) as load:
        wait_until(lambda: load.has_answered(100), what="answers before")
        before_s = quantile_s(of(load.answers, "steady"), 0.9)
        lab.break_new("slow", "slow 0.5")
        slow_at = time.monotonic()
        wait_until(lambda: len(of(load.since(slow_at), "slow")) >= 150, timeout_s=30, what="150 answers")
    lab.break_new("slow", "")
    assert load.failures == [], told(load.failures)
    assert_nobody_waited(load, before_s, slow_at)
    slow = of(load.since(slow_at + 0.1), "slow")
    assert min(each.seconds for each in slow if each.by == "new") >= 0.45
    assert not lab.events("slow", "rolled_back"), "latency is told, and never acted on"


def test_new_that_hangs_is_cut_off_within_twenty_and_slows_legacy_down_for_nobody(lab: Lab) -> None:
    with Load(lab.url, beside_steady("hanging"), rate=80, is_keeping=False) as load:
        wait_until(lambda: load.has_answered(100), what="answers before")
        before_s = quantile_s(of(load.answers, "steady"), 0.9)
        lab.break_new("hanging", "hang")
        hanging_at = time.monotonic()
        wait_until(
            lambda: opened(lab, "hanging") == workers(lab),
            timeout_s=60,
            what="the breakers",
        )
        opened_at = time.monotonic()
        wait_until(lambda: len(of(load.since(opened_at), "hanging")) >= 50, what="50 more")
    assert {(each.by, each.status) for each in load.failures} == {("gateway", 504)}, told(load.failures)
    under_way = (
        10 * 0.4 * 2
    )  # new's share of 40 a second, within the deadline of 400 ms, twice for a busy machine
    assert len(load.failures) <= 5 * workers(lab) + under_way
    assert_nobody_waited(load, before_s, hanging_at)
    assert {each.by for each in of(load.since(opened_at), "hanging")} == {"legacy"}


def test_new_that_blocks_the_loop_delays_one_worker_and_fails_nobody(lab: Lab) -> None:
    with Load(lab.url, beside_steady("blocking")) as load:
        wait_until(lambda: load.has_answered(50), what="answers before")
        lab.break_new("blocking", "block 2")
        blocked_at = time.monotonic()
        wait_until(lambda: load.has_answered(250, since=blocked_at), timeout_s=30, what="250 more")
        later = time.monotonic()
        wait_until(lambda: load.has_answered(100, since=later), timeout_s=30, what="100 after it")
    assert load.failures == [], told(load.failures)
    assert max(each.seconds for each in load.since(blocked_at)) > 1, "it did block"
    assert quantile_s(load.since(later), 0.9) < 1, "and it is over"
