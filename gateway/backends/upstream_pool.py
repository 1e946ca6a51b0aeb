"""Keep connections to one upstream: a bounded number, handed out in turn, never a stale one on purpose.

A server closes idle connections when it likes (gunicorn after 2 s, uvicorn after 5), and a request that
meets such a closing is lost. One that may be repeated is repeated; one that may not, such as a POST, is
only given a connection that was busy within the last :data:`FRESH_S` seconds, or a new one.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
from collections import deque

from gateway.backends.upstream_connection import Connection, ConnectionFailed
from gateway.errors import BackendOverloaded, BackendUnavailable

logger = logging.getLogger("gateway.upstream")

IDLE_S = 15.0
FRESH_S = 1.0
WAITING_PER_CONNECTION = 4
"""How many requests may wait, as a multiple of the pool: more would only wait to time out."""


class Pool:
    """Hand out connections to ``host``:``port``, at most ``limit`` at a time."""

    def __init__(
        self,
        host: str,
        port: int,
        *,
        name: str,
        limit: int,
        connect_timeout_s: float,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        self.host = host
        self.port = port
        self.name = name
        self.limit = limit
        self.connect_timeout_s = connect_timeout_s
        self.last_error = ""
        self._ssl_context = ssl_context
        self._idle: deque[Connection] = deque()
        self._connections: set[Connection] = set()
        self._connecting = 0
        self._waiting: deque[asyncio.Future[Connection | None]] = deque()
        self._reaper: asyncio.TimerHandle | None = None
        self._all_returned: asyncio.Event | None = None
        self.is_closed = False

    @property
    def open(self) -> int:
        """Return how many connections are open or being opened."""
        return len(self._connections) + self._connecting

    @property
    def idle(self) -> int:
        """Return how many connections wait for a request."""
        return len(self._idle)

    @property
    def waiting(self) -> int:
        """Return how many requests wait for a connection."""
        return len(self._waiting)

    async def acquire(self, *, is_repeatable: bool, is_new_wanted: bool = False) -> Connection:
        """Return a connection that is the caller's until :meth:`release` or :meth:`discard`.

        Raises :class:`BackendUnavailable` when none can be opened, :class:`BackendOverloaded` when too
        many requests wait already.
        """
        if self.is_closed:
            raise BackendUnavailable(self.name, f"{self.name} is shutting down")
        loop = asyncio.get_running_loop()
        now = loop.time()
        while self._idle and not is_new_wanted:
            connection = self._idle[-1]
            age_s = now - connection.idle_since
            if connection.is_open and age_s < IDLE_S:
                if not is_repeatable and age_s > FRESH_S:
                    break
                return self._idle.pop()
            self._close_idle(self._idle.pop())
        if self.open >= self.limit and self._idle:
            self._close_idle(self._idle.popleft())
        while self.open >= self.limit:
            handed = await self._wait_turn(loop)
            if handed is None:
                break
            if handed.is_open:
                return handed
        return await self._connect(loop)

    async def _wait_turn(self, loop: asyncio.AbstractEventLoop) -> Connection | None:
        """Return a connection just given back, or None for leave to open one (its place is held)."""
        if len(self._waiting) >= self.limit * WAITING_PER_CONNECTION:
            raise BackendOverloaded(
                self.name,
                f"all {self.limit} connections to {self.name} are busy, and as many requests wait as may",
            )
        turn: asyncio.Future[Connection | None] = loop.create_future()
        self._waiting.append(turn)
        try:
            handed = await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                handed = turn.result()
                if handed is None:
                    self._connecting -= 1
                    self._give_place()
                else:
                    self.release(handed)
            elif turn in self._waiting:
                self._waiting.remove(turn)
            raise
        if handed is None:
            self._connecting -= 1  # _connect counts it again, with no await between
        return handed

    async def _connect(self, loop: asyncio.AbstractEventLoop) -> Connection:
        self._connecting += 1
        try:
            async with asyncio.timeout(self.connect_timeout_s):
                _, connection = await loop.create_connection(
                    lambda: Connection(loop, self._forget),
                    self.host,
                    self.port,
                    ssl=self._ssl_context,
                    server_hostname=self.host if self._ssl_context else None,
                )
        except (OSError, TimeoutError, UnicodeError) as exc:
            self._connecting -= 1
            self._give_place()
            self._note_failure(exc)
            raise BackendUnavailable(self.name, f"{self.name} cannot be reached: {reason_of(exc)}") from exc
        except BaseException:
            self._connecting -= 1
            self._give_place()
            raise
        self._connecting -= 1
        self._connections.add(connection)
        if self.last_error:
            logger.info("%s: reached again at %s:%d", self.name, self.host, self.port)
            self.last_error = ""
        return connection

    def _note_failure(self, exc: BaseException) -> None:
        reason = f"{self.host}:{self.port}: {reason_of(exc)}"
        if reason != self.last_error:
            logger.warning("%s cannot be reached at %s", self.name, reason)
        self.last_error = reason

    def release(self, connection: Connection) -> None:
        """Take back a connection after a whole exchange, for the next."""
        if not connection.is_open or self.is_closed:
            self.discard(connection)
            return
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(connection)
                return
        loop = asyncio.get_running_loop()
        connection.idle_since = loop.time()
        self._idle.append(connection)
        if self._reaper is None:
            self._reaper = loop.call_later(IDLE_S, self._reap, loop)

    def discard(self, connection: Connection) -> None:
        """Cut a connection that may not be used again."""
        connection.abort()
        self._forget(connection)

    def _close_idle(self, connection: Connection) -> None:
        connection.close()
        self._forget(connection)

    def _forget(self, connection: Connection) -> None:
        if connection in self._connections:
            self._connections.discard(connection)
            if connection in self._idle:
                self._idle.remove(connection)
            self._give_place()

    def _give_place(self) -> None:
        """Let the first that waits open a connection, if there is room for one."""
        if self._all_returned is not None and not self.open:
            self._all_returned.set()
        while self._waiting and self.open < self.limit:
            turn = self._waiting.popleft()
            if not turn.done():
                self._connecting += 1
                turn.set_result(None)

    def _reap(self, loop: asyncio.AbstractEventLoop) -> None:
        """Close what has been idle for long, so that an upstream that drains is not held up."""
        self._reaper = None
        while self._idle and loop.time() - self._idle[0].idle_since >= IDLE_S * 0.9:
            self._close_idle(self._idle.popleft())
        if self._idle:
            self._reaper = loop.call_later(IDLE_S, self._reap, loop)

    async def probe(self) -> None:
        """Open and close a TCP connection; raise :class:`BackendUnavailable` where that fails."""
        try:
            async with asyncio.timeout(self.connect_timeout_s):
                _, writer = await asyncio.open_connection(self.host, self.port)
        except (OSError, TimeoutError, UnicodeError) as exc:
            self._note_failure(exc)
            raise BackendUnavailable(self.name, f"{self.name} cannot be reached: {reason_of(exc)}") from exc
        self.last_error = ""
        writer.close()
        with contextlib.suppress(OSError):  # it was reached; how it parts is its own affair
            await writer.wait_closed()

    async def close(self, grace_s: float) -> None:
        """Refuse new requests, wait ``grace_s`` seconds for those under way, then cut what is left."""
        self.is_closed = True
        if self._reaper is not None:
            self._reaper.cancel()
            self._reaper = None
        for connection in tuple(self._idle):
            self.discard(connection)  # a TLS farewell would outlast the loop
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_exception(BackendUnavailable(self.name, f"{self.name} is shutting down"))
        if self._connections or self._connecting:
            self._all_returned = asyncio.Event()
            try:
                async with asyncio.timeout(grace_s):
                    await self._all_returned.wait()
            except TimeoutError:
                for connection in tuple(self._connections):
                    connection.fail(ConnectionFailed("was let go: the gateway is shutting down"))
        await asyncio.sleep(0)  # sockets are closed in the loop's next turn


def reason_of(exc: BaseException) -> str:
    """Say in a few words why a connection could not be made, without naming the address."""
    if isinstance(exc, TimeoutError) and not getattr(exc, "errno", None):
        return "no answer within the connect timeout"
    if isinstance(exc, (socket.gaierror, UnicodeError)):
        return "its name cannot be resolved"
    if isinstance(exc, ssl.SSLCertVerificationError):
        return f"its certificate is not valid ({exc.verify_message})"
    if isinstance(exc, ssl.SSLError):
        return "the TLS handshake failed"
    if isinstance(exc, ConnectionRefusedError):
        return "connection refused"
    return exc.strerror if isinstance(exc, OSError) and exc.strerror else type(exc).__name__
