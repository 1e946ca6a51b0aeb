"""No client keeps a connection, a thread or memory by being slow, endless, early or gone.

These run on the protocol alone, with its times shortened; what it does with whole requests is in
:mod:`tests.security.test_framing`.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from gateway.serving import protocol
from gateway.serving.protocol import GuardedHttpProtocol
from tests.running import running, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

KEEP_ALIVE_S = 1


class App:
    """Be an app whose paths say how it behaves; remember who was called, and how each call ended."""

    def __init__(self) -> None:
        self.called: list[str] = []
        self.ended: list[str] = []
        self.go = threading.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "websocket":
            self.called.append("websocket")
            await receive()
            await send({"type": "websocket.accept"})
            await send({"type": "websocket.close"})
            return
        path = scope["path"]
        self.called.append(path)
        try:
            await self._answer(path, receive, send)
        finally:
            self.ended.append(path)

    async def _answer(self, path: str, receive: Any, send: Any) -> None:
        start = {"type": "http.response.start", "status": 200, "headers": []}
        if path == "/wait":
            await asyncio.to_thread(self.go.wait, 20)
        elif path == "/read":
            while (await receive()).get("more_body"):
                pass
        elif path == "/endless":
            await send(start)
            while True:
                await send({"type": "http.response.body", "body": b"x" * 65536, "more_body": True})
                # The loop must run: a server that has no client any more returns from send at once.
                await asyncio.sleep(0)
                if self._has_left(receive):
                    return
        elif path == "/until-gone":
            await send(start)
            await send({"type": "http.response.body", "body": b"begun", "more_body": True})
            while (await receive())["type"] != "http.disconnect":
                pass
            return
        await send(start)
        await send({"type": "http.response.body", "body": path.encode()})

    @staticmethod
    def _has_left(receive: Any) -> bool:
        cycle = receive.__self__
        return bool(cycle.disconnected)


@pytest.fixture
def app() -> App:
    return App()


@pytest.fixture
def url(app: App) -> Iterator[str]:
    with running(
        app, http=GuardedHttpProtocol, lifespan="off", timeout_keep_alive=KEEP_ALIVE_S, log_level="critical"
    ) as url:
        yield url


@contextlib.contextmanager
def connected(url: str) -> Iterator[socket.socket]:
    parts = urlsplit(url)
    assert parts.hostname is not None
    with socket.create_connection((parts.hostname, parts.port or 80), 5) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        yield connection


def read_until(connection: socket.socket, wanted: bytes) -> bytes:
    data = b""
    while wanted not in data:
        received = connection.recv(65536)
        assert received, f"closed after {data!r}"
        data += received
    return data


def read_to_the_end(connection: socket.socket) -> bytes:
    data = b""
    with contextlib.suppress(ConnectionResetError):
        while received := connection.recv(65536):
            data += received
    return data


GET = b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n"


@pytest.mark.parametrize("bait", [b"\r\n", b"\r\n\r\n"], ids=["a line end", "two line ends"])
def test_line_ends_between_requests_do_not_stop_the_clock_of_an_idle_connection(
    url: str, bait: bytes
) -> None:
    with connected(url) as connection:
        connection.sendall(GET % b"/")
        read_until(connection, b"0\r\n\r\n")
        connection.sendall(bait)
        assert read_to_the_end(connection) == b""


def test_a_body_that_stops_after_its_answer_does_not_keep_the_connection(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "BODY_IDLE_TIMEOUT_S", 0.3)
    with connected(url) as connection:
        connection.sendall(b"POST /early HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nabc")
        read_until(connection, b"0\r\n\r\n")
        connection.sendall(b"d")
        assert read_to_the_end(connection) == b""


@pytest.mark.parametrize(
    "start",
    [
        pytest.param(b"GET / HTTP/1.1\r\nHost: a\r\nX: ", id="a header's value"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: a\r\nX", id="a header's name"),
        pytest.param(b"GET /", id="a target"),
        pytest.param(
            b"POST /read HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: ", id="a trailer"
        ),
        pytest.param(
            b"POST /read HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1;x=",
            id="a chunk's extension",
        ),
        pytest.param(b"\r\n", id="line ends before a request"),
    ],
)
def test_what_never_ends_is_refused_before_a_megabyte_of_it_is_kept(url: str, app: App, start: bytes) -> None:
    filling = b"\r\n" * 32768 if start == b"\r\n" else b"a" * 65536
    sent = 0
    with connected(url) as connection:
        connection.sendall(start)
        with contextlib.suppress(ConnectionError):
            while sent < 32 * 1024 * 1024:
                sent += connection.send(filling)
        # What the kernel's buffers of both sides hold has been sent, and read by nobody.
        assert sent < 16 * 1024 * 1024
    assert "/" not in app.called


def test_a_malformed_request_behind_two_others_is_the_third_answer(url: str, app: App) -> None:
    with connected(url) as connection:
        connection.sendall(
            GET % b"/wait" + GET % b"/second" + b"GET http://evil/ HTTP/1.1\r\n\r\n" + GET % b"/x"
        )
        wait_until(lambda: app.called == ["/wait"])
        app.go.set()
        answers = read_to_the_end(connection).split(b"HTTP/1.1 ")[1:]
    assert [answer[:3] for answer in answers] == [b"200", b"200", b"400"]
    assert app.called == ["/wait", "/second"]


def test_a_broken_body_behind_another_request_does_not_cost_that_ones_answer(url: str, app: App) -> None:
    with connected(url) as connection:
        connection.sendall(
            GET % b"/wait" + b"POST /read HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"
        )
        wait_until(lambda: app.called == ["/wait"])
        app.go.set()
        answers = read_to_the_end(connection).split(b"HTTP/1.1 ")[1:]
    assert [answer[:3] for answer in answers] == [b"200", b"400"]
    assert app.called == ["/wait"]


def test_a_body_that_breaks_after_its_answer_gets_no_second_answer(url: str) -> None:
    with connected(url) as connection:
        connection.sendall(b"POST /early HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n")
        read_until(connection, b"0\r\n\r\n")
        connection.sendall(b"zz\r\n")
        assert read_to_the_end(connection) == b""


def test_a_slow_head_behind_a_long_answer_does_not_cut_the_answer(
    url: str, app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "HEAD_TIMEOUT_S", 0.2)
    with connected(url) as connection:
        connection.sendall(GET % b"/wait" + b"GET /second HTTP/1.1\r\n")
        wait_until(lambda: app.called == ["/wait"])
        time.sleep(0.4)  # the time of the second head has to pass while the first request is served
        app.go.set()
        answers = read_to_the_end(connection).split(b"HTTP/1.1 ")[1:]
    assert [answer[:3] for answer in answers] == [b"200", b"408"]


@pytest.mark.parametrize("path", [b"/endless", b"/until-gone"])
@pytest.mark.parametrize("queued", [0, 1, 3])
def test_a_client_that_leaves_is_noticed_however_many_requests_it_has_queued(
    url: str, app: App, path: bytes, queued: int
) -> None:
    with connected(url) as connection:
        connection.sendall(GET % path + GET % b"/queued" * queued)
        read_until(connection, b"200 OK")
    wait_until(lambda: app.ended == [path.decode()], timeout_s=5, what="the end of the call")
    assert app.called == [path.decode()]


def test_a_connection_is_not_taken_over_by_a_websocket_while_an_answer_is_due(url: str, app: App) -> None:
    with connected(url) as connection:
        connection.sendall(
            GET % b"/wait"
            + b"GET /ws HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            + b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        wait_until(lambda: app.called == ["/wait"])
        app.go.set()
        answers = read_to_the_end(connection).split(b"HTTP/1.1 ")[1:]
    assert [answer[:3] for answer in answers] == [b"200", b"400"]
    assert app.called == ["/wait"]


def test_a_client_that_stops_reading_is_cut(url: str, app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "WRITE_IDLE_TIMEOUT_S", 0.3)
    with connected(url) as connection:
        connection.sendall(GET % b"/endless")
        read_until(connection, b"200 OK")
        wait_until(lambda: app.ended == ["/endless"], timeout_s=5, what="the end of the stream")


def test_a_client_that_reads_slowly_is_not_cut(url: str, app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "WRITE_IDLE_TIMEOUT_S", 0.3)
    with connected(url) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        connection.sendall(GET % b"/endless")
        until = time.monotonic() + 1.5
        while time.monotonic() < until:
            connection.recv(1_000_000)
            time.sleep(0.05)  # a slow reader is what this is about
        assert app.ended == []


def test_a_body_that_was_not_asked_for_is_never_taken_for_the_next_request(url: str, app: App) -> None:
    with connected(url) as connection:
        connection.sendall(
            b"POST /early HTTP/1.1\r\nHost: a\r\nContent-Length: 40\r\nExpect: 100-continue\r\n\r\n"
        )
        head = read_until(connection, b"0\r\n\r\n")
        assert b"100 Continue" not in head
        assert b"connection: close" in head
        assert read_to_the_end(connection) == b""


def test_a_client_that_waits_for_100_continue_is_not_the_slow_one(
    url: str, app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "BODY_IDLE_TIMEOUT_S", 0.2)
    with connected(url) as connection:
        connection.sendall(
            b"POST /wait HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n"
        )
        time.sleep(0.5)  # the time of a body has to pass
        app.go.set()
        assert read_until(connection, b"\r\n\r\n").startswith(b"HTTP/1.1 200")
