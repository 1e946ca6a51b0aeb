"""Draw which requests are compared, and hand their copies over once the client has its answer.

Only safe methods are drawn (GET, HEAD, and what a row declares ``safe: true``): a second call of anything
else would write twice.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from gateway.shadowing.shadows import Job

if TYPE_CHECKING:
    from gateway.backends.base import AsgiApp
    from gateway.serving.generation import Way
    from gateway.serving.responder import Responder
    from gateway.shadowing.capture import Capture
    from gateway.shadowing.shadows import Shadows


class Sampler:
    """Choose and offer comparisons for the front; what becomes of them is :class:`Shadows`' affair."""

    def __init__(self, shadows: Shadows) -> None:
        self._shadows = shadows

    def is_drawn(self, way: Way, method: str) -> bool:
        """Return whether this request of ``way`` is to be compared."""
        sampling, route = way.sampling, way.route
        if sampling is None or route is None or not route.is_safe(method):
            return False
        if self._shadows.ledger.is_stopped(route.key) and not sampling.may_write:
            return False
        return sampling.sample_bp >= 10_000 or random.randrange(10_000) < sampling.sample_bp  # noqa: S311 - a sample, no secret

    def offer(self, way: Way, capture: Capture, responder: Responder, other_side: AsgiApp) -> None:
        """Queue the second call of a request that was served; count why, where there can be none."""
        primary = responder.backend
        if way.sampling is None or way.route is None or responder.is_overtaken or primary == "gateway":
            return
        exchange = capture.exchange("legacy" if primary == "legacy" else "new")
        if exchange is None:
            self._shadows.ledger.drop("no whole answer")
            return
        self._shadows.offer(
            Job(
                exchange,
                other_side,
                way.route.key,
                way.sampling.scope,
                way.sampling.terms,
                way.deadlines.timeout_s,
                way.sampling.cap_bytes,
                may_write=way.sampling.may_write,
            )
        )
