"""Turn what was found into what is shown: bounded texts, redacted, and a sentence for people."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from gateway.compare.difference import Difference, Kind, Waiver
from gateway.compare.json_text import ABSENT, bounded, is_same_shape, show
from gateway.compare.sentences import sentence
from gateway.compare.text import first_lines, unified_diff

if TYPE_CHECKING:
    from gateway.compare.found import Found
    from gateway.compare.redaction import Redactor


def difference(
    found: Found, waiver: Waiver | None, redactor: Redactor | None, method: str = ""
) -> Difference:
    """Return ``found`` as it is kept and shown."""
    if found.control is ABSENT and found.candidate is ABSENT and (waiver is None or waiver.rule is None):
        return _without_values(found, waiver, method)
    return _with_values(found, waiver, redactor, method)


@lru_cache(maxsize=1024)
def _without_values(found: Found, waiver: Waiver | None, method: str) -> Difference:
    """Return what is the same for every answer: Flask's trailing newline, once a comparison."""
    return Difference(found.kind, found.shown_place, None, None, sentence(found, method), waiver)


def _with_values(found: Found, waiver: Waiver | None, redactor: Redactor | None, method: str) -> Difference:
    diff = ""
    left: str | None
    right: str | None
    if found.kind is Kind.TEXT:
        texts = [str(each) for each in (found.control, found.candidate)]
        if redactor is not None:
            texts = [redactor.text(each) for each in texts]
        diff = unified_diff(*texts)
        left, right = first_lines(*texts)
    else:
        left, right = (shown(found, each, redactor) for each in (found.control, found.candidate))
    is_shape = is_same_shape(found.control, found.candidate) and found.control is not ABSENT
    return Difference(
        found.kind, found.shown_place, left, right, sentence(found, method), waiver, is_shape, diff
    )


def shown(found: Found, value: object, redactor: Redactor | None) -> str | None:
    """Return a value as people see it: None for nothing, JSON for what stands in JSON, else plain text."""
    if value is ABSENT:
        return None
    if isinstance(found.place, str) and isinstance(value, str):
        return bounded(_plain(found, value, redactor))
    if redactor is None:
        return show(value)
    names = found.place if not isinstance(found.place, str) else (found.place.rpartition(".")[2],)
    return redactor.shown(value, names)


def _plain(found: Found, value: str, redactor: Redactor | None) -> str:
    if redactor is None:
        return value
    place = str(found.place)
    if found.kind is Kind.BYTES:
        return value.partition(":")[0]  # nobody knows what such bytes hold
    if place.startswith("cookie:"):
        return value if ";" in place else redactor.digest(value)
    if place.startswith("header:"):
        return redactor.header(place[7:], value)
    if found.kind is Kind.EFFECTS_ROWS and redactor.is_secret(place.rpartition(".")[2]):
        return redactor.digest(value)
    return redactor.text(redactor.json_text(value))
