"""Hold what two sides answered in one scenario together, and gather what is found."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, unquote

from gateway.ci.results import NO_ANSWER, NO_ROW, Exchange, RowTally, visible
from gateway.compare.engine import compare, terms_for
from gateway.compare.observation import Body, Observation, RequestRecord
from gateway.compare.pairing import Pairing
from gateway.compare.rows import KeyMap
from gateway.compare.signature import Findings

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import date

    from gateway.ci.corpus import CorpusRequest, Scenario
    from gateway.ci.correlation import Correlation
    from gateway.ci.exchange import Sent
    from gateway.ci.proposing import Repeated
    from gateway.ci.results import Selection
    from gateway.ci.security import Hole
    from gateway.ci.sides import Asked, Side
    from gateway.compare.difference import Comparison
    from gateway.compare.engine import Terms
    from gateway.compare.redaction import Redactor
    from gateway.table.route import Route, Snapshot

LEAST_CAP_BYTES = 16 * 1024 * 1024
"""Bodies up to this size are compared whole, whatever the table's cap for live shadowing is."""

SHOWN_VALUES = 20


@dataclass(frozen=True, slots=True)
class Settings:
    """Hold what stays the same for a whole run. ``base_url`` is the address in ``curl`` lines.

    ``answered`` holds the ids of the rows that the candidate does not leave to legacy.

    ``repeated_share`` (0 to 1) is the share of safe requests on which control is called twice.
    ``body_cap_bytes`` None takes the table's cap, and at least :data:`LEAST_CAP_BYTES`.
    """

    snapshot: Snapshot
    selection: Selection
    today: date
    redactor: Redactor
    environ: Mapping[str, str]
    base_url: str = "http://localhost:8000"
    base_urls: tuple[str, str] = ("", "")
    answered: frozenset[str] = frozenset()
    timeout_s: float = 60.0
    has_attempts: bool = False
    is_frozen: bool = False
    repeated_share: float = 0.0
    body_cap_bytes: int | None = None

    @property
    def cap_bytes(self) -> int:
        """Return up to which size a body is captured."""
        if self.body_cap_bytes is not None:
            return self.body_cap_bytes
        return max(self.snapshot.spec.compare.body_cap_bytes, LEAST_CAP_BYTES)


@dataclass(frozen=True, slots=True)
class Done:
    """Be one request on one side: as it was sent, and what came of it; ``note`` says why it was not sent."""

    request: CorpusRequest
    route: Route | None
    sent: Sent
    asked: Asked | None
    note: str = ""


