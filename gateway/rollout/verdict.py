"""Judge a route's evidence: pass, fail or inconclusive, with the numbers, in a sentence. Pure.

A verdict may be asked for after every request: each test in it is sequential. Too little data is
inconclusive, never a pass; and not being found worse is no pass either: that takes a minimum of requests,
of callers and of time on top. Tests that begin anew at each step share α among the ladder's steps; the
canary's goes on through the whole run.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from gateway.rollout.canary import is_worse, log_run_evidence, needed_errors
from gateway.rollout.evidence import Evidence
from gateway.rollout.pairs import is_new_failing, log_pair_evidence, mcnemar_p_value
from gateway.rollout.parity import (
    is_above_budget,
    is_below_budget,
    log_evidence_above,
    log_evidence_below,
    missing_comparisons,
    needed_comparisons,
)
from gateway.rollout.positions import ladder, next_step, step_name
from gateway.table.moves import can_shadow, promotion
from gateway.table.spec import Rollout, RolloutStep, Stage

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from gateway.rollout.positions import Position
    from gateway.table.spec import RouteSpec

MIN_CALLERS = 10
"""Different callers that new must have served at a canary step before the next one."""

RUN_METRICS = ("parity", "error_pairs", "canary_errors")
"""The tests that may roll a route back, each at the route's ``alpha_rollback``."""


class Outcome(StrEnum):
    """Be what evidence says: advance, roll back, or hold."""

    PASS = "pass"  # noqa: S105 -- a verdict, not a password
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"


@dataclass(frozen=True, slots=True)
class Finding:
    """Be what one test says. ``evidence`` numbers are e-values in natural logarithms (``log_e``)."""

    metric: str
    outcome: Outcome
    sentence: str
    numbers: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Verdict:
    """Be what all tests together say, ``sentence`` being the one that decides."""

    outcome: Outcome
    sentence: str
    findings: tuple[Finding, ...] = ()

    @property
    def numbers(self) -> dict[str, float]:
        """Return every number behind it, as ``metric.name``."""
        return {f"{f.metric}.{name}": value for f in self.findings for name, value in f.numbers.items()}


def judge(
    row: RouteSpec,
    position: Position,
    run: Sequence[tuple[RolloutStep, Evidence]],
    *,
    now: float,
) -> Verdict:
    """Return the verdict on ``position`` from the evidence of its run's steps, at ``now`` (Unix seconds).

    ``run`` holds each step of the current run that has evidence; a step that is missing has none.
    """
    rollout = row.rollout or Rollout(steps=())
    current = next((evidence for step, evidence in run if step == position.step), Evidence())
    steps = max(1, sum(step.stage is not Stage.LEGACY for step in ladder(row)))
    findings: list[Finding] = []
    following = next_step(row, position)
    match position.step.stage:
        case Stage.LEGACY:
            return _from_legacy(row, following)
        case Stage.SHADOW:
            findings.append(_parity_gate(current, rollout, steps))
            findings.append(_error_pairs(current, rollout.alpha_rollback / steps))
            findings.append(_enough("comparisons", current.comparisons, rollout.min_requests))
        case Stage.CANARY:
            findings.append(_canary_errors(run, position.step, rollout.alpha_rollback))
            findings.append(_parity_held(current, rollout, steps))
            findings.append(_error_pairs(current, rollout.alpha_rollback / steps))
            findings.append(_enough("requests to new", current.new.requests, rollout.min_requests))
            findings.append(_enough("callers of new", current.new.callers, MIN_CALLERS))
        case Stage.NEW | Stage.RETIRED:
            findings.append(_parity_held(current, rollout, steps))
            findings.append(_error_pairs(current, rollout.alpha_rollback / steps))
    findings.append(_long_enough(now - position.since, rollout.min_time_s))
    return _together(findings, following)


def false_moves_allowed(rollouts: Iterable[Rollout]) -> tuple[float, float]:
    """Return (false promotions, false rollbacks) that the levels allow over all automatic routes, at most."""
    rollouts = tuple(rollouts)
    return (
        math.fsum(rollout.alpha_promote for rollout in rollouts),
        math.fsum(rollout.alpha_rollback * len(RUN_METRICS) for rollout in rollouts),
    )


def _together(findings: Sequence[Finding], following: RolloutStep | None) -> Verdict:
    failed = [finding for finding in findings if finding.outcome is Outcome.FAIL]
    if failed:
        return Verdict(Outcome.FAIL, "; ".join(f.sentence for f in failed), tuple(findings))
    if following is None:
        return Verdict(Outcome.INCONCLUSIVE, "the last step of the rollout is reached", tuple(findings))
    open_ = [finding for finding in findings if finding.outcome is Outcome.INCONCLUSIVE]
    if open_:
        return Verdict(Outcome.INCONCLUSIVE, "; ".join(f.sentence for f in open_), tuple(findings))
    sentence = f"ready for {step_name(following)}: {'; '.join(f.sentence for f in findings)}"
    return Verdict(Outcome.PASS, sentence, tuple(findings))


def _from_legacy(row: RouteSpec, following: RolloutStep | None) -> Verdict:
    """Let a row go to shadow at once, which no client can see, and nowhere else: nothing is known of new."""
    if following is not None and following.stage is Stage.SHADOW:
        return Verdict(Outcome.PASS, "shadowing changes nothing for clients")
    start = promotion(Stage.LEGACY, is_shadowed=can_shadow(row))
    return Verdict(
        Outcome.INCONCLUSIVE, f"nothing is compared at stage legacy; promote it to {start} by hand"
    )


