"""Carry out what a person asks of the running gateway: look, promote, roll back, hold, resume.

It runs in the store's thread of whichever worker was asked. The file is never edited: an order may move a
row within its ladder, or hold it back from what the file says, and nothing else; what is refused says what
to type instead. Whoever else moves the row at the same time (the controller, another person) is seen by the
position's version, and the order is decided again on what they left.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from gateway.errors import OrderRefused
from gateway.rollout.order import CHANGES, Order, Verb
from gateway.rollout.persistence import event_of, from_record, to_record
from gateway.rollout.positions import (
    Move,
    Position,
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
from gateway.rollout.reading import look, standings
from gateway.table.moves import can_shadow
from gateway.table.spec import WEBSOCKET, RolloutStep, Stage
from gateway.table.spelling import listed, shown

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.rollout.standing import Row
    from gateway.store.ledger import Ledger

TRIES = 5
"""How often a change is decided again when somebody else was faster."""


def carry_out(ledger: Ledger, rows: Sequence[Row], order: Order, now: float) -> dict[str, Any]:
    """Return the answer to an order, JSON-able; raise :class:`OrderRefused`, or ``StoreUnavailable``.

    ``rows`` is the table in force. A change answers ``changed``, ``before`` and ``after`` (the step in
    force), ``file`` (what the file says), ``sentence`` (what that means) and ``standing``.
    """
    if order.verb in CHANGES:
        return _change(ledger, _row_of(order, rows), order, now)
    return look(ledger, rows, order, now)


def _row_of(order: Order, rows: Sequence[Row]) -> Row:
    for row in rows:
        if row.route_id == order.route_id:
            return row
    raise OrderRefused(404, f"no row has the id {shown(order.route_id)}; `gateway routes` lists them all")


def _change(ledger: Ledger, row: Row, order: Order, now: float) -> dict[str, Any]:
    _refuse_what_stays(row)
    for _ in range(TRIES):
        records = {record.route_id: record for record in ledger.positions()}
        record = records.get(row.route_id)
        version = record.version if record is not None else 0
        before = from_record(record) if record is not None else None
        settled = _settled(row, before, now)
        position = settled.position if settled is not None and settled.position else before
        if position is None:  # what has no position gets one, so this cannot be
            raise OrderRefused(409, f"{row.spec.key} cannot be given a position")
        move = _move(row, position, order, now)
        if move is None or move.position is None or order.is_dry:
            return _answer(ledger, row, order, position, move, now)
        if settled is not None:
            saved = ledger.save_position(
                to_record(position, version), event_of(settled, before or position, now=now)
            )
            if saved is None:
                continue
            version = saved.version
        if ledger.save_position(to_record(move.position, version), event_of(move, position, now=now)):
            return _answer(ledger, row, order, position, move, now)
    raise OrderRefused(503, f"{row.spec.key} is being moved by somebody else at the same time; ask again")


def _refuse_what_stays(row: Row) -> None:
    """Refuse to move what stands where the file says, always."""
    key = row.spec.key
    if not row.is_listed:
        raise OrderRefused(
            409, f"the table does not list {key}, so legacy answers it; to list it: gateway promote '{key}'"
        )
    if WEBSOCKET in row.spec.methods:
        raise OrderRefused(
            409, f"{key} is a websocket, which moves in the file only: gateway promote '{key}'"
        )


def _settled(row: Row, position: Position | None, now: float) -> Move | None:
    """Return what must be stored first: a position for a row that has none, or the file's newest wording."""
    if position is None:
        return place(row.spec, route_id=row.route_id, now=now)
    return settle(row.spec, position, route_id=row.route_id, now=now)


def _move(row: Row, position: Position, order: Order, now: float) -> Move | None:
    """Return the move, None where there is nothing to do; raise :class:`OrderRefused` where it may not be."""
    match order.verb:
        case Verb.HOLD:
            if row.spec.rollout is None:
                return None  # nothing moves it; and a first position would begin its evidence anew
            return hold(position, by=order.by, reason=order.reason)
        case Verb.RESUME:
            return resume(row.spec, position, now=now, by=order.by, reason=order.reason)
        case Verb.PROMOTE:
            step = _step_up(row, position, order)
        case _:
            step = _step_down(row, position, order, now)
    if step is None or step == position.step:
        return None
    return move_to(row.spec, position, step, now=now, by=order.by, reason=order.reason)


def _step_up(row: Row, position: Position, order: Order) -> RolloutStep | None:
    key, spec, last = row.spec.key, row.spec, ladder(row.spec)[-1]
    step = _wanted(row, position, order, is_up=True) or next_step(spec, position)
    if step is None:
        raise OrderRefused(
            409,
            f"{key} is at {step_name(last)}, as far as the file lets it go; {_in_the_file('promote', key)}",
        )
    if rank(step) < rank(position.step):
        raise OrderRefused(
            409,
            f"{key} is at {step_name(position.step)}, and {step_name(step)} is a step back: "
            f"gateway rollback --live '{key}'{_options(step)}",
        )
    if rank(step) > rank(own_step(spec)) and step not in ladder(spec):
        allowed = listed((step_name(each) for each in ladder(spec)), "or")
        raise OrderRefused(
            409,
            f"the file does not let {key} go to {step_name(step)}, but to {allowed}; "
            f"{_in_the_file('promote', key, step)}",
        )
    return step


