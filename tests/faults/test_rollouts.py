"""A row walks from shadow to new by itself, or does not, while clients, people and signals go on as ever."""

from __future__ import annotations

import json
import os
import signal
import time
from typing import TYPE_CHECKING

import pytest

from gateway.store import Ledger
from tests.faults.lab import Lab, item, serving
from tests.faults.load import Load, told
from tests.running import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.faults.load import Asked

ROUTES = """\
  GET /walking/{item_id:int}: {stage: shadow, rollout: *strict}
  GET /wrong/{item_id:int}: {stage: shadow, rollout: *strict}
  GET /edited/{item_id:int}: {stage: shadow, rollout: *loose}
  GET /kept/{item_id:int}: {stage: shadow, rollout: *loose}
  GET /led/{item_id:int}: {stage: shadow, rollout: *loose}
  GET /stopped/{item_id:int}: {stage: canary, weight: 25%, sample: 0%, rollout: {steps: [new], min_time: 1h}}
"""
STEPS = "steps: [canary 25%, canary 50%, new], min_requests: 20"
ROUTES = ROUTES.replace("*strict", f"{{{STEPS}, mismatch_budget: 0.5%, min_time: 1s}}")
ROUTES = ROUTES.replace("*loose", f"{{{STEPS}, mismatch_budget: 5%, min_time: 3s}}")


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with serving(tmp_path_factory.mktemp("rollouts"), ROUTES, "--workers", "2") as running:
        yield running


def steps_of(lab: Lab, row: str) -> list[tuple[str, str, str]]:
    return [(event.kind, event.before, event.after) for event in lab.events(row)]


def test_an_equal_row_walks_to_new_by_itself_and_a_wrong_one_stays_and_is_named(lab: Lab) -> None:
    """Both have the same budget: what lets the one pass keeps the other back, one caller in a hundred."""
    lab.break_new("wrong", "wrong 1%")

    def ask(number: int) -> Asked:
        return item("walking" if number % 2 else "wrong", number % 50, user=f"u{number % 997}")

    with Load(lab.url, ask, rate=150) as load:
        wait_until(lambda: lab.stage("walking") == "new", timeout_s=80, what="the end of the walk")
        moved_at = time.monotonic()
        wait_until(lambda: load.since(moved_at + 3), timeout_s=30, what="three seconds")
        wait_until(
            lambda: (
                {each.by for each in load.answers[-60:] if each.asked.path.startswith("/walking/")} == {"new"}
            ),
            what="new in every worker",
        )
    assert load.failures == [], told(load.failures)
    assert steps_of(lab, "walking") == [
        ("placed", "", "shadow"),
        ("advanced", "shadow", "canary 25%"),
        ("advanced", "canary 25%", "canary 50%"),
        ("advanced", "canary 50%", "new"),
    ]
    gate = lab.events("walking", "advanced")[0].numbers
    assert gate["parity.mismatches"] == 0
    assert gate["parity.comparisons"] >= 897, "the smallest number that shows 0.5% (rollout.md's formula)"
    assert lab.stage("wrong") == "shadow"
    assert not lab.events("wrong", "advanced")
    found = lab.ask(Ledger.findings)
    (finding,) = [each for each in found if each.kind != "latency" and not each.is_waived]
    kept = lab.ask(lambda ledger: ledger.examples(finding.route_id, finding.signature))
    examples = [json.loads(example.document) for example in kept]
    assert (finding.kind, finding.place) == ("json.value", "$.name")
    assert set(examples[0]["difference"]) >= {"control", "candidate"}
    assert examples[0]["difference"]["candidate"].startswith('"thing ')
    assert examples[0]["curl"].startswith("curl ")
    assert "/wrong/" in examples[0]["curl"]


