"""New raises, slows down, hangs or blocks the loop: what clients see is counted, and legacy's see nothing."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

import pytest

from tests.faults.lab import Lab, item, key_of, serving
from tests.faults.load import Load, assert_nobody_waited, quantile_s, told
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
  GET /hanging/{item_id:int}: {stage: canary, weight: 25%, sample: 0%, timeout: 1s}
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


def test_new_that_raises_on_every_request_is_cut_off_within_twenty(lab: Lab) -> None:
    # One by one, so that no request is under way to new while another one opens the breaker.
    with Load(lab.url, lambda n: item("breaking", n % 50), connections=1, is_keeping=False) as load:
        wait_until(lambda: load.has_answered(20), what="answers before")
        lab.break_new("breaking", "raise")
        wait_until(lambda: opened(lab, "breaking") == workers(lab), timeout_s=25, what="open breakers")
        answered = len(load.answers)
        wait_until(lambda: len(load.answers) >= answered + 40, what="40 more")
        later = load.answers[answered + 1 :]
    failures = [each for each in load.failures if each not in later]
    assert 5 <= len(failures) <= 5 * workers(lab) <= 20
    assert {(each.by, each.status) for each in failures} == {("new", 500)}, told(failures)
    # Half a minute after it opened, a breaker lets one request try new; nobody else gets there.
    assert sum(each.by == "new" for each in later) <= workers(lab)


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
    # Two of three callers are new, so that those who meet an error are many, and hardly ever five in a row.
    def ask(number: int) -> Asked:
        return item("tenth", number % 50, user=f"fresh{number}" if number % 3 else f"known{number % 60}")

    with Load(lab.url, ask, rate=150) as load:
        wait_until(lambda: load.by("new") and load.by("legacy"), what="a canary")
        lab.break_new("tenth", "raise 10%")
        wait_until(lambda: lab.events("tenth", "rolled_back"), timeout_s=60, what="the rollback")
        moved_at = time.monotonic()
        wait_until(
            lambda: load.since(moved_at + 5) and len(load.since(moved_at)) > 60, what="five more seconds"
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
        wait_until(lambda: load.has_answered(100), what="100 answers after a restart of everything")
    assert load.failures == [], told(load.failures)
    assert {each.by for each in load.answers} == {"legacy"}


def test_new_that_is_slow_fails_nobody_and_slows_legacy_down_for_nobody(lab: Lab) -> None:
    with Load(lab.url, beside_steady("slow")) as load:
        wait_until(lambda: load.has_answered(100), what="answers before")
        before = of(load.answers, "steady")
        lab.break_new("slow", "slow 1")
        slow_at = time.monotonic()
        wait_until(lambda: len(of(load.since(slow_at), "slow")) >= 100, timeout_s=30, what="100 answers")
    lab.break_new("slow", "")
    assert load.failures == [], told(load.failures)
    assert_nobody_waited(before, of(load.since(slow_at), "steady"), harm_s=1)
    slow = of(load.since(slow_at + 0.1), "slow")
    assert min(each.seconds for each in slow if each.by == "new") >= 0.95
    assert not lab.events("slow", "rolled_back"), "latency is told, and never acted on"


def test_new_that_hangs_is_cut_off_within_twenty_and_slows_legacy_down_for_nobody(lab: Lab) -> None:
    with Load(lab.url, beside_steady("hanging"), rate=40, is_keeping=False) as load:
        wait_until(lambda: load.has_answered(100), what="answers before")
        before = of(load.answers, "steady")
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
    under_way = 2 * 5  # new's five a second, within the deadline of 1 s; twice, for a busy machine
    assert len(load.failures) <= 5 * workers(lab) + under_way
    assert_nobody_waited(before, of(load.since(hanging_at), "steady"), harm_s=1)
    assert {each.by for each in of(load.since(opened_at), "hanging")} == {"legacy"}


def test_new_that_blocks_the_loop_delays_one_worker_and_fails_nobody(lab: Lab) -> None:
    with Load(lab.url, beside_steady("blocking")) as load:
        wait_until(lambda: load.has_answered(50), what="answers before")
        lab.break_new("blocking", "block 2")
        blocked_at = time.monotonic()
        wait_until(lambda: load.has_answered(150, since=blocked_at), timeout_s=30, what="150 more")
        wait_until(lambda: quantile_s(load.answers[-50:], 0.9) < 0.5, timeout_s=30, what="the end of it")
    assert load.failures == [], told(load.failures)
    assert max(each.seconds for each in load.since(blocked_at)) > 1, "it did block"
    assert re.search(rf"{re.escape(key_of('blocking'))} held it for 2\.\d s", lab.text()), "and it is named"
