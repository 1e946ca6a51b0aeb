"""Run scenarios on both sides.

A scenario runs to its end on control, then from the same starting state on the candidate. Scenarios are
independent: several may run at once, each pair of sides with its own copies.
"""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from dataclasses import replace
from hashlib import sha256
from typing import TYPE_CHECKING
from urllib.parse import unquote

from gateway.ci.corpus import CorpusError
from gateway.ci.correlation import Correlation, Correlator, Jar
from gateway.ci.exchange import Sent
from gateway.ci.judging import Done, Judge, record_of
from gateway.ci.proposing import hold_to_itself, sampled
from gateway.ci.results import NOT_SENT
from gateway.ci.security import Attempted, Hole, attempts, credentials, is_let_in
from gateway.ci.variables import Unfilled, Variables, filled
from gateway.compare.curl import curl_line
from gateway.errors import GatewayError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from gateway.ci.corpus import CorpusRequest, Scenario
    from gateway.ci.judging import Gathered
    from gateway.ci.sides import Side
    from gateway.compare.difference import Comparison
    from gateway.table.route import Route

Pair = tuple["Side", "Side"]


def run_scenarios(
    scenarios: Iterable[Scenario],
    make_pair: Callable[[int], Pair],
    gathered: Gathered,
    *,
    jobs: int = 1,
    make_again: Callable[[int], Side] | None = None,
    told: Callable[[Scenario], None] = lambda scenario: None,
) -> None:
    """Run every scenario; raises what a side raises, after the others have stopped.

    ``make_pair`` makes the sides of one of ``jobs`` workers, ``make_again`` the one that control is called on
    for the second time, where it is. ``told`` hears of each scenario when it is done.
    """
    waiting: queue.SimpleQueue[Scenario] = queue.SimpleQueue()
    for scenario in scenarios:
        waiting.put(scenario)
    stop = threading.Event()
    problems: list[BaseException] = []
    sides: list[Side] = []

    def work(number: int) -> None:
        control, candidate = make_pair(number)
        again = make_again(number) if make_again is not None else None
        mine = [each for each in (control, candidate, again) if each is not None]
        sides.extend(mine)
        try:
            while not stop.is_set():
                try:
                    scenario = waiting.get_nowait()
                except queue.Empty:
                    return
                run_scenario(scenario, control, candidate, gathered, stop, again)
                told(scenario)
        except BaseException as exc:
            problems.append(exc)
            stop.set()
        finally:
            for side in mine:
                side.close()

    # No join: CPython 3.9 to 3.12 takes a thread whose join was interrupted for ended.
    ends: list[threading.Event] = []

    def work_to_the_end(number: int, end: threading.Event) -> None:
        try:
            work(number)
        finally:
            end.set()

    try:
        for number in range(1, jobs + 1):
            ends.append(threading.Event())
            threading.Thread(target=work_to_the_end, args=(number, ends[-1]), daemon=True).start()
        for end in ends:
            end.wait()
    except KeyboardInterrupt:
        stop.set()
        for side in sides:
            side.abort()
        for end in ends:
            end.wait(15)
        raise
    if problems:
        raise problems[0]


def run_scenario(
    scenario: Scenario,
    control: Side,
    candidate: Side,
    gathered: Gathered,
    stop: threading.Event | None = None,
    again: Side | None = None,
) -> None:
    """Run one scenario on both sides and compare; with ``again`` a share of control against itself, too."""
    runner = _Scenario(scenario, gathered, stop or threading.Event())
    mine = runner.run(control, None)
    try:
        theirs = runner.run(candidate, mine)
    except GatewayError:
        # What was answered until then is worth its comparison.
        runner.judge(mine, runner.done, control)
        raise
    compared = runner.judge(mine, theirs, control)
    if again is not None and not runner.stop.is_set():
        runner.repeat(mine, compared, again)
    if gathered.settings.has_attempts and not runner.stop.is_set():
        runner.attempt(mine, control, candidate)


