"""Find what ``gateway check`` alone reports, and serving never does: leftovers and expired waivers.

A retired row whose rule is still in the legacy code is an error here, for it says that the code is gone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.errors import Problem, Severity
from gateway.table.spec import Stage

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import date

    from gateway.table.route import Route, Snapshot


def check_table(snapshot: Snapshot, *, today: date, is_strict: bool = False) -> tuple[Problem, ...]:
    """Return the findings on a compiled table.

    With ``is_strict`` expired waivers are reported, and they and every warning of the load are errors.
    """
    findings: list[Problem] = []
    for route in snapshot.routes:
        if not route.is_listed:
            continue
        findings.extend(_left_over(snapshot, route))
        if is_strict:
            findings.extend(_expired(snapshot, route, today))
    if is_strict:
        findings.extend(
            Problem(Severity.ERROR, each.source, each.line, each.row, each.message, each.repair)
            for each in snapshot.warnings
        )
    return tuple(sorted(findings, key=lambda problem: problem.line))


def _left_over(snapshot: Snapshot, route: Route) -> Iterator[Problem]:
    if route.spec.stage is not Stage.RETIRED:
        return
    for rule in route.legacy_rules:
        place = f" ({rule.view})" if rule.view else ""
        yield Problem(
            Severity.ERROR,
            snapshot.spec.source,
            route.spec.line,
            route.spec.written or route.key,
            f"is retired, but the legacy app still has {rule.rule}{place}",
            "remove the view and its rule, or set the stage back to new",
        )


def _expired(snapshot: Snapshot, route: Route, today: date) -> Iterator[Problem]:
    for rule in route.spec.compare:
        if rule.until is not None and rule.until < today:
            yield Problem(
                Severity.ERROR,
                snapshot.spec.source,
                rule.line or route.spec.line,
                route.spec.written or route.key,
                f"the waiver for {rule.at} ({rule.reason}) expired on {rule.until}",
                "mend the difference, or accept it again with a later date",
            )
