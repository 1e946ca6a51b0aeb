"""Let a WSGI app be a backend: answer ASGI requests with it, on threads of its own.

Law: whatever the app does, the event loop never waits for it; whatever the client does, no thread is
lost to it. One hand-over takes a request to a thread, one brings a short answer back. A request that
is cancelled, or whose client left, gives its thread back as soon as the view yields or returns; a view
that never does costs its own thread, is counted, and is named in the log with its stack.

    environ.py         what the app is told            request_body.py   what it reads
    threads.py         where it runs                   inlet.py          how that comes in
    exchange.py        one request on its thread       wsgi_response.py  what it may answer
    turnstile.py       the way back to the loop        wsgi_errors.py    what it complains of
"""

from __future__ import annotations

import asyncio
import logging
import traceback
from contextvars import copy_context
from io import BytesIO
from time import monotonic
from typing import TYPE_CHECKING

from gateway.backends.base import Health
from gateway.backends.environ import EnvironBuilder
from gateway.backends.exchange import Exchange, logger
from gateway.backends.inlet import Inlet, may_have_body
from gateway.backends.threads import PoolFull, ThreadPool
from gateway.backends.turnstile import Turnstile, wake
from gateway.backends.wsgi_errors import ErrorLog
from gateway.backends.wsgi_response import FileWrapper, MalformedHead
from gateway.errors import BackendMalformed, BackendOverloaded, BackendTorn, BackendUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from gateway.backends.base import Receive, Scope, Send
    from gateway.backends.threads import Worker

TICK_S = 1.0
"""How often (seconds) long-running requests are looked after."""


