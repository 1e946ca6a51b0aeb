"""A write is rehearsed before legacy makes it: what new would do is known, and nothing of it is done."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import httpx
import pytest

from gateway.shadowing.rehearsal import UNDOING_LIMIT_S
from gateway.shadowing.rehearsing import CANCEL_GRACE_S, LIMIT_S
from tests.running import running, wait_until
from tests.shadowing.shops import Elsewhere, Shop, shop

if TYPE_CHECKING:
    from pathlib import Path

    from tests.shadowing.conftest import Database

# Flask ends its JSON with a line feed and FastAPI does not, which is waived; so are keys that were dealt.
ACCEPTED = "waived"

DOES_THE_SAME = ["/same", "/depends", "/commits-behind", "/begin", "/core", "/nested", "/sync"]


@pytest.mark.parametrize("path", DOES_THE_SAME)
def test_new_that_does_the_same_matches_and_only_legacys_row_is_there(
    path: str, tmp_path: Path, database: Database
) -> None:
    with shop(tmp_path, database, [path]) as made, running(made.app) as url:
        for number in range(3):
            answer = httpx.post(url + path, json={"name": f"order {number}"})
            assert (answer.status_code, answer.headers["x-served-by"]) == (201, "legacy")
        wait_until(
            lambda: sum(made.outcomes(path).values()) + sum(made.dropped().values()) == 3, what="three"
        )
        assert made.rows() == ["order 0", "order 1", "order 2"]
        assert made.rows("SELECT pieces FROM stock") == [100_000 - 3]
        assert made.failing() == []
        assert not made.stopped(path)
        assert made.outcomes(path)[ACCEPTED] >= 1


def order(url: str, path: str, name: str = "legacy's") -> httpx.Response:
    """Place an order, and see legacy answer it."""
    answer = httpx.post(url + path, json={"name": name}, timeout=30)
    assert (answer.status_code, answer.headers["x-served-by"]) == (201, "legacy")
    return answer


def orders_until_compared(made: Shop, url: str, path: str) -> list[str]:
    """Place orders until one of them was compared, as a busy machine drops some; return their names."""
    names: list[str] = []

    def is_settled() -> bool:
        return sum(made.outcomes(path).values()) + sum(made.dropped().values()) == len(names)

    while not made.outcomes(path):
        assert len(names) < 20, made.dropped()
        names.append(f"order {len(names)}")
        order(url, path, names[-1])
        wait_until(is_settled, what="a comparison, or its drop")
    return names


def test_a_wrong_value_that_new_wrote_is_found_though_both_answers_are_the_same(
    tmp_path: Path, database: Database
) -> None:
    with shop(tmp_path, database, ["/wrong"]) as made, running(made.app) as url:
        names = orders_until_compared(made, url, "/wrong")
        wait_until(made.failing, what="the finding")
        assert ("effects.rows", "rows:orders:insert.cents", "100", "99") in made.failing()
        assert {place for _kind, place, *_ in made.failing()} == {"rows:orders:insert.cents"}
        assert made.rows() == names
        assert made.rows("SELECT DISTINCT cents FROM orders") == [100]


def test_a_row_that_new_forgets_to_commit_is_found(tmp_path: Path, database: Database) -> None:
    with shop(tmp_path, database, ["/forgets"]) as made, running(made.app) as url:
        orders_until_compared(made, url, "/forgets")
        wait_until(lambda: len(made.failing()) >= 2, what="two findings")
        found = {(kind, place, candidate) for kind, place, _control, candidate in made.failing()}
        assert ("effects.rows", "rows:orders:insert", None) in found
        assert ("effects.rows", "rows:stock:update", None) in found


@pytest.mark.parametrize(
    ("path", "kind"), [("/raises", "status"), ("/exits", "exception"), ("/invalid", "status")]
)
def test_a_new_that_fails_is_a_difference_and_legacy_answers(
    path: str, kind: str, tmp_path: Path, database: Database
) -> None:
    with shop(tmp_path, database, [path]) as made, running(made.app) as url:
        names = orders_until_compared(made, url, path)
        wait_until(made.failing, what="a finding")
        assert kind in {kind for kind, *_ in made.failing()}
        assert made.rows() == names


ESCAPES = {
    "/own-session": "a session that is not rehearsable|gateway.compat.rehearsable(async_sessionmaker(...))",
    "/connection": "INSERT INTO orders",
    "/autocommit": "INSERT INTO orders",
    "/commits-connection": "ended the transaction of its connection",
    "/commits-by-text": "COMMIT",
    "/two-statements": "more than one statement",
    "/truncates": "TRUNCATE",
    "/connects": "POST http://127.0.0.1",
    "/keeps-connection": "POST http://127.0.0.1",
    "/streams": "sent something to 127.0.0.1",
    "/keeps-socket": "sent something to 127.0.0.1",
    "/mails": "connected to 127.0.0.1",
    "/executor": "INSERT INTO orders",
    "/connects-in-executor": "connected to 127.0.0.1",
    "/thread": "started a thread",
    "/process": "started a process",
    "/process-in-thread": "started a process",
    "/own-sqlite": "opened a SQLite database by itself",
    "/later": "after its answer",
}


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
@pytest.mark.parametrize("path", ESCAPES)
def test_what_could_not_be_undone_is_refused_and_stops_the_row(
    path: str, loop: str, tmp_path: Path, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    elsewhere = Elsewhere()
    with (
        shop(tmp_path, database, [path]) as made,
        running(elsewhere, lifespan="off") as other,
        running(made.app, loop=loop) as url,
    ):
        made.new.elsewhere.update(url=other, port=int(other.rpartition(":")[2]))
        assert httpx.get(f"{url}/warm", timeout=30).status_code == 200
        names: list[str] = []
        while not made.stopped(path):
            assert len(names) < 20, made.dropped()
            names.append(f"order {len(names)}")
            order(url, path, names[-1])
            if path == "/later":
                wait_until(lambda: all(task.done() for task in made.new.threads), what="the later work")
        calls = len(made.new.calls)
        order(url, path)
        assert len(made.new.calls) == calls, "a stopped row is not rehearsed any more"
        for words in ESCAPES[path].split("|"):
            assert words in made.stopped(path)
        assert made.dropped()["escaped"] == 1
        assert f"POST {path}: in its rehearsal new" in caplog.text
        assert made.rows() == [*names, "legacy's"]
    assert elsewhere.asked == []


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/setval", "setval() acts beyond the transaction"),
        ("/locks", "SELECT pieces FROM stock FOR UPDATE"),
        ("/autocommit-session", "AUTOCOMMIT"),
    ],
)
def test_what_only_postgresql_can_do_at_once_is_refused(
    path: str, words: str, tmp_path: Path, postgresql: Database
) -> None:
    with shop(tmp_path, postgresql, [path]) as made, running(made.app) as url:
        while not made.stopped(path):
            order(url, path)
        assert words in made.stopped(path)
        assert made.rows("SELECT last_value FROM orders_id_seq") == [len(made.rows())]
        assert set(made.rows()) == {"legacy's"}


def test_a_commit_by_the_driver_itself_is_noticed_and_stops_the_row(
    tmp_path: Path, postgresql: Database
) -> None:
    commits = """
    @on("/commits-by-driver")
    async def commits_by_driver(body: Ordered):
        async with Sessions() as session:
            await take(session, "new")
            raw = (await (await session.connection()).get_raw_connection()).driver_connection
            await raw.execute("COMMIT")
    """
    with (
        shop(tmp_path, postgresql, ["/commits-by-driver"], more=commits) as made,
        running(made.app) as url,
    ):
        while not made.stopped("/commits-by-driver"):
            order(url, "/commits-by-driver")
        assert "ended the outer transaction by the driver itself" in made.stopped("/commits-by-driver")


def test_background_tasks_do_not_run_and_the_rest_is_compared(tmp_path: Path, database: Database) -> None:
    with shop(tmp_path, database, ["/background"]) as made, running(made.app) as url:
        names = orders_until_compared(made, url, "/background")
        assert made.rows() == names
        assert made.failing() == []
        assert not made.stopped("/background")


def test_two_sessions_at_work_at_once_say_nothing(tmp_path: Path, database: Database) -> None:
    reason = "rehearsal: two of its sessions were at work at once"
    with shop(tmp_path, database, ["/at-once"]) as made, running(made.app) as url:
        while reason not in made.dropped():
            order(url, "/at-once")
        assert not made.stopped("/at-once")
        assert made.outcomes("/at-once") == {}
        assert set(made.rows()) == {"legacy's"}


HANGS = ["/hangs", "/stubborn", "/hangs-in-thread", "/computes-in-database"]


@pytest.mark.parametrize("path", HANGS)
def test_a_new_that_hangs_with_a_lock_that_legacy_needs_costs_the_client_the_bound_at_most(
    path: str, tmp_path: Path, database: Database
) -> None:
    bound_s = LIMIT_S + CANCEL_GRACE_S + UNDOING_LIMIT_S
    with shop(tmp_path, database, [path]) as made, running(made.app) as url:
        began_s = time.monotonic()
        order(url, path)
        took_s = time.monotonic() - began_s
        assert took_s < bound_s + 1, "a second is for legacy and a busy machine"
        wait_until(lambda: made.outcomes(path) or made.dropped(), what="the end of the rehearsal")
        assert made.rows() == ["legacy's"]
        # What was left behind comes to an end without doing anything.
        wait_until(lambda: open_transactions(made) == 0, what="no open transaction")
        for _ in range(3):
            order(url, path)
        assert made.rows() == ["legacy's"] * 4
        assert not made.stopped(path)
        assert made.dropped().get("rehearsal: its undoing took too long") is None


def open_transactions(made: Shop) -> int:
    """Return how many transactions of somebody else PostgreSQL has open; SQLite has nobody to ask."""
    if made.database.is_sqlite:
        return 0
    found: int = made.rows(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
        "AND pid <> pg_backend_pid() AND xact_start IS NOT NULL"
    )[0]
    return found


def test_where_the_row_is_as_strict_as_the_bound_a_new_that_hangs_is_a_difference(
    tmp_path: Path, sqlite: Database
) -> None:
    with (
        shop(
            tmp_path, sqlite, ["/hangs"], defaults="stage: shadow, writes: rehearse, timeout: 500ms"
        ) as made,
        running(made.app) as url,
    ):
        orders_until_compared(made, url, "/hangs")
        wait_until(made.failing, what="the finding")
        assert ("exception", "exception") in {(kind, place) for kind, place, *_ in made.failing()}
