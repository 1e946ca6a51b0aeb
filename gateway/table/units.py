"""Read the table's quantities: percentages, durations, sizes and rates.

A quantity always carries its unit, so that nobody has to guess: a bare number is refused with the
right spelling. Pure functions from one written value to one number; :class:`Wrong` says why not.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Literal, cast

from gateway.table.spec import RateLimit
from gateway.table.spelling import Wrong, reading, shown

FULL_BP = 10_000
"""All of it: 100% in basis points."""

LONGEST_DURATION_S = 366 * 86_400.0
LARGEST_SIZE_BYTES = 1 << 50

_NUMBER = r"\d{1,15}(?:\.\d{1,15})?"
_PERCENT = re.compile(rf"({_NUMBER})%", re.ASCII)
_DURATION = re.compile(rf"(?:{_NUMBER}(?:ms|s|m|h|d))+", re.ASCII)
_DURATION_PART = re.compile(rf"({_NUMBER})(ms|s|m|h|d)", re.ASCII)
_SECONDS = {
    "ms": Decimal("0.001"),
    "s": Decimal(1),
    "m": Decimal(60),
    "h": Decimal(3600),
    "d": Decimal(86_400),
}
_SIZE = re.compile(rf"({_NUMBER})(KiB|MiB|GiB)", re.ASCII)
_BYTES = {"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
_LOOSE = re.compile(rf"\s*({_NUMBER})\s*([a-zA-Zµ%]*)\s*", re.ASCII)
_LOOSE_SECONDS = {
    **dict.fromkeys(("ms", "msec", "msecs", "millis", "millisecond", "milliseconds"), "ms"),
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), "s"),
    **dict.fromkeys(("m", "min", "mins", "minute", "minutes"), "m"),
    **dict.fromkeys(("h", "hr", "hrs", "hour", "hours"), "h"),
    **dict.fromkeys(("d", "day", "days"), "d"),
}
_LOOSE_BYTES = {
    **dict.fromkeys(("k", "kb", "kib"), "KiB"),
    **dict.fromkeys(("m", "mb", "mib"), "MiB"),
    **dict.fromkeys(("g", "gb", "gib"), "GiB"),
}
_RATE = re.compile(r"(\d{1,12})\s*(?:/|\bper\b)\s*(\d{1,6})?\s*([a-zA-Z]+)", re.ASCII)
_UNITS = ("second", "minute", "hour", "day")
_LOOSE_UNITS = {
    **dict.fromkeys(("s", "sec", "secs"), "second"),
    **dict.fromkeys(("m", "min", "mins"), "minute"),
    **dict.fromkeys(("h", "hr", "hrs"), "hour"),
    "d": "day",
}


def percent_bp(value: object) -> int:
    """Return a percentage in basis points: ``5%`` is 500. Steps of 0.01%, at most 100%."""
    amount = _percentage(value)
    if amount * 100 != int(amount * 100):
        raise Wrong(f"{shown(value)} is finer than steps of 0.01%", f"write {round(amount, 2)}%")
    return int(amount * 100)


def fraction(value: object) -> float:
    """Return a percentage as a fraction: ``0.1%`` is 0.001. Any precision, at most 100%."""
    return float(_percentage(value) / 100)


def _percentage(value: object) -> Decimal:
    if isinstance(value, int | float) and not isinstance(value, bool):
        raise Wrong(f"{shown(value)} has no %", f"write {shown(value)}%")
    if not isinstance(value, str):
        raise Wrong(f"must be a percentage, not {reading(value)}", "write it like 5%")
    found = _PERCENT.fullmatch(value)
    if found is None:
        loose = _LOOSE.fullmatch(value)
        if loose is not None and not loose[2]:
            raise Wrong(f"{shown(value)} has no %", f"write {loose[1]}%")
        if loose is not None and loose[2].lower() in ("%", "percent", "pct"):
            raise Wrong(f"{shown(value)} is not a percentage as the table writes it", f"write {loose[1]}%")
        raise Wrong(f"{shown(value)} is not a percentage", "write it like 5% or 0.25%")
    amount = Decimal(found[1])
    if amount > 100:
        raise Wrong(f"{shown(value)} is above 100%", "write 0% to 100%")
    return amount


def duration_s(value: object) -> float:
    """Return a duration in seconds: ``500ms``, ``30s``, ``1m30s``, ``2h``, ``1d``. Above zero."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        raise Wrong(f"{shown(value)} has no unit", f"write {shown(value)}s")
    if not isinstance(value, str):
        raise Wrong(f"must be a duration, not {reading(value)}", "write it like 500ms, 30s or 1m30s")
    if _DURATION.fullmatch(value) is None:
        raise _not_a_duration(value)
    parts = _DURATION_PART.findall(value)
    units = [unit for _, unit in parts]
    if units != sorted(set(units), key=lambda unit: -_SECONDS[unit]):
        raise Wrong(
            f"{shown(value)} is not a duration", "write each unit once, the largest first, like 1m30s"
        )
    seconds = float(sum(Decimal(number) * _SECONDS[unit] for number, unit in parts))
    if seconds == 0:
        raise Wrong(f"{value} leaves no time at all", "write a duration above zero, like 30s")
    if seconds > LONGEST_DURATION_S:
        raise Wrong(f"{value} is above a year", "write at most 366d")
    return seconds


