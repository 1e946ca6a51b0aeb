"""Compile the rules of a row, and find the places of two JSON values where they apply.

A rule past its ``until`` waives nothing and is listed as expired; one whose JSONPath or regular expression
cannot be read waives nothing and is listed as broken. Neither raises: a bad rule makes differences
visible, which is the safe side. JSONPath is RFC 9535 (jsonpath-rfc9535).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from datetime import date

    from jsonpath_rfc9535 import JSONPathQuery

    from gateway.compare.json_text import Location
    from gateway.table.spec import CompareRule

Realm = Literal["json", "header", "cookie", "rows", "place"]

PLACES = frozenset(
    {"status", "body", "exception", "effects.rows", "effects.queries", "effects.outbound", "latency"}
)


@dataclass(frozen=True, slots=True, eq=False)
class ReadyRule:
    """Be one rule ready for use: which ``realm`` its ``at`` names, and what there."""

    index: int
    rule: CompareRule
    realm: Realm
    name: str = ""
    query: JSONPathQuery | None = None
    regex: re.Pattern[str] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class RuleSet:
    """Hold the compiled rules of a row, and those that do not apply, with the reason."""

    rules: tuple[ReadyRule, ...] = ()
    expired: tuple[CompareRule, ...] = ()
    broken: tuple[tuple[CompareRule, str], ...] = ()

    @property
    def has_maps(self) -> bool:
        """Tell whether equal values matter, too: a mapping may be broken by them."""
        return any(each.rule.rule == "map" for each in self.rules)

    def named(self, realm: Realm, name: str) -> Iterator[ReadyRule]:
        """Yield the rules about the header, the cookie, the rows or the plain place called ``name``."""
        for each in self.rules:
            if each.realm == realm and each.name == name:
                yield each

    def marks(self, control: object, candidate: object) -> Marks:
        """Return the places of two JSON values that the rules name."""
        marks = Marks()
        for ready in self.rules:
            if ready.query is not None:
                marks.add(ready, _nodes(ready.query, control), _nodes(ready.query, candidate))
        return marks


NO_RULES = RuleSet()


def compile_rules(rules: Iterable[CompareRule], *, today: date | None = None) -> RuleSet:
    """Return ``rules`` ready for use on the day ``today`` (None: none expires)."""
    ready: list[ReadyRule] = []
    expired: list[CompareRule] = []
    broken: list[tuple[CompareRule, str]] = []
    for rule in rules:
        if today is not None and rule.until is not None and today > rule.until:
            expired.append(rule)
            continue
        try:
            ready.append(_compile(len(ready), rule))
        except (re.error, ValueError, RecursionError) as problem:
            broken.append((rule, str(problem) or type(problem).__name__))
    return RuleSet(tuple(ready), tuple(expired), tuple(broken))


def _compile(index: int, rule: CompareRule) -> ReadyRule:
    regex = None
    if rule.rule == "matches":
        if rule.regex is None:
            raise ValueError("the rule matches needs a regex")
        regex = re.compile(rule.regex, re.DOTALL)
    if rule.rule == "tolerance" and rule.by is None:
        raise ValueError("the rule tolerance needs by")
    if rule.at.startswith("$"):
        return ReadyRule(index, rule, "json", query=_query(rule.at), regex=regex)
    if rule.at.startswith("header:"):
        return ReadyRule(index, rule, "header", rule.at[7:].strip().lower(), regex=regex)
    if rule.at.startswith("cookie:"):
        return ReadyRule(index, rule, "cookie", rule.at[7:].strip(), regex=regex)
    if rule.at.startswith("rows:"):
        return ReadyRule(index, rule, "rows", rule.at[5:].strip(), regex=regex)
    if rule.at in PLACES:
        return ReadyRule(index, rule, "place", rule.at, regex=regex)
    raise ValueError(
        f"{rule.at!r} names no place: write a JSONPath, header:NAME, cookie:NAME, status, body or "
        "rows:TABLE.COLUMN"
    )


@dataclass(slots=True)
class Marks:
    """Know at which locations of two JSON values which rules apply.

    Built for one comparison and thrown away with it. ``lists`` holds the identities of the lists that are
    compared without order; ``places`` counts the nodes that each rule met.
    """

    control: dict[Location, list[ReadyRule]] = field(default_factory=dict)
    candidate: dict[Location, list[ReadyRule]] = field(default_factory=dict)
    lists: set[int] = field(default_factory=set)
    places: dict[int, int] = field(default_factory=dict)
    has_maps: bool = False

    def add(
        self, ready: ReadyRule, control: Mapping[Location, object], candidate: Mapping[Location, object]
    ) -> None:
        """Note the nodes that ``ready`` names on both sides."""
        self.places[ready.index] = max(len(control), len(candidate))
        for nodes, marks in ((control, self.control), (candidate, self.candidate)):
            for location, value in nodes.items():
                marks.setdefault(location, []).append(ready)
                if ready.rule.rule == "unordered" and type(value) is list:
                    self.lists.add(id(value))
        self.has_maps = self.has_maps or ready.rule.rule == "map"

    def rules_at(self, control: Location | None, candidate: Location | None) -> list[tuple[ReadyRule, bool]]:
        """Return the rules that apply at a place or above it, each with whether it names that very place."""
        found: dict[int, tuple[ReadyRule, bool]] = {}
        for location, marks in ((control, self.control), (candidate, self.candidate)):
            if location is None or not marks:
                continue
            for end in range(len(location), -1, -1):
                for ready in marks.get(location[:end], ()):
                    found.setdefault(ready.index, (ready, end == len(location)))
        return list(found.values())

    def is_loose(self, location: Location, *, is_control: bool) -> bool:
        """Tell whether a rule accepts more than one value at ``location``."""
        marks = self.control if is_control else self.candidate
        return any(each.rule.rule not in ("unordered", "ignore_presence") for each in marks.get(location, ()))

    def map_at(self, control: Location) -> ReadyRule | None:
        """Return the rule ``map`` that names the very place ``control``, or None."""
        return next((each for each in self.control.get(control, ()) if each.rule.rule == "map"), None)


def _query(path: str) -> JSONPathQuery:
    """Compile a JSONPath. Its library is imported here: a table without such a rule saves its memory."""
    import jsonpath_rfc9535

    try:
        return jsonpath_rfc9535.compile(path)
    except jsonpath_rfc9535.JSONPathError as problem:
        raise ValueError(str(problem)) from problem


def _nodes(query: JSONPathQuery, value: Any) -> dict[Location, object]:
    from jsonpath_rfc9535 import JSONPathError

    if not isinstance(value, dict | list):
        return {} if query.segments else {(): value}
    try:
        return {node.location: node.value for node in query.finditer(value)}
    except (JSONPathError, RecursionError):
        return {}
