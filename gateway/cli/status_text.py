"""Write the situation for people: trouble, then each route that has something to say, then what to type.

Pure: a :class:`~gateway.cli.situation.Situation` in, lines out. ``width`` wraps sentences (None: nobody's
terminal, so nothing is cut or wrapped).
"""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from gateway.cli.output import STAGE_STYLES, counted
from gateway.cli.suggestions import suggestions, urgency
from gateway.rollout.standing import SideStanding
from gateway.rollout.wording import (
    EVENT_WORDS,
    ago,
    differing,
    duration,
    moved,
    percent,
    quantiles,
    undelivered,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.cli.situation import RouteNow, Situation
    from gateway.rollout.standing import Standing

Part = str | tuple[str, str]
Line = tuple[Part, ...]

LABEL = 12
"""How wide the names of a route's lines are, with the blanks after them."""

SUGGESTIONS = 6


def status_lines(situation: Situation, width: int | None, *, is_cut: bool = False) -> Iterator[Line]:
    """Yield the lines, each a tuple of texts or ``(text, style)``.

    Where the end may be cut off (``is_cut``), what to type stands above the routes.
    """
    yield from _head(situation, width)
    yield from _alerts(situation, width)
    if is_cut:
        yield from _next(situation)
    telling = sorted((r for r in situation.routes if not r.is_quiet), key=urgency)
    for route in telling:
        yield ("",)
        yield from route_lines(route, situation, width)
    yield from _quiet([route for route in situation.routes if route.is_quiet], has_more=bool(telling))
    yield from _levels(situation, width)
    if not is_cut:
        yield from _next(situation)


def route_lines(route: RouteNow, situation: Situation, width: int | None) -> Iterator[Line]:
    """Yield what is known of one route."""
    standing = route.standing
    yield ((standing.key, "bold"), "  ", *_step(route))
    if not route.is_listed:
        yield from _field("file", "does not list it, so legacy answers", width)
    elif standing.step != standing.file_step or standing.is_automatic:
        yield from _field("file", _file_words(standing), width)
    breaker = route.breaker
    if breaker:
        yield from _field("breaker", _breaker_words(route, situation), width, "red")
    if route.counts is not None:
        served = ", ".join(
            f"{name} {route.counts.get(name, 0):,}"
            for name in ("legacy", "new", "gateway")
            if name != "gateway" or route.counts.get(name)
        )
        yield from _field("answered", f"{served} since the start", width)
    for name, side in (("legacy", standing.legacy), ("new", standing.new)):
        if side.requests or side.p50_s is not None:
            yield from _field(name, _side_words(side), width)
        elif times := _times(route, name):
            yield from _field(name, f"p50 / p95 / p99 {times} ms since the start", width)
    if standing.fallbacks:
        yield from _field("fallbacks", f"{standing.fallbacks:,} answered by legacy for new", width, "red")
    if standing.comparisons or standing.outcome:
        yield from _field("compared", differing(standing), width, "red" if standing.mismatches else "")
    yield from _verdict(standing, situation.now, width)
    event = standing.last_event
    is_said = event is not None and (
        (standing.is_rolled_back and event.kind == "rolled_back")
        or (standing.is_held and event.kind == "held")
    )
    if event is not None and not is_said:
        yield from _field("last", _event_words(standing, situation.now), width, "dim")


def _head(situation: Situation, width: int | None) -> Iterator[Line]:
    if not situation.is_running:
        yield ((f"No gateway can be asked: {situation.note}.", "bold yellow"),)
        yield from _text(
            f"This is what {situation.config} and the state beside it say; `gateway serve` starts one.", width
        )
        return
    workers = counted(situation.workers, "worker")
    up = duration(situation.now - situation.started_at)
    yield (
        (situation.config, "bold"),
        f" on http://{situation.address}: {workers}, generation {situation.generation}, up {up}",
    )


def _alerts(situation: Situation, width: int | None) -> Iterator[Line]:
    alerts: list[tuple[str, str]] = []
    if situation.problems:
        text = (
            f"{situation.config} is refused, and the last good table serves: {'; '.join(situation.problems)}"
        )
        alerts.append((text, "red"))
    if situation.is_running:
        alerts += [(f"not ready: {reason}", "red") for reason in situation.reasons]
    if not situation.is_uniform:
        alerts.append(("the workers are moving to another generation", "yellow"))
    if situation.store_error:
        alerts.append((situation.store_error, "red" if situation.is_running else "yellow"))
    alerts += [
        (f"{row} is not compared any more: its second call tried {sql}", "red")
        for row, sql in situation.stopped.items()
    ]
    words = (undelivered(each, situation.now) for each in situation.receivers)
    alerts += [(text, "yellow") for text in words if text]
    if situation.dropped:
        reasons = ", ".join(f"{count:,} × {reason}" for reason, count in situation.dropped.items())
        alerts.append((f"comparisons that did not come about: {reasons}", "yellow"))
    if alerts:
        yield ("",)
    for text, style in alerts:
        yield from _hanging(("! ", style), text, width, style)


def _step(route: RouteNow) -> list[Part]:
    standing = route.standing
    parts: list[Part] = [(standing.step, STAGE_STYLES.get(standing.step.partition(" ")[0], ""))]
    if not route.is_known:
        parts.append(("  (the store does not say why)" if standing.step != standing.file_step else "", "dim"))
    if standing.is_rolled_back:
        parts.append(("  rolled back", "bold red"))
    if standing.is_held:
        parts.append(("  held", "bold yellow"))
    if route.breaker and route.breaker.get("state") != "closed":
        parts.append(("  breaker open", "bold red"))
    return parts


def _file_words(standing: Standing) -> str:
    if standing.is_automatic and len(standing.ladder) > 1:
        return f"{standing.file_step}, and by itself up to {standing.ladder[-1]}"
    return standing.file_step


def _breaker_words(route: RouteNow, situation: Situation) -> str:
    breaker = route.breaker
    if breaker.get("state") == "closed":
        return "new fails, and legacy fails as well: new keeps its share"
    where = f"in {breaker.get('workers', 1)} of {counted(situation.workers, 'worker')}"
    return f"open {where}, legacy answers: {breaker.get('reason', '')}"


def _side_words(side: SideStanding) -> str:
    text = counted(side.requests, "request") if side.requests == 1 else f"{side.requests:,} requests"
    if side.errors:
        text += f", {side.errors:,} failed ({percent(side.errors / side.requests)})" if side.requests else ""
    if side.callers:
        text += f", about {side.callers:,} callers" if side.callers > 1 else ", 1 caller"
    times = quantiles(side)
    return text + (f"; p50 / p95 / p99 {times} ms" if times else "")


def _verdict(standing: Standing, now: float, width: int | None) -> Iterator[Line]:
    if standing.is_rolled_back:
        when = ago(standing.since, now) if standing.since is not None else ""
        why = f": {standing.reason}" if standing.reason else ""
        # A hold that came later has taken the place of who rolled back, and why.
        by = "" if standing.is_held else f" by {standing.moved_by}{why}"
        yield from _field("back", f"{when}{by}".strip(), width, "red")
    if standing.is_held:
        why = f": {standing.reason}" if standing.reason else ""
        yield from _field("held", f"by {standing.moved_by}{why}", width, "yellow")
    if standing.is_rolled_back:
        return
    if standing.outcome == "pass":
        yield from _field("verdict", standing.sentence, width, "green")
    elif standing.outcome == "fail":
        yield from _field("verdict", f"new is not good enough: {standing.sentence}", width, "bold red")
    elif standing.outcome and standing.next_step is None:
        yield from _field("verdict", "at the last step of its rollout", width, "green")
    elif standing.next_step is not None:
        for number, sentence in enumerate(standing.missing):
            yield from _field("to advance" if not number else "", sentence, width)


def _event_words(standing: Standing, now: float) -> str:
    event = standing.last_event
    assert event is not None  # noqa: S101 - the caller has looked
    what = EVENT_WORDS.get(event.kind, event.kind)
    step = moved(event.before, event.after)
    by = f" by {event.caused_by}" if event.caused_by not in ("", "breaker") else ""
    return f"{ago(event.at, now)}: {what}{by}{f', {step}' if step else ''}"


def _times(route: RouteNow, name: str) -> str:
    """Return the quantiles of one backend's answers since the start, in ms; empty without answers."""
    found = route.latency.get(name)
    return quantiles(SideStanding(**found)) if found else ""


def _quiet(routes: list[RouteNow], *, has_more: bool) -> Iterator[Line]:
    """List who answers what nothing else is known of; implicit rows are only counted."""
    listed = [route for route in routes if route.is_listed]
    implicit = len(routes) - len(listed)
    if not routes:
        return
    yield ("",)
    is_timed = any(route.latency for route in listed)
    legend = ("Answers since the start, and their p50 / p95 / p99", "dim") if is_timed else ""
    if listed and has_more:
        yield (("Not compared", "bold"), "  " if legend else "", legend)
    elif legend:
        yield (legend,)
    key = max((len(route.standing.key) for route in listed), default=0)
    step = max((len(route.standing.step) for route in listed), default=0)
    for route in sorted(listed, key=lambda each: each.standing.key.partition(" ")[2]):
        where = route.standing.step
        counts = route.counts or {}
        served = "  ".join(
            f"{name} {counts[name]:,}" + (f" ({times} ms)" if (times := _times(route, name)) else "")
            for name in ("legacy", "new")
            if counts.get(name)
        )
        style = STAGE_STYLES.get(where.partition(" ")[0], "")
        yield (
            f"  {route.standing.key.ljust(key)}  ",
            (where.ljust(step) if served else where, style),
            f"  {served}" if served else "",
        )
    if implicit:
        rows = f"{'and ' if listed else ''}{counted(implicit, 'row')}"
        yield (f"  {rows} that the table does not list, answered by legacy",)


def _levels(situation: Situation, width: int | None) -> Iterator[Line]:
    automatic = sum(route.standing.is_automatic for route in situation.routes)
    if not automatic or not situation.false_promotions:
        return
    yield ("",)
    yield from _text(
        f"{'1 route moves by itself' if automatic == 1 else f'{automatic} routes move by themselves'}; "
        f"the levels allow at most {situation.false_promotions:.2g} false promotions and "
        f"{situation.false_rollbacks:.2g} false rollbacks over all of them.",
        width,
    )
    if situation.is_running and situation.controller is None and not situation.store_error:
        yield from _text("Nobody holds the controller's lease at the moment: nothing moves by itself.", width)


def _next(situation: Situation) -> Iterator[Line]:
    """End with what to type, most urgent first."""
    found = suggestions(situation)
    yield ("",)
    if not found:
        yield (("Nothing to do.", "bold"),)
        return
    shown = found[:SUGGESTIONS]
    width = max(len(command) for command, _ in shown)
    yield (("Next", "bold"),)
    for command, why in shown:
        yield ("  ", (command.ljust(width), "bold"), (f"  {why}", "dim"))
    if len(found) > len(shown):
        yield (f"  and {len(found) - len(shown)} more",)


def _field(label: str, text: str, width: int | None, style: str = "") -> Iterator[Line]:
    return _hanging((f"  {label.ljust(LABEL)}", "dim"), text, width, style)


def _hanging(first: tuple[str, str], text: str, width: int | None, style: str) -> Iterator[Line]:
    """Yield ``text`` after ``first``, its further lines indented as far."""
    indent = len(first[0])
    pieces = [text] if width is None else textwrap.wrap(text, max(20, width - indent)) or [""]
    yield (first, (pieces[0], style))
    for piece in pieces[1:]:
        yield (" " * indent, (piece, style))


def _text(text: str, width: int | None) -> Iterator[Line]:
    for piece in [text] if width is None else textwrap.wrap(text, max(20, width)):
        yield (piece,)
