"""Host an ASGI app in this process, as a server would: lifespan, state, root path, requests.

The app sees what it would see under a server: its lifespan runs once in a task of its own, every
request gets a shallow copy of the lifespan's state, and ``root_path`` stands in front of the path
(https://asgi.readthedocs.io/en/stable/specs/www.html). Exceptions of the app propagate as they come.
This module decides nothing about which route answers; :mod:`gateway.backends.dispatch` and
:mod:`gateway.backends.shortcut` shorten the way to it.
"""

from __future__ import annotations

import asyncio
import functools
import logging
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from gateway.backends.agreement import disagreement
from gateway.backends.base import Health
from gateway.backends.dispatch import Hint, prepare_routers
from gateway.backends.shortcut import Shortcut, shorten
from gateway.errors import BackendError

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from gateway.backends.base import AsgiApp, Message, Receive, Scope, Send
    from gateway.table.inventory import NewRoute

logger = logging.getLogger("gateway.new")

_ASGI_VERSION = {"version": "3.0", "spec_version": "2.0"}


class Lifespan:
    """Run one app's lifespan protocol; ``state`` is what the app left there for its requests.

    Protocol: https://asgi.readthedocs.io/en/stable/specs/lifespan.html. An app that raises before it
    has answered the first message does not support lifespans, which is fine.
    """

    def __init__(self, app: AsgiApp, name: str) -> None:
        self.state: dict[str, Any] = {}
        self._app = app
        self._name = name
        self._task: asyncio.Task[None] | None = None
        self._inbox: asyncio.Queue[Message] = asyncio.Queue()
        self._started = asyncio.Event()
        self._failure: str | None = None
        self._exception: BaseException | None = None
        self._is_supported = True

    async def start(self) -> None:
        """Run the app's startup; raise :class:`BackendError` with the app's message when it fails."""
        self._inbox.put_nowait({"type": "lifespan.startup"})
        self._task = asyncio.create_task(self._run(), name=f"lifespan of {self._name}")
        try:
            await self._started.wait()
        except asyncio.CancelledError:
            self._task.cancel()
            raise
        if self._failure is not None:
            await asyncio.wait((self._task,))
            detail = _last_line(self._failure) or _describe(self._exception)
            raise BackendError(self._name, f"its startup failed: {detail}") from self._exception

    async def stop(self, grace_s: float) -> None:
        """Run the app's shutdown, for at most ``grace_s`` seconds; log its failure, raise nothing."""
        task = self._task
        if task is None:
            return
        self._task = None
        if self._is_supported and not task.done():
            self._inbox.put_nowait({"type": "lifespan.shutdown"})
            await asyncio.wait((task,), timeout=max(0.0, grace_s))
            if not task.done():
                logger.error(
                    "%s: its shutdown took longer than %.1f s and was cancelled", self._name, grace_s
                )
        if not task.done():
            task.cancel()
            await asyncio.wait((task,), timeout=1.0)
        if self._failure is not None:
            logger.error("%s: its shutdown failed: %s", self._name, self._failure.strip())

    async def _run(self) -> None:
        scope: Scope = {"type": "lifespan", "asgi": dict(_ASGI_VERSION), "state": self.state}
        try:
            await self._app(scope, self._inbox.get, self._take)
        except (
            BaseException
        ) as exc:  # a lifespan may raise anything, SystemExit included; none may end the worker
            self._exception = exc
            if not self._started.is_set():
                self._is_supported = False
                logger.debug("%s: does not support the lifespan protocol (%r)", self._name, exc)
            elif self._failure is None and not isinstance(exc, asyncio.CancelledError):
                self._failure = _describe(exc)
        finally:
            self._started.set()

    async def _take(self, message: Message) -> None:
        kind = message["type"]
        if kind.endswith(".failed"):
            self._failure = str(message.get("message") or "") or "without a message"
        if kind in ("lifespan.startup.complete", "lifespan.startup.failed"):
            self._started.set()
        elif kind not in ("lifespan.shutdown.complete", "lifespan.shutdown.failed"):
            raise ValueError(f"{kind!r} is no message of the lifespan protocol")


