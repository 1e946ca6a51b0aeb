"""Read a moment from any spelling that APIs use, and tell whether two spellings mean the same one.

Spellings: ISO 8601 / RFC 3339 (date alone, or with a time), RFC 822 / 1123 and its dashed cookie variant
(RFC 850's short years included), and for the rule ``instant`` Unix seconds and milliseconds. A time without
a zone is read as UTC, as Flask writes it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date
from typing import Literal

Style = Literal["iso", "rfc822", "unix"]

_ISO = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)(?:[Tt ](\d\d):(\d\d)(?::(\d\d)(?:[.,](\d{1,9}))?)?"
    r"\s?([Zz]|[+-]\d\d(?::?\d\d)?)?)?\Z",
    re.ASCII,
)
_RFC822 = re.compile(
    r"(?:[A-Z][a-z]{2,8},\s)?(\d{1,2})[ -]([A-Z][a-z]{2})[ -](\d{4}|\d\d)\s(\d\d):(\d\d)(?::(\d\d))?"
    r"\s(GMT|UTC|UT|Z|[+-]\d{4})\Z",
    re.ASCII,
)
_MONTHS = {
    name: number
    for number, name in enumerate(
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"], 1
    )
}
_SECONDS = (1e8, 1e11)
_MILLISECONDS = (1e11, 1e14)


@dataclass(frozen=True, slots=True)
class Instant:
    """Be one moment: Unix ``seconds``, ``nanoseconds`` within the second, and how it was spelled."""

    seconds: int
    nanoseconds: int
    style: Style
    has_zone: bool = True

    def is_same_moment(self, other: Instant) -> bool:
        """Tell whether both mean one moment; against RFC 822, which has no fractions, seconds decide."""
        if self.seconds != other.seconds:
            return False
        return self.nanoseconds == other.nanoseconds or "rfc822" in (self.style, other.style)


def parse_instant(value: object) -> Instant | None:
    """Return the moment that a text spells, or None."""
    if type(value) is not str or not 10 <= len(value) <= 45:
        return None
    first = value[0]
    try:
        if "0" <= first <= "9" and len(value) > 4 and value[4] == "-":
            return _iso(value)
        if first.isalnum():
            return _rfc822(value)
    except (ValueError, OverflowError):
        return None
    return None


def read_instant(value: object) -> Instant | None:
    """Return the moment that a text spells or a number counts (Unix seconds or milliseconds), or None."""
    if isinstance(value, str):
        found = parse_instant(value)
        if found is not None:
            return found
        try:
            value = float(value)
        except ValueError:
            return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if _SECONDS[0] <= value < _SECONDS[1]:
        whole = int(value)
        return Instant(whole, round((value - whole) * 1e6) * 1000, "unix")
    if _MILLISECONDS[0] <= value < _MILLISECONDS[1]:
        whole = int(value)
        return Instant(whole // 1000, whole % 1000 * 1_000_000, "unix")
    return None


def _iso(text: str) -> Instant | None:
    match = _ISO.match(text)
    if match is None:
        return None
    year, month, day, hour, minute, second, fraction, zone = match.groups()
    moment = _unix(int(year), int(month), int(day), int(hour or 0), int(minute or 0), int(second or 0))
    return Instant(
        moment - _offset(zone),
        int((fraction or "").ljust(9, "0")),
        "iso",
        zone is not None or hour is None,
    )


def _rfc822(text: str) -> Instant | None:
    match = _RFC822.match(text)
    if match is None or match[2] not in _MONTHS:
        return None
    day, month, year, hour, minute, second, zone = match.groups()
    full = int(year) if len(year) == 4 else int(year) + (1900 if int(year) >= 70 else 2000)
    moment = _unix(full, _MONTHS[month], int(day), int(hour), int(minute), int(second or 0))
    return Instant(moment - _offset(zone), 0, "rfc822")


_EPOCH_DAY = date(1970, 1, 1).toordinal()


def _unix(year: int, month: int, day: int, hour: int, minute: int, second: int) -> int:
    if hour > 23 or minute > 59 or second > 60:
        raise ValueError("no time of day")
    return ((date(year, month, day).toordinal() - _EPOCH_DAY) * 24 + hour) * 3600 + minute * 60 + second


def _offset(zone: str | None) -> int:
    if not zone or zone[0] not in "+-":
        return 0
    digits = zone[1:].replace(":", "")
    seconds = int(digits[:2]) * 3600 + int(digits[2:4] or 0) * 60
    return -seconds if zone[0] == "-" else seconds
