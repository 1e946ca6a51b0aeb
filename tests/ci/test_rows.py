"""Two sides' rows are the same when a person would call them so, and differ when not."""

from __future__ import annotations

import sqlite3
import uuid
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import make_url

from gateway.ci.databases import open_original
from gateway.ci.tables import StateError
from gateway.compare.observation import RowWrite
from gateway.compare.rows import NOW_LOCAL, NOW_UTC, KeyMap, Reading, Table, Window, scalar, written
from tests.reference.conftest import postgres  # noqa: F401 - a fixture

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MOMENT = datetime(2026, 5, 4, 12, 0, 0, tzinfo=UTC)
WINDOW = Window(MOMENT, MOMENT + timedelta(seconds=2), timedelta(hours=2))
ORDERS = Table("orders", ("id", "user_id", "note"), ("id",), {"user_id": ("users", "id")})
USERS = Table("users", ("id", "name"), ("id",))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (MOMENT + timedelta(seconds=1), NOW_UTC),
        (datetime(2026, 5, 4, 12, 0, 1), NOW_UTC),
        (datetime(2026, 5, 4, 14, 0, 1), NOW_LOCAL),
        ("2026-05-04T12:00:01.123456", NOW_UTC),
        ("2026-05-04 14:00:01", NOW_LOCAL),
        (datetime(2026, 5, 4, 13, 0, 1), "2026-05-04T13:00:01"),
        ("2025-05-04 12:00:01", "2025-05-04 12:00:01"),
        ("$argon2id$v=19$m=65536,t=3,p=4$c2FsdA$aGFzaA", "(salted hash $argon2id$v=19$m=65536,t=3,p=4)"),
        ("scrypt:32768:8:1$salt$0a1b", "(salted hash scrypt:32768:8:1)"),
        ("$5.00", "$5.00"),
        (True, True),
    ],
)
def test_what_no_two_runs_share_is_put_into_words(value: object, expected: object) -> None:
    assert scalar(value, WINDOW) == expected


rows = st.dictionaries(st.tuples(st.integers(1, 9)), st.tuples(st.integers(1, 9), st.sampled_from("abc")))


@given(rows, rows)
def test_what_was_written_leads_from_one_reading_to_the_other(
    before: dict[tuple[int], tuple[int, str]], after: dict[tuple[int], tuple[int, str]]
) -> None:
    def reading(values: dict[tuple[int], tuple[int, str]]) -> Reading:
        return Reading({"orders": ORDERS}, {"orders": {key: (*key, *value) for key, value in values.items()}})

    state = dict(before)
    for write in written(reading(before), reading(after)):
        key = (int(str(write.key[0][1])),)
        values = dict(write.values)
        if write.action == "delete":
            del state[key]
        else:
            old = state.get(key, (0, ""))
            state[key] = (
                int(str(values.get("user_id", old[0]))),
                str(values.get("note", old[1])),
            )

    assert state == after
    assert written(reading(before), reading(before)) == ()


def test_keys_that_a_database_dealt_are_aligned_with_all_that_points_to_them() -> None:
    def writes(user: int, order: int) -> tuple[RowWrite, ...]:
        return (
            RowWrite("orders", "insert", (("id", order),), (("user_id", user), ("note", "x"))),
            RowWrite("users", "insert", (("id", user),), (("name", "Ada"),)),
        )

    keys = KeyMap()
    tables = {"orders": ORDERS, "users": USERS}

    assert keys.align(writes(7, 1), writes(9, 4), tables) == writes(7, 1)
    later = RowWrite("orders", "update", (("id", 4),), (("note", "y"),))
    assert keys.align((), (later,), tables) == (replace(later, key=(("id", 1),)),)


def test_a_row_written_otherwise_is_not_aligned_away() -> None:
    mine = (RowWrite("users", "insert", (("id", 1),), (("name", "Ada"),)),)
    theirs = (RowWrite("users", "insert", (("id", 2),), (("name", "Bob"),)),)

    assert KeyMap().align(mine, theirs, {"users": USERS}) == theirs


