"""Play turns of a controller on a real store: what several workers count moves a route, and moves it back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gateway.rollout.evidence import request_counters, sketch_bit
from gateway.rollout.persistence import event_of, evidence_of, from_record, run_evidence, scope_of, to_record
from gateway.rollout.positions import Position, advance, roll_back, settle
from gateway.rollout.verdict import Outcome, judge
from gateway.store import Ledger, Store, locate
from tests.rollout.rows import ROUTE_ID, SHADOW, canary, make_row
from tests.running import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ROW = make_row()


@pytest.fixture
def url(tmp_path: Path) -> str:
    return locate(None, tmp_path / "routing.yaml")


@pytest.fixture
def workers(url: str) -> Iterator[tuple[Store, ...]]:
    stores = tuple(Store(url, worker=f"w{n}", flush_interval_s=0.02) for n in range(3))
    for store in stores:
        store.start()
    yield stores
    for store in stores:
        store.stop()


def turn(ledger: Ledger, holder: str, now: float) -> Position | None:
    """Be one turn of a controller, as the package's head describes it; None without the lease."""
    lease = ledger.take_lease("controller", holder, 5.0)
    if lease is None:
        return None
    stored = {record.route_id: record for record in ledger.positions()}
    record = stored.get(ROUTE_ID)
    position = from_record(record) if record else None
    verdict = None
    move = settle(ROW, position, route_id=ROUTE_ID, now=now)
    if move is None and position is not None:
        scope = scope_of(ROUTE_ID, ROW, position)
        verdict = judge(ROW, position, run_evidence(ROW, position, ledger.evidence([scope])), now=now)
        reason = {"by": "controller", "reason": verdict.sentence}
        if verdict.outcome is Outcome.PASS:
            move = advance(ROW, position, now=now, **reason)
        elif verdict.outcome is Outcome.FAIL:
            move = roll_back(ROW, position, now=now, **reason)
    if move is None or move.position is None:
        return position
    saved = ledger.save_position(
        to_record(move.position, record.version if record else 0),
        event_of(move, move.position, now=now, verdict=verdict),
        lease=lease,
    )
    assert saved is not None
    return from_record(saved)


def test_evidence_of_all_workers_promotes_a_route_and_rolls_it_back(
    url: str, workers: tuple[Store, ...]
) -> None:
    with Ledger(url) as ledger:
        position = turn(ledger, "one", 0.0)
        assert position is not None
        assert position.step == SHADOW
        scope = scope_of(ROUTE_ID, ROW, position)
        for store in workers:
            for _ in range(1504):
                store.record(scope, {"comparisons": 1})
        wait_until(lambda: evidence_of(ledger.evidence([scope]).get(scope)).comparisons == 4512)
        position = turn(ledger, "one", 601.0)
        assert position is not None
        assert position.step == canary(1)
        assert turn(ledger, "two", 602.0) is None, "another controller holds the lease"

        scope = scope_of(ROUTE_ID, ROW, position)
        for caller in range(5):
            store = workers[caller % 3]
            for _retry in range(20):
                store.record(scope, request_counters("new", is_error=True, seconds=0.1))
                store.record_caller(scope, "new", *sketch_bit(caller * 7919))
                for worker in workers:
                    worker.record_error_caller(scope, "new", caller)
        wait_until(lambda: evidence_of(ledger.evidence([scope]).get(scope)).new.callers_with_error == 5)
        position = turn(ledger, "one", 610.0)
        assert position is not None
        assert (position.step, position.is_rolled_back) == (SHADOW, True)
        assert turn(ledger, "one", 9999.0) == position, "and it stays there"

        back, up, placed = ledger.events()
        assert (placed.kind, up.kind, back.kind) == ("placed", "advanced", "rolled_back")
        assert (up.before, up.after, up.numbers["parity.comparisons"]) == ("shadow", "canary 1%", 4512)
        assert back.sentence.startswith("5 of 5 callers with an error met it on new")
        assert (back.numbers["canary_errors.on_new"], back.numbers["canary_errors.needed"]) == (5, 5)
