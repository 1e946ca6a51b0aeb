"""Draw the migration as one HTML page. Pure: an :class:`~gateway.web.reports.Overview` in, text out.

Everything that comes from outside is escaped; the page holds no script or style of its own, so that the
Content-Security-Policy can forbid both.
"""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from html import escape
from typing import TYPE_CHECKING

from gateway.rollout.wording import EVENT_WORDS, ago, duration, moved, undelivered
from gateway.web.frame import framed
from gateway.web.inquiry import live_findings
from gateway.web.route_rows import draw_routes

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from gateway.web.inquiry import Known
    from gateway.web.reports import Overview

STAGES = ("legacy", "shadow", "canary", "new", "retired")


def render_page(overview: Overview, known: Known, now: float) -> str:
    """Return the page as of ``now`` (Unix seconds)."""
    standings = [(route, known.of(route)) for route in overview.report.routes]
    stages = [
        standing.step.partition(" ")[0] if standing else route.states.get("position", route.stage)
        for route, standing in standings
    ]
    body = "".join(
        (
            _head(overview),
            _alerts(overview, known, now),
            _progress(stages),
            draw_routes(overview, known, now),
            _differences(known.findings if not known.error else live_findings(overview.report), now),
            _events(known, now),
            _workers(overview, known),
        )
    )
    return framed(body, "Migration")


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


def _alerts(overview: Overview, known: Known, now: float) -> str:
    report = overview.report
    alerts = []
    if not report.is_valid:
        alerts.append(
            _alert(f"{overview.config} is refused; the last good table serves", report.problems, "error")
        )
    if not report.is_ready:
        alerts.append(_alert("Not ready", report.reasons, "error"))
    if known.error:
        said = ("Where the routes stand is not known here; what they served still is.",)
        alerts.append(_alert(f"{known.error[:1].upper()}{known.error[1:]}", said, "error"))
    elif report.store and not report.store.get("is_ok", True):
        alerts.append(_alert("The store is in trouble", (str(report.store.get("reason", "")),), "error"))
    if report.limits and not report.limits.get("is_ok", True):
        title = "Rate limits are counted by each worker alone"
        alerts.append(_alert(title, (str(report.limits.get("reason", "")),), "notice"))
    if lines := tuple(text for each in report.receivers if (text := undelivered(each, now))):
        alerts.append(_alert("Events do not reach everybody", lines, "notice"))
    if report.shadow_stopped:
        lines = tuple(f"{row}: {why}" for row, why in report.shadow_stopped.items())
        alerts.append(_alert("Not compared any more: a second call tried what it must not", lines, "error"))
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


def _events(known: Known, now: float) -> str:
    rows = "".join(
        f'<tr><td class="when" title="{escape(_clock(event["at"]))}">{escape(ago(event["at"], now))}</td>'
        f'<td class="path"><code>{escape(str(event["key"]))}</code></td>'
        f"<td>{escape(EVENT_WORDS.get(event['kind'], str(event['kind'])))}</td>"
        f'<td class="at">{escape(moved(event["before"], event["after"]))}</td>'
        f"<td>{escape(str(event['caused_by']))}</td><td>{escape(str(event['sentence']))}</td></tr>"
        for event in sorted(known.events, key=lambda each: -each["at"])
    )
    if not rows:
        return ""
    return (
        '<section><h2>Last events</h2><div class="scroll"><table><thead><tr><th>When</th><th>Route</th>'
        f"<th>What</th><th>Step</th><th>By</th><th>Why</th></tr></thead><tbody>{rows}</tbody></table></div></section>"
    )


def _differences(found: Sequence[Mapping[str, Any]], now: float) -> str:
    """List what the comparisons found, worst first."""
    failing = [each for each in found if not (each["is_waived"] or each["is_advisory"])]
    if not failing:
        return ""
    rows = "".join(
        f'<tr><td class="number">{each["count"]:,}</td>'
        f'<td class="path"><code>{escape(str(each["route"]))}</code></td>'
        f"<td>{escape(str(each['kind']))}</td><td><code>{escape(str(each['place']))}</code></td>"
        f"<td>{escape(str(each['sentence']))}</td>"
        f'<td class="when">{escape(ago(each["last_seen"], now))}</td>'
        f'<td><a href="/differences/{escape(each["route_id"])}/{escape(each["signature"])}">'
        f"<code>{escape(each['signature'])}</code></a></td></tr>"
        for each in failing
    )
    return (
        '<section class="differences"><h2>Differences</h2><div class="scroll"><table><thead><tr>'
        '<th class="number">Times</th><th>Route</th><th>Kind</th><th>Place</th>'
        "<th>What a client would notice</th><th>Last</th><th>Whole</th></tr></thead>"
        f"<tbody>{rows}</tbody></table></div></section>"
    )


def _clock(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _workers(overview: Overview, known: Known) -> str:
    rows = "".join(
        f'<tr><td class="number">{worker.slot}</td><td class="number">{worker.pid}</td>'
        f"<td>{escape(worker.state)}</td>"
        f'<td class="number">{worker.generation}</td>'
        f'<td class="number">{duration(worker.uptime_s)}</td></tr>'
        for worker in overview.workers
    )
    return (
        '<section class="workers"><h2>Workers</h2><table><thead><tr><th class="number">Slot</th>'
        '<th class="number">Process</th><th>State</th><th class="number">Generation</th>'
        f'<th class="number">Up</th></tr></thead><tbody>{rows}</tbody></table>'
        f"<p>{overview.restarts} restarts since the start.{_levels(known)}</p></section>"
    )


def _levels(known: Known) -> str:
    """Say how many false moves the levels allow, over all routes that move by themselves."""
    if not known.false_promotions and not known.false_rollbacks:
        return ""
    return (
        f" Over all automatic routes the levels allow at most {known.false_promotions:.2g} false promotions "
        f"and {known.false_rollbacks:.2g} false rollbacks."
    )
