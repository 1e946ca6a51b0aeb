"""Say in which ways two JSON texts write the same values in other bytes, without walking the values.

What is counted in the texts is exact where the values are equal: whatever stands in strings is then the
same on both sides, as long as no ASCII character is written as an escape.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from gateway.compare.difference import Kind
from gateway.compare.found import Found
from gateway.compare.json_text import name_count, repeated_names

if TYPE_CHECKING:
    from gateway.compare.json_text import Location

JSON_SPACE = b" \t\r\n"
"""What JSON takes for white space (RFC 8259, 2)."""

_ASCII_ESCAPE = re.compile(rb"\\u00[0-7]")
_EXPONENT = re.compile(rb"[0-9][eE](?<!\\u..)(?<!\\u...)(?<!\\u....)")  # but not in an escape


def has_same_numbers(control: bytes, candidate: bytes) -> bool:
    """Tell, of two texts of equal values, whether 1, 1.0 and true stand in the same places of both.

    Python takes the three as equal. An integer becomes a float by a point or an exponent alone, so that
    the texts must count as many of these; where they do not, or where counting could mislead, walk.
    """
    if _ASCII_ESCAPE.search(control) or _ASCII_ESCAPE.search(candidate):
        return False
    if any(control.count(each) != candidate.count(each) for each in (b"true", b"false", b".")):
        return False
    if b"NaN" in control or b"Infinity" in control or _EXPONENT.search(control):
        return False  # 1e5 for 100000.0; and NaN is equal to the text "NaN"
    return not (b"NaN" in candidate or b"Infinity" in candidate or _EXPONENT.search(candidate))


def first_reordered(control: object, candidate: object) -> Location | None:
    """Return the first object, of two equal values, whose keys stand in another order; None for none."""
    if control is candidate:
        return None
    waiting: list[tuple[object, object, Location]] = [(control, candidate, ())]
    while waiting:
        left, right, location = waiting.pop()
        if isinstance(left, dict) and isinstance(right, dict):
            if list(left) != list(right):
                return location
            steps: list[tuple[object, object, Location]] = [
                (each, right[name], (*location, name))
                for name, each in left.items()
                if isinstance(each, dict | list)
            ]
        elif isinstance(left, list) and isinstance(right, list):
            steps = [
                (each, other, (*location, index))
                for index, (each, other) in enumerate(zip(left, right, strict=False))
                if isinstance(each, dict | list)
            ]
        else:
            continue
        waiting.extend(reversed(steps))
    return None


def spellings(
    control: bytes, candidate: bytes, reordered: Location | None, *, has_same_values: bool
) -> list[Found]:
    """Say in which ways the same values are written in other bytes."""
    found: list[Found] = []
    left, right = control.strip(JSON_SPACE), candidate.strip(JSON_SPACE)
    if reordered is not None:
        found.append(_encoding(reordered, "key_order"))
    if (control[-1:] in b"\r\n") != (candidate[-1:] in b"\r\n") or (
        left == right and control != candidate and not found
    ):
        found.append(_encoding((), "trailing_newline"))
    if left == right:
        return found
    if has_same_values:
        is_repeating = name_count(left) != name_count(right)
        mine, theirs = (repeated_names(left), repeated_names(right)) if is_repeating else ((), ())
        if mine != theirs:
            return [
                *found,
                Found(Kind.JSON_ENCODING, (), ", ".join(mine), ", ".join(theirs), "repeated_names"),
            ]
        if not _is_permutation(left, right) or (not found and left != right):
            found.append(_encoding((), "json_escapes"))
    elif (rb"\u" in left) != (rb"\u" in right) and left.isascii() != right.isascii():
        found.append(_encoding((), "json_escapes"))
    return found


def _encoding(location: tuple[str | int, ...], equivalence: str) -> Found:
    return Found(Kind.JSON_ENCODING, location, cause=equivalence, equivalence=equivalence)


def _is_permutation(control: bytes, candidate: bytes) -> bool:
    """Tell whether one may be the other in another order, as it is when nothing but keys moved."""
    return len(control) == len(candidate) and all(
        control.count(each) == candidate.count(each) for each in (b"\\", b" ", b"\n", b"/")
    )
