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
from typing import TYPE_CHECKING, Protocol

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from gateway.ci.postgres import PostgresOriginal
from gateway.ci.tables import StateError, TableReader

if TYPE_CHECKING:
    from gateway.compare.rows import Reading

_BUSY_S = 5.0


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
        self._reader = TableReader(URL.create("sqlite", database=str(self._path)))
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
