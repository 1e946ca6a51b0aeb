"""Give each test of rehearsals an empty database: SQLite and PostgreSQL, for either kind of engine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from tests.store.conftest import postgres_url, state_database  # noqa: F401 - fixtures

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Database:
    """Be one empty database; ``url`` is for synchronous engines, ``async_url`` for asynchronous ones."""

    kind: str
    url: str
    async_url: str

    @property
    def is_sqlite(self) -> bool:
        """Tell whether it is SQLite."""
        return self.kind == "sqlite"


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Database:
    """Return an empty database, once of each kind."""
    return _database(request.param, request, tmp_path)


@pytest.fixture
def sqlite(request: pytest.FixtureRequest, tmp_path: Path) -> Database:
    """Return an empty SQLite database, for what is the same on each."""
    return _database("sqlite", request, tmp_path)


@pytest.fixture
def postgresql(request: pytest.FixtureRequest, tmp_path: Path) -> Database:
    """Return an empty PostgreSQL database, for what only it can do."""
    return _database("postgresql", request, tmp_path)


def _database(kind: str, request: pytest.FixtureRequest, folder: Path) -> Database:
    if kind == "sqlite":
        path = folder / "shop.db"
        return Database(kind, f"sqlite:///{path}", f"sqlite+aiosqlite:///{path}")
    plain: str = request.getfixturevalue("postgres_url")
    url = plain.replace("postgresql:", "postgresql+psycopg:")
    return Database(kind, url, url)
