"""Change one row of routing.yaml by machine, and nothing else: every other byte stays as it was.

The way is always the same: read the table, find the row in the text, make the smallest splices, read
the result again, and refuse it unless exactly the intended row differs in exactly the intended keys.
An edit that cannot be made so is an :class:`EditError`; then nothing is written.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from gateway.errors import EditError
from gateway.table.grammar import RowKey, parse_row_key, sort_methods
from gateway.table.layout import (
    Layout,
    Row,
    Splice,
    apply,
    end,
    indent,
    lay_out,
    line_end,
    line_start,
    start,
    write_key,
)
from gateway.table.read import parse_table
from gateway.table.row_change import Change, change_row, one_line
from gateway.table.spec import ANY_METHOD, WEBSOCKET, RouteSpec, Stage, TableSpec
from gateway.table.spelling import Wrong, listed, shown

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Change", "edit_row", "find_row", "write_atomically"]

_BOM = "\ufeff"
_SAMPLED = (Stage.SHADOW, Stage.CANARY, Stage.NEW)


def find_row(spec: TableSpec, typed: str) -> RouteSpec | None:
    """Return the row that a person means by ``GET /x``: that very row, else one that has these methods."""
    head, slash, tail = typed.strip().partition("/")
    try:
        key = parse_row_key(f"{head.upper()}{slash}{tail}")
    except Wrong:
        return None
    for row in spec.routes:
        if row.key == key.text:
            return row
    return next((row for row in spec.routes if row.path == key.path and _has(row.methods, key.methods)), None)


def edit_row(data: bytes, key: str, change: Change, *, source: str = "routing.yaml") -> bytes:
    """Return the bytes of the table with one row changed.

    ``key`` is ``METHODS PATH``: a row of the table; or some methods of a row, which are split off with
    a copy of its options; or no row yet (an endpoint that was implicit), which is added at the end.
    Raises :class:`EditError` when the table has errors, or when the change cannot be made.
    """
    before = _spec(data, source, "the table has errors, so it is not edited")
    wanted = _wanted(key, change)
    decoded = data.decode("utf-8")
    bom = _BOM if decoded.startswith(_BOM) else ""
    text, expected = _prepare(decoded.removeprefix(_BOM), before, wanted)
    layout = lay_out(text)
    if any(row.key == wanted for row in layout.rows):
        text = apply(text, change_row(layout, layout.row(wanted.text), change))
    else:
        text = apply(text, [_append(layout, wanted, change)])
    edited = (bom + text).encode("utf-8")
    after = _spec(edited, source, "the change would make the table wrong")
    _verify(before, after, expected, wanted.text, change)
    return edited


def _spec(data: bytes, source: str, why: str) -> TableSpec:
    parsed = parse_table(data, source=source, environ=None)
    errors = [problem for problem in parsed.problems if problem.is_error]
    if errors or parsed.spec is None:
        raise EditError(f"{why}: {errors[0] if errors else source}")
    return parsed.spec


def _wanted(key: str, change: Change) -> RowKey:
    try:
        wanted = parse_row_key(key)
    except Wrong as wrong:
        raise EditError(f"{shown(key)}: {wrong.message}; {wrong.repair}") from wrong
    if change.weight_bp is not None and change.stage is not Stage.CANARY:
        raise EditError(f"{wanted.text}: a weight means nothing at {change.stage}, only in canary")
    if change.sample_bp is not None and change.stage not in _SAMPLED:
        raise EditError(f"{wanted.text}: a sample means nothing at {change.stage}")
    return wanted


def _prepare(text: str, before: TableSpec, wanted: RowKey) -> tuple[str, dict[str, RouteSpec]]:
    """Split the row off when it is part of another; return the text and the rows as they are then."""
    rows = {row.key: row for row in before.routes}
    if wanted.text in rows:
        return text, rows
    beside = [row for row in before.routes if row.path == wanted.path]
    holders = [row for row in beside if set(row.methods) & set(wanted.methods)]
    if not holders:
        catch_all = next((row for row in beside if row.methods == (ANY_METHOD,)), None)
        if catch_all is None or WEBSOCKET in wanted.methods or ANY_METHOD in wanted.methods:
            return text, rows
        layout = lay_out(text)
        text = apply(text, [_copy(layout, layout.row(catch_all.key), wanted.methods)])
        return text, {**rows, wanted.text: replace(catch_all, key=wanted.text, methods=wanted.methods)}
    holder = holders[0]
    if len(holders) > 1 or not set(wanted.methods) < set(holder.methods):
        others = listed((row.key for row in holders), "and")
        raise EditError(f"{wanted.text}: its methods belong to {others}; edit those one by one")
    rest = sort_methods(tuple(set(holder.methods) - set(wanted.methods)))
    left = RowKey(rest, holder.path)
    layout = lay_out(text)
    row = layout.row(holder.key)
    renamed = _key_splice(layout, row, rest)
    text = apply(text, [renamed, _copy(layout, row, wanted.methods)])
    del rows[holder.key]
    rows[left.text] = replace(holder, key=left.text, methods=rest)
    rows[wanted.text] = replace(holder, key=wanted.text, methods=wanted.methods)
    return text, rows


def _written_key(row: Row, methods: Sequence[str]) -> str:
    """Write a key with some of a row's methods, in the order in which the file has them."""
    head, slash, path = row.key_node.value.partition("/")
    order = [word.strip() for word in head.split(",")]
    kept = [word for word in order if word in methods] or list(methods)
    blanks = head[len(head.rstrip()) :] or " "
    return write_key(
        f"{(', ' if ', ' in head else ',').join(kept)}{blanks}{slash}{path}",
        is_flow=row.is_flow,
        style=row.key_node.style or None,
    )


