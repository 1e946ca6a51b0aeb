"""Find the one route of a request: a tree per method, walked segment by segment, most specific first.

The law of this file, held by property tests: among implicit rows the walk makes Werkzeug's choice
(werkzeug/routing/matcher.py) - the same parts, the same order, the same treatment of trailing slashes -
and a listed row stands where :class:`~gateway.table.template.Kind` puts it. Every node of a tree is
entered at most once per walk, since there is one way to it: the cost of a match is bounded by the
length of the table, and for ordinary tables it is the length of the path. Nothing backtracks twice.

A match may end at a *stop*: the path is settled, and it is legacy's (a redirect that Werkzeug makes, a
text that a converter rejects). It reads as None, but no looser row is asked.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import IntEnum
from math import inf
from typing import TYPE_CHECKING

from gateway.table.template import Kind

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from gateway.table.route import Route
    from gateway.table.template import Part, Weighting


class Slash(IntEnum):
    """Say what becomes of the path that differs from an entry's by a trailing slash alone."""

    EXACT = 0  # it is another path
    REDIRECT = 1  # Flask's strict slashes: `/foo` is redirected to `/foo/`, before any looser rule
    SERVE = 2  # strict_slashes=False: both are served


class Guard(IntEnum):
    """Say what is checked of the parameters' texts besides their expressions."""

    NONE = 0
    NUMBERS = 1  # ASCII digits only, and not so many of them that int() refuses
    VALUES = 2  # every converter's own to_python


@dataclass(frozen=True, slots=True)
class Entry:
    """Be one route's claim to one template for some methods (None: any method).

    ``order`` is the place that Werkzeug's own order gives it (infinite when it claims no rule).
    ``is_stopping`` tells that a redirect of Werkzeug's is left to legacy, and not this route's.
    """

    route: Route
    parts: tuple[Part, ...]
    methods: frozenset[str] | None
    is_listed: bool = True
    order: float = inf
    slash: Slash = Slash.EXACT
    guard: Guard = Guard.NONE
    is_stopping: bool = False
    is_following: bool = False


_Leaf = tuple["Route | None", Guard]
_STOP: _Leaf = (None, Guard.NONE)
_NUMBERS = Guard.NUMBERS  # a look at an enumeration costs a match more than its other steps

# How an edge tests a segment: the two commonest expressions need no regular expression.
_SEGMENT, _DIGITS, _REGEX, _REST = range(4)
_PLAIN_PATTERNS = ("(?P<_0>[^/]{1,})", "(?P<_0>[^/]+)")
_DIGITS_PATTERN = r"(?P<_0>\d+)"
_PATIENCE = 4_000
"""Paths up to this length (characters) cannot hold a number that int() refuses (4,300 digits)."""


class Node:
    """Be one place in a tree: the ways on, and what ends here."""

    __slots__ = ("edges", "end", "entries", "loose", "statics", "waiting")

    def __init__(self) -> None:
        self.statics: dict[str, Node] = {}
        self.edges: tuple[tuple[int, re.Pattern[str] | None, Node, bool], ...] = ()
        self.waiting: dict[tuple[str, bool, bool, Weighting], _Edge] = {}
        self.entries: list[Entry] = []
        self.end: _Leaf | None = None
        self.loose: _Leaf | None = None


class _Edge:
    """Be one way on by a part with parameters, while the tree grows."""

    __slots__ = ("is_listed", "node", "order", "part")

    def __init__(self, part: Part) -> None:
        self.part = part
        self.node = Node()
        self.is_listed = False
        self.order = inf

    def rank(self) -> tuple[Kind, Weighting, float]:
        return (self.part.kind, self.part.weighting, self.order)


class Tree:
    """Be the tree of one method; ``literals`` holds the paths that are settled without a walk."""

    __slots__ = ("literals", "root")

    def __init__(self, entries: Iterable[Entry]) -> None:
        self.root = Node()
        for entry in entries:
            _grow(self.root, entry)
        nodes = list(_every(self.root))
        for node in nodes:
            node.entries.sort(key=_precedence)
            node.edges = _arrange(node.waiting.values())
            node.waiting = {}
        for node in nodes:
            _settle(node)
        # A static part is always tried first, so a path of static parts alone is the walk's first end.
        self.literals = dict(_literal_paths(self.root))


