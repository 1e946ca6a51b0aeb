"""Write a run for people at a terminal: by route, worst first, each finding with the line that repeats it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.ci.proposing import counts_of, example_of
from gateway.ci.results import GENERATED, NO_ROW, Verdict, visible
from gateway.compare.difference import Outcome

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.ci.results import Crash, RowTally, Run
    from gateway.compare.signature import Finding

Part = str | tuple[str, str]
Line = tuple[Part, ...]

SHOWN_FINDINGS = 20
"""Findings of one row that are written out; the other reports hold all of them."""

SHOWN_CORRELATIONS = 5
SHOWN_CUT = 5
SHOWN_LOG_LINES = 25
_VALUE_WIDTH = 200


def terminal_lines(run: Run, *, is_verbose: bool = False) -> Iterator[Line]:
    """Yield the report's lines, each a tuple of texts or ``(text, style)``."""
    if run.crash is not None and not run.exchanges:
        yield from _crash(run.crash)
        return
    failing = by_route(run)
    order = sorted(run.rows, key=lambda row: (-len(failing.get(row.key, ())), -row.mismatched, row.key))
    for row in order:
        findings = failing.get(row.key, [])
        if findings:
            yield from _failed(row, findings, run)
    yield from _summary(order, failing, run)
    yield from _rules(run)
    yield from _accepted(run)
    yield from _noise(run)
    yield from _remarks(run, is_verbose=is_verbose)
    yield from _verdict(run)


def by_route(run: Run) -> dict[str, list[Finding]]:
    """Return the failing findings by row, most frequent first."""
    found: dict[str, list[Finding]] = {}
    for finding in run.failing:
        found.setdefault(finding.signature.route, []).append(finding)
    return found


def _failed(row: RowTally, findings: list[Finding], run: Run) -> Iterator[Line]:
    yield (("✗ ", "bold red"), (row.key, "bold"), f"  {_share(row.mismatched, row.requests)}")
    for finding in findings[:SHOWN_FINDINGS]:
        difference = finding.difference
        yield (
            "    ",
            (f"{finding.signature.kind}", "red"),
            f"  {finding.signature.place}",
            (f"  {finding.count}×" if finding.count > 1 else "", "dim"),
        )
        width = max(len(name) for name in run.sides)
        if difference.diff:
            for text in difference.diff.splitlines()[:30]:
                yield ("      ", (text, {"+": "green", "-": "red", "@": "cyan"}.get(text[:1], "")))
        else:
            for name, value in zip(run.sides, (difference.control, difference.candidate), strict=True):
                yield ("      ", (name.ljust(width), "dim"), f"  {_value(value)}")
        yield ("      ", difference.message)
        if finding.examples:
            yield ("      ", (finding.examples[0].curl, "dim"))
    if len(findings) > SHOWN_FINDINGS:
        yield (f"    and {len(findings) - SHOWN_FINDINGS} more; --report html=FILE shows all",)
    for name, text in raised_in(row.key, run):
        yield ("      ", (f"{name} raised:", "dim"))
        for line in text.splitlines()[-6:]:
            yield ("        ", line)
    yield ("",)


def raised_in(route: str, run: Run) -> list[tuple[str, str]]:
    """Return what escaped from the apps on a row's failing requests, each text once."""
    found: dict[tuple[str, str], None] = {}
    for exchange in run.exchanges:
        if exchange.route == route and exchange.outcome is Outcome.MISMATCHED:
            found.update(dict.fromkeys(exchange.raised))
    return list(found)[:3]


def _value(text: str | None) -> str:
    if text is None:
        return "(nothing)"
    flat = text.replace("\n", "⏎")
    return _short(flat)


def _share(part: int, whole: int) -> str:
    noun, verb = ("request", "differs") if whole == 1 else ("requests", "differ")
    return f"{part} of {whole} {noun} {verb}"


