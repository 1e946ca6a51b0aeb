"""Copy the database that the apps use, so that each side has its own, and read what is in a copy.

SQLite is copied by its backup API, which is safe while others write. A PostgreSQL database is cloned by
``CREATE DATABASE … TEMPLATE``, which the server only does while nobody else is connected to it. The original
is read once and never written.
"""

from __future__ import annotations

import contextlib
import secrets
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from sqlalchemy import URL, MetaData, create_engine, func, make_url, select
from sqlalchemy.exc import ArgumentError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from gateway.ci.rows import Reading, Table
from gateway.errors import GatewayError

if TYPE_CHECKING:
    from collections.abc import Mapping

ROWS_READ = 100_000
"""Tables with more rows than this are not compared row by row."""

_BUSY_S = 5.0


class StateError(GatewayError):
    """Report a database that cannot be copied, and what to do."""


class Copy(Protocol):
    """Be one side's own database."""

    url: str

    def read(self) -> Reading:
        """Return all rows as they are."""
        ...

    def is_touched(self) -> bool:
        """Tell whether anything may have been written since the last reading or reset."""
        ...

    def is_dirty(self) -> bool:
        """Tell whether anything may have been written since the starting state."""
        ...

    def keep(self) -> None:
        """Let the present state be the starting state of this copy."""
        ...

    def reset(self) -> bool:
        """Bring the starting state back; False when who uses it must be started anew, on ``url``."""
        ...

    def close(self) -> None:
        """Throw the copy away."""
        ...


class Original(Protocol):
    """Be the starting state, from which copies are made."""

    description: str

    def copy(self, label: str) -> Copy:
        """Return a fresh copy."""
        ...

    def close(self) -> None:
        """Throw away what was kept for making copies."""
        ...


def open_original(text: str, name: str, folder: Path) -> Original:
    """Return the state that the variable ``name`` names as ``text``; raises :class:`StateError`."""
    try:
        url = make_url(text)
    except ArgumentError as exc:
        raise StateError(
            f"{name} is no database URL; sqlite:///FILE and postgresql://… can be copied"
        ) from exc
    backend = url.get_backend_name()
    if backend == "sqlite":
        return SqliteOriginal(url, name, folder)
    if backend in ("postgresql", "postgres"):
        return PostgresOriginal(url, name)
    raise StateError(f"{name}: a {backend} database cannot be copied; SQLite and PostgreSQL can")


class SqliteOriginal:
    """Hold a SQLite database as it was when the comparison began."""

    def __init__(self, url: URL, name: str, folder: Path) -> None:
        if not url.database or url.database == ":memory:" or url.database.startswith("file:"):
            raise StateError(f"{name}: only a SQLite database in a plain file can be copied")
        source = Path(url.database)
        if not source.is_file():
            raise StateError(f"{name}: there is no {source}; make it first (migrations, seed)")
        self.description = f"SQLite {source.name}"
        self._url = url
        self._folder = folder
        self._base = folder / "start.db"
        try:
            _back_up(source, self._base)
        except sqlite3.Error as exc:
            raise StateError(f"{name}: {source} cannot be copied: {exc}") from exc

    def copy(self, label: str) -> Copy:
        """Return a fresh copy in a file of its own."""
        path = self._folder / f"{label}-{secrets.token_hex(3)}.db"
        _back_up(self._base, path)
        return SqliteCopy(self._url.set(database=str(path)), self._base)

    def close(self) -> None:
        """Do nothing: the folder is thrown away as a whole."""


class SqliteCopy:
    """Be one side's SQLite file."""

    def __init__(self, url: URL, base: Path) -> None:
        self.url = url.render_as_string(hide_password=False)
        self._path = Path(str(url.database))
        self._base = base
        self._reader = _Reader(URL.create("sqlite", database=str(self._path)))
        self._watch = sqlite3.connect(
            self._path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False
        )
        self._version = self._start_version = self._data_version()

    def _data_version(self) -> int:
        # Changes when another connection has committed (sqlite.org/pragma.html#pragma_data_version).
        return int(self._watch.execute("PRAGMA data_version").fetchone()[0])

    def is_touched(self) -> bool:
        """Tell whether somebody committed since the last reading or reset."""
        return self._data_version() != self._version

    def is_dirty(self) -> bool:
        """Tell whether somebody committed since the starting state."""
        return self._data_version() != self._start_version

    def read(self) -> Reading:
        """Return all rows."""
        self._version = self._data_version()
        return self._reader.read()

    def keep(self) -> None:
        """Let the present state be the starting state of this copy."""
        if self.is_dirty():
            self._base = self._path.with_suffix(".start.db")
            _back_up(self._path, self._base)
            self._start_version = self._data_version()

    def reset(self) -> bool:
        """Write the starting state over the file; who has it open sees it with the next transaction."""
        try:
            _back_up(self._base, self._path)
        except sqlite3.Error:
            return False
        self._reader.forget()
        self._version = self._start_version = self._data_version()
        return True

    def close(self) -> None:
        """Close; the file goes with its folder."""
        self._watch.close()
        self._reader.close()


