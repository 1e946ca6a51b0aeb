"""Write a run as one HTML file: a matrix of rows, and every finding with both bodies side by side.

One file, no script, no request to anywhere: a strict Content-Security-Policy in the page says so, and Jinja2
escapes whatever a body holds.
"""

from __future__ import annotations

import difflib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from jinja2 import Environment, PackageLoader, StrictUndefined

from gateway.ci.results import Verdict, visible
from gateway.ci.terminal import by_route, coverage, raised_in
from gateway.compare.difference import Outcome

if TYPE_CHECKING:
    from gateway.ci.results import RowTally, Run
    from gateway.compare.observation import Observation
    from gateway.compare.signature import Finding

BODY_LINES = 400
_HEADLINES = {
    Verdict.MATCHED: ("same", "The same"),
    Verdict.DIFFERENT: ("different", "Different"),
    Verdict.NOT_COMPARED: ("unknown", "Not a pass: not everything was exercised"),
    Verdict.INTERRUPTED: ("unknown", "Interrupted"),
}


@dataclass(frozen=True, slots=True)
class SideLine:
    """Be one line of two texts side by side; ``mark`` is ``same``, ``changed``, ``missing`` or ``added``."""

    mark: str
    left: str
    right: str


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
        correlations=list(dict.fromkeys(run.correlations)),
    )


def _row(row: RowTally, failing: dict[str, list[Finding]]) -> dict[str, object]:
    if not row.is_selected:
        mark = "unjudged"
    elif row.key in failing:
        mark = "different"
    else:
        mark = "same" if row.is_exercised else "unknown"
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
        "lines": side_by_side(_body(example.control), _body(example.candidate)) if example else [],
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
    try:
        return visible(json.dumps(json.loads(text), indent=2, ensure_ascii=False, sort_keys=True))
    except (ValueError, RecursionError):
        return visible(text)


def side_by_side(left: str, right: str) -> list[SideLine]:
    """Return two texts line by line beside each other, the differing lines marked; long ones are cut."""
    mine, theirs = left.splitlines()[:BODY_LINES], right.splitlines()[:BODY_LINES]
    lines: list[SideLine] = []
    matcher = difflib.SequenceMatcher(None, mine, theirs, autojunk=False)
    for tag, start, end, other_start, other_end in matcher.get_opcodes():
        ours, others = mine[start:end], theirs[other_start:other_end]
        if tag == "equal":
            lines.extend(SideLine("same", each, each) for each in ours)
            continue
        for index in range(max(len(ours), len(others))):
            one = ours[index] if index < len(ours) else None
            other = others[index] if index < len(others) else None
            mark = "missing" if other is None else "added" if one is None else "changed"
            lines.append(SideLine(mark, one or "", other or ""))
    if len(left.splitlines()) > BODY_LINES or len(right.splitlines()) > BODY_LINES:
        lines.append(SideLine("cut", "… the rest is left out", "… the rest is left out"))
    return lines
