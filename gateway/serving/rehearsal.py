"""Put new's rehearsal before legacy's answer, for one request of a row that says ``writes: rehearse``.

Law: legacy is called whatever becomes of the rehearsal, with the whole body, and with its whole timeout.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from time import monotonic
from typing import TYPE_CHECKING

from gateway.shadowing.rehearsing import LIMIT_S
from gateway.shadowing.written import WRITE_LOG, WriteLog

if TYPE_CHECKING:
    from gateway.backends.base import AsgiApp, Message, Receive, Scope, Send
    from gateway.serving.generation import Way
    from gateway.serving.responder import Responder
    from gateway.shadowing.capture import Capture
    from gateway.shadowing.rehearsing import Rehearsals, Rehearsed


class RehearsedCall:
    """Be one request that is rehearsed if legacy answers it. ``way`` is to be served in the stead of its own.

    ``new`` is new as the rehearsal reaches it. ``rehearsed`` is what came of it, ``written`` what legacy
    wrote then; both are None until they are known, and where there was no rehearsal.
    """

    __slots__ = (
        "_capture",
        "_is_new_asked",
        "_new",
        "_original",
        "_rehearsals",
        "_responder",
        "rehearsed",
        "way",
        "written",
    )

    def __init__(
        self, way: Way, new: AsgiApp, rehearsals: Rehearsals, capture: Capture, responder: Responder
    ) -> None:
        self.rehearsed: Rehearsed | None = None
        self.written: WriteLog | None = None
        self._new = new
        self._original = way
        self._rehearsals = rehearsals
        self._capture = capture
        self._responder = responder
        self._is_new_asked = False
        self.way = replace(way, legacy=self._answer_by_legacy, new=self._answer_by_new)

    async def _answer_by_new(self, scope: Scope, receive: Receive, send: Send) -> None:
        # Should legacy be asked after this, it is because new failed, having done who knows what.
        self._is_new_asked = True
        await self._original.new(scope, receive, send)

    async def _answer_by_legacy(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._is_new_asked:
            await self._original.legacy(scope, receive, send)
            return
        waited_s = 0.0
        body = ReadAhead(receive)
        reason = await self._read(body, scope)
        if reason:
            self._rehearsals.ledger.drop(reason)
        elif body.is_whole:
            # The time for legacy's answer is not running while new has its own.
            self._responder.settle()
            began_s = monotonic()
            self.rehearsed = await self._rehearse(scope, body.data())
            waited_s = monotonic() - began_s
            self._responder.watch()
            self._capture.restart_clock()
        self.written = WriteLog()
        token = WRITE_LOG.set(self.written)
        try:
            await self._original.legacy(scope, body.receive, send)
        finally:
            WRITE_LOG.reset(token)
            if self._responder.seconds is not None:  # as evidence, legacy took only its own time
                self._responder.seconds -= waited_s

    async def _read(self, body: ReadAhead, scope: Scope) -> str:
        """Read the request's body as far as it is worth it; return why it cannot be rehearsed, or nothing."""
        sampling = self._original.sampling
        assert sampling is not None, "what is rehearsed has been drawn"  # noqa: S101 - an invariant, for the type checker
        if any(name == b"expect" for name, _value in scope["headers"]):
            return "rehearsal: the client asks first whether it may send its body"
        await body.read(sampling.cap_bytes, LIMIT_S)
        if body.length_bytes > sampling.cap_bytes:
            return "request body over the cap"
        return "rehearsal: the request body came slowly" if body.is_late else ""

    async def _rehearse(self, scope: Scope, body: bytes) -> Rehearsed | None:
        way = self._original
        assert way.route is not None and way.sampling is not None  # noqa: S101, PT018 - as above
        return await self._rehearsals.rehearse(
            self._new,
            scope,
            body,
            route=way.route.key,
            timeout_s=way.deadlines.timeout_s,
            cap_bytes=way.sampling.cap_bytes,
        )


class ReadAhead:
    """Read a request's body before it is wanted, and give it out again as it came, with what comes then."""

    def __init__(self, receive: Receive) -> None:
        self.is_whole = False
        self.is_late = False
        self.length_bytes = 0
        self._receive = receive
        self._kept: list[Message] = []
        self._given = 0

    async def read(self, cap_bytes: int, limit_s: float) -> None:
        """Read until the body is whole, over ``cap_bytes``, ``limit_s`` seconds late, or broken off."""
        try:
            async with asyncio.timeout(limit_s):
                while not self.is_whole and self.length_bytes <= cap_bytes:
                    message = await self._receive()
                    self._kept.append(message)
                    if message["type"] != "http.request":
                        return
                    self.length_bytes += len(message.get("body", b""))
                    self.is_whole = not message.get("more_body", False)
        except TimeoutError:
            self.is_late = True

    def data(self) -> bytes:
        """Return what was read."""
        return b"".join(message.get("body", b"") for message in self._kept)

    async def receive(self) -> Message:
        """Be the ``receive`` of who answers."""
        if self._given < len(self._kept):
            self._given += 1
            return self._kept[self._given - 1]
        return await self._receive()
