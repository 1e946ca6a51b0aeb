"""Read every row of a database through SQLAlchemy's reflection."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import MetaData, create_engine, func, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from gateway.compare.rows import Reading, Table
from gateway.errors import GatewayError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy import URL

ROWS_READ = 100_000
"""Tables with more rows than this are not compared row by row."""


class StateError(GatewayError):
    """Report a database that cannot be copied or read, and what to do."""


class TableReader:
    """Read all tables; how they look is found out once."""

    def __init__(self, url: URL) -> None:
        self._engine = create_engine(url, poolclass=NullPool)
        self._metadata: MetaData | None = None

    def read(self) -> Reading:
        """Return all rows; raises :class:`StateError`."""
        try:
            return self._read()
        except SQLAlchemyError as exc:
            raise StateError(f"the copy of the database cannot be read: {exc}") from exc

    def _read(self) -> Reading:
        tables: dict[str, Table] = {}
        rows: dict[str, Mapping[tuple[Any, ...], tuple[Any, ...]]] = {}
        skipped: list[str] = []
        with self._engine.connect() as connection:
            if self._metadata is None:
                self._metadata = MetaData()
                self._metadata.reflect(connection)
            for name, table in self._metadata.tables.items():
                count = connection.scalar(select(func.count()).select_from(table)) or 0
                if count > ROWS_READ:
                    skipped.append(name)
                    continue
                columns = tuple(column.name for column in table.columns)
                key = tuple(column.name for column in table.primary_key.columns)
                tables[name] = Table(name, columns, key or columns, _foreign(table))
                positions = [columns.index(column) for column in key]
                found = (tuple(row) for row in connection.execute(select(table)))
                rows[name] = _by_key(found, positions)
        return Reading(tables, rows, tuple(skipped))

    def forget(self) -> None:
        """Reflect again with the next reading."""
        self._metadata = None

    def close(self) -> None:
        """Close every connection."""
        self._engine.dispose()


def _foreign(table: Any) -> dict[str, tuple[str, str]]:
    return {
        column.name: (key.column.table.name, key.column.name)
        for column in table.columns
        for key in column.foreign_keys
    }


def _by_key(rows: Any, positions: list[int]) -> dict[tuple[Any, ...], tuple[Any, ...]]:
    """Return rows by primary key; without one, a row is its own key, numbered among its equals."""
    if positions:
        return {tuple(row[position] for position in positions): row for row in rows}
    found: dict[tuple[Any, ...], tuple[Any, ...]] = {}
    for row in rows:
        number = 0
        while (*row, number) in found:
            number += 1
        found[(*row, number)] = row
    return found
