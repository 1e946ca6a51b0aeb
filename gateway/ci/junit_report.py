"""Write a run as JUnit XML: a test suite a row, a test case a request, as CI servers read it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from gateway.ci.terminal import why_unexercised
from gateway.compare.curl import curl_line
from gateway.compare.difference import Outcome
from gateway.compare.signature import signature_of

if TYPE_CHECKING:
    from gateway.ci.results import Exchange, Run
    from gateway.compare.signature import Signature

# XML 1.0, 2.2: what no document may hold, escaped or not.
_FORBIDDEN = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def junit_report(run: Run) -> str:
    """Return the run as a JUnit document; what fails the run outside of any request is a case of its own."""
    failing = {finding.signature for finding in run.failing}
    unsent = {id(each): each for each in run.unsent}
    suites = ElementTree.Element("testsuites", name="gateway compare", time=f"{run.elapsed_s:.3f}")
    for row in run.rows:
        if not row.is_selected:
            continue
        suite = _suite(suites, row.key)
        for exchange in run.exchanges:
            if exchange.route == row.key and (exchange.outcome is not None or exchange.is_unsent):
                unsent.pop(id(exchange), None)
                _case(suite, exchange, failing)
        if not row.is_exercised:
            case = ElementTree.SubElement(suite, "testcase", name="is exercised", classname=_clean(row.key))
            ElementTree.SubElement(case, "failure", message=why_unexercised(row))
        _count(suite)
    others = [
        (f"{each.rule.rule} at {each.rule.at}", each.route, f"the rule is {each.state} {each.detail}")
        for each in run.bad_rules
    ]
    others += [("run", "gateway compare", text) for text in run.failures]
    others += [(each.label, each.source, each.note) for each in unsent.values()]
    if others or not run.is_whole:
        suite = _suite(suites, "rules and run")
        for name, place, text in others:
            case = ElementTree.SubElement(suite, "testcase", name=_clean(name), classname=_clean(place))
            ElementTree.SubElement(case, "failure", message=_clean(text))
        if not run.is_whole:
            _unfinished(suite, run)
        _count(suite)
    for name in ("tests", "failures", "errors", "skipped"):
        suites.set(name, str(sum(int(suite.get(name, "0")) for suite in suites)))
    ElementTree.indent(suites)
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(suites, encoding="unicode") + "\n"
    )


def _suite(parent: ElementTree.Element, name: str) -> ElementTree.Element:
    return ElementTree.SubElement(parent, "testsuite", name=_clean(name))


def _unfinished(suite: ElementTree.Element, run: Run) -> None:
    case = ElementTree.SubElement(suite, "testcase", name="run to the end", classname="gateway compare")
    done = f"{run.scenarios_done} of {run.scenario_count} scenarios were run to their end"
    text = f"interrupted: {done}" if run.crash is None else f"{run.crash.text}; {done}"
    error = ElementTree.SubElement(case, "error", message=_clean(text))
    if run.crash is not None and run.crash.log:
        error.text = _clean(f"the server's log ends:\n{run.crash.log}")


def _case(suite: ElementTree.Element, exchange: Exchange, failing: set[Signature]) -> None:
    path = re.sub(r"^https?://[^/]*", "", exchange.request.url)
    case = ElementTree.SubElement(
        suite,
        "testcase",
        name=_clean(f"{exchange.request.method} {path} ({exchange.scenario} {exchange.number})"),
        classname=_clean(exchange.route),
        file=_clean(exchange.source.rpartition(":")[0] or exchange.source),
    )
    counted = [
        each
        for each in exchange.differences
        if each.is_failing and signature_of(exchange.route, each) in failing
    ]
    if counted:
        failure = ElementTree.SubElement(
            case, "failure", message=_clean("; ".join(f"{each.kind} {each.place}" for each in counted[:5]))
        )
        failure.text = _clean(
            "\n".join(
                f"{each.kind} {each.place}\n  control   {each.control}\n"
                f"  candidate {each.candidate}\n  {each.message}"
                for each in counted
            )
            + f"\n{curl_line(exchange.request)}"
        )
    elif exchange.is_unsent:
        ElementTree.SubElement(case, "failure", message=_clean(exchange.note))
    elif exchange.outcome is Outcome.TRUNCATED:
        ElementTree.SubElement(case, "failure", message=_clean(f"not compared to the end: {exchange.note}"))


def _count(suite: ElementTree.Element) -> None:
    suite.set("tests", str(len(suite)))
    suite.set("failures", str(sum(1 for case in suite if case.find("failure") is not None)))
    suite.set("errors", str(sum(1 for case in suite if case.find("error") is not None)))
    suite.set("skipped", str(sum(1 for case in suite if case.find("skipped") is not None)))


def _clean(text: str) -> str:
    return _FORBIDDEN.sub("�", text)
