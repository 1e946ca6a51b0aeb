"""Answers leave as the app made them: short ones in one step, streams chunk by chunk, torn ones torn."""

from __future__ import annotations

import asyncio
import io
import logging
import threading
from typing import TYPE_CHECKING, Any
from wsgiref.validate import validator

import httpx
import pytest
from flask import Flask, Response, send_file, stream_with_context

from gateway.backends.bridge import WsgiBridge
from gateway.backends.turnstile import Turnstile
from gateway.errors import BackendMalformed, BackendTorn
from tests.backends.conformance import (
    Environ,
    ask,
    both,
    call_of,
    connect,
    eventually,
    plain,
    read_until,
    reference_fails,
)
from tests.running import running, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

GET = "GET / HTTP/1.1"
StartResponse = Any


class Closing:
    """Be an iterable that notes on which thread it was iterated and closed."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self.chunks = iter(chunks)
        self.iterated_on: set[int] = set()
        self.closed_on: list[int] = []

    def __iter__(self) -> Iterator[bytes]:
        for chunk in self.chunks:
            self.iterated_on.add(threading.get_ident())
            yield chunk

    def close(self) -> None:
        self.closed_on.append(threading.get_ident())


@both
def test_status_headers_and_body_arrive_as_they_are(make_bridge: Any) -> None:
    headers = [("X-A", "1"), ("Set-Cookie", "a=1"), ("Set-Cookie", "b=2"), ("X-Name", "caf\xe9")]
    with running(make_bridge(plain(b"tea", "418 I'm a teapot", headers))) as url:
        answer = ask(url, GET)
    assert answer.status == 418
    assert answer.body == b"tea"
    assert answer.headers["set-cookie"] == ["a=1", "b=2"]
    assert answer.headers["x-name"] == ["caf\xe9"]
    assert answer.is_whole


async def test_a_short_answer_crosses_to_the_loop_once(monkeypatch: pytest.MonkeyPatch) -> None:
    posts: list[int] = []
    post = Turnstile.post

    def counted(self: Turnstile, exchange: Any) -> None:
        posts.append(len(exchange.messages))
        post(self, exchange)

    monkeypatch.setattr(Turnstile, "post", counted)
    app = Flask(__name__)

    @app.get("/")
    def hello() -> str:
        return "hello"

    call = call_of()
    await WsgiBridge(app)(call.scope, call.receive, call.send)
    assert posts == [2], "start and body together, and no more news"
    assert call.body == b"hello"
    assert [message["type"] for message in call.sent] == ["http.response.start", "http.response.body"]


@pytest.mark.parametrize(
    "parts",
    [
        pytest.param([], id="nothing"),
        pytest.param([b""], id="empty"),
        pytest.param([b"", b"ab", b"", b"c"], id="gaps"),
        pytest.param((b"ab", b"c"), id="tuple"),
        pytest.param([b"x" * 200_000, b"y" * 200_000], id="large"),
    ],
)
@both
def test_a_list_of_chunks_arrives_whole(make_bridge: Any, parts: Any) -> None:
    with running(make_bridge(plain(parts))) as url:
        answer = ask(url, GET)
    assert answer.body == b"".join(parts)
    assert answer.is_whole


@both
def test_each_chunk_of_a_stream_leaves_before_the_next_is_made(make_bridge: Any) -> None:
    may_go_on = threading.Semaphore(0)

    def chunks() -> Iterator[bytes]:
        for number in range(3):
            yield b"chunk%d" % number
            assert may_go_on.acquire(timeout=10)

    with running(make_bridge(plain(chunks()))) as url, connect(url) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        for number in range(3):
            read_until(client, b"chunk%d" % number)
            may_go_on.release()
        read_until(client, b"0\r\n\r\n")


async def test_a_stream_is_made_no_faster_than_the_client_takes_it() -> None:
    made: list[int] = []

    def chunks() -> Iterator[bytes]:
        for number in range(100):
            made.append(number)
            yield b"x" * 65536

    call = call_of()
    call.gate.clear()
    bridge = WsgiBridge(plain(chunks()))
    task = asyncio.ensure_future(bridge(call.scope, call.receive, call.send))
    await eventually(lambda: made, "the first chunk")
    for _ in range(50):
        await asyncio.sleep(0.001)
    assert len(made) == 1
    call.gate.set()
    await task
    assert len(call.body) == 100 * 65536


@pytest.mark.parametrize("kind", ["list", "generator", "error", "error midway"])
async def test_close_runs_once_on_the_thread_of_the_view(kind: str) -> None:
    def failing() -> Iterator[bytes]:
        if kind == "error midway":
            yield b"a"
        raise RuntimeError("on purpose")

    chunks: Any = {"list": [b"a", b"b"], "generator": (c for c in [b"a", b"b"])}.get(kind) or failing()
    body = Closing(chunks)
    view_on: list[int] = []

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        view_on.append(threading.get_ident())
        start_response("200 OK", [])
        return body

    call = call_of()
    try:
        await WsgiBridge(app)(call.scope, call.receive, call.send)
    except BackendTorn:
        assert kind == "error midway"
    await eventually(lambda: body.closed_on, "close()")
    assert body.closed_on == view_on
    assert body.iterated_on <= set(view_on)
    assert view_on != [threading.get_ident()]


def test_a_client_has_its_answer_before_close_has_run() -> None:
    may_close = threading.Event()

    class Slow(list[bytes]):
        def close(self) -> None:
            assert may_close.wait(10)

    with running(WsgiBridge(plain(Slow([b"early"]), headers=[("Content-Length", "5")]))) as url:
        with connect(url) as client:
            client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            read_until(client, b"early")
        may_close.set()


@reference_fails("a client of HTTP/1.0 gets chunks, which it does not know")
def test_a_client_of_http_1_0_is_told_the_length(make_bridge: Any) -> None:
    with running(make_bridge(plain(b"twelve bytes"))) as url:
        answer = ask(url, "GET / HTTP/1.0")
    assert "transfer-encoding" not in answer.headers
    assert answer.body == b"twelve bytes"


@both
def test_write_and_the_iterable_follow_each_other(make_bridge: Any) -> None:
    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        write = start_response("200 OK", [])
        write(b"written ")
        write(b"twice ")
        return [b"and returned"]

    with running(make_bridge(app)) as url:
        assert ask(url, GET).body == b"written twice and returned"


def test_what_write_was_given_leaves_at_once() -> None:
    may_return = threading.Event()

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", [])(b"first")
        assert may_return.wait(10)
        return [b"second"]

    with running(WsgiBridge(app)) as url, connect(url) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        read_until(client, b"first")
        may_return.set()
        read_until(client, b"second")


@reference_fails("it offers no wsgi.file_wrapper")
def test_a_file_wrapper_sends_the_file_and_closes_it(make_bridge: Any, tmp_path: Path) -> None:
    path = tmp_path / "big"
    path.write_bytes(b"0123456789abcdef" * 60_000)
    opened: list[Any] = []

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        opened.append(path.open("rb"))
        start_response("200 OK", [])
        wrapped: Iterable[bytes] = environ["wsgi.file_wrapper"](opened[0], 512)
        return wrapped

    with running(make_bridge(app)) as url:
        try:
            assert ask(url, GET).body == path.read_bytes()
            wait_until(lambda: opened[0].closed, what="the file's close")
        finally:
            for file in opened:
                file.close()


@both
def test_flask_sends_files_ranges_and_streams(make_bridge: Any, tmp_path: Path) -> None:
    path = tmp_path / "file.bin"
    path.write_bytes(bytes(range(256)) * 2000)
    app = Flask(__name__)

    @app.get("/file")
    def file() -> Response:
        return send_file(path)

    @app.get("/memory")
    def memory() -> Response:
        return send_file(io.BytesIO(b"in memory"), mimetype="text/plain")

    @app.get("/stream")
    def stream() -> Response:
        return Response(stream_with_context(f"{number}\n" for number in range(5000)))

    with running(make_bridge(app)) as url:
        assert httpx.get(url + "/file").content == path.read_bytes()
        part = httpx.get(url + "/file", headers={"Range": "bytes=10-19"})
        assert (part.status_code, part.content) == (206, path.read_bytes()[10:20])
        assert httpx.get(url + "/memory").text == "in memory"
        assert httpx.get(url + "/stream").text == "".join(f"{number}\n" for number in range(5000))


@pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified"])
@reference_fails("the body goes to the server, which then tears the connection")
def test_204_and_304_carry_no_body(make_bridge: Any, status: str) -> None:
    with running(make_bridge(plain(b"must not leave", status, [("Content-Length", "14")]))) as url:
        answer = ask(url, GET)
        assert answer.raw.endswith(b"\r\n\r\n")
        assert answer.status == int(status[:3])
        assert "content-length" not in answer.headers


@both
def test_head_carries_the_length_and_no_body(make_bridge: Any) -> None:
    with running(make_bridge(plain(b"twelve bytes", headers=[("Content-Length", "12")]))) as url:
        answer = ask(url, "HEAD / HTTP/1.1")
    assert answer.headers["content-length"] == ["12"]
    assert answer.raw.endswith(b"\r\n\r\n")


@both
def test_a_stream_that_fails_midway_is_cut_never_ended_as_if_whole(make_bridge: Any) -> None:
    def chunks() -> Iterator[bytes]:
        yield b"half"
        raise RuntimeError("on purpose")

    with running(make_bridge(plain(chunks())), log_level="critical") as url:
        answer = ask(url, GET)
    assert answer.status == 200
    assert answer.body == b"half"
    assert not answer.is_whole


def late_failure(environ: Environ, start_response: StartResponse) -> Iterator[bytes]:
    """Fail after start_response and before the first byte."""
    start_response("200 OK", [("X-Half", "made")])
    yield b""
    raise RuntimeError("on purpose")


@reference_fails("the 200 has left when the error comes")
def test_an_error_before_the_first_byte_is_a_500(make_bridge: Any) -> None:
    with running(make_bridge(late_failure), log_level="critical") as url:
        answer = ask(url, GET)
    assert answer.status == 500
    assert "x-half" not in answer.headers
    assert answer.is_whole


@reference_fails("the server finds out, after the head, that the body does not fit")
def test_a_body_longer_than_its_content_length_is_cut(
    make_bridge: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with running(make_bridge(plain(b"123456", headers=[("Content-Length", "4")]))) as url:
        answer = ask(url, GET)
    assert answer.body == b"1234"
    assert answer.is_whole


@both
def test_a_body_shorter_than_its_content_length_closes_the_connection(make_bridge: Any) -> None:
    with (
        running(make_bridge(plain(b"123", headers=[("Content-Length", "10")])), log_level="critical") as url,
        connect(url) as client,
    ):
        client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        data = read_until(client, b"\r\n\r\n")
        while piece := client.recv(100):
            data += piece
    assert data.endswith(b"\r\n\r\n123")


def test_an_endless_generator_behind_a_content_length_ends_after_one_chunk_more() -> None:
    made: list[int] = []

    def chunks() -> Iterator[bytes]:
        while True:
            made.append(1)
            yield b"abc"

    with running(WsgiBridge(plain(chunks(), headers=[("Content-Length", "3")]))) as url:
        assert ask(url, GET).body == b"abc"
    assert len(made) == 2


def statuses(*calls: tuple[str, bool]) -> Any:
    """Return an app that calls start_response so often, with exc_info where the flag says so."""

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        for status, has_exc_info in calls:
            try:
                raise RuntimeError("on purpose")
            except RuntimeError as error:
                info = (type(error), error, error.__traceback__) if has_exc_info else None
            if info:
                start_response(status, [("X-Status", status)], info)
            else:
                start_response(status, [("X-Status", status)])
        return [b"body"]

    return app


@reference_fails("a second start_response is ignored")
def test_start_response_twice_without_exc_info_is_an_error(make_bridge: Any) -> None:
    with running(
        make_bridge(statuses(("200 OK", False), ("201 Created", False))), log_level="critical"
    ) as url:
        assert ask(url, GET).status == 500


@reference_fails("the first head has left already, and exc_info is raised at the end")
def test_start_response_with_exc_info_replaces_the_head_before_the_first_byte(make_bridge: Any) -> None:
    with running(make_bridge(statuses(("200 OK", False), ("503 Sorry", True))), log_level="critical") as url:
        answer = ask(url, GET)
    assert (answer.status, answer.headers["x-status"], answer.body) == (503, ["503 Sorry"], b"body")


async def test_start_response_with_exc_info_after_the_first_byte_raises_it_in_the_app() -> None:
    raised: list[BaseException] = []

    def app(environ: Environ, start_response: StartResponse) -> Iterator[bytes]:
        start_response("200 OK", [])
        yield b"begun"
        try:
            raise ValueError("mine")
        except ValueError as error:
            try:
                start_response("500 Oh", [], (type(error), error, error.__traceback__))
            except ValueError as again:
                raised.append(again)
                raise

    call = call_of()
    with pytest.raises(BackendTorn) as caught:
        await WsgiBridge(app)(call.scope, call.receive, call.send)
    assert str(raised[0]) == "mine"
    assert caught.value.__cause__ is raised[0]
    assert not call.is_complete


@both
def test_start_response_may_come_with_the_first_chunk(make_bridge: Any) -> None:
    def app(environ: Environ, start_response: StartResponse) -> Iterator[bytes]:
        start_response("202 Accepted", [])
        yield b"late"

    with running(make_bridge(app)) as url:
        answer = ask(url, GET)
    assert (answer.status, answer.body) == (202, b"late")


def returns_text(environ: Environ, start_response: StartResponse) -> Any:
    start_response("200 OK", [])
    return ["text"]


def never_starts(environ: Environ, start_response: StartResponse) -> Any:
    return [b"body"]


def never_starts_nor_yields(environ: Environ, start_response: StartResponse) -> Any:
    return []


def returns_none(environ: Environ, start_response: StartResponse) -> Any:
    start_response("200 OK", [])


UNSENDABLE = {
    "text instead of bytes": returns_text,
    "a body and no head": never_starts,
    "nothing at all": never_starts_nor_yields,
    "None": returns_none,
    "name of bytes": plain(headers=[(b"X-Bytes", "a")]),
    "value of bytes": plain(headers=[("X-Bytes", b"a")]),
}
MALFORMED = {
    "status without a number": plain(status="abc"),
    "status of two digits": plain(status="20 Short"),
    "status with a line end": plain(status="200 Split\r\nX-Evil: 1"),
    "status beyond HTTP": plain(status="999 Beyond"),
    "value with CRLF": plain(headers=[("X-Evil", "a\r\nSet-Cookie: b=1")]),
    "value with LF": plain(headers=[("X-Evil", "a\nb")]),
    "value with NUL": plain(headers=[("X-Nul", "a\0b")]),
    "value outside latin-1": plain(headers=[("X-Name", "\u20ac")]),
    "name with a space": plain(headers=[("X Evil", "a")]),
    "name with a colon": plain(headers=[("X-Evil:", "a")]),
    "empty name": plain(headers=[("", "a")]),
    "length that is no number": plain(headers=[("Content-Length", "ten")]),
    "two lengths": plain(headers=[("Content-Length", "1"), ("Content-Length", "2")]),
}


@pytest.mark.parametrize("app", UNSENDABLE.values(), ids=UNSENDABLE)
async def test_what_an_app_may_not_send_becomes_a_500(app: Any, caplog: pytest.LogCaptureFixture) -> None:
    call = call_of()
    await WsgiBridge(app)(call.scope, call.receive, call.send)
    assert call.status == 500
    assert call.is_complete
    assert isinstance(call.scope["gateway.exception"], Exception)
    assert len(caplog.records) == 1


@pytest.mark.parametrize("app", MALFORMED.values(), ids=MALFORMED)
async def test_a_head_that_would_break_the_message_apart_is_the_gateways_502(
    app: Any, caplog: pytest.LogCaptureFixture
) -> None:
    call = call_of()
    with pytest.raises(BackendMalformed) as failed:
        await WsgiBridge(app)(call.scope, call.receive, call.send)
    assert failed.value.status == 502
    assert call.sent == []
    assert isinstance(call.scope["gateway.exception"], Exception)
    assert len(caplog.records) == 1


async def test_hop_by_hop_headers_of_the_app_stop_here() -> None:
    hops = ["Connection", "Keep-Alive", "TE", "Trailer", "Transfer-Encoding", "UPGRADE", "Date", "Server"]
    call = call_of()
    app = plain(headers=[(name, "close") for name in hops] + [("X-End", "to end")])
    await WsgiBridge(app)(call.scope, call.receive, call.send)
    assert call.sent[0]["headers"] == [(b"content-type", b"text/plain"), (b"x-end", b"to end")]


def failing_with(error: BaseException) -> Any:
    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        raise error

    return app


@pytest.mark.parametrize("error", [ValueError("v"), SystemExit(3), KeyboardInterrupt(), GeneratorExit()])
async def test_whatever_escapes_the_app_is_a_500_logged_once_and_seen(
    error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    call = call_of(path="/failing")
    bridge = WsgiBridge(failing_with(error), threads=1)
    await bridge(call.scope, call.receive, call.send)
    assert call.status == 500
    assert b"<h1><p>Internal Server Error</p></h1>" in call.body
    assert call.scope["gateway.exception"] is error
    assert [(record.name, record.levelno) for record in caplog.records] == [("gateway.legacy", logging.ERROR)]
    assert "GET /failing" in caplog.text
    assert caplog.records[0].exc_info is not None

    bridge.app = plain()
    again = call_of()
    await bridge(again.scope, again.receive, again.send)
    assert again.status == 200, "the one thread serves on"


@pytest.mark.parametrize("kind", ["list", "sized generator", "generator"])
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
@pytest.mark.filterwarnings("ignore::wsgiref.validate.WSGIWarning")
def test_the_validator_of_the_standard_library_stays_silent(kind: str, method: str) -> None:
    chunks = [b"gen", b"", b"erator"]
    app = {
        "list": plain(chunks),
        "sized generator": plain((c for c in chunks), headers=[("Content-Length", "9")]),
        "generator": plain(c for c in chunks),
    }[kind]

    def reading(environ: Environ, start_response: StartResponse) -> Any:
        environ["wsgi.input"].read(3)
        environ["wsgi.input"].readline()
        environ["wsgi.errors"].write("")
        return app(environ, start_response)

    bridge = WsgiBridge(validator(reading))
    with running(bridge) as url:
        answer = ask(url, f"{method} /a%20b?c=d HTTP/1.1\nContent-Length: 6\nContent-Type: a/b", b"123456")
    assert answer.status == 200, answer