class AsgiBackend:
    """Be an in-process ASGI app as a :class:`~gateway.backends.base.Backend`.

    ``root_path`` is the prefix (``/api``, no trailing slash) under which the app believes it is
    mounted. Requests may come before :meth:`start`, without lifespan state then, as under a server
    that knows no lifespans.
    """

    def __init__(self, app: AsgiApp, *, root_path: str = "", name: str = "new") -> None:
        self.name = name
        self.app = app
        self._shortcut: Shortcut | None = None
        self.root_path = root_path.rstrip("/")
        self._raw_root_path = quote(self.root_path).encode("ascii")
        self._lifespan: Lifespan | None = None
        self._state: dict[str, Any] = {}
        self._active = 0
        self._idle: asyncio.Event | None = None
        self._is_stopped = False

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Coroutine[Any, Any, None]:
        """Answer one request or websocket; the app's exceptions propagate."""
        return self._serve(None, scope, receive, send)

    def for_route(self, new_route: NewRoute) -> AsgiApp:
        """Return the shortest way to ``new_route`` that gives the app's own answer.

        The route is a hint, not an order: when another route of the app would win, it does.
        """
        found = new_route.route
        hint = Hint(getattr(found, "original_route", found), new_route.path)
        return functools.partial(self._serve, hint)

    async def _serve(self, hint: Hint | None, scope: Scope, receive: Receive, send: Send) -> None:
        scope["state"] = self._state.copy()
        if self.root_path:
            self._apply_root_path(scope)
        self._active += 1
        try:
            if self._shortcut is not None:
                await self._shortcut.answer(hint, scope, receive, send)
            else:
                await self.app(scope, receive, send)
        finally:
            self._active -= 1
            if self._idle is not None and not self._active:
                self._idle.set()

    async def start(self) -> None:
        """Run the app's startup; raise :class:`BackendError` when the app says that it failed.

        Then shorten the way to its routes, which its startup may have added to.
        """
        lifespan = Lifespan(self.app, self.name)
        await lifespan.start()
        self._lifespan = lifespan
        self._state = lifespan.state
        self._is_stopped = False
        self._shortcut = await prepare(self.app)

    async def stop(self, grace_s: float) -> None:
        """Wait for the requests under way, then run the app's shutdown, within ``grace_s`` seconds."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + grace_s
        self._is_stopped = True
        if self._active:
            self._idle = asyncio.Event()
            try:
                await asyncio.wait_for(self._idle.wait(), grace_s)
            except TimeoutError:
                logger.warning("%s: %d requests were still under way at shutdown", self.name, self._active)
            finally:
                self._idle = None
        lifespan, self._lifespan = self._lifespan, None
        if lifespan is not None:
            await lifespan.stop(deadline - loop.time())

    def health(self) -> Health:
        """Return whether the app runs, and how many requests are under way."""
        return Health(
            is_ok=not self._is_stopped,
            reason="stopped" if self._is_stopped else "",
            facts={"active": self._active},
        )

    def _apply_root_path(self, scope: Scope) -> None:
        """Put the root path between the server's own root path and the rest, as ASGI says."""
        outer = scope.get("root_path", "")
        path = scope["path"]
        if outer and path.startswith(outer):
            raw_outer = quote(outer).encode("ascii")
            scope["path"] = outer + self.root_path + path[len(outer) :]
        else:
            raw_outer = b""
            scope["path"] = self.root_path + path
        raw_path = scope.get("raw_path")
        if raw_path is not None and raw_path.startswith(raw_outer):
            scope["raw_path"] = raw_outer + self._raw_root_path + raw_path[len(raw_outer) :]
        scope["root_path"] = outer + self.root_path


async def prepare(app: object) -> Shortcut | None:
    """Prepare the way to the routes of ``app``; return the shortest one, None when the app has to be called.

    An app whose own way cannot be shortened (middleware, a class of its own) still finds its routes by
    index, unless its router or the installed framework is one that the gateway cannot vouch for.
    """
    difference = await disagreement()
    if difference:
        logger.warning("new routes by its own router, which is slower with many routes: %s", difference)
        return None
    return shorten(app, prepare_routers(app))


def _last_line(message: str) -> str:
    """Return what a traceback ends with; any other message as it is."""
    message = message.strip()
    return message.rsplit("\n", 1)[-1] if message.startswith("Traceback") else message


def _describe(exc: BaseException | None) -> str:
    return f"{type(exc).__name__}: {exc}" if exc is not None else "no reason given"
