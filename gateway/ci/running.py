"""Run scenarios on both sides, and hold what they answered together.

A scenario runs to its end on control, then from the same starting state on the candidate. Scenarios are
independent: several may run at once, each pair of sides with its own copies.
"""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, unquote

from gateway.ci.corpus import CorpusError
from gateway.ci.correlation import Correlation, Correlator, Jar
from gateway.ci.exchange import Sent
from gateway.ci.results import Exchange, RowTally
from gateway.ci.rows import KeyMap
from gateway.ci.sides import is_answered_by_new
from gateway.ci.variables import Unfilled, Variables, filled
from gateway.compare.engine import compare, terms_for
from gateway.compare.observation import Body, Observation, RequestRecord
from gateway.compare.pairing import Pairing
from gateway.compare.signature import Findings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from datetime import date

    from gateway.ci.corpus import CorpusRequest, Scenario
    from gateway.ci.results import Selection
    from gateway.ci.sides import Asked, Side
    from gateway.compare.difference import Comparison
    from gateway.compare.engine import Terms
    from gateway.compare.redaction import Redactor
    from gateway.table.route import Route, Snapshot

LEAST_CAP_BYTES = 16 * 1024 * 1024
"""Bodies up to this size are compared whole, whatever the table's cap for live shadowing is."""

SHOWN_VALUES = 20
Pair = tuple["Side", "Side"]


@dataclass(frozen=True, slots=True)
class Settings:
    """Hold what stays the same for a whole run. ``base_url`` is the address in ``curl`` lines."""

    snapshot: Snapshot
    selection: Selection
    today: date
    redactor: Redactor
    environ: Mapping[str, str]
    base_url: str = "http://localhost:8000"
    base_urls: tuple[str, str] = ("", "")
    timeout_s: float = 60.0
    is_remote: bool = False

    @property
    def cap_bytes(self) -> int:
        """Return up to which size a body is captured."""
        return max(self.snapshot.spec.compare.body_cap_bytes, LEAST_CAP_BYTES)


@dataclass(frozen=True, slots=True)
class _Done:
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
        self.scenarios_done = 0
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


def run_scenarios(
    scenarios: Iterable[Scenario],
    make_pair: Callable[[int], Pair],
    gathered: Gathered,
    *,
    jobs: int = 1,
    told: Callable[[Scenario], None] = lambda scenario: None,
) -> None:
    """Run every scenario; raises what a side raises, after the others have stopped.

    ``make_pair`` makes the sides of one of ``jobs`` workers, ``told`` hears of each scenario when it is done.
    """
    waiting: queue.SimpleQueue[Scenario] = queue.SimpleQueue()
    for scenario in scenarios:
        waiting.put(scenario)
    stop = threading.Event()
    problems: list[BaseException] = []
    sides: list[Side] = []

    def work(number: int) -> None:
        control, candidate = make_pair(number)
        sides.extend((control, candidate))
        try:
            while not stop.is_set():
                try:
                    scenario = waiting.get_nowait()
                except queue.Empty:
                    return
                run_scenario(scenario, control, candidate, gathered, stop)
                told(scenario)
        except BaseException as exc:
            problems.append(exc)
            stop.set()
        finally:
            control.close()
            candidate.close()

    threads = [threading.Thread(target=work, args=(number,), daemon=True) for number in range(1, jobs + 1)]
    for thread in threads:
        thread.start()
    try:
        for thread in threads:
            thread.join()
    except KeyboardInterrupt:
        stop.set()
        for side in sides:
            side.abort()
        for thread in threads:
            thread.join(15)
        raise
    if problems:
        raise problems[0]


def run_scenario(
    scenario: Scenario,
    control: Side,
    candidate: Side,
    gathered: Gathered,
    stop: threading.Event | None = None,
) -> None:
    """Run one scenario on both sides and compare."""
    runner = _Scenario(scenario, gathered, stop or threading.Event())
    mine = runner.run(control, None)
    theirs = runner.run(candidate, mine)
    if len(theirs) == len(scenario.requests) or not runner.stop.is_set():
        runner.judge(mine, theirs, control)


