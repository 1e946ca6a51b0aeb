"""Let the sessions of a new app be rehearsed: one line where its session factory is made.

    SessionFactory = rehearsable(async_sessionmaker(engine))

Outside of a rehearsal the factory is the one that it was, at the price of one look into a context variable
a session. In a rehearsal the gateway lends its sessions one connection, on which an outer transaction is
open that nobody commits: a session's own commit releases a savepoint, and what it wrote is undone when the
rehearsal is over. Who lends, and what else is watched meanwhile, is decided elsewhere
(:mod:`gateway.shadowing.rehearsal`); nothing here knows a gateway.

SQLAlchemy is imported with the first factory only: a new app without it imports this module as well.
"""

from __future__ import annotations

import threading
from contextvars import ContextVar
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar, cast

from gateway.errors import SettingsError

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine
    from sqlalchemy.orm import Session

Factory = TypeVar("Factory")


class Lender(Protocol):
    """Lend sessions their connection for as long as a rehearsal lasts."""

    def connection_of(self, engine: Engine) -> Connection:
        """Return the one connection that stands for ``engine``; may raise what ends the rehearsal."""
        ...

    def adopt(self, session: Session, *, is_async: bool) -> None:
        """Take note of a session (an asynchronous one's inner), which must not outlive the rehearsal."""
        ...


LENDER: Final[ContextVar[Lender | None]] = ContextVar("gateway_lender", default=None)
"""Who lends connections to the sessions that are made in this context; None in every ordinary request."""


_in_use = threading.Event()


def is_in_use() -> bool:
    """Tell whether a factory of this process is rehearsable: its author says that its sessions are all."""
    return _in_use.is_set()


def rehearsable(factory: Factory) -> Factory:
    """Return ``factory``, a ``sessionmaker`` or ``async_sessionmaker``, fit for ``writes: rehearse``.

    What comes out is of the same class, makes sessions of the same class, and shares its configuration
    with the one that came in. Wrap it where it is made, so that every session of the app comes from it::

        SessionFactory = rehearsable(async_sessionmaker(engine, expire_on_commit=False))

    Raises:
        SettingsError: ``factory`` is neither of the two. (For a ``scoped_session``, wrap the factory in it.)
    """
    from sqlalchemy.ext.asyncio import async_sessionmaker
    from sqlalchemy.orm import sessionmaker

    if not isinstance(factory, sessionmaker | async_sessionmaker):
        raise SettingsError(
            f"rehearsable() takes a sessionmaker or an async_sessionmaker, not {type(factory).__name__}; "
            "write scoped_session(rehearsable(sessionmaker(...))) for a scoped_session"
        )
    if isinstance(factory, _Lending):
        return cast("Factory", factory)
    _in_use.set()
    kind = type(factory)
    base = _LendingAsync if isinstance(factory, async_sessionmaker) else _LendingSync
    lending: Any = object.__new__(type(kind.__name__, (base, kind), {"_kind": kind}))
    # One dict for both: configure() on either is seen by the other, as if they were one.
    lending.__dict__ = factory.__dict__
    return cast("Factory", lending)


class _Lending:
    """Make the sessions that ``_kind``, the class behind this one, makes; in a rehearsal such that borrow."""

    _kind: type[Any]

    def __call__(self, **given: Any) -> Any:
        lender = LENDER.get()
        if lender is None:
            return super().__call__(**given)  # type: ignore[misc] # a sessionmaker stands behind this class
        return self._lend(lender, given)

    def _lend(self, lender: Lender, given: dict[str, Any]) -> Any:
        raise NotImplementedError

    def _twin(self, **changed: Any) -> Any:
        """Return the factory that this one was, with ``changed`` attributes; it serves one call."""
        twin: Any = object.__new__(self._kind)
        twin.__dict__ = {**self.__dict__, **changed}
        return twin


class _LendingSync(_Lending):
    def _lend(self, lender: Lender, given: dict[str, Any]) -> Any:
        session = self._twin(class_=_borrowing(self.__dict__["class_"]))(**{**given, **_TERMS})
        lender.adopt(session, is_async=False)
        return session


class _LendingAsync(_Lending):
    def _lend(self, lender: Lender, given: dict[str, Any]) -> Any:
        configured, made = self.__dict__["kw"], self.__dict__["class_"]
        own = (given.get("sync_session_class") or configured.get("sync_session_class")) or (
            made.sync_session_class
        )
        session = self._twin()(**{**given, **_TERMS, "sync_session_class": _borrowing(own)})
        lender.adopt(session.sync_session, is_async=True)
        return session


# What a session of a rehearsal must not be told otherwise: it lives in savepoints of the outer transaction.
_TERMS: dict[str, Any] = {"join_transaction_mode": "create_savepoint", "twophase": False}


class _Borrowing:
    """Be bound to what the lender of this context lends; to the session's own engine where there is none."""

    def get_bind(self, *args: Any, **named: Any) -> Any:
        from sqlalchemy import Engine

        found = super().get_bind(*args, **named)  # type: ignore[misc] # a Session stands behind this class
        lender = LENDER.get()
        return lender.connection_of(found) if lender is not None and isinstance(found, Engine) else found


@lru_cache(maxsize=64)
def _borrowing(kind: type[Session]) -> type[Session]:
    """Return ``kind`` as a class of borrowing sessions: always the same, for events listen on classes."""
    return type(kind.__name__, (_Borrowing, kind), {})
