"""Say in words how two answers differ: the route, each place, both values, and how to ask again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.compare.curl import curl_line

if TYPE_CHECKING:
    from gateway.compare.difference import Comparison, Difference
    from gateway.compare.engine import Terms
    from gateway.compare.observation import Observation, RequestRecord
    from gateway.compare.redaction import Redactor
    from gateway.table.route import Route

SHOWN = 10
VALUE_CHARACTERS = 300
TRACEBACK_LINES = 12


def complaint(
    record: RequestRecord,
    route: Route | None,
    comparison: Comparison,
    observations: tuple[Observation, Observation],
    terms: Terms,
    redactor: Redactor,
) -> str:
    """Return the text of a failed comparison. ``record`` is the request as control got it."""
    control, candidate = observations
    path = redactor.url("/" + record.url.partition("://")[2].partition("/")[2])
    lines = [
        f"{record.method} {path}: legacy answered {control.status}, new {candidate.status}",
        f"  route: {_words(route)}",
    ]
    failing = comparison.failing
    for each in failing[:SHOWN]:
        lines += ["", *_difference(each)]
    more = len(failing) - SHOWN + comparison.omitted
    if more > 0:
        lines += ["", f"  and {more} more"]
    if comparison.note:
        lines += ["", f"  {comparison.note}"]
    waived = [each for each in comparison.differences if each.is_waived]
    if waived:
        names = ", ".join(dict.fromkeys(f"{each.place} ({each.waiver})" for each in waived[:SHOWN]))
        lines += ["", f"  waived: {names}"]
    lines += [
        f"  expired on {rule.until}: the rule {rule.rule} at {rule.at} waives nothing any more"
        for rule in terms.rules.expired
    ]
    lines += [f"  broken: the rule {rule.rule} at {rule.at}: {why}" for rule, why in terms.rules.broken]
    for name, observation in (("legacy", control), ("new", candidate)):
        if observation.raised is not None and observation.raised.traceback:
            text = redactor.text(observation.raised.traceback).rstrip().splitlines()
            lines += ["", f"  {name} raised:", *(f"    {line}" for line in text[-TRACEBACK_LINES:])]
    lines += ["", "  again, against a gateway that serves:", f"    {curl_line(redactor.request(record))}"]
    return "\n".join(lines)


def _words(route: Route | None) -> str:
    if route is None:
        return "no row of the table takes this request"
    listed = f"stage {route.spec.stage}" if route.is_listed else "not listed in the table, so legacy's"
    missing = "" if route.new_route is not None else "; new has no route for it"
    return f"{route.key} ({listed}{missing})"


def _difference(difference: Difference) -> list[str]:
    lines = [f"  {difference.kind} at {difference.place}"]
    if difference.diff:
        lines += [f"    {line}" for line in difference.diff.splitlines()]
    else:
        lines += [
            f"    legacy: {_value(difference.control)}",
            f"    new:    {_value(difference.candidate)}",
        ]
    return [*lines, f"    {difference.message}"]


def _value(value: str | None) -> str:
    if value is None:
        return "(nothing)"
    shown = value if len(value) <= VALUE_CHARACTERS else f"{value[:VALUE_CHARACTERS]}…"
    return shown.replace("\n", "\\n")
