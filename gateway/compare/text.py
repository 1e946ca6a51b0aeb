"""Show how two texts or two runs of bytes differ, in bounded time and room."""

from __future__ import annotations

import difflib

from gateway.compare.json_text import printable

DIFF_LINES = 200
"""Lines of either side that are compared line by line, from the first one that differs."""

SHOWN_LINES = 40
LINE_CHARACTERS = 200


def unified_diff(control: str, candidate: str) -> str:
    """Return the unified diff of two texts: at most ``SHOWN_LINES`` lines of ``LINE_CHARACTERS``."""
    left, right = control.splitlines(), candidate.splitlines()
    if left == right:
        return "the line endings differ"
    start = 0
    while start < min(len(left), len(right)) and left[start] == right[start]:
        start += 1
    start = max(0, start - 2)
    left, right = left[start : start + DIFF_LINES], right[start : start + DIFF_LINES]
    column = _first_column(left, right)
    lines = difflib.unified_diff(
        [_window(line, column) for line in left],
        [_window(line, column) for line in right],
        "control",
        "candidate",
        lineterm="",
        n=2,
    )
    shown: list[str] = []
    for line in lines:
        if len(shown) == SHOWN_LINES:
            shown.append("…")
            break
        shown.append(printable(line))
    return "\n".join(shown)


def _first_column(left: list[str], right: list[str]) -> int:
    """Return where the first two lines that differ part, so that long lines are cut around that."""
    for one, other in zip(left, right, strict=False):
        if one != other:
            return first_difference(one, other)
    return 0


def _window(line: str, column: int) -> str:
    if len(line) <= LINE_CHARACTERS:
        return line
    start = max(0, min(column - LINE_CHARACTERS // 2, len(line) - LINE_CHARACTERS))
    return f"{'…' if start else ''}{line[start : start + LINE_CHARACTERS]}…"


def first_difference(control: str | bytes, candidate: str | bytes) -> int:
    """Return the index of the first character or byte that differs (the shorter length if none does)."""
    low, high = 0, min(len(control), len(candidate))
    while low < high:
        middle = (low + high + 1) // 2
        if control[low:middle] == candidate[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def hexadecimal(data: bytes, offset: int) -> str:
    """Return sixteen bytes of ``data`` from ``offset`` on, with its length."""
    return f"{len(data)} bytes, at {offset}: {data[offset : offset + 16].hex(' ')}"


def first_lines(control: str, candidate: str) -> tuple[str, str]:
    """Return the first line of either text that differs, cut around where it does."""
    at = first_difference(control, candidate)
    start = control.rfind("\n", 0, at) + 1
    left, right = control[start : at + LINE_CHARACTERS], candidate[start : at + LINE_CHARACTERS]
    one, other = left.partition("\n")[0], right.partition("\n")[0]
    return printable(_window(one, at - start)), printable(_window(other, at - start))
