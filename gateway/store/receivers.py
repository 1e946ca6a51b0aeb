"""Word what is read and written of receivers of events, within a transaction that the ledger opens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import delete, func, select, update

from gateway.store import statements
from gateway.store.records import ReceiverRecord
from gateway.store.schema import events, receivers

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy import Connection


def read(connection: Connection) -> tuple[ReceiverRecord, ...]:
    """Return every receiver that is known."""
    rows = connection.execute(select(receivers).order_by(receivers.c.receiver)).mappings()
    return tuple(ReceiverRecord(**row) for row in rows)


def add(connection: Connection, receiver: str, since: float) -> None:
    """Let ``receiver`` begin with the first event after ``since``, unless it is known already."""
    before = select(func.coalesce(func.max(events.c.id), 0)).where(events.c.at < since)
    last_id = connection.execute(before).scalar_one()
    blank = ReceiverRecord(receiver, last_id=last_id, seen_at=since)
    values = {column.name: getattr(blank, column.name) for column in receivers.columns}
    connection.execute(
        statements.upsert(connection.dialect.name, receivers).values(values).on_conflict_do_nothing()
    )


def save(connection: Connection, values: Mapping[str, Any]) -> bool:
    """Overwrite a receiver's row; return whether it was there."""
    changed = connection.execute(
        update(receivers).where(receivers.c.receiver == values["receiver"]).values(values)
    )
    return changed.rowcount == 1


def forget(connection: Connection, receiver: str) -> None:
    """Delete a receiver's row."""
    connection.execute(delete(receivers).where(receivers.c.receiver == receiver))
