"""Rate limits shared through Redis, as users run them: one budget, and a Redis that comes and goes."""

from __future__ import annotations

import http.client
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from tests.projects import gateway, make_project, served
from tests.redis_server import redis_server
from tests.running import free_port, wait_until
from tests.scraping import Scraper
from tests.security.test_faults import Load

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.projects import Served
    from tests.redis_server import RedisServer

LEGACY = """
    from flask import Flask

    app = Flask(__name__)

    @app.get("/few")
    @app.get("/many")
    def answer():
        return "legacy"
"""
NEW = """
    from fastapi import FastAPI

    app = FastAPI()

    @app.get("/few")
    async def few():
        return "new"
"""
ROUTES = """
    routes:
      GET /few: { stage: canary, weight: 50%, rate_limit: 100/minute }
      GET /many: { stage: legacy, rate_limit: 1000000/minute }
    shared: "${REDIS}"
"""


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    with redis_server(tmp_path) as server:
        yield server


@contextmanager
def serving(folder: Path, redis: RedisServer, workers: int) -> Iterator[tuple[Served, Scraper]]:
    make_project(folder, LEGACY, NEW, ROUTES)
    port = free_port()
    arguments = ("--admin", f"127.0.0.1:{port}", "--workers", str(workers))
    environ = {"GATEWAY_ADMIN_TOKEN": "secret", "REDIS": redis.url}
    with served(folder, *arguments, environ=environ, timeout_s=60) as running:
        scraper = Scraper(port)
        with scraper.client:
            yield running, scraper


def ask(url: str) -> tuple[int, str | None]:
    """Send one request on a connection of its own; return its status and Retry-After."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=20)
    try:
        connection.request("GET", parts.path)
        answer = connection.getresponse()
        answer.read()
        return answer.status, answer.getheader("Retry-After")
    finally:
        connection.close()


def test_four_workers_let_exactly_the_limit_through(tmp_path: Path, redis: RedisServer) -> None:
    with serving(tmp_path, redis, 4) as (running, scraper), ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(ask, [f"{running.url}/few"] * 300))
        wait_until(
            lambda: scraper.sum("gateway_rate_limit_checks_total", storage="shared") == 300,
            what="all requests counted in Redis",
        )
        assert Counter(status for status, _ in answers) == {200: 100, 429: 200}
        assert all(1 <= int(wait or 0) <= 60 for status, wait in answers if status == 429)
        assert scraper.sum("gateway_shared_limits_up") == 1


def test_a_redis_that_is_killed_under_load_fails_no_request(tmp_path: Path, redis: RedisServer) -> None:
    with serving(tmp_path, redis, 2) as (running, scraper):
        with Load(running.url, "/many") as load:
            wait_until(
                lambda: scraper.sum("gateway_rate_limit_checks_total", storage="shared") > 50, what="load"
            )
            redis.kill()
            wait_until(lambda: scraper.sum("gateway_shared_limits_up") == 0, what="the workers' own counting")
            redis.start()
            wait_until(
                lambda: scraper.sum("gateway_shared_limits_up") == 1,
                timeout_s=20,
                what="counting in Redis again",
            )
            redis.hang()
            wait_until(lambda: scraper.sum("gateway_shared_limits_up") == 0, what="a hung Redis given up")
            redis.go_on()
        assert load.failures == []
        assert {status for status, _ in load.answers} == {200}
        assert scraper.sum("gateway_rate_limit_checks_total", storage="local") > 0


def test_a_shared_url_that_cannot_be_used_is_refused_at_its_line(tmp_path: Path) -> None:
    project = make_project(tmp_path, LEGACY, NEW, ROUTES)
    line = project.table.read_text().splitlines().index('shared: "${REDIS}"') + 1
    checked = gateway("check", folder=tmp_path, environ={"REDIS": "redis://cache/shop"})
    assert checked.returncode == 1
    assert f"routing.yaml:{line}: shared: a database of Redis is a number" in checked.stdout
    assert "write redis://HOST:PORT/0" in checked.stdout
