"""Refuse SQL that writes while a shadow call runs in this process.

A GET may still write (last seen, a refreshed session). In a shadow call such a statement raises
instead of running, on every SQLAlchemy engine of the process and on either side, so that the call's
transaction rolls back and nothing has happened; the call is marked, and its row is not shadowed again
until it says ``safe: true``. What does not go through SQLAlchemy (another driver, another process, a
file, mail) cannot be seen from here; docs/operating.md says so.
"""

from __future__ import annotations

import re
from contextvars import ContextVar
from typing import Any

from gateway.errors import GatewayError

_WRITES = re.compile(
    r"\s*(?:/\*.*?\*/\s*|--[^\n]*\n\s*)*(?P<verb>[a-z]+)(?P<rest>.*)", re.IGNORECASE | re.DOTALL
)
_READING_VERBS = frozenset(
    {"SELECT", "SHOW", "EXPLAIN", "PRAGMA", "DESCRIBE", "DESC", "VALUES", "TABLE", "SET", "BEGIN"}
    | {"COMMIT", "ROLLBACK", "SAVEPOINT", "RELEASE", "START", "FETCH", "DECLARE", "CLOSE"}
)
_WRITING_WITHIN = re.compile(
    r"\b(?:INSERT\s+INTO|UPDATE\s+\S+\s+SET|DELETE\s+FROM|MERGE\s+INTO|NEXTVAL\s*\(|INTO\s+OUTFILE)",
    re.IGNORECASE,
)
_SETTING_PRAGMA = re.compile(r"\s*\w+(?:\.\w+)?\s*=", re.IGNORECASE)
_LOCKING = re.compile(
    r"\bFOR\s+(?:NO\s+KEY\s+)?(?:UPDATE|SHARE)\b|\bFOR\s+KEY\s+SHARE\b|^\s*LOCK\b|advisory_\w*lock",
    re.IGNORECASE,
)
_UNDONE_VERBS = frozenset(
    {"SELECT", "INSERT", "UPDATE", "DELETE", "MERGE", "REPLACE", "WITH", "VALUES", "TABLE", "SHOW", "EXPLAIN"}
    | {"SAVEPOINT", "RELEASE", "SET", "PRAGMA", "FETCH", "DECLARE", "CLOSE"}
)
# What PostgreSQL does at once, whatever becomes of the transaction.
_BEYOND = re.compile(
    r"\b(setval|dblink\w*|lo_export|pg_(?:terminate|cancel)_backend|pg_(?:reload_conf|rotate_logfile)"
    r"|pg_logical_emit_message|pg_(?:try_)?advisory_(?:un)?lock\w*)\s*\(",
    re.IGNORECASE,
)


class ShadowWriteRefused(GatewayError):
    """Tell a shadow call's code that its statement was not run."""


class ShadowMark:
    """Be what a shadow call leaves behind: the first statement that it was not allowed to run."""

    __slots__ = ("refused",)

    def __init__(self) -> None:
        self.refused = ""


SHADOW: ContextVar[ShadowMark | None] = ContextVar("gateway_shadow", default=None)
"""The mark of the shadow call that runs in this context; None in every ordinary request."""


def is_write(statement: str) -> bool:
    """Tell whether a SQL statement may change anything; what is not known to read counts as a write."""
    match = _WRITES.match(statement)
    if match is None:
        return bool(statement.strip())
    verb = match["verb"].upper()
    if verb == "PRAGMA":
        return _SETTING_PRAGMA.match(match["rest"]) is not None
    if verb == "WITH" or verb in ("SELECT", "EXPLAIN"):
        return _WRITING_WITHIN.search(_without_texts(match["rest"])) is not None
    return verb not in _READING_VERBS


def locks(statement: str) -> bool:
    """Tell whether a statement that reads would make others wait for the end of its transaction."""
    return _LOCKING.search(_without_texts(statement)) is not None


def why_not_undone(statement: str) -> str:
    """Return why rolling back would not undo a statement, or might not; empty: it would.

    What is allowed is listed; whatever else is asked for ends a transaction, acts outside of it, or takes
    locks that nobody expects of a request.
    """
    plain = _without_texts(statement)
    match = _WRITES.match(plain)
    if match is None:
        return "" if not plain.strip() else "it is no statement that the gateway knows"
    verb, rest = match["verb"].upper(), match["rest"]
    if ";" in rest.rstrip("; \t\r\n"):
        return "it is more than one statement"
    if verb == "ROLLBACK" and re.match(r"\s+TO\b", rest, re.IGNORECASE):
        return ""
    if verb not in _UNDONE_VERBS:
        return f"{verb} acts beyond the transaction, or ends it"
    beyond = _BEYOND.search(rest)
    return f"{beyond[1].lower()}() acts beyond the transaction" if beyond is not None else ""


def _without_texts(sql: str) -> str:
    return re.sub(r"'(?:[^']|'')*'", "''", sql)


def install() -> None:
    """Watch every SQLAlchemy engine of this process. Installing twice does nothing.

    SQLAlchemy is imported here, with the first shadow call: a gateway that compares nothing saves its memory.
    """
    from sqlalchemy import event
    from sqlalchemy.engine import Engine

    if not event.contains(Engine, "before_cursor_execute", _check):
        event.listen(Engine, "before_cursor_execute", _check)


def _check(
    _connection: Any, _cursor: Any, statement: str, _parameters: Any, _context: Any, _is_many: bool
) -> None:
    mark = SHADOW.get()
    if mark is not None and is_write(statement):
        mark.refused = mark.refused or " ".join(statement.split())[:200]
        raise ShadowWriteRefused(f"a shadow call may not write: {mark.refused}")
