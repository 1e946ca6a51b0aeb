"""/metrics of a running gateway: right over several workers, and through everything that ends one."""

from __future__ import annotations

import os
import signal
import threading
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.projects import make_project, served
from tests.running import free_port, wait_until
from tests.scraping import Scraper

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.projects import Project, Served
    from tests.scraping import Samples

LEGACY = """
    from flask import Flask

    app = Flask(__name__)

    @app.get("/items/<int:item_id>")
    def item(item_id):
        return {"id": item_id}

    @app.get("/old")
    def old():
        return "old"
"""
NEW = """
    from fastapi import FastAPI

    app = FastAPI()

    @app.get("/items/{item_id}")
    async def item(item_id: int):
        return {"id": item_id}
"""
ROUTES = """
    routes:
      GET /items/{item_id:int}: {stage}
"""


@contextmanager
def never_going_back(scraper: Scraper) -> Iterator[None]:
    """Scrape all the time; fail when a counter or a bucket is less than it was, or has gone."""
    stop = threading.Event()
    faults: list[str] = []

    def watch() -> None:
        before: Samples = {}
        while not stop.wait(0.2):
            now = {
                series: value
                for series, value in scraper.samples().items()
                if series[0].endswith(("_total", "_bucket", "_count", "_sum"))
            }
            faults.extend(
                f"{series}: {value} → {now.get(series)}"
                for series, value in before.items()
                if now.get(series, -1) < value
            )
            before = now

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(10)
    assert faults == []


def project_at(folder: Path, stage: str) -> Project:
    return make_project(folder, LEGACY, NEW, ROUTES.replace("{stage}", stage))


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return project_at(tmp_path, "canary 50%")


@contextmanager
def serving(project: Project, *options: str) -> Iterator[tuple[Served, Scraper]]:
    port = free_port()
    arguments = ("--admin", f"127.0.0.1:{port}", *options)
    with served(project.folder, *arguments, environ={"GATEWAY_ADMIN_TOKEN": "secret"}) as running:
        scraper = Scraper(port)
        with scraper.client:
            yield running, scraper


def ask(running: Served, count: int, path: str = "/items/7") -> int:
    """Send requests on connections of their own, so that every worker gets some; return how many."""
    for number in range(count):
        answer = httpx.get(running.url + path, headers={"Authorization": f"caller {number}"}, timeout=10)
        assert answer.status_code in (200, 404)
    return count


def test_counters_are_exact_over_workers_and_survive_their_death_and_a_rolling_restart(
    project: Project,
) -> None:
    route = {"route": "GET /items/{item_id:int}"}
    with serving(project, "--workers", "2") as (running, scraper):
        total = partial(scraper.sum, "gateway_requests_total", **route)
        with never_going_back(scraper):
            sent = ask(running, 60)
            wait_until(lambda: total() == sent, what=f"{sent} requests counted")
            assert scraper.sum("gateway_request_seconds_count", **route) == sent
            assert 0 < scraper.sum("gateway_requests_total", backend="new", stage="canary", **route) < sent

            old = scraper.pids()
            os.kill(old[0], signal.SIGKILL)
            wait_until(
                lambda: len({*scraper.pids()} - {old[0]}) == 2, timeout_s=30, what="the worker's successor"
            )
            sent += ask(running, 60)
            wait_until(lambda: total() == sent, what=f"{sent} requests counted after a worker's death")
            assert scraper.sum("gateway_worker_restarts_total") == 1

            before = {*scraper.pids()}
            running.process.send_signal(signal.SIGHUP)
            sent += ask(running, 30)
            wait_until(lambda: len({*scraper.pids()} - before) == 2, timeout_s=60, what="the rolling restart")
            sent += ask(running, 30)
            wait_until(lambda: total() == sent, what=f"{sent} requests counted after a rolling restart")


def test_a_reload_counts_on_under_the_new_stage_and_forgets_nothing(project: Project) -> None:
    route = {"route": "GET /items/{item_id:int}"}
    with serving(project) as (running, scraper):
        with never_going_back(scraper):
            ask(running, 20)
            project.write_table(ROUTES.replace("{stage}", "new"))
            wait_until(
                lambda: scraper.sum("gateway_route_stage", stage="new", **route) == 1, what="the reload"
            )
            ask(running, 10)
            project.write_table("routes: {}")
            wait_until(
                lambda: scraper.sum("gateway_route_stage", stage="legacy", **route) == 1, what="the reload"
            )
            ask(running, 5, "/nowhere")
            wait_until(
                lambda: scraper.sum("gateway_requests_total", route="unmatched", code="404") == 5,
                what="the unmatched requests counted",
            )
        assert scraper.sum("gateway_requests_total", stage="canary", **route) == 20
        assert scraper.sum("gateway_requests_total", stage="new", backend="new", **route) == 10
        assert scraper.sum("gateway_config_generation") == 3
        assert scraper.sum("gateway_overhead_seconds_count") > 0
