"""Refuse, below ASGI, what must not become a request: ambiguous framing, foreign targets, slow heads.

This is uvicorn's httptools protocol with the part of the ingress guard that needs the bytes on the
wire. A refusal is one response and a closed connection, and no app is called. Under another server
(``uvicorn gateway.asgi:app``) that server's own parser decides these; see docs/security.md.

Sources: RFC 9112 (3.2 request target, 5 field syntax, 6.1 Transfer-Encoding, 6.3 message body length).
"""

from __future__ import annotations

import json
import re
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

_DIGITS = re.compile(rb"[0-9]{1,19}")


class GuardedHttpProtocol(HttpToolsProtocol):
    """Be uvicorn's HTTP/1.1 protocol with the framing checks of the guard."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._head_bytes = 0
        self._is_in_head = False
        self._is_refused = False
        self._patience: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Give a new connection its time to send a whole request head."""
        super().connection_made(transport)
        self._is_in_head = True
        self._patience = self.loop.call_later(HEAD_TIMEOUT_S, self._lose_patience)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the timer with the connection."""
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Feed the parser; answer a refusal that a callback raised, and time what is incomplete."""
        if self._is_refused:
            return
        self._unset_keepalive_if_required()
        was_in_head = self._is_in_head
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
        self._keep_time(was_in_head=was_in_head)

    def _upgrade(self) -> None:
        if self._should_upgrade():
            if self._patience is not None:
                self._patience.cancel()
                self._patience = None
            self.handle_websocket_upgrade()
        else:
            # The parser stops reading HTTP here: what follows must never be taken for a request.
            self.cycle.keep_alive = False
            self._is_refused = True

    def on_message_begin(self) -> None:
        """Start to count a request head."""
        super().on_message_begin()
        self._head_bytes = 0
        self._is_in_head = True

    def on_url(self, url: bytes) -> None:
        """Bound the request target together with the headers."""
        self._count(len(url), 414)
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Bound the number and size of header fields; drop trailers, which would arrive behind the guard."""
        self._count(len(name) + len(value) + 4, 431)
        if len(self.headers) >= HEADERS_LIMIT:
            raise RequestRefused(431, f"more than {HEADERS_LIMIT} header fields")
        if self._is_in_head:
            super().on_header(name, value)

    def _count(self, size_bytes: int, status: int) -> None:
        self._head_bytes += size_bytes
        if self._head_bytes > HEADERS_LIMIT_BYTES:
            raise RequestRefused(status, f"the request head is over {HEADERS_LIMIT_BYTES} bytes")

    def on_headers_complete(self) -> None:
        """Check target and framing once the head is whole; only then does a request exist."""
        self._is_in_head = False
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
        if not self._is_refused:
            super().on_body(body)

    def _refuse(self, status: int, detail: str) -> None:
        """Answer on the wire and close; what an earlier request is still being sent ends with it."""
        self._is_refused = True
        if self.transport.is_closing():
            return
        cycle: RequestResponseCycle | None = self.cycle
        if cycle is not None and cycle.response_started and not cycle.response_complete:
            self.transport.close()
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
        if cycle is not None and not cycle.response_complete:
            cycle.disconnected = True
            cycle.message_event.set()

    def _is_body_incomplete(self) -> bool:
        cycle: RequestResponseCycle | None = self.cycle
        return cycle is not None and cycle.more_body and not cycle.response_complete

    def _keep_time(self, *, was_in_head: bool) -> None:
        """Keep one timer: on a head that is not whole since its first byte, on a body since its last one."""
        if self._is_in_head:
            if was_in_head and self._patience is not None:
                return
            timeout_s = HEAD_TIMEOUT_S
        elif self._is_body_incomplete():
            timeout_s = BODY_IDLE_TIMEOUT_S
        else:
            timeout_s = 0.0
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None
        if timeout_s:
            self._patience = self.loop.call_later(timeout_s, self._lose_patience)

    def _lose_patience(self) -> None:
        self._patience = None
        if self.transport.is_closing():
            return
        if self._is_in_head:
            self._refuse(408, "the request head did not arrive in time")
        elif self.flow.read_paused:
            # The app has not asked for more: the client is not the slow one.
            self._patience = self.loop.call_later(BODY_IDLE_TIMEOUT_S, self._lose_patience)
        elif self._is_body_incomplete():
            self.cycle.disconnected = True
            self.cycle.message_event.set()
            self.transport.close()
