"""Be one rehearsal of a write: what it may touch, what it was refused, and its end.

Law: whatever new asks for is either done on a connection whose outer transaction is undone, or refused and
noted. An *escape* is what new tried and must not; it stops the row. A *trouble* is why this one rehearsal
says nothing about new. After its end a rehearsal refuses everything, to whoever still runs in its context.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from time import monotonic
from typing import TYPE_CHECKING, Any, NoReturn

from gateway.errors import GatewayError
from gateway.shadowing.outer import CannotRehearse, Outer, Undoing
from gateway.shadowing.watching import Announcements
from gateway.shadowing.writes import is_write, locks, why_not_undone
from gateway.shadowing.written import WriteLog

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import sqlalchemy as sa
    from sqlalchemy.orm import Session

log = logging.getLogger("gateway.shadow")

THE_LINE = "SessionFactory = gateway.compat.rehearsable(async_sessionmaker(...))"

UNDOING_LIMIT_S = 0.5
"""How long a client waits for the undoing itself; what takes longer goes on without it."""

_threads = ThreadPoolExecutor(4, thread_name_prefix="gateway-rehearsal")


class RehearsalRefused(GatewayError, ConnectionError):
    """Tell a rehearsal's code that what it asked for was not done. To an HTTP client it is no connection."""


