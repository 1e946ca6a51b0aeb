"""Keep a row's rate limits: one budget for both backends, counted where the request comes in.

The counting is the ``limits`` library's (moving window); this module only joins it to the table.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from limits import RateLimitItem, RateLimitItemPerDay, RateLimitItemPerHour, RateLimitItemPerMinute
from limits import RateLimitItemPerSecond as PerSecond
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter

if TYPE_CHECKING:
    from gateway.table.spec import RateLimit

_UNITS: dict[str, type[RateLimitItem]] = {
    "second": PerSecond,
    "minute": RateLimitItemPerMinute,
    "hour": RateLimitItemPerHour,
    "day": RateLimitItemPerDay,
}


class RateLimiter:
    """Count requests in this process's memory; it outlives reloads, so that a reload resets no budget."""

    def __init__(self) -> None:
        self._strategy = MovingWindowRateLimiter(MemoryStorage())

    def wait_s(self, limits: tuple[RateLimit, ...], row: str, caller: str) -> float:
        """Count one request of ``caller`` on ``row``; return 0.0, or the seconds until it may try again.

        A request that one of several limits refuses is counted against none of them.
        """
        items = [_UNITS[limit.unit](limit.amount, limit.multiples) for limit in limits]
        waits = [
            self._strategy.get_window_stats(item, row, caller).reset_time - time.time()
            for item in items
            if not self._strategy.test(item, row, caller)
        ]
        if waits:
            return max(1.0, *waits)
        for item in items:
            self._strategy.hit(item, row, caller)
        return 0.0
