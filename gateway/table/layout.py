"""Find where the rows of a table stand in its text, and cut and insert there.

A splice replaces one stretch of characters; everything outside of the splices stays as it is. The
positions come from PyYAML's marks, which count characters of the text without its byte order mark.
Only a text that :func:`gateway.table.read.parse_table` accepts may come here.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import yaml

from gateway.errors import EditError
from gateway.table.grammar import RowKey, parse_row_key
from gateway.table.spelling import Wrong

if TYPE_CHECKING:
    from collections.abc import Iterable

Loader = yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader


@dataclass(frozen=True, slots=True, order=True)
class Splice:
    """Replace the characters from ``start`` up to ``end`` (none: insert) by ``text``."""

    start: int
    end: int
    text: str


def apply(text: str, splices: Iterable[Splice]) -> str:
    """Return ``text`` with the splices made, which may touch but never overlap."""
    ordered = sorted(splices)
    for before, after in pairwise(ordered):
        if after.start < before.end:
            raise EditError("the change does not fit the way the row is written; edit the file by hand")
    for splice in reversed(ordered):
        text = text[: splice.start] + splice.text + text[splice.end :]
    return text


@dataclass(frozen=True, slots=True)
class Row:
    """Be one row as it stands in the text; ``is_flow`` when the rows stand within ``{ }``."""

    key: RowKey
    key_node: yaml.ScalarNode
    value: yaml.Node
    is_flow: bool


@dataclass(frozen=True, slots=True)
class Layout:
    """Be the text of a table with the places of its rows."""

    text: str
    root: yaml.MappingNode
    routes_key: yaml.Node
    routes: yaml.Node
    rows: tuple[Row, ...]

    def row(self, key: str) -> Row:
        """Return the row with a canonical key; raise :class:`EditError` where there is none."""
        found = next((row for row in self.rows if row.key.text == key), None)
        if found is None:
            raise EditError(f"{key} is not where it should stand; edit the file by hand")
        return found

    @property
    def newline(self) -> str:
        """Return the line ending that the file uses first."""
        found = re.search(r"\r\n|\n|\r", self.text)
        return found[0] if found else "\n"


def lay_out(text: str) -> Layout:
    """Return where the rows of an accepted table stand."""
    try:
        root = yaml.compose(text, Loader=Loader)
    except yaml.YAMLError as error:
        raise EditError("the row cannot be split as it is written; edit the file by hand") from error
    if not isinstance(root, yaml.MappingNode):
        raise EditError("the file holds no table")
    for key, value in root.value:
        if key.value == "routes":
            return Layout(text, root, key, value, tuple(_rows(value)))
    raise EditError("the file has no routes")


def _rows(routes: yaml.Node) -> Iterable[Row]:
    if isinstance(routes, yaml.MappingNode):
        for key, value in routes.value:
            try:
                yield Row(parse_row_key(key.value), key, value, bool(routes.flow_style))
            except Wrong as wrong:
                raise EditError(f"{key.value}: {wrong.message}") from wrong


def start(node: yaml.Node) -> int:
    """Return where a node begins."""
    assert node.start_mark is not None  # noqa: S101 - a composed node has marks; the stubs allow for others
    return node.start_mark.index


def end(text: str, node: yaml.Node) -> int:
    """Return where a node's last character stands, without the blanks and comments that follow it."""
    if isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
        last = node.value[-1]
        return end(text, last[1] if isinstance(last, tuple) else last)
    assert node.end_mark is not None  # noqa: S101 - as above
    stop = node.end_mark.index
    if isinstance(node, yaml.ScalarNode) and node.style in ("|", ">"):
        return start(node) + len(text[start(node) : stop].rstrip())
    return stop


def line_start(text: str, index: int) -> int:
    """Return the beginning of the line that holds ``index``."""
    return max(text.rfind("\n", 0, index), text.rfind("\r", 0, index)) + 1


def line_end(text: str, index: int) -> int:
    """Return the end of the line that holds ``index``, before its line break."""
    found = re.compile(r"[\r\n]").search(text, index)
    return found.start() if found else len(text)


def indent(text: str, node: yaml.Node) -> str:
    """Return the blanks before a key that begins its line."""
    blanks = text[line_start(text, start(node)) : start(node)]
    if blanks.strip(" "):
        raise EditError("a row does not begin its line; edit the file by hand")
    return blanks


def write_key(key: str, *, is_flow: bool, style: str | None = None) -> str:
    """Write a row's key, in quotes where it must or where ``style`` says so."""
    if style == "'":
        return "'" + key.replace("'", "''") + "'"
    is_plain = style is None and not is_flow and _reads_plain(key)
    return key if is_plain else json.dumps(key, ensure_ascii=False)


def _reads_plain(key: str) -> bool:
    try:
        return bool(yaml.load(f"{key}: x", Loader=Loader) == {key: "x"})  # noqa: S506 - a safe loader
    except yaml.YAMLError:
        return False
