"""What workers report arrives whole, however little is sent, and merges into one view."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from gateway.processes.control import LineBuffer, encode
from gateway.web.report_changes import ReportReceiver, ReportSender
from gateway.web.reports import Report, RouteReport, merge_reports, parse_report
from gateway.web.totals import Totals

COUNTS = st.dictionaries(st.sampled_from(["legacy", "new", "gateway"]), st.integers(0, 9))
STATES = st.dictionaries(st.sampled_from(["breaker", "position"]), st.sampled_from(["open", "closed", "new"]))
ROUTES = st.lists(
    st.builds(
        lambda number, stage, counts, states: {
            "id": f"{number:012x}",
            "key": f"GET /{number}",
            "stage": stage,
            "counts": counts,
            "states": states,
        },
        st.integers(0, 5),
        st.sampled_from(["legacy", "new"]),
        COUNTS,
        STATES,
    ),
    unique_by=lambda route: str(route["id"]),
)
REPORTS = st.builds(
    lambda facts, routes: {**facts, "routes": routes},
    st.fixed_dictionaries({"generation": st.integers(0, 3)}, optional={"lag_s": st.sampled_from([0.0, 0.5])}),
    ROUTES,
)
INCREASES = st.dictionaries(
    st.sampled_from(["GET /a", "GET /b", ""]),
    st.dictionaries(st.sampled_from(["blocks", "fallbacks"]), st.integers(1, 9), min_size=1),
)


@given(st.lists(REPORTS, min_size=1, max_size=6))
def test_the_receiver_always_has_the_senders_last_report(reports: list[dict[str, Any]]) -> None:
    sender, receiver = ReportSender(), ReportReceiver()
    for report in reports:
        message = json.loads(json.dumps(sender.changes(report)))
        if message:
            receiver.apply(message)
        assert receiver.report == parse_report(report)


@given(REPORTS)
def test_an_unchanged_report_sends_nothing(report: dict[str, Any]) -> None:
    sender = ReportSender()
    assert sender.changes(report)
    assert sender.changes(report) == {}


@given(st.lists(st.dictionaries(st.text(), st.integers() | st.text()), max_size=5), st.data())
def test_messages_survive_any_cutting_of_the_stream(messages: list[dict[str, Any]], data: Any) -> None:
    stream = b"".join(map(encode, messages))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=5)))
    buffer = LineBuffer()
    heard = []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        heard += buffer.feed(stream[start:end])
    assert heard == messages


def test_merging_sums_counts_and_keeps_every_trouble() -> None:
    one = Report(generation=1, routes=(RouteReport("a", "GET /a", "legacy", counts={"legacy": 2}),))
    two = Report(
        generation=2,
        is_valid=False,
        problems=("bad",),
        routes=(RouteReport("a", "GET /a", "new", counts={"legacy": 1, "new": 4}),),
        threads={"busy": 3},
    )
    merged = merge_reports([one, two])
    assert merged.generation == 2
    assert merged.routes[0].stage == "new"
    assert merged.routes[0].counts == {"legacy": 3, "new": 4}
    assert not merged.is_valid
    assert merged.problems == ("bad",)
    assert merged.threads == {"busy": 3}


def test_the_worst_breaker_of_all_workers_is_shown() -> None:
    closed = Report(routes=(RouteReport("a", "GET /a", "new", states={"breaker": "closed"}),))
    open_ = Report(
        routes=(RouteReport("a", "GET /a", "new", states={"breaker": "open", "position": "canary"}),)
    )
    none = Report(routes=(RouteReport("a", "GET /a", "new"),))
    assert merge_reports([open_, closed, none]).routes[0].states == {"breaker": "open", "position": "canary"}
    assert merge_reports([none]).routes[0].states == {}


def test_parts_are_well_where_they_are_well_everywhere() -> None:
    well = Report(store={"is_ok": True, "reason": "", "pending": 2})
    ill = Report(store={"is_ok": False, "reason": "the disk is full", "pending": 3})
    assert merge_reports([well, ill, Report()]).store == {
        "is_ok": False,
        "reason": "the disk is full",
        "pending": 5,
    }
    assert merge_reports([Report()]).store == {}


@given(st.lists(st.tuples(st.integers(0, 2), INCREASES, st.booleans()), max_size=12))
def test_totals_are_what_all_workers_ever_counted_and_never_go_back(
    steps: list[tuple[int, dict[str, dict[str, int]], bool]],
) -> None:
    totals, expected = Totals(), Counter[tuple[str, str]]()
    workers = [Worker(totals) for _ in range(3)]
    for slot, increases, dies in steps:
        before = totals.snapshot()
        workers[slot].count(increases)
        for label, values in increases.items():
            expected.update({(label, name): n for name, n in values.items()})
        for label, sums in before.items():
            assert all(totals.snapshot()[label][name] >= n for name, n in sums.items())
        if dies:
            workers[slot] = Worker(totals)
    found = {
        (label, name): int(n) for label, values in totals.snapshot().items() for name, n in values.items()
    }
    assert found == expected


class Worker:
    """Count, report through JSON, and be forgotten with everything that was counted."""

    def __init__(self, totals: Totals) -> None:
        self.measures: dict[str, dict[str, int]] = {}
        self.sender, self.receiver = ReportSender(), ReportReceiver(totals)

    def count(self, increases: dict[str, dict[str, int]]) -> None:
        """Add ``increases`` to the measures, and report."""
        for label, values in increases.items():
            known = self.measures.get(label, {})
            self.measures[label] = {**known, **{name: known.get(name, 0) + n for name, n in values.items()}}
        report = {"generation": 1, "routes": [], "measures": dict(self.measures)}
        self.receiver.apply(json.loads(json.dumps(self.sender.changes(report))))


def test_of_the_measures_only_what_has_grown_is_sent() -> None:
    sender = ReportSender()
    sender.changes({"measures": {"GET /a": {"blocks": 1, "fallbacks": 2}, "GET /b": {"blocks": 1}}})
    message = sender.changes({"measures": {"GET /a": {"blocks": 1, "fallbacks": 3}, "GET /b": {"blocks": 1}}})
    assert message == {"measures": {"GET /a": {"fallbacks": 3}}}


def test_of_the_facts_only_what_has_changed_is_sent() -> None:
    sender = ReportSender()
    sender.changes({"lag_s": 0.0, "differences": ["many"]})
    assert sender.changes({"lag_s": 0.1, "differences": ["many"]}) == {"changed": {"lag_s": 0.1}}


def test_no_worker_is_not_ready() -> None:
    assert not merge_reports([]).is_ready
