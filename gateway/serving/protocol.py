"""Refuse, below ASGI, what must not become a request: ambiguous framing, foreign targets, slow heads.

This is uvicorn's httptools protocol with the part of the ingress guard that needs the bytes on the
wire. A refusal is one response and a closed connection, and no app is called; it comes in its turn,
after the answers of the requests before it. At any moment a connection is either being served or
running out of time: nothing that a client sends or leaves out stops both. Under another server
(``uvicorn gateway.asgi:app``) that server's own parser decides these; see docs/security.md.

Sources: RFC 9112 (3.2 request target, 5 field syntax, 6.1 Transfer-Encoding, 6.3 message body length).
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import re
import sys
import termios
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from gateway.errors import RequestRefused
from gateway.serving.guard import HEADERS_LIMIT

if TYPE_CHECKING:
    import asyncio

    from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

HEADERS_LIMIT_BYTES = 60 * 1024
HEAD_TIMEOUT_S = 10.0
BODY_IDLE_TIMEOUT_S = 30.0
WRITE_IDLE_TIMEOUT_S = 60.0
"""How long a client may take nothing of an answer that waits for it: its request may hold a thread."""
WRITE_BUFFER_BYTES = 16 * 1024
"""How much of an answer waits in this process, beyond the app's last chunk: a slow reader costs all of it."""
SILENT_LIMIT_BYTES = 128 * 1024
"""How much may come without completing a header, a piece of a body or anything else: it is all kept."""

_DIGITS = re.compile(rb"[0-9]{1,19}")


