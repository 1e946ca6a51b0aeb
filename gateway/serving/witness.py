"""Tell the breaker and the evidence how a route's requests went. Nothing here waits, and nothing raises.

Every way towards new that has a way back has a breaker; a row that moves by itself has evidence besides.
Who was sent to new, or to legacy, by no draw of the canary (a pin, a tester's override, an open breaker)
says nothing about the two sides' callers, and is not counted among them.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from hashlib import blake2b
from time import monotonic
from typing import TYPE_CHECKING

from gateway.rollout.evidence import request_counters, sketch_bit
from gateway.store import EventRecord

if TYPE_CHECKING:
    from gateway.rollout.breaker import Breaker
    from gateway.rollout.breaker import Way as BreakerWay
    from gateway.rollout.state import State
    from gateway.serving.decide import BackendName
    from gateway.serving.responder import Responder
    from gateway.store import Scope
    from gateway.table.route import Route

log = logging.getLogger("gateway")


@dataclass(frozen=True, slots=True)
class Course:
    """Say how a request came to its backend, as far as that matters to those who count.

    ``caller`` is who was drawn by the canary (empty: nobody was), ``is_probe`` that the request tries new
    again for an open breaker, ``is_diverted`` that the breaker or a fallback sent it to legacy,
    ``is_unseen`` that a tester chose.
    """

    caller: str = ""
    is_probe: bool = False
    is_diverted: bool = False
    is_unseen: bool = False

    def report(
        self, witness: Witness, backend: BackendName, responder: Responder, *, has_raised: bool
    ) -> None:
        """Tell ``witness`` how the call went: what ``responder`` saw of it, or that it raised.

        No answer and no failure means that the client left, or that the gateway refused: nothing counts.
        """
        status = responder.status
        if status or has_raised:
            is_failure = has_raised or status >= 500
            witness.saw(self, backend, is_failure=is_failure, seconds=responder.seconds)
        elif self.is_probe:
            witness.lost_probe()


STRAIGHT, DIVERTED, UNSEEN = Course(), Course(is_diverted=True), Course(is_unseen=True)


class Witness:
    """See what becomes of one route's requests. ``scope`` is None where no evidence is gathered."""

    __slots__ = ("_has_fallback", "_route", "_scope", "_state", "breaker", "succeed")

    def __init__(self, route: Route, breaker: Breaker | None, scope: Scope | None, state: State) -> None:
        self.breaker = breaker
        self._route = route
        self._scope = scope
        self._state = state
        self._has_fallback = route.spec.has_fallback
        is_breaker_all = breaker is not None and scope is None and not route.spec.has_fallback
        self.succeed = breaker.succeed if breaker is not None and is_breaker_all else None
        """Takes note, at a monotonic time, of an answer of new that is no failure, where the breaker is all
        that wants to know: what nearly every request comes to, at the price of one call."""

    def way(self) -> BreakerWay:
        """Return where a request that was decided for new goes: ``new``, ``legacy`` or ``probe``."""
        return "new" if self.breaker is None else self.breaker.way(monotonic())

    def saw(self, course: Course, backend: BackendName, *, is_failure: bool, seconds: float | None) -> None:
        """Take note of one answer, or of a failure to answer; ``seconds`` is the time to the first byte."""
        breaker = self.breaker
        if breaker is not None:
            self._tell_breaker(breaker, backend, is_failure=is_failure, is_probe=course.is_probe)
            if self._has_fallback and not course.is_diverted and not (is_failure and backend == "new"):
                breaker.record_request(monotonic(), is_fallback=False)
        store = self._state.store
        if self._scope is None or course.is_diverted or store is None:
            return
        store.record(self._scope, request_counters(backend, is_error=is_failure, seconds=seconds))
        if course.caller:
            name = course.caller.encode("utf-8", "replace")
            caller = int.from_bytes(blake2b(name, digest_size=8).digest()) >> 1
            store.record_caller(self._scope, backend, *sketch_bit(caller))
            if is_failure:
                store.record_error_caller(self._scope, backend, caller)

    def fell_back(self) -> None:
        """Count that legacy answers for new, whose failure :meth:`saw` has been told of."""
        if self.breaker is not None and self.breaker.record_request(monotonic(), is_fallback=True):
            self._announce(self.breaker)
        if self._scope is not None and self._state.store is not None:
            self._state.store.record(self._scope, {"fallbacks": 1})

    def lost_probe(self) -> None:
        """Say that a request which was to try new again ended without an answer."""
        if self.breaker is not None:
            self.breaker.abandon_probe()

    def _tell_breaker(
        self, breaker: Breaker, backend: BackendName, *, is_failure: bool, is_probe: bool
    ) -> None:
        now = monotonic()
        if backend == "new":
            if breaker.record_new(now, is_failure=is_failure, is_probe=is_probe):
                self._announce(breaker)
        else:
            breaker.record_legacy(now, is_failure=is_failure)

    def _announce(self, breaker: Breaker) -> None:
        is_open = breaker.state == "open"
        if is_open:
            log.error(
                "%s: the breaker is open for %g s, legacy answers: %s",
                self._route.key,
                breaker.wait_s,
                breaker.reason,
            )
        else:
            log.warning("%s: the breaker is closed, new answers again", self._route.key)
        self._state.record_event(
            EventRecord(
                at=time.time(),
                route_id=self._route.id,
                key=self._route.key,
                kind="breaker_opened" if is_open else "breaker_closed",
                caused_by="breaker",
                sentence=breaker.reason if is_open else "new answers again",
                numbers={"wait_s": breaker.wait_s, "times_opened": breaker.times_opened} if is_open else {},
            )
        )
