"""Give each request one asynchronous database session, by dependency."""

from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import Depends, Request
from sqlalchemy import event, make_url
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine

from gateway.compat import rehearsable

DRIVERS = {
    "sqlite": "sqlite+aiosqlite",
    "postgres": "postgresql+psycopg",
    "postgresql": "postgresql+psycopg",
}

Sessions = async_sessionmaker[AsyncSession]


def make_engine(address: str) -> AsyncEngine:
    """Return an engine for a SQLite or PostgreSQL URL, whatever driver it names."""
    url = make_url(address)
    url = url.set(drivername=DRIVERS[url.get_backend_name()])
    if url.get_backend_name() != "sqlite":
        return create_async_engine(url, pool_pre_ping=True)
    engine = create_async_engine(url, connect_args={"timeout": 15})
    event.listen(engine.sync_engine, "connect", prepare_sqlite)
    return engine


def make_sessions(engine: AsyncEngine) -> Sessions:
    """Return the maker of sessions; what they write can be rehearsed, for rows with ``writes: rehearse``."""
    return rehearsable(Sessions(engine, expire_on_commit=False))


def prepare_sqlite(connection: Any, _record: Any) -> None:
    """Let readers and a writer work side by side, and keep foreign keys."""
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def get_sessions(request: Request) -> Sessions:
    """Return the maker of sessions, for work that outlives the request's own."""
    sessions: Sessions = request.app.state.sessions
    return sessions


async def get_session(sessions: Annotated[Sessions, Depends(get_sessions)]) -> AsyncIterator[AsyncSession]:
    """Yield this request's session; closing it rolls back what was not committed."""
    async with sessions() as session:
        yield session


SessionMaker = Annotated[Sessions, Depends(get_sessions)]
Session = Annotated[AsyncSession, Depends(get_session)]
