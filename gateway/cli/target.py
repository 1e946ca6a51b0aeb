"""Find the row that a person means: by `METHOD PATH` in either spelling, by a path of its own, or by id."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.errors import EditError
from gateway.table.compile import route_id
from gateway.table.grammar import parse_row_key
from gateway.table.spec import ANY_METHOD
from gateway.table.spelling import Wrong, listed

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from gateway.table.spec import RouteSpec

_ID = re.compile(r"[0-9a-f]{12}")
_PARAMETER = re.compile(r"\{[^{}]*\}|<[^<>]*>")


@dataclass(frozen=True, slots=True)
class Target:
    """Be the row that is meant. ``key`` may name fewer methods than ``spec``, the row as it stands, has."""

    key: str
    spec: RouteSpec


def shape_of(path: str) -> str:
    """Return a path in either spelling with every parameter as ``{}``."""
    return _PARAMETER.sub("{}", path)


def find_target(text: str, rows: Iterable[RouteSpec]) -> Target | None:
    """Return the row that ``text`` means among ``rows``; None when it means none of them.

    Raises :class:`~gateway.errors.EditError` when it means several.
    """
    rows = list(rows)
    text = text.strip()
    if _ID.fullmatch(text):
        return next((Target(row.key, row) for row in rows if route_id(row.key) == text), None)
    if text.startswith("/"):
        return _only(text, [row for row in rows if row.path == text] or _of_shape(text, rows))
    head, slash, tail = text.partition("/")
    methods = tuple(word for word in re.split(r"[,\s]+", head.upper()) if word)
    path = f"{slash}{tail}"
    if not slash or not methods:
        return None
    near = [row for row in rows if row.path == path] or _of_shape(path, rows)
    for row in near:
        if set(row.methods) == set(methods):
            return Target(row.key, row)
    holding = [row for row in near if set(methods) <= set(row.methods)]
    holding = holding or [row for row in near if row.methods == (ANY_METHOD,)]
    found = _only(text, holding)
    if found is None:
        return None
    try:
        key = parse_row_key(f"{','.join(methods)} {found.spec.path}").text
    except Wrong as wrong:
        raise EditError(f"{text}: {wrong.message}; {wrong.repair}") from wrong
    return Target(key, found.spec)


def _of_shape(path: str, rows: Iterable[RouteSpec]) -> list[RouteSpec]:
    shape = shape_of(path)
    return [row for row in rows if shape_of(row.path) == shape]


def _only(text: str, rows: Sequence[RouteSpec]) -> Target | None:
    if len(rows) > 1:
        keys = listed((f"'{row.key}'" for row in rows), "or")
        raise EditError(f"{text} is the path of {len(rows)} rows; name one: {keys}")
    return Target(rows[0].key, rows[0]) if rows else None


def suggest(text: str, rows: Iterable[RouteSpec]) -> str:
    """Return a question that names the rows nearest to ``text``, or an empty text."""
    keys = list(dict.fromkeys(row.key for row in rows))
    by_shape = {shape_of(key): key for key in keys}
    near = difflib.get_close_matches(shape_of(text), by_shape, n=3, cutoff=0.6)
    if not near and "/" in text:
        path = text[text.index("/") :]
        near = [shape for shape in by_shape if shape_of(path) in shape][:3]
    return f"did you mean {listed((f'`{by_shape[shape]}`' for shape in near), 'or')}?" if near else ""