def _summary(order: list[RowTally], failing: dict[str, list[Finding]], run: Run) -> Iterator[Line]:
    shown = [row for row in order if row.is_selected]
    width = max((len(row.key) for row in shown), default=0)
    for row in shown:
        if row.key in failing or row.mismatched:
            mark, words = (
                ("✗", "red"),
                f"{row.mismatched} differ" if row.key in failing else "accepted by the baseline",
            )
        elif not row.is_exercised:
            mark, words = ("?", "yellow"), why_unexercised(row)
        elif row.outcomes[Outcome.TRUNCATED]:
            mark, words = ("?", "yellow"), f"{row.outcomes[Outcome.TRUNCATED]} not compared to the end"
        else:
            waived = row.outcomes[Outcome.WAIVED]
            mark, words = ("✓", "green"), f"{waived} waived" if waived else ""
        yield (
            (f"{mark[0]} ", mark[1]),
            row.key.ljust(width),
            f"  {coverage(row)}",
            f"  {words}" if words else "",
        )
    others = [row for row in order if not row.is_selected and row.requests]
    if others:
        names = ", ".join(f"{row.key} ({row.requests})" for row in others)
        yield (("  sent along, not judged: ", "dim"), names)
    if run.selection.left_out:
        reasons: dict[str, list[str]] = {}
        for key, why in run.selection.left_out:
            reasons.setdefault(why, []).append(key)
        for why, keys in reasons.items():
            yield (("  left out, " + why + ": ", "dim"), ", ".join(keys))
    yield ("",)


def why_unexercised(row: RowTally) -> str:
    """Return in a few words why a row that is not exercised is not."""
    if not row.requests:
        return "not exercised"
    return "control fails on all of them" if row.has_only_failures else "not compared to the end"


def coverage(row: RowTally) -> str:
    """Return what was exercised of a row, in one line."""
    if not row.requests:
        return "0 requests"
    classes = " ".join(f"{name} {count}" for name, count in sorted(row.status_classes.items()))
    text = f"{row.requests} request{'' if row.requests == 1 else 's'} ({classes})"
    if row.parameters:
        text += "  " + ", ".join(f"{name} {len(values)}" for name, values in sorted(row.parameters.items()))
    return text


def _rules(run: Run) -> Iterator[Line]:
    for report in run.rules:
        place = f"{run.table}:{report.rule.line}: {report.route}: {report.rule.rule} at {report.rule.at}"
        if report.state == "expired":
            yield (
                ("✗ ", "bold red"),
                f"{place}: the waiver has expired ({report.detail}); mend new, or decide again",
            )
        elif report.state == "broken":
            yield (("✗ ", "bold red"), f"{place}: cannot be read: {report.detail}")
        elif report.state == "dead":
            style = "bold red" if run.is_strict else "yellow"
            yield (("! ", style), f"{place}: matched nothing; delete it, or exercise what it is for")
    for failure in run.failures:
        yield (("✗ ", "bold red"), failure)


def _accepted(run: Run) -> Iterator[Line]:
    for finding, reason in run.accepted:
        yield (("~ ", "yellow"), f"{finding.signature}  {finding.count}×, in the baseline: {reason}")


def _noise(run: Run) -> Iterator[Line]:
    if run.noise is None:
        return
    for each in run.noise.proposals:
        evidence = each.proposal.evidence
        yield (("? ", "bold yellow"), (each.route, "bold"), f"  {evidence.place}  may be noise")
        yield (f"    {counts_of(evidence)}",)
        yield ("    ", (visible(example_of(each)), "dim"))
    for other in run.noise.undecided:
        yield (("  ", ""), f"{other.route}  {other.evidence.place}  varies, not proposed: {other.why}")
    what = _counted(len(run.noise.proposals), "rule") + " proposed"
    yield (f"control called twice on {_counted(run.noise.requests, 'safe request')}: {what}, none accepted",)


def _remarks(run: Run, *, is_verbose: bool) -> Iterator[Line]:
    known = list(dict.fromkeys(run.correlations))
    shown = known if is_verbose else known[:SHOWN_CORRELATIONS]
    if known:
        was = "was" if len(known) == 1 else "were"
        text = f"{_counted(len(known), 'value')} that one answer gave {was} sent back with each side's own:"
        yield ((text, "dim"),)
        for correlation in shown:
            yield ("  ", f"{correlation.scenario}: {correlation}")
        if len(known) > len(shown):
            yield ("  ", f"and {len(known) - len(shown)} more; --verbose lists them")
    for text in dict.fromkeys(f"{each.scenario}, request {each.number}: {each.note}" for each in run.unsent):
        yield (("! ", "yellow"), text)
    cut = [each for each in run.exchanges if each.outcome is Outcome.TRUNCATED]
    for each in cut[:SHOWN_CUT]:
        yield (
            ("! ", "yellow"),
            f"{each.scenario}, request {each.number}: {each.label}: not compared to the end: {each.note}",
        )
    if len(cut) > SHOWN_CUT:
        yield (("! ", "yellow"), f"and {len(cut) - SHOWN_CUT} more were not compared to the end")
    lost = [each for each in run.exchanges if each.note == NO_ROW]
    if lost:
        names = ", ".join(dict.fromkeys(each.label for each in lost))
        reach = "reaches" if len(lost) == 1 else "reach"
        what = (
            f"{_counted(len(lost), 'request')} {reach} no row of the table, and {_is(len(lost))} not judged"
        )
        yield (("! ", "yellow"), f"{what}: {_short(names)}")
    for note in run.notes:
        yield (("! ", "yellow"), note)


