"""Compare what two answers did besides answering: rows, statements, calls to others, exceptions, time.

Rows that were inserted under generated keys belong together when everything else about them is the same.
Outbound calls are a multiset: making them at once instead of one after another is no difference.

How many statements a request takes is the implementation's own affair, as long as it does not grow with the
data. Two things are told: statements *sent again* (the same text with other values), where the candidate has
at least :data:`AGAIN_MORE` more of them than control; else a number of statements that is more than twice
control's and at least :data:`OTHERS_MORE` more. Fewer is never told.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from gateway.compare.difference import Kind
from gateway.compare.found import Found
from gateway.compare.instants import parse_instant
from gateway.compare.json_text import ABSENT, parse_json

if TYPE_CHECKING:
    from collections.abc import Hashable

    from gateway.compare.observation import Effects, Observation, OutboundCall, RowWrite

SLOWER_FACTOR = 1.2
"""How much slower the candidate may be before it is told (advisory only)."""

SLOWER_ROOM_S = 0.01
AGAIN_MORE = 2
"""How many more statements the candidate must send again: one more may be a user that is loaded twice."""

OTHERS_MORE = 5
"""How many more statements of different texts it must send: loading relations apart costs one for each."""

LISTED_ROWS = 20
PARTNERS = 200
"""Rows without a partner among which one is looked for; they come in the order of writing."""


def effect_differences(control: Observation, candidate: Observation) -> list[Found]:
    """Return differences in exceptions, effects and time; what one side did not observe is not compared."""
    found = _exceptions(control, candidate)
    left, right = control.effects, candidate.effects
    if left.rows is not None and right.rows is not None and left.rows != right.rows:
        found.extend(_rows(left.rows, right.rows))
    found.extend(_queries(left, right))
    if left.outbound is not None and right.outbound is not None and left.outbound != right.outbound:
        found.extend(_outbound(left.outbound, right.outbound))
    if control.end_s is not None and candidate.end_s is not None:
        bound_s = max(control.end_s * SLOWER_FACTOR, control.end_s + SLOWER_ROOM_S)
        if candidate.end_s > bound_s:
            times = f"{control.end_s * 1000:.1f} ms", f"{candidate.end_s * 1000:.1f} ms"
            found.append(Found(Kind.LATENCY, "latency", *times))
    return found


def _exceptions(control: Observation, candidate: Observation) -> list[Found]:
    left, right = control.raised, candidate.raised
    if control.status >= 500 and candidate.status >= 500 and None in (left, right):
        # Both told their client of a failure: Starlette raises it again behind its answer, Flask keeps it.
        return []
    if (left.type if left else None) == (right.type if right else None):
        return []
    texts = [f"{each.type}: {each.message}" if each else ABSENT for each in (left, right)]
    detail = _last_place(right.traceback) if right else ""
    return [
        Found(Kind.EXCEPTION, "exception", texts[0], texts[1], "candidate" if right else "control", detail)
    ]


def _last_place(traceback: str) -> str:
    """Return the last ``File …, line …`` of a traceback, which is where it was raised."""
    lines = [line.strip() for line in traceback.splitlines() if line.lstrip().startswith('File "')]
    return lines[-1] if lines else ""


def _queries(control: Effects, candidate: Effects) -> list[Found]:
    left, right = control.queries, candidate.queries
    if left is None or right is None:
        return []
    cause, detail = "", ""
    if right.again >= left.again + AGAIN_MORE:
        cause = "again"
        place = f" ({right.place})" if right.place else ""
        detail = f"{right.times} times{place}: {right.text}"
    elif right.count <= 2 * left.count or right.count < left.count + OTHERS_MORE:
        return []
    return [Found(Kind.EFFECTS_QUERIES, "effects.queries", left.count, right.count, cause, detail)]


def _rows(control: tuple[RowWrite, ...], candidate: tuple[RowWrite, ...]) -> list[Found]:
    """Pair rows by key, generated keys by what else was inserted, and report the rest."""
    theirs: dict[Hashable, list[RowWrite]] = {}
    for row in candidate:
        theirs.setdefault((row.table, row.action, row.key), []).append(row)
    found: list[Found] = []
    lone: list[RowWrite] = []
    for row in control:
        same = theirs.get((row.table, row.action, row.key))
        exact = next((each for each in same or () if _is_same_row(row, each)), None)
        if same and (exact is not None or row.action != "insert"):
            other = exact or same[0]
            same.remove(other)
            found.extend(_columns(row, other))
        else:
            lone.append(row)
    left_over = [row for rows in theirs.values() for row in rows]
    for row in lone:
        near = left_over[:PARTNERS]
        partner = next((each for each in near if _is_same_insert(row, each)), None)
        partner = partner or next((each for each in near if _is_about(row, each)), None)
        if partner is None:
            found.append(Found(Kind.EFFECTS_ROWS, _place(row), _row_text(row), ABSENT, "missing"))
        else:
            left_over.remove(partner)
            found.extend(_columns(row, partner))
    found.extend(Found(Kind.EFFECTS_ROWS, _place(row), ABSENT, _row_text(row), "added") for row in left_over)
    return found[:LISTED_ROWS]


def _is_same_row(control: RowWrite, candidate: RowWrite) -> bool:
    return dict(control.values) == dict(candidate.values)


def _is_same_insert(control: RowWrite, candidate: RowWrite) -> bool:
    return _is_about(control, candidate) and _is_same_row(control, candidate)


def _is_about(control: RowWrite, candidate: RowWrite) -> bool:
    return control.table == candidate.table and control.action == candidate.action == "insert"


def _columns(control: RowWrite, candidate: RowWrite) -> list[Found]:
    left, right = dict(control.values), dict(candidate.values)
    found: list[Found] = []
    for name in sorted(left.keys() | right.keys()):
        one, other = left.get(name, ABSENT), right.get(name, ABSENT)
        if (
            one is not other
            and (type(one) is not type(other) or one != other)
            and not _is_same_moment(one, other)
        ):
            place = f"{_place(control)}.{name}"
            found.append(Found(Kind.EFFECTS_ROWS, place, one, other, "column", name))
    return found


def _is_same_moment(control: object, candidate: object) -> bool:
    left, right = parse_instant(control), parse_instant(candidate)
    return left is not None and right is not None and left.is_same_moment(right)


def _place(row: RowWrite) -> str:
    return f"rows:{row.table}:{row.action}"


def _row_text(row: RowWrite) -> dict[str, object]:
    return dict((*row.key, *row.values))


_Call = tuple[str, str, "str | None"]


def _outbound(control: tuple[OutboundCall, ...], candidate: tuple[OutboundCall, ...]) -> list[Found]:
    """Pair calls by method, URL and body, then those that differ in their body; count what is left over."""
    left = Counter(map(_call_key, control))
    right = Counter(map(_call_key, candidate))
    missing, added = list((left - right).elements()), list((right - left).elements())
    found: list[Found] = []
    lone: list[_Call] = []
    for call in missing:
        other = next((each for each in added if each[:2] == call[:2]), None)
        if other is None:
            lone.append(call)
            continue
        added.remove(other)
        if call[2] is not None and other[2] is not None:
            found.append(Found(Kind.EFFECTS_OUTBOUND, _call_place(call), call[2], other[2], "body"))
    totals = [Counter(call[:2] for call in side.elements()) for side in (left, right)]
    for target in dict.fromkeys(call[:2] for call in (*lone, *added)):
        times = totals[0][target], totals[1][target]
        words = " ".join(target)
        shown = [f"{words}, {count} times" if count > 1 else words if count else ABSENT for count in times]
        if 0 not in times:
            cause = "more" if times[1] > times[0] else "fewer"
        else:
            cause = "added" if times[1] else "missing"
        detail = f"{times[1]} instead of {times[0]}"
        place = _call_place(target)
        found.append(Found(Kind.EFFECTS_OUTBOUND, place, shown[0], shown[1], cause, detail))
    return found[:LISTED_ROWS]


def _call_key(call: OutboundCall) -> _Call:
    return call.method, call.url, None if call.body is None else _body_key(call.body)


def _call_place(call: _Call | tuple[str, str]) -> str:
    return f"outbound:{call[0]} {call[1].partition('?')[0]}"


def _body_key(body: bytes) -> str:
    value = parse_json(body)
    try:
        if value is not ABSENT:
            return _canonical(value)
    except RecursionError:
        pass  # compared by its bytes, as what is no JSON
    return body.decode("utf-8", "backslashreplace")


def _canonical(value: object) -> str:
    if isinstance(value, dict):
        return "{" + ",".join(f"{name!r}:{_canonical(value[name])}" for name in sorted(value)) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_canonical, value)) + "]"
    return repr(value)
