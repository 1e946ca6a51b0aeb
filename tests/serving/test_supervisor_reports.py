"""What workers report arrives whole, however little is sent, and merges into one view."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from gateway.processes.control import LineBuffer, encode
from gateway.web.report_changes import ReportReceiver, ReportSender
from gateway.web.reports import Report, RouteReport, merge_reports, parse_report

COUNTS = st.dictionaries(st.sampled_from(["legacy", "new", "gateway"]), st.integers(0, 9))
ROUTES = st.lists(
    st.builds(
        lambda number, stage, counts: {
            "id": f"{number:012x}",
            "key": f"GET /{number}",
            "stage": stage,
            "counts": counts,
        },
        st.integers(0, 5),
        st.sampled_from(["legacy", "new"]),
        COUNTS,
    ),
    unique_by=lambda route: str(route["id"]),
)
REPORTS = st.builds(
    lambda generation, routes: {"generation": generation, "routes": routes}, st.integers(0, 3), ROUTES
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


def test_no_worker_is_not_ready() -> None:
    assert not merge_reports([]).is_ready
