"""Claim that a store in trouble is never felt by who records, loses nothing that fits, and heals."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import psycopg
import pytest
from sqlalchemy import event, make_url

from gateway.store import (
    EventRecord,
    Ledger,
    PositionRecord,
    Scope,
    Store,
    StoreUnavailable,
    locate,
    patience,
)
from gateway.store import ledger as ledger_module
from gateway.store import writer as writer_module
from gateway.store.buffer import Batch, Limits
from gateway.store.location import open_engine
from tests.proxy import Proxy
from tests.running import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy import Engine

T = TypeVar("T")

SCOPE = Scope("a1b2c3d4e5f6", 1, "shadow")


@pytest.fixture
def make_store(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Store]]:
    """Yield what starts a store that tries again soon, and stops it at the end."""
    monkeypatch.setattr(writer_module, "FIRST_BACKOFF_S", 0.05)
    started: list[Store] = []

    def make(url: str) -> Store:
        store = Store(url, worker=f"worker-{len(started)}", flush_interval_s=0.05, longest_backoff_s=0.1)
        store.start()
        started.append(store)
        return store

    yield make
    for store in started:
        store.stop()


def answer(store: Store, question: Callable[[Ledger], T]) -> T:
    return store.ask(question).result(timeout=10)


def total(url: str) -> int:
    with Ledger(url) as ledger:
        evidence = ledger.evidence([SCOPE])
    return evidence[SCOPE].counts["comparisons"] if SCOPE in evidence else 0


def is_written(store: Store) -> bool:
    health = store.health()
    return health.is_ok and health.facts["pending"] == 0


def test_what_is_recorded_arrives(url: str, make_store: Callable[[str], Store]) -> None:
    store = make_store(url)
    for _ in range(1000):
        store.record(SCOPE, {"comparisons": 1})
    wait_until(lambda: is_written(store))
    assert total(url) == 1000
    assert answer(store, Ledger.positions) == ()
    assert store.health().facts["dropped"] == 0


def test_what_is_left_is_written_when_the_store_stops(url: str, make_store: Callable[[str], Store]) -> None:
    store = make_store(url)
    wait_until(lambda: store.health().is_ok)
    store.record(SCOPE, {"comparisons": 5})
    store.stop()
    assert total(url) == 5
    with pytest.raises(StoreUnavailable, match="not running"):
        answer(store, Ledger.positions)


async def test_a_coroutine_can_ask_and_an_error_in_the_question_is_its_own(
    sqlite_url: str, make_store: Callable[[str], Store]
) -> None:
    store = make_store(sqlite_url)
    assert await asyncio.wrap_future(store.ask(Ledger.positions)) == ()

    def wrong(_ledger: Ledger) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await asyncio.wrap_future(store.ask(wrong))
    assert store.health().is_ok


def test_recording_takes_microseconds_while_the_database_is_locked(
    sqlite_url: str, make_store: Callable[[str], Store]
) -> None:
    store = make_store(sqlite_url)
    answer(store, Ledger.positions)
    holder = sqlite3.connect(make_url(sqlite_url).database or "", isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    slowest = 0.0
    for _ in range(2000):
        began = time.perf_counter()
        store.record(SCOPE, {"comparisons": 1})
        slowest = max(slowest, time.perf_counter() - began)
    wait_until(lambda: "locked" in store.health().reason, timeout_s=10)
    store.record(SCOPE, {"comparisons": 1})
    with pytest.raises(StoreUnavailable, match="locked"):
        answer(store, lambda ledger: ledger.take_lease("controller", "me", 5.0))
    holder.execute("ROLLBACK")
    holder.close()
    wait_until(lambda: is_written(store), timeout_s=10)
    assert total(sqlite_url) == 2001
    assert slowest < 0.1, "even a switch of threads is far below the two seconds that the lock lasts"


def test_a_deleted_file_is_made_anew_and_told(
    sqlite_url: str, make_store: Callable[[str], Store], tmp_path: Path
) -> None:
    store = make_store(sqlite_url)
    store.record(SCOPE, {"comparisons": 1})
    wait_until(lambda: is_written(store) and total(sqlite_url) == 1)
    shutil.rmtree(tmp_path / ".gateway")
    store.record(SCOPE, {"comparisons": 2})
    wait_until(lambda: store.recreated == 1 and is_written(store))
    assert total(sqlite_url) == 2
    assert store.health().facts["recreated"] == 1


def test_a_read_only_database_is_told_and_costs_nothing(
    sqlite_url: str, make_store: Callable[[str], Store]
) -> None:
    Ledger(sqlite_url).close()
    path = make_url(sqlite_url).database
    store = make_store(locate(f"sqlite:///file:{path}?mode=ro&uri=true", Path("routing.yaml")))
    store.record(SCOPE, {"comparisons": 1})
    wait_until(lambda: "readonly" in store.health().reason)
    store.record(SCOPE, {"comparisons": 1})
    assert int(store.health().facts["pending"]) <= 2, "one to write again, and one since"
    assert store.health().facts["dropped"] == 0


def test_a_full_disk_is_survived_and_heals(
    sqlite_url: str, make_store: Callable[[str], Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    is_full = [True]

    def limited(url: str) -> Engine:
        engine = open_engine(url)

        def limit(connection: sqlite3.Connection, _record: object) -> None:
            pages = connection.execute("PRAGMA page_count").fetchone()[0]
            connection.execute(f"PRAGMA max_page_count = {pages if is_full[0] else 1_000_000}").close()

        event.listen(engine, "connect", limit)
        return engine

    Ledger(sqlite_url).close()
    monkeypatch.setattr(ledger_module, "open_engine", limited)
    store = make_store(sqlite_url)
    for _ in range(300):
        store.record_event(EventRecord(time.time(), "r", "GET /x", "advanced", sentence="s" * 500))
        store.record(SCOPE, {"comparisons": 1})
    wait_until(lambda: "full" in store.health().reason)
    is_full[0] = False
    wait_until(lambda: is_written(store))
    assert total(sqlite_url) == 300
    with Ledger(sqlite_url) as ledger:
        assert len(ledger.events(limit=1000)) == 300


def test_a_file_system_that_is_really_full_is_survived(
    tmp_path: Path, make_store: Callable[[str], Store]
) -> None:
    mount = tmp_path / "small"
    mount.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(mount)], capture_output=True, check=False
    )
    if made.returncode:
        pytest.skip("a tiny file system can be mounted by root only")
    try:
        url = locate(None, mount / "routing.yaml")
        store = make_store(url)
        answer(store, Ledger.positions)
        for _ in range(900):
            store.record_event(EventRecord(time.time(), "r", "GET /x", "advanced", sentence="s" * 2000))
        wait_until(lambda: "full" in store.health().reason or "I/O" in store.health().reason)
        store.record(SCOPE, {"comparisons": 1})
        assert not store.health().is_ok
        subprocess.run(["mount", "-o", "remount,size=64m", str(mount)], check=True)
        wait_until(lambda: is_written(store))
        assert total(url) == 1
        store.stop()
    finally:
        subprocess.run(["umount", "--lazy", str(mount)], check=False)


def test_a_state_that_is_no_database_is_told(sqlite_url: str, make_store: Callable[[str], Store]) -> None:
    path = Path(make_url(sqlite_url).database or "")
    path.parent.mkdir()
    path.write_text("this is a letter\n" * 1000)
    store = make_store(sqlite_url)
    store.record(SCOPE, {"comparisons": 1})
    wait_until(lambda: "not a database" in store.health().reason)
    assert path.read_text().startswith("this is a letter")


def test_memory_is_bounded_while_the_database_is_gone_and_drops_are_counted() -> None:
    store = Store(
        "postgresql+psycopg://nobody@127.0.0.1:9/none",
        limits=Limits(counters=10),
        flush_interval_s=0.01,
        longest_backoff_s=0.02,
    )
    store.start()
    wait_until(lambda: int(store.health().facts["failures"]) >= 3)
    for n in range(100):
        store.record(Scope(f"r{n}", 1, "shadow"), {"comparisons": 1})
    health = store.health()
    assert not health.is_ok
    assert "refused" in health.reason
    assert int(health.facts["pending"]) <= 20
    assert int(health.facts["dropped_counter"]) >= 80
    began = time.monotonic()
    with pytest.raises(StoreUnavailable):
        answer(store, Ledger.positions)
    store.stop()
    assert time.monotonic() - began < 2


def test_a_database_server_that_cuts_every_connection_is_survived(
    postgres_url: str, make_store: Callable[[str], Store]
) -> None:
    url = locate(postgres_url, Path("routing.yaml"))
    store = make_store(url)
    with psycopg.connect(postgres_url, autocommit=True) as admin:
        for n in range(1, 6):
            store.record(SCOPE, {"comparisons": 1})
            wait_until(lambda: is_written(store))
            assert total(url) == n
            admin.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        admin.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    store.record(SCOPE, {"comparisons": 1})
    wait_until(lambda: store.recreated == 1 and is_written(store))
    assert total(url) == 1


def test_a_locked_table_is_waited_for_in_the_background_only(
    postgres_url: str, make_store: Callable[[str], Store]
) -> None:
    url = locate(postgres_url, Path("routing.yaml"))
    store = make_store(url)
    answer(store, Ledger.positions)
    with psycopg.connect(postgres_url) as holder:
        holder.execute("LOCK TABLE gateway_counters")
        began = time.monotonic()
        store.record(SCOPE, {"comparisons": 1})
        assert time.monotonic() - began < 0.1
        wait_until(lambda: "lock timeout" in store.health().reason, timeout_s=10)
    wait_until(lambda: is_written(store))
    assert total(url) == 1


def test_a_batch_that_the_database_refuses_is_dropped_and_the_next_one_is_not(
    sqlite_url: str, make_store: Callable[[str], Store], caplog: pytest.LogCaptureFixture
) -> None:
    store = make_store(sqlite_url)
    answer(store, Ledger.positions)
    store.record(SCOPE, {"comparisons": 2**63})
    wait_until(lambda: store.health().facts.get("dropped_refused") == 1)
    store.record(SCOPE, {"comparisons": 3})
    wait_until(lambda: is_written(store))
    assert total(sqlite_url) == 3
    assert "refused by the database" in caplog.text


def test_a_worker_throws_away_what_is_too_old_by_itself(
    sqlite_url: str, make_store: Callable[[str], Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer_module, "FIRST_PRUNE_S", 0.0)
    with Ledger(sqlite_url) as ledger:
        old = Batch(events=[EventRecord(at, "r", "GET /x", "advanced") for at in (5.0, 6.0)])
        ledger.write(old, worker="before", sequence=1, now=5.0)
        make_store(sqlite_url)
        wait_until(lambda: [event.at for event in ledger.events()] == [6.0])


def test_a_server_that_falls_silent_is_told_and_not_waited_for_for_ever(
    postgres_url: str, make_store: Callable[[str], Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "LIMIT_S", 1.0)
    monkeypatch.setattr(patience, "PERIOD_S", 0.05)
    address = make_url(postgres_url)
    with Proxy((address.host or "", address.port or 5432)).serving() as proxy:
        through = address.set(host="127.0.0.1", port=proxy.port).render_as_string(hide_password=False)
        url = locate(through, Path())
        store = make_store(url)
        answer(store, Ledger.positions)
        with proxy.silent():
            store.record(SCOPE, {"comparisons": 7})
            waiting = store.ask(Ledger.positions)
            wait_until(lambda: "has not answered for 1 s" in store.health().reason, timeout_s=5)
            with pytest.raises(StoreUnavailable):
                waiting.result(5)
        wait_until(lambda: is_written(store), timeout_s=10)
        assert total(url) == 7
        store.stop()


def test_too_many_questions_fail_at_once(
    sqlite_url: str, make_store: Callable[[str], Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer_module, "QUESTIONS", 4)
    store = make_store(sqlite_url)
    answer(store, Ledger.positions)
    store.ask(lambda _ledger: time.sleep(0.3))
    wait_until(lambda: not store._questions)
    waiting = [store.ask(Ledger.positions) for _ in range(6)]
    assert [future.done() for future in waiting] == [False] * 4 + [True] * 2
    assert [future.result(timeout=10) for future in waiting[:4]] == [()] * 4
    with pytest.raises(StoreUnavailable, match="too many questions"):
        waiting[5].result()


WORKER = """
import sys, time
from gateway.store import Ledger, Scope, Store
store = Store(sys.argv[1], flush_interval_s=0.01)
store.start()
for _ in range(200):
    store.record(Scope("a1b2c3d4e5f6", 1, "shadow"), {"comparisons": 1})
    time.sleep(0.001)
