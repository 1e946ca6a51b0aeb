"""The migrations make what both apps map, can be undone, and the demo data is the same every time."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import MetaData, create_engine, inspect, make_url, select

from legacy_flask import models as legacy_models
from new_api import models as new_models
from reference.environment import ROOT, VAR, database_url
from reference.schema import downgrade, upgrade
from reference.seed import seed
from tests.reference.conftest import on_both_databases

if TYPE_CHECKING:
    from pathlib import Path

TABLES = {"users", "products", "orders", "avatars", "mails"}


def tables_of(url: str) -> set[str]:
    engine = create_engine(url)
    try:
        return set(inspect(engine).get_table_names())
    finally:
        engine.dispose()


def contents_of(url: str) -> dict[str, list[tuple[Any, ...]]]:
    engine = create_engine(url)
    try:
        with engine.connect() as connection:
            tables = MetaData()
            tables.reflect(connection)
            return {
                name: [tuple(row) for row in connection.execute(select(tables.tables[name]).order_by("id"))]
                for name in TABLES
            }
    finally:
        engine.dispose()


@on_both_databases
def test_the_schema_goes_up_and_down_and_up_again(empty_database_url: str) -> None:
    url = make_url(empty_database_url)

    upgrade(url)
    upgrade(url)
    assert tables_of(empty_database_url) == TABLES | {"alembic_version"}
    downgrade(url)
    assert tables_of(empty_database_url) == {"alembic_version"}
    upgrade(url)
    assert tables_of(empty_database_url) == TABLES | {"alembic_version"}


@on_both_databases
@pytest.mark.parametrize(
    "metadata", [legacy_models.Base.metadata, new_models.Base.metadata], ids=["legacy", "new"]
)
def test_each_app_maps_the_schema_that_the_migrations_make(
    empty_database_url: str, metadata: MetaData
) -> None:
    upgrade(make_url(empty_database_url))
    engine = create_engine(empty_database_url)
    with engine.connect() as connection:
        differences = compare_metadata(MigrationContext.configure(connection), metadata)
    engine.dispose()

    assert differences == []


@on_both_databases
def test_seeding_twice_changes_nothing(empty_database_url: str) -> None:
    url = make_url(empty_database_url)
    upgrade(url)

    assert seed(url)
    once = contents_of(empty_database_url)
    assert not seed(url)

    assert contents_of(empty_database_url) == once
    assert {name: len(rows) for name, rows in once.items()} == {
        "users": 24,
        "products": 8,
        "orders": 240,
        "avatars": 0,
        "mails": 0,
    }


def test_two_seeded_databases_are_equal(tmp_path: Path) -> None:
    contents = []
    for name in ("a", "b"):
        path = tmp_path / "made" / f"{name}.db"
        # A process each, so that nothing is remembered between them.
        done = subprocess.run(
            [sys.executable, "-m", "reference.seed"],
            cwd=ROOT,
            env={"DATABASE_URL": f"sqlite:///{path}"},
            check=True,
            capture_output=True,
            text=True,
        )
        assert "Seeded sqlite:///" in done.stdout
        assert "demo-password" in done.stdout
        contents.append(contents_of(f"sqlite:///{path}"))

    assert contents[0] == contents[1]


def test_alembics_own_command_line_works(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'shell.db'}"
    alembic = [sys.executable, "-m", "alembic", "-c", "reference/alembic.ini"]

    subprocess.run([*alembic, "upgrade", "head"], cwd=ROOT, env={"DATABASE_URL": url}, check=True)

    assert tables_of(url) == TABLES | {"alembic_version"}


@pytest.mark.parametrize(
    ("given", "used"),
    [
        ("postgres://ada@db/shop", "postgresql+psycopg://ada@db/shop"),
        ("postgresql+asyncpg://ada@db/shop", "postgresql+psycopg://ada@db/shop"),
        ("sqlite+aiosqlite:////tmp/x.db", "sqlite:////tmp/x.db"),
        ("", f"sqlite:///{VAR / 'reference.db'}"),
    ],
)
def test_any_spelling_of_a_database_is_understood(
    monkeypatch: pytest.MonkeyPatch, given: str, used: str
) -> None:
    monkeypatch.setenv("DATABASE_URL", given)

    assert str(database_url()) == used


def test_another_kind_of_database_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "mysql://ada@db/shop")

    with pytest.raises(SystemExit, match="mysql is not supported"):
        database_url()
