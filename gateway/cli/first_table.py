"""Write the first table of a migration: every rule of the legacy app as a row at stage legacy.

The law: what is written loads without an error and serves the legacy app unchanged. So the text is held
against both apps before anyone sees it, and a rule that the table cannot say stays implicit, with a comment.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import yaml

from gateway.cli.endpoints import new_place
from gateway.cli.loaded import shown_place
from gateway.errors import GatewayError
from gateway.table.compile import compile_table
from gateway.table.grammar import METHOD_ORDER
from gateway.table.read import parse_table
from gateway.table.template import TemplateError, parse_template

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import date

    from gateway.table.inventory import LegacyInventory, LegacyRule, NewInventory, NewRoute
    from gateway.table.route import Route

_COMMENT_COLUMN = 56
_MOST_ATTEMPTS = 8


@dataclass(frozen=True, slots=True)
class Row:
    """Be one row to write: its key, the rule that it stands for, and the new route that it could move to."""

    key: str
    rule: LegacyRule
    new: NewRoute | None


@dataclass(frozen=True, slots=True)
class FirstTable:
    """Be the text of a first table, with how many rows it lists and which rules it had to leave implicit."""

    text: str
    rows: int
    ready: int
    left_out: tuple[str, ...]
    is_legacy_known: bool


def write_first_table(
    legacy: LegacyInventory,
    new: NewInventory,
    *,
    legacy_import: str,
    new_import: str,
    today: date,
    has_schema_beside: bool = False,
) -> FirstTable:
    """Return the table for two apps; raise :class:`~gateway.errors.GatewayError` if none loads."""
    head = _head(legacy_import, new_import, has_schema_beside=has_schema_beside)
    empty = f"{head}routes: {{}}\n"
    rows, left_out = _rows(_implicit_routes(empty, legacy, new, today), legacy, new)
    for _ in range(_MOST_ATTEMPTS):
        text, lines = _assemble(head, rows, left_out, legacy)
        refused = _refused_lines(text, legacy, new, today)
        if not refused:
            ready = sum(row.new is not None for row in rows)
            return FirstTable(text, len(rows), ready, tuple(left_out), legacy.is_known)
        unwritable = [row for row in rows if lines[row.key] in refused] or rows
        rows = [row for row in rows if row not in unwritable]
        left_out = [*left_out, *(_named(row.rule) for row in unwritable)]
    raise GatewayError("no first table could be written that loads; `gateway check` on an empty one says why")


def _head(legacy_import: str, new_import: str, *, has_schema_beside: bool) -> str:
    schema = "# yaml-language-server: $schema=routing.schema.json\n" if has_schema_beside else ""
    return (
        f"{schema}"
        "# The migration table: who answers which endpoint.\n"
        "#\n"
        "# A row is `METHODS PATH: STAGE`. Stages, on the way of one endpoint:\n"
        "#   legacy      the Flask app answers, as before\n"
        "#   shadow      legacy answers; new gets a copy, and the two answers are compared\n"
        "#   canary 5%   new answers 5% of the callers, the same ones every time\n"
        "#   new         new answers\n"
        "#   retired     new answers, and legacy's code can go\n"
        "# What is not listed is served by legacy. Saving this file is enough: it is read again at once.\n"
        "version: 1\n"
        "\n"
        "backends:\n"
        "  legacy:\n"
        f"    {_backend('wsgi', legacy_import)}\n"
        "  new:\n"
        f"    {_backend('asgi', new_import)}\n"
        "\n"
    )


def _backend(kind: str, target: str) -> str:
    return f"{'url' if target.startswith(('http://', 'https://')) else kind}: {scalar(target)}"


def scalar(text: str) -> str:
    """Return ``text`` as a YAML scalar that reads back as itself, plain where that works."""
    try:
        if yaml.safe_load(f"{text}: x") == {text: "x"} and yaml.safe_load(f"x: {text}") == {"x": text}:
            return text
    except yaml.YAMLError:
        pass
    return json.dumps(text, ensure_ascii=False)


def _implicit_routes(text: str, legacy: LegacyInventory, new: NewInventory, today: date) -> tuple[Route, ...]:
    """Return legacy's rules as the table sees them when it lists none."""
    parsed = parse_table(text.encode(), source="routing.yaml", environ={})
    if parsed.spec is None or parsed.has_errors:
        raise GatewayError("\n".join(str(problem) for problem in parsed.problems))
    return compile_table(parsed.spec, legacy, new, generation=1, today=today).snapshot.routes


