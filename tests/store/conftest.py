"""Give each test a fresh state, on SQLite and on PostgreSQL."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import psycopg
import pytest

from gateway.store import Ledger, locate
from tests.packages import skip_unless_ci

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

POSTGRES = ("postgresql://postgres@127.0.0.1:5432/postgres", "postgresql://root@127.0.0.1:5432/postgres")


@pytest.fixture(scope="session")
def state_database() -> Iterator[str]:
    """Yield the URL of a PostgreSQL database made for this run, and drop it at the end."""
    reasons = []
    for server in POSTGRES:
        try:
            connection = psycopg.connect(server, connect_timeout=2, autocommit=True)
        except psycopg.OperationalError as error:
            reasons.append(str(error))
        else:
            break
    else:
        skip_unless_ci(f"PostgreSQL cannot be reached: {'; '.join(reasons)}")
    name = f"gateway_state_{uuid.uuid4().hex[:12]}"
    with connection:
        connection.execute(f'CREATE DATABASE "{name}"'.encode())
        yield server.rpartition("/")[0] + f"/{name}"
        connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)'.encode())


@pytest.fixture
def postgres_url(state_database: str) -> str:
    """Return the URL of an empty PostgreSQL database."""
    with psycopg.connect(state_database, autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        connection.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    return state_database


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return the URL of an empty state, once on each database."""
    if request.param == "sqlite":
        return locate(None, tmp_path / "routing.yaml")
    postgres: str = request.getfixturevalue("postgres_url")
    return locate(postgres, tmp_path / "routing.yaml")


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """Return the URL of an empty state beside a table."""
    return locate(None, tmp_path / "routing.yaml")


@pytest.fixture
def ledger(url: str) -> Iterator[Ledger]:
    """Yield an open ledger on an empty state."""
    with Ledger(url) as opened:
        yield opened
