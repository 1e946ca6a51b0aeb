"""Make shadow calls from a bounded queue, and never at a client's expense.

A copy is offered after the primary's answer has been handed over. The queue is bounded by count and by
bytes, the calls by their concurrency and the row's timeout, and routes take turns at both; when the event
loop lags, shadows are the first to go. Whatever is dropped is counted with its reason: nothing here is ever
silent, and nothing waits for anything here.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.compare.engine import Terms, compare
from gateway.errors import BackendError, RequestRefused
from gateway.shadowing import writes
from gateway.shadowing.call import call_shadow
from gateway.shadowing.fair_queue import FairQueue
from gateway.shadowing.lull import Lull
from gateway.shadowing.rehearsed import compare_rehearsed

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.backends.base import AsgiApp
    from gateway.compare.observation import Observation
    from gateway.shadowing.exchange import Exchange
    from gateway.shadowing.ledger import Ledger
    from gateway.shadowing.rehearsing import Rehearsed
    from gateway.shadowing.written import WriteLog
    from gateway.store import Scope

log = logging.getLogger("gateway.shadow")

LAG_LIMIT_S = 0.1

GATHER_S = 0.1
"""How long jobs gather before they begin: ten in a row cost less than ten in between others' requests."""

QUICK_BYTES = 2_048
"""Up to this size of both bodies a comparison is made in the event loop: it takes 10 to 100 µs."""


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """Be one second call that is due: ``app`` is the other backend, ``route`` the row's canonical key.

    ``scope`` says what the comparison is evidence of: the route, its run and its step at the time of the
    request. Where the second call was a rehearsal and came first, ``rehearsed`` is what came of it, and
    ``written`` what legacy wrote thereafter: nothing is called any more.
    """

    exchange: Exchange
    app: AsgiApp
    route: str
    scope: Scope
    terms: Terms
    timeout_s: float
    cap_bytes: int
    may_write: bool = False
    rehearsed: Rehearsed | None = None
    written: WriteLog | None = None


class Shadows:
    """Queue jobs, run them, and enter what they come to in the ledger.

    ``lag_s`` returns how late the event loop came to its last timer, in seconds; ``lull`` comes when no
    client is being served, which is when calls begin.
    """

    def __init__(
        self,
        ledger: Ledger,
        *,
        limit: int = 1_000,
        limit_bytes: int = 64 * 1024 * 1024,
        concurrency: int = 4,
        lag_s: Callable[[], float] = lambda: 0.0,
        lull: Lull | None = None,
    ) -> None:
        self.ledger = ledger
        self.lull = lull or Lull()
        self._lag_s = lag_s
        self._queue: FairQueue[Job] = FairQueue(limit=limit, limit_bytes=limit_bytes, slots=concurrency)
        self._is_wanted = asyncio.Event()
        self._gathering: asyncio.TimerHandle | None = None
        self._concurrency = concurrency
        self._tasks: list[asyncio.Task[None]] = []
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="gateway-compare")

    def offer(self, job: Job) -> None:
        """Take a job, or count why not. Returns at once, whatever the state of things."""
        if not self._tasks:
            self._start()
        if self.is_lagging and job.rehearsed is None:
            self.ledger.drop("event loop lag")
        elif job.exchange.record.body.is_truncated:
            self.ledger.drop("request body over the cap")
        else:
            for _dropped in self._queue.offer(job.route, job, job.exchange.size_bytes):
                self.ledger.drop("queue full")
            if self._gathering is None:
                self._gathering = asyncio.get_running_loop().call_later(GATHER_S, self._begin)

    def _begin(self) -> None:
        self._gathering = None
        self._is_wanted.set()

    @property
    def is_lagging(self) -> bool:
        """Tell whether the event loop is late, so that nobody should be called a second time."""
        return self._lag_s() > LAG_LIMIT_S

    @property
    def is_idle(self) -> bool:
        """Tell whether nothing is queued or under way."""
        return self._queue.is_idle

    async def stop(self) -> None:
        """Drop what is queued, cancel what runs: a shadow is no reason to stay."""
        if self._gathering is not None:
            self._gathering.cancel()
            self._gathering = None
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        for task in tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await task
        for _job in self._queue.clear():
            self.ledger.drop("stopped")
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _start(self) -> None:
        writes.install()
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(self._work()) for _ in range(self._concurrency)]

    async def _work(self) -> None:
        while True:
            taken = self._queue.take()
            if taken is None:
                self._is_wanted.clear()
                await self._is_wanted.wait()
                continue
            route, job = taken
            try:
                await self.lull.wait()
                await self._run(job)
            except Exception:
                self.ledger.drop("error in the gateway")
                log.exception("a comparison on %s failed", route)
            finally:
                self._queue.finish(route)
                self._is_wanted.set()

    async def _run(self, job: Job) -> None:
        if self.ledger.is_stopped(job.route) and not job.may_write:
            self.ledger.drop("row stopped")
            return
        if job.rehearsed is not None:
            await asyncio.get_running_loop().run_in_executor(self._thread, self._compare_rehearsed, job)
            return
        refusal: list[BaseException] = []
        app = _noting_refusals(job.app, refusal)
        other, mark = await call_shadow(
            app,
            job.exchange,
            timeout_s=job.timeout_s,
            cap_bytes=job.cap_bytes,
            may_write=job.may_write,
        )
        if refusal:
            self.ledger.drop("the other side cannot be asked this")
            return
        if mark.refused:
            self.ledger.stop(job.route, f"its second call tried {mark.refused}")
            self.ledger.drop("tried to write")
            log.error(
                "%s: its second call tried to write (%s); nothing was written, and the row is not compared "
                "any more; if writing twice is harmless, say `safe: true` in the row",
                job.route,
                mark.refused,
            )
            return
        primary = job.exchange.observation
        control, candidate = (primary, other) if job.exchange.primary == "legacy" else (other, primary)
        if _is_quick(control, candidate):
            self._compare(job, control, candidate)
            return
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._thread, self._compare, job, control, candidate)

    def _compare(self, job: Job, control: Observation, candidate: Observation) -> None:
        comparison = compare(control, candidate, job.terms, method=job.exchange.record.method)
        self.ledger.add(job.route, comparison, job.exchange.record, control, candidate, scope=job.scope)

    def _compare_rehearsed(self, job: Job) -> None:
        if job.rehearsed is None or job.written is None:
            return
        record = job.exchange.record
        comparison, control, candidate = compare_rehearsed(
            job.exchange.observation, job.written, job.rehearsed, job.terms, method=record.method
        )
        self.ledger.add(job.route, comparison, record, control, candidate, scope=job.scope)


def _is_quick(control: Observation, candidate: Observation) -> bool:
    """Tell whether comparing takes less than handing it to a thread and the interpreter back and forth."""
    one, other = control.body, candidate.body
    return one == other or len(one.captured) + len(other.captured) <= QUICK_BYTES


def _noting_refusals(app: AsgiApp, refusals: list[BaseException]) -> AsgiApp:
    """Return ``app``, noting what the gateway refused: a path, a full queue, an upstream that is down."""

    async def call(scope: object, receive: object, send: object) -> None:
        try:
            await app(scope, receive, send)  # type: ignore[arg-type] # handed through as they came
        except (RequestRefused, BackendError) as error:
            refusals.append(error)

    return call
