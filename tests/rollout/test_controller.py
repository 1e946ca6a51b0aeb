"""Play turns of real controllers on a real store: one acts, what was decided stays decided."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from gateway.rollout.controller import FORGOTTEN_AFTER_S, LEASE, Controller
from gateway.rollout.persistence import evidence_of, from_record, scope_of, to_record
from gateway.rollout.positions import hold, roll_back
from gateway.store import Ledger, Store, locate
from gateway.table.compile import route_id
from gateway.table.spec import Rollout
from tests.rollout.rows import NEW, SHADOW, canary, make_row
from tests.running import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from gateway.rollout.positions import Position
    from gateway.table.spec import RouteSpec

ROW = make_row(rollout=Rollout((canary(25), NEW), mismatch_budget=0.01, min_requests=10, min_time_s=60))
ID = route_id(ROW.key)
ROWS = {ID: ROW}


@pytest.fixture
def url(tmp_path: Path) -> str:
    return locate(None, tmp_path / "routing.yaml")


@pytest.fixture
def ledger(url: str) -> Iterator[Ledger]:
    with Ledger(url) as opened:
        yield opened


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    store = Store(url, worker="counting", flush_interval_s=0.02)
    store.start()
    yield store
    store.stop()


def count(store: Store, ledger: Ledger, position: Position, counts: Mapping[str, int]) -> None:
    """Add evidence, and see it stored."""
    scope = scope_of(ID, ROW, position)
    before = evidence_of(ledger.evidence([scope]).get(scope)).comparisons
    store.record(scope, counts)
    wait_until(
        lambda: evidence_of(ledger.evidence([scope]).get(scope)).comparisons == before + counts["comparisons"]
    )


def stored(ledger: Ledger) -> Position:
    (record,) = ledger.positions()
    return from_record(record)


def save(ledger: Ledger, position: Position) -> None:
    (record,) = ledger.positions()
    assert ledger.save_position(to_record(position, record.version)) is not None


def test_one_controller_acts_and_all_see_where_routes_stand(ledger: Ledger, store: Store) -> None:
    one, two = Controller("one"), Controller("two")
    placed = one.take_turn(ledger, ROWS, now=0)
    assert placed.is_leader
    assert [event.kind for event in placed.events] == ["placed"]
    seen = two.take_turn(ledger, ROWS, now=0)
    assert not seen.is_leader
    assert seen.positions == placed.positions
    count(store, ledger, placed.positions[ID], {"comparisons": 449})
    assert two.take_turn(ledger, ROWS, now=61).events == ()
    (event,) = one.take_turn(ledger, ROWS, now=61).events
    assert (event.kind, event.before, event.after) == ("advanced", "shadow", "canary 25%")
    assert event.numbers["parity.comparisons"] == 449
    assert two.take_turn(ledger, ROWS, now=61).positions[ID].step == canary(25)


def test_a_route_is_judged_again_when_only_its_time_was_missing(ledger: Ledger, store: Store) -> None:
    controller = Controller("one")
    position = controller.take_turn(ledger, ROWS, now=0).positions[ID]
    count(store, ledger, position, {"comparisons": 449})
    for now in (1, 30, 59):
        assert controller.take_turn(ledger, ROWS, now=now).events == ()
    (event,) = controller.take_turn(ledger, ROWS, now=60).events
    assert event.kind == "advanced"


def test_a_route_that_fails_goes_back_and_stays_there(ledger: Ledger, store: Store) -> None:
    controller = Controller("one")
    position = controller.take_turn(ledger, ROWS, now=0).positions[ID]
    count(store, ledger, position, {"comparisons": 449})
    position = controller.take_turn(ledger, ROWS, now=61).positions[ID]
    count(store, ledger, position, {"comparisons": 50, "mismatches": 10})
    (event,) = controller.take_turn(ledger, ROWS, now=62).events
    assert (event.kind, event.after) == ("rolled_back", "shadow")
    fresh = Controller("another process")
    controller.release(ledger)
    turn = fresh.take_turn(ledger, ROWS, now=10_000)
    assert turn.is_leader
    assert (turn.events, turn.positions[ID].step) == ((), SHADOW)
    assert turn.positions[ID].is_rolled_back


def test_what_a_person_holds_does_not_move(ledger: Ledger, store: Store) -> None:
    controller = Controller("one")
    position = controller.take_turn(ledger, ROWS, now=0).positions[ID]
    move = hold(position, by="ann", reason="a release")
    assert move is not None
    assert move.position is not None
    save(ledger, move.position)
    count(store, ledger, position, {"comparisons": 449})
    assert controller.take_turn(ledger, ROWS, now=61).events == ()
    assert controller.take_turn(ledger, ROWS, now=62).positions[ID].is_held


def test_a_hand_edit_counts_at_the_next_turn(ledger: Ledger, store: Store) -> None:
    controller = Controller("one")
    position = controller.take_turn(ledger, ROWS, now=0).positions[ID]
    count(store, ledger, position, {"comparisons": 449})
    controller.take_turn(ledger, ROWS, now=61)
    edited: dict[str, RouteSpec] = {ID: replace(ROW, stage=canary(10).stage, weight_bp=1_000)}
    (event,) = controller.take_turn(ledger, edited, now=62).events
    assert (event.kind, event.before, event.after) == ("changed", "canary 25%", "canary 10%")
    assert stored(ledger).run == 2, "what was counted before the edit counts no more"


def test_a_lost_database_loses_no_rollback(ledger: Ledger, url: str, tmp_path: Path) -> None:
    leader, follower = Controller("leader"), Controller("follower")
    position = leader.take_turn(ledger, ROWS, now=0).positions[ID]
    advanced = replace(position, step=canary(25))
    move = roll_back(ROW, advanced, now=1, by="ann", reason="complaints")
    assert move is not None
    assert move.position is not None
    save(ledger, move.position)
    leader.take_turn(ledger, ROWS, now=2)
    follower.take_turn(ledger, ROWS, now=2)
    ledger.close()
    for file in (tmp_path / ".gateway").glob("state.db*"):
        file.unlink()
    with Ledger(url) as fresh:
        assert follower.take_turn(fresh, ROWS, now=3).positions[ID].is_rolled_back
        leader.take_turn(fresh, ROWS, now=3)
        assert stored(fresh) == move.position
        assert fresh.events() == (), "it is no move"


def test_a_row_that_left_the_file_is_forgotten_after_a_while(ledger: Ledger) -> None:
    controller = Controller("one")
    controller.take_turn(ledger, ROWS, now=0)
    controller.take_turn(ledger, {}, now=100)
    assert len(ledger.positions()) == 1, "another machine may still read it"
    (event,) = controller.take_turn(ledger, {}, now=100 + FORGOTTEN_AFTER_S).events
    assert event.kind == "forgotten"
    assert ledger.positions() == ()


def test_who_goes_leaves_the_lease_to_others(ledger: Ledger) -> None:
    one, two = Controller("one"), Controller("two")
    assert one.take_turn(ledger, ROWS, now=0).is_leader
    assert not two.take_turn(ledger, ROWS, now=0).is_leader
    one.release(ledger)
    assert ledger.lease(LEASE) is None
    assert two.take_turn(ledger, ROWS, now=0).is_leader


def test_a_row_without_a_rollout_gets_no_position(ledger: Ledger) -> None:
    assert Controller("one").take_turn(ledger, {ID: make_row(rollout=None)}, now=0).positions == {}
    assert ledger.positions() == ()
