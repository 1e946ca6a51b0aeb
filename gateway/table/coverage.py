"""Tell which templates can take the same paths, and find them among thousands without asking each.

``covers`` and ``overlaps`` reason about converters by name and expression. Where that cannot settle a
question, ``covers`` says no and ``overlaps`` says yes, so that doubt shows as a warning, not as silence.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from gateway.table.converters import are_disjoint
from gateway.table.converters import covers as converter_covers
from gateway.table.template import Kind, Parameter

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.table.template import Part, Template

_ANYTHING = ("[^/].*?", ".*", ".*?")

T = TypeVar("T")


def covers(wide: Template, narrow: Template) -> bool:
    """Tell whether every path of ``narrow`` is certainly a path of ``wide``."""
    for place, part in enumerate(wide.parts):
        if place >= len(narrow.parts):
            return False
        if part.is_final:
            return _final_covers(part, wide.parts[place:], narrow.parts[place:])
        other = narrow.parts[place]
        if other.is_final or not _part_covers(part, other):
            return False
    return len(wide.parts) == len(narrow.parts)


def overlaps(one: Template, other: Template) -> bool:
    """Tell whether some path may be a path of both."""
    for place in range(max(len(one.parts), len(other.parts))):
        if place >= len(one.parts) or place >= len(other.parts):
            return False
        this, that = one.parts[place], other.parts[place]
        if this.is_final or that.is_final:
            return _rests_overlap(one.parts[place:], other.parts[place:])
        if not _parts_overlap(this, that):
            return False
    return True


def _part_covers(wide: Part, narrow: Part) -> bool:
    if wide.kind is Kind.LITERAL:
        return narrow.kind is Kind.LITERAL and wide.literal == narrow.literal
    if narrow.kind is Kind.LITERAL:
        return _takes(wide, narrow.literal)
    if wide.kind is Kind.PLAIN and len(wide.pieces) == 1:
        return True
    return _pieces_cover(wide.pieces, narrow.pieces)


def _pieces_cover(wide: tuple[str | Parameter, ...], narrow: tuple[str | Parameter, ...]) -> bool:
    if len(wide) != len(narrow):
        return False
    for this, that in zip(wide, narrow, strict=True):
        if isinstance(this, str) or isinstance(that, str):
            if this != that:
                return False
        elif not converter_covers(this.converter, that.converter):
            return False
    return True


def _final_covers(final: Part, wide: tuple[Part, ...], narrow: tuple[Part, ...]) -> bool:
    only = final.pieces[0] if len(final.pieces) == 1 else None
    if isinstance(only, Parameter) and len(wide) == 1 and only.converter.regex in _ANYTHING:
        # Starlette's path may be empty, Werkzeug's may not.
        return (
            only.converter.regex != "[^/].*?" or narrow[0].literal != "" or narrow[0].kind is not Kind.LITERAL
        )
    if all(part.kind is Kind.LITERAL for part in narrow):
        return _takes(final, "/".join(part.literal for part in narrow))
    return (
        len(wide) == len(narrow)
        and narrow[0].is_final
        and final.is_suffixed == narrow[0].is_suffixed
        and _pieces_cover(final.pieces, narrow[0].pieces)
    )


def _parts_overlap(one: Part, other: Part) -> bool:
    if one.kind is Kind.LITERAL and other.kind is Kind.LITERAL:
        return one.literal == other.literal
    if one.kind is Kind.LITERAL:
        return _takes(other, one.literal)
    if other.kind is Kind.LITERAL:
        return _takes(one, other.literal)
    first, second = one.pieces[0], other.pieces[0]
    if isinstance(first, str) and isinstance(second, str) and not _is_prefix(first, second):
        return False
    last, final = one.pieces[-1], other.pieces[-1]
    if isinstance(last, str) and isinstance(final, str) and not _is_prefix(last[::-1], final[::-1]):
        return False
    if (
        len(one.pieces) == len(other.pieces) == 1
        and isinstance(first, Parameter)
        and isinstance(second, Parameter)
    ):
        return not are_disjoint(first.converter, second.converter)
    return True


def _is_prefix(one: str, other: str) -> bool:
    return one.startswith(other) or other.startswith(one)


def _rests_overlap(one: tuple[Part, ...], other: tuple[Part, ...]) -> bool:
    for this, that in ((one, other), (other, one)):
        if all(part.kind is Kind.LITERAL for part in that):
            text = "/".join(part.literal for part in that)
            return _takes(this[0], text)
    return True


def _takes(part: Part, text: str) -> bool:
    try:
        return re.match(part.pattern + r"\Z", text) is not None
    except re.error:
        return False


@dataclass(slots=True, eq=False)
class _Found(Generic[T]):
    template: Template
    item: T
    number: int


class _Place(Generic[T]):
    __slots__ = ("ends", "literals", "rests", "variable")

    def __init__(self) -> None:
        self.literals: dict[str, _Place[T]] = {}
        self.variable: _Place[T] | None = None
        self.rests: list[_Found[T]] = []
        self.ends: list[_Found[T]] = []


class TemplateIndex(Generic[T]):
    """Find, among many templates, those that may take a path of a given one; in the order of adding."""

    def __init__(self, items: Iterable[tuple[Template, T]]) -> None:
        self._root: _Place[T] = _Place()
        for number, (template, item) in enumerate(items):
            self._add(_Found(template, item, number))

    def _add(self, found: _Found[T]) -> None:
        place = self._root
        for part in found.template.parts:
            if part.is_final:
                place.rests.append(found)
                return
            if part.kind is Kind.LITERAL:
                place = place.literals.setdefault(part.literal, _Place())
            else:
                if place.variable is None:
                    place.variable = _Place()
                place = place.variable
        place.ends.append(found)

    def overlapping(self, template: Template) -> list[tuple[Template, T]]:
        """Return the templates that overlap ``template``, with their items, in the order of adding."""
        near: list[_Found[T]] = []
        waiting = [(self._root, 0)]
        while waiting:
            place, step = waiting.pop()
            near.extend(place.rests)
            if step == len(template.parts):
                near.extend(place.ends)
                continue
            part = template.parts[step]
            if part.is_final:
                near.extend(_below(place))
                continue
            if part.kind is Kind.LITERAL:
                child = place.literals.get(part.literal)
                if child is not None:
                    waiting.append((child, step + 1))
            else:
                waiting.extend((child, step + 1) for child in place.literals.values())
            if place.variable is not None:
                waiting.append((place.variable, step + 1))
        unique = {found.number: found for found in near}
        return [
            (found.template, found.item)
            for _, found in sorted(unique.items())
            if overlaps(found.template, template)
        ]


def _below(place: _Place[T]) -> Iterable[_Found[T]]:
    waiting = [place]
    while waiting:
        this = waiting.pop()
        yield from this.rests
        yield from this.ends
        waiting.extend(this.literals.values())
        if this.variable is not None:
            waiting.append(this.variable)
