"""Compile a table to what requests are served from: one route a row, implicit rows, the matchers.

Every legacy rule and method that no row claims becomes an implicit row at stage legacy. Nothing here
does I/O; time comes in as an argument. A table with errors compiles too, to a snapshot that nobody may
serve, so that one run reports every problem.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from math import inf
from typing import TYPE_CHECKING

from gateway.table.advice import advise
from gateway.table.listed import Rows
from gateway.table.match import Entry, Guard, Slash, TreeMatcher
from gateway.table.route import Route, Snapshot
from gateway.table.spec import ANY_METHOD, Stage
from gateway.table.template import spell

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import date

    from gateway.errors import Problem
    from gateway.table.claims import Claimable
    from gateway.table.inventory import LegacyInventory, NewInventory
    from gateway.table.listed import Row
    from gateway.table.spec import TableSpec


@dataclass(frozen=True, slots=True)
class Compiled:
    """Be the outcome: a snapshot that can be served when no problem is an error."""

    snapshot: Snapshot
    problems: tuple[Problem, ...]

    @property
    def is_valid(self) -> bool:
        """Tell whether no problem refuses the table."""
        return not any(problem.is_error for problem in self.problems)


def compile_table(
    spec: TableSpec,
    legacy: LegacyInventory,
    new: NewInventory,
    *,
    generation: int,
    today: date,
) -> Compiled:
    """Compile ``spec`` against what both apps can answer; ``today`` dates the waivers."""
    rows = Rows(spec, legacy, new)
    listed = [(row, _route_of(row)) for row in rows.rows]
    implicit = list(_implicit_routes(rows))
    routes = (*(route for _, route in listed), *(route for _, route in implicit))
    problems = [*rows.problems, *advise(rows, today)]
    problems.sort(key=lambda problem: (not problem.is_error, problem.line))
    by_id: dict[str, Route] = {}
    for route in routes:
        by_id.setdefault(route.id, route)
    snapshot = Snapshot(
        generation=generation,
        spec=spec,
        routes=routes,
        matcher=_matcher(listed, implicit, is_legacy_known=legacy.is_known),
        websocket_matcher=TreeMatcher(
            Entry(route, row.template.parts, None) for row, route in listed if row.is_websocket
        ),
        warnings=tuple(problem for problem in problems if not problem.is_error),
        by_id=by_id,
    )
    return Compiled(snapshot, tuple(problems))


def route_id(key: str) -> str:
    """Return a route's id: the first 12 hexadecimal digits of SHA-256 of its canonical key."""
    return hashlib.sha256(key.encode()).hexdigest()[:12]


def _matcher(
    listed: Iterable[tuple[Row, Route]],
    implicit: Iterable[tuple[list[Claimable], Route]],
    *,
    is_legacy_known: bool,
) -> TreeMatcher:
    entries: list[Entry] = []
    redirected: list[Entry] = []
    for row, route in listed:
        if row.is_websocket:
            continue
        entries.extend(_entries_of(row, route))
        # Where legacy's rules cannot be seen, only a retired row says that it has none.
        gone = (Stage.NEW, Stage.RETIRED) if is_legacy_known else (Stage.RETIRED,)
        if not row.claim.rules and row.spec.stage in gone:
            redirected.extend(_without_slash(row, route))
    entries.extend(
        Entry(
            route,
            claimable.template.parts,
            route.methods,
            is_listed=False,
            order=claimable.rule.index,
            slash=_slash_of(claimable),
        )
        for claimables, route in implicit
        for claimable in claimables
    )
    return TreeMatcher(entries, TreeMatcher(redirected) if redirected else None)


def _route_of(row: Row) -> Route:
    first = row.answers.get("GET") or next(iter(row.answers.values()), None)
    return Route(
        id=route_id(row.spec.key),
        key=row.spec.key,
        methods=row.methods,
        template=row.template,
        spec=row.spec,
        is_listed=True,
        is_websocket=row.is_websocket,
        legacy_rules=tuple(each.rule for each in row.claim.rules),
        new_route=None if first is None else first.route,
        new_template=None if row.spec.new_path is None else row.target,
    )


