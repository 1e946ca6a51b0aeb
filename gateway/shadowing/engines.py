"""Watch every SQLAlchemy engine of this process on behalf of whoever watches a call of new.

A listener does nothing but look into a context variable, unless its context is one that is watched.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gateway.shadowing.watching import WATCHER

if TYPE_CHECKING:
    import sqlalchemy as sa


def install() -> None:
    """Watch from now on. Installing twice does nothing."""
    from sqlalchemy import event
    from sqlalchemy.engine import Engine

    if event.contains(Engine, "before_cursor_execute", _before_statement):
        return
    event.listen(Engine, "before_cursor_execute", _before_statement)
    event.listen(Engine, "do_execute", _do_execute)
    event.listen(Engine, "do_executemany", _do_executemany)
    event.listen(Engine, "do_execute_no_params", _do_execute_no_params)
    event.listen(Engine, "do_connect", _do_connect)
    event.listen(Engine, "handle_error", _on_error)
    for name in ("commit", "prepare_twophase", "commit_twophase"):
        event.listen(Engine, name, _on_commit)
    event.listen(Engine, "rollback", _on_rollback)


def _before_statement(
    connection: sa.Connection, _cursor: Any, statement: str, _parameters: Any, _context: Any, _is_many: bool
) -> None:
    watcher = WATCHER.get()
    if watcher is not None:
        watcher.check_statement(connection, statement)


def _do_execute(cursor: Any, statement: str, parameters: Any, context: Any) -> bool | None:
    watcher = WATCHER.get()
    outer = watcher.outer_with(context.root_connection) if watcher is not None else None
    if watcher is None or outer is None:
        return None
    with watcher.running(outer):
        context.dialect.do_execute(cursor, statement, parameters, context)
    return True


def _do_executemany(cursor: Any, statement: str, parameters: Any, context: Any) -> bool | None:
    watcher = WATCHER.get()
    outer = watcher.outer_with(context.root_connection) if watcher is not None else None
    if watcher is None or outer is None:
        return None
    with watcher.running(outer):
        context.dialect.do_executemany(cursor, statement, parameters, context)
    return True


def _do_execute_no_params(cursor: Any, statement: str, context: Any) -> bool | None:
    watcher = WATCHER.get()
    outer = watcher.outer_with(context.root_connection) if watcher is not None else None
    if watcher is None or outer is None:
        return None
    with watcher.running(outer):
        context.dialect.do_execute_no_params(cursor, statement, context)
    return True


def _do_connect(dialect: Any, _record: Any, _arguments: Any, _named: Any) -> None:
    watcher = WATCHER.get()
    if watcher is not None and dialect.driver == "pysqlite":
        watcher.connects()


# What PostgreSQL says of a statement that somebody else's lock, or the rehearsal's own limits, stopped: it
# is no failure of new.
_DISTURBED = {
    "55P03": "it waited for a lock of another request",
    "40P01": "it met a deadlock with another request",
    "40001": "it met a change that another request made at the same time",
    "57014": "one of its statements took too long",
}


def _on_error(context: Any) -> None:
    watcher = WATCHER.get()
    if watcher is None:
        return
    why = _DISTURBED.get(getattr(context.original_exception, "sqlstate", None) or "")
    if why is not None:
        watcher.disturb(why)


def _on_commit(connection: sa.Connection, *_twophase: Any) -> None:
    watcher = WATCHER.get()
    if watcher is not None:
        watcher.check_end(connection, is_kept=True)


def _on_rollback(connection: sa.Connection, *_twophase: Any) -> None:
    watcher = WATCHER.get()
    if watcher is not None:
        watcher.check_end(connection, is_kept=False)