class GuardedHttpProtocol(HttpToolsProtocol):
    """Be uvicorn's HTTP/1.1 protocol with the framing checks of the guard."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._head_bytes = 0
        self._head_limit_bytes = HEADERS_LIMIT_BYTES
        self._body_bytes = 0
        self._silent_bytes = 0
        self._is_in_head = False
        self._is_in_body = False
        self._is_refused = False
        self._running: RequestResponseCycle | None = None
        self._patience: asyncio.TimerHandle | None = None
        self._write_patience: asyncio.TimerHandle | None = None
        self._unwritten_bytes = 0

    def connection_made(self, transport: Any) -> None:
        """Give a new connection its time to send a whole request head."""
        super().connection_made(transport)
        transport.set_write_buffer_limits(WRITE_BUFFER_BYTES)
        self._is_in_head = True
        self._patience = self.loop.call_later(HEAD_TIMEOUT_S, self._lose_patience)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the timers with the connection, and tell the request that is being served.

        Uvicorn tells the newest request only, which may be one that waits for its turn.
        """
        self._stop_patience()
        self._stop_write_patience()
        self.pipeline.clear()
        running = self._running
        if running is not None and not running.response_complete:
            running.disconnected = True
            running.message_event.set()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Give a client that does not read its time to begin again."""
        super().pause_writing()
        self._stop_write_patience()
        self._expect_progress()

    def resume_writing(self) -> None:
        """Let the answer go on."""
        super().resume_writing()
        self._stop_write_patience()

    def _expect_progress(self) -> None:
        self._unwritten_bytes = self._count_unwritten()
        self._write_patience = self.loop.call_later(WRITE_IDLE_TIMEOUT_S, self._lose_write_patience)

    def _lose_write_patience(self) -> None:
        self._write_patience = None
        if self._count_unwritten() < self._unwritten_bytes:
            self._expect_progress()
        else:
            self.transport.abort()

    def _count_unwritten(self) -> int:
        """Return how many bytes of the answer the client has not acknowledged.

        The kernel's part counts: it asks for more in large steps, which a slow client takes minutes for.
        """
        waiting: int = self.transport.get_write_buffer_size()
        connection = self.transport.get_extra_info("socket")
        with contextlib.suppress(OSError, ValueError):
            waiting += int.from_bytes(
                fcntl.ioctl(connection.fileno(), termios.TIOCOUTQ, bytes(4)), sys.byteorder
            )
        return waiting

    def _stop_write_patience(self) -> None:
        if self._write_patience is not None:
            self._write_patience.cancel()
            self._write_patience = None

    def _stop_patience(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    def data_received(self, data: bytes) -> None:
        """Feed the parser; answer a refusal that a callback raised, and time what is incomplete."""
        if self._is_refused:
            return
        self._unset_keepalive_if_required()
        was_in_head = self._is_in_head
        parsed_bytes = self._head_bytes + self._body_bytes
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserCallbackError as error:
            refusal_raised = error.__context__
            if isinstance(refusal_raised, RequestRefused):
                self._refuse(refusal_raised.status, refusal_raised.detail)
                return
            raise
        except httptools.HttpParserUpgrade:
            self._upgrade()
        except httptools.HttpParserError:
            self._refuse(400, "the request is not valid HTTP/1.1")
            return
        if self._head_bytes + self._body_bytes != parsed_bytes:
            self._silent_bytes = 0
        else:
            self._silent_bytes += len(data)
            if self._silent_bytes > SILENT_LIMIT_BYTES:
                self._refuse(431, "a part of the request that never ends")
                return
        if not self._is_refused:
            self._keep_time(was_in_head=was_in_head)

    def _upgrade(self) -> None:
        if not self._should_upgrade():
            # The parser stops reading HTTP here: what follows must never be taken for a request.
            self.cycle.keep_alive = False
            self._is_refused = True
            self._stop_patience()
        elif self._newest is not None and not self._newest.response_complete:
            self._is_in_head = True
            self._refuse(400, "an upgrade while an answer is due")
        else:
            self._is_refused = True  # from here on the connection is the websocket's
            self._stop_patience()
            self.handle_websocket_upgrade()

    def on_message_begin(self) -> None:
        """Start to count a request head."""
        super().on_message_begin()
        self._head_limit_bytes = self._head_bytes + HEADERS_LIMIT_BYTES
        self._is_in_head = True

    def on_url(self, url: bytes) -> None:
        """Bound the request target together with the headers."""
        self._count(len(url), 414)
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Bound the number and size of header fields; drop trailers, which would arrive behind the guard."""
        # Called for every field of every request: what it could call stands here in full.
        self._head_bytes = counted = self._head_bytes + len(name) + len(value) + 4
        if counted > self._head_limit_bytes:
            raise RequestRefused(431, f"the request head is over {HEADERS_LIMIT_BYTES} bytes")
        if not self._is_in_head:
            return
        headers = self.headers
        if len(headers) >= HEADERS_LIMIT:
            raise RequestRefused(431, f"more than {HEADERS_LIMIT} header fields")
        name = name.lower()
        if name == b"expect" and value.lower() == b"100-continue":
            self.expect_100_continue = True
        headers.append((name, value))

    def _count(self, size_bytes: int, status: int) -> None:
        self._head_bytes += size_bytes
        if self._head_bytes > self._head_limit_bytes:
            raise RequestRefused(status, f"the request head is over {HEADERS_LIMIT_BYTES} bytes")

    def on_headers_complete(self) -> None:
        """Check target and framing once the head is whole; only then does a request exist."""
        method = self.parser.get_method()
        if method in (b"CONNECT", b"TRACE"):
            raise RequestRefused(405, f"{method.decode()} is not passed on")
        if not self.url.startswith(b"/") and not (self.url == b"*" and method == b"OPTIONS"):
            raise RequestRefused(400, "the request target must be a path")
        if self.parser.get_http_version() not in ("1.1", "1.0"):
            raise RequestRefused(400, "HTTP versions 1.0 and 1.1 are spoken here")
        has_body = self._check_framing()
        if has_body and self.parser.should_upgrade():
            raise RequestRefused(400, "a request that asks for an upgrade has no body")
        super().on_headers_complete()
        self._is_in_head = False
        self._is_in_body = True
        if self.expect_100_continue and has_body:
            # A client whose request is answered before it sends the body may go on without sending it
            # (RFC 9110, 10.1.1): what it sends next could be read as that body.
            self.cycle.keep_alive = False

    def _check_framing(self) -> bool:
        """Return whether a body follows; refuse any framing that two parsers could read differently."""
        lengths: list[bytes] = []
        codings: list[bytes] = []
        for name, value in self.headers:
            if name == b"content-length":
                lengths.append(value)
            elif name == b"transfer-encoding":
                codings.append(value)
        if not lengths and not codings:
            return False
        if lengths and codings:
            raise RequestRefused(400, "both Content-Length and Transfer-Encoding")
        if codings:
            if codings != [b"chunked"] and [coding.strip().lower() for coding in codings] != [b"chunked"]:
                raise RequestRefused(400, "Transfer-Encoding other than chunked")
            if self.parser.get_http_version() != "1.1":
                raise RequestRefused(400, "Transfer-Encoding in a version that has none")
            return True
        if len(lengths) > 1 or not _DIGITS.fullmatch(lengths[0]):
            raise RequestRefused(400, "Content-Length must be one decimal number")
        return lengths[0].strip(b"0") != b""

    def on_body(self, body: bytes) -> None:
        """Pass a piece of the body on, unless the request was refused."""
        self._body_bytes += len(body)
        if not self._is_refused:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """Note that the request is whole."""
        self._is_in_body = False
        if self.expect_100_continue:
            self.cycle.keep_alive = self.scope["http_version"] == "1.1" and self.parser.should_keep_alive()
        super().on_message_complete()

    @property
    def _newest(self) -> RequestResponseCycle | None:
        cycle: RequestResponseCycle | None = self.cycle
        return cycle

    def _refuse(self, status: int, detail: str) -> None:
        """Answer in the request's turn, and close; nothing more is read."""
        self._is_refused = True
        self._stop_patience()
        if self.transport.is_closing():
            return
        newest = self._newest
        if newest is None or (self._is_in_head and newest.response_complete):
            self._write_refusal(status, detail)
        elif self._is_in_head:
            # The newest request is the one before: when it is answered, so is this one.
            newest.on_response = partial(self._write_refusal, status, detail)
            self.flow.resume_reading()  # to notice that the client leaves; what comes is dropped
        elif self.pipeline and self.pipeline[0][0] is newest:
            self.pipeline[0] = (newest, partial(self._refuse_in_turn, newest, status, detail))
            self.flow.resume_reading()
        elif newest.response_started:
            newest.disconnected = True
            newest.message_event.set()
            self.transport.close()
        else:
            newest.disconnected = True
            newest.message_event.set()
            self._write_refusal(status, detail)

    async def _refuse_in_turn(
        self, cycle: RequestResponseCycle, status: int, detail: str, *_asgi: Any
    ) -> None:
        cycle.disconnected = True
        self._write_refusal(status, detail)

    def _write_refusal(self, status: int, detail: str) -> None:
        if self.transport.is_closing():
            return
        title = HTTPStatus(status).phrase
        body = json.dumps({"type": "about:blank", "title": title, "status": status, "detail": detail})
        self.transport.write(
            f"HTTP/1.1 {status} {title}\r\n"
            "content-type: application/problem+json\r\n"
            f"content-length: {len(body)}\r\n"
            "x-served-by: gateway\r\n"
            "connection: close\r\n\r\n"
            f"{body}".encode()
        )
        self.transport.close()

    def _keep_time(self, *, was_in_head: bool) -> None:
        """Keep one timer: on a head since its first byte, on a body or an idle connection since its last."""
        if self._is_in_head:
            if was_in_head and self._patience is not None:
                return
            timeout_s = HEAD_TIMEOUT_S
        elif self._is_in_body:
            timeout_s = BODY_IDLE_TIMEOUT_S
        else:
            timeout_s = 0.0
            if self._newest is None or self._newest.response_complete:
                # Line ends between requests begin none, and have stopped uvicorn's own timer.
                self.timeout_keep_alive_task = self.loop.call_later(
                    self.timeout_keep_alive, self.timeout_keep_alive_handler
                )
        self._stop_patience()
        if timeout_s:
            self._patience = self.loop.call_later(timeout_s, self._lose_patience)

    def _lose_patience(self) -> None:
        self._patience = None
        if self.transport.is_closing():
            return
        cycle = self._newest
        if self.flow.read_paused or (
            self._is_in_body and cycle is not None and cycle.waiting_for_100_continue
        ):
            # The app has not asked for more, or a request before this one is served: the client is not slow.
            self._patience = self.loop.call_later(BODY_IDLE_TIMEOUT_S, self._lose_patience)
        elif self._is_in_head:
            self._refuse(408, "the request head did not arrive in time")
        elif self._is_in_body and cycle is not None:
            if not cycle.response_complete:
                cycle.disconnected = True
                cycle.message_event.set()
            self.transport.close()