class Rehearsal:
    """Be the state of one rehearsal, which lasts at most ``limit_s`` seconds.

    Made in the event loop; its methods are called from whatever thread new runs on. ``on_escape`` is told
    of the first escape, there and then: it may come after the end.
    """

    def __init__(self, limit_s: float, on_escape: Callable[[str], None]) -> None:
        self.escape = ""
        self.trouble = ""
        self.is_over = False
        self.log = WriteLog(self._on_overlap)
        self.postponed: list[str] = []
        """Names of background tasks that did not run."""
        self.ended = asyncio.Event()
        """Set when there is no point in going on."""
        self._on_escape = on_escape
        self._ends_s = monotonic() + limit_s
        self._loop = asyncio.get_running_loop()
        self._outers: dict[object, Outer] = {}
        self._sessions: list[tuple[Session, bool]] = []
        self._announced = Announcements()
        self._is_cut = False
        self._lock = threading.Lock()

    # What new runs into.

    def refuse(self, what: str) -> NoReturn:
        """Note that new tried ``what`` (a sentence without its subject), and raise."""
        self._note_escape(what)
        self._end()
        raise RehearsalRefused(f"a rehearsal may not do this: it {what}")

    def _note_escape(self, what: str) -> None:
        with self._lock:
            is_news = not self.escape and not self._is_cut
            if is_news:
                self.escape = what
        if is_news:
            self._on_escape(what)

    def spoil(self, why: str) -> NoReturn:
        """Note why this rehearsal says nothing, and raise."""
        self.disturb(why)
        raise RehearsalRefused(f"the rehearsal cannot go on: {why}")

    def disturb(self, why: str) -> None:
        """Note why this rehearsal says nothing, while it goes on for now."""
        self.trouble = self.trouble or why
        self._end()

    def _end(self) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(self.ended.set)

    def left_s(self) -> float:
        """Return how many seconds are left."""
        return self._ends_s - monotonic()

    # Lending, to the sessions of `gateway.compat.rehearsable`.

    def connection_of(self, engine: sa.Engine) -> sa.Connection:
        """Return the connection that stands for ``engine``."""
        if self.is_over:
            self.refuse("went on using a session after its answer")
        outer = self._outer_of(engine)
        was_open = outer.connection is not None
        try:
            connection = outer.open(self.left_s())
        except CannotRehearse as error:
            self.refuse(f"has a database that cannot be rehearsed: {error}")
        except Exception as error:
            log.info("a rehearsal got no connection: %s", error)
            self.spoil("it got no connection for its outer transaction")
        if not was_open and outer.life_s is not None:
            self._loop.call_soon_threadsafe(self._loop.call_later, outer.life_s, self.ended.set)
        return connection

    def adopt(self, session: Session, *, is_async: bool) -> None:
        """Take note of a session, to be closed at the end."""
        with self._lock:
            self._sessions.append((session, is_async))

    def _outer_of(self, engine: sa.Engine) -> Outer:
        with self._lock:
            outer = self._outers.setdefault(engine.pool, Outer(engine))
        if outer.engine.get_execution_options() != engine.get_execution_options():
            self.refuse("uses one engine with two sets of execution options")
        return outer

    # Watching: what `gateway.shadowing.engines` and `gateway.shadowing.walls` tell.

    def postpones(self, task: str) -> bool:
        """Note a background task, which does not run."""
        self.postponed.append(task)
        return True

    def in_pool(self, work: Callable[..., Any]) -> Callable[..., Any]:
        """Let a pool's thread work in the context of the rehearsal, its lent connections among them."""
        return functools.partial(copy_context().run, work)

    def check_end(self, connection: sa.Connection, *, is_kept: bool) -> None:
        """Keep the outer transaction from being ended; by a session that cannot be."""
        if self.outer_with(connection) is not None:
            self.refuse("ended the transaction of its connection instead of its session's")

    def outer_with(self, connection: sa.Connection) -> Outer | None:
        """Return the outer transaction that ``connection`` is of; None: it is none of the rehearsal's."""
        return next((each for each in list(self._outers.values()) if each.connection is connection), None)

    def _on_overlap(self, connection: sa.Connection) -> None:
        """Let only the innermost savepoint end: the end of an outer one would take the inner ones along."""
        if self.outer_with(connection) is not None:
            self.spoil("two of its sessions were at work at once")

    def connects(self) -> None:
        """Note that SQLAlchemy is about to open a SQLite database on this thread."""
        self._announced.add()

    def is_connecting(self) -> bool:
        """Tell whether it was SQLAlchemy that opens a SQLite database on this thread, once."""
        return self._announced.take()

    def check_statement(self, connection: sa.Connection, statement: str) -> None:
        """Refuse a statement that could not be undone."""
        text = " ".join(statement.split())[:200]
        if self.is_over:
            self.refuse(f"went on after its answer: {text}")
        if self.outer_with(connection) is not None:
            why = why_not_undone(statement)
            if why:
                self.refuse(f"ran what cannot be undone: {text}; {why}")
        elif is_write(statement) or locks(statement):
            self.refuse(
                f"wrote by a session that is not rehearsable: {text}; where the factory of its sessions is "
                f"made, write {THE_LINE}"
            )

    @contextlib.contextmanager
    def running(self, outer: Outer) -> Iterator[None]:
        """Run a statement on ``outer``; from the end on none begins, and the undoing waits for the others."""
        with self._lock:
            is_over = self.is_over
            if not is_over:
                outer.statements += 1
        if is_over:
            self.refuse("went on after its answer")
        try:
            yield
        finally:
            with self._lock:
                outer.statements -= 1
                if not outer.statements and outer.is_quiet is not None:
                    self._loop.call_soon_threadsafe(outer.is_quiet.set)

    # The end.

    def close_doors(self, *, is_cut: bool) -> None:
        """End the rehearsal: from now on everything is refused. ``is_cut``: new did not come to its own end.

        What somebody who was cut off still tries is no escape; what somebody tries after an answer is one.
        """
        with self._lock:
            self.is_over, self._is_cut = True, is_cut
        self.log.settle_released()

    async def undo(self) -> None:
        """Undo what was done, before anybody else goes on; the doors are closed.

        Waits for at most :data:`UNDOING_LIMIT_S`.
        """
        with self._lock:
            outers, sessions = list(self._outers.values()), self._sessions
            self._sessions = []
        if not outers:
            return
        undoing = asyncio.ensure_future(self._undo(outers, sessions))
        done, _ = await asyncio.wait({undoing}, timeout=UNDOING_LIMIT_S)
        if done:
            undoing.result()
        else:
            self.trouble = "its undoing took too long"
            log.error(
                "a rehearsal is not undone after %g s; it is seen to without the client", UNDOING_LIMIT_S
            )

    async def _undo(self, outers: list[Outer], sessions: list[tuple[Session, bool]]) -> None:
        from sqlalchemy.util import greenlet_spawn

        loop = asyncio.get_running_loop()

        def close(is_async: bool) -> list[Undoing]:
            for session, is_asynchronous in sessions:
                if is_asynchronous is is_async:
                    with contextlib.suppress(
                        Exception
                    ):  # somebody who was cut off may be in the middle of it
                        session.close()
            return [each.close() for each in outers if each.is_async is is_async]

        await asyncio.gather(*(self._calm(each) for each in outers))
        endings = await loop.run_in_executor(_threads, close, False)
        if any(each.is_async for each in outers):
            endings += await greenlet_spawn(close, True)
        for ending in endings:
            if ending is Undoing.ESCAPED:
                self._is_cut = False  # that it was cut off excuses nothing here: something was done for good
                self._note_escape(ending.value)
            elif ending is Undoing.LOST:
                self.trouble = self.trouble or ending.value

    async def _calm(self, outer: Outer) -> None:
        """See statements that still run on ``outer`` come to an end."""
        from sqlalchemy.util import greenlet_spawn

        with self._lock:
            if not outer.statements:
                return
            outer.is_quiet = asyncio.Event()
        if outer.is_async:
            await greenlet_spawn(outer.interrupt)
        else:
            await asyncio.get_running_loop().run_in_executor(_threads, outer.interrupt)
        await outer.is_quiet.wait()
