"""Hold what a run found: one outcome a request, one tally a row, one finding a signature, and the verdict.

A row that was selected and not exercised is not a pass; neither is an answer that was not compared to its
end, nor a request that could not be sent. Nothing here is waived away: what an equivalence or a rule accepted
is counted and shown.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING

from gateway.compare.difference import Outcome

if TYPE_CHECKING:
    from gateway.ci.correlation import Correlation
    from gateway.ci.proposing import Noise
    from gateway.compare.difference import Difference
    from gateway.compare.observation import RequestRecord
    from gateway.compare.signature import Finding
    from gateway.table.route import Route
    from gateway.table.spec import CompareRule


_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def visible(text: str) -> str:
    """Return text of many lines in which control characters are spelled, so that no terminal obeys them."""
    return _CONTROL.sub(lambda found: ascii(found[0])[1:-1], text)


NOT_SENT = "not sent"
"""How the note of a request begins that could not be made on a side."""

GENERATED = "generated"
"""The source of a request that nobody wrote."""

NO_ROW = "no row of the table takes it"
"""The note of a request that was sent to both sides and is not judged."""

NO_ANSWER = "no answer from either side"
"""How the note of a request begins to which nobody said anything: that is not to say the same."""


class Verdict(IntEnum):
    """Be the exit status of a comparison."""

    MATCHED = 0
    DIFFERENT = 1
    NOT_COMPARED = 2
    BROKEN = 3
    INTERRUPTED = 130


@dataclass(frozen=True, slots=True)
class Exchange:
    """Be one request and what both sides made of it. ``route`` is a row's key, empty where no row takes it.

    ``note`` says why nothing was compared (``outcome`` is None then). ``raised`` are the exceptions that
    escaped from the apps, by side.
    """

    scenario: str
    number: int
    request: RequestRecord
    source: str
    route: str
    is_selected: bool
    control_status: int
    candidate_status: int | None
    outcome: Outcome | None
    differences: tuple[Difference, ...] = ()
    omitted: int = 0
    note: str = ""
    raised: tuple[tuple[str, str], ...] = ()

    @property
    def is_unsent(self) -> bool:
        """Tell whether the request could not be sent to both sides, or neither answered."""
        return self.outcome is None and self.note.startswith((NOT_SENT, NO_ANSWER))

    @property
    def label(self) -> str:
        """Return the request in a few words."""
        return f"{self.request.method} {self.request.url}"


@dataclass(frozen=True, slots=True)
class Crash:
    """Say in one line why a run could not go on; ``log`` is the end of its server's log, in ``path``."""

    text: str
    log: str = ""
    path: str = ""


@dataclass(slots=True)
class RowTally:
    """Count what was exercised of one row; grows while a run lasts."""

    route: Route
    is_selected: bool
    outcomes: Counter[Outcome] = field(default_factory=Counter)
    status_classes: Counter[str] = field(default_factory=Counter)
    parameters: dict[str, set[str]] = field(default_factory=dict)
    rule_places: Counter[int] = field(default_factory=Counter)
    rule_waived: Counter[int] = field(default_factory=Counter)
    control_s: list[float] = field(default_factory=list)
    candidate_s: list[float] = field(default_factory=list)

    def absorb(self, other: RowTally) -> None:
        """Take in the counts of another tally of the same row."""
        self.outcomes += other.outcomes
        self.status_classes += other.status_classes
        self.rule_places += other.rule_places
        self.rule_waived += other.rule_waived
        for name, values in other.parameters.items():
            self.parameters.setdefault(name, set()).update(values)

    @property
    def key(self) -> str:
        """Return the row's key."""
        return self.route.key

    @property
    def requests(self) -> int:
        """Return how many requests were sent to both sides."""
        return self.outcomes.total()

    @property
    def is_exercised(self) -> bool:
        """Tell whether at least one request was compared to its end, and control did not fail on them all."""
        return self.requests > self.outcomes[Outcome.TRUNCATED] and not self.has_only_failures

    @property
    def has_only_failures(self) -> bool:
        """Tell whether control answered nothing but failures (5xx, or no answer): both may lack the same."""
        return self.requests > 0 and not self.status_classes.keys() - {"5xx", "none"}

    @property
    def mismatched(self) -> int:
        """Return how many requests were answered differently."""
        return self.outcomes[Outcome.MISMATCHED]


