"""Tell which elements of two lists belong together, which have no partner, and whether any moved.

Elements come as tokens (see :mod:`gateway.compare.tokens`): equal ones belong together. Where tokens are not
identities, elements without a partner that stand in the same gap between partners are taken as changed.
Everything here is linear, but for the alignment's own budget.
"""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import dataclass, field
from operator import itemgetter
from typing import TYPE_CHECKING

from gateway.compare.alignment import align, is_increasing

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

Pairs = list[tuple[int, int]]

_first, _second = itemgetter(0), itemgetter(1)


@dataclass(slots=True)
class Elements:
    """Be what two lists came to, by positions: ``alike`` have equal tokens, ``changed`` only their place."""

    alike: Pairs = field(default_factory=list)
    changed: Pairs = field(default_factory=list)
    missing: list[int] = field(default_factory=list)
    added: list[int] = field(default_factory=list)
    is_moved: bool = False


def pair_up(
    left: Sequence[Hashable], right: Sequence[Hashable], *, is_identity: bool, is_unordered: bool
) -> Elements:
    """Pair the elements of two lists by their tokens."""
    found = Elements()
    if is_identity or is_unordered or (len(left) == len(right) and Counter(left) == Counter(right)):
        found.alike = _by_token(left, right)
        found.is_moved = not is_increasing(map(_second, found.alike))
        backbone = [] if found.is_moved or is_unordered else found.alike
    else:
        backbone = found.alike = align(left, right)
    lone, other = _lone(found.alike, len(left), len(right))
    if is_identity:
        found.missing, found.added = lone, other
        return found
    if lone and other and not is_unordered:
        moved = [
            (lone[i], other[j]) for i, j in _by_token([left[i] for i in lone], [right[j] for j in other])
        ]
        if moved:
            found.is_moved = True
            found.alike = [*found.alike, *moved]
            lone, other = _lone(found.alike, len(left), len(right))
    if lone and other:
        found.changed = _in_one_gap(backbone, lone, other)
        lone = sorted(set(lone).difference(map(_first, found.changed)))
        other = sorted(set(other).difference(map(_second, found.changed)))
    found.missing, found.added = lone, other
    return found


def _by_token(left: Sequence[Hashable], right: Sequence[Hashable]) -> Pairs:
    """Pair equal tokens, first with first."""
    places: dict[Hashable, list[int]] = {}
    for index in range(len(right) - 1, -1, -1):
        places.setdefault(right[index], []).append(index)
    return [(index, waiting.pop()) for index, token in enumerate(left) if (waiting := places.get(token))]


def _lone(pairs: Pairs, n: int, m: int) -> tuple[list[int], list[int]]:
    left = [] if len(pairs) == n else sorted(set(range(n)).difference(map(_first, pairs)))
    return left, [] if len(pairs) == m else sorted(set(range(m)).difference(map(_second, pairs)))


def _in_one_gap(backbone: Pairs, left: list[int], right: list[int]) -> Pairs:
    """Pair what is left over: changed elements stand in the same gap of ``backbone``, in the same order."""
    found: Pairs = []
    i = j = 0
    for end, other_end in [*backbone, (sys.maxsize, sys.maxsize)]:
        gap, other_gap = i, j
        while i < len(left) and left[i] < end:
            i += 1
        while j < len(right) and right[j] < other_end:
            j += 1
        if gap < i and other_gap < j:
            found.extend(zip(left[gap:i], right[other_gap:j], strict=False))
    return found
