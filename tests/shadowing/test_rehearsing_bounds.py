"""A rehearsal keeps to its request: nobody else waits for it, and legacy answers as ever."""

from __future__ import annotations

import asyncio
import re
import socket
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING

import httpx
import pytest
from sqlalchemy import create_engine, text

from gateway.shadowing import sqlite_copy
from gateway.shadowing.outer import DEADLOCK_SHARE
from tests.running import running, wait_until
from tests.shadowing.shops import Shop, shop

if TYPE_CHECKING:
    from pathlib import Path

    from tests.shadowing.conftest import Database


def order(url: str, path: str, **options: object) -> httpx.Response:
    """Place an order, and see legacy answer it."""
    options.setdefault("json", {"name": "legacy's"})
    answer = httpx.post(url + path, timeout=30, **options)  # type: ignore[arg-type] # httpx's own options
    assert (answer.status_code, answer.headers["x-served-by"]) == (201, "legacy")
    return answer


def settled(made: Shop, path: str) -> int:
    """Return how many requests have been compared or counted as dropped."""
    return sum(made.outcomes(path).values()) + sum(made.dropped().values())


def has_more(made: Shop, path: str, before: int) -> bool:
    """Tell whether more than ``before`` requests have been compared or dropped."""
    return settled(made, path) > before


def test_others_wait_for_no_rehearsal_on_sqlite_and_never_for_long_on_postgresql(
    tmp_path: Path, database: Database
) -> None:
    """Legacy's SQLite gives up after 1 s without the lock; a rehearsal holds none, however long it hangs."""
    with shop(tmp_path, database, ["/hangs"]) as made, running(made.app) as url:
        order(url, "/other")
        with ThreadPoolExecutor(1) as other:
            hanging = other.submit(order, url, "/hangs")
            wait_until(lambda: made.new.calls, what="the rehearsal")
            while not hanging.done():
                began_s = time.monotonic()
                order(url, "/other")
                assert time.monotonic() - began_s < 1 + DEADLOCK_SHARE
            hanging.result()
        assert set(made.rows()) == {"legacy's"}


def test_a_lock_that_somebody_else_holds_ends_a_rehearsal_and_says_nothing_of_new(
    tmp_path: Path, postgresql: Database
) -> None:
    reason = "rehearsal: it waited for a lock of another request"
    with shop(tmp_path, postgresql, ["/same"]) as made, running(made.app) as url:
        engine = create_engine(postgresql.url)
        with ThreadPoolExecutor(1) as client:
            while reason not in made.dropped():
                with engine.begin() as connection:
                    connection.execute(text("UPDATE stock SET pieces = pieces WHERE id = 1"))
                    before = settled(made, "/same")
                    ordering = client.submit(order, url, "/same")
                    # The rehearsal gives up while the lock is held; legacy waits for it, as ever.
                    wait_until(partial(has_more, made, "/same", before), what="the drop")
                    assert not ordering.done()
                ordering.result()
        engine.dispose()
        assert not made.stopped("/same")
        assert made.failing() == []


def test_a_rehearsal_on_postgresql_is_over_before_anybody_could_lose_a_deadlock_to_it(
    tmp_path: Path, postgresql: Database
) -> None:
    engine = create_engine(postgresql.url)
    with engine.connect() as connection:
        deadlock_s = connection.execute(
            text("SELECT extract(epoch FROM current_setting('deadlock_timeout')::interval)::float8")
        ).scalar_one()
    with shop(tmp_path, postgresql, ["/hangs"]) as made, running(made.app) as url:
        ages = text(
            "SELECT max(extract(epoch FROM clock_timestamp() - xact_start))::float8 FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid() AND query LIKE '%orders%'"
        )
        with ThreadPoolExecutor(1) as client, engine.connect() as connection:
            ordering = client.submit(order, url, "/hangs")
            oldest = 0.0
            while not ordering.done():
                oldest = max(oldest, connection.execute(ages).scalar_one() or 0.0)
                connection.rollback()
            ordering.result()
    engine.dispose()
    assert 0 < oldest < deadlock_s


def test_a_sqlite_database_over_the_limit_is_not_copied_and_stops_the_row(
    tmp_path: Path, sqlite: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_copy, "COPY_LIMIT_BYTES", 1024)
    with shop(tmp_path, sqlite, ["/same"]) as made, running(made.app) as url:
        while not made.stopped("/same"):
            order(url, "/same")
        assert re.search(r"its SQLite database is larger than \d+ MiB", made.stopped("/same"))
        assert set(made.rows()) == {"legacy's"}


IN_MEMORY = """
from sqlalchemy.pool import StaticPool
memory = create_async_engine("sqlite+aiosqlite://", poolclass=StaticPool)
MemorySessions = rehearsable(async_sessionmaker(memory))

@on("/memory")
async def in_memory(body: Ordered):
    async with MemorySessions() as session:
        await session.execute(text("CREATE TABLE t (n int)"))
"""

