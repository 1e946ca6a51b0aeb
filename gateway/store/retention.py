"""Throw away what is older, or more, than the store should keep. Any worker may do it, at any time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import delete, exists, func, select, tuple_

from gateway.store.records import EXAMPLES_KEPT
from gateway.store.schema import (
    counters,
    error_callers,
    events,
    examples,
    findings,
    positions,
    receivers,
    sketches,
    writers,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import ColumnElement, Connection, Delete, Table

    from gateway.store.records import Retention

_DAY_S = 86_400


def prune(connection: Connection, retention: Retention, now: float) -> int:
    """Delete within the connection's transaction; return how many rows went.

    Evidence of the run that a position is in never goes, however old. The newest event stays as well:
    SQLite counts on from the highest id that is there, and a receiver takes a lower one for settled.
    """
    gone = 0
    for statement in _statements(retention, now):
        gone += max(0, connection.execute(statement).rowcount)
    return gone


def _statements(retention: Retention, now: float) -> Iterator[Delete]:
    day = int(now // _DAY_S) - retention.evidence_days
    for table in (counters, sketches, error_callers):
        yield delete(table).where(table.c.day < day, ~_is_current(table))
    highest = select(func.max(events.c.id)).scalar_subquery()
    yield delete(events).where(events.c.at < now - retention.events_days * _DAY_S, events.c.id < highest)
    newest = select(events.c.id).order_by(events.c.id.desc()).offset(retention.events_count).limit(1)
    yield delete(events).where(events.c.id <= newest.scalar_subquery())
    yield delete(findings).where(findings.c.last_seen < now - retention.findings_days * _DAY_S)
    kept = (
        select(findings.c.route_id, findings.c.signature)
        .order_by(findings.c.last_seen.desc(), findings.c.signature)
        .limit(retention.findings_count)
    )
    yield delete(findings).where(tuple_(findings.c.route_id, findings.c.signature).not_in(kept))
    of_finding = (findings.c.route_id == examples.c.route_id) & (findings.c.signature == examples.c.signature)
    yield delete(examples).where(~exists().where(of_finding))
    older = examples.alias("older")
    beyond = (
        select(older.c.id)
        .where(older.c.route_id == examples.c.route_id, older.c.signature == examples.c.signature)
        .order_by(older.c.id)
        .offset(EXAMPLES_KEPT)
        .limit(1)
        .scalar_subquery()
    )
    yield delete(examples).where(examples.c.id >= beyond)
    yield delete(writers).where(writers.c.seen_at < now - retention.writers_days * _DAY_S)
    yield delete(receivers).where(receivers.c.seen_at < now - retention.receivers_days * _DAY_S)


def _is_current(table: Table) -> ColumnElement[bool]:
    return exists().where(positions.c.route_id == table.c.route_id, positions.c.run == table.c.run)
