"""The second call comes after the answer, changes nothing, and what differs is found and named."""

from __future__ import annotations

import itertools
import sys
import textwrap
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from gateway.app import Gateway, create_app
from gateway.compare.difference import Outcome
from gateway.shadowing.fair_queue import FairQueue
from tests.running import running, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LEGACY = """
    import sqlite3
    from flask import Flask, jsonify, request
    from sqlalchemy import create_engine, text

    app = Flask(__name__)
    engine = create_engine("sqlite:///{folder}/data.db")
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE IF NOT EXISTS orders (id integer primary key)"))

    @app.get("/same")
    @app.get("/field")
    @app.get("/slow")
    @app.get("/exit")
    @app.get("/cookie")
    @app.get("/writes")
    @app.get("/verified")
    @app.get("/canary")
    def view():
        return jsonify(id=1, name="a", q=request.args.get("q"))

    @app.post("/orders")
    def order():
        with engine.begin() as connection:
            connection.execute(text("INSERT INTO orders DEFAULT VALUES"))
        return "", 201
"""
NEW = """
    import asyncio
    from fastapi import Depends, FastAPI, Request, Response
    from sqlalchemy import create_engine, text

    calls = []

    async def note(request: Request):
        calls.append((request.url.path, dict(request.headers)))

    app = FastAPI(openapi_url=None, dependencies=[Depends(note)])
    engine = create_engine("sqlite:///{folder}/data.db")
    @app.get("/same")
    @app.get("/canary")
    @app.get("/verified")
    def same(q: str | None = None):
        return {{"id": 1, "name": "a", "q": q}}

    @app.get("/field")
    def field(q: str | None = None):
        return {{"id": 1, "name": "b" if q == "7" else "a", "q": q}}

    @app.get("/slow")
    async def slow():
        await asyncio.sleep(30)

    @app.get("/exit")
    async def leave():
        raise SystemExit(3)

    @app.get("/cookie")
    def cookie(response: Response):
        response.set_cookie("from_shadow", "1")
        return {{"id": 1, "name": "a", "q": None}}

    @app.get("/writes")
    def writes():
        with engine.begin() as connection:
            connection.execute(text("INSERT INTO orders DEFAULT VALUES"))
        return {{"id": 1, "name": "a", "q": None}}

    @app.post("/orders", status_code=201)
    def order():
        with engine.begin() as connection:
            connection.execute(text("INSERT INTO orders DEFAULT VALUES"))
"""
TABLE = """
    version: 1
    backends:
      legacy: {{wsgi: "{legacy}:app"}}
      new: {{asgi: "{new}:app"}}
    routes:
      GET /same: shadow
      GET /field: shadow
      GET /slow: {{stage: shadow, timeout: 200ms}}
      GET /exit: shadow
      GET /cookie: shadow
      GET /writes: shadow
      POST /orders: shadow
      GET /verified: new 100%
      GET /canary: {{stage: canary, weight: 50%, sample: 100%, sticky: ["header:x-user"]}}
"""
# Flask ends its JSON with a line feed and FastAPI does not: waived, for no JSON client can tell.
ACCEPTED = Outcome.WAIVED
numbers = itertools.count()


@pytest.fixture
def gateway_app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gateway]:
    number = next(numbers)
    names = {"legacy": f"shadowed_legacy_{number}", "new": f"shadowed_new_{number}", "folder": str(tmp_path)}
    for name, source in ((names["legacy"], LEGACY), (names["new"], NEW)):
        (tmp_path / f"{name}.py").write_text(textwrap.dedent(source.format(**names)))
    table = tmp_path / "routing.yaml"
    table.write_text(textwrap.dedent(TABLE.format(**names)))
    monkeypatch.syspath_prepend(tmp_path)
    app = create_app(table)
    yield app
    for side in ("legacy", "new"):
        sys.modules[names[side]].engine.dispose()


def outcomes(app: Gateway, key: str) -> dict[str, int]:
    return app.ledger.outcomes(key)


def new_module(app: Gateway) -> Any:
    return sys.modules[app.snapshot.spec.new.target.partition(":")[0]]


def rows(app: Gateway) -> int:
    with new_module(app).engine.connect() as connection:
        return int(connection.exec_driver_sql("SELECT count(*) FROM orders").scalar_one())


