"""Draw which requests are compared, and hand their copies over once the client has its answer.

Safe methods are drawn (GET, HEAD, and what a row declares ``safe: true``), since a second call of anything
else would write twice; with ``writes: rehearse`` the others as well: then new comes first, and is undone.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from gateway.serving.rehearsal import RehearsedCall
from gateway.shadowing.rehearsing import Rehearsals
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
        self._rehearsals = Rehearsals(shadows.ledger)

    def is_drawn(self, way: Way, method: str) -> bool:
        """Return whether this request of ``way`` is to be compared."""
        sampling, route = way.sampling, way.route
        if sampling is None or route is None or not (route.is_safe(method) or sampling.is_rehearsing):
            return False
        if self._shadows.ledger.is_stopped(route.key) and not sampling.may_write:
            return False
        return sampling.sample_bp >= 10_000 or random.randrange(10_000) < sampling.sample_bp  # noqa: S311 - a sample, no secret

    def rehearsal(
        self, way: Way, capture: Capture, responder: Responder, new: AsgiApp
    ) -> RehearsedCall | None:
        """Return how a drawn request is served if it is to be rehearsed first, which ``new`` is to do."""
        if way.route is None or way.route.is_safe(capture.scope["method"]):
            return None
        if self._shadows.is_lagging:
            self._shadows.ledger.drop("event loop lag")
            return None
        return RehearsedCall(way, new, self._rehearsals, capture, responder)

    def offer(
        self,
        way: Way,
        capture: Capture,
        responder: Responder,
        other_side: AsgiApp,
        call: RehearsedCall | None = None,
    ) -> None:
        """Queue the comparison of a request that was served; count why, where there can be none.

        A request that may write has had its ``call`` of the other side, or there is nothing to compare.
        """
        primary = responder.backend
        if way.sampling is None or way.route is None or responder.is_overtaken or primary == "gateway":
            return
        rehearsed = call.rehearsed if call is not None else None
        if rehearsed is None and not way.route.is_safe(capture.scope["method"]):
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
                rehearsed=rehearsed,
                written=call.written if call is not None else None,
            )
        )
