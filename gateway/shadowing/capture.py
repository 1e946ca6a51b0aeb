"""Capture a request and its answer as they stream past, up to a cap, without holding anything back.

The taps stand between the server and the gateway, so that what is captured is what the client sent
and what the primary answered. Beyond the cap a digest goes on; the client never waits for a capture.
"""

from __future__ import annotations

from hashlib import sha256
from time import monotonic
from typing import TYPE_CHECKING, Literal

from gateway.compare.observation import Body, Observation, RequestRecord
from gateway.shadowing.exchange import Exchange

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from gateway.backends.base import Message, Receive, Scope, Send


class CappedBody:
    """Collect a body up to ``cap_bytes``; count and digest all of it."""

    __slots__ = ("_cap_bytes", "_digest", "_kept", "_length_bytes")

    def __init__(self, cap_bytes: int) -> None:
        self._cap_bytes = cap_bytes
        self._kept = bytearray()
        self._length_bytes = 0
        self._digest = None if cap_bytes else sha256()

    def add(self, data: bytes) -> None:
        """Take the next piece."""
        if not data:
            return
        self._length_bytes += len(data)
        if self._digest is not None:
            self._digest.update(data)
        elif self._length_bytes > self._cap_bytes:
            self._digest = sha256(self._kept)
            self._digest.update(data)
        if len(self._kept) < self._cap_bytes:
            self._kept += data[: self._cap_bytes - len(self._kept)]

    def body(self) -> Body:
        """Return what was captured."""
        digest = self._digest.hexdigest() if self._length_bytes > self._cap_bytes and self._digest else ""
        return Body(bytes(self._kept), self._length_bytes, digest)


class Capture:
    """Be the ``receive`` and ``send`` of one request that is captured; ``scope`` is the request's own."""

    __slots__ = (
        "_began_s",
        "_end_s",
        "_first_byte_s",
        "_headers",
        "_kept_scope",
        "_receive",
        "_request_body",
        "_response_body",
        "_send",
        "_status",
        "has_left",
        "scope",
    )

    def __init__(self, scope: Scope, receive: Receive, send: Send, cap_bytes: int) -> None:
        self.scope = scope
        self._kept_scope: Scope = {**scope, "headers": [*scope["headers"]]}
        self._receive = receive
        self._send = send
        self._request_body = CappedBody(cap_bytes)
        self._response_body = CappedBody(cap_bytes)
        self._headers: tuple[tuple[bytes, bytes], ...] = ()
        self._status = 0
        self._began_s = monotonic()
        self._first_byte_s: float | None = None
        self._end_s: float | None = None
        self.has_left = False

    async def receive(self) -> Message:
        """Receive for the gateway, keeping a copy."""
        message = await self._receive()
        if message["type"] == "http.request":
            self._request_body.add(message.get("body", b""))
        elif self._end_s is None:
            self.has_left = True
        return message

    def restart_clock(self) -> None:
        """Take the primary's time from now on: what came before was not its own."""
        self._began_s = monotonic()

    def send(self, message: Message) -> Awaitable[None]:
        """Send to the client, keeping a copy."""
        if message["type"] == "http.response.start":
            self._status = message["status"]
            self._headers = tuple(message.get("headers", ()))
            self._first_byte_s = monotonic() - self._began_s
        elif message["type"] == "http.response.body":
            self._response_body.add(message.get("body", b""))
            if not message.get("more_body", False):
                self._end_s = monotonic() - self._began_s
        return self._send(message)

    def exchange(self, primary: Literal["legacy", "new"]) -> Exchange | None:
        """Return what was captured, or None when the answer did not come to its end."""
        if self._end_s is None or self.has_left:
            return None
        scope = self._kept_scope
        host = next((value for name, value in scope["headers"] if name == b"host"), b"localhost")
        query = scope.get("query_string", b"")
        raw_path: bytes = scope.get("raw_path") or scope["path"].encode()
        target = raw_path + (b"?" + query if query else b"")
        url = f"{scope.get('scheme', 'http')}://{host.decode('latin-1')}{target.decode('latin-1')}"
        record = RequestRecord(scope["method"], url, tuple(scope["headers"]), self._request_body.body())
        observation = Observation(
            self._status,
            self._headers,
            self._response_body.body(),
            first_byte_s=self._first_byte_s,
            end_s=self._end_s,
        )
        return Exchange(record, observation, primary, scope)
