"""The pool loses no job, runs none twice, and none that was taken back."""

from __future__ import annotations

import random
import threading
import time
from typing import TYPE_CHECKING

import pytest

from gateway.backends.threads import PoolFull, ThreadPool, Worker
from tests.running import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable


class Job:
    """Count its runs, and do ``work`` meanwhile."""

    def __init__(self, work: Callable[[], object]) -> None:
        self.runs = 0
        self._work = work

    def run(self) -> None:
        self.runs += 1
        self._work()


@pytest.mark.parametrize("threads", [1, 2, 8])
def test_every_job_runs_once_whether_jobs_compute_or_wait(threads: int) -> None:
    chance = random.Random(threads)
    pool = ThreadPool(threads=threads, queue=10_000, name="test")
    jobs = []
    for _ in range(3000):
        pause_s = chance.choice([0, 0, 0, 0.0001, 0.0005])
        jobs.append(Job(lambda pause_s=pause_s: time.sleep(pause_s)))  # type: ignore[misc]  # a bound default
        pool.submit(jobs[-1])
        if chance.random() < 0.05:
            time.sleep(0.001)
    wait_until(lambda: all(job.runs for job in jobs), what="every job's run")
    assert {job.runs for job in jobs} == {1}
    wait_until(lambda: pool.busy() == 0, what="the threads' rest")
    pool.close()
    wait_until(lambda: not any(worker.thread.is_alive() for worker in pool.workers), what="the threads' end")


def test_a_job_is_either_taken_back_or_run() -> None:
    chance = random.Random(1)
    pool = ThreadPool(threads=3, queue=10_000, name="test")
    ran: list[Job] = []
    removed: list[Job] = []
    for _ in range(3000):
        job = Job(lambda: time.sleep(0.0001))
        pool.submit(job)
        (removed if chance.random() < 0.5 and pool.remove(job) else ran).append(job)
    wait_until(lambda: all(job.runs == 1 for job in ran), what="every job's run")
    assert not any(job.runs for job in removed)
    assert removed
    pool.close()


def test_a_waiting_job_gets_a_thread_as_soon_as_another_one_blocks() -> None:
    pool = ThreadPool(threads=4, queue=100, name="test")
    release = threading.Event()
    blocked = [Job(lambda: release.wait(10)) for _ in range(3)]
    for job in blocked:
        pool.submit(job)
    last = Job(lambda: None)
    pool.submit(last)
    wait_until(lambda: last.runs, what="the fourth job's run")
    release.set()
    pool.close()


def test_a_job_that_comes_while_the_last_thread_lies_down_is_not_left_waiting() -> None:
    pool = ThreadPool(threads=1, queue=10, name="test")
    late = Job(lambda: None)

    class Ambush(list[Worker]):
        def append(self, worker: Worker) -> None:
            if not late.runs and not pool.waiting():
                # Nobody is idle yet, and no thread may be added: nobody is woken for this job.
                pool.submit(late)
            super().append(worker)

    pool._idle = Ambush()
    pool.submit(Job(lambda: None))
    wait_until(lambda: late.runs == 1, timeout_s=5, what="the late job's run")
    pool.close()


def test_a_full_pool_refuses() -> None:
    pool = ThreadPool(threads=1, queue=1, name="test")
    release = threading.Event()
    pool.submit(Job(lambda: release.wait(10)))
    wait_until(lambda: pool.busy() == 1, what="the first job's start")
    pool.submit(Job(lambda: None))
    with pytest.raises(PoolFull):
        pool.submit(Job(lambda: None))
    release.set()
    pool.close()


@pytest.mark.parametrize(("threads", "queue"), [(0, 1), (1, -1)])
def test_impossible_sizes_are_refused(threads: int, queue: int) -> None:
    with pytest.raises(ValueError, match="must be at least"):
        ThreadPool(threads=threads, queue=queue, name="test")
