"""Decide whether an equivalence or a rule of the row accepts a difference.

What each rule accepts stands in one table, :data:`_ACCEPTS`. A rule that names a place also holds below it;
but whether the place itself is there, and of which type, is asserted still, unless the rule says otherwise.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.compare.difference import Kind, Waiver
from gateway.compare.headers import members
from gateway.compare.instants import read_instant
from gateway.compare.json_text import ABSENT, is_same_shape, scalar_key, show, type_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from gateway.compare.found import Found
    from gateway.compare.rules import Marks, ReadyRule, RuleSet

_PRESENCE = frozenset({Kind.JSON_MISSING, Kind.JSON_ADDED, Kind.HEADER_MISSING, Kind.HEADER_ADDED})
_BODY = frozenset(
    {
        Kind.BODY_TYPE,
        Kind.ERROR_SHAPE,
        Kind.TEXT,
        Kind.BYTES,
        Kind.JSON_MISSING,
        Kind.JSON_ADDED,
        Kind.JSON_VALUE,
        Kind.JSON_TYPE,
        Kind.JSON_ORDER,
        Kind.JSON_LENGTH,
        Kind.JSON_DATE_FORMAT,
        Kind.JSON_NUMBER_FORM,
        Kind.JSON_ENCODING,
    }
)
_PLACE_KINDS: dict[str, frozenset[Kind]] = {
    "status": frozenset({Kind.STATUS, Kind.REDIRECT}),
    "body": _BODY,
    "exception": frozenset({Kind.EXCEPTION}),
    "effects.rows": frozenset({Kind.EFFECTS_ROWS}),
    "effects.queries": frozenset({Kind.EFFECTS_QUERIES}),
    "effects.outbound": frozenset({Kind.EFFECTS_OUTBOUND}),
    "latency": frozenset({Kind.LATENCY}),
}


def equivalence_waiver(found: Found, equivalences: frozenset[str]) -> Waiver | None:
    """Return the waiver of a known equivalence that is switched on, or None."""
    if found.equivalence and found.equivalence in equivalences:
        return Waiver("equivalence", found.equivalence)
    return None


def rules_about(found: Found, rules: RuleSet, marks: Marks) -> list[tuple[ReadyRule, bool]]:
    """Return the rules about this place or one above it, each with whether it is that very one."""
    about: list[tuple[ReadyRule, bool]] = []
    place = found.place
    if not isinstance(place, str):
        there = found.other if found.other is not None else place
        missing, added = found.candidate is ABSENT, found.control is ABSENT
        is_paired = found.kind is Kind.JSON_ENCODING or missing == added
        about.extend(
            marks.rules_at(place if is_paired or missing else None, there if is_paired or added else None)
        )
    elif place.startswith("header:"):
        about.extend((each, True) for each in rules.named("header", place[7:]))
    elif place.startswith("cookie:"):
        name, _, attribute = place[7:].partition(";")
        about.extend((each, not attribute) for each in rules.named("cookie", name))
        about.extend((each, False) for each in rules.named("header", "set-cookie"))
    elif place.startswith("rows:"):
        table, _, action = place[5:].partition(":")
        column = action.partition(".")[2]
        about.extend((each, False) for each in rules.named("rows", table))
        about.extend((each, True) for each in rules.named("rows", f"{table}.{column}") if column)
    for at, kinds in _PLACE_KINDS.items():
        is_exact = place == at or at != "body"
        if found.kind in kinds or (found.kind is Kind.REDIRECT and place == at):
            about.extend((each, is_exact) for each in rules.named("place", at))
    return about


def is_accepted(found: Found, ready: ReadyRule, *, is_exact: bool) -> bool:
    """Tell whether ``ready`` accepts the difference; ``map`` is judged elsewhere, with its mapping."""
    accepts = _ACCEPTS.get(ready.rule.rule)
    return accepts is not None and accepts(found, ready, is_exact)


def _ignore(found: Found, ready: ReadyRule, is_exact: bool) -> bool:
    if not is_exact:
        return True
    if found.kind in _PRESENCE or found.kind in (Kind.JSON_TYPE, Kind.BODY_TYPE):
        return False
    if found.kind is Kind.JSON_NUMBER_FORM:
        return type_name(found.control) == type_name(found.candidate)
    return True


def _ignore_presence(found: Found, ready: ReadyRule, is_exact: bool) -> bool:
    if not is_exact:
        return False
    if found.kind is Kind.BODY_TYPE:
        return found.control is ABSENT or found.candidate is ABSENT
    return found.kind in _PRESENCE


def _unordered(found: Found, ready: ReadyRule, is_exact: bool) -> bool:
    if not is_exact:
        return False
    if found.kind is Kind.HEADER_VALUE:
        return members("", (str(found.control),)) == members("", (str(found.candidate),))
    if found.kind is Kind.TEXT:
        return sorted(str(found.control).splitlines()) == sorted(str(found.candidate).splitlines())
    return found.kind is Kind.JSON_ORDER


def _tolerance(found: Found, ready: ReadyRule, is_exact: bool) -> bool:
    if found.kind not in (Kind.JSON_VALUE, Kind.JSON_NUMBER_FORM, Kind.HEADER_VALUE, Kind.EFFECTS_QUERIES):
        return False
    if not is_same_shape(found.control, found.candidate) and found.kind is not Kind.HEADER_VALUE:
        return False
    try:
        left, right = float(str(found.control)), float(str(found.candidate))
    except (ValueError, OverflowError):
        return False
    by = ready.rule.by or 0.0
    # The room for rounding makes 1.01 against 1.00 lie within 0.01, as people mean it.
    return abs(left - right) <= by + 1e-12 * max(abs(left), abs(right))


def _instant(found: Found, ready: ReadyRule, is_exact: bool) -> bool:
    left, right = read_instant(found.control), read_instant(found.candidate)
    return left is not None and right is not None and left.is_same_moment(right)


def _matches(found: Found, ready: ReadyRule, is_exact: bool) -> bool:
    if found.kind not in (
        Kind.JSON_VALUE,
        Kind.HEADER_VALUE,
        Kind.TEXT,
        Kind.JSON_DATE_FORMAT,
        Kind.JSON_NUMBER_FORM,
    ):
        return False
    if type_name(found.control) != type_name(found.candidate) or ready.regex is None:
        return False
    values = found.control, found.candidate
    texts = [each if isinstance(each, str) else show(each, 10_000) for each in values]
    return all(ready.regex.fullmatch(each) for each in texts)


_ACCEPTS: dict[str, Callable[[Found, ReadyRule, bool], bool]] = {
    "ignore": _ignore,
    "ignore_presence": _ignore_presence,
    "unordered": _unordered,
    "tolerance": _tolerance,
    "instant": _instant,
    "matches": _matches,
}


def map_key(found: Found) -> tuple[tuple[str, str], tuple[str, str]] | None:
    """Return the two values that a mapping would bind, or None for other than two scalars of one type."""
    if found.kind not in (Kind.JSON_VALUE, Kind.HEADER_VALUE) or isinstance(found.control, dict | list):
        return None
    if type_name(found.control) != type_name(found.candidate):
        return None
    return scalar_key(found.control), scalar_key(found.candidate)


def first_acceptance(found: Found, about: Iterable[tuple[ReadyRule, bool]]) -> ReadyRule | None:
    """Return the first rule that accepts the difference, or None."""
    return next((ready for ready, is_exact in about if is_accepted(found, ready, is_exact=is_exact)), None)
