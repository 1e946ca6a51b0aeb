"""Put into words what is wrong with one written value, and find what was probably meant.

:class:`Wrong` is how every grammar of the table says no: a sentence without its subject ("120% is
above 100%"), to which the reader adds the key, and a repair. Nothing here knows any key or any file.
"""

from __future__ import annotations

import difflib
import json
from datetime import date, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


class Wrong(ValueError):
    """Say what is wrong with one value (``message`` follows the key's name) and how to mend it."""

    def __init__(self, message: str, repair: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.repair = repair


def nearest(word: str, choices: Iterable[str], *, cutoff: float = 0.6) -> str | None:
    """Return the choice that ``word`` was probably meant to be, or None."""
    known = list(choices)
    folded = {choice.lower(): choice for choice in known}
    if word.lower() in folded:
        return folded[word.lower()]
    found = difflib.get_close_matches(word.lower(), list(folded), n=1, cutoff=cutoff)
    return folded[found[0]] if found else None


def listed(words: Iterable[str], conjunction: str = "or") -> str:
    """Join words as a person would: ``a, b or c``."""
    *first, last = list(words) or [""]
    return f"{', '.join(first)} {conjunction} {last}" if first else last


def shown(value: object, limit: int = 60) -> str:
    """Write a value as the file would, shortened to ``limit`` characters and free of control characters."""
    if value is None:
        text = "nothing"
    elif isinstance(value, bool):
        text = "true" if value else "false"
    elif isinstance(value, list):
        text = "a list"
    elif isinstance(value, dict):
        text = "a mapping"
    elif isinstance(value, float | int):
        text = safe_str(value)
    else:
        text = str(value) or '""'
    text = "".join(letter if letter.isprintable() else json.dumps(letter)[1:-1] for letter in text)
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def safe_str(number: float) -> str:
    """Write a number, however long (Python refuses to write integers above 4,300 digits)."""
    try:
        return str(number)
    except ValueError:
        return "a very large number"


def reading(value: object) -> str:
    """Say what YAML made of a value: ``true``, ``the number 8``, ``a date``, ``a list``…"""
    if isinstance(value, bool) or value is None:
        return shown(value)
    if isinstance(value, int | float):
        return f"the number {shown(value)}"
    if isinstance(value, datetime):
        return "a date with a time"
    if isinstance(value, date):
        return "a date"
    return shown(value)


def text(value: object) -> str:
    """Return a non-empty text without control characters; raise :class:`Wrong` for anything else."""
    if not isinstance(value, str):
        raise Wrong(f"must be text, not {reading(value)}", repair_for_text(value))
    if not value.strip():
        raise Wrong("is empty", "write a value, or leave the key out")
    if any(not letter.isprintable() and letter not in "\n\t" for letter in value):
        raise Wrong("contains a control character", "remove it")
    return value


def repair_for_text(value: object) -> str:
    """Show the quoted spelling of a scalar that should have been text."""
    if isinstance(value, bool | int | float | date):
        return f'write "{shown(value)}" in quotes'
    return ""


def one_word(value: object, words: Iterable[str], asides: Mapping[str, str] | None = None) -> str:
    """Return ``value`` when it is one of ``words``; else raise :class:`Wrong` with the nearest of them.

    ``asides`` maps words that people write by mistake to the right one.
    """
    known = list(words)
    if isinstance(value, str) and value in known:
        return value
    meant = None
    if isinstance(value, str):
        meant = (asides or {}).get(value.lower()) or nearest(value, known)
    repair = f"did you mean {meant}?" if meant else f"write {listed(known)}"
    raise Wrong(f"{shown(value)} is not {listed(known)}", repair)


def flag(value: object) -> bool:
    """Return a truth value; raise :class:`Wrong` for anything else."""
    if isinstance(value, bool):
        return value
    raise Wrong(f"{shown(value)} is neither true nor false", "write true or false, without quotes")


def whole(value: object, minimum: int, maximum: int) -> int:
    """Return a whole number within the two bounds; raise :class:`Wrong` for anything else."""
    if isinstance(value, bool) or not isinstance(value, int):
        repair = "write the digits alone"
        if isinstance(value, str) and value.strip().isdecimal() and len(value) < 20:
            repair = f"write {int(value)}, without quotes"
        raise Wrong(f"{shown(value)} is not a whole number", repair)
    if not minimum <= value <= maximum:
        side = f"below {minimum}" if value < minimum else f"above {maximum}"
        fitting = f"a number from {minimum} to {maximum}" if minimum < maximum else str(minimum)
        raise Wrong(f"{shown(value)} is {side}", f"write {fitting}")
    return value
