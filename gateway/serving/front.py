"""Take one request its way: screen, match, decide, call, observe. This is the gateway's hot path.

    client ─ guard ─ way_of(method, path) ─ decide(route, caller) ─ backend(scope, receive, send) ─ client

A plain row (its stage alone decides, nothing is limited or repeated) goes straight to its backend with
one thin ``send``. Everything that a request reads here is immutable, but for the counters.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from time import monotonic
from typing import TYPE_CHECKING

from gateway.compat import LEGACY_APP_KEY
from gateway.context import REQUEST_ID
from gateway.errors import BackendError, BackendMalformed, BackendOverloaded, BackendTorn, RequestRefused
from gateway.rollout.breaker import BreakerState
from gateway.serving.answers import Answer, retry_after
from gateway.serving.assignment import caller_key
from gateway.serving.decide import BackendName, decide, overridden
from gateway.serving.fallback import Attempt
from gateway.serving.guard import keep_first_cookies
from gateway.serving.paths import canonicalise
from gateway.serving.responder import Responder, too_large
from gateway.serving.witness import DIVERTED, STRAIGHT, UNSEEN, Course
from gateway.shadowing.capture import Capture
from gateway.shadowing.onlooker import watch

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from gateway.backends.base import AsgiApp, Receive, Scope, Send
    from gateway.recording.recorder import Recorder
    from gateway.serving.generation import Generation, Way
    from gateway.serving.guard import Screened
    from gateway.serving.limits import RateLimiter
    from gateway.serving.sampling import Sampler
    from gateway.shadowing.lull import Lull
    from gateway.shadowing.onlooker import Onlooker
    from gateway.table.route import Route

log = logging.getLogger("gateway")

CLOSED = BreakerState.CLOSED

_BODILESS = frozenset({"GET", "HEAD", "OPTIONS"})


class Front:
    """Serve requests by the present :class:`Generation`, which :meth:`swap` replaces between two of them."""

    def __init__(
        self,
        generation: Generation,
        *,
        limiter: RateLimiter,
        sampler: Sampler,
        lull: Lull,
        recorder: Recorder | None = None,
        read_session: Callable[[bytes], Mapping[str, object] | None],
        legacy_app: object | None = None,
    ) -> None:
        self.generation = generation
        self.in_flight = 0
        self._limiter = limiter
        self._sampler = sampler
        self._lull = lull
        self._recorder = recorder
        self._read_session = read_session
        self._legacy_app = legacy_app

    def swap(self, generation: Generation) -> None:
        """Serve by ``generation`` from the next request on; those under way keep theirs."""
        self.generation = generation

    def _leave(self) -> None:
        self.in_flight -= 1
        if not self.in_flight:
            self._lull.comes()

    def serve(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Answer one HTTP request that is not the gateway's own.

        Screening and matching are done at once; what is returned calls the backend. A coroutine of its
        own around that would cost every request a frame.
        """
        entered_s = monotonic()
        generation = self.generation
        try:
            screened = generation.guard.screen(scope)
        except RequestRefused as refusal:
            return self._refuse(generation, refusal, scope, send, entered_s)
        method = scope["method"]
        way = generation.way_of(method, scope["path"])
        REQUEST_ID.set(screened.request_id.decode("latin-1"))
        is_compared = way.sampling is not None and self._sampler.is_drawn(way, method)
        recorder = self._recorder if self._recorder is not None and self._recorder.wants(scope) else None
        if is_compared or recorder is not None:
            capture = Capture(scope, receive, send, _cap_bytes(way, recorder))
            responder = Responder(
                capture.scope, capture.receive, capture.send, generation, way, screened.request_id, entered_s
            )
            return self._serve_captured(
                generation, way, screened, capture, responder, recorder, is_compared=is_compared
            )
        responder = Responder(scope, receive, send, generation, way, screened.request_id, entered_s)
        if method not in _BODILESS or way.body_limit_bytes is not None:
            receive = responder.receive
        breaker = way.breaker
        if way.is_plain and not screened.override and (breaker is None or breaker.state is CLOSED):
            return self._call(way, way.decision.backend, screened, responder, receive)  # type: ignore[union-attr] # a plain way is decided
        return self._serve_with_care(generation, way, screened, responder, receive)

    async def _serve_captured(
        self,
        generation: Generation,
        way: Way,
        screened: Screened,
        capture: Capture,
        responder: Responder,
        recorder: Recorder | None,
        *,
        is_compared: bool,
    ) -> None:
        """Serve a request that is compared or recorded: kept as it streams past, used when it is answered."""
        call, served = None, way
        if is_compared:
            call = self._sampler.rehearsal(way, capture, responder, self._as_new(way, screened))
            served = call.way if call is not None else way
        try:
            await self._serve_with_care(generation, served, screened, responder, responder.receive)
        finally:
            if is_compared:
                other_side = self._as_new(way, screened) if responder.backend == "legacy" else way.legacy
                self._sampler.offer(way, capture, responder, other_side, call)
            if recorder is not None and not responder.is_overtaken:
                exchange = capture.exchange("new" if responder.backend == "new" else "legacy")
                if exchange is not None:
                    recorder.offer(exchange.record, exchange.observation, exchange.primary)

    def _as_new(self, way: Way, screened: Screened) -> AsgiApp:
        """Return new as a request of this way reaches it."""

        async def call(scope: Scope, receive: Receive, send: Send) -> None:
            self._prepare_for_new(way, screened, scope)
            await way.new(scope, receive, send)

        return call

    async def _refuse(
        self, generation: Generation, refusal: RequestRefused, scope: Scope, send: Send, entered_s: float
    ) -> None:
        closing = ((b"connection", b"close"),) if refusal.is_closing else ()
        answer = Answer(refusal.status, refusal.detail, (*refusal.headers, *closing))
        seconds = monotonic() - entered_s
        generation.to_legacy.counts.add("gateway", refusal.status, scope["method"], seconds)
        await generation.answers.send(answer, scope, send)

    async def _call(
        self,
        way: Way,
        backend: BackendName,
        screened: Screened,
        responder: Responder,
        receive: Receive,
        course: Course = STRAIGHT,
    ) -> None:
        """Call one backend and see the call through, whatever becomes of it."""
        scope = responder.scope
        responder.backend = backend
        has_raised = False
        self.in_flight += 1
        try:
            app: AsgiApp
            if backend == "new":
                app = way.new
                self._prepare_for_new(way, screened, scope)
            else:
                app = way.legacy
            responder.watch()
            await app(scope, receive, responder.send)
        except (Exception, asyncio.CancelledError) as error:
            has_raised = not isinstance(error, asyncio.CancelledError | RequestRefused)
            if not responder.is_expired:
                await self._settle_failure(error, way, backend, responder)
        finally:
            self._leave()
            responder.settle()
            witness = way.witness
            if witness is not None and course is not UNSEEN:
                has_answered = course is STRAIGHT and not has_raised and 0 < responder.status < 500
                if has_answered and backend == "new" and witness.succeed is not None:
                    witness.succeed(monotonic())
                else:
                    course.report(witness, backend, responder, has_raised=has_raised)
        if responder.is_expired:
            await responder.finish_expired()

    async def _settle_failure(
        self, error: BaseException, way: Way, backend: BackendName, responder: Responder
    ) -> None:
        """Answer for a backend that failed before its response; raise what is the server's to handle."""
        if isinstance(error, RequestRefused):
            await responder.answer_now(Answer(error.status, error.detail, error.headers))
            return
        if isinstance(error, asyncio.CancelledError):
            raise error
        way.tally.failures[backend] += 1
        if responder.is_complete:
            # Starlette raises again what it has answered with a 500. Raised on, the server would close the
            # connection without a word, under the next request of a client that keeps it.
            log.error("%s raised behind its answer to %r", backend, responder.scope["path"], exc_info=error)
            return
        if not isinstance(error, BackendError) or isinstance(error, BackendTorn) or responder.has_started:
            raise error
        await responder.answer_now(_answer_for(error))

    def _prepare_for_new(self, way: Way, screened: Screened, scope: Scope) -> None:
        canonicalise(scope, allow_encoded_slash=way.allow_encoded_slash)
        if screened.has_repeated_cookie:
            scope["headers"] = keep_first_cookies(scope["headers"])
        if self._legacy_app is not None:
            scope[LEGACY_APP_KEY] = self._legacy_app

    async def _serve_with_care(
        self,
        generation: Generation,
        way: Way,
        screened: Screened,
        responder: Responder,
        receive: Receive,
    ) -> None:
        """Serve a row that decides by caller, limits, falls back, or is overridden by a tester."""
        scope = responder.scope
        spec = generation.snapshot.spec
        choice = overridden(screened.override, screened.token, spec.server.override_token)
        course = STRAIGHT
        if choice is not None:
            backend: BackendName = choice
            responder.is_private = True
            course = UNSEEN
        elif way.decision is not None:
            backend = way.decision.backend
        else:
            assert way.route is not None, "only a route can be undecided"  # noqa: S101 - an invariant, for the type checker
            decision = decide(way.route, scope, salt=spec.salt, read_session=self._read_session)
            backend = decision.backend
            course = Course(caller=decision.caller)
        refused = await self._limit(way, scope)
        if refused is not None:
            await responder.answer_now(refused)
            return
        if backend == "new" and choice is None and way.witness is not None:
            direction = way.witness.way()
            if direction == "legacy":
                backend, course = "legacy", DIVERTED
            elif direction == "probe":
                course = replace(course, is_probe=True)
        if backend == "new" and choice is None and way.route is not None and way.route.spec.has_fallback:
            may_be_done_twice = _may_be_done_twice(way.route, scope)
            onlooker = watch() if way.is_new_in_process and not may_be_done_twice else None
            if may_be_done_twice or onlooker is not None:
                await self._call_with_fallback(way, screened, responder, receive, course, onlooker)
                return
        await self._call(way, backend, screened, responder, receive, course)

    async def _limit(self, way: Way, scope: Scope) -> Answer | None:
        """Return the 413 or 429 that this request has run into, or None."""
        route = way.route
        if route is None:
            return None
        limit = route.spec.body_limit_bytes
        if limit is not None and _declared_length(scope) > limit:
            return too_large(limit)
        if route.spec.rate_limits:
            caller = caller_key(route.spec.rate_key, scope, route, self._read_session)
            wait_s = await self._limiter.wait_s(route.spec.rate_limits, route.key, caller)
            if wait_s:
                limits = "; ".join(str(limit) for limit in route.spec.rate_limits)
                return Answer(429, f"the limit of {limits} is used up", tuple(retry_after(wait_s)))
        return None

    async def _call_with_fallback(
        self,
        way: Way,
        screened: Screened,
        responder: Responder,
        receive: Receive,
        course: Course,
        onlooker: Onlooker | None,
    ) -> None:
        """Call new; when it fails before anything was sent, let legacy answer and count it against new."""
        scope = responder.scope
        original: Scope = {**scope, "headers": list(scope["headers"])}
        responder.backend = "new"
        attempt = Attempt(receive, responder.send, onlooker)
        must_fall_back = has_raised = False
        self.in_flight += 1
        try:
            self._prepare_for_new(way, screened, scope)
            responder.watch(attempt.expire)
            must_fall_back = await attempt.answer(way.new, scope)
        except (Exception, asyncio.CancelledError) as error:
            has_raised = not isinstance(error, asyncio.CancelledError | RequestRefused)
            await self._settle_failure(error, way, "new", responder)
            return
        finally:
            self._leave()
            responder.settle()
            if way.witness is not None:
                has_failed = has_raised or must_fall_back
                course.report(way.witness, "new", responder, has_raised=has_failed)
        if must_fall_back and not responder.is_overtaken:
            way.tally.failures["new"] += 1
            way.tally.fallbacks += 1
            if way.witness is not None:
                way.witness.fell_back()
            responder.scope, responder.is_at_once = original, False
            await self._call(way, "legacy", screened, responder, attempt.replay.replay, DIVERTED)

    async def serve_websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand a websocket to new where a ``WS`` row lists it; refuse it otherwise (legacy speaks none)."""
        generation = self.generation
        try:
            screened = generation.guard.screen(scope)
            route = generation.snapshot.websocket_matcher.match("WS", scope["path"])
            if route is None:
                raise RequestRefused(404, "no WS row lists this path")
            way = generation.ways[route]
            self._prepare_for_new(way, screened, scope)
        except RequestRefused as refusal:
            log.info("websocket %s refused: %s", scope.get("path"), refusal.detail)
            await send({"type": "websocket.close", "code": 1008, "reason": refusal.detail})
            return
        REQUEST_ID.set(screened.request_id.decode("latin-1"))
        self.in_flight += 1
        way.counts.add("new", 101, "WS", 0.0)
        try:
            await way.new(scope, receive, send)
        finally:
            self._leave()


def _cap_bytes(way: Way, recorder: Recorder | None) -> int:
    """Return how much of a body is worth keeping for the comparison and for the recording."""
    caps = [way.sampling.cap_bytes] if way.sampling is not None else []
    return max([*caps, recorder.body_cap_bytes] if recorder is not None else caps)


def _answer_for(error: BackendError) -> Answer:
    log.error("%s: %s", error.backend, error.detail)
    headers = tuple(retry_after(error.retry_after_s)) if isinstance(error, BackendOverloaded) else ()
    if isinstance(error, BackendMalformed):
        return Answer(error.status, f"{error.backend} sent a malformed response head")
    details = {
        502: f"{error.backend} could not be reached",
        503: f"{error.backend} has too many requests waiting",
        504: f"{error.backend} did not respond in time",
    }
    return Answer(error.status, details.get(error.status, "the backend failed"), headers)


def _declared_length(scope: Scope) -> int:
    for name, value in scope["headers"]:
        if name == b"content-length":
            return int(value) if value.isdigit() else 0
    return 0


def _may_be_done_twice(route: Route, scope: Scope) -> bool:
    """Tell whether a request may be sent again, whatever became of it: it is safe, or has a key."""
    return route.is_safe(scope["method"]) or any(
        name == b"idempotency-key" for name, _value in scope["headers"]
    )
