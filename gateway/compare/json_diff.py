"""Compare two JSON values: what is missing, added, changed, of another type, moved.

The kinds do not depend on what is waived. Time is linear in the values, whatever differs: the elements of
lists are paired by :mod:`gateway.compare.elements`. RecursionError is the caller's to catch.

Where a value stands is kept as a chain of steps, and made into a location only for what differs. Where no
rule has to see each difference by itself, those of one kind and folded place are counted beyond the first.
"""

from __future__ import annotations

import marshal
from collections import Counter
from dataclasses import dataclass, field
from operator import eq
from typing import TYPE_CHECKING, Any

from gateway.compare.difference import Kind
from gateway.compare.elements import pair_up
from gateway.compare.found import Found
from gateway.compare.instants import parse_instant
from gateway.compare.json_text import ABSENT, Location, type_name
from gateway.compare.likeness import is_same_number, without_base
from gateway.compare.rules import Marks
from gateway.compare.tokens import BARE, TELLING, keyed, leaf_token, numbered, packed, tokens

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Sequence

    from gateway.compare.tokens import TokenSort

KEPT_PER_PLACE = 20
"""Differences of one kind and folded place that are kept one by one; the rest is counted."""

LISTED_ELEMENTS = 20
"""Elements of one list that are told one by one; more that are missing or added become ``json.length``."""

STILL_IN_PLACE = 4
"""Of so many elements no more than one may differ for the others to be taken as standing where they stood."""

_LEAF_TYPES = frozenset({str, int, float, bool, type(None)})

Spot = tuple[Any, "str | int", "str | int"] | None
"""Where a value stands: the spot above it, and the step from there in control and in the candidate."""

Window = tuple["Sequence[int]", "Sequence[int]"]


class Fold:
    """Be a place with its indices folded; counts what differs there, by kind and equivalence."""

    __slots__ = ("_below", "counts")

    def __init__(self) -> None:
        self._below: dict[str, Fold] = {}
        self.counts: dict[tuple[Kind, str], int] = {}

    def step(self, name: str) -> Fold:
        """Return the place below this one; ``*`` for every element of a list."""
        found = self._below.get(name)
        if found is None:
            found = self._below[name] = Fold()
        return found


