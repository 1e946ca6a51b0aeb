"""Watch the time to a response's first byte, for all requests of one timeout with one timer.

Requests that share a timeout expire in the order in which they came, so an ordered dict is the queue:
arming and disarming cost two dict operations and no timer of their own.

A sweep that comes late itself says nothing about a backend: the event loop was held, and answers that came
in time still wait to be taken. They get a moment to be, once.
"""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import Protocol

LATE_S = 0.1
"""How late a sweep may come, and how long the moment is."""


class Expiring(Protocol):
    """Be something that is told when its time is up. Hashed by identity."""

    def expire(self) -> None:
        """Act on the deadline, in the event loop, without waiting."""
        ...


class Deadlines:
    """Expire whatever was armed more than ``timeout_s`` seconds ago and not disarmed since."""

    __slots__ = ("_armed", "_has_waited", "_timer", "timeout_s")

    def __init__(self, timeout_s: float) -> None:
        self.timeout_s = timeout_s
        self._armed: dict[Expiring, float] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._has_waited = False

    def arm(self, item: Expiring) -> None:
        """Start the time of ``item``, which is not armed."""
        self._armed[item] = monotonic()
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self.timeout_s, self._sweep)

    def restart(self, item: Expiring) -> None:
        """Start the time of ``item`` (again); it goes to the end of the queue."""
        self._armed.pop(item, None)
        self.arm(item)

    def disarm(self, item: Expiring) -> float | None:
        """Stop the time of ``item``; return when it began (monotonic), or None when it is not armed."""
        return self._armed.pop(item, None)

    def _sweep(self) -> None:
        self._timer = None
        now = monotonic()
        oldest = next(iter(self._armed.values()), now)
        if now - oldest - self.timeout_s > LATE_S and not self._has_waited:
            self._has_waited = True
            self._timer = asyncio.get_running_loop().call_later(LATE_S, self._sweep)
            return
        self._has_waited = False
        limit = now - self.timeout_s + 0.001
        expired = []
        for item, since in self._armed.items():
            if since > limit:
                wait_s = since + self.timeout_s - now
                self._timer = asyncio.get_running_loop().call_later(max(wait_s, 0.001), self._sweep)
                break
            expired.append(item)
        for item in expired:
            del self._armed[item]
        for item in expired:
            item.expire()
