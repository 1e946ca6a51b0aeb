"""Hold what new did in a rehearsal against what legacy did then: answers, and the rows that were written.

A sequence is not rolled back, and other requests may come in between: the same row gets one key in the
rehearsal and another one after it. Where both sides inserted the same row, its two keys stand for each other,
in rows and in the answers, and the difference is shown as waived by the rule ``map``. New was asked a little
earlier than legacy: two moments of that time in one format are shown as waived by the rule ``ignore``.
"""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from gateway.compare.difference import Kind
from gateway.compare.engine import compare
from gateway.compare.instants import parse_instant
from gateway.compare.observation import Effects, Observation, RowWrite
from gateway.compare.rows import KeyMap, Table, Window, scalar
from gateway.compare.rules import compile_rules
from gateway.shadowing.written import ALL_TABLES
from gateway.table.spec import CompareRule

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from gateway.compare.difference import Comparison, Difference
    from gateway.compare.engine import Terms
    from gateway.compare.observation import Scalar
    from gateway.shadowing.rehearsing import Rehearsed
    from gateway.shadowing.written import Write, WriteLog

DEALT_KEY = "a key that the database dealt; what a rehearsal took from a sequence stays taken"
EARLIER = "the moment of the request, in which new was asked before legacy"

_LETTERS_AND_DIGITS = re.compile(r"[A-Za-z]+|\d")

_MAPPED_KINDS = frozenset({Kind.JSON_VALUE, Kind.HEADER_VALUE})


def compare_rehearsed(
    control: Observation, legacy: WriteLog, rehearsed: Rehearsed, terms: Terms, *, method: str
) -> tuple[Comparison, Observation, Observation]:
    """Return the comparison, and both observations with the rows that were written.

    ``legacy`` is what legacy wrote, as far as it is in this process and uses SQLAlchemy.
    """
    ended = datetime.now(UTC)
    window = Window(rehearsed.began, ended, ended.astimezone().utcoffset() or timedelta(0))
    rows, other_rows, pairs = compared_rows(legacy, rehearsed.written, window)
    control = replace(control, effects=Effects(rows=rows))
    # Not timed: new had a connection and a transaction of its own to open, which legacy had not.
    candidate = replace(
        rehearsed.observation, effects=Effects(rows=other_rows), first_byte_s=None, end_s=None
    )
    comparison = compare(control, candidate, terms, method=method)
    due = (*_mapped(comparison.failing, pairs), *_of_the_moment(comparison.failing, window))
    if due:
        own = tuple(each.rule for each in terms.rules.rules)
        terms = replace(terms, rules=compile_rules((*own, *due)))
        comparison = compare(control, candidate, terms, method=method)
    return comparison, control, candidate


def compared_rows(
    control: WriteLog, candidate: WriteLog, window: Window
) -> tuple[tuple[RowWrite, ...] | None, tuple[RowWrite, ...] | None, dict[str, str]]:
    """Return the rows of both sides as they can be compared, and the dealt keys: candidate's to control's.

    The rows are None where control made no statement that could be seen, or one of which nobody can tell
    where it wrote. The candidate's rows have control's keys where both inserted the same row.
    """
    untold = {each.rpartition(".")[2] for each in control.untold | candidate.untold}
    if not control.statements or ALL_TABLES in untold:
        return None, None, {}
    written = [
        [each for each in log.settled() if each.table.name not in untold] for log in (control, candidate)
    ]
    everything = [*written[0], *written[1]]
    unknown = {(each.table.name, column) for each in everything for column in each.unknown}
    mine, theirs = (_folded(_plain(each, unknown, window) for each in rows) for rows in written)
    aligned = KeyMap().align(mine, theirs, {each.table.name: _outline(each) for each in everything})
    return tuple(mine), aligned, _dealt(mine, theirs, aligned)


def _plain(write: Write, unknown: set[tuple[str, str]], window: Window) -> RowWrite:
    """Return a row with plain values; what only the database knows of it on either side is left out."""
    key = tuple((name, _value(write, name, value, None)) for name, value in write.key)
    values = tuple(
        (name, _value(write, name, value, window))
        for name, value in write.values
        if (write.table.name, name) not in unknown
    )
    return RowWrite(write.table.name, write.action, key, values)


