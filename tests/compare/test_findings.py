"""Differences are counted by signature, shown with the line that repeats them, and noise is only proposed."""

from __future__ import annotations

import http.server
import shutil
import subprocess
import threading
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.compare import (
    Body,
    Comparison,
    Finding,
    Findings,
    Kind,
    RequestRecord,
    Terms,
    compare,
    compile_rules,
)
from gateway.compare.curl import curl_line
from gateway.compare.json_text import fold_place
from gateway.compare.noise import NoiseSample, gather, mcnemar, propose
from tests.compare.observations import REQUEST, as_json, seen


def counted(findings: Findings, control: Any, candidate: Any, at_s: float) -> Comparison:
    one, other = as_json(control), as_json(candidate)
    result = compare(one, other)
    findings.add("GET /items", result, at_s=at_s, request=REQUEST, control=one, candidate=other)
    return result


def test_many_requests_with_one_bug_are_one_line() -> None:
    findings = Findings()
    for at in range(1000):
        counted(findings, [{"p": 1}] * (at % 9 + 1), [{"p": 2}] * (at % 9 + 1), float(at))
    (one,) = findings
    assert (one.count, one.first_s, one.last_s, len(one.examples)) == (1000, 0.0, 999.0, 5)
    assert (one.signature.kind, one.signature.place) == (Kind.JSON_VALUE, "$[*].p")
    assert one.examples[0].curl.startswith("curl ")
    assert not one.is_waived


def test_an_api_that_keys_by_id_makes_bounded_findings() -> None:
    findings = Findings()
    for number in range(500):
        counted(findings, {str(number): 1, f"n{number}": 1}, {str(number): 2, f"n{number}": 2}, 0.0)
    assert len(findings) <= 52
    assert sum(each.count for each in findings) >= 500


def test_merging_findings_of_two_workers_counts_both() -> None:
    one, other = Findings(), Findings()
    counted(one, 1, 2, 5.0)
    counted(other, 1, 2, 3.0)
    for each in other:
        one.merge(each)
    (merged,) = one
    assert isinstance(merged, Finding)
    assert (merged.count, merged.first_s, merged.last_s) == (2, 3.0, 5.0)
    assert len(merged.examples) == 2


@pytest.mark.parametrize(
    ("place", "folded"),
    [
        ("$.items[3].tags[0]", "$.items[*].tags[*]"),
        ("$['2026'].a", "$[*].a"),
        ("$['a[3]b']", "$['a[3]b']"),
        ("$['6b1f0c1e-0000-4000-8000-000000000000']", "$[*]"),
        ("header:x-a", "header:x-a"),
        ("outbound:GET http://p/users/7/mail", "outbound:GET http://p/users/*/mail"),
    ],
)
def test_places_are_folded(place: str, folded: str) -> None:
    assert fold_place(place) == folded


def test_mcnemar_gives_the_published_values() -> None:
    assert mcnemar(5, 0) == pytest.approx(0.03125)
    assert mcnemar(7, 0) == pytest.approx(0.0078125)
    assert mcnemar(0, 0) == 1.0
    assert mcnemar(8, 2) == pytest.approx(56 / 1024)


@given(st.integers(0, 30), st.integers(0, 30))
def test_mcnemar_is_a_probability_that_falls_with_the_evidence(more: int, less: int) -> None:
    assert 0.0 < mcnemar(more, less) <= 1.0
    assert mcnemar(more + 1, less) < mcnemar(more, less) or mcnemar(more, less) == 1.0


def sample(again: Any, candidate: Any, control: Any = None) -> NoiseSample:
    first = as_json({"at": "10:00", "n": 1} if control is None else control)
    return NoiseSample(compare(first, as_json(again)), compare(first, as_json(candidate)))


def test_what_varies_in_control_itself_is_proposed() -> None:
    samples = [sample({"at": f"10:{n:02}", "n": 1}, {"at": f"11:{n:02}", "n": 1}) for n in range(1, 11)]
    (one,) = propose(gather(samples))
    assert (one.rule.at, one.rule.rule) == ("$.at", "ignore")
    assert one.evidence.p_value == 1.0
    assert one.rule.reason


