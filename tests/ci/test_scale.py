"""Large answers and long runs stay small: beyond the cap is a digest, a million bugs are three lines."""

from __future__ import annotations

import http.server
import json
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from gateway.compare import Comparison, Difference, Findings, Kind, Outcome
from tests.compare.observations import REQUEST, seen
from tests.projects import gateway, make_project

if TYPE_CHECKING:
    from collections.abc import Iterator

MIB = 1024 * 1024
PIECE = b"x" * MIB
PIECES = 50
CAP_MIB = 2
SLACK_MIB = 8

COMPARE = r"""
import json, pathlib, re, sys
from gateway.ci.exchange import Address, Sent, send
from gateway.compare import compare

def ask(path, cap_mib):
    return send(Address(sys.argv[1]), Sent("GET", path), cap_bytes=int(cap_mib * 2**20), timeout_s=60)

compare(ask("/small", 1), ask("/small", 1))
def highest_kib():
    # Of this program alone (proc(5)); getrusage's ru_maxrss begins with what its parent had at exec.
    return int(re.search(r"VmHWM:\s+(\d+) kB", pathlib.Path("/proc/self/status").read_text())[1])

before = highest_kib()
control = ask("/large", float(sys.argv[2]))
outcomes = [compare(control, ask(path, float(sys.argv[2]))).outcome for path in ("/large", "/other")]
grown = highest_kib() - before
print(json.dumps({"grown_mib": grown / 1024, "outcomes": outcomes, "length": control.body.length_bytes}))
"""


class _Large(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        count = 1 if self.path == "/small" else PIECES
        self.send_response(200)
        self.send_header("Content-Type", "application/octet-stream")
        self.send_header("Content-Length", str(count * MIB))
        self.end_headers()
        for number in range(count):
            is_changed = self.path == "/other" and number == count - 1
            self.wfile.write(PIECE[:-1] + b"y" if is_changed else PIECE)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Keep quiet."""


@pytest.fixture
def large_url() -> Iterator[str]:
    """Serve 50 MiB at ``/large``, and at ``/other`` the same with another last byte."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Large) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc to weigh a process")
def test_a_body_of_50_mib_is_compared_whole_and_held_up_to_the_cap(large_url: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", COMPARE, large_url, str(CAP_MIB)],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )

    found = json.loads(done.stdout)
    assert found["length"] == PIECES * MIB
    assert found["outcomes"][0] == Outcome.MATCHED
    assert found["outcomes"][1] != Outcome.MATCHED
    # Two captures and the copy that one of them is made by.
    assert found["grown_mib"] <= 3 * CAP_MIB + SLACK_MIB


def test_a_million_comparisons_with_three_bugs_are_three_findings() -> None:
    bugs = (
        Difference(Kind.STATUS, "status", "200", "500", "It fails."),
        Difference(Kind.JSON_VALUE, "$.items[3].price", "1", "2", "The price differs."),
        Difference(Kind.JSON_MISSING, "$.items[0].name", "x", None, "The name is gone."),
    )
    comparison = Comparison(Outcome.MISMATCHED, bugs)
    control, candidate = seen("1"), seen("2")
    findings = Findings()

    for number in range(1_000_000):
        findings.add(
            "GET /items",
            comparison,
            at_s=float(number),
            request=REQUEST,
            control=control,
            candidate=candidate,
        )

    assert {(str(each.signature.kind), each.signature.place, each.count) for each in findings} == {
        ("status", "status", 1_000_000),
        ("json.value", "$.items[*].price", 1_000_000),
        ("json.missing", "$.items[*].name", 1_000_000),
    }
    assert all((each.first_s, each.last_s) == (0.0, 999_999.0) for each in findings)
    assert all(len(each.examples) == 5 for each in findings)


def test_an_answer_beyond_the_cap_that_cannot_be_judged_is_said(tmp_path: Path) -> None:
    legacy = """
        from flask import Flask

        app = Flask(__name__)

        @app.get("/files/<name>")
        def file(name):
            return b"x" * (17 * 2**20 if name == "large" else 1) + b"a", {"Content-Type": "image/png"}
    """
    new = """
        from fastapi import FastAPI, Response

        app = FastAPI()

        @app.get("/files/{name}")
        def file(name: str):
            end = b"b" if name == "large" else b"a"
            return Response(b"x" * (17 * 2**20 if name == "large" else 1) + end, media_type="image/png")
    """
    project = make_project(tmp_path / "files", legacy, new, "routes:\n  GET /files/{name}: shadow\n")
    (project.folder / "files.http").write_text("GET /files/large\n###\nGET /files/small\n")

    done = gateway("compare", "files.http", folder=project.folder)

    assert "! files, request 1: GET http://localhost:8000/files/large: not compared to the end" in done.stdout