ATTACHED = """
from sqlalchemy import event
attached = create_async_engine(THE_ASYNC_URL)
event.listen(attached.sync_engine, "connect", lambda c, _: c.execute("ATTACH ':memory:' AS other"))
AttachedSessions = rehearsable(async_sessionmaker(attached))

@on("/attached")
async def in_attached(body: Ordered):
    async with AttachedSessions() as session:
        await session.execute(text("SELECT 1"))
"""

SERIALIZABLE = """
serializable = create_async_engine(THE_ASYNC_URL, isolation_level="SERIALIZABLE")
SerializableSessions = rehearsable(async_sessionmaker(serializable))

@on("/serializable")
async def in_serializable(body: Ordered):
    async with SerializableSessions() as session:
        await session.execute(text("SELECT 1"))
"""

AUTOCOMMITTING = """
autocommitting = create_async_engine(THE_ASYNC_URL, isolation_level="AUTOCOMMIT")
AutocommittingSessions = rehearsable(async_sessionmaker(autocommitting))

@on("/autocommitting")
async def in_autocommitting(body: Ordered):
    async with AutocommittingSessions() as session:
        await take(session, "new")
        await session.commit()
"""


@pytest.mark.parametrize(
    ("kind", "path", "more", "words"),
    [
        ("sqlite", "/memory", IN_MEMORY, "its SQLite database is in memory"),
        ("sqlite", "/attached", ATTACHED, "it has other databases attached"),
        ("postgresql", "/serializable", SERIALIZABLE, "its transactions are serializable"),
        ("postgresql", "/autocommitting", AUTOCOMMITTING, "commit every statement by themselves"),
    ],
)
def test_a_database_that_cannot_be_rehearsed_stops_the_row(
    kind: str, path: str, more: str, words: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    database = request.getfixturevalue(kind)
    with shop(tmp_path, database, [path], more=more) as made, running(made.app) as url:
        while not made.stopped(path):
            order(url, path)
        assert words in made.stopped(path)
        assert set(made.rows()) == {"legacy's"}


def test_legacy_gets_the_whole_body_of_what_is_too_large_to_be_rehearsed(
    tmp_path: Path, sqlite: Database
) -> None:
    with shop(tmp_path, sqlite, ["/same"]) as made, running(made.app) as url:
        for chunks in (b"x" * 1_000_000, iter([b"x" * 100_000] * 10)):
            order(url, "/same", json=None, content=chunks)
        assert made.dropped() == {"request body over the cap": 2}
        assert made.rows() == ["1000000", "1000000"]
        assert made.new.calls == []


def test_a_body_that_comes_slowly_is_passed_on_as_it_comes_and_not_rehearsed(
    tmp_path: Path, sqlite: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.serving.rehearsal.LIMIT_S", 0.2)
    with shop(tmp_path, sqlite, ["/same"]) as made, running(made.app) as url:
        host, port = url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=20) as client:
            client.sendall(b"POST /same HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n12345")
            wait_until(made.dropped, what="the drop")
            client.sendall(b"67890")
            assert client.recv(12) == b"HTTP/1.1 201"
        assert made.dropped() == {"rehearsal: the request body came slowly": 1}
        assert made.rows() == ["10"]


def test_a_client_that_asks_before_it_sends_is_not_told_to_go_on_for_a_rehearsal(
    tmp_path: Path, sqlite: Database
) -> None:
    with shop(tmp_path, sqlite, ["/same"]) as made, running(made.app) as url:
        order(url, "/same", headers={"expect": "100-continue"})
        assert list(made.dropped()) == ["rehearsal: the client asks first whether it may send its body"]


def test_a_late_event_loop_calls_rehearsals_off_first(tmp_path: Path, sqlite: Database) -> None:
    with shop(tmp_path, sqlite, ["/same"]) as made, running(made.app) as url:
        made.app.shadows._lag_s = lambda: 1.0
        order(url, "/same")
        assert made.dropped() == {"event loop lag": 1}
        assert made.new.calls == []


def test_more_rehearsals_than_there_is_room_for_are_dropped_and_legacy_answers(
    tmp_path: Path, sqlite: Database
) -> None:
    with shop(tmp_path, sqlite, ["/hangs"]) as made, running(made.app) as url:
        with ThreadPoolExecutor(12) as clients:
            list(clients.map(lambda _number: order(url, "/hangs"), range(12)))
        assert made.dropped()["too many rehearsals at once"] >= 1
        assert made.rows() == ["legacy's"] * 12


def test_in_canary_only_what_legacy_answers_is_rehearsed(tmp_path: Path, sqlite: Database) -> None:
    canary = 'writes: rehearse, stage: canary, weight: 50%, sample: 100%, sticky: ["header:x-user"]'
    with shop(tmp_path, sqlite, ["/same"], defaults=canary) as made, running(made.app) as url:
        sides = []
        for number in range(20):
            body = {"name": f"order {number}"}
            answer = httpx.post(f"{url}/same", json=body, headers={"x-user": str(number)}, timeout=30)
            sides.append(answer.headers["x-served-by"])
        by_legacy = sides.count("legacy")
        assert 0 < by_legacy < 20
        wait_until(lambda: settled(made, "/same") == by_legacy, what="the comparisons")
        assert made.rows() == [f"order {number}" for number in range(20)]


def test_a_request_that_new_has_failed_is_not_rehearsed_when_legacy_falls_in(
    tmp_path: Path, sqlite: Database
) -> None:
    canary = "writes: rehearse, stage: canary, weight: 100%, sample: 100%, fallback: legacy"
    with shop(tmp_path, sqlite, ["/raises"], defaults=canary) as made, running(made.app) as url:
        answer = order(url, "/raises", headers={"idempotency-key": "1"})
        assert answer.headers["x-served-by"] == "legacy"
        assert len(made.new.calls) == 1
        assert made.outcomes("/raises") == {}
        assert made.rows() == ["legacy's"]


def test_what_a_row_limits_is_limited_before_it_is_rehearsed(tmp_path: Path, sqlite: Database) -> None:
    limited = "stage: shadow, writes: rehearse, rate_limit: 1/hour"
    with shop(tmp_path, sqlite, ["/same"], defaults=limited) as made, running(made.app) as url:
        order(url, "/same")
        calls = len(made.new.calls)
        assert httpx.post(f"{url}/same", json={"name": "x"}).status_code == 429
        assert len(made.new.calls) == calls


def test_a_row_that_does_not_ask_is_not_rehearsed(tmp_path: Path, sqlite: Database) -> None:
    skipping = "stage: shadow, writes: skip"
    with shop(tmp_path, sqlite, ["/same"], defaults=skipping) as made, running(made.app) as url:
        order(url, "/same")
    assert made.new.calls == []


def test_ordinary_requests_pass_the_walls(tmp_path: Path, sqlite: Database) -> None:
    """What a rehearsal may not do, others may while the walls stand: connect, send, start threads."""

    async def answer(scope: object, receive: object, send: object) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})  # type: ignore[operator] # an ASGI send
        await send({"type": "http.response.body", "body": b""})  # type: ignore[operator] # the same

    paths = ["/thread", "/executor", "/process", "/background", "/own-session", "/connects"]
    with (
        shop(tmp_path, sqlite, ["/connects"], defaults="stage: shadow, writes: rehearse") as made,
        running(answer, lifespan="off") as other,
        running(made.app) as url,
    ):
        made.new.elsewhere.update(url=other, port=int(other.rpartition(":")[2]))
        while not made.stopped("/connects"):  # the walls are up
            order(url, "/connects")
        before = len(made.rows())
        with running(made.new.app) as plain:
            for path in paths:
                assert httpx.post(plain + path, json={"name": "new"}, timeout=30).status_code == 201
        wait_until(lambda: len(made.rows()) == before + 5, what="the rows of new itself")


