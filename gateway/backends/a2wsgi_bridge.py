"""Answer with a WSGI app through ``a2wsgi``, the ecosystem's bridge (``bridge: a2wsgi``).

Law: nothing is mended here. It is the reference that the conformance tests run beside the gateway's
own bridge, with its known failures marked, so that the day it catches up the difference can go.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from a2wsgi import WSGIMiddleware

from gateway.backends.base import Health
from gateway.errors import BackendOverloaded

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from gateway.backends.base import Receive, Scope, Send


class A2wsgiBridge:
    """Answer with the WSGI app ``app`` through a2wsgi; the arguments are those of ``WsgiBridge``."""

    def __init__(
        self,
        app: Callable[..., Iterable[bytes]],
        *,
        threads: int = 16,
        queue: int = 128,
        root_path: str = "",
        name: str = "legacy",
    ) -> None:
        self.app = app
        self.name = name
        self.threads = threads
        self.queue = queue
        self.root_path = root_path.rstrip("/")
        self._active = 0
        self._drained: asyncio.Future[None] | None = None
        self._middleware: Any = WSGIMiddleware(app, workers=threads)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; raise BackendOverloaded when threads and queue are full."""
        if scope["type"] != "http":
            await self._middleware(scope, receive, send)
            return
        if self._active >= self.threads + self.queue:
            raise BackendOverloaded(
                self.name, f"all {self.threads} threads are busy and {self.queue} requests wait"
            )
        if self.root_path:
            scope = {**scope, "root_path": scope.get("root_path", "") + self.root_path}
        self._active += 1
        try:
            await self._middleware(scope, receive, send)
        finally:
            self._active -= 1
            if self._drained is not None and not self._active and not self._drained.done():
                self._drained.set_result(None)

    async def start(self) -> None:
        """Do nothing: a2wsgi starts its threads by itself."""

    async def stop(self, grace_s: float) -> None:
        """Wait up to ``grace_s`` seconds for requests under way, then tell the threads to go."""
        if self._active:
            self._drained = asyncio.get_running_loop().create_future()
            await asyncio.wait([self._drained], timeout=grace_s)
            self._drained = None
        self._middleware.executor.shutdown(wait=False, cancel_futures=True)

    def health(self) -> Health:
        """Return how many requests are under way."""
        return Health(True, "", {"threads": self.threads, "queue": self.queue, "active": self._active})
