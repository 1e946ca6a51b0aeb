"""Let threads, pools and tasks that a request starts count for it, and know whether they still run.

A thread begins with an empty context, and a pool's job with that of whoever made the thread. Threads that a
library keeps for itself (pools, drivers) never end and are not waited for.
"""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from gateway.ci.watching.tally import GATEWAY, carrying, current

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Coroutine

    from gateway.ci.watching.patches import Patches

_KEPT_FOR_THEMSELVES = frozenset({"aiosqlite", "anyio", "concurrent", "gateway", "sqlalchemy"})


def watch(patches: Patches) -> None:
    """Begin."""
    patches.replace(threading.Thread, "start", _starting)
    patches.replace(ThreadPoolExecutor, "submit", _submitting)


def _starting(original: Callable[[Any], None]) -> Callable[[Any], None]:
    def start(self: threading.Thread) -> None:
        tally = current()
        if tally is None:
            original(self)
            return
        run = self.run

        def carry() -> None:
            with carrying(tally):
                run()

        self.run = carry  # type: ignore[method-assign]  # Thread calls what it finds under this name
        target = getattr(self, "_target", None)
        owner = str(getattr(target, "__module__", "")).partition(".")[0]
        original(self)
        if type(self) is threading.Thread and owner not in _KEPT_FOR_THEMSELVES:
            tally.follow(self.is_alive)

    return start


def _submitting(original: Callable[..., Any]) -> Callable[..., Any]:
    def submit(self: Any, fn: Callable[..., Any], /, *arguments: Any, **named: Any) -> Any:
        tally = current()
        if tally is None:
            return original(self, fn, *arguments, **named)

        def carry() -> Any:
            with carrying(tally):
                return fn(*arguments, **named)

        future = original(self, carry)
        tally.follow(lambda: not future.done())
        return future

    return submit


def follow_tasks(loop: asyncio.AbstractEventLoop) -> None:
    """Let the tasks of ``loop`` be known to the request in whose course they are made."""
    from asyncio import Task

    def make(loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, Any], **more: Any) -> Task[Any]:
        task = Task(work, loop=loop, **more)
        tally = current()
        if tally is not None and not _is_own(work):
            tally.follow(lambda: not task.done())
        return task

    loop.set_task_factory(make)  # type: ignore[arg-type]  # typeshed wants a protocol that names no keywords


def _is_own(work: Any) -> bool:
    """Tell whether a coroutine is the gateway's own."""
    code = getattr(work, "cr_code", None) or getattr(work, "gi_code", None)
    return code is not None and code.co_filename.startswith(GATEWAY)