lease = None
while lease is None:
    lease = store.ask(lambda ledger: ledger.take_lease("controller", store.worker, 1.0)).result()
store.stop()
print(store.health().facts["dropped"], flush=True)
time.sleep(float(sys.argv[2]))
"""


def worker(url: str, stay_s: float) -> subprocess.Popen[str]:
    root = Path(__file__).parent.parent.parent
    return subprocess.Popen(
        [sys.executable, "-c", WORKER, url, str(stay_s)], stdout=subprocess.PIPE, text=True, cwd=root
    )


def test_processes_that_share_a_store_lose_nothing_and_the_lease_of_a_dead_one_is_inherited(url: str) -> None:
    processes = [worker(url, 60 if n == 0 else 0) for n in range(3)]
    try:
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline().strip() == "0"
        assert total(url) == 600
        os.kill(processes[0].pid, signal.SIGKILL)
        with Ledger(url) as ledger:
            wait_until(lambda: ledger.take_lease("controller", "heir", 30.0) is not None)
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def test_a_rollback_survives_a_restart(url: str, make_store: Callable[[str], Store]) -> None:
    record = PositionRecord("r", "GET /x", "f", "shadow", 0, "shadow", 0, 2, 5.0, is_rolled_back=True)
    first = make_store(url)
    answer(first, lambda ledger: ledger.save_position(record))
    first.stop()
    (read,) = answer(make_store(url), Ledger.positions)
    assert (read.is_rolled_back, read.run, read.version) == (True, 2, 1)


def test_the_state_is_readable_by_its_owner_only(sqlite_url: str) -> None:
    Ledger(sqlite_url).close()
    path = Path(make_url(sqlite_url).database or "")
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_nothing_is_opened_before_the_store_starts(sqlite_url: str) -> None:
    store = Store(sqlite_url)
    store.record(SCOPE, {"comparisons": 1})
    assert not Path(make_url(sqlite_url).database or "").exists()
    assert store.health().reason == "not opened yet"