def _value(write: Write, name: str, value: Any, window: Window | None) -> Scalar:
    """Return a value as it went to the database, which is where two apps' types meet."""
    column = next((each for each in write.table.columns if each.name == name), None)
    if column is not None and not isinstance(value, str):
        try:
            process = column.type.dialect_impl(write.dialect).bind_processor(write.dialect)
            value = process(value) if process is not None else value
        except Exception:  # a type of the app's own that does not like to be asked again
            return scalar(value, window)
    return scalar(value, window)


def _folded(rows: Iterable[RowWrite]) -> list[RowWrite]:
    """Return one row for each that was written: what an INSERT and later UPDATEs of it came to."""
    folded: dict[object, RowWrite] = {}
    for row in rows:
        place: object = (row.table, row.key) if row.key else object()
        before = folded.get(place)
        if before is None:
            folded[place] = row
        elif row.action != "delete":
            action = before.action if before.action != "delete" else row.action
            values = {**dict(before.values), **dict(row.values)}
            if action == "insert":
                values = {name: value for name, value in values.items() if value is not None}
            folded[place] = RowWrite(row.table, action, row.key, tuple(values.items()))
        elif before.action == "insert":
            del folded[place]
        else:
            folded[place] = row
    return list(folded.values())


def _outline(write: Write) -> Table:
    """Return what aligning keys needs to know of a table."""
    columns = list(write.table.columns)
    foreign = {}
    for column in columns:
        for each in column.foreign_keys:
            table, _, target = each.target_fullname.rpartition(".")
            foreign[column.name] = (table.rpartition(".")[2], target)
    keys = tuple(each.name for each in write.table.primary_key.columns)
    return Table(write.table.name, tuple(each.name for each in columns), keys, foreign)


def _dealt(
    control: Sequence[RowWrite], candidate: Sequence[RowWrite], aligned: Sequence[RowWrite]
) -> dict[str, str]:
    """Return the texts of the candidate's dealt keys with those of control's for the same rows.

    Rows that both inserted and that are not quite the same belong together in the order of writing.
    """
    pairs: dict[str, str] = {}
    found = [(there.key, here.key) for here, there in zip(aligned, candidate, strict=True)]
    taken = {(row.table, row.key) for row in aligned}
    left = [row for row in control if row.action == "insert" and (row.table, row.key) not in taken]
    known = {(row.table, row.key) for row in control}
    for row in aligned:
        if row.action == "insert" and (row.table, row.key) not in known:
            partner = next((each for each in left if each.table == row.table), None)
            if partner is not None:
                left.remove(partner)
                found.append((row.key, partner.key))
    for theirs, mine in found:
        for (_, there), (_, here) in zip(theirs, mine, strict=False):
            if there != here:
                pairs[str(there)] = str(here)
    return pairs


def _mapped(failing: Iterable[Difference], pairs: dict[str, str]) -> tuple[CompareRule, ...]:
    """Return a rule for each place where the answers differ in nothing but a dealt key."""
    if not pairs:
        return ()
    words = "|".join(re.escape(each) for each in sorted(pairs, key=len, reverse=True))
    key = re.compile(rf"(?<![0-9A-Za-z])(?:{words})(?![0-9A-Za-z])")
    places = [
        each.place
        for each in failing
        if each.kind in _MAPPED_KINDS
        and each.control is not None
        and each.candidate is not None
        and key.sub(lambda found: pairs[found[0]], each.candidate) == each.control
    ]
    return tuple(CompareRule(place, "map", DEALT_KEY) for place in dict.fromkeys(places))


def _of_the_moment(failing: Iterable[Difference], window: Window) -> tuple[CompareRule, ...]:
    """Return a rule for each place where both answers say when they were made, in one format."""
    places = [
        each.place
        for each in failing
        if each.kind in _MAPPED_KINDS
        and each.control is not None
        and each.candidate is not None
        and _LETTERS_AND_DIGITS.sub("0", each.control) == _LETTERS_AND_DIGITS.sub("0", each.candidate)
        and _is_within(each.control, window)
        and _is_within(each.candidate, window)
    ]
    return tuple(CompareRule(place, "ignore", EARLIER) for place in dict.fromkeys(places))


def _is_within(shown: str, window: Window) -> bool:
    instant = parse_instant(shown.strip('"'))
    if instant is None:
        return False
    moment = datetime.fromtimestamp(instant.seconds, UTC)
    return window.name_of(moment if instant.has_zone else moment.replace(tzinfo=None)) is not None
