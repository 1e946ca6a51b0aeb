"""Read JSON as clients may send it, never raising, and write values for people.

What the standard parser loses is kept: ``NaN`` and ``Infinity`` are :class:`Constant` (they are no JSON,
and ``1e999`` is a number), integers beyond Python's limit of digits are :class:`Digits`. Everything that
is no JSON, nested beyond the interpreter's patience included, is :data:`ABSENT`.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from enum import Enum, StrEnum
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

Location = tuple[str | int, ...]
"""Where a value stands: member names and indices from the root."""

SHOWN_CHARACTERS = 300


class Absent(Enum):
    """Be nothing at all, which is not null."""

    ABSENT = "absent"

    def __repr__(self) -> str:
        return "nothing"


ABSENT: Final = Absent.ABSENT


class Constant(StrEnum):
    """Be one of the words that Python's ``json`` writes and the JSON grammar lacks (RFC 8259, 6)."""

    NAN = "NaN"
    INFINITY = "Infinity"
    NEGATIVE_INFINITY = "-Infinity"


class Digits(str):
    """Be an integer of so many digits that Python does not convert it."""

    __slots__ = ()


def _integer(text: str) -> int | Digits:
    try:
        return int(text)
    except ValueError:
        return Digits(text)


_plain = json.JSONDecoder(parse_constant=Constant)
_patient = json.JSONDecoder(parse_constant=Constant, parse_int=_integer)


def parse_json(data: bytes) -> object:
    """Return the value that ``data`` spells, or :data:`ABSENT` when it is no JSON. UTF-8, 16 and 32."""
    try:
        text = data.decode(json.detect_encoding(data))
        try:
            return _plain.decode(text)
        except json.JSONDecodeError:
            return ABSENT
        except ValueError:  # an integer with too many digits
            return _patient.decode(text)
    except (ValueError, RecursionError):
        return ABSENT


def name_count(data: bytes) -> int:
    """Return how many member names a JSON text has, seldom a wrong number, without parsing it.

    A colon right behind a quote ends a name, unless the quote is escaped.
    """
    return data.count(b'":') - data.count(b'\\":')


def repeated_names(data: bytes) -> tuple[str, ...]:
    """Return the member names that an object of ``data`` has more than once."""
    repeated: list[str] = []

    def members(pairs: list[tuple[str, object]]) -> dict[str, object]:
        whole = dict(pairs)
        if len(whole) < len(pairs):
            counts = Counter(name for name, _ in pairs)
            repeated.extend(name for name, count in counts.items() if count > 1)
        return whole

    decoder = json.JSONDecoder(object_pairs_hook=members, parse_int=_integer)
    try:
        decoder.decode(data.decode(json.detect_encoding(data)))
    except (ValueError, RecursionError):
        return ()
    return tuple(dict.fromkeys(repeated))


_TYPE_NAMES: dict[type, str] = {
    dict: "object",
    list: "array",
    str: "string",
    int: "number",
    float: "number",
    Digits: "number",
    bool: "boolean",
    type(None): "null",
}


def type_name(value: object) -> str:
    """Return what JSON calls the type of ``value``; a :class:`Constant` is called by its own name."""
    if isinstance(value, Constant):
        return value.value
    return _TYPE_NAMES.get(type(value), type(value).__name__)


def is_same_shape(control: object, candidate: object) -> bool:
    """Tell whether two values have one type and, where they have a length, one length."""
    if type_name(control) != type_name(candidate):
        return False
    if isinstance(control, str | list | dict) and isinstance(candidate, str | list | dict):
        return isinstance(control, Digits) or len(control) == len(candidate)
    return True


class _Writer(json.JSONEncoder):
    def default(self, o: object) -> str:
        return repr(o)


_writer = _Writer(ensure_ascii=False)


def show(value: object, limit: int = SHOWN_CHARACTERS) -> str:
    """Return ``value`` as JSON for people: one line, at most ``limit`` characters, printable."""
    if isinstance(value, Constant | Digits):
        return bounded(str(value), limit)
    if isinstance(value, str):
        return printable(_clip(_writer.encode(value[: limit + 1]), limit))
    pieces: list[str] = []
    length = 0
    try:
        for piece in _writer.iterencode(value):
            pieces.append(piece[: limit + 1])
            length += len(piece)
            if length > limit:
                break
    except (ValueError, RecursionError):
        pieces.append("…")
    return printable(_clip("".join(pieces), limit))


def _clip(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"


def bounded(text: str, limit: int = SHOWN_CHARACTERS) -> str:
    """Return at most ``limit`` characters of ``text``, printable."""
    return printable(_clip(text[: limit + 1], limit))


_UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str) -> str:
    """Return ``text`` with control characters, direction marks and lone surrogates written as escapes."""

    def escape(match: re.Match[str]) -> str:
        return f"\\u{ord(match[0]):04x}"

    return _UNPRINTABLE.sub(escape, text)


_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")


def path_text(location: Sequence[str | int]) -> str:
    """Return ``location`` as a JSONPath (RFC 9535), short where a name allows it: ``$.items[0]['a b']``."""
    parts = ["$"]
    for each in location:
        if isinstance(each, int):
            parts.append(f"[{each}]")
        elif _NAME.match(each):
            parts.append(f".{each}")
        else:
            quoted = each.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n").replace("\t", "\\t")
            parts.append(f"['{bounded(quoted, 80)}']")
    return "".join(parts)


_STEP = re.compile(
    r"\[\d+\]"
    r"|\['(?:\d+|[0-9a-fA-F-]{16,})'\]"
    r"|\.[0-9a-f]{16,}(?=[.\[]|\Z)"
    r"|\['(?:[^'\\]++|\\.)*+'\]"
)
_SEGMENT = re.compile(r"(?<=/)(?:\d+|[0-9a-fA-F-]{16,})(?=/|\Z)")


@lru_cache(maxsize=4096)
def fold_place(place: str) -> str:
    """Return ``place`` with every index, and every name that looks like an id, written ``[*]``."""
    if place.startswith("$"):
        return _STEP.sub(lambda step: step[0] if _is_name(step[0]) else "[*]", place)
    return _SEGMENT.sub("*", place) if place.startswith("outbound:") else place


def _is_name(step: str) -> bool:
    return step.startswith("['") and not re.fullmatch(r"\['(?:\d+|[0-9a-fA-F-]{16,})'\]", step)


def scalar_key(value: Any) -> tuple[str, str]:
    """Return a hashable name of a scalar that tells 7 from "7" and 1 from 1.0."""
    return (type(value).__name__, str(value))
