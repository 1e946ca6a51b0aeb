"""A shadow call's SQL may read; whatever may write is refused."""

from __future__ import annotations

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.ext.asyncio import create_async_engine

from gateway.shadowing import writes
from gateway.shadowing.writes import SHADOW, ShadowMark, ShadowWriteRefused, is_write


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT 1",
        "  select * from users where name = 'INSERT INTO x'",
        "/* a comment */ SELECT 1",
        "-- a comment\nSELECT 1",
        "WITH a AS (SELECT 1) SELECT * FROM a",
        "PRAGMA table_info(users)",
        "EXPLAIN SELECT 1",
        "SHOW server_version",
        "SELECT id FROM users FOR UPDATE",
        "SAVEPOINT a",
        "SET TIME ZONE 'UTC'",
        "",
    ],
)
def test_reading_statements_pass(statement: str) -> None:
    assert not is_write(statement)


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO users VALUES (1)",
        "update users set name = 'x'",
        "\n DELETE FROM users",
        "REPLACE INTO users VALUES (1)",
        "MERGE INTO users USING x ON 1=1",
        "WITH moved AS (DELETE FROM users RETURNING *) SELECT * FROM moved",
        "SELECT nextval('users_id_seq')",
        "EXPLAIN ANALYZE INSERT INTO users VALUES (1)",
        "CREATE TABLE x (id int)",
        "DROP TABLE users",
        "TRUNCATE users",
        "CALL pay(1)",
        "PRAGMA user_version = 3",
        "PRAGMA main.journal_mode=WAL",
        "VACUUM",
        "COPY users FROM STDIN",
        "GRANT ALL ON users TO x",
        "(((",
    ],
)
def test_writing_statements_are_known(statement: str) -> None:
    assert is_write(statement)


def test_a_write_in_a_shadow_call_raises_and_changes_nothing() -> None:
    writes.install()
    writes.install()
    engine = create_engine("sqlite://")
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE seen (n int)"))
    mark = ShadowMark()
    token = SHADOW.set(mark)
    try:
        with pytest.raises(ShadowWriteRefused), engine.begin() as connection:
            connection.execute(text("INSERT INTO seen VALUES (1)"))
    finally:
        SHADOW.reset(token)
    with engine.begin() as connection:
        assert connection.execute(text("SELECT count(*) FROM seen")).scalar() == 0
        connection.execute(text("INSERT INTO seen VALUES (1)"))
    engine.dispose()
    assert mark.refused == "INSERT INTO seen VALUES (1)"


async def test_asynchronous_engines_are_watched_as_well() -> None:
    writes.install()
    engine = create_async_engine("sqlite+aiosqlite://")
    async with engine.connect() as connection:
        await connection.execute(text("CREATE TABLE seen (n int)"))
        token = SHADOW.set(ShadowMark())
        try:
            with pytest.raises(ShadowWriteRefused):
                await connection.execute(text("INSERT INTO seen VALUES (1)"))
        finally:
            SHADOW.reset(token)
    await engine.dispose()
