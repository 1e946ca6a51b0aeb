"""Give the elements of two lists tokens, so that those that belong together have equal ones.

The cheapest kind that serves is taken: a member whose values tell all elements of a list apart and which both
lists share; the whole element where most have an exact partner; else what the element means (a moment in any
format, a number in any form). Each element is looked at once, and from then on is a number.
"""

from __future__ import annotations

import marshal
from typing import TYPE_CHECKING, Literal

from gateway.compare.instants import parse_instant
from gateway.compare.json_text import type_name
from gateway.compare.likeness import DECIMAL

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Sequence

TokenSort = Literal["identity", "exact", "member", "loose"]

BARE = 2
"""The marshal format without references: equal bytes for equal values of equal types in equal order."""

TELLING = frozenset("0123456789-MTWFS")
"""First characters of texts that may spell a number or, beginning with its weekday, a date."""

MEMBERS_TRIED = 20


def tokens(left: list[object], right: list[object]) -> tuple[list[int], list[int], TokenSort]:
    """Return a number for each element of either list, and what kind of token it stands for."""
    members = _telling_member(left, right)
    if members is not None:
        return (*numbered(*members), "member")
    exact: tuple[Sequence[Hashable], Sequence[Hashable]] | None
    try:
        if {*map(type, left), *map(type, right)} in ({str}, {int}):
            exact = left, right
        else:
            exact = _all_packed(left), _all_packed(right)
    except ValueError:  # a number beyond what marshal knows, or too deep
        exact = None
    if exact is not None:
        one, other = set(exact[0]), set(exact[1])
        if 10 * len(one & other) > 9 * min(len(one), len(other)):
            return (*numbered(*exact), "exact")
    return (*numbered([_meaning(each) for each in left], [_meaning(each) for each in right]), "loose")


def numbered(left: Iterable[Hashable], right: Iterable[Hashable]) -> tuple[list[int], list[int]]:
    """Return a number for each token, the same for equal ones."""
    numbers: dict[Hashable, int] = {}
    return (
        [numbers.setdefault(each, len(numbers)) for each in left],
        [numbers.setdefault(each, len(numbers)) for each in right],
    )


def packed(element: object) -> bytes:
    """Return bytes that equal values of equal types have in common; the order of members does not matter.

    Raises ValueError for what marshal cannot write.
    """
    if type(element) is dict:
        names = sorted(element)
        return marshal.dumps((names, [element[name] for name in names]), BARE)
    return marshal.dumps(element, BARE)  # type: ignore[arg-type]  # what it cannot write raises


def _all_packed(elements: list[object]) -> list[bytes]:
    dumps = marshal.dumps
    order: list[str] = []
    names: list[str] = []
    found: list[bytes] = []
    for each in elements:
        if type(each) is dict:
            # Elements of one list mostly have the same members: their names need no second sorting.
            if list(each) != order:
                order = list(each)
                names = sorted(order)
            found.append(dumps((names, [each[name] for name in names]), BARE))
        else:
            found.append(dumps(each, BARE))  # type: ignore[arg-type]  # as above
    return found


def _telling_member(
    left: list[object], right: list[object]
) -> tuple[Sequence[Hashable], Sequence[Hashable]] | None:
    """Return the values of the member that tells elements apart and that most have in common, if any does.

    Of members that serve about as well, a text is more likely a name than a number, which may be a position.
    """
    if not left or not right or {*map(type, left), *map(type, right)} != {dict}:
        return None
    best: tuple[Sequence[Hashable], Sequence[Hashable]] | None = None
    most = 0.0
    for name in list(left[0])[:MEMBERS_TRIED]:  # type: ignore[call-overload]  # they are dicts
        mine = keyed(left, name)
        theirs = keyed(right, name) if mine is not None else None
        if mine is None or theirs is None:
            continue
        shared = len(set(mine).intersection(theirs))
        worth = 1.1 * shared if isinstance(mine[0], str) else shared
        if 2 * shared > min(len(left), len(right)) and worth > most:
            best, most = (mine, theirs), worth
    return best


def keyed(elements: list[object], name: str) -> list[Hashable] | None:
    """Return the member ``name`` of every element, or None where one has none, or two have one value."""
    try:
        found = [each[name] for each in elements]  # type: ignore[index]  # what lacks it raises
    except (TypeError, KeyError, IndexError):
        return None
    kinds = set(map(type, found))
    if kinds != {str} and kinds != {int}:
        return None
    return found if len(set(found)) == len(found) else None


def _meaning(value: object) -> Hashable:
    kind = type(value)
    if kind is dict:
        return frozenset([(name, _meaning(each)) for name, each in value.items() if each is not None])  # type: ignore[attr-defined]  # it is a dict
    if kind is list:
        return tuple([_meaning(each) for each in value])  # type: ignore[attr-defined]  # it is a list
    return leaf_token(value)


def leaf_token(value: object) -> Hashable:
    """Return what two spellings of one leaf have in common."""
    kind = type(value)
    if kind is str:
        assert isinstance(value, str)  # noqa: S101 - for the type checker
        if value[:1] not in TELLING:
            return value
        instant = parse_instant(value)
        if instant is not None:
            return ("instant", instant.seconds)
        if len(value) < 40 and DECIMAL.match(value):
            return float(value)
        return value
    if kind is int or kind is float:
        return value
    return (type_name(value), str(value))
