"""Keep a row's rate limits: one budget for both backends, counted where the request comes in.

The counting is the ``limits`` library's (moving window); this module only joins it to the table.
"""

from __future__ import annotations

import time
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from limits import RateLimitItem
    from limits.strategies import MovingWindowRateLimiter

    from gateway.table.spec import RateLimit


class RateLimiter:
    """Count requests in this process's memory; it outlives reloads, so that a reload resets no budget.

    The library is imported with the first limited request: most tables limit nothing, and start faster.
    """

    @cached_property
    def _strategy(self) -> MovingWindowRateLimiter:
        from limits.storage import MemoryStorage
        from limits.strategies import MovingWindowRateLimiter

        return MovingWindowRateLimiter(MemoryStorage())

    def wait_s(self, limits: tuple[RateLimit, ...], row: str, caller: str) -> float:
        """Count one request of ``caller`` on ``row``; return 0.0, or the seconds until it may try again.

        A request that one of several limits refuses is counted against none of them.
        """
        items = [_item(limit) for limit in limits]
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


def _item(limit: RateLimit) -> RateLimitItem:
    from limits import parse

    return parse(f"{limit.amount} per {limit.multiples} {limit.unit}")
