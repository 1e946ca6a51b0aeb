"""Tell when two JSON leaves mean one thing, and give list elements tokens by which they are aligned."""

from __future__ import annotations

import marshal
import re
from decimal import Decimal
from operator import itemgetter
from typing import TYPE_CHECKING

from gateway.compare.instants import parse_instant
from gateway.compare.json_text import Constant, Digits, type_name

if TYPE_CHECKING:
    from collections.abc import Hashable

BARE = 2
"""The marshal format without references: equal bytes for equal values of equal types in equal order."""

_DECIMAL = re.compile(r"-?(0|[1-9]\d{0,40})(\.\d{1,40})?(?:[eE][+-]?\d{1,3})?\Z", re.ASCII)


def packed(element: object) -> bytes:
    if type(element) is dict:
        return marshal.dumps(sorted(element.items(), key=_first), BARE)
    return marshal.dumps(element, BARE)  # type: ignore[arg-type]  # what it cannot write raises


_first = itemgetter(0)


def leaf_token(value: object) -> Hashable:
    if type(value) is str:
        instant = parse_instant(value)
        if instant is not None:
            return ("instant", instant.seconds)
        if len(value) < 40 and _DECIMAL.match(value):
            return float(value)
        return value
    if type(value) is int or type(value) is float:
        return value
    return (type_name(value), str(value))


def is_same_number(control: object, candidate: object) -> bool:
    """Tell whether two spellings mean one number: 1, 1.0, "1.10" and 1.1, but not "007" and 7."""
    if isinstance(control, int | float) and isinstance(candidate, int | float):
        is_plain = not isinstance(control, bool) and not isinstance(candidate, bool)
        return is_plain and control == candidate
    left, right = _decimal(control), _decimal(candidate)
    return left is not None and left == right


def _decimal(value: object) -> Decimal | None:
    if isinstance(value, Constant | Digits | bool):
        return None
    if isinstance(value, str):
        return Decimal(value) if len(value) < 90 and _DECIMAL.match(value) else None
    if isinstance(value, int):
        return Decimal(value)
    return Decimal(repr(value)) if isinstance(value, float) else None


def without_base(text: str, base: str) -> str:
    """Return ``text`` without the base URL ``base`` at its beginning: a path, at least ``/``."""
    base = base.rstrip("/")
    if base and text.startswith(base):
        rest = text[len(base) :]
        if not rest or rest[0] in "/?#":
            return rest if rest.startswith("/") else "/" + rest
    return text