def test_what_differs_much_more_often_in_the_candidate_is_not_noise() -> None:
    noisy = [sample({"at": "10:01", "n": 1}, {"at": "10:02", "n": 1}) for _ in range(5)]
    wrong = [sample({"at": "10:00", "n": 1}, {"at": "10:02", "n": 1}) for _ in range(10)]
    assert not propose(gather([*noisy, *wrong]))


def test_a_structural_difference_is_never_noise() -> None:
    for again, candidate in (({"n": 1}, {"n": 1}), ({"at": 5, "n": 1}, {"at": 6, "n": 1})):
        assert not propose(gather([sample(again, candidate)] * 20))
    longer = {"at": "10:00:00.123", "n": 1}
    assert not propose(gather([sample(longer, {"at": "10:01", "n": 1})] * 20))


def test_too_little_is_no_evidence() -> None:
    assert not propose(gather([sample({"at": "10:01", "n": 1}, {"at": "10:02", "n": 1})] * 4))


def test_an_accepted_proposal_waives_what_it_was_made_from() -> None:
    (one,) = propose(gather([sample({"at": "10:01", "n": 1}, {"at": "10:02", "n": 1})] * 9))
    terms = Terms(rules=compile_rules([one.rule]))
    assert compare(as_json({"at": "a", "n": 1}), as_json({"at": "b", "n": 1}), terms).is_same


class _Recorder(http.server.BaseHTTPRequestHandler):
    seen: list[tuple[str, str, list[tuple[str, str]], bytes]]

    def _record(self) -> None:
        length = int(self.headers.get("Content-Length", "0"))
        self.seen.append((self.command, self.path, self.headers.items(), self.rfile.read(length)))
        self.send_response(204)
        self.end_headers()

    do_GET = do_POST = do_HEAD = do_PUT = do_DELETE = _record  # noqa: N815  # the names that http.server asks for

    def log_message(self, *args: object) -> None:
        """Keep quiet."""


HOSTILE = 'it\'s $(id) `id` "x" \\ ; & | > < * ? ! # %41'
RECORDS = [
    RequestRecord("GET", "/items?q=a'b&x=[1]"),
    RequestRecord("DELETE", "/a/../b", ((b"x-odd", HOSTILE.encode()), (b"x-empty", b""))),
    RequestRecord("POST", "/", ((b"content-type", b"application/json"),), Body.of(b'{"a": "it\'s"}\n')),
    RequestRecord("POST", "/", (), Body.of(b"@/etc/passwd")),
    RequestRecord("PUT", "/", ((b"content-type", b"a/b"),), Body.of(bytes(range(256)))),
    RequestRecord("HEAD", "/"),
]


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
@pytest.mark.parametrize("record", RECORDS, ids=range(len(RECORDS)))
def test_the_curl_line_repeats_the_request_to_the_byte(record: RequestRecord) -> None:
    handler = type("Recorder", (_Recorder,), {"seen": []})
    with http.server.HTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        url = f"http://127.0.0.1:{server.server_port}{record.url}"
        line = curl_line(RequestRecord(record.method, url, record.headers, record.body))
        subprocess.run(["sh", "-c", line], check=True, timeout=20, capture_output=True)
        thread.join()
    ((method, path, headers, body),) = handler.seen  # type: ignore[attr-defined]  # made by type() above
    assert (method, path, body) == (record.method, record.url, record.body.captured)
    sent = {name.lower(): value for name, value in headers}
    assert {name.decode(): value.decode() for name, value in record.headers}.items() <= sent.items()
    assert ("content-type" in sent) == (b"content-type" in dict(record.headers))


def test_a_terminal_is_not_steered_by_a_curl_line() -> None:
    line = curl_line(RequestRecord("GET", "http://h/\x1b[2J\n", ((b"x", b"\x1b]0;a\x07"),)))
    assert line.isprintable()


def test_a_body_that_was_cut_says_so() -> None:
    assert "first 3 of 10 bytes" in curl_line(RequestRecord("POST", "http://h/", (), Body(b"abc", 10, "d")))
    assert seen("").body == Body()
