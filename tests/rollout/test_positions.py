"""Claim where a route may stand: on its ladder, or held back below what the file says."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from gateway.rollout.persistence import event_of, from_record, to_record
from gateway.rollout.positions import (
    Move,
    MoveKind,
    Position,
    advance,
    effective_step,
    evidence_scope,
    fingerprint,
    forget,
    hold,
    ladder,
    move_to,
    next_step,
    own_step,
    place,
    rank,
    resume,
    roll_back,
    settle,
    step_name,
)
from gateway.table.spec import CompareRule, Rollout, RolloutStep, RouteSpec, Stage
from tests.rollout.rows import LEGACY, NEW, ROUTE_ID, SHADOW, STEPS, canary, make_row

WHO = {"by": "ada", "reason": "because"}


def placed(row: RouteSpec) -> Position:
    move = settle(row, None, route_id=ROUTE_ID, now=0.0)
    assert move is not None
    assert move.position is not None
    return move.position


def after(move: Move | None) -> Position:
    assert move is not None
    assert move.position is not None
    return move.position


def walked(row: RouteSpec, steps: int) -> Position:
    position = placed(row)
    for n in range(steps):
        position = after(advance(row, position, now=float(n), **WHO))
    return position


def test_a_route_climbs_its_ladder_and_stops_at_the_files_last_step() -> None:
    row = make_row()
    position = placed(row)
    seen = [position.step]
    while (move := advance(row, position, now=1.0, **WHO)) is not None:
        position = after(move)
        seen.append(position.step)
    assert seen == [SHADOW, *STEPS]
    assert next_step(row, position) is None
    assert position.run == 1, "the steps of one way up are one run"


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        pytest.param(make_row(), (SHADOW, *STEPS), id="shadow"),
        pytest.param(make_row(canary(5)), (canary(5), canary(25), canary(50), NEW), id="on-a-step"),
        pytest.param(make_row(canary(3)), (canary(3), canary(5), canary(25), canary(50), NEW), id="between"),
        pytest.param(make_row(NEW), (NEW,), id="at-the-end"),
        pytest.param(make_row(canary(5), None), (canary(5),), id="manual"),
    ],
)
def test_the_ladder_is_the_rows_own_step_and_the_rollouts_above_it(
    row: RouteSpec, expected: tuple[RolloutStep, ...]
) -> None:
    assert ladder(row) == expected


def test_a_row_without_a_rollout_needs_no_position() -> None:
    row = make_row(canary(5), None)
    assert settle(row, None, route_id=ROUTE_ID, now=0.0) is None
    assert effective_step(row, None) == canary(5)


@pytest.mark.parametrize(
    ("row", "safe"),
    [
        pytest.param(make_row(), SHADOW, id="on-fail-shadow"),
        pytest.param(make_row(rollout=Rollout(STEPS, on_fail=Stage.LEGACY)), LEGACY, id="on-fail-legacy"),
        pytest.param(make_row(canary(1), methods=("POST",)), LEGACY, id="cannot-be-shadowed"),
    ],
)
def test_a_failed_canary_goes_back_to_where_it_is_safe(row: RouteSpec, safe: RolloutStep) -> None:
    position = walked(row, 2)
    move = roll_back(row, position, now=9.0, by="controller", reason="worse")
    assert move is not None
    assert (move.kind, move.before, move.after) == (MoveKind.ROLLED_BACK, position.step, safe)
    assert effective_step(row, move.position) == safe
    assert after(move).run == position.run + 1
    assert roll_back(row, after(move), now=9.0, **WHO) is None


def test_a_rollback_is_lifted_by_a_person_and_begins_anew() -> None:
    row = make_row()
    back = after(roll_back(row, walked(row, 3), now=9.0, **WHO))
    assert advance(row, back, now=10.0, **WHO) is None
    assert settle(row, back, route_id=ROUTE_ID, now=11.0) is None, "reading the same file changes nothing"
    again = after(resume(row, back, now=12.0, **WHO))
    assert (again.step, again.is_moving, again.run) == (SHADOW, True, 3)


def test_a_rollback_is_lifted_by_changing_the_row() -> None:
    row = make_row()
    back = after(roll_back(row, walked(row, 3), now=9.0, **WHO))
    changed = make_row(timeout_s=5.0)
    assert after(settle(changed, back, route_id=ROUTE_ID, now=10.0)).is_moving


def test_a_lifted_rollback_starts_from_where_the_file_puts_the_row() -> None:
    row = make_row()
    down = after(move_to(row, walked(row, 3), canary(1), now=9.0, **WHO))
    assert (down.step, down.is_rolled_back) == (canary(1), True)
    changed = after(settle(make_row(timeout_s=5.0), down, route_id=ROUTE_ID, now=10.0))
    assert (changed.step, changed.is_moving) == (SHADOW, True)


@pytest.mark.parametrize(
    "fields",
    [{"note": "hello"}, {"owner": "qa"}, {"ticket": "A-1"}, {"line": 99}, {"written": "get /search"}],
    ids=str,
)
def test_a_rollback_is_not_lifted_by_what_is_only_for_people(fields: dict[str, Any]) -> None:
    row = make_row()
    back = after(roll_back(row, walked(row, 3), now=9.0, **WHO))
    assert settle(make_row(**fields), back, route_id=ROUTE_ID, now=10.0) is None


def test_a_fingerprint_names_the_row_and_not_the_release_that_read_it() -> None:
    assert fingerprint(make_row()) == "d6618d16ae73add7"
    rule_ = CompareRule("$.a", "ignore", "the clock", line=4)
    assert fingerprint(make_row(compare=(rule_,))) == fingerprint(
        make_row(compare=(replace(rule_, line=7, reason="a clock"),))
    )
    assert fingerprint(make_row(compare=(rule_,))) != fingerprint(make_row())
    assert fingerprint(make_row(equivalences=frozenset({"key_order", "date_format"}))) == fingerprint(
        make_row(equivalences=frozenset({"date_format", "key_order"}))
    )


def test_a_change_that_leaves_the_stage_alone_keeps_the_step_and_counts_anew() -> None:
    position = walked(make_row(), 3)
    changed = after(settle(make_row(timeout_s=5.0), position, route_id=ROUTE_ID, now=50.0))
    assert (changed.step, changed.run, changed.since) == (canary(25), 2, 50.0)


def test_a_shorter_rollout_takes_a_route_down_to_its_new_end() -> None:
    position = walked(make_row(), 4)
    shorter = make_row(rollout=Rollout((canary(1), canary(10))))
    assert after(settle(shorter, position, route_id=ROUTE_ID, now=50.0)).step == canary(10)


def test_another_stage_in_the_file_is_obeyed_at_once() -> None:
    position = walked(make_row(canary(1)), 2)
    assert position.step == canary(25)
    assert after(settle(make_row(SHADOW), position, route_id=ROUTE_ID, now=50.0)).step == SHADOW
    assert after(settle(make_row(NEW), position, route_id=ROUTE_ID, now=50.0)).step == NEW


def test_a_hold_stops_automatic_moves_until_a_person_resumes_whatever_the_file_does() -> None:
    row = make_row()
    held = after(hold(walked(row, 1), by="ada", reason="release day"))
    assert advance(row, held, now=5.0, **WHO) is None
    assert hold(held, **WHO) is None
    changed_row = make_row(timeout_s=5.0)
    changed = after(settle(changed_row, held, route_id=ROUTE_ID, now=6.0))
    assert changed.is_held
    resumed = after(resume(changed_row, changed, now=7.0, **WHO))
    assert (resumed.step, resumed.run) == (canary(1), changed.run), "a hold costs no evidence"
    assert resume(changed_row, resumed, now=8.0, **WHO) is None


def test_a_person_may_move_along_the_ladder_or_hold_the_row_back_and_nothing_else() -> None:
    row = make_row(canary(5))
    position = placed(row)
    assert after(move_to(row, position, canary(50), now=1.0, **WHO)).is_moving
    down = after(move_to(row, position, SHADOW, now=1.0, **WHO))
    assert (down.step, down.is_rolled_back) == (SHADOW, True)
    for beyond in (canary(30), RolloutStep(Stage.RETIRED), canary(5)):
        assert move_to(row, position, beyond, now=1.0, **WHO) is None


def test_a_row_that_is_held_back_may_be_held_back_less() -> None:
    row = make_row(canary(50), None)
    position = after(place(row, route_id=ROUTE_ID, now=0.0))
    position = after(move_to(row, position, LEGACY, now=1.0, **WHO))
    up = move_to(row, position, SHADOW, now=2.0, **WHO)
    assert up is not None
    assert up.kind is MoveKind.ADVANCED
    assert (after(up).step, after(up).is_rolled_back, after(up).run) == (SHADOW, True, position.run + 1)
    assert after(move_to(row, after(up), canary(50), now=3.0, **WHO)).is_moving


def test_a_manual_row_can_be_held_back_by_a_person() -> None:
    row = make_row(canary(5), None)
    position = Position(ROUTE_ID, row.key, fingerprint(row), own_step(row), own_step(row), 0.0)
    back = after(roll_back(row, position, now=1.0, **WHO))
    assert effective_step(row, back) == SHADOW
    assert evidence_scope(row, None) == (0, f"canary 5%~{fingerprint(row)[:8]}")


def test_a_worker_that_has_read_another_file_than_the_controller_takes_the_more_cautious_step() -> None:
    row = make_row()
    position = walked(row, 4)
    newer = make_row(canary(5))
    assert effective_step(newer, position) == canary(5)
    assert effective_step(make_row(NEW, timeout_s=1.0), position) == canary(50)
    back = after(roll_back(row, position, now=9.0, **WHO))
    assert effective_step(newer, back) == SHADOW
    assert evidence_scope(newer, position)[0] == 0, "what it counts belongs to no run of the controller's"


def test_a_removed_row_is_forgotten() -> None:
    assert forget(walked(make_row(), 1)) == Move(MoveKind.FORGOTTEN, canary(1), None, None)


def test_a_position_and_its_move_survive_the_way_through_the_store() -> None:
    row = make_row()
    position = walked(row, 2)
    assert from_record(to_record(position, 4)) == position
    assert to_record(position, 4).version == 4
    move = roll_back(row, position, now=9.0, by="controller", reason="worse")
    assert move is not None
    event = event_of(move, position, now=9.0)
    assert (event.kind, event.before, event.after) == ("rolled_back", "canary 5%", "shadow")
    assert (event.caused_by, event.sentence) == ("controller", "worse")
    gone = event_of(forget(position), position, now=9.0)
    assert (gone.kind, gone.after, gone.caused_by) == ("forgotten", "", "file")


def test_steps_are_named_as_people_write_them() -> None:
    assert [step_name(s) for s in (LEGACY, SHADOW, canary(0.5), canary(12), NEW)] == [
        "legacy",
        "shadow",
        "canary 0.5%",
        "canary 12%",
        "new",
    ]


own_steps = st.sampled_from([SHADOW, canary(1), canary(3), canary(25), NEW])
rollouts = st.one_of(
    st.none(),
    st.builds(
        Rollout,
        st.lists(st.sampled_from(STEPS), min_size=1, unique=True).map(lambda s: tuple(sorted(s, key=rank))),
        on_fail=st.sampled_from([Stage.SHADOW, Stage.LEGACY]),
    ),
)


class Placing(RuleBasedStateMachine):
    """Do anything in any order, and hold the position to its laws after each step."""

    def __init__(self) -> None:
        super().__init__()
        self.row = make_row()
        self.position: Position | None = placed(self.row)
        self.now = 0.0
        self.is_back = False
        self.is_held = False

    def take(self, move: Move | None) -> None:
        self.now += 1.0
        if move is None:
            return
        before = self.position
        self.position = move.position
        if before is not None and move.position is not None:
            assert move.position.run >= before.run
            assert move.before == before.step
            assert move.after == move.position.step
            if rank(move.position.step) < rank(before.step):
                assert move.position.run > before.run, "evidence of the way up ends with it"

    @rule(step=own_steps, rollout=rollouts, timeout_s=st.sampled_from([5.0, 30.0]))
    def change_the_file(self, step: RolloutStep, rollout: Rollout | None, timeout_s: float) -> None:
        row = make_row(step, rollout, timeout_s=timeout_s)
        is_same = fingerprint(row) == fingerprint(self.row)
        self.row = row
        move = settle(row, self.position, route_id=ROUTE_ID, now=self.now)
        assert self.position is None or (move is None) == is_same
        if move is not None:
            self.is_back = False
        self.take(move)

    @precondition(lambda self: self.position is not None)
    @rule()
    def remove_the_row(self) -> None:
        assert self.position is not None
        self.take(forget(self.position))
        self.is_back = self.is_held = False

    @precondition(lambda self: self.position is not None)
    @rule()
    def climb(self) -> None:
        assert self.position is not None
        move = advance(self.row, self.position, now=self.now, **WHO)
        assert move is None or not (self.is_back or self.is_held)
        self.take(move)

    @precondition(lambda self: self.position is not None)
    @rule()
    def fail(self) -> None:
        assert self.position is not None
        move = roll_back(self.row, self.position, now=self.now, **WHO)
        self.is_back = self.is_back or move is not None
        self.take(move)

    @precondition(lambda self: self.position is not None)
    @rule()
    def stop(self) -> None:
        assert self.position is not None
        self.take(hold(self.position, **WHO))
        self.is_held = True

    @precondition(lambda self: self.position is not None)
    @rule()
    def go_on(self) -> None:
        assert self.position is not None
        self.take(resume(self.row, self.position, now=self.now, **WHO))
        self.is_back = self.is_held = False

    @precondition(lambda self: self.position is not None)
    @rule(step=st.sampled_from([LEGACY, SHADOW, *STEPS, RolloutStep(Stage.RETIRED)]))
    def put(self, step: RolloutStep) -> None:
        assert self.position is not None
        move = move_to(self.row, self.position, step, now=self.now, **WHO)
        if move is not None:
            self.is_back = move.kind is MoveKind.ROLLED_BACK or rank(step) < rank(own_step(self.row))
        self.take(move)

    @invariant()
    def it_is_on_the_ladder_or_held_back(self) -> None:
        steps = ladder(self.row)
        effective = effective_step(self.row, self.position)
        assert rank(effective) <= rank(steps[-1]), "never beyond the file's last step"
        if self.position is None:
            assert effective == steps[0]
            return
        assert effective == self.position.step
        assert effective in steps or rank(effective) < rank(steps[0])
        if rank(effective) < rank(steps[0]):
            assert self.position.is_rolled_back, "only a rollback is below what the file says"

    @invariant()
    def only_a_person_or_the_file_lifts_what_stops_it(self) -> None:
        if self.position is not None:
            assert self.position.is_rolled_back == self.is_back
            assert self.position.is_held == self.is_held


TestPlacing = Placing.TestCase
TestPlacing.settings = settings(max_examples=150, stateful_step_count=25, deadline=None)