def _not_a_duration(value: str) -> Wrong:
    loose = _LOOSE.fullmatch(value)
    if loose is not None and not loose[2]:
        return Wrong(f"{shown(value)} has no unit", f"write {loose[1]}s")
    if loose is not None and loose[2].lower() in _LOOSE_SECONDS:
        unit = _LOOSE_SECONDS[loose[2].lower()]
        return Wrong(f"{shown(value)} is not a duration as the table writes it", f"write {loose[1]}{unit}")
    return Wrong(f"{shown(value)} is not a duration", "write it like 500ms, 30s or 1m30s (units ms s m h d)")


def size_bytes(value: object) -> int:
    """Return a size in bytes: ``10MiB``; units KiB, MiB, GiB. Above zero."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        raise Wrong(f"{shown(value)} has no unit", f"write {_size_of(value)}")
    if not isinstance(value, str):
        raise Wrong(f"must be a size, not {reading(value)}", "write it like 64KiB or 10MiB")
    found = _SIZE.fullmatch(value)
    if found is None:
        loose = _LOOSE.fullmatch(value)
        if loose is not None and not loose[2]:
            raise Wrong(f"{shown(value)} has no unit", f"write {_size_of(float(loose[1]))}")
        if loose is not None and loose[2].lower() in _LOOSE_BYTES:
            unit = _LOOSE_BYTES[loose[2].lower()]
            raise Wrong(f"{shown(value)} is not a size as the table writes it", f"write {loose[1]}{unit}")
        raise Wrong(f"{shown(value)} is not a size", "write it like 64KiB or 10MiB (units KiB MiB GiB)")
    size = Decimal(found[1]) * _BYTES[found[2]]
    if size != int(size):
        raise Wrong(f"{value} is no whole number of bytes", "write it in a smaller unit")
    if size == 0:
        raise Wrong(f"{value} allows nothing at all", "write a size above zero, or none for no limit")
    if size > LARGEST_SIZE_BYTES:
        raise Wrong(f"{value} is above 1,048,576GiB", "write a smaller size")
    return int(size)


def _size_of(number: float) -> str:
    """Show a bare number with the unit that was probably meant: bytes when large, else MiB."""
    if number != number or number < 1024 or number > LARGEST_SIZE_BYTES:
        return f"{shown(number)}MiB" if 0 < number < 1024 else "10MiB"
    for unit in ("GiB", "MiB"):
        if number % _BYTES[unit] == 0:
            return f"{int(number // _BYTES[unit])}{unit}"
    return f"{max(1, round(number / 1024))}KiB"


def rate_limits(value: object) -> tuple[RateLimit, ...]:
    """Return the limits of ``100/minute``, ``10/second;1000/hour`` or ``10 per 5 minutes``.

    The grammar is that of the ``limits`` library, without months and years: nobody waits that long.
    """
    if isinstance(value, int | float) and not isinstance(value, bool):
        raise Wrong(f"{shown(value)} has no unit of time", f"write {shown(value)}/minute")
    if not isinstance(value, str):
        raise Wrong(f"must be a rate, not {reading(value)}", "write it like 100/minute")
    parts = [part.strip() for part in re.split(r"[;,|]", value)]
    return tuple(_rate(part) for part in parts)


def _rate(part: str) -> RateLimit:
    found = _RATE.fullmatch(part)
    if found is None:
        if part.isascii() and part.isdecimal():
            raise Wrong(f"{shown(part)} has no unit of time", f"write {shown(part)}/minute")
        raise Wrong(f"{shown(part)} is not a rate", "write it like 100/minute or 10/second;1000/hour")
    amount, multiples = int(found[1]), int(found[2] or 1)
    unit = found[3].lower().removesuffix("s") if len(found[3]) > 1 else found[3].lower()
    if unit not in _UNITS:
        meant = _LOOSE_UNITS.get(unit)
        repair = f"write {found[1]}/{found[2] or ''}{meant}" if meant else "write second, minute, hour or day"
        raise Wrong(f"{shown(part)} has an unknown unit of time", repair)
    if amount == 0 or multiples == 0:
        raise Wrong(f"{shown(part)} allows nothing at all", "write numbers above zero, or none for no limit")
    return RateLimit(amount, multiples, cast("Literal['second', 'minute', 'hour', 'day']", unit))
