"""Run jobs on a fixed number of reused daemon threads, with one cheap hand-over a job.

Law: a job is handed over by one ``deque.append`` and, at most, the release of one lock. At most one
thread is *searching* (awake and looking for a job) at a time: it wakes the next one only when it has
found a job and more are waiting. While a job computes it keeps the interpreter's lock, and the thread
that ran it takes the next job itself; while a job waits (for a database, a file), the next thread
moves up. So a burst of short jobs costs two thread switches, not two for each.

The queue in front is bounded, a job can be taken out of it again, and nothing here ever joins a
thread: a job that never returns costs its own thread and cannot hold up the end of the process.

The lock-free steps lean on ``deque`` and ``list`` operations being atomic in CPython.
"""

from __future__ import annotations

import sys
import threading
from collections import deque
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from types import FrameType


class Job(Protocol):
    """Be something that a thread can run; ``run`` must not raise."""

    def run(self) -> None:
        """Do the work, on the worker's thread."""
        ...


class PoolFull(Exception):
    """Report that every thread is busy and the queue is full."""


class Worker:
    """Be one daemon thread, and the lock it sleeps on."""

    __slots__ = ("job", "lock", "thread")

    def __init__(self, pool: ThreadPool, number: int) -> None:
        self.job: Job | None = None
        self.lock = threading.Lock()
        self.lock.acquire()
        self.thread = threading.Thread(
            target=pool._work, args=(self,), name=f"{pool.name}-{number}", daemon=True
        )

    def frame(self) -> FrameType | None:
        """Return the frame that this thread is executing now."""
        ident = self.thread.ident
        return None if ident is None else sys._current_frames().get(ident)


class ThreadPool:
    """Run jobs on up to ``threads`` daemon threads, with up to ``queue`` jobs waiting.

    ``submit`` and ``remove`` must be called from one thread (the event loop's).
    """

    def __init__(self, *, threads: int, queue: int, name: str) -> None:
        if threads < 1:
            raise ValueError(f"threads must be at least 1, not {threads}")
        if queue < 0:
            raise ValueError(f"queue must be at least 0, not {queue}")
        self.name = name
        self.threads = threads
        self.queue = queue
        self.workers: list[Worker] = []
        self._jobs: deque[Job] = deque()
        self._idle: list[Worker] = []
        self._is_searching = False
        self._is_closed = False
        self._growing = threading.Lock()

    def submit(self, job: Job) -> None:
        """Queue ``job`` and see that a thread comes for it; raise :class:`PoolFull` when there is no room."""
        jobs = self._jobs
        if len(jobs) >= self.queue and len(jobs) >= self.queue + self.threads - self.busy():
            raise PoolFull
        jobs.append(job)
        if not self._is_searching:
            try:
                self._wake()
            except RuntimeError:
                # Not even one thread could be started.
                jobs.remove(job)
                raise PoolFull from None

    def remove(self, job: Job) -> bool:
        """Take ``job`` out of the queue; False when a thread has it already (or had)."""
        try:
            self._jobs.remove(job)
        except ValueError:
            return False
        return True

    def busy(self) -> int:
        """Return how many threads are running a job."""
        return sum(worker.job is not None for worker in self.workers)

    def waiting(self) -> int:
        """Return how many jobs wait for a thread."""
        return len(self._jobs)

    def close(self) -> None:
        """Let every thread go as soon as it has nothing to do; wait for none."""
        self._is_closed = True
        for worker in self.workers:
            if worker.lock.locked():
                worker.lock.release()

    def _wake(self) -> None:
        """Wake one idle thread, or start one while there may be more."""
        try:
            worker = self._idle.pop()
        except IndexError:
            if len(self.workers) < self.threads and not self._is_closed:
                self._grow()
        else:
            self._is_searching = True
            worker.lock.release()

    def _grow(self) -> None:
        # The loop and a searching thread may both come here.
        with self._growing:
            number = len(self.workers) + 1
            if number > self.threads:
                return
            worker = Worker(self, number)
            self.workers.append(worker)
        self._is_searching = True
        try:
            worker.thread.start()
        except RuntimeError:
            # The system gives no more threads: those that stand carry on.
            self._is_searching = False
            self.workers.remove(worker)
            if not self.workers:
                raise

    def _work(self, worker: Worker) -> None:
        jobs = self._jobs
        # Cleared before the queue is looked at: whoever appends a job afterwards sees that nobody
        # is searching, whoever appended before has a job that is found here.
        self._is_searching = False
        while True:
            try:
                job = jobs.popleft()
            except IndexError:
                if self._is_closed:
                    return
                self._sleep(worker)
                continue
            worker.job = job
            if jobs and not self._is_searching:
                self._wake()
            job.run()
            worker.job = None
            # Not to keep the request alive while this thread sleeps.
            del job

    def _sleep(self, worker: Worker) -> None:
        self._idle.append(worker)
        if self._jobs or self._is_closed:
            # A job came between the look and the lying down: get up, unless somebody is
            # about to wake this thread anyway.
            try:
                self._idle.remove(worker)
            except ValueError:
                pass
            else:
                return
        worker.lock.acquire()
        self._is_searching = False
