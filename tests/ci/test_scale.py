"""Large answers and long runs stay small: beyond the cap is a digest, a million bugs are three lines."""

from __future__ import annotations

import http.server
import json
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree

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


SIZES = """
        LARGE = 300_000

        def text(name):
            return ["x" * (LARGE if name.startswith("large") else 9), END if name.endswith("other") else "a"]
"""
LARGE_LEGACY = f"""
        from flask import Flask, Response, jsonify

        app, END = Flask(__name__), "a"
        {SIZES}
        @app.get("/files/<name>")
        def file(name):
            return "".join(text(name)), {{"Content-Type": "image/png"}}

        @app.get("/documents/<name>")
        def document(name):
            return jsonify(text(name))
"""
LARGE_NEW = f"""
        from fastapi import FastAPI, Response

        app, END = FastAPI(), "b"
        {SIZES}
        @app.get("/files/{{name}}")
        def file(name: str):
            return Response("".join(text(name)), media_type="image/png")

        @app.get("/documents/{{name}}")
        def document(name: str):
            return text(name)
"""
FILES = "GET /files/{name}"
DOCUMENTS = "GET /documents/{name}"


def large(folder: Path, corpus: str, *options: str, rules: str = "") -> subprocess.CompletedProcess[str]:
    """Compare apps that answer 300 KB at ``/…/large…``, with another end at ``/…other`` of new."""
    routes = "routes:\n" + "".join(f"  {row}:\n    stage: shadow\n{rules}" for row in (FILES, DOCUMENTS))
    project = make_project(folder, LARGE_LEGACY, LARGE_NEW, routes)
    (folder / "asked.http").write_text(corpus)
    reports = ("--report=json=out.json", "--report=junit=out.xml")
    return gateway("compare", "asked.http", *options, *reports, folder=project.folder)


SMALL = "GET /files/small\n###\nGET /documents/small\n"


def test_other_bytes_beyond_the_cap_fail_the_run_where_bytes_are_what_a_client_gets(tmp_path: Path) -> None:
    done = large(tmp_path / "p", f"{SMALL}###\nGET /files/large-other\n", "--body-cap=64KiB")

    assert done.returncode == 1, done.stdout
    (finding,) = json.loads((tmp_path / "p/out.json").read_text())["findings"]
    assert (finding["row"], finding["kind"], finding["place"]) == (FILES, "bytes", "body")
    assert finding["difference"]["control"].startswith("300001 bytes, SHA-256 ")
    assert "--body-cap) above 300001 bytes" in done.stdout


def test_other_bytes_beyond_the_cap_that_may_mean_the_same_are_no_pass(tmp_path: Path) -> None:
    # Flask and FastAPI write the same JSON in other bytes.
    corpus = f"{SMALL}###\nGET /documents/large\n"
    cut = large(tmp_path / "p", corpus, "--body-cap=64KiB")
    suites = ElementTree.parse(tmp_path / "p/out.xml").getroot()
    whole = large(tmp_path / "p", corpus)

    assert cut.returncode == 2, cut.stdout
    assert f"? {DOCUMENTS}" in cut.stdout
    assert "Not a pass: 1 answer not compared to the end." in cut.stdout
    assert (
        "! asked, request 3: GET http://localhost:8000/documents/large: not compared to the end" in cut.stdout
    )
    assert suites.get("failures") == "1"
    assert whole.returncode == 0, whole.stdout


def test_a_rule_accepts_other_bytes_beyond_the_cap(tmp_path: Path) -> None:
    rules = "    compare: [{at: body, rule: ignore, reason: drawn anew, until: 2099-12-31}]\n"
    corpus = f"{SMALL}###\nGET /files/large-other\n###\nGET /documents/large-other\n"
    done = large(tmp_path / "p", corpus, "--body-cap=64KiB", rules=rules)

    assert done.returncode == 0, done.stdout


def test_equal_bytes_beyond_the_cap_are_the_same(tmp_path: Path) -> None:
    done = large(tmp_path / "p", f"{SMALL}###\nGET /files/large\n", "--body-cap=64KiB")

    assert done.returncode == 0, done.stdout


def test_a_cap_without_a_unit_is_told(tmp_path: Path) -> None:
    done = large(tmp_path / "p", SMALL, "--body-cap=64")

    assert done.returncode == 2
    assert done.stderr.startswith("gateway: --body-cap: 64 has no unit; write 64")
