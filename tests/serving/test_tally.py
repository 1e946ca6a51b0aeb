"""Responses are counted and timed by what the table knows, whatever clients send."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from hypothesis import given
from hypothesis import strategies as st

from gateway.app import create_app
from gateway.rollout.latency import BIN_EDGES_S, bin_of
from gateway.serving.tally import MEASURED_EVERY_S, OTHER_METHOD, Overhead, Tally
from gateway.web.metrics import render_metrics
from gateway.web.report_changes import ReportReceiver, ReportSender
from gateway.web.reports import Overview
from gateway.web.totals import Totals

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    import pytest

ECHO = """
async def app(scope, receive, send):
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})
"""
TABLE = """
version: 1
backends:
  legacy: {{ asgi: "{echo}:app" }}
  new: {{ asgi: "{echo}:app" }}
routes:
  "GET /items/{{item_id:int}}": new
  ANY /anything: new
"""


def methods_of(tally: Tally) -> set[str]:
    return {method for _stage, _backend, _status, method, _bin, _count in tally.cells()}


def sums(cells: Iterable[tuple[str, str, int, str, int, int]]) -> int:
    return sum(count for *_labels, count in cells)


def test_a_row_counts_its_own_methods_and_head_by_name() -> None:
    tally = Tally("GET,PURGE /x", frozenset({"GET", "PURGE"}))
    for method in ("GET", "HEAD", "PURGE", "POST"):
        tally.at("new").add("new", 200, method, 0.001)
    assert methods_of(tally) == {"GET", "HEAD", "PURGE", OTHER_METHOD}


def test_a_hundred_thousand_methods_count_as_one() -> None:
    tally = Tally("ANY /x", None)
    for number in range(100_000):
        tally.at("legacy").add("legacy", 200, f"M{number}", 0.001)
    assert methods_of(tally) == {OTHER_METHOD}
    assert len(tally.at("legacy").cells) == 1
    assert sums(tally.cells()) == 100_000


def test_stages_are_counted_apart_and_summed_by_backend() -> None:
    tally = Tally("GET /x", frozenset({"GET"}))
    tally.at("legacy").add("legacy", 200, "GET", 0.001)
    tally.at("canary").add("new", 500, "GET", 0.002)
    tally.at("canary").add("legacy", 200, "GET", 0.003)
    assert tally.by_backend() == {"legacy": 2, "new": 1, "gateway": 0}
    assert {(stage, backend) for stage, backend, *_rest in tally.cells()} == {
        ("legacy", "legacy"),
        ("canary", "new"),
        ("canary", "legacy"),
    }


@given(st.floats(0, 100_000))
def test_a_time_lies_in_its_bin(seconds: float) -> None:
    number = bin_of(seconds)
    assert number == len(BIN_EDGES_S) or seconds <= BIN_EDGES_S[number]
    assert number == 0 or seconds > BIN_EDGES_S[number - 1]


def test_overhead_is_asked_of_one_request_in_a_while() -> None:
    overhead = Overhead()
    overhead.measure(before_s=0.001, came_s=5.0, now_s=5.002)
    assert overhead.bins == {bin_of(0.003): 1}
    assert overhead.due_s == 5.002 + MEASURED_EVERY_S


async def test_a_hundred_thousand_random_paths_and_methods_make_no_new_series(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    echo = f"echo_{uuid4().hex}"
    (tmp_path / f"{echo}.py").write_text(ECHO)
    (tmp_path / "routing.yaml").write_text(TABLE.format(echo=echo))
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    gateway = create_app(tmp_path / "routing.yaml")
    sender, totals = ReportSender(), Totals()
    receiver = ReportReceiver(totals)

    def series() -> set[str]:
        receiver.apply(sender.changes(gateway.report()))
        text = render_metrics(Overview(receiver.report), totals.snapshot(), "")[0].decode()
        return {line.rpartition(" ")[0] for line in text.splitlines()}

    async def call(method: str, path: str) -> None:
        scope: dict[str, Any] = {"type": "http", "http_version": "1.1", "method": method, "path": path}
        scope |= {"headers": [(b"host", b"shop.example")], "query_string": b"", "raw_path": path.encode()}
        scope |= {"scheme": "http", "client": ("127.0.0.1", 1), "root_path": "", "state": {}}
        await gateway(scope, receive, send)

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(_message: Any) -> None:
        pass

    await gateway.start()
    try:
        for method, path in (("GET", "/no"), ("X", "/no"), ("GET", "/anything"), ("X", "/anything")):
            await call(method, path)
        before = series()
        for number in range(33_334):
            await call("GET", f"/{number:x}/{number * 7919:x}")
            await call(f"M{number}", "/anything")
            await call(f"M{number}", f"/{number}")
            if number % 100 == 0:
                await asyncio.sleep(0)  # nothing above waits, and the loop has more to do than this
        assert series() == before
        assert sum(gateway.report()["unmatched"].values()) == 2 + 66_668
    finally:
        await gateway.stop()
