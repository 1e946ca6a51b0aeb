"""Run a WSGI app for one request on a worker's thread, and hold what passes between it and the loop.

Law: a response whose end is known at its first bytes (a list; a body that has reached its
Content-Length) is handed over whole, in one step; any other chunk is handed over the moment it is
yielded, and the thread goes on once the client has room. Nothing is handed over before the first byte
of the body, so that an error until then is a 500. ``close()`` of the iterable runs once, here.

Fields have one writer, the loop or the thread, and are read by the other; each side first writes
and then looks, so that one of the two always sees what the other did.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from time import monotonic
from typing import TYPE_CHECKING, Any

from werkzeug.exceptions import ClientDisconnected

from gateway.backends.wsgi_response import (
    MalformedHead,
    encode_headers,
    forbids_length,
    omits_body,
    parse_status,
)

if TYPE_CHECKING:
    from asyncio import Future
    from collections.abc import Callable, Iterable
    from contextvars import Context

    from gateway.backends.base import Message, Receive, Scope
    from gateway.backends.environ import Environ
    from gateway.backends.inlet import Inlet

logger = logging.getLogger("gateway.legacy")

WINDOW_BYTES = 64 * 1024
WINDOW_CHUNKS = 4
"""How much may be on its way to the client before the thread waits: either bound stops it."""

ERROR_PAGE = b"""\
<html>
  <head>
    <title>Internal Server Error</title>
  </head>
  <body>
    <h1><p>Internal Server Error</p></h1>
    \n\
  </body>