def _parity_gate(evidence: Evidence, rollout: Rollout, steps: int) -> Finding:
    k, n, budget = evidence.mismatches, evidence.comparisons, rollout.mismatch_budget
    above = _above(evidence, rollout, steps)
    if above is not None:
        return above
    needed = needed_comparisons(k, budget, rollout.alpha_promote)
    numbers = {
        "comparisons": n,
        "mismatches": k,
        "needed": needed,
        "missing": missing_comparisons(k, n, budget, rollout.alpha_promote),
        "log_e": log_evidence_below(k, n, budget),
    }
    if is_below_budget(k, n, budget, rollout.alpha_promote):
        sentence = f"{_counted(k, 'mismatch', 'mismatches')} in {_counted(n, 'comparison')}"
        sentence += f": below the budget of {_percent(budget)}"
        return Finding("parity", Outcome.PASS, sentence, numbers)
    if k == 0:
        sentence = f"{needed:,} matched comparisons are needed, {_there(n)}"
    else:
        mismatches = _counted(k, "mismatch", "mismatches")
        sentence = f"with {mismatches} {needed:,} comparisons are needed, {_there(n)}"
    return Finding("parity", Outcome.INCONCLUSIVE, sentence, numbers)


def _parity_held(evidence: Evidence, rollout: Rollout, steps: int) -> Finding:
    above = _above(evidence, rollout, steps)
    if above is not None:
        return above
    k, n = evidence.mismatches, evidence.comparisons
    sentence = f"{_counted(k, 'mismatch', 'mismatches')} in {_counted(n, 'comparison')}"
    return Finding("parity", Outcome.PASS, sentence, {"comparisons": n, "mismatches": k})


def _above(evidence: Evidence, rollout: Rollout, steps: int) -> Finding | None:
    k, n, budget = evidence.mismatches, evidence.comparisons, rollout.mismatch_budget
    if not is_above_budget(k, n, budget, rollout.alpha_rollback / steps):
        return None
    sentence = (
        f"{k:,} of {n:,} comparisons differ ({_percent(k / n)}), more than the budget of {_percent(budget)}"
    )
    numbers = {"comparisons": n, "mismatches": k, "log_e": log_evidence_above(k, n, budget)}
    return Finding("parity", Outcome.FAIL, sentence, numbers)


def _error_pairs(evidence: Evidence, alpha: float) -> Finding:
    new, legacy = evidence.new_only_failures, evidence.legacy_only_failures
    numbers = {
        "new_only": new,
        "legacy_only": legacy,
        "log_e": log_pair_evidence(new, legacy),
        "mcnemar_p": mcnemar_p_value(new, legacy),
    }
    sentence = f"{new:,} compared requests failed on new only, {legacy:,} on legacy only"
    outcome = Outcome.FAIL if is_new_failing(new, legacy, alpha) else Outcome.PASS
    return Finding("error_pairs", outcome, sentence, numbers)


def _canary_errors(
    run: Sequence[tuple[RolloutStep, Evidence]], current: RolloutStep, alpha: float
) -> Finding:
    shares = [evidence.error_share(step.weight_bp) for step, evidence in run if step.stage is Stage.CANARY]
    on_new, callers = sum(share.on_new for share in shares), sum(share.callers for share in shares)
    expected = math.fsum(share.callers * share.weight for share in shares)
    numbers = {"on_new": on_new, "callers": callers, "expected": expected, "log_e": log_run_evidence(shares)}
    if 0 < current.weight_bp < 10_000:
        numbers["needed"] = needed_errors(current.weight_bp / 10_000, alpha)
    there = f"{on_new:,} of {_counted(callers, 'caller')} with an error met it on new"
    if is_worse(shares, alpha):
        sentence = f"{there}, where its share explains {expected:,.1f}"
        return Finding("canary_errors", Outcome.FAIL, sentence, numbers)
    return Finding("canary_errors", Outcome.PASS, there, numbers)


def _enough(what: str, count: int, needed: int) -> Finding:
    numbers = {"there": count, "needed": needed}
    metric = what.replace(" ", "_")
    if count >= needed:
        return Finding(metric, Outcome.PASS, f"{count:,} {what}", numbers)
    return Finding(metric, Outcome.INCONCLUSIVE, f"{needed:,} {what} are needed, {_there(count)}", numbers)


def _long_enough(elapsed_s: float, needed_s: float) -> Finding:
    numbers = {"elapsed_s": elapsed_s, "needed_s": needed_s}
    if elapsed_s >= needed_s:
        return Finding("time", Outcome.PASS, f"{_duration(elapsed_s)} at this step", numbers)
    sentence = f"{_duration(needed_s)} at this step are needed, {_duration(max(0.0, elapsed_s))} have passed"
    return Finding("time", Outcome.INCONCLUSIVE, sentence, numbers)


def _counted(number: int, singular: str, plural: str = "") -> str:
    return f"{number:,} {singular if number == 1 else plural or singular + 's'}"


def _there(number: int) -> str:
    return "1 is there" if number == 1 else f"{number:,} are there"


def _percent(fraction: float) -> str:
    return f"{fraction * 100:.3g}%"


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
