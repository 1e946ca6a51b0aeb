"""Rows are served where they stand, and the breaker stands between them and a new that breaks."""

from __future__ import annotations

import http.client
import itertools
import textwrap
import time
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from gateway.app import Gateway, create_app
from gateway.rollout import breaker as breakers
from gateway.rollout.persistence import evidence_of, from_record, scope_of, to_record
from gateway.rollout.positions import Position, fingerprint, own_step, resume, roll_back
from gateway.store import Ledger, locate
from gateway.table.compile import route_id
from tests.running import running, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from gateway.table.route import Route

LEGACY = """
    from flask import Flask, jsonify
    app = Flask(__name__)

    @app.get("/item")
    @app.get("/guarded")
    @app.get("/held")
    def item():
        return jsonify(id=1)

    @app.post("/item")
    def add():
        return jsonify(id=1), 201
"""
NEW = """
    import pathlib
    from fastapi import FastAPI, HTTPException, Request
    app = FastAPI(openapi_url=None)
    broken = pathlib.Path(__file__).with_name("broken")

    @app.get("/item")
    @app.post("/item", status_code=201)
    @app.get("/guarded")
    @app.get("/held")
    @app.get("/fresh")
    async def item(request: Request):
        users = broken.read_text().split() if broken.exists() else []
        if "all" in users or request.headers.get("x-user") in users:
            raise RuntimeError("broken on purpose")
        return {{"id": 1}}
"""
TABLE = """
    version: 1
    backends:
      legacy: {{wsgi: "{legacy}:app"}}
      new: {{asgi: "{new}:app"}}
    server: {{override_token: "${{TOKEN}}"}}
    defaults: {{sticky: ["header:x-user"]}}
    routes:
      GET /item:
        stage: canary
        weight: 50%
        sample: 0%
        pin: {{new: ["header:x-user=qa"]}}
        rollout: {{steps: [new], min_time: 1h}}
      POST /item: new
      GET /guarded: {{stage: new, fallback: legacy}}
      GET /held: new
      GET /fresh: new
"""
numbers = itertools.count()


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Gateway:
    number = next(numbers)
    names = {"legacy": f"standing_legacy_{number}", "new": f"standing_new_{number}"}
    for name, source in ((names["legacy"], LEGACY), (names["new"], NEW)):
        (tmp_path / f"{name}.py").write_text(textwrap.dedent(source.format(**names)))
    (tmp_path / "routing.yaml").write_text(textwrap.dedent(TABLE.format(**names)))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("TOKEN", "t0ken")
    return create_app(tmp_path / "routing.yaml")


@pytest.fixture
def break_new(tmp_path: Path) -> Callable[[str], None]:
    """Make new raise for these users (``all``: for everybody), or for nobody."""

    def write(users: str) -> None:
        (tmp_path / "broken.new").write_text(users)
        (tmp_path / "broken.new").rename(tmp_path / "broken")

    return write


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger(locate(None, tmp_path / "routing.yaml")) as opened:
        yield opened


def route(app: Gateway, key: str) -> Route:
    return app.snapshot.by_id[route_id(key)]


def served_by(url: str, *, method: str = "GET", **headers: str) -> tuple[int, str]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    answer = httpx.request(method, url, headers=named)
    return answer.status_code, answer.headers["x-served-by"]


def place(ledger: Ledger, app: Gateway, key: str, move: Callable[[Position], Any]) -> None:
    """Put a row that has no position where ``move`` says."""
    found = route(app, key)
    own = own_step(found.spec)
    placed = Position(found.id, key, fingerprint(found.spec), own, own, time.time())
    moved = move(placed).position
    assert ledger.save_position(to_record(moved, 0)) is not None


def test_a_rollback_in_the_store_is_served_at_once_and_lasts(
    app: Gateway, ledger: Ledger, tmp_path: Path
) -> None:
    spec = route(app, "GET /held").spec
    with running(app) as url:
        assert served_by(f"{url}/held") == (200, "new")
        place(
            ledger,
            app,
            "GET /held",
            lambda p: roll_back(spec, p, now=time.time(), by="ann", reason="complaints"),
        )
        wait_until(lambda: served_by(f"{url}/held") == (200, "legacy"), timeout_s=5, what="the rollback")
    again = create_app(tmp_path / "routing.yaml")
    with running(again) as url:
        assert served_by(f"{url}/held") == (200, "legacy"), "its very first request"
        record = next(each for each in ledger.positions() if each.key == "GET /held")
        back = resume(spec, from_record(record), now=time.time(), by="ann", reason="mended")
        assert back is not None
        assert back.position is not None
        assert ledger.save_position(to_record(back.position, record.version)) is not None
        wait_until(lambda: served_by(f"{url}/held") == (200, "new"), timeout_s=5, what="the resumption")


