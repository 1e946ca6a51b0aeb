"""Bring news from the bridge's threads into the event loop, many pieces of news in one callback.

Law: a post wakes the loop only when no wake-up is on its way. The flag is cleared by the loop before it
looks, and raised by a thread after it has posted, so that no news is lost.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio

    from gateway.backends.exchange import Exchange


class Turnstile:
    """Bring news of exchanges from the threads into one event loop: many in one callback."""

    __slots__ = ("_is_turning", "_news", "loop")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._news: deque[Exchange] = deque()
        self._is_turning = False

    def post(self, exchange: Exchange) -> None:
        """Wake whoever waits for ``exchange``; callable from any thread."""
        self._news.append(exchange)
        # Cleared by the loop before it looks: a post is seen, or it finds the flag cleared.
        if not self._is_turning:
            self._is_turning = True
            try:
                self.loop.call_soon_threadsafe(self._turn)
            except RuntimeError:
                # The loop is closed: nobody waits there any more.
                exchange.is_gone = True

    def _turn(self) -> None:
        self._is_turning = False
        news = self._news
        while news:
            wake(news.popleft())


def wake(exchange: Exchange) -> None:
    """Let the task that waits for ``exchange`` look again; on the loop."""
    waiter = exchange.waiter
    if waiter is not None and not waiter.done():
        waiter.set_result(None)