def _key_splice(layout: Layout, row: Row, methods: Sequence[str]) -> Splice:
    node = row.key_node
    return Splice(start(node), end(layout.text, node), _written_key(row, methods))


def _copy(layout: Layout, row: Row, methods: Sequence[str]) -> Splice:
    """Insert a copy of a row behind it, with other methods."""
    text, last = layout.text, end(layout.text, row.value)
    copied = _written_key(row, methods) + text[end(text, row.key_node) : last]
    if row.is_flow:
        return Splice(last, last, f", {copied}")
    place = line_end(text, last)
    return Splice(place, place, f"{layout.newline}{indent(text, row.key_node)}{copied}")


def _append(layout: Layout, key: RowKey, change: Change) -> Splice:
    """Add a row at the end of the rows, indented as the file is."""
    text, routes = layout.text, layout.routes
    if layout.rows and layout.rows[-1].is_flow:
        place = end(text, layout.rows[-1].value)
        return Splice(place, place, f", {write_key(key.text, is_flow=True)}: {one_line(change)}")
    row = f"{write_key(key.text, is_flow=False)}: {one_line(change)}"
    if layout.rows:
        place = line_end(text, end(text, layout.rows[-1].value))
        return Splice(place, place, f"{layout.newline}{indent(text, layout.rows[-1].key_node)}{row}")
    begin, stop = start(routes), end(text, routes)
    place = line_end(text, stop)
    behind = text[stop:place]
    if line_start(text, start(layout.routes_key)) != line_start(text, begin) or (
        behind.strip() and not behind.lstrip().startswith("#")
    ):
        raise EditError("the empty routes are written in an unusual way; write `routes:` and edit again")
    if begin < stop:
        begin -= len(text[:begin]) - len(text[:begin].rstrip(" "))
    return Splice(begin, place, f"{behind}{layout.newline}{_first_indent(layout)}{row}")


def _first_indent(layout: Layout) -> str:
    """Return how deep the file indents what stands under a key of its top; two blanks when it never does."""
    for _, value in layout.root.value:
        if isinstance(value, yaml.MappingNode) and not value.flow_style and value.value:
            return indent(layout.text, value.value[0][0])
    return "  "


def _verify(
    before: TableSpec, after: TableSpec, expected: dict[str, RouteSpec], key: str, change: Change
) -> None:
    """Refuse a result in which anything differs but the row that was meant, as it was meant."""
    wanted = {name: _bare(row) for name, row in expected.items()}
    found = {row.key: _bare(row) for row in after.routes}
    old, new = wanted.pop(key, None), found.pop(key, None)
    is_right = new is not None and wanted == found and _frame(before) == _frame(after)
    if new is not None and is_right:
        is_right = new.stage is change.stage
        is_right &= change.weight_bp in (None, new.weight_bp)
        is_right &= change.sample_bp in (None, new.sample_bp)
        if old is not None:
            is_right &= _settled(new) == _settled(old)
    if not is_right:
        raise EditError(f"{key} cannot be changed without touching more of the file; edit it by hand")


def _bare(row: RouteSpec) -> RouteSpec:
    """Return a row without what the file's layout decides: lines, and how its key is written."""
    rules = tuple(replace(rule, line=0) for rule in row.compare)
    return replace(row, written="", line=0, compare=rules)


def _settled(row: RouteSpec) -> RouteSpec:
    return replace(row, stage=Stage.LEGACY, weight_bp=0, sample_bp=0, written_sample_bp=None)


def _frame(spec: TableSpec) -> TableSpec:
    legacy, new = replace(spec.legacy, line=0), replace(spec.new, line=0)
    return replace(spec, legacy=legacy, new=new, shared_line=0, routes=(), digest="")


def _has(methods: Sequence[str], wanted: Sequence[str]) -> bool:
    return set(wanted) <= set(methods)


def write_atomically(path: Path, data: bytes) -> None:
    """Replace a file at once: a reader sees all of the old or all of the new, also after a power cut.

    A symbolic link keeps pointing where it points, and its target is replaced. The file's mode, and
    where permitted its owner, stay. Raises :class:`EditError` when the file cannot be written.
    """
    target = Path(os.path.realpath(path))
    try:
        _write_atomically(target, data)
    except OSError as error:
        raise EditError(f"{path} cannot be written: {error.strerror or error}") from error


def _write_atomically(target: Path, data: bytes) -> None:
    known = target.stat() if target.exists() else None
    descriptor, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.", suffix=".tmp")
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            if known is not None:
                with contextlib.suppress(PermissionError):
                    os.fchown(file.fileno(), known.st_uid, known.st_gid)
            os.fchmod(file.fileno(), known.st_mode & 0o7777 if known is not None else 0o644)
            os.fsync(file.fileno())
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    directory = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
