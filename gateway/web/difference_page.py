"""Draw one finding whole: what a client would notice, both answers side by side, the line that repeats it."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from gateway.rollout.wording import ago
from gateway.web.frame import framed

if TYPE_CHECKING:
    from gateway.web.found import Found, Pair

_GUTTERS = {"same": "", "changed": "≠", "missing": "<", "added": ">", "cut": ""}


def render_difference(found: Found, now: float) -> str:
    """Return the page of ``found`` at ``now`` (Unix seconds)."""
    times = f"{found.count:,} time{'' if found.count == 1 else 's'}"
    waived = ', <span class="mark wait">waived</span>' if found.is_waived else ""
    body = (
        f'<p class="back"><a href="/">Migration</a></p><header><div><h1>{escape(found.sentence)}</h1>'
        f"<p><b>{escape(found.route or found.route_id)}</b>, {escape(found.kind)} at "
        f"<code>{escape(found.place)}</code>: {times}{waived}, first {ago(found.first_seen, now)}, "
        f"last {ago(found.last_seen, now)}</p></div></header>"
    )
    body += "".join(_pair(pair, now) for pair in found.pairs)
    if not found.pairs:
        body += '<p class="empty">No example of it is kept.</p>'
    return framed(body, f"{found.kind} {found.place}", is_live=False)


def _pair(pair: Pair, now: float) -> str:
    lines = "".join(
        f'<tr class="{line.mark}"><td>{escape(line.left)}</td><td class="gutter">{_GUTTERS[line.mark]}</td>'
        f"<td>{escape(line.right)}</td></tr>"
        for line in pair.lines()
    )
    values = "".join(
        f"<dt>{name}</dt><dd>{escape(value) if value is not None else 'nothing'}</dd>"
        for name, value in zip(("legacy", "new"), pair.values, strict=True)
    )
    return (
        f"<section><h2>{escape(pair.request)} <small>{ago(pair.at, now)}</small></h2>"
        f'<dl class="values">{values}</dl>'
        '<div class="scroll"><table class="beside"><thead><tr>'
        "<th>Legacy</th><th></th><th>New</th></tr></thead>"
        f'<tbody>{lines}</tbody></table></div><pre class="curl">{escape(pair.curl)}</pre></section>'
    )