def _step_down(row: Row, position: Position, order: Order, now: float) -> RolloutStep | None:
    key, spec = row.spec.key, row.spec
    step = _wanted(row, position, order, is_up=False)
    if step is not None and rank(step) > rank(position.step):
        raise OrderRefused(
            409,
            f"{key} is at {step_name(position.step)}, and {step_name(step)} is a step forward: "
            f"gateway promote --live '{key}'{_options(step)}",
        )
    if step is None:
        # A person may go back further than a rollback went before.
        back = roll_back(spec, replace(position, is_rolled_back=False), now=now, by=order.by, reason="")
        if back is None or back.after is None:
            return None
        step = back.after
        if step == position.step and not position.is_rolled_back:
            step = RolloutStep(Stage.LEGACY)
    if step != position.step and not row.has_legacy:
        raise OrderRefused(
            409,
            f"{key} cannot go back to {step_name(step)}: legacy has no rule for it any more; "
            "mend new, or bring the rule back",
        )
    return step


def _wanted(row: Row, position: Position, order: Order, *, is_up: bool) -> RolloutStep | None:
    """Return the step that was asked for, None where the usual one is meant."""
    stage = order.to if order.to is not None else Stage.CANARY if order.weight_bp is not None else None
    if stage is None:
        return None
    if stage is Stage.SHADOW and stage is not row.spec.stage and not can_shadow(row.spec):
        raise OrderRefused(
            409, f"{row.spec.key} writes, so nothing would be compared at shadow; say --to legacy"
        )
    if stage is not Stage.CANARY:
        return RolloutStep(stage)
    if order.weight_bp is not None:
        return RolloutStep(stage, order.weight_bp)
    canaries = [step for step in ladder(row.spec) if step.stage is Stage.CANARY]
    if position.step.stage is Stage.CANARY:
        return position.step
    nearest = canaries[:1] if is_up else canaries[-1:]
    if not nearest:
        raise OrderRefused(400, f"canary needs a weight here: --weight 5% for {row.spec.key}")
    return nearest[0]


def _answer(
    ledger: Ledger, row: Row, order: Order, position: Position, move: Move | None, now: float
) -> dict[str, Any]:
    after = move.position if move is not None and move.position is not None else position
    standing = None
    if not order.is_dry:
        standing = standings(ledger, [row], now)[0].as_json()
    return {
        "route": {"id": row.route_id, "key": row.spec.key},
        "changed": move is not None,
        "is_dry": order.is_dry,
        "kind": str(move.kind) if move is not None else "",
        "before": step_name(position.step),
        "after": step_name(after.step),
        "file": step_name(own_step(row.spec)),
        "sentence": _meaning(row, order, after, is_changed=move is not None),
        "standing": standing,
    }


def _meaning(row: Row, order: Order, after: Position, *, is_changed: bool) -> str:
    """Say what is so from now on, or why nothing changed."""
    moves_itself = row.spec.rollout is not None
    match order.verb:
        case Verb.HOLD if not moves_itself:
            return f"{row.spec.key} has no rollout: nothing moves it by itself, so there is nothing to hold"
        case Verb.HOLD if not is_changed:
            return f"{row.spec.key} is held already{_since(after)}"
        case Verb.HOLD:
            return "nothing moves it by itself until somebody resumes it; the breaker still works"
        case Verb.RESUME if not is_changed:
            return f"nothing holds {row.spec.key}, and it is not rolled back"
        case Verb.RESUME:
            return (
                "it moves by itself again, on evidence from now on"
                if moves_itself
                else "it is as the file says"
            )
        case Verb.ROLLBACK if not is_changed and after.is_rolled_back and after.step.stage is Stage.SHADOW:
            return (
                f"{row.spec.key} is rolled back to shadow already: legacy answers everyone; "
                f"to stop comparing as well: gateway rollback --live '{row.spec.key}' --to legacy"
            )
        case _ if not is_changed:
            return f"{row.spec.key} is at {step_name(after.step)} already"
        case _:
            return _place_in_words(after, moves_itself=moves_itself)


def _place_in_words(after: Position, *, moves_itself: bool) -> str:
    match after.step.stage:
        case Stage.LEGACY:
            who = "legacy answers everyone"
        case Stage.SHADOW:
            who = "legacy answers everyone, and new's answers are compared"
        case Stage.CANARY:
            who = f"new answers {after.step.weight_bp / 100:g}% of the callers"
        case _:
            who = "new answers everyone"
    if after.is_rolled_back:
        return f"{who}, until somebody resumes it or the row changes"
    if after.is_held:
        return f"{who}; it is still held, so nothing moves it further by itself"
    return f"{who}; it goes on by itself from here" if moves_itself else who


def _since(position: Position) -> str:
    return f", by {position.by}{f': {position.reason}' if position.reason else ''}"


def _in_the_file(verb: str, key: str, step: RolloutStep | None = None) -> str:
    options = _options(step) if step is not None else ""
    return f"to change the file: gateway {verb} '{key}'{options}"


def _options(step: RolloutStep) -> str:
    if step.stage is Stage.CANARY:
        return f" --weight {step.weight_bp / 100:g}%"
    return f" --to {step.stage}"