class TreeMatcher:
    """Match requests against a table's entries; see :class:`gateway.table.route.Matcher`.

    ``fallback`` is asked about paths that nothing else takes.
    """

    __slots__ = ("_all", "_any", "_fallback", "_trees")

    def __init__(self, entries: Iterable[Entry], fallback: TreeMatcher | None = None) -> None:
        entries = list(entries)
        methods: set[str] = set()
        for entry in entries:
            methods |= entry.methods or frozenset()
        if "GET" in methods:
            methods.add("HEAD")
        self._trees = {method: Tree(_taking(method, entries)) for method in sorted(methods)}
        self._any = Tree(entry for entry in entries if entry.methods is None)
        self._all = Tree(entries)
        self._fallback = fallback

    def match(self, method: str, path: str) -> Route | None:
        """Return the most specific route that takes ``method`` on the decoded ``path``, or None."""
        tree = self._trees.get(method, self._any)
        leaf = tree.literals.get(path)
        if leaf is None:
            if path[:2] == "//":
                path = "/" + path.lstrip("/")
            if path[-1:] == "\n":
                return None
            leaf = _walk(tree.root, path)
            if leaf is None:
                return None if self._fallback is None else self._fallback.match(method, path)
        route, guard = leaf
        if guard:
            is_plain = guard is _NUMBERS and len(path) < _PATIENCE and path.isascii()
            if not is_plain and route is not None and not route.template.accepts(path):
                return None
        return route

    def routes_at(self, path: str) -> tuple[Route, ...]:
        """Return every route whose template takes ``path``, whatever its methods, best first."""
        if path[:2] == "//":
            path = "/" + path.lstrip("/")
        if path[-1:] == "\n":
            return ()
        found = _collect(self._all.root, path)
        return tuple(dict.fromkeys(entry.route for entry in found))


def _taking(method: str, entries: Iterable[Entry]) -> Iterator[Entry]:
    for entry in entries:
        if entry.methods is None or method in entry.methods:
            yield entry
        elif method == "HEAD" and "GET" in entry.methods:
            yield _following(entry)


def _following(entry: Entry) -> Entry:
    return Entry(
        entry.route,
        entry.parts,
        entry.methods,
        entry.is_listed,
        entry.order,
        entry.slash,
        entry.guard,
        entry.is_stopping,
        is_following=True,
    )


def _precedence(entry: Entry) -> tuple[bool, bool, bool, float]:
    """Order the entries of one end: explicit methods, HEAD itself, listed rows, then Flask's order."""
    return (entry.methods is None, entry.is_following, not entry.is_listed, entry.order)


def _grow(root: Node, entry: Entry) -> None:
    node = root
    for part in entry.parts:
        if part.kind is Kind.LITERAL:
            node = node.statics.setdefault(part.pattern, Node())
            continue
        key = (part.pattern, part.is_final, part.is_suffixed, part.weighting)
        edge = node.waiting.get(key)
        if edge is None:
            edge = node.waiting[key] = _Edge(part)
        edge.is_listed = edge.is_listed or entry.is_listed
        edge.order = min(edge.order, entry.order)
        node = edge.node
    node.entries.append(entry)


def _every(root: Node) -> Iterator[Node]:
    waiting = [root]
    while waiting:
        node = waiting.pop()
        yield node
        waiting.extend(node.statics.values())
        waiting.extend(edge.node for edge in node.waiting.values())


def _arrange(edges: Iterable[_Edge]) -> tuple[tuple[int, re.Pattern[str] | None, Node, bool], ...]:
    """Put a node's edges in the order in which they are tried.

    Edges that only implicit rows use keep Werkzeug's order, whatever it is (it tries `/<path:p>/edit`
    before `/<name>`). An edge of a listed row stands behind every more specific one.
    """
    edges = list(edges)
    ordered = [edge for edge in edges if not edge.is_listed]
    ordered.sort(key=lambda edge: (edge.part.weighting, edge.order))
    ranks = [edge.rank() for edge in ordered]
    for edge in sorted((edge for edge in edges if edge.is_listed), key=_Edge.rank):
        rank = edge.rank()
        place = max((i + 1 for i, other in enumerate(ranks) if other <= rank), default=0)
        ordered.insert(place, edge)
        ranks.insert(place, rank)
    made = []
    for edge in ordered:
        test = _test_of(edge.part)
        if test is not None:
            made.append((*test, edge.node, edge.part.is_suffixed))
    return tuple(made)


def _test_of(part: Part) -> tuple[int, re.Pattern[str] | None] | None:
    if part.is_final:
        return _compile(_REST, part.pattern)
    if part.pattern in _PLAIN_PATTERNS:
        return _SEGMENT, None
    if part.pattern == _DIGITS_PATTERN:
        return _DIGITS, None
    return _compile(_REGEX, part.pattern)


