"""Tell when two JSON leaves mean one thing."""

from __future__ import annotations

import re
from decimal import Decimal

from gateway.compare.json_text import Constant, Digits

DECIMAL = re.compile(r"-?(0|[1-9]\d{0,40})(\.\d{1,40})?(?:[eE][+-]?\d{1,3})?\Z", re.ASCII)


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
        return Decimal(value) if len(value) < 90 and DECIMAL.match(value) else None
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