def _implicit_routes(rows: Rows) -> Iterator[tuple[list[Claimable], Route]]:
    """Yield a route for every method of every rule that no row claims."""
    made: dict[str, tuple[list[Claimable], Route]] = {}
    for claimable in rows.rules:
        for method in _unclaimed(claimable):
            key = f"{method or ANY_METHOD} {_implicit_path(rows, claimable, method)}"
            if key in made:
                # The same rule again, on another host or registered twice: one row stands for both.
                several, route = made[key]
                several.append(claimable)
                both = replace(route, legacy_rules=(*route.legacy_rules, claimable.rule))
                made[key] = (several, both)
                continue
            spec = replace(
                rows.spec.implicit,
                key=key,
                methods=(method or ANY_METHOD,),
                path=key.partition(" ")[2],
            )
            route = Route(
                id=route_id(key),
                key=key,
                methods=None if method is None else frozenset((method,)),
                template=claimable.template,
                spec=spec,
                is_listed=False,
                legacy_rules=(claimable.rule,),
            )
            made[key] = ([claimable], route)
    yield from made.values()


def _implicit_path(rows: Rows, claimable: Claimable, method: str | None) -> str:
    """Spell an implicit row so that listing it under this very key claims this very rule."""
    methods = None if method is None else frozenset((method,))
    rivals = rows.rules_by_shape[claimable.template.shape]
    is_alone = sum(rival.shares(methods) for rival in rivals) == 1
    return spell(claimable.template, is_plain_written=not is_alone)


def _unclaimed(claimable: Claimable) -> Iterable[str | None]:
    if claimable.is_taken:
        return ()
    if claimable.methods is None:
        return (None,)
    return sorted(claimable.methods - claimable.taken)


def _slash_of(claimable: Claimable) -> Slash:
    if not claimable.rule.is_strict_slashes:
        return Slash.SERVE
    return Slash.REDIRECT if claimable.template.has_trailing_slash else Slash.EXACT


def _guard(row: Row) -> Guard:
    """Choose what is checked before new gets a request; what legacy gets, it checks itself."""
    if not row.spec.may_reach_new:
        return Guard.NONE
    guard = Guard.NONE
    for parameter in row.template.parameters:
        converter = parameter.converter
        if converter.name in ("int", "float") and not converter.arguments and "(" not in converter.regex:
            guard = max(guard, Guard.NUMBERS)
        elif converter.to_python is not None and converter.name != "uuid":
            guard = Guard.VALUES
    return guard


def _entries_of(row: Row, route: Route) -> Iterator[Entry]:
    """Yield a row's entries: one for each way in which its methods treat slashes and stand in Flask."""
    groups: dict[tuple[Slash, float], set[str]] = {}
    if row.methods is None:
        rule = next(iter(row.claim.rules), None)
        kinds: list[tuple[tuple[Slash, float], frozenset[str] | None]] = [(_manner(row, rule), None)]
    else:
        for method in sorted(row.methods):
            wanted = frozenset((method,))
            rule = next((each for each in row.claim.rules if each.shares(wanted)), None)
            groups.setdefault(_manner(row, rule), set()).add(method)
        kinds = [(manner, frozenset(methods)) for manner, methods in groups.items()]
    for (slash, order), methods in kinds:
        yield Entry(
            route,
            row.template.parts,
            methods,
            order=order,
            slash=slash,
            guard=_guard(row),
            is_stopping=row.spec.may_reach_new,
        )


def _manner(row: Row, rule: Claimable | None) -> tuple[Slash, float]:
    if rule is None:
        return Slash.EXACT, inf
    return _slash_of(rule), rule.rule.index if row.claim.equal else inf


def _without_slash(row: Row, route: Route) -> Iterator[Entry]:
    """Yield the slashless path of a row that legacy no longer knows: new redirects it in Flask's stead."""
    parts = row.template.parts
    if len(parts) > 1 and row.template.has_trailing_slash and not parts[-2].is_suffixed:
        yield Entry(route, parts[:-1], row.methods, guard=_guard(row))
