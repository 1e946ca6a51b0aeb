"""Bring the database to a revision of the schema, by Alembic.

``alembic -c reference/alembic.ini upgrade head`` does the same from a shell.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from alembic import command
from alembic.config import Config

if TYPE_CHECKING:
    from sqlalchemy import URL

MIGRATIONS = Path(__file__).resolve().parent / "migrations"


def configure(url: URL) -> Config:
    """Return Alembic's configuration for the database at ``url``."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["url"] = url
    return config


def upgrade(url: URL, revision: str = "head") -> None:
    """Migrate the database forward to ``revision``, making SQLite's directory when it is missing."""
    if url.get_backend_name() == "sqlite" and url.database:
        Path(url.database).parent.mkdir(parents=True, exist_ok=True)
    command.upgrade(configure(url), revision)


def downgrade(url: URL, revision: str = "base") -> None:
    """Migrate the database back to ``revision``; ``base`` leaves no table of ours."""
    command.downgrade(configure(url), revision)
