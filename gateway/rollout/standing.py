"""Say where one route stands, for people: the file's step and the one in force, evidence, what is missing.

Values in, values out; :mod:`gateway.rollout.reading` takes them from the store. A row that moves by hand and
is compared is held to the parity gate of a rollout at the usual levels: advice, never a gate. The Wilson
interval is shown, and never gated on either.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any

from gateway.rollout.bounds import wilson_interval
from gateway.rollout.evidence import Evidence
from gateway.rollout.positions import (
    effective_step,
    fingerprint,
    ladder,
    next_step,
    own_step,
    place,
    step_name,
)
from gateway.rollout.verdict import Outcome, judge
from gateway.table.moves import can_shadow, promotion
from gateway.table.spec import WEBSOCKET, Rollout, RolloutStep, RouteSpec, Stage

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gateway.rollout.evidence import SideEvidence
    from gateway.rollout.positions import Position
    from gateway.rollout.verdict import Verdict

SHADOW = RolloutStep(Stage.SHADOW)

USUAL_FIRST_STEP = RolloutStep(Stage.CANARY, 500)
"""Where a row goes from shadow when it is promoted by hand and nobody says how far."""


@dataclass(frozen=True, slots=True)
class Row:
    """Be one row of the table in force. ``has_legacy`` tells whether legacy could answer it alone."""

    route_id: str
    spec: RouteSpec
    has_legacy: bool = True
    is_listed: bool = True

    @property
    def is_counted(self) -> bool:
        """Tell whether evidence is kept of the row without a position: it is automatic, or compared."""
        return self.spec.rollout is not None or self.spec.sample_bp > 0


@dataclass(frozen=True, slots=True)
class Happening:
    """Be the last event of a route; times are Unix seconds."""

    at: float
    kind: str
    before: str = ""
    after: str = ""
    caused_by: str = ""
    sentence: str = ""


@dataclass(frozen=True, slots=True)
class SideStanding:
    """Be what one backend did as primary at this step; quantiles (seconds) are None without answers."""

    requests: int = 0
    errors: int = 0
    callers: int = 0
    callers_with_error: int = 0
    p50_s: float | None = None
    p95_s: float | None = None
    p99_s: float | None = None


@dataclass(frozen=True, slots=True)
class Standing:
    """Be everything about one route that a person decides by. Steps are worded as in the table.

    ``file_step`` is what the file says, ``step`` what is in force, ``since`` when it was reached (None: the
    store does not know), ``outcome`` the verdict (empty where nothing is judged) and ``sentence`` why,
    ``missing`` what is still needed for ``next_step``. Of ``comparisons`` at this step ``mismatches``
    differed: with 95% confidence a rate from ``rate_low`` to ``rate_high`` (fractions).
    """

    route_id: str
    key: str
    file_step: str
    step: str
    ladder: tuple[str, ...] = ()
    next_step: str | None = None
    is_automatic: bool = False
    is_held: bool = False
    is_rolled_back: bool = False
    since: float | None = None
    moved_by: str = ""
    reason: str = ""
    outcome: str = ""
    sentence: str = ""
    missing: tuple[str, ...] = ()
    numbers: Mapping[str, float] = field(default_factory=dict)
    comparisons: int = 0
    mismatches: int = 0
    waived: int = 0
    rate_low: float = 0.0
    rate_high: float = 1.0
    fallbacks: int = 0
    legacy: SideStanding = SideStanding()
    new: SideStanding = SideStanding()
    last_event: Happening | None = None

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON-able values (``dataclasses.asdict`` copies deeply, five times as slowly)."""
        values: dict[str, Any] = {name: getattr(self, name) for name in _NAMES}
        for name in ("legacy", "new"):
            side = values[name]
            values[name] = {each: getattr(side, each) for each in SideStanding.__slots__}
        event = self.last_event
        if event is not None:
            values["last_event"] = {each: getattr(event, each) for each in Happening.__slots__}
        return values


_NAMES = tuple(each.name for each in fields(Standing))


