"""Speak HTTP/1.1 as a client over one connection: one request at a time, streamed both ways.

Its laws: bytes are neither decoded nor re-encoded; at most :data:`BUFFER_LIMIT_BYTES` of a response are
held (then the upstream waits); a connection is used again only after a response that was whole, framed and
followed by nothing; everything else closes it. Framing is read by httptools (llhttp), never by own code.
What went wrong is a :class:`ConnectionFailed`, which :mod:`gateway.backends.upstream` translates.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

import httptools

if TYPE_CHECKING:
    from collections.abc import Callable

BUFFER_LIMIT_BYTES = 262_144
HEAD_LIMIT_BYTES = 131_072


class ConnectionFailed(Exception):
    """Report that the upstream closed, or did not speak HTTP; ``detail`` says which."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


class ClientGone(Exception):
    """Tell that the client left before its answer was complete."""


class Connection(asyncio.Protocol):
    """Be one connection to an upstream; see :meth:`begin`, :meth:`read_head` and :meth:`read_body`."""

    def __init__(self, loop: asyncio.AbstractEventLoop, on_lost: Callable[[Connection], None]) -> None:
        self._loop = loop
        self._on_lost = on_lost
        self._transport: asyncio.Transport | None = None
        self._parser: httptools.HttpResponseParser | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._write_waiter: asyncio.Future[None] | None = None
        self._is_write_paused = False
        self._is_read_paused = False
        self.is_open = False
        self.requests = 0
        self.idle_since = 0.0
        self._reset(is_head=False)

    def _reset(self, *, is_head: bool) -> None:
        self._is_head_request = is_head
        self._is_until_eof = False
        self._is_surplus = False
        self._head_bytes = 0
        self._body: list[bytes] = []
        self._body_bytes = 0
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []
        self.has_received = False
        self.has_head = False
        self.is_complete = False
        self.is_keep_alive = False
        self.failure: Exception | None = None

    # The exchange, as the backend drives it.

    def begin(self, data: bytes, *, is_head: bool) -> None:
        """Write the first bytes of a request; ``is_head`` tells that its response has no body."""
        self._reset(is_head=is_head)
        self._parser = httptools.HttpResponseParser(self)
        self.requests += 1
        self.write(data)

    def write(self, data: bytes) -> None:
        """Hand bytes to the transport; :meth:`drain` waits while too many are under way."""
        if self._transport is None or not self.is_open or self._transport.is_closing():
            self.fail(ConnectionFailed("closed the connection"))
        else:
            self._transport.write(data)

    async def drain(self) -> None:
        """Wait until the upstream takes more; raise what failed meanwhile."""
        if self._is_write_paused and self.failure is None:
            self._write_waiter = self._loop.create_future()
            try:
                await self._write_waiter
            finally:
                self._write_waiter = None
        if self.failure is not None:
            raise self.failure

    async def read_head(self) -> None:
        """Wait until ``status`` and ``headers`` hold the final response's head."""
        while not self.has_head:
            if self.failure is not None:
                raise self.failure
            await self._wait()

    async def read_body(self) -> tuple[bytes, bool]:
        """Wait for body bytes; return what has come since the last call, and whether that was the end.

        Raises what failed, but only after everything that came before it has been read.
        """
        while not self._body and not self.is_complete:
            if self.failure is not None:
                raise self.failure
            await self._wait()
        body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        self._body = []
        self._body_bytes = 0
        if self._is_read_paused and self._transport is not None and self.is_open:
            self._is_read_paused = False
            self._transport.resume_reading()
        return body, self.is_complete

    async def _wait(self) -> None:
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def finish(self) -> bool:
        """End the exchange; return whether the connection may carry another request."""
        self._parser = None  # the parser refers back to this object: without this, a cycle a request
        if self._is_read_paused and self._transport is not None and self.is_open:
            self._is_read_paused = False
            self._transport.resume_reading()
        return (
            self.is_open
            and self._transport is not None
            and not self._transport.is_closing()
            and self.is_complete
            and self.is_keep_alive
            and not self._is_surplus
            and not self._is_write_paused
            and self.failure is None
        )

    def fail(self, failure: Exception) -> None:
        """End the exchange with ``failure`` and cut the connection at once."""
        if self.failure is None:
            self.failure = failure
        self.abort()
        self._wake()

    def abort(self) -> None:
        """Cut the connection at once, throwing away what was not sent yet."""
        self.is_open = False
        self._parser = None
        if self._transport is not None:
            self._transport.abort()

    def close(self) -> None:
        """Close an idle connection in good order."""
        self.is_open = False
        if self._transport is not None:
            self._transport.close()

    def _wake(self) -> None:
        for waiter in (self._waiter, self._write_waiter):
            if waiter is not None and not waiter.done():
                waiter.set_result(None)

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport."""
        self._transport = cast("asyncio.Transport", transport)
        self.is_open = True

    def data_received(self, data: bytes) -> None:
        """Feed the parser; an upstream that speaks unasked is cut off."""
        if self._parser is None:
            self.abort()
            return
        self.has_received = True
        if not self.has_head:
            self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as exc:
            if self.is_complete:
                self._is_surplus = True
            else:
                self.fail(ConnectionFailed(f"sent no valid HTTP response ({exc})"))
                return
        if not self.has_head and self._head_bytes > HEAD_LIMIT_BYTES:
            self.fail(ConnectionFailed(f"sent over {HEAD_LIMIT_BYTES} bytes of headers"))
            return
        if self._body_bytes > BUFFER_LIMIT_BYTES and not self._is_read_paused and self._transport is not None:
            self._is_read_paused = True
            self._transport.pause_reading()
        if self.has_head:
            self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        """End what is under way: whole, if the response's end was the connection's; torn otherwise."""
        self.is_open = False
        if self._parser is not None and not self.is_complete:
            if self._is_until_eof and exc is None:
                self.is_complete = True
            elif self.failure is None:
                self.failure = ConnectionFailed(
                    "closed the connection in mid-response" if self.has_received else "closed the connection"
                )
        self._parser = None
        self._is_write_paused = False
        self._wake()
        self._on_lost(self)

    def pause_writing(self) -> None:
        """Make :meth:`drain` wait."""
        self._is_write_paused = True

    def resume_writing(self) -> None:
        """Let :meth:`drain` go on."""
        self._is_write_paused = False
        if self._write_waiter is not None and not self._write_waiter.done():
            self._write_waiter.set_result(None)

    # httptools' callbacks

    def on_message_begin(self) -> None:
        """Start a head: the first, one after an informational response, or one nobody asked for."""
        if self.has_head:
            self._is_surplus = True
        else:
            self.headers = []

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header; what comes after the head is a trailer, which is dropped."""
        if not self.has_head:
            self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """Note the final response's status and how its body ends."""
        if self.has_head or self._parser is None:
            return
        status = self._parser.get_status_code()
        if status == 101:
            raise ValueError("switched protocols unasked")
        if status < 200:
            return
        self.status = status
        self.has_head = True
        names = {name for name, _ in self.headers}
        has_length = b"content-length" in names or b"transfer-encoding" in names
        if self._is_head_request:
            connection = b",".join(value for name, value in self.headers if name == b"connection").lower()
            self.is_keep_alive = self._parser.get_http_version() == "1.1" and b"close" not in connection
            self.is_complete = True
        else:
            self.is_keep_alive = self._parser.should_keep_alive()
            self._is_until_eof = not has_length or (b"transfer-encoding" in names and not self._is_chunked())

    def _is_chunked(self) -> bool:
        codings = b",".join(value for name, value in self.headers if name == b"transfer-encoding")
        return codings.rpartition(b",")[2].strip().lower() == b"chunked"

    def on_body(self, body: bytes) -> None:
        """Take a piece of the body."""
        if self.is_complete:
            self._is_surplus = True
        else:
            self._body.append(body)
            self._body_bytes += len(body)

    def on_message_complete(self) -> None:
        """Note the end, unless it was an informational response's."""
        if self.has_head:
            self.is_complete = True
