"""The app is told what gunicorn would have told it, from the bytes that came."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO, cast
from urllib.parse import quote

import httpx
import pytest
from flask import Flask
from flask.logging import wsgi_errors_stream
from hypothesis import given
from hypothesis import strategies as st

from gateway.backends.bridge import WsgiBridge
from gateway.backends.environ import EnvironBuilder, split_path
from gateway.backends.wsgi_errors import ErrorLog
from tests.backends.conformance import Environ, ask, both, call_of, reference_fails
from tests.backends.wsgi_lab import app as lab
from tests.running import free_port, running, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

StartResponse = Any


def environ_of(**overrides: Any) -> Environ:
    """Return the environ that the bridge builds of one scope."""
    root_path = overrides.pop("mounted_at", "")
    call = call_of(**overrides)
    return EnvironBuilder(root_path=root_path, constants={}).build(call.scope)


@pytest.mark.parametrize(
    ("root_path", "path", "script_name", "path_info"),
    [
        pytest.param("", "/a", "", "/a", id="no root"),
        pytest.param("/sub", "/sub/a", "/sub", "/a", id="below"),
        pytest.param("/sub", "/sub", "/sub", "", id="the root itself"),
        pytest.param("/sub", "/sub/", "/sub", "/", id="the root and a slash"),
        pytest.param("/sub", "/submarine", "/sub", "/submarine", id="no border"),
        pytest.param("/sub", "/a", "/sub", "/a", id="taken off by a proxy"),
        pytest.param("/caf\xe9", "/caf\xc3\xa9/a", "/caf\xc3\xa9", "/a", id="not ascii"),
    ],
)
def test_the_root_path_is_taken_off_at_a_segment_border(
    root_path: str, path: str, script_name: str, path_info: str
) -> None:
    if root_path:
        assert split_path(root_path, path) == (script_name, path_info)
    environ = environ_of(path=path, raw_path=path.encode("latin-1"), mounted_at=root_path)
    assert (environ["SCRIPT_NAME"], environ["PATH_INFO"]) == (script_name, path_info)


def test_the_servers_root_path_stands_before_the_backends() -> None:
    environ = environ_of(path="/gw/sub/a", root_path="/gw", mounted_at="/sub")
    assert (environ["SCRIPT_NAME"], environ["PATH_INFO"]) == ("/gw/sub", "/a")


@reference_fails("SCRIPT_NAME in the process environment overrides the root path")
def test_the_process_environment_plays_no_part(make_bridge: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCRIPT_NAME", "/elsewhere")
    with running(make_bridge(lab, root_path="/sub")) as url:
        environ = json.loads(ask(url, "GET /environ HTTP/1.1").body)
    assert environ["SCRIPT_NAME"] == "/sub"


@given(st.binary(max_size=40))
def test_the_path_is_the_percent_decoded_raw_path_as_latin_1(tail: bytes) -> None:
    raw = b"/" + quote(tail, safe="/").encode()
    environ = environ_of(path="/canonical", raw_path=raw)
    assert environ["PATH_INFO"].encode("latin-1") == b"/" + tail
    assert environ["RAW_URI"] == environ["REQUEST_URI"] == raw.decode()


def test_a_scope_without_a_raw_path_is_encoded_as_utf_8() -> None:
    call = call_of(path="/caf\xe9 \u20ac")
    del call.scope["raw_path"]
    environ = EnvironBuilder(root_path="", constants={}).build(call.scope)
    assert environ["PATH_INFO"].encode("latin-1").decode() == "/caf\xe9 \u20ac"
    assert environ["RAW_URI"] == "/caf%C3%A9%20%E2%82%AC"


def test_repeated_headers_are_joined_as_http_says() -> None:
    environ = environ_of(
        headers=[(b"cookie", b"a=1"), (b"accept", b"x"), (b"cookie", b"b=2"), (b"accept", b"y")]
    )
    assert environ["HTTP_COOKIE"] == "a=1; b=2"
    assert environ["HTTP_ACCEPT"] == "x,y"


def test_headers_that_could_be_mistaken_are_dropped() -> None:
    environ = environ_of(
        headers=[
            (b"x_forwarded_for", b"6.6.6.6"),
            (b"x-forwarded-for", b"1.1.1.1"),
            (b"Proxy", b"http://evil"),
            (b"proxy", b"http://evil"),
            (b"content_length", b"5"),
        ]
    )
    assert environ["HTTP_X_FORWARDED_FOR"] == "1.1.1.1"
    assert "HTTP_PROXY" not in environ
    assert "CONTENT_LENGTH" not in environ
    assert "HTTP_CONTENT_LENGTH" not in environ


def test_many_header_names_do_not_grow_the_process() -> None:
    builder = EnvironBuilder(root_path="", constants={})
    for number in range(5000):
        name = b"x-%d" % number
        assert builder.build(call_of(headers=[(name, b"1")]).scope)[f"HTTP_X_{number}"] == "1"
    assert len(builder._keys) <= 1024


def test_the_peer_the_server_and_the_scheme_come_from_the_scope() -> None:
    environ = environ_of(scheme="https", http_version="1.0", client=("2001:db8::1", 99), server=("::1", 8443))
    assert (environ["REMOTE_ADDR"], environ["REMOTE_PORT"]) == ("2001:db8::1", "99")
    assert (environ["SERVER_NAME"], environ["SERVER_PORT"]) == ("::1", "8443")
    assert (environ["wsgi.url_scheme"], environ["SERVER_PROTOCOL"]) == ("https", "HTTP/1.0")
    assert environ["SERVER_SOFTWARE"].startswith("gunicorn/"), (
        "apps look for it before they trust chunked bodies"
    )
    assert "strangler-gateway" in environ["SERVER_SOFTWARE"]


@pytest.mark.parametrize(
    ("host", "name", "port"),
    [
        pytest.param(b"example.test:81", "example.test", "81", id="host and port"),
        pytest.param(b"example.test", "example.test", "80", id="host"),
        pytest.param(b"[::1]", "[::1]", "80", id="IPv6"),
        pytest.param(b"[::1]:82", "[::1]", "82", id="IPv6 and port"),
        pytest.param(b"", "localhost", "80", id="none"),
    ],
)
def test_behind_a_unix_socket_the_server_is_the_host(host: bytes, name: str, port: str) -> None:
    environ = environ_of(headers=[(b"host", host)], server=("/run/gateway.sock", None), client=None)
    assert (environ["SERVER_NAME"], environ["SERVER_PORT"], environ["REMOTE_ADDR"]) == (name, port, "")


async def test_the_asgi_scope_is_within_reach() -> None:
    seen: list[Any] = []

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        seen.append(environ["asgi.scope"])
        start_response("200 OK", [])
        return []

    call = call_of()
    await WsgiBridge(app)(call.scope, call.receive, call.send)
    assert seen[0] is call.scope


@pytest.mark.parametrize(("threads", "is_multithread"), [(1, False), (2, True)])
async def test_the_app_is_told_whether_threads_share_it(threads: int, is_multithread: bool) -> None:
    seen: list[Environ] = []

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        seen.append(environ)
        start_response("200 OK", [])
        return []

    call = call_of()
    await WsgiBridge(app, threads=threads)(call.scope, call.receive, call.send)
    assert seen[0]["wsgi.multithread"] is is_multithread
    assert seen[0]["wsgi.multiprocess"] is False
    assert seen[0]["wsgi.run_once"] is False
    assert seen[0]["wsgi.version"] == (1, 0)


@reference_fails("wsgi.errors is stdout")
async def test_wsgi_errors_goes_to_logging(make_bridge: Any, caplog: pytest.LogCaptureFixture) -> None:
    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        errors = environ["wsgi.errors"]
        errors.write("one line\nhalf ")
        errors.writelines(["a line\n", "unfinished"])
        errors.flush()
        print("printed", file=errors)
        start_response("200 OK", [])
        return []

    call = call_of()
    await make_bridge(app)(call.scope, call.receive, call.send)
    lines = [(record.name, record.levelno, record.getMessage()) for record in caplog.records]
    assert lines == [
        ("gateway.legacy", logging.ERROR, line)
        for line in ("one line", "half a line", "unfinished", "printed")
    ]


def test_lines_of_two_threads_do_not_mix(caplog: pytest.LogCaptureFixture) -> None:
    errors = ErrorLog(logging.getLogger("gateway.legacy"))
    errors.write("here ")
    other = threading.Thread(target=lambda: errors.write("there\n"))
    other.start()
    other.join()
    errors.write("still\n")
    assert [record.getMessage() for record in caplog.records] == ["there", "here still"]


async def test_flasks_documented_logging_set_up_does_not_loop(capsys: pytest.CaptureFixture[str]) -> None:
    app = Flask(__name__)
    handler = logging.StreamHandler(cast("TextIO", wsgi_errors_stream))

    @app.get("/")
    def view() -> str:
        logging.getLogger("shop").error("out of stock")
        return "ok"

    logging.getLogger().addHandler(handler)
    try:
        call = call_of()
        await WsgiBridge(app)(call.scope, call.receive, call.send)
    finally:
        logging.getLogger().removeHandler(handler)
    assert call.body == b"ok"
    assert capsys.readouterr().err.count("out of stock") == 1


@contextlib.contextmanager
def gunicorn(target: str) -> Iterator[str]:
    """Serve a WSGI app under a real gunicorn with threads."""
    port = free_port()
    command = [sys.executable, "-m", "gunicorn", "--worker-class", "gthread", "--threads", "4"]
    command += ["--bind", f"127.0.0.1:{port}", "--log-level", "critical", "--no-control-socket", target]
    process = subprocess.Popen(command, cwd=Path(__file__).parents[2], env={**os.environ, "SCRIPT_NAME": ""})
    url = f"http://127.0.0.1:{port}"

    def answers() -> bool:
        with contextlib.suppress(httpx.TransportError):
            return httpx.get(url + "/environ").status_code == 200
        return False

    try:
        wait_until(answers, timeout_s=20, what="gunicorn's start")
        yield url
    finally:
        process.terminate()
        process.wait(10)


@pytest.fixture(scope="module")
def servers() -> Iterator[tuple[str, str]]:
    """Yield the URLs of the same app under gunicorn and through the bridge."""
    with (
        gunicorn("tests.backends.wsgi_lab:app") as oracle,
        running(WsgiBridge(lab), proxy_headers=False) as bridged,
    ):
        yield oracle, bridged


ODD_TARGETS = [
    "/environ",
    "/environ?",
    "/environ?a=1&b=%20+%C3%A9&a=2",
    "/environ/a%2Fb",
    "/environ/a%2fb/..%2F",
    "/environ/%FF%FE",
    "/environ/caf%C3%A9",
    "/environ/100%25",
    "/environ/%",
    "/environ/%zz",
    "/environ/a+b%20c",
    "/environ/a//b/../c/./d",
    "//environ//x",
    "/environ/;p=1/a;q",
    "/environ/a:b@c",
    "/environ/%00",
    "/environ/%0A%0D",
    "/environ/~%7E!$&'()*,=",
    "/environ/a?b?c=d/e",
    "/environ/[x]|\\^",
]


def told(url: str, head: str, body: bytes = b"") -> dict[str, Any]:
    answer = ask(url, head, body)
    assert answer.status == 200, answer
    environ: dict[str, Any] = json.loads(answer.body)
    # What must differ: the two ports, the software, and REQUEST_URI, which gunicorn leaves out.
    for key in ("REMOTE_PORT", "SERVER_PORT", "SERVER_SOFTWARE", "REQUEST_URI"):
        environ.pop(key, None)
    return {key: value for key, value in environ.items() if not key.startswith(("gunicorn.", "asgi."))}


@pytest.mark.parametrize("target", ODD_TARGETS)
def test_odd_paths_reach_the_app_as_under_gunicorn(servers: tuple[str, str], target: str) -> None:
    oracle, bridged = (told(url, f"GET {target} HTTP/1.1") for url in servers)
    if target.endswith("?"):
        # The server's parser does not say whether an empty query had its question mark.
        oracle["RAW_URI"] = oracle["RAW_URI"].removesuffix("?")
    assert bridged == oracle


ODD_REQUESTS = {
    "headers": "GET /environ HTTP/1.1\nX-A: 1\nx-a: 2\nX-Empty:\nAccept: a, b\nX-Padded:   x  ",
    "latin-1": "GET /environ HTTP/1.1\nX-Name: caf\xe9",
    "content type without a body": "GET /environ HTTP/1.1\nContent-Type: a/b; c=d",
    "old protocol": "GET /environ HTTP/1.0",
    "host of another spelling": "GET /environ HTTP/1.1\nhOsT-Like: x",
    "odd method": "PURGE /environ HTTP/1.1",
    "options": "OPTIONS /environ HTTP/1.1",
    "forwarded": "GET /environ HTTP/1.1\nX-Forwarded-For: 1.2.3.4\nX-Forwarded-Host: h",
    "cookie": 'GET /environ HTTP/1.1\nCookie: a=1; b="2"; c=\xe9',
}


@pytest.mark.parametrize("head", ODD_REQUESTS.values(), ids=ODD_REQUESTS)
def test_odd_requests_reach_the_app_as_under_gunicorn(servers: tuple[str, str], head: str) -> None:
    oracle, bridged = (told(url, head) for url in servers)
    assert bridged == oracle


BODIES = {
    "length": ("Content-Length: 5", b"hello"),
    "no bytes": ("Content-Length: 0", b""),
    "chunked": ("Transfer-Encoding: chunked", b"5\r\nhello\r\n1\r\n!\r\n0\r\n\r\n"),
    "form": ("Content-Type: application/x-www-form-urlencoded\nContent-Length: 7", b"a=1&a=2"),
}


@pytest.mark.parametrize("case", BODIES)
@pytest.mark.parametrize("path", ["/environ", "/echo", "/form"])
def test_bodies_reach_the_app_as_under_gunicorn(servers: tuple[str, str], case: str, path: str) -> None:
    headers, body = BODIES[case]
    oracle, bridged = (ask(url, f"POST {path} HTTP/1.1\n{headers}", body) for url in servers)
    if path == "/environ":
        oracle_told, bridged_told = (told(url, f"POST {path} HTTP/1.1\n{headers}", body) for url in servers)
        assert bridged_told == oracle_told
    else:
        assert (bridged.status, bridged.body) == (oracle.status, oracle.body)


ANSWERS = [
    "GET /answer/plain",
    "HEAD /answer/plain",
    "GET /answer/latin-1",
    "GET /answer/cookies",
    "GET /answer/204",
    "GET /answer/304",
    "GET /answer/redirect",
    "GET /answer/stream",
    "HEAD /answer/stream",
    "GET /answer/error",
    "GET /answer/abort",
    "GET /answer/file",
    "GET /missing",
    "POST /answer/plain",
    "OPTIONS /answer/plain",
]


@pytest.mark.parametrize("line", ANSWERS)
def test_answers_reach_the_client_as_under_gunicorn(servers: tuple[str, str], line: str) -> None:
    oracle, bridged = (ask(url, f"{line} HTTP/1.1") for url in servers)
    # Date and Server are the server's own; gunicorn says Connection in every answer.
    for answer in (oracle, bridged):
        for name in ("date", "server", "connection"):
            answer.headers.pop(name, None)
        # Flask lists the methods of a set, in no order.
        answer.headers["allow"] = sorted(answer.headers.get("allow", [""])[0].split(", "))
    assert (bridged.status, bridged.headers, bridged.body) == (oracle.status, oracle.headers, oracle.body)


@both
def test_flask_sees_url_parts_alike_through_both_bridges(make_bridge: Any) -> None:
    with running(make_bridge(lab, root_path="/api")) as url:
        answer = ask(url, "GET /parts/a%20b?x=1 HTTP/1.1")
    assert json.loads(answer.body) == {
        "url": "http://example.test:8080/api/parts/a%20b?x=1",
        "root": "/api",
        "path": "/parts/a b",
    }
