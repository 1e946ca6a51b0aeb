"""Write a run as GitHub workflow commands: annotations at the table's lines, which a pull request shows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.ci.terminal import by_route, why_unexercised

if TYPE_CHECKING:
    from gateway.ci.results import Run

SHOWN_PER_ROW = 3
"""GitHub shows ten annotations a step: the rows matter more than all of one row's places."""


def github_report(run: Run) -> str:
    """Return the annotations, one a line; nothing where nothing is wrong."""
    lines_of = {row.key: row.route.spec.line for row in run.rows}
    lines: list[str] = []
    for route, findings in by_route(run).items():
        for finding in findings[:SHOWN_PER_ROW]:
            difference = finding.difference
            values = zip(run.sides, (difference.control, difference.candidate), strict=True)
            told = ", ".join(f"{name} {_short(value)}" for name, value in values)
            text = f"{finding.signature.kind} {finding.signature.place}: {told}. {difference.message}"
            lines.append(_command("error", run.table, lines_of.get(route, 0), route, text))
    lines += [
        _command(
            "error",
            run.table,
            each.rule.line,
            each.route,
            f"the rule at {each.rule.at} is {each.state} {each.detail}",
        )
        for each in run.bad_rules
    ]
    lines += [_command("error", run.table, 0, "gateway compare", failure) for failure in run.failures]
    if run.crash is not None:
        lines.append(_command("error", run.table, 0, "gateway compare", run.crash.text))
    for each in (*run.undecided, *run.unsent):
        file, _, line = each.source.rpartition(":")
        title = each.route or "gateway compare"
        lines.append(_command("warning", file, int(line) if line.isdigit() else 0, title, each.note))
    lines += [
        _command("warning", run.table, row.route.spec.line, row.key, f"no pass: {why_unexercised(row)}")
        for row in run.unexercised
    ]
    return "".join(f"{line}\n" for line in lines)


def _short(text: str | None) -> str:
    return "(nothing)" if text is None else text[:200]


def _command(level: str, file: str, line: int, title: str, text: str) -> str:
    place = f"file={_property(file)},line={line}," if line else ""
    return f"::{level} {place}title={_property(title)}::{_data(text)}"


def _data(text: str) -> str:
    # GitHub's own escapes (actions/toolkit, command.ts).
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
