"""Keep a row's rate limits: one budget for both backends, counted where the request comes in.

The counting is the ``limits`` library's (moving window); this module only joins it to the table. Where the
table names a Redis, all workers and machines count there; while it does not answer, each counts for itself.
"""

from __future__ import annotations

import time
from functools import cache, cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from limits import RateLimitItem
    from limits.strategies import MovingWindowRateLimiter

    from gateway.serving.shared_limits import SharedLimits
    from gateway.table.spec import RateLimit


class RateLimiter:
    """Count requests in ``shared`` or in this process's memory; a reload resets no budget.

    ``counted`` says how many requests were counted where. The library is imported with the first limited
    request: most tables limit nothing, and start faster.
    """

    def __init__(self, shared: SharedLimits | None = None) -> None:
        self.shared = shared
        self.counted = {"shared": 0, "local": 0}

    @cached_property
    def _strategy(self) -> MovingWindowRateLimiter:
        from limits.storage import MemoryStorage
        from limits.strategies import MovingWindowRateLimiter

        return MovingWindowRateLimiter(MemoryStorage())

    async def wait_s(self, limits: tuple[RateLimit, ...], row: str, caller: str) -> float:
        """Count one request of ``caller`` on ``row``; return 0.0, or the seconds until it may try again.

        A request that one of several limits refuses is counted against none of them.
        """
        items = [_item(limit) for limit in limits]
        if self.shared is not None:
            wait_s = await self.shared.wait_s(items, row, caller)
            if wait_s is not None:
                self.counted["shared"] += 1
                return wait_s
        self.counted["local"] += 1
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


@cache
def _item(limit: RateLimit) -> RateLimitItem:
    from limits import parse

    return parse(f"{limit.amount} per {limit.multiples} {limit.unit}")