class Gathered:
    """Gather what scenarios find; several threads add to it."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.findings = Findings()
        self.exchanges: list[Exchange] = []
        self.correlations: list[Correlation] = []
        self.rows = {
            route.key: RowTally(route, settings.selection.has(route)) for route in settings.snapshot.routes
        }
        self.skipped_tables: set[str] = set()
        self.unwatched: set[str] = set()
        self.holes: dict[tuple[str, str, int, int], Hole] = {}
        self.notes: list[str] = []
        self.repeated: dict[str, list[Repeated]] = {}
        self.attempted = 0
        self.given: dict[int, list[tuple[tuple[str, str], ...]]] = {0: [], 1: []}
        self.scenarios_done = 0
        self.judging_s = 0.0
        self.lock = threading.Lock()
        self._terms: dict[str, Terms] = {}

    def terms_of(self, route: Route) -> Terms:
        """Return the terms of a row, compiled once."""
        terms = self._terms.get(route.id)
        if terms is None:
            terms = self._terms[route.id] = terms_for(
                route.spec,
                self.settings.snapshot.spec.compare,
                today=self.settings.today,
                base_urls=self.settings.base_urls,
                redactor=self.settings.redactor,
            )
        return terms

    def add_hole(self, hole: Hole) -> None:
        """Take in a way in; the same one on another request only counts."""
        key = hole.route, hole.who, hole.control_status, hole.candidate_status
        known = self.holes.setdefault(key, hole)
        if known is not hole:
            known.count += hole.count

    def absorb(self, other: Gathered) -> None:
        """Take in everything that another one has gathered."""
        with self.lock:
            for finding in other.findings:
                self.findings.merge(finding)
            self.exchanges.extend(other.exchanges)
            self.correlations.extend(other.correlations)
            for hole in other.holes.values():
                self.add_hole(hole)
            self.skipped_tables |= other.skipped_tables
            self.unwatched |= other.unwatched
            for key, row in other.rows.items():
                self.rows[key].absorb(row)


class Judge:
    """Compare the answers of one scenario; lives for it."""

    def __init__(self, scenario: Scenario, gathered: Gathered) -> None:
        self.scenario = scenario
        self.gathered = gathered
        self.settings = gathered.settings

    def judge(
        self,
        mine: list[Done],
        theirs: list[Done],
        control: Side,
        correlations: list[Correlation],
        *,
        is_whole: bool = True,
    ) -> dict[int, Comparison]:
        """Compare every pair of answers, add what was found; return the comparisons by number (from 1).

        ``is_whole`` False: the scenario was not run to its end, and does not count as done.
        """
        compared: dict[int, Comparison] = {}
        pairing, keys = Pairing(), KeyMap()
        tables = control.reading().tables
        with self.gathered.lock:
            began = time.perf_counter()
            for number, (one, other) in enumerate(zip(mine, theirs, strict=False), 1):
                route = one.route
                if one.asked is None or other.asked is None or route is None:
                    self._skip(number, one, other)
                    continue
                statuses = one.asked.observation.status, other.asked.observation.status
                if not any(statuses):
                    raised = one.asked.observation.raised
                    self._skip(number, one, other, f"{NO_ANSWER}: {raised.message if raised else ''}")
                    continue
                if route.id not in self.settings.answered:
                    self._skip(number, one, other, "only legacy has it")
                    continue
                self.gathered.unwatched.update(one.asked.unwatched, other.asked.unwatched)
                left, right = one.asked.observation, other.asked.observation
                if left.effects.rows is not None and right.effects.rows is not None:
                    aligned = keys.align(left.effects.rows, right.effects.rows, tables)
                    right = replace(right, effects=replace(right.effects, rows=aligned))
                # Two processes on a busy machine say little about time, and it is no part of an answer.
                comparison = compare(
                    replace(left, first_byte_s=None, end_s=None),
                    replace(right, first_byte_s=None, end_s=None),
                    self.gathered.terms_of(route),
                    method=one.sent.method,
                    pairing=pairing,
                )
                pairing = comparison.pairing
                compared[number] = comparison
                self._add(number, one, other, left, right, comparison)
            self.gathered.correlations.extend(correlations)
            self.gathered.skipped_tables.update(control.reading().skipped)
            self.gathered.scenarios_done += is_whole
            self.gathered.judging_s += time.perf_counter() - began
        return compared

    def _skip(self, number: int, one: Done, other: Done, why: str = "") -> None:
        note = why or visible(one.note or other.note) or NO_ROW
        statuses = [each.asked.observation.status if each.asked else None for each in (one, other)]
        self.gathered.exchanges.append(
            Exchange(
                scenario=self.scenario.name,
                number=number,
                request=self.settings.redactor.request(record_of(self.settings, one.sent)),
                source=one.request.source,
                route=one.route.key if one.route else "",
                is_selected=False,
                control_status=statuses[0] or 0,
                candidate_status=statuses[1],
                outcome=None,
                note=note,
            )
        )

    def _add(
        self,
        number: int,
        one: Done,
        other: Done,
        left: Observation,
        right: Observation,
        comparison: Comparison,
    ) -> None:
        gathered, redactor = self.gathered, self.settings.redactor
        assert one.route is not None and one.asked is not None and other.asked is not None  # noqa: S101, PT018 - judge() has looked; this tells the type checker
        row = gathered.rows[one.route.key]
        request = redactor.request(record_of(self.settings, one.sent))
        if comparison.differences:
            gathered.findings.add(
                row.key,
                comparison,
                at_s=time.time(),
                request=request,
                control=redactor.observation(left),
                candidate=redactor.observation(right),
            )
        _count(row, one, left, right, comparison)
        raised = tuple(
            (
                name,
                visible(redactor.text(f"{each.raised.type}: {each.raised.message}\n{each.raised.traceback}")),
            )
            for name, each in (("control", one.asked), ("candidate", other.asked))
            if each.raised is not None
        )
        gathered.exchanges.append(
            Exchange(
                scenario=self.scenario.name,
                number=number,
                request=request,
                source=one.request.source,
                route=row.key,
                is_selected=row.is_selected,
                control_status=left.status,
                candidate_status=right.status,
                outcome=comparison.outcome,
                differences=comparison.differences,
                omitted=comparison.omitted,
                note=comparison.note,
                raised=raised,
            )
        )


def record_of(settings: Settings, sent: Sent) -> RequestRecord:
    """Return a request as it is kept and repeated, with its secrets."""
    headers = tuple(
        (name.encode("latin-1", "replace"), value.encode("utf-8", "surrogateescape"))
        for name, value in sent.headers
    )
    return RequestRecord(
        sent.method, settings.base_url + sent.target, headers, Body.of(sent.body, cap_bytes=65_536)
    )


def _count(row: RowTally, one: Done, left: Observation, right: Observation, comparison: Comparison) -> None:
    row.outcomes[comparison.outcome] += 1
    row.status_classes[f"{left.status // 100}xx" if left.status else "none"] += 1
    if left.end_s is not None and right.end_s is not None:
        row.control_s.append(left.end_s)
        row.candidate_s.append(right.end_s)
    path, _, query = one.sent.target.partition("?")
    found = list(row.route.template.params(unquote(path)).items())
    found.extend((f"?{name}", value) for name, value in parse_qsl(query, keep_blank_values=True))
    for name, value in found:
        values = row.parameters.setdefault(name, set())
        if len(values) < SHOWN_VALUES:
            values.add(value)
    for count in comparison.rule_counts:
        row.rule_places[count.rule.line] += count.places
        row.rule_waived[count.rule.line] += count.waived
