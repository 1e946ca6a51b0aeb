"""A held event loop is told of at once: by which route, and where its code stands."""

from __future__ import annotations

import itertools
import textwrap
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import httpx
import pytest

from gateway.app import Gateway, create_app
from gateway.serving import watchdog
from gateway.serving.pulse import Pulse
from tests.running import running, wait_until

if TYPE_CHECKING:
    import logging
    from collections.abc import Iterator
    from pathlib import Path

LEGACY = """
    import time
    from flask import Flask
    app = Flask(__name__)

    @app.get("/view/<float:seconds>")
    def view(seconds):
        time.sleep(seconds)
        return "legacy"

    @app.get("/shadowed")
    def shadowed():
        return "legacy"
"""
NEW = """
    import asyncio
    import pathlib
    import time
    from fastapi import FastAPI, Request
    from starlette.middleware.base import BaseHTTPMiddleware
    app = FastAPI(openapi_url=None)
    here = pathlib.Path(__file__).parent

    def hold(seconds):
        (here / "began").write_text(str(time.time()))
        time.sleep(seconds)  # what a careless query does

    @app.get("/held/{seconds}")
    async def held(seconds: float):
        hold(seconds)

    @app.get("/shadowed")
    async def shadowed():
        hold(0.6)
        return "new"

    @app.get("/beside")
    async def beside():
        async def job():
            await asyncio.sleep(0)
            hold(0.6)
        app.state.job = asyncio.create_task(job())

    inner = FastAPI(openapi_url=None)

    @inner.get("/held")
    async def inner_held():
        hold(0.6)

    async def passing(request, call_next):
        return await call_next(request)

    inner.add_middleware(BaseHTTPMiddleware, dispatch=passing)
    app.mount("/inner", inner)
"""
TABLE = """
    version: 1
    backends:
      legacy: {{wsgi: "{legacy}:app"}}
      new: {{asgi: "{new}:app"}}
    routes:
      "GET /held/{{seconds:float}}": new
      GET /beside: new
      GET /inner/held: {{stage: new, fallback: legacy}}
      GET /shadowed: {{stage: shadow, sample: 100%}}
      "GET /view/{{seconds:float}}": {{stage: legacy, timeout: 1s}}
"""
numbers = itertools.count()


@pytest.fixture
def gateway(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Gateway:
    number = next(numbers)
    names = {"legacy": f"watched_legacy_{number}", "new": f"watched_new_{number}"}
    (tmp_path / f"{names['legacy']}.py").write_text(textwrap.dedent(LEGACY))
    (tmp_path / f"{names['new']}.py").write_text(textwrap.dedent(NEW))
    (tmp_path / "routing.yaml").write_text(textwrap.dedent(TABLE.format(**names)))
    monkeypatch.syspath_prepend(tmp_path)
    return create_app(tmp_path / "routing.yaml")


@contextmanager
def asking(url: str) -> Iterator[list[httpx.Response]]:
    """Send one request from a thread; what it is answered is there when the block has ended."""
    answers: list[httpx.Response] = []
    thread = threading.Thread(target=lambda: answers.append(httpx.get(url, timeout=20)))
    thread.start()
    yield answers
    thread.join(20)


def told(caplog: pytest.LogCaptureFixture, words: str) -> list[logging.LogRecord]:
    return [record for record in caplog.records if words in record.getMessage()]


def began_s(folder: Path) -> float:
    return float((folder / "began").read_text())


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_the_route_that_holds_the_loop_is_named_within_half_a_second(
    gateway: Gateway, loop: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with running(gateway, loop=loop) as url:
        assert httpx.get(f"{url}/held/2.0", timeout=10).status_code == 200
        wait_until(lambda: told(caplog, "turns again"), what="the end of the block")
        [record] = told(caplog, "has stood still")
        assert record.created - began_s(tmp_path) < 0.5
        lines = record.getMessage().splitlines()
        assert "GET /held/{seconds:float} holds it" in lines[0]
        assert "in hold: time.sleep(seconds)  # what a careless query does" in lines[1]
        assert "in held: hold(seconds)" in lines[2]
        [end] = told(caplog, "turns again")
        held_s = float(end.getMessage().rpartition(" held it for ")[2].removesuffix(" s"))
        assert 1.9 < held_s < 3
        measures = gateway.report()["measures"]
        assert measures["GET /held/{seconds:float}"]["blocks"] == 1
        assert gateway.report()["lag_s"] > 1.8


@pytest.mark.parametrize(
    ("path", "holder"),
    [
        ("/inner/held", "GET /inner/held"),
        ("/beside", "no request"),
        ("/shadowed", "the second call of GET /shadowed"),
    ],
    ids=["in a task of its own", "beside all requests", "a second call"],
)
def test_whoever_holds_the_loop_is_found(
    gateway: Gateway, path: str, holder: str, caplog: pytest.LogCaptureFixture
) -> None:
    with running(gateway) as url:
        httpx.get(url + path, timeout=10)
        wait_until(lambda: told(caplog, f" s: {holder} holds it"), what="the block's holder")


def test_a_route_that_goes_on_is_told_of_once_and_counted_every_time(
    gateway: Gateway, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running(gateway) as url:
        for _ in range(3):
            httpx.get(f"{url}/held/0.6", timeout=10)
        key = "GET /held/{seconds:float}"
        wait_until(lambda: gateway.report()["measures"][key].get("blocks") == 3, what="three blocks counted")
        assert len(told(caplog, "has stood still")) == 1
        monkeypatch.setattr(watchdog, "QUIET_S", 0.0)
        httpx.get(f"{url}/held/0.6", timeout=10)
        wait_until(lambda: told(caplog, "2 more times since it was last told"), what="the untold ones")


def test_nothing_is_told_while_the_loop_turns_or_idles(
    gateway: Gateway, caplog: pytest.LogCaptureFixture
) -> None:
    with running(gateway) as url:
        assert httpx.get(f"{url}/view/0.9", timeout=10).text == "legacy"
        assert not told(caplog, "event loop")
    assert not [thread for thread in threading.enumerate() if thread.name == "gateway-watchdog"]


def test_legacy_answers_that_came_in_time_are_no_timeouts_when_new_held_the_loop(gateway: Gateway) -> None:
    with running(gateway) as url, asking(f"{url}/view/0.4") as answers:
        wait_until(lambda: gateway.front.in_flight == 1, what="the legacy request's start")
        began = time.monotonic()
        httpx.get(f"{url}/held/2.0", timeout=10)
        assert time.monotonic() - began > 2
        wait_until(lambda: answers, what="legacy's answer")
        assert (answers[0].status_code, answers[0].text) == (200, "legacy")


def test_what_is_late_by_itself_still_times_out_when_new_held_the_loop(gateway: Gateway) -> None:
    with running(gateway) as url, asking(f"{url}/view/9.0") as answers:
        wait_until(lambda: gateway.front.in_flight == 1, what="the legacy request's start")
        httpx.get(f"{url}/held/2.0", timeout=10)
        wait_until(lambda: answers, timeout_s=1.5, what="the timeout's answer")
        assert answers[0].status_code == 504


def test_a_watchdog_that_stumbles_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> None:
        raise RuntimeError("no generation")

    pulse = Pulse()
    pulse.thread = threading.get_ident()
    pulse.beat_s = time.monotonic() - 5
    dog = watchdog.Watchdog(pulse, fail)  # type: ignore[arg-type] # it never returns
    dog.start()
    wait_until(lambda: len(told(caplog, "the watchdog stumbled")) >= 2, what="a second try")
    dog.stop()