def test_a_client_that_leaves_in_mid_rehearsal_leaves_nothing_open(tmp_path: Path, sqlite: Database) -> None:
    with shop(tmp_path, sqlite, ["/hangs"]) as made, running(made.app) as url:
        host, port = url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as client:
            body = b'{"name": "gone"}'
            head = b"POST /hangs HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
            client.sendall(head + b"Content-Length: %d\r\n\r\n" % len(body) + body)
            wait_until(lambda: made.new.calls, what="the rehearsal")
        wait_until(lambda: made.app.front.in_flight == 0, what="the end of the request")
        wait_until(lambda: settled(made, "/hangs") == 1, what="the drop")
        order(url, "/hangs")
        with sqlite3.connect(tmp_path / "shop.db", timeout=0) as connection:
            connection.execute("BEGIN EXCLUSIVE")


async def test_a_server_that_ends_in_mid_rehearsal_undoes_it(tmp_path: Path, postgresql: Database) -> None:
    with shop(tmp_path, postgresql, ["/hangs"]) as made:
        body = [{"type": "http.request", "body": b'{"name": "x"}', "more_body": False}]
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": "POST",
            "path": "/hangs",
            "raw_path": b"/hangs",
            "query_string": b"",
            "scheme": "http",
            "headers": [(b"host", b"a"), (b"content-type", b"application/json"), (b"content-length", b"13")],
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 80),
        }

        async def receive() -> dict[str, object]:
            return body.pop() if body else await asyncio.Event().wait()  # type: ignore[return-value] # it never returns

        async def send(_message: object) -> None:
            raise AssertionError("nobody answers")

        await made.app.start()
        serving = asyncio.ensure_future(made.app(scope, receive, send))
        await asyncio.to_thread(wait_until, lambda: made.new.calls, what="the rehearsal")
        serving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await serving
        open_ones = (
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
            "AND pid <> pg_backend_pid() AND xact_start IS NOT NULL"
        )
        await asyncio.to_thread(wait_until, lambda: made.rows(open_ones) == [0], what="its end")
        await made.app.stop()
        assert made.rows() == []
