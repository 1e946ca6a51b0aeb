"""Say what to type next, most urgent first: what a person who looks at the status wants to know. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.cli.situation import RouteNow, Situation


def suggestions(situation: Situation) -> list[tuple[str, str]]:
    """Return commands, each with the reason to type it."""
    found: list[tuple[str, str]] = []
    if situation.problems:
        found.append(("gateway check", "what is wrong with the table"))
    if not situation.is_running:
        found.append(("gateway serve", "start the gateway"))
    routes = sorted(situation.routes, key=urgency)
    for route in routes:
        found += _for_route(route)
    if situation.store_error:  # the file needs no store
        found = [(command.replace(" --live", ""), why) for command, why in found]
    if not situation.is_running:
        found = [each for each in found if not (each[0].startswith("gateway resume") or "--live" in each[0])]
    has_started = any(each.standing.comparisons or each.standing.step != "legacy" for each in routes)
    if not found and not has_started:
        first = next(
            (r.standing.key for r in routes if r.is_listed and r.standing.key.startswith("GET ")), None
        )
        if first is not None:
            found.append((f"gateway promote '{first}'", "compare its answers, which no client notices"))
    return found


def _for_route(route: RouteNow) -> list[tuple[str, str]]:
    standing = route.standing
    key = standing.key
    differs = [(f"gateway differences '{key}'", "what differs")] if standing.mismatches else []
    if standing.is_rolled_back:
        return [*differs, (f"gateway resume '{key}'", "when new is mended")]
    if standing.is_held:
        return [*differs, (f"gateway resume '{key}'", "let it move by itself again")]
    if standing.outcome == "fail" and not standing.is_automatic:
        back = (
            [(f"gateway rollback '{key}'", "until new is mended")]
            if standing.step.startswith("canary")
            else []
        )
        return [*differs, *back]
    if standing.outcome == "pass" and not standing.is_automatic:
        return [(f"gateway promote '{key}'", f"it is ready for {standing.next_step}")]
    if route.breaker and route.breaker.get("state") != "closed" and not differs:
        return [(f"gateway rollback --live '{key}'", "until new is mended")]
    return differs


def urgency(route: RouteNow) -> tuple[int, str]:
    """Order routes: what needs a person, what goes well, what waits."""
    standing = route.standing
    if route.breaker:
        rank = 0
    elif standing.is_rolled_back:
        rank = 1
    elif standing.outcome == "fail":
        rank = 2
    elif standing.is_held:
        rank = 3
    elif standing.mismatches:
        rank = 4
    elif standing.outcome == "pass":
        rank = 5
    else:
        rank = 6
    return rank, standing.key.partition(" ")[2]
