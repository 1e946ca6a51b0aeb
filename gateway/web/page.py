"""Draw the migration as one HTML page. Pure: an :class:`~gateway.web.reports.Overview` in, text out.

Everything that comes from outside is escaped; the page holds no script or style of its own, so that the
Content-Security-Policy can forbid both.
"""

from __future__ import annotations

from collections import Counter
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from gateway.web.reports import Overview, RouteReport

STAGES = ("legacy", "shadow", "canary", "new", "retired")


def render_page(overview: Overview) -> str:
    """Return the page."""
    report = overview.report
    body = "".join(
        (
            _head(overview),
            _alerts(overview),
            _progress([route.stage for route in report.routes]),
            _routes(report.routes, overview.folder),
            _differences(report.differences),
            _workers(overview),
        )
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark"><title>Migration</title>'
        '<link rel="icon" href="data:,"><link rel="stylesheet" href="/static/admin.css">'
        '<script src="/static/admin.js" defer></script></head>'
        f'<body><main id="page">{body}</main></body></html>'
    )


def _head(overview: Overview) -> str:
    report = overview.report
    backends = "".join(
        f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in report.backends.items()
    )
    return (
        f"<header><div><h1>Migration</h1><p>{escape(overview.config)} on "
        f"<b>{escape(overview.address)}</b>, generation {report.generation} "
        f"<code>{escape(report.digest[:8])}</code></p></div><dl>{backends}</dl></header>"
    )


def _alerts(overview: Overview) -> str:
    report = overview.report
    alerts = []
    if not report.is_valid:
        alerts.append(
            _alert(f"{overview.config} is refused; the last good table serves", report.problems, "error")
        )
    if not report.is_ready:
        alerts.append(_alert("Not ready", report.reasons, "error"))
    if report.shadow_stopped:
        lines = tuple(f"{row}: its second call tried {sql}" for row, sql in report.shadow_stopped.items())
        alerts.append(_alert("Not compared any more, for a second call tried to write", lines, "error"))
    if report.shadow_dropped:
        lines = tuple(f"{count:,} × {reason}" for reason, count in report.shadow_dropped.items())
        alerts.append(_alert("Comparisons that did not come about", lines, "notice"))
    if not overview.is_uniform:
        alerts.append(_alert("The workers are moving to another generation", (), "notice"))
    return "".join(alerts)


def _alert(title: str, lines: tuple[str, ...], kind: str) -> str:
    items = "".join(f"<li>{escape(line)}</li>" for line in lines)
    return f'<section class="alert {kind}" role="alert"><h2>{escape(title)}</h2><ul>{items}</ul></section>'


def _progress(stages: list[str]) -> str:
    """Draw how far the migration is: one bar, one part a stage."""
    if not stages:
        return ""
    counts = Counter(stages)
    parts, legend, x = [], [], 0.0
    for stage in STAGES:
        if count := counts[stage]:
            width = 100 * count / len(stages)
            parts.append(f'<rect class="stage-{stage}" x="{x:.3f}" y="0" width="{width:.3f}" height="4"/>')
            x += width
        legend.append(f'<li><i class="dot stage-{stage}"></i>{stage} <b>{count}</b></li>')
    done = counts["new"] + counts["retired"]
    label = f"{done} of {len(stages)} endpoints are served by new"
    return (
        f'<section class="progress"><p><b>{done}</b> of {len(stages)} endpoints are served by new</p>'
        f'<svg viewBox="0 0 100 4" preserveAspectRatio="none" role="img" aria-label="{label}">'
        f"{''.join(parts)}</svg><ul>{''.join(legend)}</ul></section>"
    )


def _routes(routes: tuple[RouteReport, ...], folder: str) -> str:
    if not routes:
        return '<p class="empty">The table has no rows, and the legacy app shows no rules.</p>'
    ordered = sorted(routes, key=lambda route: (route.path, route.key))
    rows = "".join(_row(route, folder) for route in ordered)
    return (
        '<div class="scroll"><table><thead><tr><th>Method</th><th>Path</th><th>Stage</th>'
        '<th class="number">By legacy</th><th class="number">By new</th><th class="number">By gateway</th>'
        f"<th>Implementations</th><th>Owner</th></tr></thead><tbody>{rows}</tbody></table></div>"
    )


