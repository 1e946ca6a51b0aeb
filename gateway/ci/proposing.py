"""Call control twice, and propose as noise what differs between its two calls as well.

The second call is a run of the whole scenario on a control side of its own, from the same starting state and
with its own clock and chance, so that a database, an app's memory and the clock are as far from the first run
as the candidate's are. Only safe requests of selected rows are counted. The statistics are those of
:mod:`gateway.compare.noise`. What is proposed is written down for a person; it accepts nothing.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from datetime import timedelta
from hashlib import sha256
from typing import TYPE_CHECKING

import yaml
from yaml.reader import Reader

from gateway.ci.corpus import CorpusError
from gateway.compare.engine import compare
from gateway.compare.json_text import fold_place
from gateway.compare.noise import MIN_VARIED, NoiseSample, gather, propose
from gateway.compare.pairing import Pairing
from gateway.compare.rows import KeyMap

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import date
    from pathlib import Path

    from gateway.ci.corpus import Scenario
    from gateway.ci.judging import Done, Gathered
    from gateway.ci.sides import Side
    from gateway.compare.difference import Comparison, Difference
    from gateway.compare.noise import PlaceEvidence, Proposal

VALID_FOR = timedelta(days=90)
"""How long a proposed rule holds, unless the person who accepts it says otherwise."""

_HEAD = """\
# What legacy answers differently when it is asked the same twice, and new therefore, too.
# Nothing of this is accepted: paste a rule under its row's `compare:` in {table}, and write the reason,
# without which the table refuses it. `ignore` still asserts that the value is there and of the same type.
"""


@dataclass(frozen=True, slots=True)
class Repeated:
    """Be one request on which control was called twice; ``label`` is the request in a few words, redacted."""

    label: str
    sample: NoiseSample


@dataclass(frozen=True, slots=True)
class RowProposal:
    """Be one rule proposed for a row, and the pairs that show it: control's two values, and the candidate's.

    ``again`` and ``candidate`` are None where no example had that difference.
    """

    route: str
    proposal: Proposal
    label: str
    again: Difference | None
    candidate: Difference | None


@dataclass(frozen=True, slots=True)
class Undecided:
    """Be a place where control differed from itself and that is not proposed, with the reason."""

    route: str
    evidence: PlaceEvidence
    why: str


@dataclass(frozen=True, slots=True)
class Noise:
    """Be what calling control twice has shown, over ``requests`` requests."""

    requests: int = 0
    proposals: tuple[RowProposal, ...] = ()
    undecided: tuple[Undecided, ...] = ()


def sampled(scenario: Scenario, mine: Sequence[Done], gathered: Gathered) -> frozenset[int]:
    """Return the numbers (from 1) of the requests to be asked of control again.

    The share is drawn by a digest of the scenario's name and the number: every run draws the same.
    """
    settings = gathered.settings
    found = set()
    for number, each in enumerate(mine, 1):
        if each.asked is None or each.route is None or not settings.selection.has(each.route):
            continue
        said = each.route.spec.safe
        if each.request.is_safe if said is None else said:
            drawn = sha256(f"{scenario.name}\0{number}".encode()).digest()[:4]
            if int.from_bytes(drawn) < settings.repeated_share * 2**32:
                found.add(number)
    return frozenset(found)


def hold_to_itself(
    numbers: frozenset[int],
    mine: Sequence[Done],
    again: Sequence[Done],
    compared: Mapping[int, Comparison],
    control: Side,
    gathered: Gathered,
) -> None:
    """Compare control with control, and keep that beside what the candidate came to (``compared``)."""
    pairing, keys = Pairing(), KeyMap()
    tables = control.reading().tables
    with gathered.lock:
        for number, (one, other) in enumerate(zip(mine, again, strict=False), 1):
            if one.asked is None or other.asked is None or one.route is None:
                continue
            left, right = one.asked.observation, other.asked.observation
            if left.effects.rows is not None and right.effects.rows is not None:
                aligned = keys.align(left.effects.rows, right.effects.rows, tables)
                right = replace(right, effects=replace(right.effects, rows=aligned))
            # Keys and mapped values are learned from every request, counted are the drawn ones.
            itself = compare(
                replace(left, first_byte_s=None, end_s=None),
                replace(right, first_byte_s=None, end_s=None),
                gathered.terms_of(one.route),
                method=one.sent.method,
                pairing=pairing,
            )
            pairing = itself.pairing
            if number in numbers and number in compared:
                repeated = Repeated(_label(one, gathered), NoiseSample(itself, compared[number]))
                gathered.repeated.setdefault(one.route.key, []).append(repeated)


def _label(one: Done, gathered: Gathered) -> str:
    from gateway.ci.judging import record_of

    request = gathered.settings.redactor.request(record_of(gathered.settings, one.sent))
    return f"{request.method} {request.url}"


def noise_of(gathered: Gathered) -> Noise:
    """Return what may be proposed, by row and place, and what varied and may not."""
    proposals: list[RowProposal] = []
    undecided: list[Undecided] = []
    for route, repeated in sorted(gathered.repeated.items()):
        evidence = gather(each.sample for each in repeated)
        found = propose(evidence)
        proposals.extend(_with_example(route, each, repeated) for each in found)
        taken = {each.evidence.place for each in found}
        undecided.extend(
            Undecided(route, each, _why_not(each))
            for each in evidence
            if each.place not in taken and each.both + each.control_only
        )
    requests = sum(len(each) for each in gathered.repeated.values())
    return Noise(requests, tuple(proposals), tuple(undecided))


def _why_not(evidence: PlaceEvidence) -> str:
    if evidence.is_structural:
        return "structure differs (type, length or presence), which is never noise"
    if evidence.both + evidence.candidate_only == 0:
        return "the candidate never differed there unwaived, so there is nothing to accept"
    varied = evidence.both + evidence.control_only
    if varied < MIN_VARIED:
        return f"it varied {varied}×, and {MIN_VARIED}× are needed to tell; add requests"
    return f"the candidate differs more often than that explains (p = {evidence.p_value:.2g})"


def _with_example(route: str, proposal: Proposal, repeated: Sequence[Repeated]) -> RowProposal:
    place = proposal.evidence.place
    pairs = [
        (each.label, _at(each.sample.control_pair, place), _at(each.sample.candidate_pair, place))
        for each in repeated
    ]
    label, again, candidate = max(pairs, key=lambda pair: (pair[1] is not None) + (pair[2] is not None))
    return RowProposal(route, proposal, label, again, candidate)


def _at(comparison: Comparison, place: str) -> Difference | None:
    return next(
        (each for each in comparison.differences if each.is_failing and fold_place(each.place) == place), None
    )


def example_of(found: RowProposal) -> str:
    """Return the example in one line: what control said, said again, and what the candidate said."""
    parts = []
    first = found.again or found.candidate
    if first is not None:
        parts.append(f"control {_short(first.control)}")
    if found.again is not None:
        parts.append(f"again {_short(found.again.candidate)}")
    if found.candidate is not None:
        parts.append(f"candidate {_short(found.candidate.candidate)}")
    return f"{found.label}: {', '.join(parts)}"


def _short(text: str | None) -> str:
    flat = "⏎".join((text or "").splitlines())
    return flat if len(flat) <= 80 else flat[:79] + "…"


def counts_of(evidence: PlaceEvidence) -> str:
    """Return the statistics in one line."""
    itself, candidate = evidence.both + evidence.control_only, evidence.both + evidence.candidate_only
    return (
        f"of {evidence.requests} requests control differed from itself on {itself}, from the candidate on "
        f"{candidate} ({evidence.control_only} and {evidence.candidate_only} of these alone; "
        f"McNemar p = {evidence.p_value:.2g})"
    )


def yaml_of(noise: Noise, *, table: str, today: date) -> str:
    """Return the proposals as they stand in a table, each without the reason that a person must give."""
    lines = [*_HEAD.format(table=table).splitlines(), ""]
    lines += list(_rules(noise, today + VALID_FOR)) or ["routes: {}"]
    if noise.undecided:
        lines += ["", "# Not proposed, though control differs from itself:"]
        lines += [f"#   {each.route} {each.evidence.place}: {each.why}" for each in noise.undecided]
    return "".join(f"{_printable(line)}\n" for line in lines)


def _rules(noise: Noise, until: date) -> Iterator[str]:
    route = ""
    for each in noise.proposals:
        if not route:
            yield "routes:"
        if each.route != route:
            route = each.route
            yield f"  {_quoted(route)}:"
            yield "    compare:"
        yield f"      # {counts_of(each.proposal.evidence)}"
        yield f"      # {example_of(each)}"
        yield f"      - at: {_quoted(each.proposal.rule.at)}"
        yield f"        rule: {each.proposal.rule.rule}"
        yield "        # reason: TODO why may a client see any value here?"
        yield f"        until: {until}"


def _quoted(text: str) -> str:
    return str(yaml.safe_dump(text, default_style='"', width=10_000)).strip()


def _printable(line: str) -> str:
    """Return a line that is one line to a YAML reader, too, whatever the apps answered."""
    return " ".join(Reader.NON_PRINTABLE.sub(lambda found: ascii(found[0])[1:-1], line).splitlines())


def write_proposals(path: Path, noise: Noise, *, table: str, today: date) -> None:
    """Write the file, whole or not at all."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft.write_text(yaml_of(noise, table=table, today=today), encoding="utf-8")
        draft.replace(path)
    except OSError as exc:
        raise CorpusError(f"--propose: {path} cannot be written: {exc.strerror}") from exc
