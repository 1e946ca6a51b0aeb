"""Count the same difference once: by route, kind and folded place.

Memory is bounded by the number of routes and kinds, and not by requests: a million requests with one bug
are one line. Time is an argument (Unix seconds).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import TYPE_CHECKING

from gateway.compare.curl import curl_line
from gateway.compare.json_text import fold_place

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.compare.difference import Comparison, Difference, Kind
    from gateway.compare.observation import Observation, RequestRecord

KEPT_EXAMPLES = 5
PLACES_PER_KIND = 50
"""Places of one route and kind that are told apart; those beyond are counted together."""

OTHER_PLACES = "…"


@dataclass(frozen=True, slots=True)
class Signature:
    """Name one finding. ``route`` is a row's canonical key, ``place`` has its indices folded to ``[*]``."""

    route: str
    kind: Kind
    place: str

    def __str__(self) -> str:
        return f"{self.route} {self.kind} {self.place}"


def signature_of(route: str, difference: Difference) -> Signature:
    """Return the signature of a difference on ``route``."""
    return _signature(route, difference.kind, difference.place)


@lru_cache(maxsize=4096)
def _signature(route: str, kind: Kind, place: str) -> Signature:
    return Signature(route, kind, fold_place(place))


@dataclass(frozen=True, slots=True)
class Example:
    """Be one whole pair that shows a finding, redacted by whoever adds it, and the line that repeats it."""

    at_s: float
    difference: Difference
    request: RequestRecord
    control: Observation
    candidate: Observation

    @property
    def curl(self) -> str:
        """Return the shell line that repeats the request."""
        return curl_line(self.request)


@dataclass(frozen=True, slots=True)
class Finding:
    """Be all differences of one signature: how many, of which ``waived``, since when and until when."""

    signature: Signature
    count: int
    waived: int
    first_s: float
    last_s: float
    difference: Difference
    examples: tuple[Example, ...] = ()

    @property
    def is_waived(self) -> bool:
        """Tell whether every one of them is accepted."""
        return self.waived == self.count

    def merged(self, other: Finding) -> Finding:
        """Return both findings of one signature as one, with the earliest examples."""
        examples = sorted({*self.examples, *other.examples}, key=lambda each: each.at_s)
        return replace(
            self,
            count=self.count + other.count,
            waived=self.waived + other.waived,
            first_s=min(self.first_s, other.first_s),
            last_s=max(self.last_s, other.last_s),
            difference=self.difference if self.difference.is_failing else other.difference,
            examples=tuple(examples[:KEPT_EXAMPLES]),
        )


@dataclass(slots=True)
class Findings:
    """Gather findings; the one thing here that changes, as a Counter does.

    A comparison counts at most once for each signature. Of the findings of one route and kind the first
    ``PLACES_PER_KIND`` places are told apart.
    """

    by_signature: dict[Signature, Finding] = field(default_factory=dict)
    _places: dict[tuple[str, Kind], int] = field(default_factory=dict)

    def __iter__(self) -> Iterator[Finding]:
        return iter(self.by_signature.values())

    def __len__(self) -> int:
        return len(self.by_signature)

    def add(
        self,
        route: str,
        comparison: Comparison,
        *,
        at_s: float,
        request: RequestRecord,
        control: Observation,
        candidate: Observation,
    ) -> tuple[Finding, ...]:
        """Count a comparison's differences; return what was counted, one finding of its own each.

        Such a finding has an example while its signature has too few.
        """
        seen: dict[Signature, Difference] = {}
        for difference in comparison.differences:
            seen.setdefault(self._known(signature_of(route, difference)), difference)
        counted: list[Finding] = []
        for signature, difference in seen.items():
            before = self.by_signature.get(signature)
            examples: tuple[Example, ...] = ()
            if before is None or len(before.examples) < KEPT_EXAMPLES:
                examples = (Example(at_s, difference, request, control, candidate),)
            one = Finding(signature, 1, int(difference.is_waived), at_s, at_s, difference, examples)
            self.by_signature[signature] = one if before is None else _next(before, one)
            counted.append(one)
        return tuple(counted)

    def wants_example(self, route: str, comparison: Comparison) -> bool:
        """Tell whether :meth:`add` would keep the pair: what is only counted need not be redacted first."""
        signatures = (self._known(signature_of(route, each)) for each in comparison.differences)
        known = (self.by_signature.get(each) for each in signatures)
        return any(each is None or len(each.examples) < KEPT_EXAMPLES for each in known)

    def merge(self, finding: Finding) -> None:
        """Take in a finding that was gathered elsewhere."""
        signature = self._known(finding.signature)
        before = self.by_signature.get(signature)
        finding = replace(finding, signature=signature)
        self.by_signature[signature] = finding if before is None else before.merged(finding)

    def _known(self, signature: Signature) -> Signature:
        if signature in self.by_signature or signature.place == OTHER_PLACES:
            return signature
        key = (signature.route, signature.kind)
        count = self._places.get(key, 0)
        if count >= PLACES_PER_KIND:
            return replace(signature, place=OTHER_PLACES)
        self._places[key] = count + 1
        return signature


def _next(before: Finding, one: Finding) -> Finding:
    # Built in place of dataclasses.replace(), which takes three times as long: this runs once a difference.
    return Finding(
        before.signature,
        before.count + 1,
        before.waived + one.waived,
        min(before.first_s, one.first_s),
        max(before.last_s, one.last_s),
        before.difference if before.difference.is_failing else one.difference,
        (*before.examples, *one.examples)[:KEPT_EXAMPLES] if one.examples else before.examples,
    )