</html>
"""
"""The page that gunicorn sends when an app fails."""


class _ClientLeft(BaseException):
    """End the iteration: nobody is there to read. No Exception, so that no app catches it."""


class BodyTooShort(Exception):
    """Report that the app sent fewer bytes than its Content-Length says."""


class Exchange:
    """Be one request on its way through the bridge.

    ``post`` wakes the event loop for this exchange; it may be called from any thread.
    """

    __slots__ = (
        "_app",
        "_chunks_posted",
        "_context",
        "_is_complete",
        "_is_posted",
        "_omits_body",
        "_post",
        "_posted_bytes",
        "_remaining",
        "_window",
        "environ",
        "failure",
        "headers",
        "inlet",
        "is_awaited",
        "is_closed",
        "is_given_up",
        "is_gone",
        "is_reported",
        "is_started",
        "messages",
        "over_at",
        "receive",
        "scope",
        "sent_bytes",
        "sent_chunks",
        "status",
        "ticks",
        "torn",
        "waiter",
    )

    def __init__(
        self,
        app: Callable[..., Iterable[bytes]],
        scope: Scope,
        receive: Receive,
        environ: Environ,
        context: Context,
        post: Callable[[Exchange], None],
    ) -> None:
        self._app = app
        self._context = context
        self._post = post
        self.scope = scope
        self.receive = receive
        self.environ = environ
        # Written by the thread.
        self.messages: deque[Message] = deque()
        self.torn: BaseException | None = None
        self.is_started = False
        self.is_closed = False
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []
        self._remaining: int | None = None
        self._omits_body = False
        self._is_posted = False
        self._is_complete = False
        self._chunks_posted = 0
        self._posted_bytes = 0
        self._window: Any = None
        # Written by the loop.
        self.waiter: Future[None] | None = None
        self.is_awaited = False
        self.is_gone = False
        self.is_reported = False
        self.over_at = 0.0
        self.sent_chunks = 0
        self.sent_bytes = 0
        self.ticks = 0
        self.is_given_up = False
        self.failure: Exception | None = None
        self.inlet: Inlet | None = None

    # The loop's side.

    def acknowledge(self, size: int) -> None:
        """Note that a chunk of ``size`` bytes has been sent, and let the thread go on."""
        self.sent_chunks += 1
        self.sent_bytes += size
        self._open()

    def leave(self) -> None:
        """Note that nobody waits for the answer any more: the next chunk ends the iteration."""
        if not self.is_gone:
            self.is_gone = True
            self.over_at = self.over_at or monotonic()
        self._open()

    def _open(self) -> None:
        window = self._window
        # Only the loop releases, so "locked" cannot become untrue in between.
        if window is not None and window.locked():
            window.release()

    # The thread's side.

    def run(self) -> None:
        """Call the app and see its answer through; never raises."""
        self.is_started = True
        try:
            self._context.run(self._serve)
        except _ClientLeft:
            pass
        except BaseException as error:
            # Logging itself failed: the thread lives on, and the task that waits is told.
            self.torn = error
            self.is_awaited = True
        self.is_closed = True
        if self.is_awaited or self.is_gone:
            self._post(self)

    def _serve(self) -> None:
        iterable: Any = None
        try:
            iterable = self._app(self.environ, self.start_response)
            kind = type(iterable)
            if (kind is list or kind is tuple) and self._pass_whole(iterable):
                return
            for chunk in iterable:
                if chunk.__class__ is not bytes and not isinstance(chunk, bytes):
                    raise TypeError(f"the app yielded {type(chunk).__name__}, not bytes")
                if chunk and not self._pass(chunk):
                    break
            self._end()
        except _ClientLeft:
            pass
        except BaseException as error:
            # SystemExit and KeyboardInterrupt too end here: the thread serves on.
            self._fail(error)
        finally:
            close = getattr(iterable, "close", None)
            if close is not None:
                try:
                    close()
                except BaseException as error:
                    # The answer is out, and the thread must live.
                    self._log(error)

    def start_response(
        self, status: str, headers: list[tuple[str, str]], exc_info: Any = None
    ) -> Callable[[bytes], None]:
        """Accept status and headers (PEP 3333); return the ``write`` callable."""
        if exc_info:
            try:
                if self._is_posted:
                    raise exc_info[1].with_traceback(exc_info[2])
            finally:
                # The traceback holds this frame.
                exc_info = None
        elif self.status:
            raise AssertionError("start_response() was called twice without exc_info")
        code = parse_status(status)
        encoded, length = encode_headers(headers)
        self._omits_body = omits_body(self.scope["method"], code)
        self._remaining = length
        if self._omits_body:
            self._remaining = None
            if length is not None and forbids_length(code):
                encoded = [(name, value) for name, value in encoded if name != b"content-length"]
        self.headers = encoded
        self.status = code
        return self._write

    def _write(self, chunk: bytes) -> None:
        """Send ``chunk`` at once, and return when the client has room for more."""
        if not isinstance(chunk, bytes):
            raise TypeError(f"write() was given {type(chunk).__name__}, not bytes")
        if self.is_gone:
            raise ConnectionResetError("the client left")
        if chunk:
            self._pass(chunk)

    def _pass_whole(self, parts: list[bytes] | tuple[bytes, ...]) -> bool:
        """Hand a small answer over whole; False when it is large, or not plain bytes."""
        if len(parts) == 1:
            body = parts[0]
            if type(body) is not bytes:
                return False
        else:
            try:
                body = b"".join(parts) if sum(map(len, parts)) <= WINDOW_BYTES else b""
            except TypeError:
                return False
            if not body:
                return False
        if not body or self._is_posted or len(body) > WINDOW_BYTES:
            return False
        if self._remaining is None and not self._omits_body and self.status:
            self._deliver(body, is_last=True)
            return True
        self._pass(body)
        self._end()
        return True

    def _pass(self, chunk: bytes) -> bool:
        """Send ``chunk`` (not empty) as far as it may go; False when the app need not go on."""
        if self._is_complete:
            # The one chunk that was asked for beyond the end, so that a generator can finish.
            logger.warning(
                "%s %s: the body is longer than its Content-Length; the rest was cut",
                self.scope["method"],
                self.environ["RAW_URI"],
            )
            return False
        if not self.status:
            raise AssertionError("a body came before start_response() was called")
        if self._omits_body:
            if self.is_gone:
                raise _ClientLeft
            return True
        remaining = self._remaining
        if remaining is None:
            self._deliver(chunk, is_last=False)
            return True
        if len(chunk) < remaining:
            self._remaining = remaining - len(chunk)
            self._deliver(chunk, is_last=False)
            return True
        is_cut = len(chunk) > remaining
        self._remaining = 0
        if remaining or not self._is_posted:
            self._deliver(chunk[:remaining] if is_cut else chunk, is_last=True)
        return not (is_cut and self._pass(chunk))

    def _end(self) -> None:
        """Send what is left of the answer after the app's last chunk."""
        if self._is_complete:
            return
        if not self.status:
            raise AssertionError("the app returned without calling start_response()")
        if self._remaining:
            if not self._is_posted:
                self._deliver(b"", is_last=False)
            self.torn = BodyTooShort(f"{self._remaining} bytes of the body are missing")
            self._log(self.torn)
            self._post(self)
        else:
            self._deliver(b"", is_last=True)

    def _deliver(self, chunk: bytes, *, is_last: bool) -> None:
        """Put the chunk on its way, behind the head when it is the first; wait for room unless it is last."""
        if self.is_gone:
            raise _ClientLeft
        if not self._is_posted:
            self._is_posted = True
            if is_last and self.scope.get("http_version") == "1.0":
                self._add_length(chunk)
            self.messages.append(
                {"type": "http.response.start", "status": self.status, "headers": self.headers}
            )
        self.messages.append({"type": "http.response.body", "body": chunk, "more_body": not is_last})
        if is_last:
            self._is_complete = True
            self._post(self)
            return
        self._chunks_posted += 1
        self._posted_bytes += len(chunk)
        self._post(self)
        self._wait_for_room()

    def _add_length(self, body: bytes) -> None:
        """Say how long a whole answer is to a client that knows no chunks (RFC 9112 section 6.1)."""
        if not self._omits_body and all(name != b"content-length" for name, _ in self.headers):
            self.headers = [*self.headers, (b"content-length", str(len(body)).encode("ascii"))]

    def _wait_for_room(self) -> None:
        while (
            self._chunks_posted - self.sent_chunks >= WINDOW_CHUNKS
            or self._posted_bytes - self.sent_bytes >= WINDOW_BYTES
        ) and not self.is_gone:
            if self._window is None:
                window = threading.Lock()
                window.acquire()
                self._window = window
                continue
            self._window.acquire()

    def _fail(self, error: BaseException) -> None:
        """Answer 500 while nothing has been sent; afterwards tear the answer off.

        A head that may not be sent is the loop's to answer for: it is no failure to serve the request.
        """
        self._log(error)
        self.scope["gateway.exception"] = error
        if self.is_gone or self._is_complete:
            return
        if self._is_posted or isinstance(error, MalformedHead):
            self.torn = error
            self._post(self)
            return
        self.status = 500
        self.headers = [
            (b"content-type", b"text/html"),
            (b"content-length", str(len(ERROR_PAGE)).encode("ascii")),
        ]
        self._deliver(b"" if self.scope["method"] == "HEAD" else ERROR_PAGE, is_last=True)

    def _log(self, error: BaseException) -> None:
        target = f"{self.scope['method']} {self.environ['RAW_URI']}"
        if self.is_gone and isinstance(error, ClientDisconnected | ConnectionError):
            logger.info("%s: the client left before it was answered", target)
        else:
            logger.error("Error handling request %s", target, exc_info=error)
