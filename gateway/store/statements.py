"""Word the statements that differ between SQLite and PostgreSQL, or that add to what is there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import case, func, literal_column, select, text, tuple_
from sqlalchemy.dialects import postgresql, sqlite

from gateway.store.records import EXAMPLES_KEPT
from gateway.store.schema import counters, error_callers, examples, findings, leases, sketches, writers

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import ColumnElement, Connection, Table
    from sqlalchemy.sql.dml import Insert, ReturningInsert

    from gateway.store.records import Scope

_EVENTS_LOCK_KEY = 0x6576656E7473
"""Of the advisory lock: the letters of ``events``."""


def upsert(connection: Connection, table: Table) -> Any:
    """Return the dialect's INSERT, which knows ON CONFLICT."""
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    return dialect.insert(table)


def store_clock(connection: Connection) -> ColumnElement[float]:
    """Return the database's own time, Unix seconds: the one clock that all processes share."""
    if connection.dialect.name == "postgresql":
        return literal_column("extract(epoch from clock_timestamp())::double precision")
    return literal_column("((julianday('now') - 2440587.5) * 86400.0)")


def adding_counters(connection: Connection) -> Insert:
    """Add to sums."""
    statement = upsert(connection, counters)
    return _insert(
        statement.on_conflict_do_update(
            index_elements=list(counters.primary_key), set_={"n": counters.c.n + statement.excluded.n}
        )
    )


def uniting_sketches(connection: Connection) -> Insert:
    """Set bits in the words of sketches."""
    statement = upsert(connection, sketches)
    return _insert(
        statement.on_conflict_do_update(
            index_elements=list(sketches.primary_key),
            set_={"bits": sketches.c.bits.op("|")(statement.excluded.bits), "day": statement.excluded.day},
        )
    )


def adding_error_callers(connection: Connection) -> Insert:
    """Add callers that have had no error in their run yet."""
    return _insert(upsert(connection, error_callers).on_conflict_do_nothing())


def numbering_batch(connection: Connection) -> ReturningInsert[Any]:
    """Move a writer to a batch's number; no row comes back when the batch is there already."""
    statement = upsert(connection, writers)
    numbering: ReturningInsert[Any] = statement.on_conflict_do_update(
        index_elements=[writers.c.worker],
        set_={"sequence": statement.excluded.sequence, "seen_at": statement.excluded.seen_at},
        where=writers.c.sequence < statement.excluded.sequence,
    ).returning(writers.c.sequence)
    return numbering


def queue_for_events(connection: Connection) -> None:
    """Wait, on PostgreSQL, until nobody else is adding events; the transaction's end lets the next one in.

    Its sequence hands out ids before their rows can be seen: without a queue an event could appear after
    one with a higher id, and whoever reads on from the highest would miss it. Take row locks before this,
    never after it.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _EVENTS_LOCK_KEY})


def adding_findings(connection: Connection) -> Insert:
    """Add to signatures' counts; the newest sentence stands."""
    statement = upsert(connection, findings)
    new = statement.excluded
    c = findings.c
    return _insert(
        statement.on_conflict_do_update(
            index_elements=list(findings.primary_key),
            set_={
                "count": c.count + new.count,
                "first_seen": case((new.first_seen < c.first_seen, new.first_seen), else_=c.first_seen),
                "last_seen": case((new.last_seen > c.last_seen, new.last_seen), else_=c.last_seen),
                "sentence": new.sentence,
                "is_waived": new.is_waived,
            },
        )
    )


def counting_examples(keys: Sequence[tuple[str, str]]) -> Any:
    """Count the examples of each of ``keys`` (route id, signature)."""
    c = examples.c
    return (
        select(c.route_id, c.signature, func.count())
        .where(tuple_(c.route_id, c.signature).in_(keys))
        .group_by(c.route_id, c.signature)
    )


def room_for_examples(kept: int) -> int:
    """Return how many more examples a signature may get."""
    return max(0, EXAMPLES_KEPT - kept)


def taking_lease(connection: Connection, name: str, holder: str, ttl_s: float) -> ReturningInsert[Any]:
    """Take a lease that is free, run out, or ours; no row comes back when it is somebody else's."""
    now = store_clock(connection)
    statement = upsert(connection, leases).values(name=name, holder=holder, token=1, expires_at=now + ttl_s)
    is_ours = (leases.c.holder == holder) & (leases.c.expires_at > now)
    taking: ReturningInsert[Any] = statement.on_conflict_do_update(
        index_elements=[leases.c.name],
        set_={
            "holder": holder,
            "token": case((is_ours, leases.c.token), else_=leases.c.token + 1),
            "expires_at": now + ttl_s,
        },
        where=(leases.c.holder == holder) | (leases.c.expires_at <= now),
    ).returning(leases.c.token, leases.c.expires_at)
    return taking


def of_runs(table: Table, scopes: Sequence[Scope]) -> ColumnElement[bool]:
    """Return the condition that a row belongs to the run of one of ``scopes``."""
    runs = sorted({(scope.route_id, scope.run) for scope in scopes})
    return tuple_(table.c.route_id, table.c.run).in_(runs)


def _insert(statement: Any) -> Insert:
    """Name the type that SQLAlchemy's dialects share, which its own annotations lose."""
    insert: Insert = statement
    return insert
