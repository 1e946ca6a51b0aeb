"""Hold what goes into the store and comes out of it, as frozen values. Pure, and ignorant of what it means.

Times are Unix seconds, weights basis points. Texts that come from requests must be redacted before they
get here; the store writes down what it is given.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

Side = Literal["legacy", "new"]

EXAMPLES_KEPT = 5
"""Whole example pairs kept for one signature."""

ERROR_CALLERS_KEPT = 20_000
"""Callers with an error kept for one run. Nobody after that is taken, of either side: enough is known."""


class Scope(NamedTuple):
    """Name what a piece of evidence belongs to: a route, a run of it, and a step (``canary 5%``)."""

    route_id: str
    run: int
    step: str


@dataclass(frozen=True, slots=True)
class StoredEvidence:
    """Be the sums of one scope over all workers.

    ``counts`` are named sums, ``words`` the (number, bits) of each side's sketch of callers,
    ``callers_with_error`` how many different callers met their first error of the run on each side.
    """

    counts: Mapping[str, int] = field(default_factory=dict)
    words: Mapping[Side, tuple[tuple[int, int], ...]] = field(default_factory=dict)
    callers_with_error: Mapping[Side, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PositionRecord:
    """Be one route's place as stored; ``version`` counts its changes (0: not stored yet)."""

    route_id: str
    key: str
    fingerprint: str
    origin_stage: str
    origin_weight_bp: int
    stage: str
    weight_bp: int
    run: int
    since: float
    is_held: bool = False
    is_rolled_back: bool = False
    moved_by: str = ""
    reason: str = ""
    version: int = 0


@dataclass(frozen=True, slots=True)
class EventRecord:
    """Be one thing that happened to a route, with who or what did it and the numbers behind it.

    ``id`` rises with time; it is 0 until the event is stored.
    """

    at: float
    route_id: str
    key: str
    kind: str
    before: str = ""
    after: str = ""
    caused_by: str = ""
    sentence: str = ""
    numbers: Mapping[str, float] = field(default_factory=dict)
    id: int = 0


@dataclass(frozen=True, slots=True)
class FindingRecord:
    """Be one signature: the differences of one kind at one place of one route, counted."""

    route_id: str
    signature: str
    kind: str
    place: str
    sentence: str = ""
    is_waived: bool = False
    count: int = 1
    first_seen: float = 0.0
    last_seen: float = 0.0


@dataclass(frozen=True, slots=True)
class ExampleRecord:
    """Be one redacted example pair of a signature, as JSON text."""

    at: float
    document: str


@dataclass(frozen=True, slots=True)
class ReceiverRecord:
    """Be how far one receiver of events has come: every event up to ``last_id`` is settled.

    ``receiver`` names it (a digest: its address may hold a secret). The event after ``last_id`` has been
    tried ``attempts`` times in vain, and is tried again at ``next_try_at``; ``failing_since`` is when the
    receiver last stopped taking what it was sent, 0 while it takes it. ``delivered`` and ``given_up`` count.
    """

    receiver: str
    last_id: int = 0
    attempts: int = 0
    failing_since: float = 0.0
    next_try_at: float = 0.0
    is_stopped: bool = False
    delivered: int = 0
    given_up: int = 0
    last_error: str = ""
    seen_at: float = 0.0


@dataclass(frozen=True, slots=True)
class Lease:
    """Be the right to act alone until ``expires_at`` by the store's clock.

    ``token`` rises with each change of holder, so that one who lost it without noticing can be refused.
    """

    name: str
    holder: str
    token: int
    expires_at: float


@dataclass(frozen=True, slots=True)
class Retention:
    """Say what is kept: days of evidence, events and findings, and how many of the latter two."""

    evidence_days: int = 90
    events_days: int = 365
    events_count: int = 20_000
    findings_days: int = 30
    findings_count: int = 5_000
    writers_days: int = 7
    receivers_days: int = 7


@dataclass(frozen=True, slots=True)
class StoreHealth:
    """Be the state of one process's store. ``facts`` are numbers and short texts for pages and metrics."""

    is_ok: bool
    reason: str = ""
    facts: Mapping[str, int | float | str] = field(default_factory=dict)
