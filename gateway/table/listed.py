"""Hold every listed row against the two apps: its template, its claim, its answer, its rivals.

Order of work: every row's template, then its claim on legacy rules, then the new route that answers it,
then what only shows between rows (overlaps). Problems never stop the work, so that one run reports them
all. Nothing here does I/O, and nothing is decided about serving: that is :mod:`gateway.table.compile`.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import TYPE_CHECKING

from gateway.errors import Problem, Severity
from gateway.table.answers import NewRoutes
from gateway.table.claims import Claim, read_rules, settle
from gateway.table.coverage import TemplateIndex, covers, overlaps
from gateway.table.spec import ANY_METHOD, WEBSOCKET, Stage
from gateway.table.template import Kind, TemplateError, parse_template

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.table.answers import Answer
    from gateway.table.claims import Claimable
    from gateway.table.inventory import LegacyInventory, NewInventory
    from gateway.table.spec import RouteSpec, TableSpec
    from gateway.table.template import Template

_NEAREST_LIMIT = 20  # problems that are given a nearest neighbour: finding one reads every path


@dataclass(slots=True, eq=False)
class Row:
    """Be one listed row on its way through compilation.

    ``methods`` is None for ANY and for websockets; ``target`` is the template that the row has on the
    new backend, None when its ``new_path`` is wrong; ``answers`` maps methods to what new has for them.
    """

    spec: RouteSpec
    template: Template
    methods: frozenset[str] | None
    claim: Claim
    target: Template | None = None
    answers: dict[str, Answer] = field(default_factory=dict)

    @property
    def is_websocket(self) -> bool:
        """Tell whether this is a row for websockets."""
        return WEBSOCKET in self.spec.methods


class Rows:
    """Carry one table's rows through the steps; every step reads what the earlier ones left."""

    def __init__(self, spec: TableSpec, legacy: LegacyInventory, new: NewInventory) -> None:
        self.spec = spec
        self.legacy = legacy
        self.new = new
        self.problems: list[Problem] = []
        self.rows: list[Row] = []
        self.rules, unreadable = read_rules(legacy)
        for message in unreadable:
            self.warn(0, "", f"a rule of the legacy app cannot be read and has no row: {message}")
        self.rules_by_shape: dict[str, list[Claimable]] = defaultdict(list)
        for rule in self.rules:
            self.rules_by_shape[rule.template.shape].append(rule)
        self.rule_index = TemplateIndex((rule.template, rule) for rule in self.rules)
        self.http = NewRoutes(new, "route")
        self.websockets = NewRoutes(new, "websocket")
        self._places = {rule.place for rule in self.rules}
        self._nearest_count = 0
        self._read()
        self._claim()
        self._answer()
        self._check_overlaps()

    def fail(self, row: RouteSpec, message: str, repair: str = "") -> None:
        """Note an error of a row."""
        self.problems.append(
            Problem(Severity.ERROR, self.spec.source, row.line, row.written or row.key, message, repair)
        )

    def warn(self, line: int, row: str, message: str, repair: str = "") -> None:
        """Note a warning."""
        self.problems.append(Problem(Severity.WARNING, self.spec.source, line, row, message, repair))

    def _read(self) -> None:
        """Parse every row's template, and the path that it has on the new backend."""
        for spec in self.spec.routes:
            try:
                template = parse_template(spec.path, self.legacy.make_converter)
            except TemplateError as error:
                self.fail(spec, error.message, error.repair)
                continue
            methods = (
                None if ANY_METHOD in spec.methods or WEBSOCKET in spec.methods else frozenset(spec.methods)
            )
            self.rows.append(Row(spec, template, methods, Claim(template)))

    def _claim(self) -> None:
        """Give every row the rules of its shape; rows that list methods come before ANY."""
        listed: dict[str, set[str]] = defaultdict(set)
        for row in self.rows:
            if row.methods is not None:
                listed[row.template.shape] |= row.methods
        for row in sorted(self.rows, key=lambda row: row.methods is None):
            if row.is_websocket:
                continue
            candidates = self.rules_by_shape.get(row.template.shape, [])
            if row.methods is None:
                others = listed[row.template.shape]
                candidates = [rule for rule in candidates if rule.methods is None or rule.methods - others]
            row.claim = settle(row.template, row.methods, candidates)
            row.template = row.claim.template
            if row.claim.ambiguous:
                self.fail(
                    row.spec,
                    f"the legacy app has {len(row.claim.ambiguous)} rules of this shape, and their "
                    "converters differ",
                    "write the converter: " + "; ".join(row.claim.ambiguous),
                )
            self._check_hosts(row)

    def _check_hosts(self, row: Row) -> None:
        places = {rule.place for rule in row.claim.rules}
        if not places:
            return
        if len(places) > 1 or (places != {""} and len(self._places) > 1):
            named = ", ".join(f"{rule.rule.rule} ({rule.place or 'no host'})" for rule in row.claim.rules)
            self.fail(
                row.spec,
                f"the row would take the path on every host, but the legacy app binds it to some: {named}",
                "leave the path to the legacy app: remove the row",
            )

    def _answer(self) -> None:
        """Find the new route of every row, and refuse the rows that lead nowhere."""
        for row in self.rows:
            target = row.target = self._target_of(row)
            if target is None:
                continue
            routes = self.websockets if row.is_websocket else self.http
            for method in row.spec.methods:
                found = routes.pick(target, None if method in (ANY_METHOD, WEBSOCKET) else method)
                if found is not None:
                    row.answers[method] = found
            missing = [method for method in row.spec.methods if method not in row.answers]
            if missing and self.new.is_known:
                self._report_missing(row, target, missing)

    def _target_of(self, row: Row) -> Template | None:
        """Return the template that a row has on the new backend; None when ``new_path`` is wrong."""
        written = row.spec.new_path
        if written is None:
            return row.template
        try:
            target = parse_template(written, self.legacy.make_converter)
        except TemplateError as error:
            self.fail(row.spec, f"new_path: {error.message}", error.repair)
            return None
        if set(target.names) != set(row.template.names):
            names = ", ".join(f"{{{name}}}" for name in row.template.names) or "no parameters"
            self.fail(
                row.spec,
                f"new_path {written} does not have the parameters of {row.spec.path}",
                f"use the same names: {names}",
            )
            return None
        own = {parameter.name: parameter.converter for parameter in row.template.parameters}
        return target.with_converters(
            own[parameter.name] if parameter.is_open else parameter.converter
            for parameter in target.parameters
        )

    def _report_missing(self, row: Row, target: Template, missing: Sequence[str]) -> None:
        path = row.spec.new_path or row.spec.path
        if row.spec.may_reach_new or row.is_websocket:
            why = (
                f"stage {row.spec.stage}"
                if row.spec.stage is not Stage.LEGACY
                else "callers are pinned to new"
            )
            if row.spec.stage is Stage.LEGACY and row.spec.rollout is not None:
                why = "the rollout leads to new"
            self.fail(
                row.spec,
                f"{why}: the new app has no {'websocket' if row.is_websocket else 'route'} "
                f"for {','.join(missing)} {path}",
                self._nearest_new(row, target, missing),
            )
        elif not row.answers and self.legacy.is_known and not self.is_known_to_legacy(row):
            nearest = self._nearest(path, [rule.template.text for rule in self.rules])
            self.fail(
                row.spec,
                "neither app has a route for this path",
                f"did you mean {nearest}?" if nearest else "remove the row",
            )

    def is_known_to_legacy(self, row: Row) -> bool:
        """Tell whether some legacy rule answers the row's paths, in its own shape or a looser one."""
        if row.claim.rules:
            return True
        return any(
            rule.shares(row.methods) and covers(template, row.template)
            for template, rule in self.rule_index.overlapping(row.template)
        )

    def _nearest_new(self, row: Row, target: Template, missing: Sequence[str]) -> str:
        routes = self.websockets if row.is_websocket else self.http
        same = [route for route in routes.same_shape(target.shape) if route.methods]
        if same:
            there = ", ".join(sorted({method for route in same for method in route.methods or ()}))
            return (
                f"there it answers {there} only: add a route to the new app, or take {','.join(missing)} off"
            )
        templates = [
            routes.templates[route.index]
            for route in routes.routes
            if route.kind == routes.kind and route.is_in_schema
        ]
        nearest = self._nearest(row.spec.new_path or row.spec.path, [template.text for template in templates])
        if nearest is None:
            return "add the route to the new app, or set the stage to legacy"
        template = next(template for template in templates if template.text == nearest)
        if set(template.names) == set(row.template.names):
            return f"if {nearest} is the one, write new_path: {nearest}"
        return f"the nearest there is {nearest}; new_path must use the row's own parameter names"

    def _nearest(self, path: str, texts: Sequence[str]) -> str | None:
        self._nearest_count += 1
        if self._nearest_count > _NEAREST_LIMIT:
            return None
        found = get_close_matches(path, texts, n=1, cutoff=0.5)
        if found:
            return found[0]
        return next((text for text in texts if text.rstrip("/").endswith(path.rstrip("/"))), None)

    def _check_overlaps(self) -> None:
        """Refuse listed rows that are equally specific and can take the same request."""
        groups: dict[tuple[object, ...], list[Row]] = defaultdict(list)
        for row in self.rows:
            groups[(row.is_websocket, *_degree(row.template))].append(row)
        for rows in groups.values():
            for number, row in enumerate(rows):
                rival = next((other for other in rows[:number] if _clash(row, other)), None)
                if rival is not None:
                    self.fail(
                        row.spec,
                        f"takes the same requests as {rival.spec.written or rival.spec.key} in line "
                        f"{rival.spec.line}, and neither is more specific",
                        "remove one, or tell them apart by a converter",
                    )


def _degree(template: Template) -> tuple[object, ...]:
    """Return what equally specific templates have in common: their literals, and the kinds of the rest."""
    return tuple(
        part.literal if part.kind is Kind.LITERAL else (part.kind, part.weighting) for part in template.parts
    )


def _clash(row: Row, other: Row) -> bool:
    if (row.methods is None) != (other.methods is None):
        return False  # explicit methods win over ANY
    if row.methods is not None and other.methods is not None and not row.methods & other.methods:
        return False
    if not overlaps(row.template, other.template):
        return False
    if row.spec.path == other.spec.path:
        return True
    mine = {each.rule.index for each in row.claim.equal}
    theirs = {each.rule.index for each in other.claim.equal}
    # Rows that claim different rules exactly are in Flask's own order.
    return not (mine and theirs and mine.isdisjoint(theirs))