def _compile(kind: int, pattern: str) -> tuple[int, re.Pattern[str]] | None:
    try:
        return kind, re.compile(pattern + r"\Z")
    except re.error:
        # The app's own converter is broken; its router fails on it, too, and legacy says how.
        return None


def _settle(node: Node) -> None:
    """Decide what a walk finds that ends at ``node``."""
    if node.entries:
        first = node.entries[0]
        node.end = (first.route, first.guard)
        for entry in node.entries:
            if entry.slash is Slash.SERVE:
                node.loose = (entry.route, entry.guard)
                break
        return
    for entry in _slash_entries(node):
        is_stop = entry.slash is Slash.REDIRECT and entry.is_stopping
        node.end = _STOP if is_stop else (entry.route, entry.guard)
        return


def _slash_entries(node: Node) -> list[Entry]:
    child = node.statics.get("")
    return [] if child is None else [entry for entry in child.entries if entry.slash is not Slash.EXACT]


def _literal_paths(root: Node) -> Iterator[tuple[str, _Leaf]]:
    waiting = [("", root)]
    while waiting:
        path, node = waiting.pop()
        if node.end is not None and path:
            yield path, node.end
        waiting.extend((f"{path}/{text}", child) for text, child in node.statics.items())


def _walk(node: Node, path: str) -> _Leaf | None:
    """Return the first end that the walk reaches, or None."""
    segments = path.split("/")
    count = len(segments)
    place = 1
    start = -1  # the edge to try next; -1: the node is new, and its static parts come first
    stack: list[tuple[Node, int, int]] = []
    while True:
        if start < 0:
            if place == count:
                if node.end is not None:
                    return node.end
                start = -2
            else:
                child = node.statics.get(segments[place])
                if child is not None:
                    if node.edges or node.loose is not None:
                        stack.append((node, place, 0))
                    node = child
                    place += 1
                    continue
                start = 0
        if start >= 0:
            edges = node.edges
            number = len(edges)
            while start < number:
                kind, regex, child, is_suffixed = edges[start]
                start += 1
                after = place + 1
                if kind == _SEGMENT:
                    if not segments[place]:
                        continue
                elif kind == _DIGITS:
                    if not segments[place].isdecimal():
                        continue
                else:
                    text = segments[place] if kind == _REGEX else "/".join(segments[place:])
                    found = regex.match(text)  # type: ignore[union-attr] # both kinds have an expression
                    if found is None:
                        continue
                    if kind == _REST:
                        has_slash = is_suffixed and found[found.re.groups] == "/"
                        after = count - 1 if has_slash else count
                if start < number or node.loose is not None:
                    stack.append((node, place, start))
                node, place, start = child, after, -1
                break
            else:
                if node.loose is not None and place == count - 1 and not segments[place]:
                    return node.loose
                start = -2
            if start == -1:
                continue
        if not stack:
            return None
        node, place, start = stack.pop()


def _collect(node: Node, path: str) -> Iterator[Entry]:
    """Return every entry that takes ``path``, in the order of the walk."""
    segments = path.split("/")
    count = len(segments)
    stack: list[tuple[Node, int]] = [(node, 1)]
    while stack:
        node, place = stack.pop()
        if place == count:
            yield from node.entries
            yield from _slash_entries(node)
            continue
        ways: list[tuple[Node, int]] = []
        child = node.statics.get(segments[place])
        if child is not None:
            ways.append((child, place + 1))
        for kind, regex, child, is_suffixed in node.edges:
            after = _after(kind, regex, segments, place, is_suffixed)
            if after:
                ways.append((child, after))
        if place == count - 1 and not segments[place]:
            loose = [entry for entry in node.entries if entry.slash is Slash.SERVE]
            if loose:
                leaf = Node()
                leaf.entries = loose
                ways.append((leaf, count))
        stack.extend(reversed(ways))


def _after(
    kind: int, regex: re.Pattern[str] | None, segments: list[str], place: int, is_suffixed: bool
) -> int:
    """Return the place behind what an edge takes, or 0 when it does not take the segment."""
    if regex is None:
        is_taken = bool(segments[place]) if kind == _SEGMENT else segments[place].isdecimal()
        return place + 1 if is_taken else 0
    found = regex.match(segments[place] if kind == _REGEX else "/".join(segments[place:]))
    if found is None:
        return 0
    if kind == _REGEX:
        return place + 1
    return len(segments) - 1 if is_suffixed and found[found.re.groups] == "/" else len(segments)
