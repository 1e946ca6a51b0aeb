"""Find which elements of two lists belong together, in near-linear time.

Equal ends are cut off first, so one inserted element costs one scan. What is left is anchored on tokens
that occur once on both sides (patience diff: their longest increasing subsequence), and between anchors a
longest common subsequence is computed as long as a budget that is linear in the lists' lengths lasts.
Beyond it elements stay unmatched, which is a worse report and never a wrong one.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from itertools import islice, pairwise
from operator import itemgetter, lt
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Sequence

_CELLS_PER_ELEMENT = 16
_FREE_CELLS = 4096
_DEPTH = 8
_second = itemgetter(1)


def align(control: Sequence[Hashable], candidate: Sequence[Hashable]) -> list[tuple[int, int]]:
    """Return index pairs of equal tokens, increasing on both sides."""
    pairs: list[tuple[int, int]] = []
    budget = _FREE_CELLS + _CELLS_PER_ELEMENT * (len(control) + len(candidate))
    gaps = [(0, len(control), 0, len(candidate), _DEPTH)]
    while gaps:
        start, stop, other, end, depth = gaps.pop()
        while start < stop and other < end and control[start] == candidate[other]:
            pairs.append((start, other))
            start += 1
            other += 1
        while start < stop and other < end and control[stop - 1] == candidate[end - 1]:
            stop -= 1
            end -= 1
            pairs.append((stop, end))
        if start == stop or other == end:
            continue
        anchors = _anchors(control, candidate, (start, stop, other, end)) if depth else []
        if anchors:
            pairs.extend(anchors)
            edges = [(start - 1, other - 1), *anchors, (stop, end)]
            gaps.extend(
                (one + 1, two, first + 1, second, depth - 1)
                for (one, first), (two, second) in pairwise(edges)
                if one + 1 < two and first + 1 < second
            )
        else:
            cells = (stop - start) * (end - other)
            if cells <= budget:
                budget -= cells
                pairs.extend(_common(control, candidate, (start, stop, other, end)))
    pairs.sort()
    return pairs


Window = tuple[int, int, int, int]


def _anchors(
    control: Sequence[Hashable], candidate: Sequence[Hashable], window: Window
) -> list[tuple[int, int]]:
    start, stop, other, end = window
    mine, theirs = control[start:stop], candidate[other:end]
    places = dict(zip(theirs, range(other, end), strict=True))
    if len(places) < len(theirs):
        counts = Counter(theirs)
        places = {token: place for token, place in places.items() if counts[token] == 1}
    if len(set(mine)) == len(mine):
        unique = [
            (index, place)
            for index, token in enumerate(mine, start)
            if (place := places.get(token)) is not None
        ]
    else:
        counts = Counter(mine)
        unique = [
            (index, places[token])
            for index, token in enumerate(mine, start)
            if counts[token] == 1 and token in places
        ]
    return unique if is_increasing(map(_second, unique)) else longest_increasing(unique)


def is_increasing(numbers: Iterable[int]) -> bool:
    """Tell whether each number is above the one before."""
    known = list(numbers)
    return all(map(lt, known, islice(known, 1, None)))


def longest_increasing(pairs: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return the longest run of pairs that increases on both sides; ``pairs`` increases on the first."""
    tails: list[int] = []
    tail_at: list[int] = []
    before: list[int] = []
    for at, (_, second) in enumerate(pairs):
        length = bisect_left(tails, second)
        before.append(tail_at[length - 1] if length else -1)
        if length == len(tails):
            tails.append(second)
            tail_at.append(at)
        else:
            tails[length] = second
            tail_at[length] = at
    found: list[tuple[int, int]] = []
    at = tail_at[-1] if tail_at else -1
    while at >= 0:
        found.append(pairs[at])
        at = before[at]
    found.reverse()
    return found


def _common(
    control: Sequence[Hashable], candidate: Sequence[Hashable], window: Window
) -> list[tuple[int, int]]:
    start, stop, other, end = window
    width = end - other
    rows = [[0] * (width + 1)]
    for index in range(stop - 1, start - 1, -1):
        token, below, row = control[index], rows[-1], [0] * (width + 1)
        for column in range(width - 1, -1, -1):
            if token == candidate[other + column]:
                row[column] = below[column + 1] + 1
            else:
                row[column] = max(below[column], row[column + 1])
        rows.append(row)
    rows.reverse()
    found: list[tuple[int, int]] = []
    index = column = 0
    while index < stop - start and column < width:
        if control[start + index] == candidate[other + column]:
            found.append((start + index, other + column))
            index += 1
            column += 1
        elif rows[index + 1][column] >= rows[index][column + 1]:
            index += 1
        else:
            column += 1
    return found
