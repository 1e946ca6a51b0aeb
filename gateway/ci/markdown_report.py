"""Write a run as Markdown for a CI step summary: under one MiB, worst first, no markup from a body."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from gateway.ci.results import Verdict
from gateway.ci.terminal import by_route, coverage, missing
from gateway.compare.difference import Outcome

if TYPE_CHECKING:
    from gateway.ci.results import RowTally, RuleReport, Run
    from gateway.compare.signature import Finding

LIMIT_BYTES = 1_000_000
"""GitHub refuses a step summary above 1 MiB (1,048,576 bytes)."""

_VALUE_WIDTH = 500
LOG_LINES = 100
_HEADINGS = {
    Verdict.MATCHED: "✅ The same",
    Verdict.DIFFERENT: "❌ Different",
    Verdict.NOT_COMPARED: "⚠️ Not a pass: not everything was exercised",
    Verdict.BROKEN: "❌ Not finished",
    Verdict.INTERRUPTED: "⚠️ Interrupted",
}


def markdown_report(run: Run) -> str:
    """Return the run as Markdown; what does not fit is counted at the end."""
    sent = sum(1 for each in run.exchanges if each.outcome is not None)
    head = [
        f"## {_HEADINGS[run.verdict]}: {run.sides[0]} against {run.sides[1]}",
        "",
        f"{sent} requests in {_scenarios(run)} scenarios, {run.elapsed_s:.1f} s; {_text(run.selection.how)}.",
        *_crash(run),
        "",
        "| | row | requests | differ | waived | |",
        "| --- | --- | ---: | ---: | ---: | --- |",
        *(_row(row) for row in run.rows if row.is_selected),
        "",
        *(_bad_rule(each, run) for each in run.bad_rules),
        *(f"- ❌ {_text(failure)}" for failure in run.failures),
        *(f"- ⚠️ {_text(text)}" for text in missing(run)),
        *(f"- {_text(note)}" for note in run.notes),
        "",
    ]
    text = "\n".join(head) + "\n"
    used, omitted = len(text.encode()), 0
    pieces = [text]
    for route, findings in by_route(run).items():
        for number, finding in enumerate(findings):
            piece = ("" if number else f"### {_code(route)}\n\n") + _finding(finding, run)
            size = len(piece.encode())
            if used + size > LIMIT_BYTES - 200:
                omitted += 1
                continue
            used += size
            pieces.append(piece)
    if omitted:
        pieces.append(f"\n{omitted} more findings did not fit; `--report html=FILE` shows all.\n")
    return "".join(pieces)


def _scenarios(run: Run) -> str:
    return str(run.scenario_count) if run.is_whole else f"{run.scenarios_done} of {run.scenario_count}"


def _crash(run: Run) -> list[str]:
    if run.crash is None:
        return []
    lines = ["", f"**{_text(run.crash.text)}**"]
    if run.crash.log:
        log = "\n".join(run.crash.log.splitlines()[-LOG_LINES:])
        lines += ["", "Its log ends:", "", *_fenced(log, "text")]
    return lines


def _row(row: RowTally) -> str:
    is_judged = row.is_exercised and not row.outcomes[Outcome.TRUNCATED]
    mark = "❌" if row.mismatched else "✅" if is_judged else "⚠️"
    counts = f"{row.requests} | {row.mismatched} | {row.outcomes[Outcome.WAIVED]}"
    return f"| {mark} | {_code(row.key)} | {counts} | {_text(coverage(row))} |"


def _bad_rule(report: RuleReport, run: Run) -> str:
    rule = report.rule
    place = f"{run.table}:{rule.line}: {report.route}: {rule.rule} at {rule.at}"
    return f"- ❌ {_text(place)}: {report.state} {_text(report.detail)}"


def _finding(finding: Finding, run: Run) -> str:
    difference = finding.difference
    lines = [f"**{finding.signature.kind}** {_code(finding.signature.place)}, {finding.count}×", ""]
    if difference.diff:
        lines += _fenced(difference.diff, "diff")
    else:
        lines += [
            f"- {run.sides[0]}: {_value(difference.control)}",
            f"- {run.sides[1]}: {_value(difference.candidate)}",
        ]
    lines += ["", _text(difference.message), ""]
    if finding.examples:
        lines += _fenced(finding.examples[0].curl, "sh")
    return "\n".join(lines) + "\n\n"


def _value(text: str | None) -> str:
    return "(nothing)" if text is None else _code(text[:_VALUE_WIDTH])


def _code(text: str) -> str:
    """Return text as a code span, which no text can end early (CommonMark 6.1)."""
    flat = text.replace("\n", "⏎").replace("\r", "").replace("|", "\\|")
    longest = max((len(run) for run in re.findall("`+", flat)), default=0)
    ticks = "`" * (longest + 1)
    space = " " if flat.startswith("`") or flat.endswith("`") or not flat else ""
    return f"{ticks}{space}{flat}{space}{ticks}"


def _fenced(text: str, language: str) -> list[str]:
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return [f"{fence}{language}", text[:20_000], fence]


def _text(text: str) -> str:
    flat = text.replace("\n", " ")
    return re.sub(r"([\\`*_\[\]<>|#&~])", r"\\\1", flat)
