"""Translate between what the rollout means and what the store keeps. The one module that knows both.

Values in, values out; it calls no database itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.rollout.evidence import Evidence, parse_evidence
from gateway.rollout.positions import Position, evidence_scope, ladder, step_name
from gateway.store.records import EventRecord, PositionRecord, Scope, StoredEvidence
from gateway.table.spec import RolloutStep, Stage

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.rollout.positions import Move
    from gateway.rollout.verdict import Verdict
    from gateway.table.spec import RouteSpec


def scope_of(route_id: str, row: RouteSpec, position: Position | None) -> Scope:
    """Return under what the evidence of a request that is decided now is recorded."""
    run, step = evidence_scope(row, position)
    return Scope(route_id, run, step)


def evidence_of(stored: StoredEvidence | None) -> Evidence:
    """Return what a scope's sums mean; nothing stored is no evidence."""
    if stored is None:
        return Evidence()
    return parse_evidence(stored.counts, stored.words, stored.callers_with_error)


def run_evidence(
    row: RouteSpec, position: Position, stored: Mapping[Scope, StoredEvidence]
) -> list[tuple[RolloutStep, Evidence]]:
    """Return the evidence of the position's run, step by step, as ``judge`` wants it."""
    steps = [*ladder(row)]
    if position.step not in steps:
        steps.append(position.step)
    scopes = [(step, Scope(position.route_id, position.run, step_name(step))) for step in steps]
    return [(step, evidence_of(stored[scope])) for step, scope in scopes if scope in stored]


def to_record(position: Position, version: int) -> PositionRecord:
    """Return what is stored of ``position``, which was read at ``version`` (0: it is new)."""
    return PositionRecord(
        route_id=position.route_id,
        key=position.key,
        fingerprint=position.fingerprint,
        origin_stage=str(position.origin.stage),
        origin_weight_bp=position.origin.weight_bp,
        stage=str(position.step.stage),
        weight_bp=position.step.weight_bp,
        run=position.run,
        since=position.since,
        is_held=position.is_held,
        is_rolled_back=position.is_rolled_back,
        moved_by=position.by,
        reason=position.reason,
        version=version,
    )


def from_record(record: PositionRecord) -> Position:
    """Return the position that a record holds; its ``version`` stays with the record."""
    return Position(
        route_id=record.route_id,
        key=record.key,
        fingerprint=record.fingerprint,
        origin=RolloutStep(Stage(record.origin_stage), record.origin_weight_bp),
        step=RolloutStep(Stage(record.stage), record.weight_bp),
        since=record.since,
        run=record.run,
        is_held=record.is_held,
        is_rolled_back=record.is_rolled_back,
        by=record.moved_by,
        reason=record.reason,
    )


def event_of(move: Move, position: Position, *, now: float, verdict: Verdict | None = None) -> EventRecord:
    """Return the event that tells of ``move``; ``position`` is the route's before it (or the new one)."""
    after = move.position or position
    return EventRecord(
        at=now,
        route_id=position.route_id,
        key=after.key,
        kind=str(move.kind),
        before=step_name(move.before) if move.before else "",
        after=step_name(move.after) if move.after else "",
        caused_by=after.by if move.position else "file",
        sentence=verdict.sentence if verdict else after.reason if move.position else "the row was removed",
        numbers=verdict.numbers if verdict else {},
    )
