"""Run contenders side by side: every round loads each of them once, and ratios are taken within a round.

All servers of a race run from its start to its end on the one core; those that are not being loaded
idle. The order of the contenders turns from round to round.
"""

from __future__ import annotations

import http.client
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

from benchmarks.findings import Absolute, Chapter, Finding, Target
from benchmarks.load import Load, LoadFailed, check, put_load
from benchmarks.processes import NotStarted

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from benchmarks.contenders import Arrangement
    from benchmarks.processes import Lab

# On a core that the servers fill, requests/s are 1 ÷ processor time per request, and time is that time.
_BY_PROCESSOR = {"rate": -1, "time": 1}


@dataclass(frozen=True, slots=True)
class Bench:
    """Say how much is measured: ``rounds`` of ``seconds`` each; ``is_quick`` makes the rest small, too."""

    lab: Lab
    rounds: int
    seconds: int
    is_quick: bool
    say: Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Runner:
    """Be one contender in a race: how it starts, and what it is asked for (all loads at once)."""

    name: str
    start: Callable[[Lab], Arrangement]
    loads: tuple[Load, ...]


@dataclass(frozen=True, slots=True)
class Claim:
    """Ask for one ratio of a ``metric``: ``ours`` divided by ``theirs``, both names of runners.

    Metrics: ``rate`` (requests/s of all loads), ``time`` (its inverse), ``p99``, ``p99 NAME`` (of the
    load with that name), ``memory``.
    """

    text: str
    metric: str
    ours: str
    theirs: str
    target: Target | None = None


@dataclass(frozen=True, slots=True)
class Race:
    """Be one scenario of closed-loop load."""

    name: str
    title: str
    runners: tuple[Runner, ...]
    claims: tuple[Claim, ...]

    def measure(self, bench: Bench) -> Chapter:
        """Start everything, run the rounds, and return the ratios."""
        with bench.lab.apart():
            field = _Field(self, bench)
            for number in range(bench.rounds):
                bench.say(f"{self.name}: round {number + 1} of {bench.rounds}")
                field.run_round(number)
            return Chapter(
                self.title,
                tuple(field.settle(claim) for claim in self.claims),
                tuple(field.describe(runner) for runner in self.runners),
            )


class _Field:
    """Be the contenders of a race that is under way."""

    def __init__(self, race: Race, bench: Bench) -> None:
        self._bench = bench
        self._runners = {runner.name: runner for runner in race.runners}
        self._arrangements: dict[str, Arrangement] = {}
        self._missing: dict[str, str] = {}
        self._rounds: list[dict[str, Mapping[str, float]]] = []
        for runner in race.runners:
            bench.say(f"{race.name}: {runner.name} starts")
            try:
                arrangement = runner.start(bench.lab)
                for load in runner.loads:
                    check(arrangement.port, load)
                self._arrangements[runner.name] = arrangement
                self._load(runner, seconds=1)
            except (NotStarted, LoadFailed, OSError, http.client.HTTPException) as exc:
                self._drop(runner.name, exc)

    def _drop(self, name: str, exc: Exception) -> None:
        self._arrangements.pop(name, None)
        self._missing[name] = f"{name}: {exc}"
        self._bench.say(f"absent: {self._missing[name]}")

    def run_round(self, number: int) -> None:
        names = list(self._arrangements)
        turn = number % len(names) if names else 0
        figures: dict[str, Mapping[str, float]] = {}
        for name in names[turn:] + names[:turn]:
            try:
                figures[name] = self._load(self._runners[name], seconds=self._bench.seconds)
            except (NotStarted, LoadFailed) as exc:
                self._drop(name, exc)
        self._rounds.append(figures)

    def _load(self, runner: Runner, *, seconds: int) -> Mapping[str, float]:
        arrangement = self._arrangements[runner.name]
        arrangement.check()
        before = arrangement.cpu_s()
        runs = put_load(arrangement.port, runner.loads, seconds=seconds, core=self._bench.lab.cores.load)
        used = arrangement.cpu_s() - before
        arrangement.check()
        rate = sum(run.rate for run in runs)
        figures = {
            "rate": rate,
            "time": 1 / rate,
            "cpu": used / (rate * seconds),
            "memory": arrangement.memory_mib(),
            "p99": max(run.p99_s for run in runs),
        }
        named = {
            f"p99 {load.name}": run.p99_s for load, run in zip(runner.loads, runs, strict=True) if load.name
        }
        return figures | named

    def settle(self, claim: Claim) -> Finding:
        missing = [self._missing[name] for name in (claim.ours, claim.theirs) if name in self._missing]
        values = tuple(
            figures[claim.ours][claim.metric] / figures[claim.theirs][claim.metric]
            for figures in self._rounds
            if claim.ours in figures and claim.theirs in figures
        )
        if missing:
            return Finding(claim.text, (), claim.target, missing="; ".join(missing))
        by_processor: tuple[float, ...] = ()
        if claim.metric in _BY_PROCESSOR:
            power = _BY_PROCESSOR[claim.metric]
            by_processor = tuple(
                (figures[claim.ours]["cpu"] / figures[claim.theirs]["cpu"]) ** power
                for figures in self._rounds
                if claim.ours in figures and claim.theirs in figures
            )
        return Finding(claim.text, values, claim.target, by_processor=by_processor)

    def describe(self, runner: Runner) -> Absolute:
        if runner.name in self._missing:
            return Absolute(runner.name, {}, self._missing[runner.name])
        rounds = [figures[runner.name] for figures in self._rounds if runner.name in figures]
        return Absolute(runner.name, {key: median(figures[key] for figures in rounds) for key in rounds[0]})
