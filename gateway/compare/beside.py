"""Put two texts beside each other, line by line, for people to see where they differ. Pure."""

from __future__ import annotations

import difflib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

DIFFERING_LINES = 400
"""Lines a side, from the first that differs, that are held together; what is beyond is left out."""

CUT = "… the rest is left out"


@dataclass(frozen=True, slots=True)
class SideLine:
    """Be one line of two texts side by side; ``cut`` stands for lines that are not shown."""

    mark: Literal["same", "changed", "missing", "added", "cut"]
    left: str
    right: str


def readable(text: str) -> str:
    """Return JSON indented, with its keys in order, and any other text as it is."""
    try:
        return json.dumps(json.loads(text), indent=2, ensure_ascii=False, sort_keys=True)
    except (ValueError, RecursionError):
        return text


def side_by_side(left: str, right: str) -> list[SideLine]:
    """Return two texts line by line beside each other, the differing lines marked; long ones are cut."""
    mine, theirs = left.splitlines(), right.splitlines()
    head = _common(mine, theirs)
    tail = _common(mine[head:][::-1], theirs[head:][::-1])
    middle = mine[head : len(mine) - tail], theirs[head : len(theirs) - tail]
    lines = [SideLine("same", each, each) for each in mine[:head]]
    lines.extend(_held_together(middle[0][:DIFFERING_LINES], middle[1][:DIFFERING_LINES]))
    if max(map(len, middle)) > DIFFERING_LINES:
        return [*lines, SideLine("cut", CUT, CUT)]
    return [*lines, *(SideLine("same", each, each) for each in mine[len(mine) - tail :])]


def folded(lines: Sequence[SideLine], context: int) -> list[SideLine]:
    """Return ``lines`` with only ``context`` of the same ones before and after each that differs."""
    shown = set[int]()
    for index, line in enumerate(lines):
        if line.mark != "same":
            shown.update(range(index - context, index + context + 1))
    result: list[SideLine] = []
    skipped = 0
    for index, line in enumerate(lines):
        if index not in shown:
            skipped += 1
            continue
        result += _fold(skipped)
        result.append(line)
        skipped = 0
    return result + _fold(skipped)


def _fold(count: int) -> list[SideLine]:
    """Return what stands for ``count`` same lines: nothing for none."""
    text = f"… {count:,} same line{'s' if count > 1 else ''}"
    return [SideLine("cut", text, text)] if count else []


def _common(mine: Sequence[str], theirs: Sequence[str]) -> int:
    """Return how many lines both begin with."""
    count = 0
    for one, other in zip(mine, theirs, strict=False):
        if one != other:
            break
        count += 1
    return count


def _held_together(mine: Sequence[str], theirs: Sequence[str]) -> Iterator[SideLine]:
    matcher = difflib.SequenceMatcher(None, mine, theirs, autojunk=False)
    for tag, start, end, other_start, other_end in matcher.get_opcodes():
        ours, others = mine[start:end], theirs[other_start:other_end]
        if tag == "equal":
            yield from (SideLine("same", each, each) for each in ours)
            continue
        for index in range(max(len(ours), len(others))):
            one = ours[index] if index < len(ours) else None
            other = others[index] if index < len(others) else None
            if one is None:
                yield SideLine("added", "", other or "")
            elif other is None:
                yield SideLine("missing", one, "")
            else:
                yield SideLine("changed", one, other)
