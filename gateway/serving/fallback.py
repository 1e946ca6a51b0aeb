"""Let legacy answer when new failed before anything was sent, where the request may be repeated.

New's attempt runs in a task of its own, so that one that hangs is left behind. What the client sent
is kept up to a cap and replayed; beyond the cap new's answer stands, whatever it is.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING

from gateway.errors import BackendTimeout, RequestRefused

if TYPE_CHECKING:
    from gateway.backends.base import AsgiApp, Message, Receive, Scope, Send

log = logging.getLogger("gateway")

REPLAY_LIMIT_BYTES = 262_144


class Replay:
    """Record what ``receive`` gives, up to a cap, so that a second call reads the same body again."""

    def __init__(self, receive: Receive, limit_bytes: int = REPLAY_LIMIT_BYTES) -> None:
        self._receive = receive
        self._limit_bytes = limit_bytes
        self._kept: list[Message] = []
        self._kept_bytes = 0
        self._again = 0
        self.is_whole = True
        self.has_left = False
        """Whether the client left while the first call was under way."""

    async def record(self) -> Message:
        """Be the first call's ``receive``."""
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

    async def replay(self) -> Message:
        """Be the second call's ``receive``: what was kept, then what is still to come."""
        if self._again < len(self._kept):
            self._again += 1
            return self._kept[self._again - 1]
        return await self._receive()


class Attempt:
    """Be new's ``send`` while its answer may still be taken back."""

    def __init__(self, send: Send, replay: Replay) -> None:
        self._send = send
        self._replay = replay
        self.is_failed = False
        self.has_started = False
        self.settled = asyncio.Event()

    async def send(self, message: Message) -> None:
        """Hold a 5xx back where the request can be repeated; pass everything else on."""
        if self.is_failed:
            return
        if not self.has_started and message["type"] == "http.response.start":
            if message["status"] >= 500 and self._replay.is_whole:
                self.is_failed = True
                self.settled.set()
                return
            self.has_started = True
            self.settled.set()
        await self._send(message)


async def answer_or_fall_back(
    new: AsgiApp, scope: Scope, receive: Receive, send: Send, *, timeout_s: float
) -> tuple[bool, Replay]:
    """Call new; return (whether legacy must answer instead, the replay to answer from).

    New failed when it raised, sent a 5xx, or sent nothing within ``timeout_s`` seconds, but not when it
    sent nothing because the client left. An exception after its response began, or with a body that is no
    longer whole, propagates; and a timeout with such a body, of which legacy would see the end only, raises
    :class:`~gateway.errors.BackendTimeout`.
    """
    replay = Replay(receive)
    attempt = Attempt(send, replay)
    task = asyncio.ensure_future(new(scope, replay.record, attempt.send))
    task.add_done_callback(lambda _task: attempt.settled.set())
    try:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await attempt.settled.wait()
        if attempt.has_started:
            await task
            return False, replay
        if task.done() and not attempt.is_failed:
            error = task.exception()
            if isinstance(error, RequestRefused) or (error is not None and not replay.is_whole):
                raise error
            if error is not None:
                log.error("new failed on %s; legacy answers", scope.get("path"), exc_info=error)
            return replay.is_whole and (error is not None or not replay.has_left), replay
        attempt.is_failed = True
        if not replay.is_whole:
            raise BackendTimeout(
                "new", f"no response within {timeout_s:g} s, and its request cannot be repeated"
            )
        return True, replay
    finally:
        if not task.done():
            task.cancel()
            task.add_done_callback(_retrieve)
        else:
            _retrieve(task)


def _retrieve(task: asyncio.Future[None]) -> None:
    """Take a left-behind attempt's exception, so that the loop does not report it as never retrieved."""
    if not task.cancelled():
        task.exception()
