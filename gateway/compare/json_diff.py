"""Compare two JSON values: what is missing, added, changed, of another type, moved.

The kinds do not depend on what is waived. Time is linear in the values, whatever differs: lists are
aligned by :mod:`gateway.compare.alignment`, or by identity keys. RecursionError is the caller's to catch.
"""

from __future__ import annotations

import marshal
import sys
from collections import Counter
from dataclasses import dataclass, field
from itertools import pairwise
from operator import eq
from typing import TYPE_CHECKING

from gateway.compare.alignment import align
from gateway.compare.difference import Kind
from gateway.compare.found import Found
from gateway.compare.instants import parse_instant
from gateway.compare.json_text import ABSENT, Location, type_name
from gateway.compare.likeness import BARE, is_same_number, leaf_token, packed, without_base
from gateway.compare.rules import Marks

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Sequence

LISTED_ELEMENTS = 20
"""Elements of one list that are told one by one; more that are missing or added become ``json.length``."""

_LEAF_TYPES = frozenset({str, int, float, bool, type(None)})
_TELLING = frozenset("0123456789-MTWFS")
"""First characters of texts that may spell a number or, beginning with its weekday, a date."""


@dataclass(slots=True)
class JsonDiff:
    """Walk two values side by side; ``found`` is the result.

    ``reordered`` is the first object whose keys stand in another order. Base URLs at the beginning of texts
    are taken as the same.
    """

    identity_keys: tuple[str, ...] = ()
    base_urls: tuple[str, str] = ("", "")
    marks: Marks = field(default_factory=Marks)
    found: list[Found] = field(default_factory=list)
    reordered: Location | None = None

    def values(self, control: object, candidate: object, here: Location, there: Location) -> None:
        """Compare two values that stand at ``here`` in control and ``there`` in the candidate."""
        kind = type(control)
        if kind is dict and type(candidate) is dict:
            self._objects(control, candidate, here, there)  # type: ignore[arg-type]  # mypy knows isinstance only
        elif kind is list and type(candidate) is list:
            self._lists(control, candidate, here, there)  # type: ignore[arg-type]  # as above
        elif self.marks.has_maps and kind in _LEAF_TYPES and self.marks.map_at(here):
            self._add(Kind.JSON_VALUE, here, control, candidate, there, cause="map")
        elif kind is not type(candidate) or control != candidate:
            self._leaves(control, candidate, here, there)

    def _add(
        self,
        kind: Kind,
        here: Location,
        control: object,
        candidate: object,
        there: Location,
        *,
        cause: str = "",
        detail: str = "",
        equivalence: str = "",
    ) -> None:
        self.found.append(Found(kind, here, control, candidate, cause, detail, equivalence, there))

    def _objects(
        self, control: dict[str, object], candidate: dict[str, object], here: Location, there: Location
    ) -> None:
        if list(control) == list(candidate):
            others: Iterable[object] = candidate.values()
        else:
            if control.keys() != candidate.keys():
                self._members(control, candidate, here, there)
            elif self.reordered is None:
                self.reordered = here
            others = [candidate.get(name, ABSENT) for name in control]
        has_maps = self.marks.has_maps
        for (name, left), right in zip(control.items(), others, strict=True):
            kind = type(left)
            if right is ABSENT or (
                kind is type(right) and kind in _LEAF_TYPES and left == right and not has_maps
            ):
                continue
            self.values(left, right, (*here, name), (*there, name))

    def _members(
        self, control: dict[str, object], candidate: dict[str, object], here: Location, there: Location
    ) -> None:
        missing = [name for name in control if name not in candidate]
        added = [name for name in candidate if name not in control]
        spelled = {_bare(name): name for name in added}
        for name in missing:
            left = control[name]
            self._add(
                Kind.JSON_MISSING,
                (*here, name),
                left,
                ABSENT,
                (*there, name),
                cause="renamed" if _bare(name) in spelled else "",
                detail=spelled.get(_bare(name), ""),
                equivalence="null_is_missing" if left is None else "",
            )
        for name in added:
            right = candidate[name]
            equivalence = "null_is_missing" if right is None else ""
            self._add(Kind.JSON_ADDED, (*here, name), ABSENT, right, (*there, name), equivalence=equivalence)
        if self.reordered is None and [name for name in control if name in candidate] != [
            name for name in candidate if name in control
        ]:
            self.reordered = here

    def _leaves(self, control: object, candidate: object, here: Location, there: Location) -> None:
        kind = type(control)
        if kind is type(candidate):
            is_plain = not isinstance(control, str) or control[:1] not in _TELLING
            if is_plain and (kind is not str or not all(self.base_urls)):
                self._add(Kind.JSON_VALUE, here, control, candidate, there)
                return
            if self._is_same_url(control, candidate):
                return
        left, right = parse_instant(control), parse_instant(candidate)
        if left is not None and right is not None and left.is_same_moment(right):
            cause = "zone" if left.has_zone != right.has_zone else right.style
            self._add(
                Kind.JSON_DATE_FORMAT, here, control, candidate, there, cause=cause, equivalence="date_format"
            )
        elif is_same_number(control, candidate):
            self._add(Kind.JSON_NUMBER_FORM, here, control, candidate, there, equivalence="number_form")
        elif type_name(control) == type_name(candidate):
            self._add(Kind.JSON_VALUE, here, control, candidate, there)
        else:
            self._add(Kind.JSON_TYPE, here, control, candidate, there)

    def _is_same_url(self, control: object, candidate: object) -> bool:
        if type(control) is not str or type(candidate) is not str or not all(self.base_urls):
            return False
        return without_base(control, self.base_urls[0]) == without_base(candidate, self.base_urls[1])

    def _lists(self, control: list[object], candidate: list[object], here: Location, there: Location) -> None:
        n, m = len(control), len(candidate)
        start, tail = _ends(control, candidate, eq)
        if n != m and not (
            self._is_alike(control[:start], candidate[:start])
            and self._is_alike(control[n - tail :], candidate[m - tail :])
        ):
            start, tail = _ends(control, candidate, _is_identical)
        pairs: list[tuple[int, int]] = []
        if not self._is_alike(control[:start], candidate[:start]):
            pairs.extend((index, index) for index in range(start))
        if start + tail < max(n, m):
            middle = self._middle(control, candidate, here, there, (start, n - tail, start, m - tail))
            pairs.extend(middle)
        if not self._is_alike(control[n - tail :], candidate[m - tail :]):
            pairs.extend((n - tail + index, m - tail + index) for index in range(tail))
        for left, right in pairs:
            self.values(control[left], candidate[right], (*here, left), (*there, right))

    def _is_alike(self, control: list[object], candidate: list[object]) -> bool:
        """Tell whether equal elements are also of equal types and key orders, so that none need be walked."""
        if not control:
            return True
        if self.marks.has_maps:
            return False
        try:
            return marshal.dumps(control, BARE) == marshal.dumps(candidate, BARE)
        except ValueError:  # a number beyond what marshal knows, or too deep
            return False

    def _middle(
        self,
        control: list[object],
        candidate: list[object],
        here: Location,
        there: Location,
        window: tuple[int, int, int, int],
    ) -> list[tuple[int, int]]:
        """Report what is missing, added or moved between the equal ends; return what belongs together."""
        start, stop, other, end = window
        left: Sequence[Hashable] | None = None
        right: Sequence[Hashable] | None = None
        if start < stop and other < end:
            left, right = self._identities(control, candidate, here, there, window)
        is_identified = left is not None and right is not None
        if left is None or right is None:
            exact = self._exact_tokens(control[start:stop], candidate[other:end])
            left, right = exact or (
                self._tokens(control, here, range(start, stop), is_control=True),
                self._tokens(candidate, there, range(other, end), is_control=False),
            )
        is_unordered = id(control) in self.marks.lists or id(candidate) in self.marks.lists
        is_moved = False
        if is_identified or is_unordered or Counter(left) == Counter(right):
            pairs = _by_token(left, right)
            is_moved = any(second > after for (_, second), (_, after) in pairwise(pairs))
        else:
            pairs = align(left, right)
        if not is_identified:
            moved: list[tuple[int, int]] = []
            if not is_unordered:
                lone_left, lone_right = _lone(pairs, len(left), len(right))
                tokens = [left[i] for i in lone_left], [right[j] for j in lone_right]
                moved = [(lone_left[i], lone_right[j]) for i, j in _by_token(*tokens)]
                is_moved = is_moved or bool(moved)
            backbone = [] if is_moved and not moved else pairs
            pairs = [*pairs, *moved]
            pairs.extend(_changed(() if is_unordered else backbone, *_lone(pairs, len(left), len(right))))
        lone_left, lone_right = _lone(pairs, len(left), len(right))
        if is_moved:
            self._add(Kind.JSON_ORDER, here, control, candidate, there)
        self._report_lone(
            control, candidate, here, there, [start + i for i in lone_left], [other + j for j in lone_right]
        )
        return [(start + i, other + j) for i, j in pairs]

    def _report_lone(
        self,
        control: list[object],
        candidate: list[object],
        here: Location,
        there: Location,
        missing: list[int],
        added: list[int],
    ) -> None:
        count = len(missing) + len(added)
        is_empty = not control or not candidate
        if len(control) != len(candidate) and (count > LISTED_ELEMENTS or (is_empty and count > 1)):
            self._add(Kind.JSON_LENGTH, here, control, candidate, there)
            return
        for index in missing:
            self._add(Kind.JSON_MISSING, (*here, index), control[index], ABSENT, there, cause="element")
        for index in added:
            place = (*there, index)
            self._add(Kind.JSON_ADDED, place, ABSENT, candidate[index], place, cause="element")

    def _identities(
        self,
        control: list[object],
        candidate: list[object],
        here: Location,
        there: Location,
        window: tuple[int, int, int, int],
    ) -> tuple[Sequence[Hashable] | None, Sequence[Hashable] | None]:
        start, stop, other, end = window
        for key in self.identity_keys:
            left = _keyed(control[start:stop], key)
            right = _keyed(candidate[other:end], key) if left is not None else None
            if left is None or right is None or set(left).isdisjoint(right):
                continue
            if self.marks.is_loose((*here, start, key), is_control=True) or self.marks.is_loose(
                (*there, other, key), is_control=False
            ):
                continue
            return left, right
        return None, None

    def _exact_tokens(
        self, control: list[object], candidate: list[object]
    ) -> tuple[Sequence[Hashable], Sequence[Hashable]] | None:
        """Return tokens that are quickly made, where most elements have an exact partner by them."""
        if self.marks.control or self.marks.candidate:
            return None
        try:
            left, right = ([packed(each) for each in side] for side in (control, candidate))
        except ValueError:
            return None
        is_enough = 10 * len(set(left) & set(right)) > 9 * min(len(set(left)), len(set(right)))
        return (left, right) if is_enough else None

    def _tokens(
        self, elements: list[object], location: Location, window: range, *, is_control: bool
    ) -> Sequence[Hashable]:
        if not (self.marks.control or self.marks.candidate):
            part = elements[window.start : window.stop]
            if set(map(type, part)) <= {int, float}:
                return part
        return [self._token(elements[i], (*location, i), is_control=is_control) for i in window]

    def _token(self, value: object, location: Location, *, is_control: bool) -> Hashable:
        """Return what two elements have in common that belong together though spelled differently."""
        marks = self.marks
        if (marks.control or marks.candidate) and marks.is_loose(location, is_control=is_control):
            return ("any", type_name(value))
        if isinstance(value, dict):
            return frozenset(
                (name, self._token(each, (*location, name), is_control=is_control))
                for name, each in value.items()
                if each is not None
            )
        if isinstance(value, list):
            return tuple(
                self._token(each, (*location, index), is_control=is_control)
                for index, each in enumerate(value)
            )
        return leaf_token(value)


