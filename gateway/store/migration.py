"""Bring a database to the newest schema when it is opened, with any number of workers doing so at once.

One transaction holds a lock, looks at the version again, and migrates: on SQLite the write lock of
``BEGIN IMMEDIATE``, on PostgreSQL an advisory lock. A database that is up to date costs one query, and
Alembic is not even imported.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import inspect, text

from gateway.store.errors import StoreUnavailable
from gateway.store.schema import HEAD, VERSION_TABLE

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

MIGRATIONS = Path(__file__).parent / "migrations"

_LOCK_KEY = 0x67617465776179
"""Of the advisory lock: the letters of ``gateway``."""


def migrate(engine: Engine) -> bool:
    """Make or update the tables; return whether anything had to be done.

    Raise :class:`StoreUnavailable` for a database that a newer gateway has migrated.
    """
    with engine.connect() as connection:
        if version(connection) == HEAD:
            return False
    with engine.connect().execution_options(is_writing=True) as connection, connection.begin():
        if connection.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK_KEY})
        if version(connection) == HEAD:
            return False
        upgrade(connection)
        return True


def require_newest(engine: Engine) -> None:
    """Raise :class:`StoreUnavailable` for a database at any other version than HEAD; change nothing."""
    with engine.connect() as connection:
        found = version(connection)
    if found is None:
        raise StoreUnavailable("there is no state in this database yet")
    if found != HEAD:
        raise StoreUnavailable(f"the state's schema is at version {found}, and this gateway's is {HEAD}")


def version(connection: Connection) -> str | None:
    """Return the schema's version; None for a database without it."""
    if not inspect(connection).has_table(VERSION_TABLE):
        return None
    found: str | None = connection.execute(text(f"SELECT version_num FROM {VERSION_TABLE}")).scalar()  # noqa: S608 -- a constant
    return found


def upgrade(connection: Connection) -> None:
    """Run the migrations up to HEAD within the connection's transaction."""
    from alembic import command
    from alembic.config import Config
    from alembic.util.exc import CommandError

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, HEAD)
    except CommandError as exc:
        raise StoreUnavailable(
            f"the state's schema is at version {version(connection)}, which this gateway does not know; "
            "a newer one has written it"
        ) from exc