def _row(route: RouteReport, folder: str) -> str:
    methods, _, path = route.key.partition(" ")
    share = f" {escape(str(route.weight))}" if route.weight else ""
    compared = f"<small>{escape(str(route.sample))} compared{_outcome(route)}</small>"
    implicit = "" if route.is_listed else '<small title="not listed in the table">implicit</small>'
    counts = "".join(
        f'<td class="number{"" if route.counts.get(name) else " zero"}">{route.counts.get(name, 0):,}</td>'
        for name in ("legacy", "new", "gateway")
    )
    views = "".join(
        f'<div><i class="dot stage-{name}"></i><code>{escape(_shown(view, folder))}</code></div>'
        for name, view in (("legacy", route.legacy_view), ("new", route.new_view))
        if view
    )
    return (
        f'<tr id="{escape(route.id)}"><td class="method">{escape(methods)}</td>'
        f'<td class="path"><code>{escape(path)}</code></td>'
        f'<td class="at"><span class="stage stage-{escape(route.stage)}">{escape(route.stage)}{share}</span>'
        f"{compared if route.sample else ''}{implicit}</td>"
        f'{counts}<td class="views">{views}</td><td>{escape(route.owner or "")}</td></tr>'
    )


def _outcome(route: RouteReport) -> str:
    """Word what the comparisons of a route came to."""
    outcomes = {name.partition(".")[2]: n for name, n in route.counts.items() if name.startswith("compared.")}
    if not outcomes:
        return ""
    total, differ = sum(outcomes.values()), outcomes.get("mismatched", 0)
    return f": {differ:,} of {total:,} differ"


def _differences(findings: tuple[Mapping[str, Any], ...]) -> str:
    """List what differs between the two sides; what is waived or advisory stands in the JSON alone."""
    failing = [each for each in findings if each["count"] > each["waived"] and not each["is_advisory"]]
    if not failing:
        return ""
    rows = "".join(
        f'<tr><td class="number">{each["count"] - each["waived"]:,}</td>'
        f"<td><code>{escape(str(each['route']))}</code></td><td>{escape(str(each['kind']))}</td>"
        f"<td><code>{escape(str(each['place']))}</code></td>"
        f"<td><code>{escape(_value(each['control']))}</code></td>"
        f"<td><code>{escape(_value(each['candidate']))}</code></td>"
        f"<td>{escape(str(each['message']))}</td></tr>"
        for each in failing
    )
    return (
        '<section class="differences"><h2>Differences</h2><div class="scroll"><table><thead><tr>'
        '<th class="number">Times</th><th>Row</th><th>Kind</th><th>Place</th><th>Legacy</th><th>New</th>'
        f"<th>What a client would notice</th></tr></thead><tbody>{rows}</tbody></table></div></section>"
    )


def _value(value: object) -> str:
    return "nothing" if value is None else str(value)


def _shown(view: str, folder: str) -> str:
    """Return ``file:line`` without the folder in which everybody works, or that of installed packages."""
    if "site-packages/" in view:
        return view.rpartition("site-packages/")[2]
    return view.removeprefix(f"{folder}/") if folder else view


def _workers(overview: Overview) -> str:
    rows = "".join(
        f'<tr><td class="number">{worker.slot}</td><td class="number">{worker.pid}</td>'
        f"<td>{escape(worker.state)}</td>"
        f'<td class="number">{worker.generation}</td>'
        f'<td class="number">{_duration(worker.uptime_s)}</td></tr>'
        for worker in overview.workers
    )
    return (
        '<section class="workers"><h2>Workers</h2><table><thead><tr><th class="number">Slot</th>'
        '<th class="number">Process</th><th>State</th><th class="number">Generation</th>'
        f'<th class="number">Up</th></tr></thead><tbody>{rows}</tbody></table>'
        f"<p>{overview.restarts} restarts since the start.</p></section>"
    )


def _duration(seconds: float) -> str:
    whole = int(seconds)
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if whole >= size:
            return f"{whole // size} {unit}"
    return f"{whole} s"
