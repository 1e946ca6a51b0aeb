"""A shadow call's SQL may read; whatever may write is refused."""

from __future__ import annotations

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.ext.asyncio import create_async_engine

from gateway.shadowing import writes
from gateway.shadowing.writes import (
    SHADOW,
    ShadowMark,
    ShadowWriteRefused,
    is_write,
    locks,
    why_not_undone,
)


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


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO users VALUES (1)",
        "update users set name = 'COMMIT; now'",
        "DELETE FROM users;",
        "WITH moved AS (DELETE FROM users RETURNING *) SELECT * FROM moved",
        "SELECT nextval('users_id_seq')",
        "SELECT pg_advisory_xact_lock(1)",
        "SELECT id FROM users FOR UPDATE",
        "/* a comment */ SAVEPOINT a",
        "RELEASE SAVEPOINT a",
        "ROLLBACK TO SAVEPOINT a",
        "SET LOCAL TIME ZONE 'UTC'",
        "PRAGMA foreign_keys = ON",
        "",
    ],
)
def test_what_a_rollback_undoes_may_be_rehearsed(statement: str) -> None:
    assert why_not_undone(statement) == ""


@pytest.mark.parametrize(
    "statement",
    [
        "COMMIT",
        "end",
        "ROLLBACK",
        "ABORT",
        "BEGIN",
        "START TRANSACTION",
        "PREPARE TRANSACTION 'x'",
        "COMMIT PREPARED 'x'",
        "INSERT INTO users VALUES (1); COMMIT",
        "-- a comment\nCOMMIT",
        "SELECT setval('users_id_seq', 7)",
        "INSERT INTO users SELECT setval ('users_id_seq', 7)",
        "SELECT pg_advisory_lock(1)",
        "SELECT pg_try_advisory_lock_shared(1)",
        "SELECT pg_terminate_backend(1)",
        "SELECT dblink_exec('INSERT INTO users VALUES (1)')",
        "SELECT lo_export(1, '/tmp/x')",
        "COPY users TO '/tmp/users'",
        "CALL pay(1)",
        "DO $$ BEGIN PERFORM 1; END $$",
        "TRUNCATE users",
        "CREATE TABLE x (n int)",
        "LOCK TABLE users",
        "VACUUM",
        "ATTACH 'other.db' AS other",
        "LISTEN x",
        "(((",
    ],
)
def test_what_a_rollback_may_not_undo_is_known(statement: str) -> None:
    assert why_not_undone(statement)


@pytest.mark.parametrize(
    ("statement", "is_locking"),
    [
        ("SELECT id FROM users", False),
        ("SELECT id FROM users WHERE note = 'for update'", False),
        ("SELECT id FROM users FOR UPDATE SKIP LOCKED", True),
        ("SELECT id FROM users FOR NO KEY UPDATE", True),
        ("SELECT id FROM users for share", True),
        ("SELECT id FROM users FOR KEY SHARE", True),
        ("SELECT pg_advisory_xact_lock(1)", True),
    ],
)
def test_statements_that_make_others_wait_are_known(statement: str, is_locking: bool) -> None:
    assert locks(statement) is is_locking
