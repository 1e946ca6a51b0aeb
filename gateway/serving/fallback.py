"""Let legacy answer when new failed before anything was sent, where the request may be repeated.

New's attempt runs in a task of its own, so that one that hangs is left behind. What the client sent
is kept up to a cap and replayed; beyond the cap new's answer stands, whatever it is. So does the answer to
a request that may be done but once, unless an onlooker knows that new has done nothing that stays.
"""

from __future__ import annotations

import asyncio
import logging
from contextvars import copy_context
from typing import TYPE_CHECKING

from gateway.errors import BackendTimeout, RequestRefused
from gateway.shadowing.watching import WATCHER

if TYPE_CHECKING:
    from gateway.backends.base import AsgiApp, Message, Receive, Scope, Send
    from gateway.shadowing.onlooker import Onlooker

log = logging.getLogger("gateway")

REPLAY_LIMIT_BYTES = 262_144

CANCEL_GRACE_S = 0.5
"""How long new may take to roll back what legacy may wait for, before nobody is asked any more."""


class Replay:
    """Record what ``receive`` gives, up to a cap, so that a second call reads the same body again."""

    def __init__(self, receive: Receive, limit_bytes: int = REPLAY_LIMIT_BYTES) -> None:
        self._receive = receive
        self._limit_bytes = limit_bytes
        self._kept: list[Message] = []
        self._kept_bytes = 0
        self._again = 0
        self._is_closed = False
        self.is_whole = True
        self.has_left = False
        """Whether the client left while the first call was under way."""

    async def record(self) -> Message:
        """Be the first call's ``receive``."""
        if self._is_closed:
            return {"type": "http.disconnect"}
        message = await self._receive()
        if self.is_whole and message["type"] == "http.request":
            self._kept_bytes += len(message.get("body", b""))
            if self._kept_bytes > self._limit_bytes:
                self.is_whole = False
                self._kept.clear()
            else:
                self._kept.append(message)
        elif message["type"] == "http.disconnect":
            self.has_left = True
        return message

    def close(self) -> None:
        """Give the first call nothing more: what is still to come is the second's."""
        self._is_closed = True

    async def replay(self) -> Message:
        """Be the second call's ``receive``: what was kept, then what is still to come."""
        if self._again < len(self._kept):
            self._again += 1
            return self._kept[self._again - 1]
        return await self._receive()


class Attempt:
    """Be a call of new that legacy may answer instead; made in the event loop.

    ``onlooker`` is given for a request that may be done but once.
    """

    def __init__(self, receive: Receive, send: Send, onlooker: Onlooker | None = None) -> None:
        self.replay = Replay(receive)
        self._send = send
        self._onlooker = onlooker
        self._is_left = False
        self._has_started = False
        self._settled = asyncio.Event()

    def expire(self) -> None:
        """Be told that new's time is up."""
        self._settled.set()

    async def answer(self, new: AsgiApp, scope: Scope) -> bool:
        """Call new; return whether legacy must answer instead, reading from :attr:`replay`.

        New failed when it raised, sent a 5xx, or sent nothing until :meth:`expire`, but not when it sent
        nothing because the client left. An exception after its response began, or of a request that cannot
        be repeated, propagates; when such a request expires, or one whose transaction new does not let go
        of, :class:`~gateway.errors.BackendTimeout` is raised.
        """
        context = copy_context()
        if self._onlooker is not None:
            context.run(WATCHER.set, self._onlooker)
        call = _call(new, scope, self.replay.record, self._pass)
        task = asyncio.get_running_loop().create_task(call, context=context)
        task.add_done_callback(lambda _task: self._settled.set())
        try:
            await self._settled.wait()
            if self._has_started:
                await task
                return False
            if not self._is_left:
                if task.done():
                    error = asyncio.CancelledError() if task.cancelled() else task.exception()
                    return self._must_be_repeated(error, scope)
                if not self._may_be_repeated():
                    raise BackendTimeout("new", "no response in time, and its request cannot be repeated")
                self._is_left = True
            if self._onlooker is not None and self._onlooker.is_holding and not task.done():
                task.cancel()
                await asyncio.wait({task}, timeout=CANCEL_GRACE_S)
                if self._onlooker.is_holding:
                    raise BackendTimeout(
                        "new", "it does not let go of a transaction that legacy may wait for"
                    )
            return True
        finally:
            if not self._has_started:
                self._is_left = True
                self.replay.close()
            if not task.done():
                task.cancel()
                task.add_done_callback(_retrieve)
            else:
                _retrieve(task)

    async def _pass(self, message: Message) -> None:
        """Be new's ``send``: hold a 5xx back where the request can be repeated; pass everything else on."""
        if self._is_left:
            return
        if not self._has_started and message["type"] == "http.response.start":
            if message["status"] >= 500 and self._may_be_repeated():
                self._is_left = True
                self._settled.set()
                return
            self._has_started = True
            self._settled.set()
        await self._send(message)

    def _must_be_repeated(self, error: BaseException | None, scope: Scope) -> bool:
        """Tell what follows from new's end without an answer."""
        if error is None:
            return not self.replay.has_left and self._may_be_repeated()
        if isinstance(error, RequestRefused) or not self._may_be_repeated():
            raise error
        log.error("new failed on %s; legacy answers", scope.get("path"), exc_info=error)
        return True

    def _may_be_repeated(self) -> bool:
        """Tell whether legacy can do the whole request; if so new cannot any more."""
        if not self.replay.is_whole:
            return False
        if self._onlooker is None or self._onlooker.ends_untouched():
            return True
        log.info("legacy may not repeat what new failed on: new %s", self._onlooker.deed)
        return False


async def _call(new: AsgiApp, scope: Scope, receive: Receive, send: Send) -> None:
    await new(scope, receive, send)


def _retrieve(task: asyncio.Future[None]) -> None:
    """Take a left-behind attempt's exception, so that the loop does not report it as never retrieved."""
    if not task.cancelled():
        task.exception()