class _Scenario:
    """Hold what one scenario needs on its way; lives for it."""

    def __init__(self, scenario: Scenario, gathered: Gathered, stop: threading.Event) -> None:
        self.scenario = scenario
        self.gathered = gathered
        self.settings = gathered.settings
        self.stop = stop
        self.now_s = int(time.time())
        self.correlations: list[Correlation] = []
        self.attempted: list[Attempted] = []
        self.is_attempting = False
        self.done: list[Done] = []

    def judge(self, mine: list[Done], theirs: list[Done], control: Side) -> dict[int, Comparison]:
        """Compare what both sides have answered, be that all or not."""
        is_whole = len(mine) == len(theirs) == len(self.scenario.requests)
        judge = Judge(self.scenario, self.gathered)
        return judge.judge(mine, theirs, control, self.correlations, is_whole=is_whole)

    def repeat(self, mine: list[Done], compared: dict[int, Comparison], again: Side) -> None:
        """Run the scenario on control once more, as far as needed, and hold control against itself."""
        numbers = sampled(self.scenario, mine, self.gathered)
        if not numbers:
            return
        part = replace(self.scenario, requests=self.scenario.requests[: max(numbers)])
        # What control deals anew is substituted there as well, and is no part of the report.
        runner = _Scenario(part, self.gathered, self.stop)
        runner.now_s = self.now_s
        hold_to_itself(numbers, mine, runner.run(again, mine), compared, again, self.gathered)

    def run(self, side: Side, reference: list[Done] | None) -> list[Done]:
        """Send every request in order; ``reference`` is what control did, None for control itself."""
        self.done = done = []
        side.prepare()
        scenario = self.scenario
        variables = Variables(
            dict(scenario.variables), environ=self.settings.environ, seed=scenario.name, now_s=self.now_s
        )
        jar, correlator = Jar(), Correlator(scenario.name)
        moment = sha256(scenario.name.encode()).hexdigest()[:16]  # a header's value, whatever the name holds
        for number, request in enumerate(scenario.requests, 1):
            if self.stop.is_set():
                break
            original = Sent.of(request)
            has_templates = "{{" in original.target, b"{{" in original.body
            theirs = reference[number - 1] if reference is not None else None
            try:
                sent = original if request.is_literal else filled(original, variables, request.source)
                problem = sent.problem
            except Unfilled as exc:
                sent, problem = original, str(exc)
            if problem:
                done.append(Done(request, None, sent, None, f"{NOT_SENT}: {problem}"))
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
            if self.is_attempting:
                self._attempt(side, number, sent, route, moment, is_control=theirs is None)
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
            done.append(Done(request, route, sent, asked))
        _add_late_rows(done, side)
        self.correlations.extend(each for each in correlator.found if each not in self.correlations)
        return done

    def attempt(self, mine: list[Done], control: Side, candidate: Side) -> None:
        """Run the scenario again on both sides, each request preceded by those of people to be kept out."""
        self.is_attempting = True
        sides: list[dict[tuple[int, str], Attempted]] = []
        reference: list[Done] | None = None
        for side in (control, candidate):
            self.attempted = []
            done = self.run(side, reference)
            reference = reference or done
            sides.append({(each.number, each.attempt.who): each for each in self.attempted})
        for key, left in sides[0].items():
            right, genuine = sides[1].get(key), mine[key[0] - 1]
            if right is None or genuine.asked is None or genuine.route is None:
                continue
            was_let_in = is_let_in(genuine.asked.observation.status)
            if was_let_in and not is_let_in(left.status) and is_let_in(right.status):
                curl = curl_line(self.settings.redactor.request(record_of(self.settings, left.attempt.sent)))
                self.gathered.add_hole(
                    Hole(genuine.route.key, left.attempt.who, left.status, right.status, curl)
                )
        self.gathered.attempted += len(sides[0])

    def _attempt(
        self, side: Side, number: int, sent: Sent, route: Route | None, moment: str, *, is_control: bool
    ) -> None:
        if route is None or not self.settings.selection.has(route):
            return
        given = self.gathered.given[0 if is_control else 1]
        own = credentials(sent)
        if own and own not in given:
            given.append(own)
        for attempt in attempts(sent, tuple(given), can_move_clock=self.settings.is_frozen):
            when = f"{number + attempt.later_s}:{moment}"
            asked = side.ask(
                attempt.sent,
                route,
                when,
                cap_bytes=self.settings.cap_bytes,
                timeout_s=self.settings.timeout_s,
            )
            self.attempted.append(Attempted(number, attempt, asked.observation.status))

    def _reference(
        self, request: CorpusRequest, theirs: Done | None
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


def _add_late_rows(done: list[Done], side: Side) -> None:
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