@dataclass(slots=True)
class JsonDiff:
    """Walk two values side by side; ``found`` is the result, with ``more`` of the same kinds and places.

    ``reordered`` is the first object whose keys stand in another order. Base URLs at the beginning of texts
    are taken as the same. ``is_counting``: no rule has to see each difference by itself.
    """

    identity_keys: tuple[str, ...] = ()
    base_urls: tuple[str, str] = ("", "")
    marks: Marks = field(default_factory=Marks)
    is_counting: bool = False
    found: list[Found] = field(default_factory=list)
    more: Counter[tuple[Kind, str]] = field(default_factory=Counter)
    reordered: Location | None = None

    def compare(self, control: object, candidate: object) -> None:
        """Compare two documents."""
        self._values(control, candidate, None, Fold())

    def _values(self, control: object, candidate: object, spot: Spot, fold: Fold) -> None:
        kind = type(control)
        if kind is dict and type(candidate) is dict:
            self._objects(control, candidate, spot, fold)  # type: ignore[arg-type]  # mypy knows isinstance only
        elif kind is list and type(candidate) is list:
            self._lists(control, candidate, spot, fold)  # type: ignore[arg-type]  # as above
        elif self.marks.has_maps and kind in _LEAF_TYPES and self.marks.map_at(_locations(spot)[0]):
            self._add(Kind.JSON_VALUE, control, candidate, spot, fold, cause="map")
        elif kind is not type(candidate) or control != candidate:
            self._leaves(control, candidate, spot, fold)

    def _add(
        self,
        kind: Kind,
        control: object,
        candidate: object,
        spot: Spot,
        fold: Fold,
        *,
        cause: str = "",
        detail: str = "",
        equivalence: str = "",
    ) -> None:
        if self.is_counting:
            sort = kind, equivalence
            count = fold.counts[sort] = fold.counts.get(sort, 0) + 1
            if count > KEPT_PER_PLACE:
                self.more[sort] += 1
                return
        here, there = _locations(spot)
        if cause == "element":
            here, there = (there, there) if control is ABSENT else (here, there[:-1])
        self.found.append(Found(kind, here, control, candidate, cause, detail, equivalence, there))

    def _objects(
        self, control: dict[str, object], candidate: dict[str, object], spot: Spot, fold: Fold
    ) -> None:
        if list(control) == list(candidate):
            others: Iterable[object] = candidate.values()
        else:
            if control.keys() != candidate.keys():
                self._members(control, candidate, spot, fold)
            elif self.reordered is None:
                self.reordered = _locations(spot)[0]
            others = [candidate.get(name, ABSENT) for name in control]
        has_maps = self.marks.has_maps
        for (name, left), right in zip(control.items(), others, strict=True):
            kind = type(left)
            if right is ABSENT or (
                kind is type(right) and kind in _LEAF_TYPES and left == right and not has_maps
            ):
                continue
            self._values(left, right, (spot, name, name), fold.step(name))

    def _members(
        self, control: dict[str, object], candidate: dict[str, object], spot: Spot, fold: Fold
    ) -> None:
        missing = [name for name in control if name not in candidate]
        added = [name for name in candidate if name not in control]
        spelled = {_bare(name): name for name in added} if missing else {}
        for name in missing:
            left = control[name]
            self._add(
                Kind.JSON_MISSING,
                left,
                ABSENT,
                (spot, name, name),
                fold.step(name),
                cause="renamed" if _bare(name) in spelled else "",
                detail=spelled.get(_bare(name), ""),
                equivalence="null_is_missing" if left is None else "",
            )
        for name in added:
            right = candidate[name]
            equivalence = "null_is_missing" if right is None else ""
            place = spot, name, name
            self._add(Kind.JSON_ADDED, ABSENT, right, place, fold.step(name), equivalence=equivalence)
        if self.reordered is None and [name for name in control if name in candidate] != [
            name for name in candidate if name in control
        ]:
            self.reordered = _locations(spot)[0]

    def _leaves(self, control: object, candidate: object, spot: Spot, fold: Fold) -> None:
        kind = type(control)
        if kind is type(candidate):
            is_plain = not isinstance(control, str) or control[:1] not in TELLING
            if is_plain and (kind is not str or not all(self.base_urls)):
                self._add(Kind.JSON_VALUE, control, candidate, spot, fold)
                return
            if self._is_same_url(control, candidate):
                return
        left, right = parse_instant(control), parse_instant(candidate)
        if left is not None and right is not None and left.is_same_moment(right):
            cause = "zone" if left.has_zone != right.has_zone else right.style
            self._add(
                Kind.JSON_DATE_FORMAT, control, candidate, spot, fold, cause=cause, equivalence="date_format"
            )
        elif is_same_number(control, candidate):
            self._add(Kind.JSON_NUMBER_FORM, control, candidate, spot, fold, equivalence="number_form")
        elif type_name(control) == type_name(candidate):
            self._add(Kind.JSON_VALUE, control, candidate, spot, fold)
        else:
            self._add(Kind.JSON_TYPE, control, candidate, spot, fold)

    def _is_same_url(self, control: object, candidate: object) -> bool:
        if type(control) is not str or type(candidate) is not str or not all(self.base_urls):
            return False
        return without_base(control, self.base_urls[0]) == without_base(candidate, self.base_urls[1])

    def _lists(self, control: list[object], candidate: list[object], spot: Spot, fold: Fold) -> None:
        n, m = len(control), len(candidate)
        fold = fold.step("*")
        if n == m:
            same = list(map(eq, control, candidate))
            differing = [index for index, is_same in enumerate(same) if not is_same]
            if len(differing) <= max(1, n // STILL_IN_PLACE):
                if len(differing) < n:
                    equal = [index for index, is_same in enumerate(same) if is_same]
                    self._equals(control, candidate, spot, fold, (equal, equal))
                if differing:
                    self._others(control, candidate, spot, fold, (differing, differing))
                return
        start, tail = _ends(control, candidate, eq)
        if n != m and not (
            self._is_alike(control[:start], candidate[:start])
            and self._is_alike(control[n - tail :], candidate[m - tail :])
        ):
            start, tail = _ends(control, candidate, _is_identical)
        if start:
            self._equals(control, candidate, spot, fold, (range(start), range(start)))
        if start + tail < max(n, m):
            self._others(control, candidate, spot, fold, (range(start, n - tail), range(start, m - tail)))
        if tail:
            self._equals(control, candidate, spot, fold, (range(n - tail, n), range(m - tail, m)))

    def _equals(
        self, control: list[object], candidate: list[object], spot: Spot, fold: Fold, window: Window
    ) -> None:
        """Walk elements that Python takes for equal, unless they are so in every respect."""
        mine, theirs = [control[i] for i in window[0]], [candidate[j] for j in window[1]]
        if not self._is_alike(mine, theirs):
            for i, j, left, right in zip(*window, mine, theirs, strict=True):
                self._values(left, right, (spot, i, j), fold)

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

    def _others(
        self, control: list[object], candidate: list[object], spot: Spot, fold: Fold, window: Window
    ) -> None:
        """Report what is missing, added or moved among the elements at these indices, and walk the others."""
        mine, theirs = window
        if len(mine) == len(theirs) == 1:
            self._values(control[mine[0]], candidate[theirs[0]], (spot, mine[0], theirs[0]), fold)
            return
        left, right, sort = self._tokens(control, candidate, spot, window)
        is_unordered = id(control) in self.marks.lists or id(candidate) in self.marks.lists
        found = pair_up(left, right, is_identity=sort == "identity", is_unordered=is_unordered)
        if found.is_moved:
            self._add(Kind.JSON_ORDER, control, candidate, spot, fold)
        missing, added = [mine[i] for i in found.missing], [theirs[j] for j in found.added]
        self._report_lone(control, candidate, spot, fold, missing, added)
        alike = [(mine[i], theirs[j]) for i, j in found.alike]
        walked = [(mine[i], theirs[j]) for i, j in found.changed]
        if sort != "exact":
            same = [control[i] == candidate[j] for i, j in alike]
            equal = [pair for pair, is_same in zip(alike, same, strict=True) if is_same]
            self._equals(control, candidate, spot, fold, ([i for i, _ in equal], [j for _, j in equal]))
            walked[:0] = [pair for pair, is_same in zip(alike, same, strict=True) if not is_same]
        elif self.reordered is None and dict in set(map(type, control)):
            self._note_order(alike, control, candidate, spot)
        for one, other in walked:
            self._values(control[one], candidate[other], (spot, one, other), fold)

    def _note_order(
        self, pairs: Iterable[tuple[int, int]], control: list[object], candidate: list[object], spot: Spot
    ) -> None:
        """Note the first of elements with one packing whose members stand in another order."""
        for one, other in pairs:
            left, right = control[one], candidate[other]
            if isinstance(left, dict) and isinstance(right, dict) and list(left) != list(right):
                self.reordered = _locations((spot, one, other))[0]
                return

    def _report_lone(
        self,
        control: list[object],
        candidate: list[object],
        spot: Spot,
        fold: Fold,
        missing: list[int],
        added: list[int],
    ) -> None:
        count = len(missing) + len(added)
        is_empty = not control or not candidate
        if len(control) != len(candidate) and (count > LISTED_ELEMENTS or (is_empty and count > 1)):
            self._add(Kind.JSON_LENGTH, control, candidate, spot, fold)
            return
        for index in missing:
            place = spot, index, index
            self._add(Kind.JSON_MISSING, control[index], ABSENT, place, fold, cause="element")
        for index in added:
            place = spot, index, index
            self._add(Kind.JSON_ADDED, ABSENT, candidate[index], place, fold, cause="element")

    def _tokens(
        self, control: list[object], candidate: list[object], spot: Spot, window: Window
    ) -> tuple[Sequence[int], Sequence[int], TokenSort]:
        """Return a number for each element, equal where two belong together, and what that was seen by."""
        left, right = [control[i] for i in window[0]], [candidate[j] for j in window[1]]
        is_marked = bool(self.marks.control or self.marks.candidate)
        here, there = _locations(spot) if is_marked else ((), ())
        for key in self.identity_keys if left and right else ():
            mine, theirs = keyed(left, key), keyed(right, key)
            if mine is None or theirs is None or set(mine).isdisjoint(theirs):
                continue
            if is_marked and (
                self.marks.is_loose((*here, window[0][0], key), is_control=True)
                or self.marks.is_loose((*there, window[1][0], key), is_control=False)
            ):
                continue
            return (*numbered(mine, theirs), "identity")
        if not is_marked:
            return tokens(left, right)
        marked = (
            [self._token(each, (*here, i), is_control=True) for i, each in zip(window[0], left, strict=True)],
            [
                self._token(each, (*there, j), is_control=False)
                for j, each in zip(window[1], right, strict=True)
            ],
        )
        return (*numbered(*marked), "loose")

    def _token(self, value: object, location: Location, *, is_control: bool) -> Hashable:
        """Return what two elements have in common that belong together, leaving out what rules accept."""
        if self.marks.is_loose(location, is_control=is_control):
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


def _locations(spot: Spot) -> tuple[Location, Location]:
    """Return where a spot is in control and in the candidate."""
    here: list[str | int] = []
    there: list[str | int] = []
    while spot is not None:
        spot, one, other = spot
        here.append(one)
        there.append(other)
    return tuple(reversed(here)), tuple(reversed(there))


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
