"""Know of an answer that failed whether anything of the request has come to stay, so that it may be repeated.

rollout.md's third ground for a fallback: a request in which new committed nothing and called nobody. What is
watched is what a rehearsal refuses; here it happens, for the request is real, and is noted. Law: once it was
said that nothing has come to stay, nothing of this attempt can any more - whatever tries is refused - so that
legacy never does again what new has done. Whatever is not known to be undone counts as done.
"""

from __future__ import annotations

import asyncio
import functools
import threading
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

from gateway.compat.rehearsal import is_in_use
from gateway.errors import GatewayError
from gateway.shadowing import engines
from gateway.shadowing.walls import raise_walls
from gateway.shadowing.watching import WATCHER, Announcements
from gateway.shadowing.writes import is_write, locks, why_not_undone

if TYPE_CHECKING:
    from collections.abc import Callable

    import sqlalchemy as sa

    from gateway.shadowing.outer import Outer

_BEGINS_A_TRANSACTION = ("INSERT", "UPDATE", "DELETE", "REPLACE")
"""Statements before which Python's sqlite3 opens a transaction by itself."""


class AttemptOver(GatewayError, ConnectionError):
    """Tell code of new that legacy answers its request by now, so that it may do nothing more."""


class Onlooker:
    """Watch one real call of new. Its methods are called from whatever thread new runs on."""

    def __init__(self) -> None:
        self.deed = ""
        """What was done first of all that stays (a sentence without its subject); empty: nothing."""
        self._is_over = False
        self._holding: set[sa.Connection] = set()
        self._lock = threading.Lock()
        self._announced = Announcements()

    def ends_untouched(self) -> bool:
        """Tell whether nothing has come to stay; if so nothing can from now on."""
        with self._lock:
            self._is_over = not self.deed
            return self._is_over

    @property
    def is_holding(self) -> bool:
        """Whether a transaction is open that may keep locks which legacy needs."""
        return bool(self._holding)

    def refuse(self, what: str) -> None:
        """Note a deed that stays. Raises :class:`AttemptOver` where it comes too late to be done."""
        with self._lock:
            is_over = self._is_over
            if not is_over:
                self.deed = self.deed or what
        if is_over:
            raise AttemptOver(f"legacy answers this request by now; new may not do this any more: it {what}")

    def postpones(self, task: str) -> bool:
        """Let background tasks run, unless their request is legacy's by now."""
        return self._is_over

    def in_pool(self, work: Callable[..., Any]) -> Callable[..., Any]:
        """Leave the thread's context as the app knows it, but for the watcher."""

        @functools.wraps(work)
        def watched(*args: Any, **named: Any) -> Any:
            token = WATCHER.set(self)
            try:
                return work(*args, **named)
            finally:
                WATCHER.reset(token)

        return watched

    def connects(self) -> None:
        """Note that SQLAlchemy is about to open a SQLite database on this thread."""
        self._announced.add()

    def is_connecting(self) -> bool:
        """Tell whether it was SQLAlchemy that opens a SQLite database on this thread, once."""
        return self._announced.take()

    def check_statement(self, connection: sa.Connection, statement: str) -> None:
        """Note a statement that no rollback undoes; refuse any that comes too late."""
        why = why_not_undone(statement) or _why_at_once(connection, statement)
        if why or self._is_over:
            self.refuse(f"ran {' '.join(statement.split())[:200]}; {why or 'its transaction goes on'}")
        if is_write(statement) or locks(statement):
            self._holding.add(connection)

    def check_end(self, connection: sa.Connection, *, is_kept: bool) -> None:
        """Note a commit, whatever was in it; where it comes too late, see it rolled back."""
        try:
            if is_kept:
                self.refuse(
                    f"committed a transaction ({connection.dialect.name}, {connection.engine.url.database})"
                )
        except AttemptOver:
            # Refused, it would go back to its pool with the transaction still open.
            connection.invalidate()
            raise
        finally:
            self._holding.discard(connection)

    def disturb(self, why: str) -> None:
        """Take no interest: an error of the database is new's failure like any other."""

    def outer_with(self, connection: sa.Connection) -> Outer | None:
        """Return None: new works on its own connections."""

    def running(self, outer: Outer) -> AbstractContextManager[None]:
        """Do nothing: there is no outer transaction."""
        return nullcontext()


def watch() -> Onlooker | None:
    """Return an onlooker for a call of new that is about to be made from here; None: it could not know.

    It knows where the new app's sessions are :func:`~gateway.compat.rehearsable`: that line is how its
    author says that what it writes is written by SQLAlchemy. Called in the event loop; who calls new must set
    :data:`~gateway.shadowing.watching.WATCHER` in the context of the call.
    """
    if not is_in_use():
        return None
    engines.install()
    raise_walls(asyncio.get_running_loop())
    return Onlooker()


def _why_at_once(connection: sa.Connection, statement: str) -> str:
    """Return why a rollback would not undo a statement on this connection of all; empty: it would."""
    dialect = connection.dialect
    driver: Any = connection.connection.driver_connection
    if dialect.name == "postgresql" and dialect.driver == "psycopg":
        return "its connection commits by itself" if driver.autocommit else ""
    if dialect.name == "sqlite" and dialect.driver in ("pysqlite", "aiosqlite"):
        driver = getattr(driver, "_conn", driver)
        begins = driver.isolation_level is not None and statement.lstrip().upper().startswith(
            _BEGINS_A_TRANSACTION
        )
        is_open = driver.in_transaction or getattr(driver, "autocommit", -1) is False
        return "" if is_open or begins or not is_write(statement) else "its connection commits by itself"
    return f"of {dialect.name} by {dialect.driver} it is not known what a rollback undoes"