def _refused_lines(text: str, legacy: LegacyInventory, new: NewInventory, today: date) -> set[int]:
    parsed = parse_table(text.encode(), source="routing.yaml", environ={})
    problems = parsed.problems
    if parsed.spec is not None:
        problems += compile_table(parsed.spec, legacy, new, generation=1, today=today).problems
    return {problem.line for problem in problems if problem.is_error}


def _rows(routes: Iterable[Route], legacy: LegacyInventory, new: NewInventory) -> tuple[list[Row], list[str]]:
    """Put the methods of one rule into one row; leave out static files, hosts, and what has no spelling."""
    methods: dict[tuple[int, str], list[str]] = {}
    rules: dict[tuple[int, str], LegacyRule] = {}
    left_out: dict[str, None] = {}
    for route in routes:
        rule = route.legacy_rules[0]
        if rule.endpoint == "static" or rule.endpoint.endswith(".static"):
            continue
        if (
            len({(each.host, each.subdomain) for each in route.legacy_rules}) > 1
            or rule.host
            or rule.subdomain
        ):
            left_out[_named(rule)] = None
            continue
        key = (rule.index, route.key.partition(" ")[2])
        rules[key] = rule
        methods.setdefault(key, []).extend(route.spec.methods)
    known = {rule.index for rule in rules.values()} | {
        each.index for route in routes for each in route.legacy_rules
    }
    for rule in legacy.rules:
        if rule.index not in known and not rule.is_websocket:
            left_out[_named(rule)] = None
    order = {method: place for place, method in enumerate(METHOD_ORDER)}
    rows = [
        Row(
            f"{','.join(sorted(methods[key], key=lambda method: (order.get(method, 99), method)))} {key[1]}",
            rule,
            _new_route(key[1], methods[key], new),
        )
        for key, rule in sorted(rules.items())
    ]
    return rows, list(left_out)


def _new_route(path: str, methods: list[str], new: NewInventory) -> NewRoute | None:
    try:
        shape = (
            parse_template(path.replace("{{", "{").replace("}}", "}")).shape if "{{" in path else _shape(path)
        )
    except TemplateError:
        return None
    for route in new.routes:
        if route.kind == "route" and (route.methods is None or route.methods & set(methods)):
            try:
                if _shape(route.path) == shape:
                    return route
            except TemplateError:
                continue
    return None


def unseen_rules(table: str) -> str:
    """Say why ``table`` has no row for a rule of the legacy app, and what to do about it."""
    if "://" not in table.partition("  legacy:\n")[2].partition("\n")[0]:
        return "The legacy app is no Flask app, so its rules cannot be seen: list what you migrate."
    return (
        "The legacy app runs elsewhere, so its rules cannot be seen. Let it list them, and add the file as\n"
        "# backends.legacy.rules:   flask --app APP routes --sort match > legacy-rules.txt"
    )


def _shape(path: str) -> str:
    """Return a path with every parameter as ``{}``; converters need not be known for that."""
    pieces = []
    rest = path
    while "{" in rest:
        literal, _, rest = rest.partition("{")
        _, _, rest = rest.partition("}")
        pieces.append(literal)
    return "{}".join([*pieces, rest])


def _assemble(
    head: str, rows: list[Row], left_out: list[str], legacy: LegacyInventory
) -> tuple[str, dict[str, int]]:
    """Return the text, and the line of every row's key."""
    if not legacy.is_known:
        return f"{head}# {unseen_rules(head)}\nroutes: {{}}\n", {}
    body: list[str] = []
    lines: dict[str, int] = {}
    first = head.count("\n") + 2
    entries = [f"  {scalar(row.key)}: legacy" for row in rows]
    column = min(max(map(len, entries), default=0), _COMMENT_COLUMN)
    for row, entry in zip(rows, entries, strict=True):
        lines[row.key] = first + len(body)
        body.append(f"{entry.ljust(column)}{_comment(row)}".rstrip() + "\n")
    body += [f"  # implicit, as the table has no spelling for it: {text}\n" for text in left_out]
    opening = "routes:\n" if rows else "routes: {}\n"
    return head + opening + "".join(body), lines


def _comment(row: Row) -> str:
    places = []
    if row.rule.view:
        places.append(shown_place(row.rule.view))
    if row.new is not None:
        places.append(f"new: {new_place(row.new)}")
    text = ", ".join(places)
    return f"  # {text}" if text and text.isprintable() else ""


def _named(rule: LegacyRule) -> str:
    methods = sorted((rule.methods or {"ANY"}) - {"HEAD", "OPTIONS"}) or sorted(rule.methods or ())
    place = rule.host or rule.subdomain
    text = f"{','.join(methods)} {rule.rule}{f' on {place}' if place else ''}"
    return text if text.isprintable() else ascii(text)