@dataclass(frozen=True, slots=True)
class RuleReport:
    """Say what became of one rule: ``state`` is ``used``, ``dead``, ``expired`` or ``broken``."""

    route: str
    rule: CompareRule
    state: str
    waived: int = 0
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Selection:
    """Be the rows that a verdict is about, how they were chosen, and those that cannot be compared."""

    routes: tuple[Route, ...]
    how: str
    left_out: tuple[tuple[str, str], ...] = ()

    def has(self, route: Route | None) -> bool:
        """Tell whether a row is among them."""
        return route is not None and any(each.id == route.id for each in self.routes)


@dataclass(frozen=True, slots=True)
class Run:
    """Be the whole outcome of ``gateway compare``; ``noise`` is None where control was called once.

    ``judging_s`` is what comparing, redacting and counting took of ``elapsed_s``.
    """

    selection: Selection
    rows: tuple[RowTally, ...]
    exchanges: tuple[Exchange, ...]
    findings: tuple[Finding, ...]
    rules: tuple[RuleReport, ...] = ()
    correlations: tuple[Correlation, ...] = ()
    notes: tuple[str, ...] = ()
    failures: tuple[str, ...] = ()
    accepted: tuple[tuple[Finding, str], ...] = ()
    noise: Noise | None = None
    sides: tuple[str, str] = ("legacy", "new")
    table: str = "routing.yaml"
    attempted: int = 0
    scenario_count: int = 0
    scenarios_done: int = 0
    elapsed_s: float = 0.0
    judging_s: float = 0.0
    is_strict: bool = False
    is_interrupted: bool = False
    crash: Crash | None = None

    @property
    def is_whole(self) -> bool:
        """Tell whether every scenario was run."""
        return not self.is_interrupted and self.crash is None

    @property
    def failing(self) -> tuple[Finding, ...]:
        """Return the findings that fail the run, on selected rows, most frequent first."""
        selected = {route.key for route in self.selection.routes}
        taken = {finding.signature for finding, _ in self.accepted}
        found = [
            each
            for each in self.findings
            if not each.is_waived
            and not each.difference.is_advisory
            and each.signature.route in selected
            and each.signature not in taken
        ]
        return tuple(sorted(found, key=lambda each: -each.count))

    @property
    def unexercised(self) -> tuple[RowTally, ...]:
        """Return the selected rows of which nothing was compared."""
        return tuple(row for row in self.rows if row.is_selected and not row.is_exercised)

    @property
    def undecided(self) -> tuple[Exchange, ...]:
        """Return the requests on selected rows whose answers were not compared to their end."""
        return tuple(
            each for each in self.exchanges if each.outcome is Outcome.TRUNCATED and each.is_selected
        )

    @property
    def unsent(self) -> tuple[Exchange, ...]:
        """Return the requests that could not be sent to both sides, or that neither answered."""
        return tuple(each for each in self.exchanges if each.is_unsent)

    @property
    def bad_rules(self) -> tuple[RuleReport, ...]:
        """Return the rules that fail the run."""
        states = {"expired", "broken"} | ({"dead"} if self.is_strict else set())
        return tuple(each for each in self.rules if each.state in states)

    @property
    def verdict(self) -> Verdict:
        """Return what the run comes to, and the exit status."""
        if self.is_interrupted:
            return Verdict.INTERRUPTED
        if self.crash is not None:
            return Verdict.BROKEN
        if self.failing or self.bad_rules or self.failures:
            return Verdict.DIFFERENT
        if self.selection.routes and (self.unexercised or self.undecided or self.unsent):
            return Verdict.NOT_COMPARED
        return Verdict.MATCHED