def stand(
    row: Row,
    position: Position | None,
    run: Sequence[tuple[RolloutStep, Evidence]],
    *,
    now: float,
    last_event: Happening | None = None,
) -> Standing:
    """Return where ``row`` stands at ``now``, by the evidence of its run (as ``judge`` takes it)."""
    spec = row.spec
    step = effective_step(spec, position)
    here = next((evidence for each, evidence in run if each == step), Evidence())
    following, verdict = _judged(row, position, run, now)
    low, high = wilson_interval(here.mismatches, here.comparisons)
    return Standing(
        route_id=row.route_id,
        key=spec.key,
        file_step=step_name(own_step(spec)),
        step=step_name(step),
        ladder=tuple(step_name(each) for each in ladder(spec)),
        next_step=step_name(following) if following is not None else None,
        is_automatic=spec.rollout is not None,
        is_held=position is not None and position.is_held,
        is_rolled_back=position is not None and position.is_rolled_back,
        since=position.since if position is not None else None,
        moved_by=position.by if position is not None else "",
        reason=position.reason if position is not None else "",
        outcome=str(verdict.outcome) if verdict else "",
        sentence=verdict.sentence if verdict else "",
        missing=_missing(verdict),
        numbers=verdict.numbers if verdict else {},
        comparisons=here.comparisons,
        mismatches=here.mismatches,
        waived=here.waived,
        rate_low=low,
        rate_high=high,
        fallbacks=here.fallbacks,
        legacy=_side(here.legacy),
        new=_side(here.new),
        last_event=last_event,
    )


def _judged(
    row: Row, position: Position | None, run: Sequence[tuple[RolloutStep, Evidence]], now: float
) -> tuple[RolloutStep | None, Verdict | None]:
    """Return the next step, and the verdict on it; None where there is nothing to judge."""
    spec = row.spec
    if position is not None and position.fingerprint != fingerprint(spec):
        return None, None  # this worker and the store have not read the same file yet
    if spec.rollout is not None:
        position = position or place(spec, route_id=row.route_id, now=now).position
        if position is None:
            return None, None
        return next_step(spec, position), judge(spec, position, run, now=now)
    if position is not None and position.is_rolled_back:
        return next_step(spec, position), None
    following = _by_hand(spec)
    is_compared = can_shadow(spec) and spec.sample_bp > 0
    if spec.stage not in (Stage.SHADOW, Stage.CANARY) or following is None or not is_compared:
        return following, None
    gated = replace(spec.at(SHADOW), rollout=Rollout((following,), min_time_s=0.0))
    position = place(gated, route_id=row.route_id, now=now).position
    if position is None:
        return following, None
    return following, judge(gated, position, [(SHADOW, evidence) for _, evidence in run], now=now)


def _by_hand(spec: RouteSpec) -> RolloutStep | None:
    """Return the step to which ``gateway promote`` takes a row without a rollout."""
    stage = promotion(spec.stage, is_websocket=WEBSOCKET in spec.methods, is_shadowed=can_shadow(spec))
    if stage is spec.stage:
        return None
    return USUAL_FIRST_STEP if stage is Stage.CANARY else RolloutStep(stage)


def _missing(verdict: Verdict | None) -> tuple[str, ...]:
    if verdict is None:
        return ()
    return tuple(each.sentence for each in verdict.findings if each.outcome is Outcome.INCONCLUSIVE)


def _side(evidence: SideEvidence) -> SideStanding:
    return SideStanding(
        requests=evidence.requests,
        errors=evidence.errors,
        callers=evidence.callers,
        callers_with_error=evidence.callers_with_error,
        **evidence.latency.quantiles(),
    )


def parse_standing(data: Mapping[str, Any]) -> Standing:
    """Return the standing that :meth:`Standing.as_json` and JSON made of one."""
    event = data.get("last_event")
    return Standing(
        **{
            **data,
            "ladder": tuple(data.get("ladder", ())),
            "missing": tuple(data.get("missing", ())),
            "legacy": SideStanding(**data.get("legacy", {})),
            "new": SideStanding(**data.get("new", {})),
            "last_event": Happening(**event) if event else None,
        }
    )
