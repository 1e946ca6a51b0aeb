"""Clone a PostgreSQL database by ``CREATE DATABASE … TEMPLATE``, while nobody else uses it."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any

from gateway.ci.tables import StateError, TableReader

if TYPE_CHECKING:
    from sqlalchemy import URL

    from gateway.ci.databases import Copy
    from gateway.compare.rows import Reading


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
        self._reader = TableReader(address.set(drivername="postgresql+psycopg"))

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