def test_five_failures_in_a_row_open_the_breaker_and_a_probe_closes_it(
    app: Gateway, ledger: Ledger, break_new: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(breakers, "FIRST_WAIT_S", 3.0)
    with running(app) as url:
        assert served_by(f"{url}/held") == (200, "new")
        break_new("all")
        answers = [served_by(f"{url}/held") for _ in range(12)]
        assert answers == [(500, "new")] * 5 + [(200, "legacy")] * 7
        break_new("nobody")
        wait_until(lambda: served_by(f"{url}/held") == (200, "new"), timeout_s=15, what="the probe's success")
        assert {served_by(f"{url}/held") for _ in range(5)} == {(200, "new")}
        wait_until(lambda: len(ledger.events()) >= 3, what="the events")
    kinds = [event.kind for event in ledger.events()]
    assert kinds.count("breaker_opened") == 1
    assert kinds.count("breaker_closed") == 1


def test_a_route_that_legacy_never_had_has_no_breaker(app: Gateway, break_new: Callable[[str], None]) -> None:
    break_new("all")
    with running(app) as url:
        assert {served_by(f"{url}/fresh") for _ in range(10)} == {(500, "new")}


def test_writes_are_diverted_as_well_once_the_breaker_is_open(
    app: Gateway, break_new: Callable[[str], None]
) -> None:
    break_new("all")
    with running(app) as url:
        answers = [served_by(f"{url}/item", method="POST") for _ in range(8)]
    assert answers == [(500, "new")] * 5 + [(201, "legacy")] * 3


def test_no_client_sees_a_failure_of_a_row_with_fallback_and_each_counts_against_new(
    app: Gateway, break_new: Callable[[str], None]
) -> None:
    break_new("all")
    with running(app) as url:
        assert {served_by(f"{url}/guarded") for _ in range(20)} == {(200, "legacy")}
    tally = app._tallies[route_id("GET /guarded")]
    assert (tally.fallbacks, tally.failures["new"]) == (5, 5), "then the breaker spares the detour"


def test_only_callers_who_were_drawn_are_evidence(
    app: Gateway, ledger: Ledger, break_new: Callable[[str], None]
) -> None:
    found = route(app, "GET /item")
    break_new("qa")
    with running(app) as url:
        for number in range(40):
            served_by(f"{url}/item", x_user=f"u{number}")
        for _ in range(3):
            assert served_by(f"{url}/item", x_user="qa") == (500, "new"), "pinned, so not drawn"
            chosen = {"X_Gateway_Backend": "new", "X_Gateway_Token": "t0ken"}
            assert served_by(f"{url}/item", x_user="u1", **chosen) == (200, "new")
        position = app.rollout.positions[found.id]
        scope = scope_of(found.id, found.spec, position)

        def is_there() -> bool:
            evidence = evidence_of(ledger.evidence([scope]).get(scope))
            return evidence.new.requests + evidence.legacy.requests == 43

        wait_until(is_there, what="the evidence")
    evidence = evidence_of(ledger.evidence([scope])[scope])
    assert evidence.new.errors == 3
    assert evidence.new.callers_with_error == 0
    assert evidence.new.callers + evidence.legacy.callers in range(36, 45)


def test_a_client_keeps_its_connection_when_new_raises(
    app: Gateway, break_new: Callable[[str], None], caplog: pytest.LogCaptureFixture
) -> None:
    break_new("all")
    with running(app) as url:
        address = url.removeprefix("http://")
        connection = http.client.HTTPConnection(address, timeout=10)
        connection.connect()
        first = connection.sock
        for _ in range(3):
            connection.request("GET", "/fresh")
            answer = connection.getresponse()
            assert (answer.status, answer.read()) == (500, b"Internal Server Error")
            assert connection.sock is first, "the server closed it"
        connection.close()
    told = [record for record in caplog.records if "raised behind its answer to '/fresh'" in record.message]
    assert len(told) == 3
    assert told[0].exc_info is not None
