"""Hold two observations together: would a client notice?

Control is what legacy did, candidate what new did. Nothing is raised, whatever the observations hold, and
equal answers are settled without being parsed. What is found does not depend on what is waived: an
equivalence or a rule marks a difference and never hides it.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.compare.bodies import REDIRECTS, BodyResult, BodyTerms, body_differences
from gateway.compare.difference import Comparison, Difference, Kind, Outcome, RuleCount, Waiver
from gateway.compare.effects import effect_differences
from gateway.compare.equivalences import DEFAULT_EQUIVALENCES
from gateway.compare.found import Found
from gateway.compare.headers import header_differences
from gateway.compare.json_diff import KEPT_PER_PLACE
from gateway.compare.observation import header_values
from gateway.compare.pairing import Key, Pairing
from gateway.compare.rules import NO_RULES, RuleSet, compile_rules
from gateway.compare.waiving import equivalence_waiver, first_acceptance, map_key, rules_about
from gateway.compare.words import difference

if TYPE_CHECKING:
    from datetime import date

    from gateway.compare.json_text import Location
    from gateway.compare.observation import Observation
    from gateway.compare.redaction import Redactor
    from gateway.compare.rules import Marks, ReadyRule
    from gateway.table.spec import CompareSpec, RouteSpec

KEPT_FAILING = 100
KEPT_WAIVED = 50


@dataclass(frozen=True, slots=True)
class Terms:
    """Hold everything a comparison depends on that stays the same for a row.

    ``base_urls`` are the public base URLs of control and candidate (empty: unknown). Without a
    ``redactor`` the differences carry values as they were, secrets included.
    """

    rules: RuleSet = NO_RULES
    equivalences: frozenset[str] = DEFAULT_EQUIVALENCES
    base_urls: tuple[str, str] = ("", "")
    identity_keys: tuple[str, ...] = ("id", "uuid")
    redactor: Redactor | None = None


DEFAULT_TERMS = Terms()


def terms_for(
    route: RouteSpec,
    spec: CompareSpec,
    *,
    today: date | None = None,
    base_urls: tuple[str, str] = ("", ""),
    redactor: Redactor | None = None,
) -> Terms:
    """Return the terms that a row of the table and its settings ask for on the day ``today``."""
    rules = compile_rules(route.compare, today=today)
    return Terms(rules, route.equivalences, base_urls, spec.identity_keys, redactor)


def compare(
    control: Observation,
    candidate: Observation,
    terms: Terms = DEFAULT_TERMS,
    *,
    method: str = "",
    pairing: Pairing | None = None,
) -> Comparison:
    """Return what a client would notice between two observations.

    ``method`` is the request's, for better words. ``pairing`` is what the rule ``map`` has learned in this
    scenario so far; the result's is to be passed on.
    """
    judge = _Judge(terms, method, pairing or Pairing())
    found: list[Found] = []
    body = BodyResult()
    has_body = True
    if control.status != candidate.status:
        status = _status(control, candidate)
        found.append(status)
        is_same_class = control.status // 100 == candidate.status // 100
        is_error = control.status >= 400 and candidate.status >= 400
        has_body = is_same_class or is_error or judge.is_waived(status)
    if has_body:
        body = body_differences(
            control, candidate, BodyTerms(terms.rules, terms.base_urls, terms.identity_keys)
        )
    if control.headers != candidate.headers:
        is_type_told = body.is_type_told or not has_body
        found.extend(
            each
            for each in header_differences(control.headers, candidate.headers, terms.base_urls)
            if not (is_type_told and each.place == "header:content-type")
        )
    found.extend(body.found)
    note = body.note
    if body.undecided is not None and judge.is_waived(body.undecided):
        found.append(body.undecided)
        note = ""
    found.extend(effect_differences(control, candidate))
    judge.note_places(control, candidate)
    for (_, equivalence), count in body.more:
        judge.count(equivalence, count)
    return judge.comparison(found, body.marks, note)


def _status(control: Observation, candidate: Observation) -> Found:
    left, right = control.status, candidate.status
    if left in REDIRECTS and right in REDIRECTS:
        equivalence = "redirect_307_308" if {left, right} == {307, 308} else ""
        return Found(Kind.REDIRECT, "status", left, right, equivalence=equivalence)
    has_nan = right == 500 and left < 400 and b"NaN" in control.body.captured
    return Found(Kind.STATUS, "status", left, right, "nan" if has_nan else "")


class _Judge:
    """Waive what may be waived, and count; lives for one comparison."""

    def __init__(self, terms: Terms, method: str, pairing: Pairing) -> None:
        self.terms = terms
        self.method = method
        self.pairing = pairing
        self.waived = [0] * len(terms.rules.rules)
        self.places = [0] * len(terms.rules.rules)
        self.kept: list[Difference] = []
        self.at_place: Counter[tuple[bool, Kind, str | Location]] = Counter()
        self.room = {True: KEPT_FAILING, False: KEPT_WAIVED}
        self.bound: dict[Key, tuple[str, str]] = {}
        self.taken: dict[Key, tuple[str, str]] = {}
        self.failing = self.accepted = self.omitted = 0

    def is_waived(self, found: Found) -> bool:
        """Tell whether a difference outside JSON is accepted, without counting it."""
        about = [(each, True) for each in self.terms.rules.named("place", str(found.place))]
        return first_acceptance(found, about) is not None

    def note_places(self, control: Observation, candidate: Observation) -> None:
        """Count the headers and cookies that rules name and that are there, equal or not."""
        for ready in self.terms.rules.rules:
            if ready.realm not in ("header", "cookie"):
                continue
            name = ready.name.encode("latin-1", "replace") if ready.realm == "header" else b"set-cookie"
            values = [*header_values(control.headers, name), *header_values(candidate.headers, name)]
            if ready.realm == "cookie":
                values = [each for each in values if each.partition("=")[0].strip() == ready.name]
            self.places[ready.index] += bool(values)

    def count(self, equivalence: str, count: int) -> None:
        """Count differences that are not kept; no rule is about them."""
        if equivalence in self.terms.equivalences:
            self.accepted += count
        else:
            self.failing += count
        self.omitted += count

    def comparison(self, found: list[Found], marks: Marks, note: str) -> Comparison:
        """Return the judged whole."""
        if not found and not note and not self.terms.rules.rules:
            return Comparison(Outcome.MATCHED, pairing=self.pairing)
        for index, count in marks.places.items():
            self.places[index] += count
        for each in found:
            self._judge(each, marks)
        if self.failing:
            outcome = Outcome.MISMATCHED
        elif note:
            outcome = Outcome.TRUNCATED
        else:
            outcome = Outcome.WAIVED if self.accepted else Outcome.MATCHED
        return Comparison(
            outcome, self._sorted(), self.omitted, note, self._counts(), self.pairing.bound(self.bound)
        )

    def _judge(self, found: Found, marks: Marks) -> None:
        waiver = equivalence_waiver(found, self.terms.equivalences)
        if self.terms.rules.rules:
            about = rules_about(found, self.terms.rules, marks)
            for ready, _ in about:
                if ready.realm not in ("json", "header", "cookie"):
                    self.places[ready.index] += 1
            if found.cause == "map" or any(ready.rule.rule == "map" for ready, _ in about):
                mapped = self._map(found, about)
                if mapped is None:
                    return
                found, accepted = mapped
            else:
                accepted = None
            accepted = accepted or first_acceptance(found, about)
            if waiver is None and accepted is not None:
                self.waived[accepted.index] += 1
                waiver = Waiver("rule", accepted.rule.rule, accepted.rule.reason, accepted.rule)
        self._keep(found, waiver)

    def _map(
        self, found: Found, about: list[tuple[ReadyRule, bool]]
    ) -> tuple[Found, ReadyRule | None] | None:
        """Bind two values; None: they are equal, and nothing speaks against it."""
        ready = next(each for each, _ in about if each.rule.rule == "map")
        pair = map_key(found)
        if pair is None:
            return found, None
        left, right = pair
        here, there = (ready.rule.at, *left), (ready.rule.at, *right)
        is_free = self.bound.get(here, right) == right and self.taken.get(there, left) == left
        if is_free and self.pairing.is_consistent(ready.rule.at, left, right):
            self.bound[here] = right
            self.taken[there] = left
            return None if left == right else (found, ready)
        return found._replace(cause="map_conflict"), None

    def _keep(self, found: Found, waiver: Waiver | None) -> None:
        is_failing = waiver is None and found.kind is not Kind.LATENCY
        self.failing += is_failing
        self.accepted += waiver is not None
        if self.room[is_failing] == 0:
            self.omitted += 1
            return
        place = (is_failing, found.kind, _folded(found.place))
        if self.at_place[place] >= KEPT_PER_PLACE:
            self.omitted += 1
            return
        self.at_place[place] += 1
        self.room[is_failing] -= 1
        self.kept.append(difference(found, waiver, self.terms.redactor, self.method))

    def _sorted(self) -> tuple[Difference, ...]:
        return tuple(sorted(self.kept, key=lambda each: (not each.is_failing, each.is_advisory)))

    def _counts(self) -> tuple[RuleCount, ...]:
        rules = self.terms.rules.rules
        return tuple(
            RuleCount(
                each.rule, max(self.places[each.index], self.waived[each.index]), self.waived[each.index]
            )
            for each in rules
        )


def _folded(place: str | Location) -> str | Location:
    return place if isinstance(place, str) else tuple(["*" if type(each) is int else each for each in place])
