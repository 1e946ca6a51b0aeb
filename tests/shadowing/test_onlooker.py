"""Legacy repeats a write that new failed on where new did nothing that stays, and nowhere else."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
import pytest

from tests.running import running, wait_until
from tests.shadowing.shops import Elsewhere, Shop, shop
from tests.shadowing.test_rehearsing import open_transactions

if TYPE_CHECKING:
    from pathlib import Path

    from tests.shadowing.conftest import Database

DEFAULTS = "stage: new, fallback: legacy, timeout: 1s"

# Every way of the shop's new app to do something, with a failure behind it.
THEN_FAILS = """
    import asyncio as _asyncio
    import functools
    import inspect

    def _failing(endpoint, fail):
        if inspect.iscoroutinefunction(endpoint):
            @functools.wraps(endpoint)
            async def wrapped(*args, **named):
                await endpoint(*args, **named)
                return await fail()
        else:
            @functools.wraps(endpoint)
            def wrapped(*args, **named):
                endpoint(*args, **named)
                return _asyncio.run(fail())
        return wrapped

    async def _raise():
        raise RuntimeError("after all that")

    async def _answer():
        return Response("sorry", 503)

    async def _hang():
        await _asyncio.sleep(4)

    for _route in list(app.routes):
        for _name, _fail in (("raises", _raise), ("answers", _answer), ("hangs", _hang)):
            _methods = [each for each in _route.methods if each == "POST"]
            if _methods:
                app.add_api_route(
                    f"/then-{_name}{_route.path}", _failing(_route.endpoint, _fail), methods=_methods
                )

    @on("/answers-behind")
    async def answers_behind(body: Ordered, session=Depends(committing)):
        await take(session, body.name)
        return Response("sorry", 503)

    @on("/answers-with-background")
    async def answers_with_background(body: Ordered):
        from starlette.background import BackgroundTask

        async def work():
            async with OwnSessions.begin() as session:
                session.add(Order(name="new"))
        return Response("sorry", 503, background=BackgroundTask(work))

    from sqlalchemy import event

    _opened = []
    event.listen(sync_engine, "connect", lambda connection, _record: _opened.append(connection))

    def interrupt():
        for connection in _opened:
            connection.interrupt()

    @on("/reads")
    async def reads(body: Ordered):
        async with Sessions() as session:
            await session.get(Stock, 1)
        raise RuntimeError("after a look")

    @on("/lets-others-do-it")
    async def lets_others_do_it(body: Ordered):
        async def work():
            await asyncio.sleep(0.2)
            async with Sessions.begin() as session:
                session.add(Order(name="new"))
        threads.append(asyncio.create_task(work()))
        raise RuntimeError("before it")
"""


def order(url: str, path: str, **headers: str) -> tuple[int, str]:
    """Place an order; return the status and who answered."""
    answer = httpx.post(url + path, json={"name": "legacy's"}, timeout=30, headers=headers)
    return answer.status_code, answer.headers["x-served-by"]


STAYED = [
    "/same",
    "/depends",
    "/begin",
    "/core",
    "/nested",
    "/sync",
    "/own-session",
    "/connection",
    "/autocommit",
    "/commits-connection",
    "/commits-by-text",
    "/keeps-connection",
    "/connects",
    "/streams",
    "/keeps-socket",
    "/executor",
    "/thread",
    "/process",
    "/process-in-thread",
    "/own-sqlite",
]


@pytest.mark.parametrize(
    ("deed", "failure"),
    [
        *((deed, "raises") for deed in STAYED),
        *(
            (deed, failure)
            for deed in ("/same", "/sync", "/keeps-socket")
            for failure in ("answers", "hangs")
        ),
    ],
)
def test_where_something_has_come_to_stay_news_answer_stands(
    deed: str, failure: str, tmp_path: Path, database: Database
) -> None:
    path = f"/then-{failure}{deed}"
    elsewhere = Elsewhere()
    with (
        shop(tmp_path, database, [path], more=THEN_FAILS, defaults=DEFAULTS) as made,
        running(elsewhere, lifespan="off") as other,
        running(made.app) as url,
    ):
        made.new.elsewhere.update(url=other, port=int(other.rpartition(":")[2]))
        assert httpx.get(f"{url}/warm", timeout=30).status_code == 200
        expected = {"raises": 500, "answers": 503, "hangs": 504}[failure]
        assert order(url, path) == (expected, "new" if failure != "hangs" else "gateway")
        assert made.rows().count("legacy's") <= 1


UNTOUCHED = [
    "/raises",
    "/then-raises/forgets",
    "/then-answers/forgets",
    "/hangs",
    "/answers-behind",
    "/answers-with-background",
    "/reads",
    "/lets-others-do-it",
]


@pytest.mark.parametrize("path", UNTOUCHED)
def test_where_nothing_has_come_to_stay_legacy_answers_and_nothing_comes_later(
    path: str, tmp_path: Path, database: Database
) -> None:
    options = {"connect_args": {"timeout": 10}} if database.is_sqlite else {}
    defaults = DEFAULTS.replace("1s", "3s")
    with (
        shop(tmp_path, database, [path], more=THEN_FAILS, defaults=defaults, legacy_options=options) as made,
        running(made.app) as url,
    ):
        assert order(url, path) == (201, "legacy")
        wait_until(lambda: all(task.done() for task in made.new.threads), what="the later work")
        wait_until(lambda: open_transactions(made) == 0, what="no open transaction")
    # The server is down: whatever new left behind has come to its end.
    assert made.rows() == ["legacy's"]


@pytest.mark.parametrize("path", ["/hangs-in-thread", "/computes-in-database"])
def test_while_new_holds_what_legacy_may_need_nobody_answers_and_nothing_comes_later(
    path: str, tmp_path: Path, database: Database
) -> None:
    with (
        shop(tmp_path, database, [path], more=THEN_FAILS, defaults=DEFAULTS) as made,
        running(made.app) as url,
    ):
        assert order(url, path) == (504, "gateway")
        if path == "/computes-in-database":
            stop_statements(made)
        wait_until(lambda: open_transactions(made) == 0, what="no open transaction")
    assert made.rows() == []
    assert made.rows("SELECT pieces FROM stock") == [100_000]


def stop_statements(made: Shop) -> None:
    """End what runs in the database, as its administrator would."""
    if made.database.is_sqlite:
        made.new.interrupt()
    else:
        made.rows(
            "SELECT pg_cancel_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )


def test_an_app_without_a_rehearsable_factory_is_not_known_to_have_done_nothing(
    tmp_path: Path, sqlite: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.shadowing.onlooker.is_in_use", lambda: False)
    with (
        shop(tmp_path, sqlite, ["/raises"], defaults=DEFAULTS) as made,
        running(made.app) as url,
    ):
        assert order(url, "/raises")[0] == 500
        assert order(url, "/raises", **{"idempotency-key": "1"}) == (201, "legacy")
        assert made.rows() == ["legacy's"]
