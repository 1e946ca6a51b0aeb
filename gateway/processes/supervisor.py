"""Keep workers alive: start, watch, replace, roll and drain them; serve nothing, and import no app.

One listening socket a worker (``SO_REUSEPORT``), so that the kernel deals connections evenly; all of them are
held open here, so that a worker's end never loses what waits in its queue: its successor inherits the socket,
and until that is ready a sibling accepts on it. Where the kernel does not deal (macOS), all share one socket.

Memory counts (this process is idle for months): no pydantic, typer or rich here; the admin listener's server
is imported when its first connection comes.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import sys
import textwrap
import time
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.processes.child import Child, ServeOptions, launch
from gateway.processes.control import START_FAILED
from gateway.processes.desk import Desk
from gateway.processes.sockets import address_of
from gateway.web.reports import Overview, WorkerState, merge_reports
from gateway.web.totals import Totals

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Coroutine
    from typing import Any

INTERRUPTED = 130
"""The exit status after Ctrl-C."""

SETTLED_S = 10.0
"""A worker that lived this long has not "died at once": its successor starts without delay."""

FIRST_BACKOFF_S, LONGEST_BACKOFF_S = 0.5, 30.0

ROLL_PATIENCE_S = 120.0
"""How long a rolling restart waits for a new worker before it gives up and keeps the old one."""

LAST_RESORT_S = 0.9
"""How long after the grace a worker that still lives is killed."""

logger = logging.getLogger("gateway.processes.supervisor")


class Supervisor:
    """Run the workers of one gateway from start to end; ``on_ready`` is called once everything serves."""

    def __init__(
        self,
        options: ServeOptions,
        listeners: list[socket.socket],
        *,
        on_ready: Callable[[Supervisor], Coroutine[Any, Any, None]],
    ) -> None:
        self.options = options
        self.listeners = listeners
        self.started_at = time.time()
        self.restarts = 0
        self.totals = Totals()
        self._on_ready = on_ready
        self._current: dict[int, Child] = {}
        self._alive: set[Child] = set()
        self._locks = [asyncio.Lock() for _ in range(options.workers)]
        self._stop = asyncio.Event()
        self._stop_signal = signal.SIGTERM
        self._roll_wanted = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._desk = Desk(lambda: self.workers)

    @property
    def workers(self) -> list[Child]:
        """Return every worker process that lives, by slot, then by age."""
        return sorted(self._alive, key=lambda worker: (worker.slot, worker.pid))

    def overview(self) -> Overview:
        """Return the workers and what the serving ones know, merged."""
        reports = {worker: worker.received.report for worker in self.workers if worker.received.has_report}
        now = time.monotonic()
        return Overview(
            report=merge_reports(report for worker, report in reports.items() if worker.state == "serving"),
            workers=tuple(
                WorkerState(
                    slot=worker.slot,
                    pid=worker.pid,
                    state=worker.state,
                    uptime_s=round(now - worker.ready_at, 1) if worker.is_ready else 0.0,
                    **{
                        name: getattr(reports[worker], name)
                        for name in ("generation", "digest", "is_valid", "is_ready")
                        if worker in reports
                    },
                )
                for worker in self.workers
            ),
            address=address_of(self.listeners[0]),
            config=self.options.config,
            folder=str(Path.cwd()),
            started_at=self.started_at,
            restarts=self.restarts,
            totals=self.totals,
        )

    async def ask(self, order: dict[str, Any]) -> dict[str, Any]:
        """Have a worker carry out an order; raise ``OrderRefused``."""
        return await self._desk.ask(order)

    async def run(self) -> int:
        """Serve until told to stop, and return the exit status."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._hear_stop, number)
        loop.add_signal_handler(signal.SIGHUP, self._roll_wanted.set)
        loop.add_signal_handler(signal.SIGCHLD, self._reap)
        if self.options.is_reloading:
            self._spawn_task(self._watch_code())
        if not await self._start():
            return self._status if self._stop.is_set() else START_FAILED
        for slot in range(self.options.workers):
            self._spawn_task(self._keep(slot))
        self._spawn_task(self._roll_when_asked())
        await self._on_ready(self)
        await self._stop.wait()
        await self._drain()
        return self._status

    @property
    def _status(self) -> int:
        return INTERRUPTED if self._stop_signal == signal.SIGINT else 0

    # --- start ---------------------------------------------------------------------------------------------

    async def _start(self) -> bool:
        """Start all workers; return False when one could not, or a stop came first."""
        while True:
            workers = [await self._launch(slot) for slot in range(self.options.workers)]
            self._current = {worker.slot: worker for worker in workers}
            stop = asyncio.ensure_future(self._stop.wait())
            is_ready = await _all_true([worker.outcome for worker in workers], unless=stop)
            if is_ready:
                stop.cancel()
                return True
            failed = [worker for worker in workers if worker.outcome.done() and not worker.outcome.result()]
            if failed and not stop.done():
                _say(f"gateway could not start:\n{textwrap.indent(failed[0].last_words(), '  ')}")
            for worker in workers:
                worker.kill()
            await asyncio.gather(*(worker.ended.wait() for worker in workers))
            if not self.options.is_reloading or not await self._code_change(stop):
                stop.cancel()
                return False

    async def _code_change(self, stop: asyncio.Future[Any]) -> bool:
        """Wait for a change of the code (True) or for ``stop`` (False)."""
        _say("Waiting for a Python file to change.")
        self._roll_wanted.clear()
        change = asyncio.ensure_future(self._roll_wanted.wait())
        await asyncio.wait([stop, change], return_when=asyncio.FIRST_COMPLETED)
        change.cancel()
        self._roll_wanted.clear()
        return not stop.done()

    async def _launch(self, slot: int) -> Child:
        child = await launch(self.options, slot, self.listeners, self.totals)
        self._alive.add(child)
        return child

    # --- life ----------------------------------------------------------------------------------------------

    async def _keep(self, slot: int) -> None:
        """Replace the worker of ``slot`` whenever it ends by itself."""
        early_ends = 0
        while True:
            worker = self._current[slot]
            await worker.ended.wait()
            async with self._locks[slot]:
                if self._current[slot] is not worker:
                    continue  # rolled: its successor serves already
                if worker.is_ready:
                    logger.warning("worker %d (pid %d) %s", slot, worker.pid, worker.epitaph())
                self._share_out()
                is_settled = worker.is_ready and time.monotonic() - worker.ready_at >= SETTLED_S
                early_ends = 0 if is_settled else early_ends + 1
                if early_ends > 1:
                    delay_s = min(FIRST_BACKOFF_S * 2 ** (early_ends - 2), LONGEST_BACKOFF_S)
                    logger.warning("worker %d ends at once; next try in %g s", slot, delay_s)
                    await asyncio.sleep(delay_s)
                self.restarts += 1
                fresh = self._current[slot] = await self._launch(slot)
                if await fresh.outcome:
                    logger.info("worker %d is back (pid %d)", slot, fresh.pid)
                else:
                    logger.error("worker %d could not start again:\n%s", slot, fresh.last_words())
                self._share_out()

    async def _roll_when_asked(self) -> None:
        while True:
            await self._roll_wanted.wait()
            self._roll_wanted.clear()
            await self._roll()

    async def _roll(self) -> None:
        """Replace the workers one by one; each old one accepts until its successor does."""
        began = time.monotonic()
        for slot in range(self.options.workers):
            async with self._locks[slot]:
                old = self._current[slot]
                fresh = await self._launch(slot)
                try:
                    async with asyncio.timeout(ROLL_PATIENCE_S):
                        is_ready = await asyncio.shield(fresh.outcome)
                except TimeoutError:
                    is_ready = False
                if not is_ready:
                    words = (
                        fresh.last_words() if fresh.outcome.done() else f"no sign in {ROLL_PATIENCE_S:g} s"
                    )
                    fresh.kill()
                    logger.error("a new worker could not start; the old ones keep serving:\n%s", words)
                    return
                self._current[slot] = fresh
                self._share_out()
                self._spawn_task(self._retire(old))
        logger.info(
            "rolled %s in %.1f s",
            f"{self.options.workers} worker{'s' if self.options.workers > 1 else ''}",
            time.monotonic() - began,
        )

    async def _retire(self, worker: Child) -> None:
        worker.drain(self.options.grace_s, is_last=False)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.options.grace_s + LAST_RESORT_S):
                await worker.ended.wait()
        worker.kill()

    def _share_out(self) -> None:
        """Let serving workers accept for slots that have none, so that no connection waits for a restart."""
        if len(self.listeners) == 1:
            return
        serving = [worker for worker in self._current.values() if worker.state == "serving"]
        if not serving:
            return
        wanted = {worker.slot: {worker.slot} for worker in serving}
        for number, slot in enumerate(slot for slot in self._current if slot not in wanted):
            wanted[serving[number % len(serving)].slot].add(slot)
        for worker in serving:
            if worker.accepting != wanted[worker.slot]:
                worker.accepting = wanted[worker.slot]
                worker.tell({"do": "accept", "listeners": sorted(worker.accepting)})

    async def _watch_code(self) -> None:
        from watchfiles import PythonFilter, awatch

        async for changes in awatch(".", watch_filter=PythonFilter()):
            names = sorted({Path(path).name for _, path in changes})
            _say(f"{', '.join(names[:3])}{' and more' if len(names) > 3 else ''} changed: restarting")
            self._roll_wanted.set()

    def _reap(self) -> None:
        for worker in list(self._alive):
            worker.reap()
            if worker.ended.is_set():
                self._alive.discard(worker)

    def _spawn_task(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._task_done)

    def _task_done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (failure := task.exception()) is not None:
            logger.error("the supervisor failed", exc_info=failure)
            self._hear_stop(signal.SIGTERM)

    # --- end -----------------------------------------------------------------------------------------------

    def _hear_stop(self, number: signal.Signals) -> None:
        if self._stop.is_set():
            for worker in self._alive:
                worker.kill()
        else:
            self._stop_signal = number
            self._stop.set()

    async def _drain(self) -> None:
        """Drain every worker and return when none is left: within the grace and a second."""
        for task in list(self._tasks):
            task.cancel()
        for listener in self.listeners:
            listener.close()  # the workers hold theirs, and take what waits before they close them
        for worker in list(self._alive):
            worker.drain(self.options.grace_s, is_last=True)
        deadline = time.monotonic() + self.options.grace_s + LAST_RESORT_S
        while self._alive:
            if time.monotonic() > deadline:
                for worker in self._alive:
                    worker.kill()
            self._reap()
            await asyncio.sleep(0.01)


async def _all_true(outcomes: list[asyncio.Future[bool]], *, unless: asyncio.Future[Any]) -> bool:
    """Wait until all outcomes are true (True), or one is false or ``unless`` is done (False)."""
    while not unless.done():
        if any(outcome.done() and not outcome.result() for outcome in outcomes):
            return False
        waiting = [outcome for outcome in outcomes if not outcome.done()]
        if not waiting:
            return True
        await asyncio.wait([unless, *waiting], return_when=asyncio.FIRST_COMPLETED)
    return False


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)  # noqa: T201 - people read this