class _Scenario:
    """Hold what one scenario needs on its way; lives for it."""

    def __init__(self, scenario: Scenario, gathered: Gathered, stop: threading.Event) -> None:
        self.scenario = scenario
        self.gathered = gathered
        self.settings = gathered.settings
        self.stop = stop
        self.now_s = int(time.time())
        self.correlations: list[Correlation] = []

    def run(self, side: Side, reference: list[_Done] | None) -> list[_Done]:
        """Send every request in order; ``reference`` is what control did, None for control itself."""
        side.prepare()
        scenario = self.scenario
        variables = Variables(
            dict(scenario.variables), environ=self.settings.environ, seed=scenario.name, now_s=self.now_s
        )
        jar, correlator = Jar(), Correlator(scenario.name)
        moment = sha256(scenario.name.encode()).hexdigest()[:16]  # a header's value, whatever the name holds
        done: list[_Done] = []
        for number, request in enumerate(scenario.requests, 1):
            if self.stop.is_set():
                break
            original = Sent.of(request)
            has_templates = "{{" in original.target, b"{{" in original.body
            theirs = reference[number - 1] if reference is not None else None
            try:
                sent = original if request.is_literal else filled(original, variables, request.source)
            except Unfilled as exc:
                done.append(_Done(request, None, original, None, f"not sent: {exc}"))
                continue
            if theirs is not None and theirs.asked is not None:
                # What control was sent stands for what has no value of its own on this side.
                sent = replace(
                    sent,
                    target=sent.target if has_templates[0] else theirs.sent.target,
                    body=sent.body if has_templates[1] else theirs.sent.body,
                )
            sent = correlator.apply(
                number,
                sent,
                has_literal_target=not has_templates[0],
                has_literal_body=not has_templates[1],
            )
            if request.has_jar:
                sent = jar.apply(sent, is_literal=request.is_literal)
            route = self._route(sent)
            asked = side.ask(
                sent,
                route,
                f"{number}:{moment}",
                cap_bytes=self.settings.cap_bytes,
                timeout_s=self.settings.timeout_s,
            )
            observation = asked.observation
            jar.learn(observation.headers)
            variables.learn(request.name, observation)
            correlator.learn(
                number, self._reference(request, theirs), observation.headers, observation.body.captured
            )
            done.append(_Done(request, route, sent, asked))
        _add_late_rows(done, side)
        self.correlations.extend(each for each in correlator.found if each not in self.correlations)
        return done

    def _reference(
        self, request: CorpusRequest, theirs: _Done | None
    ) -> tuple[tuple[tuple[bytes, bytes], ...], bytes] | None:
        if theirs is not None and theirs.asked is not None:
            observation = theirs.asked.observation
            return observation.headers, observation.body.captured
        if theirs is None and request.recorded is not None:
            return request.recorded.headers, request.recorded.body
        return None

    def _route(self, sent: Sent) -> Route | None:
        path = unquote(sent.target.partition("?")[0])
        return self.settings.snapshot.matcher.match(sent.method, path)

    def judge(self, mine: list[_Done], theirs: list[_Done], control: Side) -> None:
        """Compare every pair of answers, and add what was found."""
        pairing, keys = Pairing(), KeyMap()
        tables = control.reading().tables
        with self.gathered.lock:
            for number, (one, other) in enumerate(zip(mine, theirs, strict=False), 1):
                route = one.route
                if one.asked is None or other.asked is None or route is None:
                    self._skip(number, one, other)
                    continue
                if not self.settings.is_remote and not is_answered_by_new(route):
                    self._skip(number, one, other, "only legacy has it")
                    continue
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
                self._add(number, one, other, left, right, comparison)
            self.gathered.correlations.extend(self.correlations)
            self.gathered.skipped_tables.update(control.reading().skipped)
            self.gathered.scenarios_done += 1

    def _skip(self, number: int, one: _Done, other: _Done, why: str = "") -> None:
        note = why or one.note or other.note or "no row of the table takes it"
        statuses = [each.asked.observation.status if each.asked else None for each in (one, other)]
        self.gathered.exchanges.append(
            Exchange(
                scenario=self.scenario.name,
                number=number,
                request=self.settings.redactor.request(self._record(one.sent)),
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
        one: _Done,
        other: _Done,
        left: Observation,
        right: Observation,
        comparison: Comparison,
    ) -> None:
        gathered, redactor = self.gathered, self.settings.redactor
        assert one.route is not None and one.asked is not None and other.asked is not None  # noqa: S101, PT018 - judge() has looked; this tells the type checker
        row = gathered.rows[one.route.key]
        request = redactor.request(self._record(one.sent))
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
            (name, redactor.text(f"{each.raised.type}: {each.raised.message}\n{each.raised.traceback}"))
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

    def _record(self, sent: Sent) -> RequestRecord:
        headers = tuple(
            (name.encode("latin-1", "replace"), value.encode("utf-8", "surrogateescape"))
            for name, value in sent.headers
        )
        return RequestRecord(
            sent.method, self.settings.base_url + sent.target, headers, Body.of(sent.body, cap_bytes=65_536)
        )


def _add_late_rows(done: list[_Done], side: Side) -> None:
    """Give rows that were written after the last answer to the last request that was answered."""
    with contextlib.suppress(CorpusError):
        late = side.late_rows()
        for index in range(len(done) - 1, -1, -1):
            asked = done[index].asked
            if asked is not None:
                rows = asked.observation.effects.rows
                if late and rows is not None:
                    effects = replace(asked.observation.effects, rows=(*rows, *late))
                    asked = replace(asked, observation=replace(asked.observation, effects=effects))
                    done[index] = replace(done[index], asked=asked)
                return


def _count(row: RowTally, one: _Done, left: Observation, right: Observation, comparison: Comparison) -> None:
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
