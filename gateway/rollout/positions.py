"""Keep one route's place between what the file wants and how far the controller has come. Pure.

The file says where a row stands and up to which step it may move by itself: its *ladder*. A position may
hold a row back from what the file says, or move it along its ladder, and nothing else. A rollback lasts
until a person resumes or the row changes; a hold lasts until a person resumes, whatever the file does.

What has been counted belongs to one *run*: it begins anew whenever the row changes, or goes back, so that
evidence about something else never promotes it.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import MISSING, dataclass, fields, is_dataclass, replace
from enum import StrEnum
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from gateway.table.moves import can_shadow, rollback
from gateway.table.spec import WEBSOCKET, RolloutStep, RouteSpec, Stage

if TYPE_CHECKING:
    from collections.abc import Mapping

_ORDER: Mapping[Stage, int] = {stage: place for place, stage in enumerate(Stage)}
_FOR_PEOPLE = frozenset({"line", "written", "owner", "ticket", "note", "reason"})


class MoveKind(StrEnum):
    """Name what happened to a position."""

    PLACED = "placed"
    CHANGED = "changed"
    ADVANCED = "advanced"
    ROLLED_BACK = "rolled_back"
    HELD = "held"
    RESUMED = "resumed"
    FORGOTTEN = "forgotten"


@dataclass(frozen=True, slots=True)
class Position:
    """Be where one route stands. ``step`` is what is served; ``origin`` is what the file itself says.

    ``fingerprint`` names the row as it was read, ``since`` (Unix seconds) when the step was reached,
    ``by`` who moved it last (a person, or ``controller``), ``reason`` why.
    """

    route_id: str
    key: str
    fingerprint: str
    origin: RolloutStep
    step: RolloutStep
    since: float
    run: int = 1
    is_held: bool = False
    is_rolled_back: bool = False
    by: str = "controller"
    reason: str = ""

    @property
    def is_moving(self) -> bool:
        """Tell whether the controller may advance it."""
        return not (self.is_held or self.is_rolled_back)


@dataclass(frozen=True, slots=True)
class Move:
    """Be one transition: an event to tell people, and the position after it (None: forgotten)."""

    kind: MoveKind
    before: RolloutStep | None
    after: RolloutStep | None
    position: Position | None


def step_name(step: RolloutStep) -> str:
    """Return a step as people write it: ``shadow``, ``canary 5%``."""
    return f"{step.stage} {step.weight_bp / 100:g}%" if step.stage is Stage.CANARY else str(step.stage)


def rank(step: RolloutStep) -> tuple[int, int]:
    """Return what orders steps: how much of the traffic new answers."""
    return _ORDER[step.stage], step.weight_bp if step.stage is Stage.CANARY else 0


def ladder(row: RouteSpec) -> tuple[RolloutStep, ...]:
    """Return the steps that the file allows, lowest first: the row's own, then the rollout's above it."""
    steps = [own_step(row)]
    for step in row.rollout.steps if row.rollout else ():
        if rank(step) > rank(steps[-1]):
            steps.append(step)
    return tuple(steps)


def own_step(row: RouteSpec) -> RolloutStep:
    """Return the step that the file itself puts the row on."""
    return RolloutStep(row.stage, row.weight_bp if row.stage is Stage.CANARY else 0)


def next_step(row: RouteSpec, position: Position) -> RolloutStep | None:
    """Return the ladder's step above the position's; None at its end."""
    return next((step for step in ladder(row) if rank(step) > rank(position.step)), None)


@lru_cache(maxsize=8192)
def fingerprint(row: RouteSpec) -> str:
    """Return 16 hexadecimal digits that change when the row does, but for what is only for people.

    Only what differs from a field's default is hashed, so that a field of a later release changes nothing.
    """
    text = json.dumps(_canonical(row), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def effective_step(row: RouteSpec, position: Position | None) -> RolloutStep:
    """Return what a worker serves for ``row``. Never beyond the file's last step.

    Where the position belongs to another wording of the row (this worker, or the controller, has not read
    the newest file yet), the more cautious of the two holds.
    """
    own = own_step(row)
    if position is None:
        return own
    if position.fingerprint != fingerprint(row):
        return min(own, position.step, key=rank)
    return min(position.step, ladder(row)[-1], key=rank)


def standing_row(row: RouteSpec, position: Position | None) -> RouteSpec:
    """Return ``row`` as it is served where it stands."""
    return row if position is None else row.at(effective_step(row, position))


def evidence_scope(row: RouteSpec, position: Position | None) -> tuple[int, str]:
    """Return (run, step): under what the evidence of a request that is decided now is counted.

    Without a position, or with one of another wording, the row's own wording stands for the run.
    """
    mark = fingerprint(row)
    if position is None or position.fingerprint != mark:
        return 0, f"{step_name(effective_step(row, position))}~{mark[:8]}"
    return position.run, step_name(position.step)


def place(row: RouteSpec, *, route_id: str, now: float) -> Move:
    """Give a row without a position one, where the file puts it."""
    own = own_step(row)
    placed = Position(route_id, row.key, fingerprint(row), own, own, now, by="file")
    return Move(MoveKind.PLACED, None, own, placed)


def settle(row: RouteSpec, position: Position | None, *, route_id: str, now: float) -> Move | None:
    """Hold a position against the file; None where nothing changes (or nothing needs one).

    A row that is new to the store starts where the file says. One that changed keeps its step if the file
    still puts it on the same origin and the ladder still reaches that far, and starts from its origin
    otherwise; either way a rollback is lifted and the evidence begins anew.
    """
    if position is None:
        return None if row.rollout is None else place(row, route_id=route_id, now=now)
    own, mark = own_step(row), fingerprint(row)
    if position.fingerprint == mark:
        return None
    step = own
    if own == position.origin and not position.is_rolled_back:
        step = max((s for s in ladder(row) if rank(s) <= rank(position.step)), key=rank, default=own)
    changed = replace(
        position,
        key=row.key,
        fingerprint=mark,
        origin=own,
        step=step,
        since=now,
        run=position.run + 1,
        is_rolled_back=False,
        by="file",
        reason="the row changed",
    )
    return Move(MoveKind.CHANGED, position.step, step, changed)


def forget(position: Position) -> Move:
    """Drop the position of a row that is no longer in the file."""
    return Move(MoveKind.FORGOTTEN, position.step, None, None)


def advance(row: RouteSpec, position: Position, *, now: float, by: str, reason: str) -> Move | None:
    """Go one step up the ladder; None at its end, while held or rolled back, or for another wording."""
    step = next_step(row, position)
    if step is None or not position.is_moving or position.fingerprint != fingerprint(row):
        return None
    moved = replace(position, step=step, since=now, by=by, reason=reason)
    return Move(MoveKind.ADVANCED, position.step, step, moved)


def roll_back(row: RouteSpec, position: Position, *, now: float, by: str, reason: str) -> Move | None:
    """Go back to where it is safe, and stay; None where it is rolled back already, or legacy answers alone.

    That is the rollout's ``on_fail`` (legacy, where the row cannot be shadowed), or without a rollout one
    stage back by hand. A row in shadow that fails stays there, compared, without moving by itself.
    """
    if position.is_rolled_back or position.step.stage is Stage.LEGACY:
        return None
    step = min(RolloutStep(_safe_stage(row, position.step.stage)), position.step, key=rank)
    return _back(position, step, now=now, by=by, reason=reason)


def move_to(
    row: RouteSpec, position: Position, step: RolloutStep, *, now: float, by: str, reason: str
) -> Move | None:
    """Put the row on ``step``, as a person asked; None where the file does not allow it, or it is there.

    A step of the ladder is a move along it; any other below the file's own holds the row back, also where
    that is further up than where it is held back now.
    """
    if position.fingerprint != fingerprint(row) or step == position.step:
        return None
    if step in ladder(row):
        is_up = rank(step) > rank(position.step)
        run = position.run if is_up and not position.is_rolled_back else position.run + 1
        kind = MoveKind.ADVANCED if is_up else MoveKind.ROLLED_BACK
        moved = replace(
            position, step=step, since=now, run=run, is_rolled_back=not is_up, by=by, reason=reason
        )
        return Move(kind, position.step, step, moved)
    if rank(step) > rank(own_step(row)):
        return None
    back = _back(position, step, now=now, by=by, reason=reason)
    return replace(back, kind=MoveKind.ADVANCED) if rank(step) > rank(position.step) else back


def hold(position: Position, *, by: str, reason: str) -> Move | None:
    """Stop automatic moves, up or down; None where they are stopped."""
    if position.is_held:
        return None
    held = replace(position, is_held=True, by=by, reason=reason)
    return Move(MoveKind.HELD, position.step, position.step, held)


def resume(row: RouteSpec, position: Position, *, now: float, by: str, reason: str) -> Move | None:
    """Lift a hold and a rollback; a row that was rolled back starts again from where the file puts it."""
    if position.is_moving:
        return None
    resumed = replace(position, is_held=False, by=by, reason=reason)
    if position.is_rolled_back:
        resumed = replace(resumed, is_rolled_back=False, step=own_step(row), since=now, run=position.run + 1)
    return Move(MoveKind.RESUMED, position.step, resumed.step, resumed)


def _back(position: Position, step: RolloutStep, *, now: float, by: str, reason: str) -> Move:
    moved = replace(
        position, step=step, since=now, run=position.run + 1, is_rolled_back=True, by=by, reason=reason
    )
    return Move(MoveKind.ROLLED_BACK, position.step, step, moved)


def _safe_stage(row: RouteSpec, stage: Stage) -> Stage:
    if row.rollout is None:
        return rollback(stage, is_websocket=WEBSOCKET in row.methods, is_shadowed=can_shadow(row))
    return row.rollout.on_fail if can_shadow(row) else Stage.LEGACY


def _canonical(value: object) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return {
            field.name: _canonical(getattr(value, field.name))
            for field in fields(value)
            if field.name not in _FOR_PEOPLE
            and (field.default is MISSING or getattr(value, field.name) != field.default)
        }
    if isinstance(value, frozenset):
        return sorted(map(str, value))
    if isinstance(value, tuple):
        return [_canonical(item) for item in value]
    return value if isinstance(value, int | float | bool) or value is None else str(value)
