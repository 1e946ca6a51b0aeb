"""Tell which routes could match a path, without asking each of them.

A :class:`PathIndex` is a trie over the segments of route templates. Its law: whatever a route's own
regular expression matches, the index offers that route, in the order of registration. It may offer
routes that do not match; it never hides one that does. So a scan of what it offers finds exactly
what a scan of all routes would. It knows nothing of requests and calls nothing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

Item = TypeVar("Item")

# Patterns of Starlette's own converters that cannot match a slash, with a value that each matches.
# Any other pattern may span segments, as far as we know.
_SEGMENT_SAMPLES = {
    "[^/]+": "x",
    "[0-9]+": "1",
    r"[0-9]+(\.[0-9]+)?": "1",
    "[0-9a-fA-F]{8}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{12}": (
        "00000000-0000-4000-8000-000000000000"
    ),
}
_REST_SAMPLES = {".*": "x"}
_PARAMETER = re.compile("{([a-zA-Z_][a-zA-Z0-9_]*)(:[a-zA-Z_][a-zA-Z0-9_]*)?}")
_PLAIN_FLAGS = re.compile("").flags


@dataclass(frozen=True, slots=True)
class Shape:
    """Be what is certain of a template: literal segments, None for one that varies, and an open end or not.

    ``sample`` is a path that the template matches, or empty when none is known.
    """

    segments: tuple[str | None, ...]
    is_open: bool
    sample: str = ""


ANYTHING = Shape((), is_open=True)


def shape_of(template: str, pattern: Any, convertors: Mapping[str, Any]) -> Shape:
    """Return the shape of a Starlette template; :data:`ANYTHING` when ``pattern`` is not what it compiles to.

    ``pattern`` is the compiled regular expression that the route matches with, ``convertors`` the
    route's converters by parameter name.
    """
    if not isinstance(pattern, re.Pattern) or pattern.flags != _PLAIN_FLAGS:
        return ANYTHING
    if not template.startswith("/") or "\n" in template:
        return ANYTHING  # with newlines in templates, two literals could match one path
    expected, sample, end = "^", "", 0
    segments: list[str | None] = []
    current: str | None = ""
    is_open = False
    for found in _PARAMETER.finditer(template):
        literal = template[end : found.start()]
        end = found.end()
        regex = getattr(convertors.get(found[1]), "regex", None)
        if not isinstance(regex, str):
            return ANYTHING
        expected += f"{re.escape(literal)}(?P<{found[1]}>{regex})"
        value = _SEGMENT_SAMPLES.get(regex, _REST_SAMPLES.get(regex))
        sample = f"{sample}{literal}{value}" if value is not None and (sample or not segments) else ""
        if not is_open:
            current = _extend(segments, current, literal)
            if regex in _SEGMENT_SAMPLES:
                current = None
            else:
                is_open = True
    literal = template[end:]
    expected += f"{re.escape(literal)}$"
    if pattern.pattern != expected:
        return ANYTHING
    if not is_open:
        segments.append(_extend(segments, current, literal))
    is_sampled = bool(pattern.match(sample + literal))
    return Shape(tuple(segments[1:]), is_open, sample + literal if is_sampled else "")


def _extend(segments: list[str | None], current: str | None, literal: str) -> str | None:
    """Close the segments that end in ``literal``; return the one that stays open (None: it varies)."""
    first, *others = literal.split("/")
    if current is not None:
        current += first
    for other in others:
        segments.append(current)
        current = other
    return current


@dataclass(slots=True)
class _Node(Generic[Item]):
    static: dict[str, _Node[Item]] = field(default_factory=dict)
    varying: _Node[Item] | None = None
    ends: list[tuple[int, Item]] = field(default_factory=list)
    opens: list[tuple[int, Item]] = field(default_factory=list)


class PathIndex(Generic[Item]):
    """Hold items by shape; see the law at the head of this module."""

    def __init__(self, items: Iterable[tuple[Shape, Item]] = ()) -> None:
        self._root: _Node[Item] = _Node()
        for order, (shape, item) in enumerate(items):
            node = self._root
            for segment in shape.segments:
                if segment is None:
                    if node.varying is None:
                        node.varying = _Node()
                    node = node.varying
                else:
                    node = node.static.setdefault(segment, _Node())
            (node.opens if shape.is_open else node.ends).append((order, item))

    def find(self, path: str) -> list[Item] | None:
        """Return every item that could match the decoded ``path``, in order; None: the index cannot tell.

        It cannot tell for a path without a leading slash, nor for one that ends in a newline, which
        the ``$`` of a regular expression looks past.
        """
        if path[:1] != "/" or path[-1] == "\n":
            return None
        nodes = [self._root]
        found = list(self._root.opens)
        for segment in path[1:].split("/"):
            below: list[_Node[Item]] = []
            for node in nodes:
                child = node.static.get(segment)
                if child is not None:
                    below.append(child)
                    if child.opens:
                        found += child.opens
                child = node.varying
                if child is not None:
                    below.append(child)
                    if child.opens:
                        found += child.opens
            if not below:
                break
            nodes = below
        else:
            for node in nodes:
                found += node.ends
        if len(found) > 1:
            found.sort(key=_order)
        return [item for _, item in found]

    def rivals(self, shape: Shape) -> list[Item]:
        """Return, in order, every item that could match a path which ``shape`` matches."""
        nodes = [self._root]
        found = list(self._root.opens)
        for segment in shape.segments:
            below: list[_Node[Item]] = []
            for node in nodes:
                static = node.static.values() if segment is None else [node.static.get(segment)]
                below += [child for child in (*static, node.varying) if child is not None]
            for node in below:
                found += node.opens
            nodes = below
        while nodes:
            for node in nodes:
                found += node.ends
            if not shape.is_open:
                break
            nodes = [
                child
                for node in nodes
                for child in (*node.static.values(), node.varying)
                if child is not None
            ]
            for node in nodes:
                found += node.opens
        found.sort(key=_order)
        return [item for _, item in found]


def _order(entry: tuple[int, Any]) -> int:
    return entry[0]