def test_equal_answers_match_and_the_client_sees_legacy_alone(gateway_app: Gateway) -> None:
    with running(gateway_app) as url:
        for number in range(20):
            answer = httpx.get(f"{url}/same?q={number}")
            assert answer.headers["x-served-by"] == "legacy"
        wait_until(lambda: outcomes(gateway_app, "GET /same") == {ACCEPTED: 20}, what="20 comparisons")
    assert not any(each.difference.is_failing for each in gateway_app.ledger.findings())
    (_path, headers), *_ = new_module(gateway_app).calls
    assert headers["x-gateway-shadow"] == "1"


def test_a_wrong_field_for_one_caller_is_one_finding_that_names_the_field(gateway_app: Gateway) -> None:
    with running(gateway_app) as url:
        for number in range(20):
            httpx.get(f"{url}/field?q={number}", headers={"authorization": "Bearer hidden"})
        wait_until(lambda: sum(outcomes(gateway_app, "GET /field").values()) == 20, what="20 comparisons")
    assert outcomes(gateway_app, "GET /field") == {ACCEPTED: 19, Outcome.MISMATCHED: 1}
    failing = [each for each in gateway_app.ledger.findings() if each.difference.is_failing]
    assert len(failing) == 1, failing
    finding = failing[0]
    assert (finding.signature.place, finding.difference.control, finding.difference.candidate) == (
        "$.name",
        '"a"',
        '"b"',
    )
    assert "/field?q=7" in finding.examples[0].curl
    assert "hidden" not in finding.examples[0].curl


def test_writes_are_never_made_twice(gateway_app: Gateway) -> None:
    with running(gateway_app) as url, httpx.Client() as client:
        assert {client.post(f"{url}/orders").status_code for _ in range(300)} == {201}
        assert rows(gateway_app) == 300
    assert not any(path == "/orders" for path, _headers in new_module(gateway_app).calls)


def test_a_get_that_writes_is_refused_and_its_row_not_asked_again(gateway_app: Gateway) -> None:
    with running(gateway_app) as url:
        assert httpx.get(f"{url}/writes").status_code == 200
        wait_until(gateway_app.ledger.stopped, what="the row's stop")
        calls = len(new_module(gateway_app).calls)
        for _ in range(5):
            httpx.get(f"{url}/writes")
    assert rows(gateway_app) == 0
    assert gateway_app.ledger.stopped() == {
        "GET /writes": "its second call tried INSERT INTO orders DEFAULT VALUES"
    }
    assert len(new_module(gateway_app).calls) == calls
    assert outcomes(gateway_app, "GET /writes") == {}


@pytest.mark.parametrize("path", ["/slow", "/exit"])
def test_a_new_that_hangs_or_exits_is_an_observation_and_nothing_else(
    gateway_app: Gateway, path: str
) -> None:
    with running(gateway_app) as url:
        assert httpx.get(url + path).status_code == 200
        key = f"GET {path}"
        wait_until(lambda: outcomes(gateway_app, key).get(Outcome.MISMATCHED) == 1, what="a mismatch")
        assert httpx.get(f"{url}/same").status_code == 200


def test_a_shadows_cookie_goes_nowhere(gateway_app: Gateway) -> None:
    with running(gateway_app) as url:
        assert "set-cookie" not in httpx.get(f"{url}/cookie").headers
        wait_until(lambda: outcomes(gateway_app, "GET /cookie"), what="a comparison")
    places = {finding.signature.place for finding in gateway_app.ledger.findings()}
    assert "cookie:from_shadow" in places


def test_new_is_verified_against_legacy_and_canary_compares_either_way_round(gateway_app: Gateway) -> None:
    with running(gateway_app) as url:
        assert httpx.get(f"{url}/verified").headers["x-served-by"] == "new"
        sides = {
            httpx.get(f"{url}/canary", headers={"x-user": str(number)}).headers["x-served-by"]
            for number in range(20)
        }
        assert sides == {"legacy", "new"}
        wait_until(lambda: outcomes(gateway_app, "GET /verified") == {ACCEPTED: 1}, what="verified")
        wait_until(lambda: outcomes(gateway_app, "GET /canary") == {ACCEPTED: 20}, what="canary")


def test_a_full_queue_drops_and_counts(gateway_app: Gateway) -> None:
    gateway_app.shadows._queue = FairQueue(limit=0, limit_bytes=1_000_000, slots=4)
    with running(gateway_app) as url:
        for _ in range(5):
            assert httpx.get(f"{url}/same").status_code == 200
        wait_until(lambda: gateway_app.ledger.dropped() == {"queue full": 5}, what="five drops")
