"""Wait for a moment at which this process serves no client, so that second calls go into the gaps.

What a second call costs, it then costs idle time: a client that comes meanwhile waits for the rest of one
step of one call. They begin one after the other, and between two of them whoever has come in the meantime is
noticed. Where no such moment comes - an endless stream is one request for hours - nobody waits for it in vain
for long.
"""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

PATIENCE_S = 0.1
"""How long a call waits for a lull at most."""

RESIGNED_S = 1.0
"""For how long nobody waits after one has waited in vain."""

_TURNS = 3
"""Turns of the event loop from one beginning to the next: a call that never waits is over by then."""


class Lull:
    """Let calls begin one by one. ``is_busy`` tells whether a client is being served."""

    def __init__(self, is_busy: Callable[[], bool] = lambda: False) -> None:
        self._is_busy = is_busy
        self._awaited: asyncio.Future[None] | None = None
        self._one_by_one = asyncio.Lock()
        self._resigned_until_s = 0.0

    def comes(self) -> None:
        """Be told that the last client has been served, whether somebody waits for that or not."""
        if self._awaited is not None and not self._awaited.done():
            self._awaited.set_result(None)

    async def wait(self) -> None:
        """Return when there is a lull, or after :data:`PATIENCE_S`."""
        async with self._one_by_one:
            await _look_around()
            if self._is_busy() and monotonic() >= self._resigned_until_s:
                await self._wait()

    async def _wait(self) -> None:
        try:
            async with asyncio.timeout(PATIENCE_S):
                while self._is_busy():
                    self._awaited = asyncio.get_running_loop().create_future()
                    await self._awaited
                    await _look_around()
        except TimeoutError:
            self._resigned_until_s = monotonic() + RESIGNED_S
        finally:
            self._awaited = None


async def _look_around() -> None:
    """Let the event loop take in who has come: what waits in a socket is not known to be there yet."""
    for _ in range(_TURNS):
        await asyncio.sleep(0)