def test_a_sqlite_copy_starts_again_while_somebody_has_it_open(tmp_path: Path) -> None:
    source = tmp_path / "source.db"
    with closing(sqlite3.connect(source)) as connection:
        connection.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT)")
        connection.execute("INSERT INTO t VALUES (1, 'x')")
        connection.commit()
    original = open_original(f"sqlite:///{source}", "DATABASE_URL", tmp_path)
    copy = original.copy("control")
    start = copy.read()
    with closing(sqlite3.connect(copy.url.removeprefix("sqlite:///"))) as app:
        app.execute("PRAGMA journal_mode=WAL")
        app.execute("INSERT INTO t VALUES (2, 'y')")
        app.commit()
        assert copy.is_touched()
        assert [write.key for write in written(start, copy.read())] == [(("id", 2),)]
        assert copy.is_dirty()
        assert copy.reset()
        assert app.execute("SELECT * FROM t").fetchall() == [(1, "x")]
    assert not copy.is_dirty()
    assert copy.read().rows == start.rows
    copy.close()


@pytest.fixture
def shop(postgres: str) -> Iterator[tuple[str, str]]:  # noqa: F811 - the fixture of that name
    """Yield the URLs of a PostgreSQL server and of a small database on it."""
    name = f"compare_{uuid.uuid4().hex[:10]}"
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"'.encode())
    url = postgres.rpartition("/")[0] + f"/{name}"
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            b"CREATE TABLE t (id serial PRIMARY KEY, at timestamptz DEFAULT now());"
            b"INSERT INTO t DEFAULT VALUES"
        )
    yield postgres, url
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)'.encode())


def databases(server: str, beginning: str) -> list[str]:
    """Return the names of a server's databases that begin so."""
    with psycopg.connect(server) as connection:
        query = "SELECT datname FROM pg_database WHERE starts_with(datname::text, %s)"
        return [name for (name,) in connection.execute(query, [beginning])]


def test_a_postgresql_database_is_cloned_and_every_clone_is_dropped(
    shop: tuple[str, str], tmp_path: Path
) -> None:
    server, url = shop
    original = open_original(url, "DATABASE_URL", tmp_path)
    copy = original.copy("control")
    start = copy.read()
    with psycopg.connect(copy.url) as connection:
        connection.execute("INSERT INTO t DEFAULT VALUES")
    (write,) = written(start, copy.read(), Window(datetime.now(UTC), datetime.now(UTC)))
    assert (write.key, write.values) == ((("id", 2),), (("at", NOW_UTC),))
    assert copy.is_dirty()
    assert not copy.reset()
    assert copy.read().rows == start.rows
    # Other comparisons may be under way on this server: only this one's clones are counted.
    family = str(make_url(copy.url).database).rpartition("_")[0]
    assert family.startswith("gateway_compare_")
    assert len(databases(server, family)) == 2
    copy.close()
    original.close()
    assert databases(server, family) == []


def test_a_postgresql_database_that_others_use_is_refused_with_their_names(
    shop: tuple[str, str], tmp_path: Path
) -> None:
    url = shop[1]
    with (
        psycopg.connect(url, application_name="the shop itself"),
        pytest.raises(
            StateError, match=r"while nobody else is connected to it, and these are: the shop itself"
        ),
    ):
        open_original(url, "DATABASE_URL", tmp_path)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("sqlite://", "in a plain file"),
        ("sqlite:///nowhere.db", "there is no nowhere.db"),
        ("mysql://h/d", "cannot be copied"),
        ("nonsense", "no database URL"),
        ("postgresql://nobody:hidden@127.0.0.1:1/x", "cannot be copied"),
    ],
)
def test_a_database_that_cannot_be_copied_is_told_without_its_password(
    url: str, words: str, tmp_path: Path
) -> None:
    with pytest.raises(StateError) as caught:
        open_original(url, "DATABASE_URL", tmp_path)

    assert words in str(caught.value)
    assert "hidden" not in str(caught.value)
