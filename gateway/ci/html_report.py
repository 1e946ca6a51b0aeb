"""Write a run as one HTML file: a matrix of rows, and every finding with both bodies side by side.

One file, no script, no request to anywhere: a strict Content-Security-Policy in the page says so, and Jinja2
escapes whatever a body holds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from jinja2 import Environment, PackageLoader, StrictUndefined

from gateway.ci.results import Verdict, visible
from gateway.ci.terminal import by_route, coverage, missing, raised_in
from gateway.compare.beside import folded, readable, side_by_side
from gateway.compare.difference import Outcome

if TYPE_CHECKING:
    from gateway.ci.results import RowTally, Run
    from gateway.compare.observation import Observation
    from gateway.compare.signature import Finding

CONTEXT_LINES = 50
"""Equal lines that are shown around each that differs."""

_HEADLINES = {
    Verdict.MATCHED: ("same", "The same"),
    Verdict.DIFFERENT: ("different", "Different"),
    Verdict.NOT_COMPARED: ("unknown", "Not a pass: not everything was exercised"),
    Verdict.BROKEN: ("different", "Not finished"),
    Verdict.INTERRUPTED: ("unknown", "Interrupted"),
}


def html_report(run: Run) -> str:
    """Return the page."""
    environment = Environment(
        loader=PackageLoader("gateway.ci", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    failing = by_route(run)
    style, headline = _HEADLINES[run.verdict]
    rows = sorted(run.rows, key=lambda row: (not row.is_selected, -len(failing.get(row.key, ())), row.key))
    return environment.get_template("report.html").render(
        run=run,
        style=style,
        headline=headline,
        rows=[_row(row, failing) for row in rows],
        sections=[_section(row, failing[row.key], run) for row in rows if row.key in failing],
        sent=sum(1 for each in run.exchanges if each.outcome is not None),
        missing=missing(run),
        correlations=list(dict.fromkeys(run.correlations)),
    )


def _row(row: RowTally, failing: dict[str, list[Finding]]) -> dict[str, object]:
    if not row.is_selected:
        mark = "unjudged"
    elif row.key in failing:
        mark = "different"
    else:
        is_judged = row.is_exercised and not row.outcomes[Outcome.TRUNCATED]
        mark = "same" if is_judged else "unknown"
    return {
        "key": row.key,
        "id": row.route.id,
        "mark": mark,
        "stage": row.route.spec.stage.value,
        "coverage": coverage(row),
        "matched": row.outcomes[Outcome.MATCHED],
        "waived": row.outcomes[Outcome.WAIVED],
        "mismatched": row.mismatched,
        "findings": len(failing.get(row.key, ())),
    }


def _section(row: RowTally, findings: list[Finding], run: Run) -> dict[str, object]:
    return {
        "key": row.key,
        "id": row.route.id,
        "findings": [_finding(finding) for finding in findings],
        "raised": raised_in(row.key, run),
    }


def _finding(finding: Finding) -> dict[str, object]:
    example = finding.examples[0] if finding.examples else None
    return {
        "signature": finding.signature,
        "count": finding.count,
        "difference": finding.difference,
        "curls": list(dict.fromkeys(each.curl for each in finding.examples)),
        "heads": (_head(example.control), _head(example.candidate)) if example else ("", ""),
        "lines": folded(side_by_side(_body(example.control), _body(example.candidate)), CONTEXT_LINES)
        if example
        else [],
    }


def _head(observation: Observation) -> str:
    lines = [str(observation.status or "no answer")]
    lines += [f"{name.decode('latin-1')}: {value.decode('latin-1')}" for name, value in observation.headers]
    return visible("\n".join(lines))


def _body(observation: Observation) -> str:
    """Return a body as people read it: JSON indented, with its keys in order; bytes by their number."""
    data = observation.body.captured
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return f"({observation.body.length_bytes} bytes)"
    return visible(readable(text))
