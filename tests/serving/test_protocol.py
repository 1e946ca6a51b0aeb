"""What must not become a request is refused on the wire, and no app is called."""

from __future__ import annotations

import json
import socket
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from gateway.serving import protocol
from gateway.serving.protocol import GuardedHttpProtocol
from tests.raw import exchange
from tests.running import running

if TYPE_CHECKING:
    from collections.abc import Iterator

seen: list[tuple[str, str]] = []


async def record(scope: dict[str, Any], receive: Any, send: Any) -> None:
    if scope["type"] != "http":
        return
    body = b""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    seen.append((scope["method"], scope["path"]))
    headers = [[name.decode("latin-1"), value.decode("latin-1")] for name, value in scope["headers"]]
    answer = json.dumps({"headers": headers, "body": body.decode("latin-1")}).encode()
    await send(
        {
            "type": "http.response.start",
            "status": 200,
            "headers": [(b"content-length", str(len(answer)).encode())],
        }
    )
    await send({"type": "http.response.body", "body": answer})


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with running(record, http=GuardedHttpProtocol, lifespan="off") as url:
        yield url


@pytest.fixture(autouse=True)
def _forget() -> None:
    seen.clear()


POST = b"POST / HTTP/1.1\r\nHost: a\r\n"
REFUSED = {
    "length and chunked": POST + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunked and length": POST + b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n",
    "a list of lengths": b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5, 5\r\n\r\nhello",
    "two lengths": b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
    "a signed length": b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\nhello",
    "a hexadecimal length": b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x5\r\n\r\nhello",
    "another coding": b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "a misspelt coding": b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "chunked in HTTP/1.0": b"POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "an absolute target": b"GET http://evil/ HTTP/1.1\r\nHost: a\r\n\r\n",
    "a file target": b"GET file:///etc/passwd HTTP/1.1\r\nHost: a\r\n\r\n",
    "a host as target": b"GET @host/ HTTP/1.1\r\nHost: a\r\n\r\n",
    "an asterisk for GET": b"GET * HTTP/1.1\r\nHost: a\r\n\r\n",
    "a bare line feed": b"GET / HTTP/1.1\nHost: a\n\n",
    "a bare line feed in the headers": b"GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n",
    "a folded line": b"GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n c\r\n\r\n",
    "a control character": b"GET / HTTP/1.1\r\nHost: a\r\nX: b\x01\r\n\r\n",
    "a space before the colon": b"GET / HTTP/1.1\r\nHost: a\r\nX : b\r\n\r\n",
    "an unknown method": b"FROB / HTTP/1.1\r\nHost: a\r\n\r\n",
    "a lower-case method": b"get / HTTP/1.1\r\nHost: a\r\n\r\n",
    "another protocol version": b"GET / HTTP/2.0\r\nHost: a\r\n\r\n",
    "an upgrade with a body": POST
    + b"Upgrade: foo\r\nConnection: upgrade\r\nContent-Length: 26\r\n\r\nGET /smuggled HTTP/1.1\r\n\r\n",
    "h2c with a body": POST
    + b"Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
}


@pytest.mark.parametrize("request_bytes", REFUSED.values(), ids=REFUSED.keys())
def test_ambiguous_framing_is_refused_and_the_connection_closed(server: str, request_bytes: bytes) -> None:
    answer = exchange(server, request_bytes)
    assert (answer.status, answer.is_closed, answer.count()) == (400, True, 1)
    assert seen == []


@pytest.mark.parametrize("method", ["TRACE / HTTP/1.1", "CONNECT a:80 HTTP/1.1"])
def test_tunnels_and_traces_are_not_allowed(server: str, method: str) -> None:
    answer = exchange(server, f"{method}\r\nHost: a\r\n\r\n".encode())
    assert (answer.status, answer.is_closed, seen) == (405, True, [])


def test_a_second_segment_behind_an_upgrade_is_never_a_second_request(server: str) -> None:
    answer = exchange(
        server,
        b"POST / HTTP/1.1\r\nHost: a\r\nUpgrade: foo\r\nConnection: upgrade\r\nContent-Length: 40\r\n\r\n",
        b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n",
    )
    assert answer.count() == 1
    assert seen == []


def test_an_upgrade_without_a_body_is_served_and_ends_the_connection(server: str) -> None:
    answer = exchange(
        server,
        b"GET /plain HTTP/1.1\r\nHost: a\r\nUpgrade: foo\r\nConnection: upgrade\r\n\r\n",
        b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n",
    )
    assert (answer.status, answer.is_closed) == (200, True)
    assert seen == [("GET", "/plain")]


@pytest.mark.parametrize(
    "head",
    [
        pytest.param(b"".join(b"X-%d: 1\r\n" % number for number in range(120)), id="too many"),
        pytest.param(b"X: " + b"a" * 62_000 + b"\r\n", id="too large"),
    ],
)
def test_heads_over_the_limits_are_refused(server: str, head: bytes) -> None:
    answer = exchange(server, b"GET / HTTP/1.1\r\nHost: a\r\n" + head + b"\r\n")
    assert (answer.status, answer.is_closed, seen) == (431, True, [])


def test_trailers_never_become_headers(server: str) -> None:
    answer = exchange(
        server,
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"5;ext=1\r\nhello\r\n0\r\nX-Gateway-Backend: new\r\nCookie: a=b\r\n\r\n",
    )
    received = json.loads(answer.body)
    assert received["body"] == "hello"
    assert [name for name, _value in received["headers"]] == ["host", "transfer-encoding"]


def test_pipelined_requests_are_answered_in_order(server: str) -> None:
    answer = exchange(
        server, b"GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    )
    assert (answer.count(), seen) == (2, [("GET", "/1"), ("GET", "/2")])


@pytest.mark.parametrize(
    ("name", "pieces", "status"),
    [
        pytest.param("HEAD_TIMEOUT_S", [b"GET / HTTP/1.1\r\nHost: a\r\n"], 408, id="a head that never ends"),
        pytest.param("HEAD_TIMEOUT_S", [b""], 408, id="a connection that says nothing"),
        pytest.param(
            "BODY_IDLE_TIMEOUT_S",
            [b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc"],
            0,
            id="a body that stops",
        ),
    ],
)
def test_slow_clients_are_closed(
    server: str, monkeypatch: pytest.MonkeyPatch, name: str, pieces: list[bytes], status: int
) -> None:
    monkeypatch.setattr(protocol, name, 0.2)
    answer = exchange(server, *pieces, timeout_s=5)
    assert (answer.status, answer.is_closed, seen) == (status, True, [])


def test_a_patient_client_is_not_closed_while_its_body_keeps_coming(
    server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "BODY_IDLE_TIMEOUT_S", 0.5)
    port = urlsplit(server).port
    assert port is not None
    with socket.create_connection(("127.0.0.1", port), 5) as connection:
        connection.sendall(b"POST /slow HTTP/1.1\r\nHost: a\r\nContent-Length: 8\r\n\r\n")
        for _ in range(8):
            connection.settimeout(0.1)
            with pytest.raises(TimeoutError):
                connection.recv(1)
            connection.sendall(b"x")
        connection.settimeout(5)
        assert connection.recv(100).startswith(b"HTTP/1.1 200")
