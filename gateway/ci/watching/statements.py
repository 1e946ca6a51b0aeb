"""Note the statements that this process sends to databases.

SQLAlchemy tells of each by an event, whatever its driver. Connections of SQLite and psycopg that SQLAlchemy
did not open are watched at their cursors; those that it did are marked, so that nothing counts twice.
"""

from __future__ import annotations

import contextlib
import sqlite3
from functools import cache
from typing import TYPE_CHECKING, Any

from gateway.ci.watching.tally import carrying, current

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

    from gateway.ci.watching.patches import Patches

    Note = Callable[[str], None]

_MARK = "_gateway_counts_elsewhere"


def watch(patches: Patches, note: Note) -> None:
    """Call ``note`` with the text of each statement, in the context in which it is sent."""
    for module in (sqlite3, sqlite3.dbapi2):
        patches.replace(module, "connect", lambda original: _connecting(original, note))
    patches.when_imported("sqlalchemy", lambda module: _watch_sqlalchemy(patches, note, module))
    patches.when_imported("psycopg", lambda module: _watch_psycopg(patches, note, module))
    patches.when_imported("aiosqlite.core", lambda module: _watch_aiosqlite(patches, module))


def _watch_sqlalchemy(patches: Patches, note: Note, sqlalchemy: Any) -> None:
    from sqlalchemy import event
    from sqlalchemy.engine import Engine
    from sqlalchemy.pool import Pool

    def before(connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        note(statement)

    def connected(connection: Any, record: Any) -> None:
        driver = record.driver_connection
        for each in (driver, getattr(driver, "_conn", None)):
            with contextlib.suppress(AttributeError, TypeError, ValueError):
                setattr(each, _MARK, True)

    event.listen(Engine, "before_cursor_execute", before)
    event.listen(Pool, "connect", connected)
    patches.afterwards(lambda: event.remove(Engine, "before_cursor_execute", before))
    patches.afterwards(lambda: event.remove(Pool, "connect", connected))


def _connecting(original: Callable[..., Any], note: Note) -> Callable[..., Any]:
    """Return a ``sqlite3.connect`` whose connections deal cursors that are watched."""

    def tell(connection: Any, sql: Any) -> None:
        if isinstance(sql, str) and not getattr(connection, _MARK, False):
            note(sql)

    @cache
    def cursors(base: Any) -> Any:
        class Cursor(base):  # type: ignore[misc]  # the app's own class, or sqlite3's
            def execute(self, sql: Any, *values: Any) -> Any:
                tell(self.connection, sql)
                return super().execute(sql, *values)

            def executemany(self, sql: Any, *values: Any) -> Any:
                tell(self.connection, sql)
                return super().executemany(sql, *values)

        Cursor.__name__, Cursor.__qualname__ = base.__name__, base.__qualname__
        return Cursor

    @cache
    def connections(base: Any) -> Any:
        class Connection(base):  # type: ignore[misc]  # as above
            def cursor(self, factory: Any = sqlite3.Cursor) -> Any:
                if isinstance(factory, type) and issubclass(factory, sqlite3.Cursor):
                    factory = cursors(factory)
                return super().cursor(factory)

            def execute(self, sql: Any, *values: Any) -> Any:
                return self._once(super().execute, sql, values)

            def executemany(self, sql: Any, *values: Any) -> Any:
                return self._once(super().executemany, sql, values)

            def _once(self, run: Callable[..., Any], sql: Any, values: tuple[Any, ...]) -> Any:
                # Whether these pass through a cursor's own methods is another matter in each Python.
                tell(self, sql)
                before = getattr(self, _MARK, False)
                setattr(self, _MARK, True)
                try:
                    return run(sql, *values)
                finally:
                    setattr(self, _MARK, before)

        Connection.__name__, Connection.__qualname__ = base.__name__, base.__qualname__
        return Connection

    def connect(*arguments: Any, **named: Any) -> Any:
        factory: Any = named.get("factory", sqlite3.Connection)
        is_class = isinstance(factory, type) and issubclass(factory, sqlite3.Connection)
        if is_class and len(arguments) <= 5:  # a sixth one is the factory
            named["factory"] = connections(factory)
        return original(*arguments, **named)

    return connect


def _watch_psycopg(patches: Patches, note: Note, psycopg: Any) -> None:
    def tell(cursor: Any, query: Any) -> None:
        if getattr(cursor.connection, _MARK, False):
            return
        if isinstance(query, bytes):
            note(query.decode("utf-8", "replace"))
        else:
            note(query if isinstance(query, str) else str(query.as_string(None)))

    def watched(original: Callable[..., Any]) -> Callable[..., Any]:
        def execute(self: Any, query: Any, *values: Any, **named: Any) -> Any:
            tell(self, query)
            return original(self, query, *values, **named)

        return execute

    for owner in (psycopg.Cursor, psycopg.AsyncCursor):
        for name in ("execute", "executemany"):
            patches.replace(owner, name, watched)


def _watch_aiosqlite(patches: Patches, module: ModuleType) -> None:
    """Let what a connection's thread does count for the request that asked for it."""

    def carrying_on(original: Callable[..., Any]) -> Callable[..., Any]:
        def execute(self: Any, function: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
            tally = current()
            if tally is None:
                return original(self, function, *arguments, **named)

            def carry() -> Any:
                with carrying(tally):
                    return function(*arguments, **named)

            return original(self, carry)

        return execute

    patches.replace(module.Connection, "_execute", carrying_on)
