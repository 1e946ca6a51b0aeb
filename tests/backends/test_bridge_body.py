"""Request bodies reach the app whole, in order, with bounded memory, or raise where they break off."""

from __future__ import annotations

import asyncio
import hashlib
import io
import threading
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from flask import Flask, request
from hypothesis import given
from hypothesis import strategies as st
from werkzeug.exceptions import ClientDisconnected

from gateway.backends.bridge import WsgiBridge
from gateway.backends.request_body import HIGH_WATER_BYTES, BodyStream
from tests.backends.conformance import (
    Environ,
    ask,
    both,
    call_of,
    connect,
    eventually,
    parse,
    read_all,
    read_until,
    reference_fails,
    wire,
)
from tests.running import running, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator


def digest(environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Answer with the size and the hash of the body, read in blocks."""
    total, hashed = 0, hashlib.sha256()
    while block := environ["wsgi.input"].read(70_001):
        total += len(block)
        hashed.update(block)
    start_response("200 OK", [])
    return [f"{total} {hashed.hexdigest()}".encode()]


def expected(body: bytes) -> str:
    return f"{len(body)} {hashlib.sha256(body).hexdigest()}"


SIZES = [
    pytest.param(0, id="empty"),
    pytest.param(5, id="tiny"),
    pytest.param(1024, id="1KiB"),
    pytest.param(10 << 20, id="10MiB"),
]


@pytest.mark.parametrize("size", SIZES)
@both
def test_a_body_with_content_length_arrives_whole(make_bridge: Any, size: int) -> None:
    body = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    with running(make_bridge(digest)) as url:
        assert httpx.post(url, content=body, timeout=30).text == expected(body)


@pytest.mark.parametrize("size", SIZES)
@both
def test_a_chunked_body_arrives_whole(make_bridge: Any, size: int) -> None:
    body = bytes(range(256)) * (size // 256) + b"x" * (size % 256)

    def chunks() -> Iterator[bytes]:
        for start in range(0, len(body), 30_011):
            yield body[start : start + 30_011]

    with running(make_bridge(digest)) as url:
        assert httpx.post(url, content=chunks(), timeout=30).text == expected(body)


@reference_fails("wsgi.input_terminated is unset, so Flask takes a chunked body for empty")
def test_a_chunked_body_reaches_flask(make_bridge: Any) -> None:
    app = Flask(__name__)

    @app.post("/")
    def echo() -> bytes:
        return request.get_data()

    with running(make_bridge(app)) as url:
        assert httpx.post(url, content=iter([b"one ", b"two"])).content == b"one two"


@both
def test_a_form_and_a_file_reach_flask(make_bridge: Any) -> None:
    app = Flask(__name__)

    @app.post("/")
    def upload() -> dict[str, Any]:
        file = request.files["file"]
        return {"name": file.filename, "size": len(file.read()), "note": request.form["note"]}

    with running(make_bridge(app)) as url:
        answer = httpx.post(url, data={"note": "hi"}, files={"file": ("a.bin", b"\0" * 700_000)})
    assert answer.json() == {"name": "a.bin", "size": 700_000, "note": "hi"}


@both
def test_a_request_without_a_body_reads_as_empty_at_once(make_bridge: Any) -> None:
    with running(make_bridge(digest)) as url:
        assert httpx.get(url).text == expected(b"")
        assert httpx.delete(url).text == expected(b"")


def late_body(environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Report how the stream answers calls of every kind."""
    stream = environ["wsgi.input"]
    parts = [
        stream.read(0),
        stream.read(3),
        stream.readline(),
        stream.readline(2),
        stream.readline(100),
        *stream.readlines(1),
        next(iter(stream)),
        stream.read(),
        stream.read(),
        stream.read(10),
        stream.readline(),
        b"".join(stream.readlines()),
        b"".join(iter(stream)),
    ]
    start_response("200 OK", [])
    return [b"|".join(parts)]


@reference_fails("readline(limit) returns early")
async def test_every_way_of_reading_follows_pep_3333_while_the_body_trickles_in(make_bridge: Any) -> None:
    call = call_of("POST", headers=[(b"content-length", b"23")])
    for byte in b"abcdef\nghijkl\nmn\nop\nqrs":
        call.incoming.put_nowait({"type": "http.request", "body": bytes([byte]), "more_body": True})
    call.incoming.put_nowait({"type": "http.request", "body": b"", "more_body": False})
    await make_bridge(late_body)(call.scope, call.receive, call.send)
    assert call.body == b"|abc|def\n|gh|ijkl\n|mn\n|op\n|qrs|||||"


@given(
    body=st.binary(max_size=400).map(lambda data: data.replace(b"a", b"\n")),
    cuts=st.lists(st.integers(1, 60), max_size=20),
    calls=st.lists(
        st.tuples(st.sampled_from(["read", "readline", "readlines"]), st.integers(-1, 70)), max_size=30
    ),
)
def test_the_stream_reads_like_a_file_whatever_the_chunks(
    body: bytes, cuts: list[int], calls: list[tuple[str, int]]
) -> None:
    stream = BodyStream(lambda: None)
    rest = body
    for cut in cuts:
        stream.feed(rest[:cut])
        rest = rest[cut:]
    stream.feed(rest)
    stream.finish()
    oracle = io.BytesIO(body)
    for name, size in [*calls, ("read", -1)]:
        assert getattr(stream, name)(size) == getattr(oracle, name)(size), (name, size)
    assert list(stream) == []


def test_a_reader_that_waits_is_woken_by_each_piece_and_by_the_end() -> None:
    stream = BodyStream(lambda: None)
    seen: list[bytes] = []
    reader = threading.Thread(target=lambda: seen.extend(iter(lambda: stream.read(4), b"")), daemon=True)
    reader.start()
    for piece in (b"ab", b"", b"cdef", b"g"):
        stream.feed(piece)
    wait_until(lambda: seen == [b"abcd"], what="the first whole read")
    stream.finish()
    reader.join(5)
    assert seen == [b"abcd", b"efg"]


@reference_fails("an aborted upload is read as complete")
@pytest.mark.parametrize("framing", ["Content-Length: 100", "Transfer-Encoding: chunked"])
def test_an_aborted_upload_raises_in_the_app(make_bridge: Any, framing: str) -> None:
    outcome: list[Any] = []

    def app(environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        try:
            outcome.append(environ["wsgi.input"].read())
        except ClientDisconnected as error:
            outcome.append(error)
        start_response("200 OK", [])
        return [b"done"]

    sent = b"hello" if "Length" in framing else b"5\r\nhello\r\n"
    with running(make_bridge(app)) as url:
        with wire(url, f"POST / HTTP/1.1\r\nHost: a\r\n{framing}\r\n\r\n".encode() + sent):
            pass
        wait_until(lambda: outcome, what="the app's read")
    assert isinstance(outcome[0], ClientDisconnected)


async def test_what_came_before_the_break_can_be_read() -> None:
    parts: list[Any] = []

    def app(environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        parts.append(environ["wsgi.input"].read(3))
        try:
            environ["wsgi.input"].read(3)
        except ClientDisconnected:
            parts.append("broken")
        with pytest.raises(ClientDisconnected):
            environ["wsgi.input"].readline()
        start_response("200 OK", [])
        return [b"nobody reads this"]

    call = call_of("POST", headers=[(b"content-length", b"10")])
    call.incoming.put_nowait({"type": "http.request", "body": b"abcd", "more_body": True})
    call.leave()
    await WsgiBridge(app)(call.scope, call.receive, call.send)
    assert parts == [b"abc", "broken"]


async def test_a_body_that_nobody_reads_is_not_received_beyond_the_high_water_mark() -> None:
    is_asked = threading.Event()
    release = threading.Event()

    def app(environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        is_asked.set()
        release.wait(10)
        start_response("200 OK", [])
        return [str(len(environ["wsgi.input"].read())).encode()]

    call = call_of("POST", headers=[(b"transfer-encoding", b"chunked")])
    block = b"x" * 65536
    for _ in range(100):
        call.incoming.put_nowait({"type": "http.request", "body": block, "more_body": True})
    call.incoming.put_nowait({"type": "http.request", "body": b"end", "more_body": False})
    task = asyncio.ensure_future(WsgiBridge(app)(call.scope, call.receive, call.send))
    await eventually(is_asked.is_set, "the app's start")
    for _ in range(20):
        await asyncio.sleep(0)
    taken = 101 - call.incoming.qsize()
    assert taken <= HIGH_WATER_BYTES // len(block) + 1
    release.set()
    await task
    assert call.body == str(100 * 65536 + 3).encode()


@both
def test_an_app_may_answer_before_it_has_read_the_body(make_bridge: Any) -> None:
    def app(environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        start_response("403 Forbidden", [("Content-Length", "2")])
        return [b"no"]

    with (
        running(make_bridge(app)) as url,
        wire(url, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\nabc") as client,
    ):
        assert read_until(client, b"\r\n\r\nno").startswith(b"HTTP/1.1 403")


def test_an_unread_upload_leaves_the_connection_fit_for_the_next_request() -> None:
    def app(environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        start_response("200 OK", [("Content-Length", "1")])
        return [environ["PATH_INFO"][-1:].encode()]

    with running(WsgiBridge(app)) as url, connect(url) as client:
        client.sendall(b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 900000\r\n\r\n" + b"x" * 900_000)
        read_until(client, b"\r\n\r\na")
        client.sendall(b"GET /b HTTP/1.1\r\nHost: a\r\n\r\n")
        read_until(client, b"\r\n\r\nb")


def test_a_client_that_waits_for_100_continue_is_told_to_go_on_when_the_app_reads() -> None:
    may_read = threading.Event()

    def app(environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        may_read.wait(10)
        body = environ["wsgi.input"].read()
        start_response("200 OK", [])
        return [body]

    head = b"POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"
    head += b"Expect: 100-continue\r\nContent-Length: 3\r\n\r\n"
    with running(WsgiBridge(app)) as url, wire(url, head) as client:
        client.settimeout(0.2)
        with pytest.raises(TimeoutError):
            client.recv(1)
        client.settimeout(10)
        may_read.set()
        assert read_until(client, b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.sendall(b"abc")
        assert parse(read_all(client)).body == b"abc"


async def test_an_error_of_receive_reaches_the_caller_and_frees_the_thread() -> None:
    class TooLargeError(Exception):
        pass

    bridge = WsgiBridge(digest)
    call = call_of("POST", headers=[(b"content-length", b"10")])

    async def receive() -> dict[str, Any]:
        raise TooLargeError

    with pytest.raises(TooLargeError):
        await bridge(call.scope, receive, call.send)
    await eventually(lambda: bridge.health().facts["busy"] == 0, "the thread's return")
    assert call.sent == []


@both
def test_pipelined_uploads_are_told_apart(make_bridge: Any) -> None:
    one = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc"
    two = b"POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 4\r\n\r\ndefg"
    with running(make_bridge(digest)) as url, wire(url, one + two) as client:
        raw = read_all(client)
    assert expected(b"abc").encode() in raw
    assert expected(b"defg").encode() in raw


@both
def test_an_odd_method_with_a_body_reaches_the_app(make_bridge: Any) -> None:
    def app(environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        body = environ["wsgi.input"].read(5)
        start_response("200 OK", [])
        return [environ["REQUEST_METHOD"].encode(), b" ", body]

    with running(make_bridge(app)) as url:
        assert ask(url, "PROPFIND / HTTP/1.1\nContent-Length: 5", b"12345").body == b"PROPFIND 12345"
        assert ask(url, "GET / HTTP/1.1\nContent-Length: 5", b"12345").body == b"GET 12345"
