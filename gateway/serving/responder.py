"""Send one request's response: marks who served it, keeps its deadline, and lets nobody answer twice.

A responder stands between a backend and the server's ``send``. Its own work is done at the response's
first message; every later one is handed through untouched.
"""

from __future__ import annotations

import asyncio
import logging
import re
from asyncio import current_task
from time import monotonic
from typing import TYPE_CHECKING

from gateway.serving.answers import Answer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from gateway.backends.base import Message, Receive, Scope, Send
    from gateway.serving.generation import Generation, Way

log = logging.getLogger("gateway")

# What may not stand in a header value (RFC 9110, 5.5): it would let an app's data write headers.
_find_forbidden = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]").search
_is_token = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+").fullmatch
# The message's framing and the connection are the server's (RFC 9112, 6.1; RFC 9110, 7.6.1): written by an
# app as well, they would say something else than what is sent.
_SERVERS_OWN = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)
_LEARNED_LIMIT = 1_000
PIECE_BYTES = 32 * 1024
"""What is handed to the server at once. A server buffers what it is given, whatever the client has read."""
_clean_names: set[bytes] = set()
_SERVED_BY = {name: (b"x-served-by", name.encode()) for name in ("legacy", "new", "gateway")}


class Responder:
    """Be the ``send`` that a backend gets, and the one who answers in its stead when it must.

    ``status`` is what the backend has done so far: its answer's status, 502 or 504 where it spoiled it or
    was late, and 0 while it has done nothing. ``seconds`` is the time from the request's entry to the first
    message of its answer. ``is_at_once`` tells that the backend was called as soon as that could be: the time
    before is the gateway's own, and not a client's body or another backend's attempt.
    """

    __slots__ = (
        "_answering",
        "_body_seen_bytes",
        "_entered_s",
        "_generation",
        "_is_bodiless",
        "_on_expiry",
        "_receive",
        "_send",
        "_task",
        "_way",
        "backend",
        "has_started",
        "is_at_once",
        "is_complete",
        "is_expired",
        "is_overtaken",
        "is_private",
        "request_id",
        "scope",
        "seconds",
        "status",
    )

    def __init__(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        generation: Generation,
        way: Way,
        request_id: bytes,
        entered_s: float,
    ) -> None:
        """Answer one request, which came in at ``entered_s`` (on the monotonic clock)."""
        self.scope = scope
        self.backend = "gateway"
        self.request_id = request_id
        self.has_started = False
        self.is_at_once = True
        self.is_complete = False
        self.is_expired = False
        self.is_overtaken = False
        self.is_private = False
        self.seconds: float | None = None
        self.status = 0
        self._is_bodiless = False
        self._receive = receive
        self._send = send
        self._generation = generation
        self._entered_s = entered_s
        self._way = way
        self._body_seen_bytes = 0
        self._task: asyncio.Task[object] | None = None
        self._on_expiry: Callable[[], None] | None = None
        self._answering: asyncio.Future[None] | None = None

    def watch(self, on_expiry: Callable[[], None] | None = None) -> None:
        """Start the deadline of this request, which the current task serves.

        When it is over, ``on_expiry`` is called; without one it is :meth:`expire` that acts.
        """
        self._task = current_task()
        self._on_expiry = on_expiry
        self._way.deadlines.arm(self)

    def settle(self) -> None:
        """Stop the deadline, whatever has happened (a response that has started has stopped it)."""
        if not self.has_started:
            self._way.deadlines.disarm(self)

    def send(self, message: Message) -> Awaitable[None]:
        """Pass one of the backend's messages on. It is the ASGI ``send`` of the call."""
        if self.is_overtaken:
            return _nothing()
        if self.has_started:
            self.is_complete = not message.get("more_body", False)
            if self._is_bodiless and message.get("body"):
                message = {**message, "body": b""}
            elif len(message.get("body", b"")) > PIECE_BYTES:
                return self._send_in_pieces(message)
            return self._send(message)
        if message["type"] == "http.response.start":
            return self._start(message)
        return self._send(message)

    async def _send_in_pieces(self, message: Message) -> None:
        """Send a large body bit by bit: the server holds one piece for a client that reads slowly."""
        body, has_more = message["body"], message.get("more_body", False)
        for begin in range(0, len(body), PIECE_BYTES):
            is_last = begin + PIECE_BYTES >= len(body)
            piece = body[begin : begin + PIECE_BYTES]
            await self._send({**message, "body": piece, "more_body": has_more or not is_last})

    def _start(self, message: Message) -> Awaitable[None]:
        came_s = monotonic()
        headers = [*message.get("headers", ())]
        status = message["status"]
        has_id = is_framed = False
        length: bytes | None = None
        for name, value in headers:
            if _find_forbidden(value):
                return self._refuse_header(name)
            if name in _clean_names:
                continue
            lowered = name.lower()
            if lowered == b"content-length":
                if not value.isdigit() or (length is not None and length != value):
                    return self._refuse_header(name)
                is_framed = is_framed or length is not None
                length = value
            elif lowered == b"x-request-id":
                has_id = True
            elif lowered in _SERVERS_OWN:
                is_framed = True
            elif not _is_clean(name):
                return self._refuse_header(name)
        if not 200 <= status <= 599:
            log.error("%s sent the status %r, which ends no exchange; answered 502", self.backend, status)
            self.status = 502
            return self.answer_now(Answer(502, f"{self.backend} sent a malformed status"))
        if status in (204, 304):
            self._is_bodiless = is_framed = True
            length = None
        if is_framed:
            headers = _unframed(headers, length)
        self.has_started = True
        self.status = status
        self.seconds = seconds = came_s - self._entered_s
        called_s = self._way.deadlines.disarm(self)
        self._way.counts.add(self.backend, status, self.scope["method"], seconds)
        if self.is_private:
            headers = [field for field in headers if field[0] != b"cache-control"]
            headers.append((b"cache-control", b"private"))
        if self._generation.is_exposed:
            headers.append(_SERVED_BY[self.backend])
        if not has_id:
            headers.append((b"x-request-id", self.request_id))
        message["headers"] = headers
        overhead = self._generation.overhead
        if came_s >= overhead.due_s and self.is_at_once and called_s is not None:
            overhead.measure(called_s - self._entered_s, came_s, monotonic())
        return self._send(message)

    def _refuse_header(self, name: bytes) -> Awaitable[None]:
        log.error(
            "%s sent a header that would break the response apart: %r; answered 502", self.backend, name
        )
        self.status = 502
        return self.answer_now(Answer(502, f"{self.backend} sent a malformed header"))

    async def receive(self) -> Message:
        """Receive for the backend: an arriving body restarts the deadline, one over the limit ends it."""
        if self.is_overtaken:
            return {"type": "http.disconnect"}
        message = await self._receive()
        if message["type"] == "http.request" and not self.has_started:
            self.is_at_once = False
            self._way.deadlines.restart(self)
            limit = self._way.body_limit_bytes
            if limit is not None:
                self._body_seen_bytes += len(message.get("body", b""))
                if self._body_seen_bytes > limit:
                    await self.answer_now(too_large(limit))
                    return {"type": "http.disconnect"}
        return message

    async def answer_now(self, answer: Answer) -> None:
        """Answer in the backend's stead; nothing that it sends from now on reaches the client."""
        if not self.has_started and not self.is_overtaken:
            await self._overtake(answer)

    def _overtake(self, answer: Answer) -> Awaitable[None]:
        self.is_overtaken = True
        self._way.deadlines.disarm(self)
        self._way.counts.add("gateway", answer.status, self.scope["method"], monotonic() - self._entered_s)
        return self._generation.answers.send(answer, self.scope, self._send, self.request_id)

    def expire(self) -> None:
        """Answer 504 at once, then cancel the call: a backend that ignores it keeps no client waiting."""
        if self._on_expiry is not None:
            self._on_expiry()
            return
        timeout_s = self._way.deadlines.timeout_s
        self.is_expired = True
        self.status = 504
        self._way.tally.failures[self.backend] += 1
        log.warning(
            "%s %s: no response from %s within %g s; answered 504",
            self.scope.get("method"),
            self.scope.get("path"),
            self.backend,
            timeout_s,
        )
        answer = Answer(504, f"{self.backend} did not respond within {timeout_s:g} s")
        self._answering = asyncio.ensure_future(self._overtake(answer))
        if self._task is not None:
            self._task.cancel()

    async def finish_expired(self) -> None:
        """Take back the cancel of :meth:`expire`, and see its answer sent."""
        if self._task is not None:
            self._task.uncancel()
        if self._answering is not None:
            await self._answering


def too_large(limit_bytes: int) -> Answer:
    """Return the 413 answer of a body limit."""
    return Answer(413, f"the request body is larger than {limit_bytes} bytes", ((b"connection", b"close"),))


def _is_clean(name: bytes) -> bool:
    """Tell whether a header name can be sent, and remember one that can: apps use few."""
    if not _is_token(name):
        return False
    if len(_clean_names) < _LEARNED_LIMIT:
        _clean_names.add(name)
    return True


def _unframed(headers: list[tuple[bytes, bytes]], length: bytes | None) -> list[tuple[bytes, bytes]]:
    """Return the headers with ``length`` as the one Content-Length, and a wish to close as the one hop's."""
    kept = [field for field in headers if field[0].lower() not in _SERVERS_OWN | {b"content-length"}]
    if length is not None:
        kept.append((b"content-length", length))
    if any(name.lower() == b"connection" and b"close" in value.lower() for name, value in headers):
        kept.append((b"connection", b"close"))
    return kept


async def _nothing() -> None:
    """Be the awaitable of a message that nobody wants any more."""