class WsgiBridge:
    """Answer with the WSGI app ``app``.

    ``threads`` run it at once (1 serves an app that is not thread-safe), ``queue`` more requests may
    wait; beyond that :class:`~gateway.errors.BackendOverloaded` is raised. ``root_path`` is the prefix
    under which the app believes it is mounted. A view that outlives its request by ``stuck_after_s``
    seconds is named in the log. ``is_multiprocess`` is what the app reads in ``wsgi.multiprocess``.
    """

    def __init__(
        self,
        app: Callable[..., Iterable[bytes]],
        *,
        threads: int = 16,
        queue: int = 128,
        root_path: str = "",
        name: str = "legacy",
        stuck_after_s: float = 5.0,
        is_multiprocess: bool = False,
    ) -> None:
        self.app = app
        self.name = name
        self.threads = threads
        self.queue = queue
        self.root_path = root_path
        self._stuck_after_s = stuck_after_s
        self._environs = EnvironBuilder(
            root_path=root_path,
            constants={
                "wsgi.version": (1, 0),
                "wsgi.errors": ErrorLog(logging.getLogger("gateway.legacy")),
                "wsgi.multithread": threads > 1,
                "wsgi.multiprocess": is_multiprocess,
                "wsgi.run_once": False,
                "wsgi.input_terminated": True,
                "wsgi.file_wrapper": FileWrapper,
            },
        )
        self._pool = self._new_pool()
        self._turnstile: Turnstile | None = None
        self._calls: set[Exchange] = set()
        self._ticker: asyncio.TimerHandle | None = None
        self._is_stopped = False
        self._drained: asyncio.Future[None] | None = None

    def _new_pool(self) -> ThreadPool:
        return ThreadPool(threads=self.threads, queue=self.queue, name=self.name)

    # Life.

    async def start(self) -> None:
        """Get ready to serve in the running loop; threads start when they are needed."""
        if self._is_stopped:
            self._pool = self._new_pool()
            self._is_stopped = False
        self._attach(asyncio.get_running_loop())

    async def stop(self, grace_s: float) -> None:
        """Let requests finish within ``grace_s`` seconds, give up the others, let the threads go."""
        self._is_stopped = True
        if self._calls:
            self._drained = asyncio.get_running_loop().create_future()
            await asyncio.wait([self._drained], timeout=grace_s)
            self._drained = None
        for exchange in list(self._calls):
            exchange.failure = BackendUnavailable(self.name, "the bridge stopped before the app answered")
            exchange.is_given_up = True
            self._abandon(exchange)
            wake(exchange)
        self._pool.close()
        if self._ticker is not None:
            self._ticker.cancel()
            self._ticker = None

    def health(self) -> Health:
        """Tell how many threads may run, have started, are ``busy`` and ``stuck``; how many requests wait."""
        stuck = sum(1 for _ in self._overdue())
        facts = {
            "threads": self.threads,
            "threads_started": len(self._pool.workers),
            "busy": self._pool.busy(),
            "stuck": stuck,
            "queued": self._pool.waiting(),
            "queue": self.queue,
        }
        if self._is_stopped:
            return Health(False, "it has stopped", facts)
        if stuck >= self.threads:
            return Health(False, f"all {self.threads} threads hang in views that do not return", facts)
        return Health(True, "", facts)

    # Serving.

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one http request (a lifespan runs this backend's own life; a websocket is refused)."""
        if scope["type"] != "http":
            await self._answer_other(scope, receive, send)
            return
        if self._is_stopped:
            raise BackendUnavailable(self.name, "the bridge has stopped")
        loop = asyncio.get_running_loop()
        turnstile = self._turnstile
        if turnstile is None or turnstile.loop is not loop:
            turnstile = self._attach(loop)
        environ = self._environs.build(scope)
        exchange = Exchange(self.app, scope, receive, environ, copy_context(), turnstile.post)
        self._calls.add(exchange)
        try:
            if may_have_body(environ):
                await self._take_body(exchange, loop)
            else:
                environ["wsgi.input"] = BytesIO()
            self._submit(exchange)
            if self._ticker is None:
                self._ticker = loop.call_later(TICK_S, self._tick)
            await self._relay(exchange, send, loop)
        finally:
            self._calls.discard(exchange)
            if not exchange.is_closed:
                self._abandon(exchange)
            if exchange.inlet is not None:
                exchange.inlet.stop()
            if self._drained is not None and not self._calls and not self._drained.done():
                self._drained.set_result(None)

    def _attach(self, loop: asyncio.AbstractEventLoop) -> Turnstile:
        if self._ticker is not None:
            self._ticker.cancel()
            self._ticker = None
        self._turnstile = Turnstile(loop)
        return self._turnstile

    def _submit(self, exchange: Exchange) -> None:
        try:
            self._pool.submit(exchange)
        except PoolFull:
            exchange.is_closed = True
            raise BackendOverloaded(
                self.name, f"all {self.threads} threads are busy and {self.queue} requests wait"
            ) from None

    async def _take_body(self, exchange: Exchange, loop: asyncio.AbstractEventLoop) -> None:
        """Give the app its body: all of it when it has come, otherwise a stream."""
        environ = exchange.environ
        inlet = self._new_inlet(exchange, loop, has_body=True)
        # Who asks for leave to send is not told to go on before the app reads (RFC 9110 section 10.1.1).
        if environ.get("HTTP_EXPECT", "").lower() != "100-continue":
            await inlet.prefetch()
        body = inlet.body
        environ["wsgi.input"] = BytesIO(body.take_all()) if body.is_whole else body

    def _new_inlet(self, exchange: Exchange, loop: asyncio.AbstractEventLoop, *, has_body: bool) -> Inlet:
        def on_left(is_whole: bool) -> None:
            # An app that has not run yet still runs when its body broke off: it meets the gap where
            # it reads, as under any server.
            if is_whole:
                self._abandon(exchange)
            else:
                exchange.leave()
            wake(exchange)

        def on_error(error: Exception) -> None:
            exchange.failure = error
            self._abandon(exchange)
            wake(exchange)

        inlet = Inlet(loop, exchange.receive, on_left, on_error, has_body=has_body)
        exchange.inlet = inlet
        return inlet

    def _watch(self, exchange: Exchange, loop: asyncio.AbstractEventLoop) -> None:
        """Learn from now on that the client left."""
        inlet = exchange.inlet
        if inlet is None:
            inlet = self._new_inlet(exchange, loop, has_body=False)
        inlet.watch()

    async def _relay(self, exchange: Exchange, send: Send, loop: asyncio.AbstractEventLoop) -> None:
        """Send what the app answers until it is complete, or nobody wants it."""
        messages = exchange.messages
        has_started = False
        while True:
            # The thread writes messages before these, so what they say covers what is drained below.
            torn, is_closed = exchange.torn, exchange.is_closed
            while messages and not exchange.is_gone:
                message = messages.popleft()
                has_started = True
                try:
                    await send(message)
                except OSError:
                    # The way in which ASGI 2.4 says that the client left.
                    exchange.leave()
                    break
                if message["type"] == "http.response.body":
                    if not message["more_body"]:
                        if not exchange.is_closed:
                            await self._wait_for_close(exchange, loop)
                        return
                    exchange.acknowledge(len(message["body"]))
                    self._watch(exchange, loop)
            if exchange.failure is not None:
                if has_started:
                    raise BackendTorn(self.name, str(exchange.failure)) from exchange.failure
                raise exchange.failure
            if isinstance(torn, MalformedHead) and not has_started and not exchange.is_gone:
                raise BackendMalformed(self.name, str(torn)) from torn
            if torn is not None and not exchange.is_gone:
                raise BackendTorn(self.name, "the app failed after its response had begun") from torn
            if is_closed or exchange.is_given_up:
                return
            exchange.waiter = loop.create_future()
            if not (messages and not exchange.is_gone) and exchange.torn is None and not exchange.is_closed:
                await exchange.waiter

    async def _wait_for_close(self, exchange: Exchange, loop: asyncio.AbstractEventLoop) -> None:
        """Stay until ``close()`` has run, so that who calls the bridge sees its effects."""
        exchange.over_at = monotonic()
        exchange.is_awaited = True
        exchange.waiter = loop.create_future()
        if not exchange.is_closed:
            await exchange.waiter

    def _abandon(self, exchange: Exchange) -> None:
        """Give up an exchange: never run it when it still waits, else free its thread at the next chance."""
        exchange.leave()
        if exchange.inlet is not None:
            exchange.inlet.body.fail("the request was given up")
        if not exchange.is_started and self._pool.remove(exchange):
            exchange.is_closed = True

    # What takes too long.

    def _tick(self) -> None:
        """Look after requests that take seconds: clients that left, threads that are stuck."""
        turnstile = self._turnstile
        if turnstile is None:
            return
        deadline = monotonic() - self._stuck_after_s
        for exchange in list(self._calls):
            exchange.ticks += 1
            if 0 < exchange.over_at < deadline:
                exchange.is_given_up = True
                wake(exchange)
            elif exchange.ticks > 1 and not exchange.is_gone:
                self._watch(exchange, turnstile.loop)
        for worker, exchange in self._overdue():
            if not exchange.is_reported:
                exchange.is_reported = True
                frame = worker.frame()
                logger.warning(
                    "%s %s: the view still runs %.0f s after its request was over, and keeps thread %s:\n%s",
                    exchange.scope["method"],
                    exchange.environ["RAW_URI"],
                    monotonic() - exchange.over_at,
                    worker.thread.name,
                    "".join(traceback.format_stack(frame)) if frame is not None else "(no stack)",
                )
        is_busy = bool(self._calls) or self._pool.busy() > 0
        self._ticker = turnstile.loop.call_later(TICK_S, self._tick) if is_busy else None

    def _overdue(self) -> Iterator[tuple[Worker, Exchange]]:
        deadline = monotonic() - self._stuck_after_s
        for worker in self._pool.workers:
            job = worker.job
            if isinstance(job, Exchange) and 0 < job.over_at < deadline:
                yield worker, job

    async def _answer_other(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1000})
            return
        if scope["type"] != "lifespan":
            raise ValueError(f"a WSGI app cannot answer a scope of type {scope['type']!r}")
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                await self.start()
                await send({"type": "lifespan.startup.complete"})
            else:
                await self.stop(0)
                await send({"type": "lifespan.shutdown.complete"})
                return
