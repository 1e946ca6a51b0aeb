"""Draw the routes of the admin page: one row each, with where it stands, what is known, what may be done."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from gateway.rollout.standing import SideStanding
from gateway.rollout.wording import ago, differing, percent, quantiles, verdict

if TYPE_CHECKING:
    from gateway.rollout.standing import Standing
    from gateway.web.inquiry import Known
    from gateway.web.reports import Overview, RouteReport

_OUTCOMES = {"pass": "good", "fail": "bad"}


def draw_routes(overview: Overview, known: Known, now: float) -> str:
    """Return the table of all routes, by path."""
    routes = overview.report.routes
    if not routes:
        return '<p class="empty">The table has no rows, and the legacy app shows no rules.</p>'
    ordered = sorted(routes, key=lambda route: (route.path, route.key))
    rows = "".join(_row(route, overview, known, now) for route in ordered)
    return (
        '<div class="scroll"><table class="routes"><thead><tr><th>Route</th><th>Step</th>'
        '<th class="number">By legacy</th><th class="number">By new</th><th class="number">By gateway</th>'
        f"<th>Evidence at this step</th><th></th></tr></thead><tbody>{rows}</tbody></table></div>"
    )


def _row(route: RouteReport, overview: Overview, known: Known, now: float) -> str:
    methods, _, path = route.key.partition(" ")
    standing = known.of(route)
    counts = "".join(
        f'<td class="number{"" if route.counts.get(name) else " zero"}">{route.counts.get(name, 0):,}</td>'
        for name in ("legacy", "new", "gateway")
    )
    owner = f"<small>{escape(route.owner)}</small>" if route.owner else ""
    return (
        f'<tr id="{escape(route.id)}"><td class="path"><b class="method">{escape(methods)}</b> '
        f"<code>{escape(path)}</code>{owner}{_views(route, overview.folder)}</td>"
        f'<td class="at">{_step(route, standing, overview, now)}</td>{counts}'
        f'<td class="evidence">{_evidence(route, standing, overview)}</td>'
        f'<td class="buttons">{_buttons(route, standing)}</td></tr>'
    )


def _views(route: RouteReport, folder: str) -> str:
    return "".join(
        f'<div class="view"><i class="dot stage-{name}"></i><code>{escape(shown(view, folder))}</code></div>'
        for name, view in (("legacy", route.legacy_view), ("new", route.new_view))
        if view
    )


def shown(view: str, folder: str) -> str:
    """Return ``file:line`` without the folder in which everybody works, or that of installed packages."""
    if "site-packages/" in view:
        return view.rpartition("site-packages/")[2]
    return view.removeprefix(f"{folder}/") if folder else view


def _step(route: RouteReport, standing: Standing | None, overview: Overview, now: float) -> str:
    """Draw the step in force, the file's where it is another, and every mark that a person must see."""
    file_step = f"{route.stage} {route.weight}" if route.weight else route.stage
    step = standing.step if standing is not None else route.states.get("position", file_step)
    stage = step.partition(" ")[0]
    parts = [f'<span class="stage stage-{escape(stage)}">{escape(step)}</span>']
    if not route.is_listed:
        parts.append('<small title="not listed in the table">implicit</small>')
    breaker = overview.report.breakers.get(route.id)
    if breaker is not None and breaker.get("state") != "closed":
        where = f"{breaker.get('workers', 1)} of {len(overview.workers)} workers"
        parts.append(_mark("bad", "breaker open", f"{breaker.get('reason', '')}, in {where}"))
    elif breaker is not None and breaker.get("is_legacy_failing"):
        parts.append(_mark("bad", "both sides fail", "new fails, and legacy as well"))
    if standing is None:
        return "".join(parts)
    if standing.is_rolled_back:
        parts.append(_mark("bad", "rolled back", standing.reason))
    if standing.is_held:
        parts.append(_mark("wait", "held", f"by {standing.moved_by}: {standing.reason}"))
    if standing.step != standing.file_step:
        parts.append(f"<div>the file says <b>{escape(standing.file_step)}</b></div>")
    if standing.is_automatic and standing.since is not None:
        by = f" by {escape(standing.moved_by)}" if standing.moved_by not in ("", "controller", "file") else ""
        parts.append(f"<div>since {ago(standing.since, now)}{by}</div>")
    if standing.is_automatic and standing.next_step and not (standing.is_held or standing.is_rolled_back):
        parts.append(f"<div>next {escape(standing.next_step)}, by itself</div>")
    return "".join(parts)


def _mark(kind: str, text: str, why: str) -> str:
    return f'<span class="mark {kind}" title="{escape(why)}">{escape(text)}</span>'


def _evidence(route: RouteReport, standing: Standing | None, overview: Overview) -> str:
    lines = _judged(standing) if standing is not None else []
    if not lines and route.sample:
        lines = [f'<div class="quiet">{escape(str(route.sample))} compared</div>']
    latencies = overview.totals.latencies(route.key)
    sides = {"legacy": standing.legacy, "new": standing.new} if standing is not None else {}
    for name in ("legacy", "new"):
        side = sides.get(name)
        if side is not None and side.requests:
            times = f", {times} ms" if (times := quantiles(side)) else ""
            words = f"{side.requests:,} requests{_errors(side.errors, side.requests)}{times}"
        elif name in latencies:
            words = f"{quantiles(SideStanding(**latencies[name].quantiles()))} ms since the start"
        else:
            continue
        lines.append(
            '<div class="quiet" title="the time to the first byte: p50 / p95 / p99">'
            f'<i class="dot stage-{name}"></i>{words}</div>'
        )
    if standing is not None and standing.fallbacks:
        lines.append(f'<div class="differs">{standing.fallbacks:,} fell back to legacy</div>')
    return "".join(lines)


def _judged(standing: Standing) -> list[str]:
    """Draw what was compared, and what stands between the route and its next step."""
    lines = []
    if standing.comparisons or standing.outcome:
        kind = "differs" if standing.mismatches else ""
        lines.append(f'<div class="{kind}">{escape(differing(standing))}</div>')
    if standing.comparisons or standing.outcome or standing.is_rolled_back:
        words = verdict(standing)
        kind = _OUTCOMES.get(standing.outcome, "quiet")
        lines += [f'<div class="{kind}">{escape(words)}</div>'] if words else []
    return lines


def _errors(errors: int, requests: int) -> str:
    return f", {errors:,} failed ({percent(errors / requests)})" if errors else ""


def _buttons(route: RouteReport, standing: Standing | None) -> str:
    if standing is None or not route.is_listed or "WS" in route.methods:
        return ""
    verbs = []
    stops = standing.is_held or standing.is_rolled_back
    if standing.is_automatic and not stops:
        verbs.append(("hold", "Hold"))
    if stops:
        verbs.append(("resume", "Resume"))
    if standing.next_step in standing.ladder and not standing.is_rolled_back:
        verbs.append(("promote", f"To {standing.next_step}"))
    if standing.step != "legacy" and not (standing.is_rolled_back and standing.step == "shadow"):
        verbs.append(("rollback", "Roll back"))
    return "".join(
        f'<button type="button" data-verb="{verb}" data-route="{escape(route.id)}" '
        f'data-key="{escape(route.key)}">{escape(text)}</button>'
        for verb, text in verbs
    )
