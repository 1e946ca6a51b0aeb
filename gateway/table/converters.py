"""Supply the built-in parameter converters, and compare converters with one another.

They are Werkzeug's, regular expression by regular expression (werkzeug/routing/converters.py), so
that a table means the same whether or not a Flask app is at hand to ask. Nothing here imports
Werkzeug: the legacy app's own converters arrive as :class:`~gateway.table.inventory.Converter`.
"""

from __future__ import annotations

import re
import uuid
from typing import TYPE_CHECKING, Any

from gateway.table.inventory import Converter

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

ANY_SEGMENT = "[^/]{1,}"
"""Werkzeug's spelling of "one non-empty segment"."""

PLAIN = Converter("str", regex=ANY_SEGMENT)
"""The converter of ``{name}`` where no legacy rule says otherwise: any one non-empty segment."""

BUILT_IN = ("str", "int", "float", "uuid", "path", "any", "string", "default")
"""The names that :func:`make_built_in` knows; ``string`` and ``default`` are Flask's words for ``str``."""

_ARGUMENT = re.compile(
    r"""\s*(?:(?P<name>\w+)\s*=\s*)?(?:"(?P<double>[^"]*)"|'(?P<single>[^']*)'|(?P<bare>[^\s,"'=]+))\s*(?:,|\Z)"""
)
_CONSTANTS: Mapping[str, Any] = {"None": None, "True": True, "False": False}
_NUMBER_ARGUMENTS = ("fixed_digits", "min", "max", "signed")
_UUID = r"[A-Fa-f0-9]{8}-[A-Fa-f0-9]{4}-[A-Fa-f0-9]{4}-[A-Fa-f0-9]{4}-[A-Fa-f0-9]{12}"


def parse_arguments(text: str) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Parse converter arguments as Flask writes them: ``about,help`` or ``min=1, signed=True``.

    Raises ValueError for text that is no list of arguments.
    """
    positional: list[Any] = []
    named: dict[str, Any] = {}
    place = 0
    while place < len(text.rstrip()):
        found = _ARGUMENT.match(text, place)
        if found is None:
            raise ValueError(f"cannot read the converter arguments {text!r}")
        value: Any = found["double"] if found["double"] is not None else found["single"]
        if value is None:
            value = _value_of(found["bare"])
        if found["name"]:
            named[found["name"]] = value
        else:
            positional.append(value)
        place = found.end()
    return tuple(positional), named


def _value_of(text: str) -> Any:
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    for convert in (int, float):
        try:
            return convert(text)
        except ValueError:
            continue
    return text


def make_built_in(name: str, arguments: str = "") -> Converter:
    """Build the built-in converter called ``name``.

    Raises LookupError for a name that is not built in, ValueError for arguments it does not take.
    """
    maker = _MAKERS.get(name)
    if maker is None:
        raise LookupError(f"there is no built-in converter called {name!r}")
    positional, named = parse_arguments(arguments)
    try:
        return maker(name, arguments.strip(), *positional, **named)
    except TypeError:
        raise ValueError(f"the converter {name!r} does not take the arguments ({arguments})") from None


def _make_text(
    name: str, arguments: str, minlength: int = 1, maxlength: int | None = None, length: int | None = None
) -> Converter:
    if length is not None:
        regex = f"[^/]{{{int(length)}}}"
    else:
        regex = f"[^/]{{{int(minlength)},{'' if maxlength is None else int(maxlength)}}}"
    return Converter("str" if not arguments else "string", arguments, regex)


def _make_any(name: str, arguments: str, *items: Any) -> Converter:
    if not items:
        raise ValueError("the converter 'any' needs the words it takes, as in any(about,help)")
    return Converter(name, arguments, "(?:" + "|".join(re.escape(str(item)) for item in items) + ")")


def _make_path(name: str, arguments: str) -> Converter:
    return Converter(name, arguments, "[^/].*?", weight=200, is_isolating=False)


def _make_uuid(name: str, arguments: str) -> Converter:
    return Converter(name, arguments, _UUID, to_python=uuid.UUID)


def _make_int(
    name: str,
    arguments: str,
    fixed_digits: int = 0,
    min: int | None = None,  # noqa: A002 - the names are Werkzeug's, and part of what a table may write
    max: int | None = None,  # noqa: A002 - likewise
    signed: bool = False,
) -> Converter:
    regex = r"-?\d+" if signed else r"\d+"
    return Converter(name, arguments, regex, 50, to_python=_make_number(int, fixed_digits, min, max))


def _make_float(
    name: str,
    arguments: str,
    min: float | None = None,  # noqa: A002 - the names are Werkzeug's, and part of what a table may write
    max: float | None = None,  # noqa: A002 - likewise
    signed: bool = False,
) -> Converter:
    regex = r"-?\d+\.\d+" if signed else r"\d+\.\d+"
    return Converter(name, arguments, regex, 50, to_python=_make_number(float, 0, min, max))


def _make_number(
    convert: Callable[[str], float], fixed_digits: int, lowest: float | None, highest: float | None
) -> Callable[[str], float]:
    def to_python(text: str) -> float:
        if fixed_digits and len(text) != fixed_digits:
            raise ValueError(f"{text!r} has not {fixed_digits} digits")
        # int() refuses more than 4,300 digits with a ValueError, which is the answer wanted here.
        value = convert(text)
        if (lowest is not None and value < lowest) or (highest is not None and value > highest):
            raise ValueError(f"{text!r} is out of range")
        return value

    return to_python


_MAKERS: Mapping[str, Callable[..., Converter]] = {
    "str": _make_text,
    "string": _make_text,
    "default": _make_text,
    "any": _make_any,
    "path": _make_path,
    "uuid": _make_uuid,
    "int": _make_int,
    "float": _make_float,
}


def is_plain(converter: Converter) -> bool:
    """Tell whether a converter takes any one non-empty segment (Flask's default, Starlette's ``str``)."""
    return (
        converter.is_isolating and converter.regex in (ANY_SEGMENT, "[^/]+") and converter.to_python is None
    )


def signature(converter: Converter) -> tuple[str, str, str, int, bool]:
    """Return a value that is equal for converters that take the same texts in the same way."""
    name = "str" if is_plain(converter) else converter.name
    arguments = "" if is_plain(converter) else re.sub(r"\s+", "", converter.arguments)
    regex = ANY_SEGMENT if is_plain(converter) else converter.regex
    return (name, arguments, regex, converter.weight, converter.is_isolating)


def covers(wide: Converter, narrow: Converter) -> bool:
    """Tell whether ``wide`` certainly takes every text that ``narrow`` takes."""
    if signature(wide) == signature(narrow):
        return True
    if not wide.is_isolating and wide.regex in ("[^/].*?", ".*", ".*?"):
        return True
    if not narrow.is_isolating:
        return False
    if is_plain(wide):
        return True
    if wide.name == narrow.name and not wide.arguments and wide.name in ("int", "float", "uuid"):
        return "signed" not in narrow.arguments
    # Starlette's float takes whole numbers too; Werkzeug's does not.
    return (
        wide.name == "float"
        and "?" in wide.regex
        and narrow.name == "int"
        and "signed" not in narrow.arguments
    )


_KINDS = ("int", "float", "uuid")


def are_disjoint(one: Converter, other: Converter) -> bool:
    """Tell whether no text can be taken by both converters; False where that cannot be told."""
    for this, that in ((one, other), (other, one)):
        if this.name == "any":
            items, _ = parse_arguments(this.arguments)
            return not any(re.fullmatch(that.regex, str(item)) for item in items)
    return one.name in _KINDS and other.name in _KINDS and one.name != other.name
