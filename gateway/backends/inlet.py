"""Receive for one request on the event loop: its body first, the client's leaving afterwards.

Law: ``receive`` is awaited by one task at a time, this one. It receives while the reader has room, and
goes on after the body only when it is asked to watch: a server tells only him who waits in ``receive``
that the client left, ``send`` keeps silent.
"""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Any

from gateway.backends.request_body import HIGH_WATER_BYTES, BodyStream

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.backends.base import Receive
    from gateway.backends.environ import Environ

PREFETCH_S = 0.05
"""How long (seconds) a request waits for the first of its body before it takes a thread."""

_BODYLESS = frozenset({"GET", "HEAD", "OPTIONS", "DELETE", "TRACE"})

_IS_EAGER = sys.version_info >= (3, 12)


def may_have_body(environ: Environ) -> bool:
    """Tell whether a body may follow the head.

    HTTP/1 says so in the head (RFC 9112 section 6.3). HTTP/2 does not, and a middleware may have taken
    ``Transfer-Encoding`` off: then methods that carry a body by nature are asked.
    """
    length: str | None = environ.get("CONTENT_LENGTH")
    if length is not None:
        return length != "0"
    return bool(
        "HTTP_TRANSFER_ENCODING" in environ
        or environ["REQUEST_METHOD"] not in _BODYLESS
        or environ["SERVER_PROTOCOL"] > "HTTP/1.1"
    )


class Inlet:
    """Receive for one request.

    ``on_left(is_whole)`` is called when the client left (``is_whole``: its whole request had come),
    ``on_error`` when ``receive`` itself raised.
    """

    __slots__ = (
        "_is_received",
        "_is_watching",
        "_loop",
        "_on_error",
        "_on_left",
        "_ready",
        "_receive",
        "_room",
        "_task",
        "body",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        receive: Receive,
        on_left: Callable[[bool], None],
        on_error: Callable[[Exception], None],
        *,
        has_body: bool,
    ) -> None:
        self._loop = loop
        self._receive = receive
        self._on_left = on_left
        self._on_error = on_error
        self._is_received = has_body
        self._is_watching = False
        self._task: asyncio.Task[None] | None = None
        self._ready: asyncio.Future[None] | None = None
        self._room: asyncio.Future[None] | None = None
        self.body = BodyStream(self._ask)
        if not has_body:
            self.body.finish()

    async def prefetch(self) -> None:
        """Start to receive; return when all is there, or much, or after ``PREFETCH_S`` seconds.

        So a short body costs its thread no waiting, and a slow client no thread.
        """
        self._start()
        if self.body.is_whole or self._task is None or self._task.done():
            return
        self._ready = self._loop.create_future()
        timer = self._loop.call_later(PREFETCH_S, self._set_ready)
        try:
            await self._ready
        finally:
            timer.cancel()
            self._ready = None

    def watch(self) -> None:
        """Tell, from now on, when the client leaves."""
        if not self._is_watching:
            self._is_watching = True
            if self.body.is_whole:
                self._start()

    def stop(self) -> None:
        """Receive no more."""
        self.body.fail("the request is over")
        if self._task is not None:
            self._task.cancel()

    def _ask(self) -> None:
        """Ask, from the reader's thread, for more of the body."""
        try:
            self._loop.call_soon_threadsafe(self._resume)
        except RuntimeError:
            # The loop is closed: nothing will come.
            self.body.fail("the server stopped")

    def _resume(self) -> None:
        if self._task is None:
            self._start()
        elif self._room is not None and not self._room.done():
            self._room.set_result(None)

    def _start(self) -> None:
        if self._task is not None and not self._task.done():
            return
        self.body.is_paused = False
        if _IS_EAGER:
            # What has already come is taken without a turn of the loop.
            eager: dict[str, Any] = {"eager_start": True}
            self._task = asyncio.Task(self._run(), loop=self._loop, **eager)
        else:
            self._task = self._loop.create_task(self._run())

    def _set_ready(self) -> None:
        if self._ready is not None and not self._ready.done():
            self._ready.set_result(None)

    async def _run(self) -> None:
        try:
            if not self.body.is_whole and not await self._pump():
                return
            if self._is_watching:
                await self._watch()
        except Exception as error:
            is_whole = self.body.is_whole
            self.body.fail("the request could not be received")
            if not is_whole:
                self._on_error(error)
        finally:
            self._set_ready()

    async def _pump(self) -> bool:
        """Feed the body; False when the client left before its end."""
        body = self.body
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                body.fail("the client left before its request was complete")
                self._on_left(False)
                return False
            body.feed(message.get("body", b""))
            if not message.get("more_body", False):
                body.finish()
                self._set_ready()
                return True
            while body.unread_bytes() >= HIGH_WATER_BYTES:
                self._set_ready()
                self._room = self._loop.create_future()
                body.is_paused = True
                # The reader may have emptied the stream before it could see the line above.
                if body.unread_bytes() >= HIGH_WATER_BYTES:
                    await self._room
                self._room = None
                body.is_paused = False

    async def _watch(self) -> None:
        # A request without a body still has one empty message, when none was received before.
        is_ended = self._is_received
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                self._on_left(True)
                return
            if is_ended:
                # No server sends a body twice; whoever does would do so for ever.
                return
            is_ended = not message.get("more_body", False)