def _ends(
    control: list[object], candidate: list[object], is_same: Callable[[object, object], bool]
) -> tuple[int, int]:
    """Return how many elements are the same at the beginning, and at the end of what is left."""
    n, m = len(control), len(candidate)
    start = tail = 0
    while start < n and start < m and is_same(control[start], candidate[start]):
        start += 1
    while tail < min(n, m) - start and is_same(control[n - 1 - tail], candidate[m - 1 - tail]):
        tail += 1
    return start, tail


def _is_identical(control: object, candidate: object) -> bool:
    """Tell equal values of equal types; Python's own equality takes 0, 0.0 and False for one."""
    if control != candidate:
        return False
    try:
        return packed(control) == packed(candidate)
    except ValueError:
        return True


def _bare(name: str) -> str:
    return name.replace("_", "").replace("-", "").lower()


def _keyed(elements: list[object], key: str) -> list[Hashable] | None:
    """Return the identity of every element, or None where one has none, or two have one."""
    try:
        found = [each[key] for each in elements]  # type: ignore[index]  # what lacks it raises
    except (TypeError, KeyError, IndexError):
        return None
    kinds = set(map(type, found))
    if kinds != {str} and kinds != {int}:
        return None
    return found if len(set(found)) == len(found) else None


def _by_token(left: Sequence[Hashable], right: Sequence[Hashable]) -> list[tuple[int, int]]:
    places: dict[Hashable, list[int]] = {}
    for index in range(len(right) - 1, -1, -1):
        places.setdefault(right[index], []).append(index)
    return [(index, waiting.pop()) for index, token in enumerate(left) if (waiting := places.get(token))]


def _lone(pairs: list[tuple[int, int]], n: int, m: int) -> tuple[list[int], list[int]]:
    left, right = {i for i, _ in pairs}, {j for _, j in pairs}
    return [i for i in range(n) if i not in left], [j for j in range(m) if j not in right]


def _changed(backbone: Sequence[tuple[int, int]], left: list[int], right: list[int]) -> list[tuple[int, int]]:
    """Pair what is left over: changed elements stand in the same gap of ``backbone``, in the same order."""
    found: list[tuple[int, int]] = []
    i = j = 0
    for end, other_end in [*backbone, (sys.maxsize, sys.maxsize)]:
        gap, other_gap = i, j
        while i < len(left) and left[i] < end:
            i += 1
        while j < len(right) and right[j] < other_end:
            j += 1
        found.extend(zip(left[gap:i], right[other_gap:j], strict=False))
    return found
