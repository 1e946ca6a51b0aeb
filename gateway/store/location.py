"""Find the store's database and open an engine on it, set up so that nothing waits long.

SQLite in WAL mode beside the table by default; PostgreSQL by URL. Every wait has a limit: for a lock, for a
connection, for a statement, for a network that swallows packets.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any

from sqlalchemy import URL, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError

from gateway.errors import SettingsError
from gateway.store.folder import default_file

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

BUSY_TIMEOUT_S = 2.0
CONNECT_TIMEOUT_S = 3
STATEMENT_TIMEOUT_S = 10

_POSTGRES = {"postgresql", "postgres", "postgresql+psycopg"}


def locate(url: str | None, table: Path) -> str:
    """Return the store's URL: ``url`` as the table gives it, or SQLite beside the file ``table``.

    Raise :class:`SettingsError` where it is no URL of SQLite (on a file) or PostgreSQL.
    """
    if url is None:
        path = default_file(table)
        return URL.create("sqlite", database=str(path)).render_as_string(hide_password=False)
    try:
        parsed = make_url(url)
    except ArgumentError as exc:
        raise SettingsError("store: this is no database URL, as sqlite:///state.db would be") from exc
    if parsed.drivername in _POSTGRES:
        parsed = parsed.set(drivername="postgresql+psycopg")
    elif parsed.get_backend_name() != "sqlite" or not parsed.database or parsed.database == ":memory:":
        raise SettingsError(
            f"store: {parsed.drivername} cannot hold the state; "
            "write sqlite:///FILE or postgresql://USER@HOST/DATABASE"
        )
    else:
        parsed = parsed.set(drivername="sqlite")
    return parsed.render_as_string(hide_password=False)


def file_of(url: str) -> Path | None:
    """Return the file of a SQLite URL; None for a database on a server, or a file given as a URI."""
    parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite" or (parsed.database or "").startswith("file:"):
        return None
    return Path(parsed.database or "")


def identity(path: Path | None) -> tuple[int, int] | None:
    """Return what tells a file from another under the same name; None where there is none."""
    if path is None:
        return None
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_dev, stat.st_ino


def open_engine(url: str) -> Engine:
    """Return an engine for one thread, with one connection, that has not connected yet.

    Make it after a fork, never before. Raise :class:`SettingsError` where the driver is missing.
    """
    if make_url(url).get_backend_name() == "sqlite":
        return _sqlite(url)
    try:
        engine = create_engine(
            url,
            pool_size=1,
            max_overflow=0,
            pool_pre_ping=True,
            connect_args={
                "connect_timeout": CONNECT_TIMEOUT_S,
                "prepare_threshold": None,
                "keepalives_idle": 5,
                "keepalives_interval": 2,
                "keepalives_count": 3,
                "tcp_user_timeout": STATEMENT_TIMEOUT_S * 1000,
                "application_name": "gateway",
            },
        )
    except ImportError as exc:
        message = "store: PostgreSQL needs psycopg; pip install 'strangler-gateway[postgres]'"
        raise SettingsError(message) from exc
    event.listen(engine, "begin", _limit_waiting)
    return engine


def _limit_waiting(connection: Connection) -> None:
    """Set the limits for one transaction only, which poolers such as PgBouncer let through."""
    connection.exec_driver_sql(
        f"SET LOCAL statement_timeout = {STATEMENT_TIMEOUT_S * 1000}; "
        f"SET LOCAL lock_timeout = {round(BUSY_TIMEOUT_S * 1000)}"
    )


def _use_wal(connection: sqlite3.Connection) -> None:
    """Put a database into WAL mode, which it stays in; waits for others that do so at the same moment.

    SQLite's own busy timeout does not hold for the change of the mode: who meets another is told at once.
    """
    give_up_s = monotonic() + BUSY_TIMEOUT_S
    while True:
        try:
            if connection.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
                connection.execute("PRAGMA journal_mode = WAL").close()
            return
        except sqlite3.OperationalError as exc:
            if exc.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or monotonic() > give_up_s:
                raise
        sleep(0.01)


def _sqlite(url: str) -> Engine:
    engine = create_engine(
        url, pool_size=1, max_overflow=0, connect_args={"timeout": BUSY_TIMEOUT_S, "check_same_thread": False}
    )

    def connected(connection: Any, _record: object) -> None:
        connection.isolation_level = None
        try:
            _use_wal(connection)
            connection.execute("PRAGMA synchronous = NORMAL").close()
        except BaseException:
            connection.close()
            raise

    def begun(connection: Connection) -> None:
        """Begin ourselves: a writer takes the lock at once, and never has to turn from reader to writer."""
        is_writing = connection.get_execution_options().get("is_writing", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if is_writing else "BEGIN")

    event.listen(engine, "connect", connected)
    event.listen(engine, "begin", begun)
    return engine