def test_a_table_edited_in_the_middle_of_a_rollout_is_what_counts(lab: Lab) -> None:
    with Load(lab.url, lambda n: item("edited", n % 50, user=f"u{n % 300}")) as load:
        wait_until(lambda: lab.stage("edited") == "canary", timeout_s=60, what="its first step")
        wait_until(lambda: load.by("new"), what="answers of new")
        started, _, rest = ROUTES.partition("  GET /edited")
        lab.write_routes(
            f"{started}  GET /edited/{{item_id:int}}: legacy\n  GET {rest.partition('  GET ')[2]}"
        )
        edited_at = time.monotonic()
        wait_until(lambda: lab.stage("edited") == "legacy", timeout_s=15, what="the file's stage")
        wait_until(lambda: load.has_answered(150, since=edited_at), timeout_s=30, what="300 more")
        assert max(each.at for each in load.by("new")) - edited_at < 5
        lab.write_routes(ROUTES)
        again_at = time.monotonic()
        wait_until(lambda: lab.stage("edited") == "canary", timeout_s=60, what="the walk anew")
        wait_until(lambda: any(each.by == "new" for each in load.since(again_at)), what="answers of new")
    assert load.failures == [], told(load.failures)
    assert steps_of(lab, "edited")[:5] == [
        ("placed", "", "shadow"),
        ("advanced", "shadow", "canary 25%"),
        ("changed", "canary 25%", "legacy"),
        ("changed", "legacy", "shadow"),
        ("advanced", "shadow", "canary 25%"),
    ]
    position = lab.position("edited")
    assert position is not None
    assert position.run == 3, "the evidence began anew, twice"


def test_a_restart_of_every_worker_in_the_middle_of_a_rollout_fails_nothing_and_loses_no_step(
    lab: Lab,
) -> None:
    with Load(lab.url, lambda n: item("kept", n % 50, user=f"u{n % 300}")) as load:
        wait_until(lambda: lab.stage("kept") == "canary", timeout_s=60, what="its first step")
        before = lab.worker_pids()
        lab.signal(signal.SIGHUP)
        wait_until(
            lambda: len(lab.worker_pids()) == 2 and not lab.worker_pids() & before,
            timeout_s=60,
            what="other workers",
        )
        wait_until(lambda: lab.stage("kept") == "new", timeout_s=60, what="the end of the walk")
    assert load.failures == [], told(load.failures)
    assert [after for _kind, _before, after in steps_of(lab, "kept")] == [
        "shadow",
        "canary 25%",
        "canary 50%",
        "new",
    ]


def test_a_leader_that_is_killed_costs_what_it_was_serving_and_the_walk_goes_on(lab: Lab) -> None:
    with Load(lab.url, lambda n: item("led", n % 50, user=f"u{n % 300}")) as load:
        wait_until(lambda: lab.stage("led") == "canary", timeout_s=60, what="its first step")
        lease = wait_until(lambda: lab.ask(lambda ledger: ledger.lease("controller")), what="a leader")
        leader = int(lease.holder.split("-")[-2])
        assert leader in lab.worker_pids()
        os.kill(leader, signal.SIGKILL)
        killed_at = time.monotonic()
        wait_until(lambda: lab.stage("led") == "new", timeout_s=60, what="the end of the walk")
        wait_until(lambda: len(lab.worker_pids() - {leader}) == 2, timeout_s=30, what="another worker")
    assert len(load.failures) <= 8, told(load.failures)
    assert all(killed_at - 1 < each.at < killed_at + 1 for each in load.failures), told(load.failures)
    assert [after for _kind, _before, after in steps_of(lab, "led")][-1] == "new"


def test_a_stop_in_the_middle_of_a_rollout_answers_what_was_accepted_and_it_goes_on_afterwards(
    lab: Lab,
) -> None:
    def ask(number: int) -> Asked:
        return item("stopped", number % 50, user=f"u{number % 300}")

    with Load(lab.url, ask) as load:
        wait_until(lambda: load.has_answered(100), what="100 answers")
        stopped_at = time.monotonic()
        assert lab.stop() < 12
        wait_until(lambda: load.failures, what="the first refusal")
    cut = [each for each in load.failures if "ConnectionRefusedError" not in each.problem]
    assert cut == [], told(cut)
    assert min(each.at for each in load.failures) > stopped_at
    counted = lab.evidence("stopped")
    answered = len(load.answers) - len(load.failures)
    assert counted.new.requests + counted.legacy.requests == answered, "none is lost on the way"
    lab.start()
    with Load(lab.url, ask) as again:
        wait_until(lambda: again.has_answered(101), what="101 answers")
    assert again.failures == [], told(again.failures)
    assert sides_of(again) == sides_of(load), "everybody is where they were"
    assert steps_of(lab, "stopped") == [("placed", "", "canary 25%")]


def sides_of(load: Load) -> dict[str, str]:
    """Return who answered each of the first hundred callers."""
    return {each.asked.user: each.by for each in load.answers if each.by and int(each.asked.user[1:]) < 100}
