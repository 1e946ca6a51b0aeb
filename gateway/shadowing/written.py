"""Learn which rows a call wrote, from its SQLAlchemy statements and what became of their transactions.

Nothing is asked of the database and nothing of a statement is changed: what runs here runs in the middle of
legacy's own requests. So a row is known as the statement spelled it: an INSERT with values, an UPDATE or
DELETE that names its primary key. What else writes (text, a condition) makes its table *untold*, and an
untold table is compared on neither side. What was rolled back was not written.
"""

from __future__ import annotations

import json
import re
import threading
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from gateway.shadowing.writes import is_write

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    import sqlalchemy as sa


WRITE_LOG: ContextVar[WriteLog | None] = ContextVar("gateway_write_log", default=None)
"""The log of the call that runs in this context; None where nobody wants to know."""

ALL_TABLES = "*"
_UNQUOTED = str.maketrans("", "", '"`[]')
_NAMED_TABLE = re.compile(
    r"\b(?:INSERT\s+(?:OR\s+\w+\s+)?INTO|REPLACE\s+INTO|MERGE\s+INTO|UPDATE(?:\s+ONLY)?|DELETE\s+FROM(?:\s+ONLY)?|TRUNCATE(?:\s+TABLE)?)"
    r"\s+([\w.\"`\[\]]+)",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Write:
    """Be one row as a statement wrote it: column names and Python values, as the app gave them.

    ``unknown`` are columns that got what only the database knows: an expression, a default of its own.
    """

    table: sa.Table
    dialect: sa.Dialect
    action: Literal["insert", "update", "delete"]
    key: tuple[tuple[str, Any], ...]
    values: tuple[tuple[str, Any], ...]
    unknown: frozenset[str] = frozenset()


@dataclass(slots=True)
class _Transaction:
    """Hold what one connection wrote and nobody has settled yet, savepoint by savepoint."""

    levels: list[tuple[str, list[Write]]] = field(default_factory=lambda: [("", [])])
    savepoints: int = 0


class WriteLog:
    """Gather what one call wrote. Called from whatever threads the call runs on.

    ``on_overlap`` is told of a connection where a savepoint is about to count as ended while one that began
    after it has not ended; what it raises leaves the log as it was.
    """

    def __init__(self, on_overlap: Callable[[sa.Connection], None] | None = None) -> None:
        self.statements = 0
        self.untold: set[str] = set()
        self._on_overlap = on_overlap
        self._settled: list[Write] = []
        self._open: dict[sa.Connection, _Transaction] = {}
        self._lock = threading.Lock()

    def wrote(self, connection: sa.Connection, writes: Iterable[Write]) -> None:
        """Take rows that a statement wrote on ``connection``."""
        with self._lock:
            self._of(connection).levels[-1][1].extend(writes)

    def began_savepoint(self, connection: sa.Connection, name: str | None) -> None:
        """Note a savepoint; without a ``name`` it gets the one that SQLAlchemy is about to make."""
        with self._lock:
            transaction = self._of(connection)
            if name is None:
                transaction.savepoints += 1
                name = f"sa_savepoint_{transaction.savepoints}"
            transaction.levels.append((name, []))

    def ended_savepoint(self, connection: sa.Connection, name: str, *, is_kept: bool) -> None:
        """Note that a savepoint was released (its rows are kept) or rolled back."""
        with self._lock:
            is_overlap = self._of(connection).levels[-1][0] != name
        if is_overlap and self._on_overlap is not None:
            self._on_overlap(connection)
        with self._lock:
            levels = self._of(connection).levels
            depth = next((at for at in range(len(levels) - 1, 0, -1) if levels[at][0] == name), 0)
            if not depth:
                return
            rows = [row for _name, level in levels[depth:] for row in level]
            del levels[depth:]
            if is_kept:
                levels[-1][1].extend(rows)

    def ended(self, connection: sa.Connection, *, is_kept: bool) -> None:
        """Note that a connection's whole transaction was committed or rolled back."""
        with self._lock:
            transaction = self._of(connection)
            if is_kept:
                self._settled.extend(row for _name, level in transaction.levels for row in level)
            transaction.levels = [("", [])]

    def settle_released(self) -> None:
        """Count as written what no savepoint holds any more, in transactions that are still open.

        It is how a rehearsal ends: its sessions' commits released their savepoints.
        """
        with self._lock:
            for transaction in self._open.values():
                self._settled.extend(transaction.levels[0][1])
                transaction.levels = [("", [])]

    def settled(self) -> tuple[Write, ...]:
        """Return the rows that were written for good."""
        with self._lock:
            return tuple(self._settled)

    def _of(self, connection: sa.Connection) -> _Transaction:
        return self._open.setdefault(connection, _Transaction())


def install() -> None:
    """Watch the statements of every SQLAlchemy engine of this process. Installing twice does nothing."""
    from sqlalchemy import event
    from sqlalchemy.engine import Engine

    if event.contains(Engine, "after_execute", _on_execute):
        return
    event.listen(Engine, "after_execute", _on_execute)
    event.listen(Engine, "after_cursor_execute", _on_cursor_execute)
    event.listen(Engine, "savepoint", _on_savepoint)
    event.listen(Engine, "release_savepoint", _on_release)
    event.listen(Engine, "rollback_savepoint", _on_rollback_to)
    event.listen(Engine, "commit", _on_commit)
    event.listen(Engine, "rollback", _on_rollback)
    event.listen(Engine, "commit_twophase", _on_commit)
    event.listen(Engine, "rollback_twophase", _on_rollback)


def _on_execute(
    connection: sa.Connection, statement: Any, _many: Any, _one: Any, _options: Any, result: Any
) -> None:
    log = WRITE_LOG.get()
    if log is None:
        return
    context = getattr(result, "context", None)
    if context is None or not (context.isinsert or context.isupdate or context.isdelete):
        return
    writes: list[Write | None]
    try:
        writes = list(_writes(connection, statement, result))
    except Exception:  # a statement of a kind not met yet is no reason to fail a request
        writes = [None]
    if None in writes:
        table = getattr(statement, "table", None)
        log.untold.add(getattr(table, "fullname", ALL_TABLES))
    else:
        log.wrote(connection, [each for each in writes if each is not None])


def _on_cursor_execute(
    _connection: sa.Connection, _cursor: Any, statement: str, _parameters: Any, context: Any, _is_many: bool
) -> None:
    log = WRITE_LOG.get()
    if log is None:
        return
    log.statements += 1
    is_told = context is not None and (context.isinsert or context.isupdate or context.isdelete)
    if not is_told and is_write(statement):
        found = _NAMED_TABLE.search(statement)
        log.untold.add(found[1].translate(_UNQUOTED) if found is not None else ALL_TABLES)


def _on_savepoint(connection: sa.Connection, name: str | None) -> None:
    log = WRITE_LOG.get()
    if log is not None:
        log.began_savepoint(connection, name)


def _on_release(connection: sa.Connection, name: str, _context: Any) -> None:
    log = WRITE_LOG.get()
    if log is not None:
        log.ended_savepoint(connection, name, is_kept=True)


def _on_rollback_to(connection: sa.Connection, name: str, _context: Any) -> None:
    log = WRITE_LOG.get()
    if log is not None:
        log.ended_savepoint(connection, name, is_kept=False)


def _on_commit(connection: sa.Connection, *_twophase: Any) -> None:
    log = WRITE_LOG.get()
    if log is not None:
        log.ended(connection, is_kept=True)


def _on_rollback(connection: sa.Connection, *_twophase: Any) -> None:
    log = WRITE_LOG.get()
    if log is not None:
        log.ended(connection, is_kept=False)


def _writes(connection: sa.Connection, statement: Any, result: Any) -> Iterator[Write | None]:
    """Yield the rows of one INSERT, UPDATE or DELETE; None where the statement does not tell which."""
    context = result.context
    table, dialect = statement.table, connection.dialect
    parameters: list[dict[str, Any]] = context.compiled_parameters
    if context.isinsert:
        if (
            statement.select is not None
            or statement._multi_values
            or statement._post_values_clause is not None
        ):
            yield None
            return
        keys = context.inserted_primary_key_rows
        unknown = _expressions(statement)
        for at, given in enumerate(parameters):
            dealt = keys[at] if at < len(keys) else None
            yield _insert(table, dialect, given, dealt, unknown)
        return
    if len(parameters) == 1 and result.rowcount == 0:
        return
    for given in parameters:
        key = _key_of(table, statement._where_criteria, given)
        if key is None:
            yield None
        elif context.isdelete:
            yield Write(table, dialect, "delete", key, ())
        else:
            values = tuple((each.name, _held(given[each.key])) for each in table.columns if each.key in given)
            yield Write(table, dialect, "update", key, values, _expressions(statement))


def _insert(
    table: sa.Table, dialect: sa.Dialect, given: dict[str, Any], dealt: Any, unknown: frozenset[str]
) -> Write:
    columns = list(table.primary_key.columns)
    key = [given.get(each.key, dealt[at] if dealt else None) for at, each in enumerate(columns)]
    defaulted = {
        each.name for each in table.columns if each.key not in given and each.server_default is not None
    }
    values = tuple(
        (each.name, _held(given[each.key]))
        for each in table.columns
        if not each.primary_key and given.get(each.key) is not None
    )
    named = () if None in key else tuple((each.name, value) for each, value in zip(columns, key, strict=True))
    return Write(table, dialect, "insert", named, values, unknown | defaulted)


def _expressions(statement: Any) -> frozenset[str]:
    """Return the columns that a statement sets to something that the database works out."""
    set_to = getattr(statement, "_values", None) or {}
    return frozenset(
        str(getattr(column, "name", column))
        for column, value in set_to.items()
        if hasattr(value, "self_group") and not hasattr(value, "effective_value")
    )


def _key_of(
    table: sa.Table, criteria: Iterable[Any], given: dict[str, Any]
) -> tuple[tuple[str, Any], ...] | None:
    """Return the primary key that a WHERE names by equality; None where it chooses rows otherwise."""
    named: dict[str, Any] = {}
    for each in _conjuncts(criteria):
        column, bound = getattr(each, "left", None), getattr(each, "right", None)
        is_equality = getattr(getattr(each, "operator", None), "__name__", "") == "eq"
        if is_equality and getattr(column, "table", None) is not None and hasattr(bound, "effective_value"):
            name = getattr(column, "name", "")
            named[name] = given.get(bound.key, bound.effective_value)  # type: ignore[union-attr] # hasattr says so
    keys = [each.name for each in table.primary_key.columns]
    if not keys or any(named.get(name) is None for name in keys):
        return None
    return tuple((name, named[name]) for name in keys)


def _conjuncts(criteria: Iterable[Any]) -> Iterator[Any]:
    for each in criteria:
        if getattr(getattr(each, "operator", None), "__name__", "") == "and_":
            yield from _conjuncts(each.clauses)
        else:
            yield each


def _held(value: Any) -> Any:
    """Return ``value`` as it is now: what an app may change in place is kept as text."""
    if isinstance(value, dict | list):
        return json.dumps(value, sort_keys=True, default=str)
    return value
