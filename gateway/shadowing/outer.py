"""Open the outer transaction of a rehearsal on one engine, and undo it.

Law: the connection is the rehearsal's own, made for it and closed with it, so that nothing of a rehearsal
can come back to the app's pool; what happened on it is never committed. On SQLite it is on a copy of the
database (:mod:`gateway.shadowing.sqlite_copy`). On PostgreSQL the server itself ends what takes too long,
and a rehearsal is shorter than the time after which PostgreSQL looks for deadlocks: whoever waits for
a lock of the rehearsal waits for its end and is never the one that a deadlock costs its transaction.

A savepoint taken first is the witness: if it is gone at the end, somebody ended the transaction.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from gateway.shadowing.sqlite_copy import put_on_copy

if TYPE_CHECKING:
    from collections.abc import Iterator

    import sqlalchemy as sa

DRIVERS = frozenset({"pysqlite", "aiosqlite", "psycopg"})
WITNESS = "gateway_rehearsal"
_WITNESS_IS_GONE = frozenset({"3B001", "25P01"})
"""What PostgreSQL says of a savepoint that does not exist: no such savepoint, no transaction."""

DEADLOCK_SHARE = 0.8
"""The longest life of an outer transaction on PostgreSQL, as a share of the server's deadlock_timeout."""

LOCK_WAIT_S = 0.25
"""How long a rehearsal waits for a lock that somebody else holds."""

_TIMES = (
    "SELECT extract(epoch FROM current_setting('deadlock_timeout')::interval)::float8,"
    " current_setting('transaction_isolation')"
)
_LIMITS = (
    "SELECT set_config('lock_timeout', '{lock}', true), set_config('statement_timeout', '{life}', true),"
    " set_config('idle_in_transaction_session_timeout', '{idle}', true)"
)


class Undoing(StrEnum):
    """Say how the undoing of an outer transaction went."""

    DONE = "undone"
    ESCAPED = "ended the outer transaction by the driver itself; what it wrote may stand"
    LOST = "the connection was lost, so that the database undid it by itself"


class CannotRehearse(Exception):
    """Say why no outer transaction can be had on an engine."""


class Outer:
    """Be the outer transaction on ``engine``; opened with its first use.

    ``statements`` counts those that run on it right now; ``is_quiet`` is set when there is none any more,
    once somebody waits for that.
    """

    def __init__(self, engine: sa.Engine) -> None:
        self.engine = engine
        self.is_async: bool = engine.dialect.is_async
        self.connection: sa.Connection | None = None
        self.statements = 0
        self.is_quiet: asyncio.Event | None = None
        self.life_s: float | None = None
        """How long the transaction may live from its beginning on; None: as long as the rehearsal."""
        self._is_closed = False
        self._turn: Any = asyncio.Lock() if self.is_async else threading.Lock()
        self._pool: sa.Pool | None = None

    def open(self, left_s: float) -> sa.Connection:
        """Return the connection, opened if it is not yet; ``left_s`` seconds are left of the rehearsal.

        In a greenlet of SQLAlchemy's where the engine is asynchronous. Raises :class:`CannotRehearse`.
        """
        if self.connection is not None:
            return self.connection
        with self._alone():
            if self._is_closed:
                raise CannotRehearse("the rehearsal is over")
            if self.connection is None:
                self.connection = self._open(left_s)
            return self.connection

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Let one open or close at a time."""
        if self.is_async:
            from sqlalchemy.util import await_only

            await_only(self._turn.acquire())
        else:
            self._turn.acquire()
        try:
            yield
        finally:
            self._turn.release()

    def _open(self, left_s: float) -> sa.Connection:
        from sqlalchemy import Connection

        dialect = self.engine.dialect
        if dialect.driver not in DRIVERS:
            raise CannotRehearse(
                "rehearsals know SQLite by sqlite3 and aiosqlite and PostgreSQL by psycopg, "
                f"not {dialect.name} by {dialect.driver}"
            )
        # A pool of its own, made like the app's: with its listeners, and without its connections.
        self._pool = self.engine.pool.recreate()
        connection = Connection(self.engine, self._pool.connect())
        try:
            if dialect.name == "sqlite":
                reason = put_on_copy(connection)
                if reason:
                    raise CannotRehearse(reason)
            connection.begin()
            self._begin(connection, left_s)
        except BaseException:
            _discard(connection)
            raise
        return connection

    def _begin(self, connection: sa.Connection, left_s: float) -> None:
        driver: Any = connection.connection.driver_connection
        cursor: Any = connection.connection.cursor()
        try:
            if connection.dialect.name == "sqlite":
                if not driver.in_transaction:  # else a listener of the app's has begun it
                    cursor.execute("BEGIN")
            else:
                if getattr(driver, "autocommit", False):
                    raise CannotRehearse("its connections commit every statement by themselves (AUTOCOMMIT)")
                cursor.execute(_TIMES)
                deadlock_s, isolation = cursor.fetchone()
                if isolation == "serializable":
                    raise CannotRehearse(
                        "its transactions are serializable: a rehearsal could cost another request's its own"
                    )
                self.life_s = min(left_s, deadlock_s * DEADLOCK_SHARE)
                milliseconds = {"lock": LOCK_WAIT_S, "life": self.life_s, "idle": self.life_s + 1}
                cursor.execute(
                    _LIMITS.format(**{name: f"{value * 1000:.0f}ms" for name, value in milliseconds.items()})
                )
            cursor.execute(f"SAVEPOINT {WITNESS}")
        finally:
            cursor.close()

    def close(self) -> Undoing:
        """Undo what was done, and close the connection; return how that went.

        In a greenlet of SQLAlchemy's where the engine is asynchronous, else in any thread.
        """
        with self._alone():
            self._is_closed = True
            connection, self.connection = self.connection, None
            if connection is None:
                return Undoing.DONE
            try:
                return _undo(connection)
            finally:
                _discard(connection)
                if self._pool is not None:
                    self._pool.dispose()

    def interrupt(self) -> None:
        """Make statements that still run end with an error.

        In a greenlet of SQLAlchemy's where the engine is asynchronous, else in any thread.
        """
        connection = self.connection
        driver: Any = connection.connection.driver_connection if connection is not None else None
        if driver is None:
            return
        if self.engine.dialect.name == "sqlite":
            getattr(driver, "_conn", driver).interrupt()
        else:
            cancelling = driver.cancel_safe(timeout=LOCK_WAIT_S)
            if self.is_async:
                from sqlalchemy.util import await_only

                await_only(cancelling)


def _undo(connection: sa.Connection) -> Undoing:
    if connection.invalidated or connection.closed:
        return Undoing.LOST
    try:
        cursor = connection.connection.cursor()
        try:
            cursor.execute(f"ROLLBACK TO SAVEPOINT {WITNESS}")
        finally:
            cursor.close()
    except Exception as error:
        is_gone = getattr(error, "sqlstate", None) in _WITNESS_IS_GONE or "no such savepoint" in str(error)
        return Undoing.ESCAPED if is_gone else Undoing.LOST
    return Undoing.DONE


def _discard(connection: sa.Connection) -> None:
    """Close the connection itself, whatever state it is in: the database rolls back what is open on it."""
    with contextlib.suppress(Exception):
        connection.invalidate()
    with contextlib.suppress(Exception):
        connection.close()
