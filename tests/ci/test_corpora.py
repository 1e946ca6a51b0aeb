"""Corpora are read as people and tools write them; what is none is told in one line with its place."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from gateway.ci.corpus import CorpusError, read_corpora, split_url

if TYPE_CHECKING:
    from pathlib import Path

HTTP = """\
@host = http://localhost:9
@name = Ada

### First
# @name one
GET {{host}}/users?page=2
    &role=admin
Accept: application/json
# a remark between headers
X-Two: a
X-Two: b

###
// @no-cookie-jar
POST http://shop.example/login HTTP/1.1
Content-Type: application/x-www-form-urlencoded

user={{name}}&
password=x y

> {%
  client.test("ignored")
%}

### A target that an answer gave
{{one.response.headers.Location}}

### Multipart
POST /files
Content-Type: multipart/form-data; boundary=b

--b
Content-Disposition: form-data; name="f"

< ./data.bin
--b--
"""


def test_an_http_file_is_one_scenario_in_order(tmp_path: Path) -> None:
    (tmp_path / "data.bin").write_bytes(b"\x00\xff")
    (tmp_path / "a.http").write_text(HTTP)

    corpus = read_corpora([tmp_path / "a.http"])

    (scenario,) = corpus.scenarios
    first, second, third, fourth = scenario.requests
    assert scenario.variables == (("host", "http://localhost:9"), ("name", "Ada"))
    assert (first.method, first.target, first.name) == ("GET", "/users?page=2&role=admin", "one")
    assert first.headers == (("Accept", "application/json"), ("X-Two", "a"), ("X-Two", "b"))
    assert first.source.endswith("a.http:6")
    assert (second.method, second.target, second.header("host")) == ("POST", "/login", "shop.example")
    assert second.body == b"user={{name}}&password=x y"
    assert not second.has_jar
    assert third.target == "{{one.response.headers.Location}}"
    assert fourth.body == b'--b\r\nContent-Disposition: form-data; name="f"\r\n\r\n\x00\xff\r\n--b--\r\n'
    assert any("script is left out" in note for note in corpus.notes)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("GET /a\nno header here\n", "a.http:2: 'no header here' is no header"),
        ("GET users\n", "a.http:1"),
        ("### \n# @name two words\nGET /\n", "is no name"),
        ("# @name a\nGET /\n###\n# @name a\nGET /\n", "two requests are called 'a'"),
        ("POST /\n\n< ./missing\n", "No such file"),
    ],
    ids=["no header", "no path", "no name", "one name twice", "no file"],
)
def test_what_is_no_request_is_told_with_its_line(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "a.http").write_text(text)

    with pytest.raises(CorpusError, match=r".") as caught:
        read_corpora([tmp_path / "a.http"])

    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_json_lines_are_grouped_by_scenario(tmp_path: Path) -> None:
    lines: list[dict[str, Any]] = [
        {"target": "/a", "scenario": "x"},
        {"method": "post", "path": "/b", "json": {"é": 1}, "scenario": "y"},
        {"url": "http://h/c", "form": {"a": "1 2"}, "scenario": "x"},
        {"target": "/d", "base64": "AP8=", "headers": [["A", "1"], ["A", "2"]], "scenario": "y"},
    ]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, lines)))

    first, second = read_corpora([tmp_path]).scenarios

    assert [request.target for request in first.requests] == ["/a", "/c"]
    assert first.requests[1].body == b"a=1+2"
    assert second.requests[0].body == '{"é": 1}'.encode()
    assert second.requests[1].headers == (("A", "1"), ("A", "2"))
    assert second.requests[1].body == b"\x00\xff"


def test_a_wrong_json_line_is_told_with_its_number(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"target": "/a"}\n{"target": "/b", "bdy": "x"}\n')

    with pytest.raises(CorpusError, match=r"a\.jsonl:2: bdy"):
        read_corpora([tmp_path])


def entry(url: str, page: str = "", **more: Any) -> dict[str, Any]:
    """Return a HAR entry."""
    request = {"method": "GET", "url": url, "headers": [{"name": ":authority", "value": "x"}]}
    response = {"status": 200, "headers": [], "content": {"text": ""}}
    return {"pageref": page, "request": request | more, "response": response | more.pop("response", {})}


def har(path: Path, *entries: dict[str, Any]) -> Path:
    """Write a HAR file."""
    path.write_text(json.dumps({"log": {"version": "1.2", "entries": list(entries)}}))
    return path


def test_a_recording_is_a_scenario_a_page_and_leaves_other_hosts_out(tmp_path: Path) -> None:
    path = har(
        tmp_path / "a.har",
        entry("http://shop/a", "p1"),
        entry("http://cdn/x.js", "p1"),
        entry("http://shop/b?x=1", "p2", method="POST", postData={"params": [{"name": "a", "value": "ü"}]}),
        entry("http://shop/c", "p2"),
    )

    corpus = read_corpora([path])

    assert [[each.target for each in scenario.requests] for scenario in corpus.scenarios] == [
        ["/a"],
        ["/b?x=1", "/c"],
    ]
    assert corpus.scenarios[1].requests[0].body == b"a=%C3%BC"
    assert corpus.scenarios[0].requests[0].headers == (("Host", "shop"),)
    assert any("1 requests are left out" in note for note in corpus.notes)


def test_pages_of_one_session_belong_together(tmp_path: Path) -> None:
    first = entry("http://shop/login", "p1")
    first["response"]["headers"] = [{"name": "Set-Cookie", "value": "sid=abc; Path=/"}]
    second = entry("http://shop/me", "p2", headers=[{"name": "Cookie", "value": "sid=abc"}])

    (scenario,) = read_corpora([har(tmp_path / "a.har", first, second)]).scenarios

    assert [each.target for each in scenario.requests] == ["/login", "/me"]


@pytest.mark.parametrize("kept", [0.3, 0.7, 0.99])
def test_a_recording_that_is_cut_off_is_told_in_one_line(tmp_path: Path, kept: float) -> None:
    text = har(tmp_path / "a.har", *(entry(f"http://shop/{number}") for number in range(50))).read_text()
    (tmp_path / "a.har").write_text(text[: int(len(text) * kept)])

    with pytest.raises(CorpusError, match=r"is cut off") as caught:
        read_corpora([tmp_path / "a.har"])

    assert "\n" not in str(caught.value)


def test_an_access_log_gives_each_readable_path_once(tmp_path: Path) -> None:
    (tmp_path / "a.log").write_text(
        '1.2.3.4 - - [10/Oct/2026:13:55:36 +0000] "GET /a?b=1 HTTP/1.1" 200 5\n'
        '1.2.3.4 - - [10/Oct/2026:13:55:37 +0000] "GET /a?b=1 HTTP/1.1" 200 5\n'
        '1.2.3.4 - - [10/Oct/2026:13:55:38 +0000] "POST /a HTTP/1.1" 201 5 "-" "curl"\n'
        "started\n"
    )

    corpus = read_corpora([tmp_path / "a.log"])

    assert [each.target for each in corpus.scenarios[0].requests] == ["/a?b=1"]
    assert len(corpus.notes) == 2


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/a?b#c", ("", "/a?b")),
        ("https://u:p@h:8/a/../b", ("h:8", "/a/../b")),
        ("http://h?x=/1", ("h", "/?x=/1")),
        ("{{base}}/a", ("", "/a")),
        ("{{one.response.body.$.url}}", ("", "{{one.response.body.$.url}}")),
    ],
)
def test_a_target_keeps_its_spelling(text: str, expected: tuple[str, str]) -> None:
    assert split_url(text, "here") == expected
