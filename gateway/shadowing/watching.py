"""Be told of what new does for one request, wherever in this process it does it.

Two watch: a rehearsal, which refuses what could not be undone, and an onlooker, which takes note of it. What
tells them are listeners on SQLAlchemy's engines (:mod:`gateway.shadowing.engines`) and walls around the ways
out of the process (:mod:`gateway.shadowing.walls`); both look into one context variable.
"""

from __future__ import annotations

import threading
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    import sqlalchemy as sa

    from gateway.shadowing.outer import Outer


class Watcher(Protocol):
    """Be told of deeds, from whatever thread they are done on; what a method raises keeps its deed undone."""

    def refuse(self, what: str) -> None:
        """Be told that new is about to do ``what`` (a sentence without its subject), beyond any undoing."""
        ...

    def postpones(self, task: str) -> bool:
        """Tell whether the background task of this name must not run now."""
        ...

    def in_pool(self, work: Callable[..., Any]) -> Callable[..., Any]:
        """Return ``work`` such that this watcher sees it on a thread that has a context of its own."""
        ...

    def connects(self) -> None:
        """Be told that SQLAlchemy is about to open a SQLite database on this thread."""
        ...

    def is_connecting(self) -> bool:
        """Tell whether it was SQLAlchemy that opens a SQLite database on this thread, once."""
        ...

    def check_statement(self, connection: sa.Connection, statement: str) -> None:
        """Be told of a statement before it runs."""
        ...

    def check_end(self, connection: sa.Connection, *, is_kept: bool) -> None:
        """Be told that a connection's transaction is about to be committed (or prepared), or rolled back."""
        ...

    def disturb(self, why: str) -> None:
        """Be told that somebody else's lock, or a limit, stopped a statement."""
        ...

    def outer_with(self, connection: sa.Connection) -> Outer | None:
        """Return the outer transaction that ``connection`` is of, if it is of one."""
        ...

    def running(self, outer: Outer) -> AbstractContextManager[None]:
        """Be the time for which a statement runs on ``outer``."""
        ...


WATCHER: Final[ContextVar[Watcher | None]] = ContextVar("gateway_watcher", default=None)
"""Who watches what runs in this context; None in nearly every request."""


class Announcements:
    """Remember on which threads SQLAlchemy said that it is about to connect."""

    def __init__(self) -> None:
        self._threads: set[int] = set()

    def add(self) -> None:
        """Note the present thread. (Adding and discarding are atomic, and a thread only sees its own.)"""
        self._threads.add(threading.get_ident())

    def take(self) -> bool:
        """Tell whether the present thread was noted, once."""
        is_noted = threading.get_ident() in self._threads
        self._threads.discard(threading.get_ident())
        return is_noted
