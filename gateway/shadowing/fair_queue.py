"""Deal a bounded queue and its slots out among routes, so that one that hangs does not starve the others.

Routes take turns. While others wait, a route has at most half of the slots, and never the last one; when the
queue is full, what is dropped is the newest of the route that holds most of it. Pure: no loop, no clock.
"""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass
from typing import Generic, TypeVar

J = TypeVar("J")


@dataclass(frozen=True, slots=True)
class _Waiting(Generic[J]):
    job: J
    size_bytes: int


class FairQueue(Generic[J]):
    """Hold up to ``limit`` jobs of up to ``limit_bytes`` in all, and say which is next on ``slots`` slots."""

    def __init__(self, *, limit: int, limit_bytes: int, slots: int) -> None:
        self._limit = limit
        self._limit_bytes = limit_bytes
        self._slots = slots
        self._waiting: dict[str, deque[_Waiting[J]]] = {}
        self._active: Counter[str] = Counter()
        self._held_bytes = 0
        self._count = 0

    def __len__(self) -> int:
        return self._count

    @property
    def is_idle(self) -> bool:
        """Tell whether nothing waits and nothing is under way."""
        return not self._count and not self._active

    def offer(self, route: str, job: J, size_bytes: int) -> list[J]:
        """Take a job in; return what had to go for it, which may be the job itself."""
        dropped: list[J] = []
        while self._count >= self._limit or self._held_bytes + size_bytes > self._limit_bytes:
            largest = max(self._waiting, key=lambda each: len(self._waiting[each]), default=route)
            if len(self._waiting.get(route, ())) >= len(self._waiting.get(largest, ())):
                return [*dropped, job]
            dropped.append(self._pop(largest, is_newest=True))
        self._waiting.setdefault(route, deque()).append(_Waiting(job, size_bytes))
        self._held_bytes += size_bytes
        self._count += 1
        return dropped

    def take(self) -> tuple[str, J] | None:
        """Return the next job with its route, which has a slot until :meth:`finish`; None: none may start."""
        if self._active.total() >= self._slots:
            return None
        share = self._slots // 2 if len(self._waiting) > 1 else self._slots - 1
        for route in self._waiting:
            if self._active[route] < max(1, share):
                job = self._pop(route)
                self._active[route] += 1
                if route in self._waiting:  # to the end of the round
                    self._waiting[route] = self._waiting.pop(route)
                return route, job
        return None

    def finish(self, route: str) -> None:
        """Give back the slot of a job that is done."""
        self._active[route] -= 1
        if not self._active[route]:
            del self._active[route]

    def clear(self) -> list[J]:
        """Return everything that waits, and hold nothing."""
        jobs = [each.job for waiting in self._waiting.values() for each in waiting]
        self._waiting.clear()
        self._held_bytes = self._count = 0
        return jobs

    def _pop(self, route: str, *, is_newest: bool = False) -> J:
        waiting = self._waiting[route]
        one = waiting.pop() if is_newest else waiting.popleft()
        self._held_bytes -= one.size_bytes
        self._count -= 1
        if not waiting:
            del self._waiting[route]
        return one.job
