"""Propose as noise what differs between control and itself as well.

A place is proposed only when it varies in value without changing type or length, on both sides of the
evidence, and when its control-against-control rate explains its control-against-candidate rate: the exact
McNemar test on the requests where only one of the two pairs differed does not reject. A structural
difference is never noise, and a proposal waives nothing until a person accepts it.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import comb
from typing import TYPE_CHECKING

from gateway.compare.difference import VALUE_KINDS
from gateway.compare.json_text import fold_place
from gateway.table.spec import CompareRule

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.compare.difference import Comparison

MIN_VARIED = 5
"""How often control must have differed from itself before anything is proposed."""

ALPHA = 0.05


@dataclass(frozen=True, slots=True)
class NoiseSample:
    """Be one request on which control was called twice: control against itself, and against the candidate."""

    control_pair: Comparison
    candidate_pair: Comparison


@dataclass(frozen=True, slots=True)
class PlaceEvidence:
    """Count, of ``requests``, those where a place differed in both pairs, or in one of them alone.

    ``is_structural`` tells that it once differed in more than its value.
    """

    place: str
    requests: int
    both: int = 0
    control_only: int = 0
    candidate_only: int = 0
    is_structural: bool = False

    @property
    def p_value(self) -> float:
        """Return how likely so many candidate-only differences are if noise is all there is."""
        return mcnemar(self.candidate_only, self.control_only)


@dataclass(frozen=True, slots=True)
class Proposal:
    """Be a rule that a person may accept, and the evidence for it."""

    rule: CompareRule
    evidence: PlaceEvidence


def mcnemar(more: int, less: int) -> float:
    """Return the exact one-sided McNemar p-value: P(X ≥ ``more``) for X ~ Bin(``more`` + ``less``, 1/2).

    (McNemar 1947; the exact form is the sign test on discordant pairs.) 5 of 5 gives 0.031, 7 of 7 0.008.
    """
    total = more + less
    return float(sum(comb(total, each) for each in range(more, total + 1)) / 2**total)


def gather(samples: Iterable[NoiseSample]) -> tuple[PlaceEvidence, ...]:
    """Return what ``samples`` of one route say about each place that ever differed."""
    counts: dict[str, list[int]] = {}
    structural: set[str] = set()
    requests = 0
    for sample in samples:
        requests += 1
        left, right = (_places(each, structural) for each in (sample.control_pair, sample.candidate_pair))
        for place in left | right:
            at = 0 if place in left and place in right else 1 if place in left else 2
            counts.setdefault(place, [0, 0, 0])[at] += 1
    return tuple(
        PlaceEvidence(place, requests, both, control_only, candidate_only, place in structural)
        for place, (both, control_only, candidate_only) in sorted(counts.items())
    )


def _places(comparison: Comparison, structural: set[str]) -> set[str]:
    found: set[str] = set()
    for difference in comparison.differences:
        place = fold_place(difference.place)
        if difference.is_waived or difference.is_advisory:
            continue
        found.add(place)
        if difference.kind not in VALUE_KINDS or not difference.has_same_shape:
            structural.add(place)
    return found


def propose(
    evidence: Iterable[PlaceEvidence], *, alpha: float = ALPHA, min_varied: int = MIN_VARIED
) -> tuple[Proposal, ...]:
    """Return a rule for each place whose differences noise explains."""
    return tuple(
        Proposal(_rule(each), each)
        for each in evidence
        if not each.is_structural
        and each.both + each.control_only >= min_varied
        and each.both + each.candidate_only > 0
        and each.p_value > alpha
    )


def _rule(evidence: PlaceEvidence) -> CompareRule:
    varied = evidence.both + evidence.control_only
    reason = f"legacy differs from itself here ({varied} of {evidence.requests} requests)"
    return CompareRule(at=evidence.place.partition(";")[0], rule="ignore", reason=reason)
