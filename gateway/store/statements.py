"""Word the statements that differ between SQLite and PostgreSQL, or that every worker sends every second.

Each is built once for a dialect (its SQLAlchemy name): building one takes longer than sending it, and holds
the interpreter while clients' requests wait for it.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from sqlalchemy import Float, String, bindparam, case, func, literal_column, select, text, tuple_
from sqlalchemy.dialects import postgresql, sqlite

from gateway.store.records import EXAMPLES_KEPT
from gateway.store.schema import (
    counters,
    error_callers,
    examples,
    findings,
    leases,
    positions,
    sketches,
    writers,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import ColumnElement, Connection, Select, Table
    from sqlalchemy.sql.dml import Insert, ReturningInsert

    from gateway.store.records import Scope

_EVENTS_LOCK_KEY = 0x6576656E7473
"""Of the advisory lock: the letters of ``events``."""


def upsert(dialect: str, table: Table) -> Any:
    """Return the dialect's INSERT, which knows ON CONFLICT."""
    return (postgresql if dialect == "postgresql" else sqlite).insert(table)


def store_clock(dialect: str) -> ColumnElement[float]:
    """Return the database's own time, Unix seconds: the one clock that all processes share."""
    if dialect == "postgresql":
        return literal_column("extract(epoch from clock_timestamp())::double precision")
    return literal_column("((julianday('now') - 2440587.5) * 86400.0)")


@cache
def adding_counters(dialect: str) -> Insert:
    """Add to sums."""
    statement = upsert(dialect, counters)
    return _insert(
        statement.on_conflict_do_update(
            index_elements=list(counters.primary_key), set_={"n": counters.c.n + statement.excluded.n}
        )
    )


@cache
def uniting_sketches(dialect: str) -> Insert:
    """Set bits in the words of sketches."""
    statement = upsert(dialect, sketches)
    return _insert(
        statement.on_conflict_do_update(
            index_elements=list(sketches.primary_key),
            set_={"bits": sketches.c.bits.op("|")(statement.excluded.bits), "day": statement.excluded.day},
        )
    )


@cache
def adding_error_callers(dialect: str) -> Insert:
    """Add callers that have had no error in their run yet."""
    return _insert(upsert(dialect, error_callers).on_conflict_do_nothing())


@cache
def numbering_batch(dialect: str) -> ReturningInsert[Any]:
    """Move a writer to a batch's number; no row comes back when the batch is there already."""
    statement = upsert(dialect, writers)
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


@cache
def adding_findings(dialect: str) -> Insert:
    """Add to signatures' counts; the newest sentence stands."""
    statement = upsert(dialect, findings)
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


@cache
def taking_lease(dialect: str) -> ReturningInsert[Any]:
    """Take the lease ``lease_name`` for ``lease_holder`` and ``lease_ttl_s`` seconds of the store's clock.

    It is taken when it is free, run out, or ours; no row comes back when it is somebody else's.
    """
    now = store_clock(dialect)
    holder, ends = bindparam("lease_holder", type_=String), now + bindparam("lease_ttl_s", type_=Float)
    statement = upsert(dialect, leases).values(
        name=bindparam("lease_name"), holder=holder, token=1, expires_at=ends
    )
    is_ours = (leases.c.holder == holder) & (leases.c.expires_at > now)
    taking: ReturningInsert[Any] = statement.on_conflict_do_update(
        index_elements=[leases.c.name],
        set_={
            "holder": holder,
            "token": case((is_ours, leases.c.token), else_=leases.c.token + 1),
            "expires_at": ends,
        },
        where=(leases.c.holder == holder) | (leases.c.expires_at <= now),
    ).returning(leases.c.token, leases.c.expires_at)
    return taking


@cache
def held_lease(dialect: str) -> Select[Any]:
    """Read the lease ``lease_name``, if anybody holds it now."""
    is_held = leases.c.expires_at > store_clock(dialect)
    return select(leases).where(leases.c.name == bindparam("lease_name"), is_held)


def runs_of(scopes: Sequence[Scope]) -> dict[str, list[tuple[str, int]]]:
    """Return the parameters of the statements about ``runs``: those that ``scopes`` name."""
    return {"runs": sorted({(scope.route_id, scope.run) for scope in scopes})}


def _of_runs(table: Table) -> ColumnElement[bool]:
    return tuple_(table.c.route_id, table.c.run).in_(bindparam("runs", expanding=True))


_c, _s, _e = counters.c, sketches.c, error_callers.c
_named = (_c.route_id, _c.run, _c.step, _c.name)
_sides = (_e.route_id, _e.run, _e.step, _e.side)

SUMS_OF_RUNS = select(*_named, func.sum(_c.n)).where(_of_runs(counters)).group_by(*_named)
WORDS_OF_RUNS = select(_s.route_id, _s.run, _s.step, _s.side, _s.word, _s.bits).where(_of_runs(sketches))
CALLERS_OF_RUNS = select(*_sides, func.count()).where(_of_runs(error_callers)).group_by(*_sides)
ALL_POSITIONS = select(positions).order_by(positions.c.key)


def _insert(statement: Any) -> Insert:
    """Name the type that SQLAlchemy's dialects share, which its own annotations lose."""
    insert: Insert = statement
    return insert
