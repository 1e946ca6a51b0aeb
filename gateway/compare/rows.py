"""Tell which rows were written between two readings of a database, so that two sides can be held together.

What no two runs share is put into words: a moment within the run becomes ``(now, UTC)``, a salted password
hash its scheme and cost. Keys dealt by a database are aligned: where the candidate inserted the same row
under another key, that key, and every foreign key to it, counts as control's. Nothing here reads a database.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from gateway.compare.observation import RowWrite, Scalar

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

Key = tuple[Any, ...]
Row = tuple[Any, ...]

NOW_UTC = "(now, UTC)"
NOW_LOCAL = "(now, local time)"

_SALTED = (
    re.compile(r"(\$argon2\w+\$v=\d+\$[^$]+)\$[^$]+\$[^$]+"),
    re.compile(r"(\$2[abxy]\$\d\d)\$[./A-Za-z0-9]{53}"),
    re.compile(r"((?:scrypt|pbkdf2)(?::[\w-]+)*)\$[^$]+\$[0-9a-fA-F]+"),
    re.compile(r"(pbkdf2_\w+\$\d+)\$[^$]+\$[A-Za-z0-9+/=]+"),
    re.compile(r"(\$pbkdf2-\w+\$\d+)\$[^$]+\$[^$]+"),
)


@dataclass(frozen=True, slots=True)
class Table:
    """Be a table's outline. ``foreign`` maps columns to the table and column that they point to."""

    name: str
    columns: tuple[str, ...]
    key: tuple[str, ...]
    foreign: Mapping[str, tuple[str, str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Reading:
    """Be a database's rows at one moment, by table and primary key; ``skipped`` tables were too large."""

    tables: Mapping[str, Table] = field(default_factory=dict)
    rows: Mapping[str, Mapping[Key, Row]] = field(default_factory=dict)
    skipped: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Window:
    """Be the time in which a request ran, in UTC; ``local_offset`` is the machine's distance from UTC."""

    began: datetime
    ended: datetime
    local_offset: timedelta = timedelta(0)

    def name_of(self, moment: datetime) -> str | None:
        """Return what a moment within the window is called, or None for any other moment."""
        # A column may hold whole seconds, so that what was written now seems up to a second old.
        first, last = self.began - timedelta(seconds=1), self.ended + timedelta(seconds=1)
        if moment.tzinfo is not None:
            return NOW_UTC if first <= moment <= last else None
        if first <= moment.replace(tzinfo=UTC) <= last:
            return NOW_UTC
        if first <= moment.replace(tzinfo=UTC) - self.local_offset <= last:
            return NOW_LOCAL
        return None


def written(before: Reading, after: Reading, window: Window | None = None) -> tuple[RowWrite, ...]:
    """Return the rows that differ between two readings, tables in alphabetical order."""
    found: list[RowWrite] = []
    for name in sorted(after.tables):
        table = after.tables[name]
        old, new = before.rows.get(name, {}), after.rows.get(name, {})
        if old is new:
            continue
        for key, row in new.items():
            if key not in old:
                found.append(_write(table, "insert", key, row, None, window))
            elif old[key] != row:
                found.append(_write(table, "update", key, row, old[key], window))
        found.extend(_write(table, "delete", key, (), None, window) for key in old if key not in new)
    return tuple(found)


def _write(table: Table, action: Any, key: Key, row: Row, old: Row | None, window: Window | None) -> RowWrite:
    values = [
        (column, scalar(value, window))
        for index, (column, value) in enumerate(zip(table.columns, row, strict=False))
        if column not in table.key and (old is None or old[index] != value)
    ]
    pairs = tuple((column, scalar(value, None)) for column, value in zip(table.key, key, strict=False))
    return RowWrite(table.name, action, pairs, tuple(values))


def scalar(value: Any, window: Window | None) -> Scalar:
    """Return a column's value as a plain one that can be compared and shown."""
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value
    if isinstance(value, datetime):
        return (window.name_of(value) if window else None) or value.isoformat()
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, str):
        return _text(value, window)
    if isinstance(value, bytes | memoryview):
        data = bytes(value)
        return f"({len(data)} bytes, SHA-256 {sha256(data).hexdigest()[:16]})"
    return format(value, "f") if isinstance(value, Decimal) else str(value)


def _text(value: str, window: Window | None) -> str:
    if value.startswith(("$", "scrypt", "pbkdf2")):
        for pattern in _SALTED:
            found = pattern.fullmatch(value)
            if found is not None:
                return f"(salted hash {found[1]})"
    if window is not None and 19 <= len(value) <= 32 and value[4:5] == "-":
        try:
            return window.name_of(datetime.fromisoformat(value)) or value
        except ValueError:
            return value
    return value


class KeyMap:
    """Know which key the candidate dealt for which of control's; grows within a scenario."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], dict[Scalar, Scalar]] = {}

    def align(
        self, control: Iterable[RowWrite], candidate: Iterable[RowWrite], tables: Mapping[str, Table]
    ) -> tuple[RowWrite, ...]:
        """Return the candidate's rows with its keys put as control's, where both inserted the same row."""
        theirs = [self._translated(row, tables) for row in candidate]
        mine = [row for row in control if row.action == "insert"]
        for _ in range(3):  # a chain of new rows that point to each other is followed this far
            is_changed = False
            keys = {(row.table, row.key) for row in theirs if row.action == "insert"}
            lone = [row for row in mine if (row.table, row.key) not in keys]
            taken = {(row.table, row.key) for row in mine}
            for row in [
                each for each in theirs if each.action == "insert" and (each.table, each.key) not in taken
            ]:
                twin = next(
                    (each for each in lone if each.table == row.table and each.values == row.values), None
                )
                if twin is None:
                    continue
                lone.remove(twin)
                for (column, one), (_, other) in zip(twin.key, row.key, strict=False):
                    self._known.setdefault((row.table, column), {})[other] = one
                is_changed = True
            if not is_changed:
                break
            theirs = [self._translated(row, tables) for row in theirs]
        return tuple(theirs)

    def _translated(self, row: RowWrite, tables: Mapping[str, Table]) -> RowWrite:
        if not self._known:
            return row
        foreign = tables[row.table].foreign if row.table in tables else {}

        def put(column: str, value: Scalar) -> Scalar:
            own = self._known.get((row.table, column), {})
            there = self._known.get(foreign[column], {}) if column in foreign else {}
            return own.get(value, there.get(value, value))

        return replace(
            row,
            key=tuple((column, put(column, value)) for column, value in row.key),
            values=tuple((column, put(column, value)) for column, value in row.values),
        )
