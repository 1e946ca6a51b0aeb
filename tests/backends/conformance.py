"""Hold what the bridge's tests share: both bridges as parameters, raw clients, and a driver in the process.

Every claim is made for both bridges. Where a2wsgi is known to fall short, ``reference_fails`` says so
and the test must fail for it, so that the day it catches up is noticed.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from gateway.backends.a2wsgi_bridge import A2wsgiBridge
from gateway.backends.bridge import WsgiBridge

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

Environ = dict[str, Any]
WsgiApp = Any

both = pytest.mark.parametrize(
    "make_bridge", [pytest.param(WsgiBridge, id="gateway"), pytest.param(A2wsgiBridge, id="a2wsgi")]
)


def reference_fails(reason: str, *, is_run: bool = True) -> pytest.MarkDecorator:
    """Parametrise over both bridges, expecting a2wsgi to fail for ``reason``.

    ``is_run=False`` is for failures that would take a thread of the test process for good.
    """
    mark = pytest.mark.xfail(strict=True, reason=f"a2wsgi: {reason}", run=is_run)
    return pytest.mark.parametrize(
        "make_bridge",
        [pytest.param(WsgiBridge, id="gateway"), pytest.param(A2wsgiBridge, id="a2wsgi", marks=mark)],
    )


@dataclass
class Answer:
    """Be an answer taken from the wire: ``is_whole`` says whether its framing was complete."""

    status: int
    headers: dict[str, list[str]]
    body: bytes
    is_whole: bool
    raw: bytes = field(repr=False, default=b"")


def connect(url: str, *, receive_buffer_bytes: int = 0) -> socket.socket:
    """Open a TCP connection to the server at ``url``."""
    parts = urlsplit(url)
    client = socket.socket()
    if receive_buffer_bytes:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_bytes)
    client.settimeout(10)
    try:
        client.connect((parts.hostname, parts.port))
    except OSError:
        client.close()
        raise
    return client


def read_until(client: socket.socket, mark: bytes) -> bytes:
    """Read until ``mark`` has come; fail when the connection ends before."""
    data = b""
    while mark not in data:
        piece = client.recv(65536)
        assert piece, f"the connection ended before {mark!r}: {data!r}"
        data += piece
    return data


def read_all(client: socket.socket) -> bytes:
    """Read until the server closes."""
    pieces = []
    with contextlib.suppress(ConnectionResetError):
        while piece := client.recv(65536):
            pieces.append(piece)
    return b"".join(pieces)


def ask(url: str, head: str | bytes, body: bytes = b"") -> Answer:
    """Send one request on a connection of its own, closed afterwards; return what came until its end.

    ``head`` is the request line and headers without Host and Connection, lines ended by a newline.
    """
    raw_head = head.encode("latin-1") if isinstance(head, str) else head
    lines = [line for line in raw_head.split(b"\n") if line]
    lines += [b"Host: example.test:8080", b"Connection: close"]
    with connect(url) as client:
        client.sendall(b"\r\n".join(lines) + b"\r\n\r\n" + body)
        raw = read_all(client)
    return parse(raw, is_head=raw_head.startswith(b"HEAD"))


def parse(raw: bytes, *, is_head: bool = False) -> Answer:
    """Parse one answer that ended with its connection."""
    while raw.startswith(b"HTTP/1.1 100"):
        raw = raw.partition(b"\r\n\r\n")[2]
    head, _, rest = raw.partition(b"\r\n\r\n")
    status_line, *header_lines = head.decode("latin-1").split("\r\n")
    headers: dict[str, list[str]] = {}
    for line in header_lines:
        name, _, value = line.partition(":")
        headers.setdefault(name.lower(), []).append(value.strip())
    status = int(status_line.split()[1]) if status_line else 0
    if headers.get("transfer-encoding") == ["chunked"] and not is_head:
        body, is_whole = _unchunk(rest)
    else:
        body = rest
        length = headers.get("content-length", ["0"])[0]
        is_whole = is_head or len(body) == int(length)
    return Answer(status, headers, body, is_whole, raw)


def _unchunk(rest: bytes) -> tuple[bytes, bool]:
    body = b""
    while rest:
        size_text, _, rest = rest.partition(b"\r\n")
        size = int(size_text, 16)
        if size == 0:
            return body, rest.startswith(b"\r\n")
        body += rest[:size]
        rest = rest[size + 2 :]
    return body, False


def plain(body: bytes | Iterable[bytes] = b"ok", status: str = "200 OK", headers: Any = ()) -> WsgiApp:
    """Return an app that always gives this answer."""

    def app(environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        start_response(status, [("Content-Type", "text/plain"), *headers])
        return [body] if isinstance(body, bytes) else body

    return app


@dataclass
class Call:
    """Be one ASGI call made in this process: what it was given to receive, and what it sent.

    ``incoming`` is fed by the test; when it is empty ``receive`` waits. ``gate`` makes ``send`` wait
    while it is cleared, as a slow client would.
    """

    scope: dict[str, Any]
    incoming: asyncio.Queue[dict[str, Any]] = field(default_factory=asyncio.Queue)
    sent: list[dict[str, Any]] = field(default_factory=list)
    gate: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.gate.set()

    async def receive(self) -> dict[str, Any]:
        """Return the next incoming message."""
        return await self.incoming.get()

    async def send(self, message: Any) -> None:
        """Note ``message``, once the gate is open."""
        await self.gate.wait()
        self.sent.append(message)

    def leave(self) -> None:
        """Let the client go away."""
        self.incoming.put_nowait({"type": "http.disconnect"})

    @property
    def status(self) -> int:
        """Return the status that was sent."""
        return int(self.sent[0]["status"])

    @property
    def body(self) -> bytes:
        """Return the body that was sent."""
        return b"".join(message.get("body", b"") for message in self.sent[1:])

    @property
    def is_complete(self) -> bool:
        """Tell whether the last message of the answer was sent."""
        return bool(self.sent) and self.sent[-1].get("more_body", None) is False


def call_of(
    method: str = "GET",
    path: str = "/",
    *,
    headers: Iterable[tuple[bytes, bytes]] = ((b"host", b"example.test"),),
    body: bytes | None = None,
    **scope: Any,
) -> Call:
    """Return a call with a complete request; ``scope`` overrides keys of the ASGI scope."""
    raw_headers = list(headers)
    call = Call(
        {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "root_path": "",
            "headers": raw_headers,
            "client": ("192.0.2.7", 4711),
            "server": ("127.0.0.1", 8000),
            **scope,
        }
    )
    if body is not None:
        raw_headers.append((b"content-length", str(len(body)).encode()))
        call.incoming.put_nowait({"type": "http.request", "body": body, "more_body": False})
    return call


async def eventually(condition: Callable[[], Any], what: str, timeout_s: float = 5.0) -> None:
    """Return when ``condition`` is true, looking while the loop turns; fail with ``what``."""
    deadline = asyncio.get_running_loop().time() + timeout_s
    while not condition():
        assert asyncio.get_running_loop().time() < deadline, f"{what} did not come true in {timeout_s} s"
        await asyncio.sleep(0.005)


@contextlib.contextmanager
def wire(url: str, request: bytes) -> Iterator[socket.socket]:
    """Send ``request`` as it is, and hand over the open connection."""
    with connect(url) as client:
        client.sendall(request)
        yield client
