"""Give each request one database session, opened on first use and closed with the app context."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flask import current_app, g
from sqlalchemy import Engine, create_engine, event, make_url
from sqlalchemy.orm import Session

if TYPE_CHECKING:
    from flask import Flask

DRIVERS = {"sqlite": "sqlite", "postgres": "postgresql+psycopg", "postgresql": "postgresql+psycopg"}


def init_app(app: Flask) -> None:
    """Make the app's engine and close each context's session."""
    app.extensions["engine"] = make_engine(app.config["DATABASE_URL"])
    app.teardown_appcontext(close_session)


def make_engine(address: str) -> Engine:
    """Return an engine for a SQLite or PostgreSQL URL, whatever driver it names."""
    url = make_url(address)
    url = url.set(drivername=DRIVERS[url.get_backend_name()])
    if url.get_backend_name() != "sqlite":
        return create_engine(url, pool_pre_ping=True)
    engine = create_engine(url, connect_args={"timeout": 15})
    event.listen(engine, "connect", prepare_sqlite)
    return engine


def prepare_sqlite(connection: Any, _record: Any) -> None:
    """Let readers and a writer work side by side, and keep foreign keys."""
    for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def new_session() -> Session:
    """Return a session of its own, for work that outlives the request's; the caller closes it."""
    return Session(current_app.extensions["engine"], expire_on_commit=False)


def session() -> Session:
    """Return this request's session."""
    if "session" not in g:
        g.session = new_session()
    result: Session = g.session
    return result


def close_session(_error: BaseException | None = None) -> None:
    """Close this request's session, which rolls back what was not committed."""
    opened = g.pop("session", None)
    if opened is not None:
        opened.close()
