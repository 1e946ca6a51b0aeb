"""Read where the reference migration keeps its data.

``DATABASE_URL`` may be any SQLite or PostgreSQL URL, with or without a driver's name.
"""

from __future__ import annotations

import os
from pathlib import Path

from sqlalchemy import URL, make_url

ROOT = Path(__file__).resolve().parent.parent
VAR = ROOT / "var"

DRIVERS = {"sqlite": "sqlite", "postgres": "postgresql+psycopg", "postgresql": "postgresql+psycopg"}


def database_url() -> URL:
    """Return the database's URL with a synchronous driver: ``DATABASE_URL``, else ``var/reference.db``."""
    url = make_url(os.environ.get("DATABASE_URL") or f"sqlite:///{VAR / 'reference.db'}")
    backend = url.drivername.partition("+")[0]
    if backend not in DRIVERS:
        raise SystemExit(f"DATABASE_URL: {backend} is not supported; use sqlite:///FILE or postgresql://…")
    return url.set(drivername=DRIVERS[backend])