def _verdict(run: Run) -> Iterator[Line]:
    sent = sum(1 for each in run.exchanges if each.outcome is not None)
    done = str(run.scenario_count) if run.is_whole else f"{run.scenarios_done} of {run.scenario_count}"
    scenarios = f"{done} scenario{'' if done == '1' else 's'}"
    if not run.selection.routes and not run.exchanges and run.is_whole:
        yield (
            ("Nothing was selected ", "bold"),
            f"({run.selection.how}): nothing to compare. That is no failure.",
        )
        return
    made_up = sum(1 for each in run.exchanges if each.source == GENERATED)
    parts = [_counted(sent, "request") + (f" in {scenarios}" if run.scenario_count else "")]
    if made_up:
        parts.append(f"{made_up} made up")
    yield (f"{run.sides[0]} against {run.sides[1]}: {', '.join(parts)}, {run.elapsed_s:.1f} s",)
    if run.attempted:
        yield (f"{_counted(run.attempted, 'request')} as somebody to be kept out, on each side",)
    verdict = run.verdict
    if run.crash is not None:
        yield from _crash(run.crash)
    if verdict is Verdict.BROKEN:
        yield (("Not finished. ", "bold red"), "What is above was compared; the rest was not.")
    elif verdict is Verdict.INTERRUPTED:
        yield (("Interrupted. ", "bold yellow"), "What is above was compared; the rest was not.")
    elif verdict is Verdict.DIFFERENT:
        routes = {finding.signature.route for finding in run.failing}
        parts = []
        if routes:
            parts.append(f"{_counted(len(run.failing), 'difference')} on {_counted(len(routes), 'row')}")
        if run.bad_rules:
            parts.append(_counted(len(run.bad_rules), "bad rule"))
        if run.failures:
            parts.append(_counted(len(run.failures), "failure"))
        yield (("Different: ", "bold red"), ", ".join(parts) + ".")
    elif verdict is Verdict.NOT_COMPARED:
        yield (("Not a pass: ", "bold yellow"), f"{', '.join(missing(run))}.")
    else:
        yield (
            ("The same: ", "bold green"),
            f"{_counted(len(run.selection.routes), 'row')} ({run.selection.how}).",
        )


def _crash(crash: Crash) -> Iterator[Line]:
    yield (("✗ ", "bold red"), crash.text)
    lines = crash.log.splitlines()[-SHOWN_LOG_LINES:]
    if lines:
        yield ("    its log ends:",)
        for line in lines:
            yield ("      ", (line, "dim"))
    if crash.path:
        yield (f"    {'the whole log' if lines else 'it wrote nothing'}: {crash.path}",)


def missing(run: Run) -> list[str]:
    """Return what keeps a run without differences from being a pass, in words."""
    parts = []
    untouched = [row.key for row in run.unexercised if not row.has_only_failures]
    failing = [row.key for row in run.unexercised if row.has_only_failures]
    if untouched:
        parts.append(f"nothing exercised {', '.join(untouched)}")
    if failing:
        parts.append(f"control answered nothing but failures (5xx) on {', '.join(failing)}")
    if run.undecided:
        parts.append(f"{_counted(len(run.undecided), 'answer')} not compared to the end")
    if run.unsent:
        parts.append(f"{_counted(len(run.unsent), 'request')} not sent, or not answered by either side")
    return parts


def _is(number: int) -> str:
    return "is" if number == 1 else "are"


def _short(text: str) -> str:
    return text if len(text) <= _VALUE_WIDTH else text[: _VALUE_WIDTH - 1] + "…"


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