def _back_up(source: Path, target: Path) -> None:
    uri = f"{source.absolute().as_uri()}?mode=ro"
    with (
        contextlib.closing(sqlite3.connect(uri, uri=True, timeout=_BUSY_S)) as reading,
        contextlib.closing(sqlite3.connect(target, timeout=_BUSY_S)) as writing,
    ):
        reading.backup(writing)


class PostgresOriginal:
    """Hold a clone of a PostgreSQL database as it was when the comparison began."""

    def __init__(self, url: URL, name: str) -> None:
        self._url = url
        self._name = name
        self.description = f"PostgreSQL {url.database}"
        self._tag = secrets.token_hex(4)
        self._base = f"gateway_compare_{self._tag}_start"
        self._made = 0
        self._clone(str(url.database), self._base)

    def copy(self, label: str) -> Copy:
        """Return a fresh clone under a name of its own."""
        return PostgresCopy(self, self._new_database())

    def close(self) -> None:
        """Drop the clone that copies were made from."""
        self.drop(self._base)

    def _new_database(self) -> str:
        self._made += 1
        name = f"gateway_compare_{self._tag}_{self._made}"
        self._clone(self._base, name)
        return name

    def address(self, database: str) -> URL:
        """Return the URL of another database on the same server."""
        return self._url.set(database=database)

    def renew(self, database: str) -> str:
        """Throw a clone away and return the name of a fresh one."""
        self.drop(database)
        return self._new_database()

    def drop(self, database: str) -> None:
        """Drop a clone, whoever is still connected to it."""
        self._run(f'DROP DATABASE IF EXISTS "{database}" WITH (FORCE)')

    def _clone(self, source: str, target: str) -> None:
        quoted = source.replace('"', '""')
        self._run(f'CREATE DATABASE "{target}" TEMPLATE "{quoted}"')

    def _run(self, statement: str) -> None:
        try:
            import psycopg
            from psycopg import errors
        except ImportError as exc:
            raise StateError(
                f"{self._name}: psycopg is needed to copy a PostgreSQL database; "
                "pip install 'strangler-gateway[postgres]'"
            ) from exc
        plain = self._url.set(drivername="postgresql", database="postgres").render_as_string(
            hide_password=False
        )
        shown = self._url.render_as_string(hide_password=True)
        try:
            with psycopg.connect(plain, autocommit=True, connect_timeout=5) as connection:
                try:
                    connection.execute(statement.encode())
                except errors.ObjectInUse as exc:
                    raise StateError(self._in_use(connection)) from exc
        except psycopg.Error as exc:
            words = str(exc).strip().splitlines() or [type(exc).__name__]
            raise StateError(f"{self._name}: {shown} cannot be copied: {words[0]}") from exc

    def _in_use(self, connection: Any) -> str:
        rows = connection.execute(
            "SELECT coalesce(nullif(application_name, ''), usename, 'unknown'), count(*) "
            "FROM pg_stat_activity WHERE datname = %s GROUP BY 1 ORDER BY 2 DESC",
            (self._url.database,),
        ).fetchall()
        who = ", ".join(f"{name} ({count})" for name, count in rows) or "others"
        return (
            f"{self._name}: PostgreSQL clones {self._url.database} only while nobody else is connected to "
            f"it, and these are: {who}; stop them, or name a database that nobody uses"
        )


class PostgresCopy:
    """Be one side's PostgreSQL database."""

    def __init__(self, original: PostgresOriginal, database: str) -> None:
        self._original = original
        self._is_dirty = False
        self._start: Reading | None = None
        self._open(database)

    def _open(self, database: str) -> None:
        self._database = database
        address = self._original.address(database)
        self.url = address.render_as_string(hide_password=False)
        self._reader = _Reader(address.set(drivername="postgresql+psycopg"))

    def is_touched(self) -> bool:
        """Say yes: PostgreSQL does not tell cheaply."""
        return True

    def is_dirty(self) -> bool:
        """Tell whether the last reading, or a present one, differs from the starting state."""
        return self._is_dirty

    def read(self) -> Reading:
        """Return all rows."""
        reading = self._reader.read()
        if self._start is None:
            self._start = reading
        self._is_dirty = self._is_dirty or reading.rows != self._start.rows
        return reading

    def keep(self) -> None:
        """Do nothing: a fresh clone is followed by a fresh start of the app, which does the same again."""

    def reset(self) -> bool:
        """Make a fresh clone under another name: whoever used the old one must be started anew."""
        self._reader.close()
        self._open(self._original.renew(self._database))
        self._start, self._is_dirty = None, False
        return False

    def close(self) -> None:
        """Drop the database."""
        self._reader.close()
        self._original.drop(self._database)


class _Reader:
    """Read all tables through SQLAlchemy's reflection, which is done once."""

    def __init__(self, url: URL) -> None:
        self._engine = create_engine(url, poolclass=NullPool)
        self._metadata: MetaData | None = None

    def read(self) -> Reading:
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
