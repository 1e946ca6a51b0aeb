"""Send one request to one backend in this process and observe what a client would have received."""

from __future__ import annotations

import asyncio
import traceback
from time import monotonic
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from gateway.compare.observation import Body, Observation, Raised
from gateway.errors import BackendError, BackendTimeout, RequestRefused

if TYPE_CHECKING:
    from gateway.backends.base import AsgiApp, Message, Scope
    from gateway.compare.observation import RequestRecord

_BODILESS = frozenset({204, 304})
_PLAIN = (b"content-type", b"text/plain; charset=utf-8")


def scope_of(record: RequestRecord) -> Scope:
    """Return the scope that uvicorn would make of the request (ASGI HTTP, 2.4)."""
    parts = urlsplit(record.url)
    target = record.url.partition("://")[2].partition("#")[0]
    raw_path = target[len(parts.netloc) :].partition("?")[0] or "/"
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": record.method,
        "scheme": parts.scheme,
        "path": unquote(raw_path),
        "raw_path": raw_path.encode("ascii"),
        "query_string": parts.query.encode("ascii"),
        "root_path": "",
        "headers": [(name.lower(), value) for name, value in record.headers],
        "client": ("127.0.0.1", 50_000),
        "server": (parts.hostname, parts.port or (443 if parts.scheme == "https" else 80)),
        "state": {},
    }


class _Connection:
    """Be the client of one request."""

    def __init__(self, body: bytes, *, is_head: bool) -> None:
        self._body: bytes | None = body
        self._is_head = is_head
        self._left = asyncio.Event()
        self._began_s = monotonic()
        self._pieces: list[bytes] = []
        self._first_byte_s: float | None = None
        self._headers: tuple[tuple[bytes, bytes], ...] = ()
        self._status = 0
        self._is_whole = False

    async def receive(self) -> Message:
        body, self._body = self._body, None
        if body is None:
            await self._left.wait()
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._status = message["status"]
            self._headers = tuple((bytes(name), bytes(value)) for name, value in message.get("headers", ()))
            self._first_byte_s = monotonic() - self._began_s
        elif message["type"] == "http.response.body":
            self._pieces.append(bytes(message.get("body", b"")))
            if not message.get("more_body", False):
                self._is_whole = True
                self._left.set()

    def observation(self, error: BaseException | None) -> Observation:
        """Return what a client saw: a backend that failed before its answer is answered for, as served."""
        raised = None
        if error is not None:
            name = f"{type(error).__module__}.{type(error).__qualname__}"
            # A failure that the gateway puts into words has no line of the app to show.
            shown = "" if isinstance(error, BackendError) else "".join(traceback.format_exception(error))
            raised = Raised(name, str(error), shown)
        status, headers, data = self._status, self._headers, b"".join(self._pieces)
        if not status:
            status, headers, data = _answer_for(error)
        elif self._is_head or status in _BODILESS:
            data = b""
        return Observation(
            status,
            headers,
            Body.of(data),
            raised=raised,
            first_byte_s=self._first_byte_s,
            end_s=monotonic() - self._began_s,
        )


def _answer_for(error: BaseException | None) -> tuple[int, tuple[tuple[bytes, bytes], ...], bytes]:
    if isinstance(error, RequestRefused | BackendError):
        return error.status, (_PLAIN,), error.detail.encode()
    return 500, (_PLAIN,), b"Internal Server Error"  # what uvicorn sends


async def observe(app: AsgiApp, scope: Scope, body: bytes, *, name: str, timeout_s: float) -> Observation:
    """Return what ``app`` (the backend called ``name``) does; whatever escapes from it is part of that.

    An exception that escapes after a whole answer leaves the answer as it is.
    """
    connection = _Connection(body, is_head=scope["method"] == "HEAD")
    error: BaseException | None = None
    try:
        async with asyncio.timeout(timeout_s) as limit:
            await app(scope, connection.receive, connection.send)
        error = scope.get("gateway.exception")
    except TimeoutError as raised:
        error = raised
        if limit.expired():
            error = BackendTimeout(name, f"{name} did not answer within {timeout_s:g} s")
    except asyncio.CancelledError:
        raise
    except BaseException as raised:  # an app's SystemExit must not end the test run
        error = raised
    return connection.observation(error)
