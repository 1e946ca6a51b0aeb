"""One line of the table moves one endpoint, live, and no request fails on the way."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.projects import Project, Served, make_project, served
from tests.running import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LEGACY = """
    from flask import Flask, jsonify

    app = Flask(__name__)

    @app.get("/users/<int:user_id>")
    def user(user_id):
        return jsonify(id=user_id, by="legacy")

    @app.get("/other")
    def other():
        return "other"
"""
NEW = """
    from fastapi import FastAPI

    app = FastAPI()

    @app.get("/users/{user_id}")
    async def user(user_id: int):
        return {"id": user_id, "by": "new"}
"""


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return make_project(tmp_path / "api", LEGACY, NEW, "routes:\n  GET /users/{user_id}: legacy\n")


@pytest.fixture
def gateway_url(project: Project) -> Iterator[Served]:
    with served(project.folder) as running:
        yield running


def who(url: str, path: str = "/users/1") -> str:
    return httpx.get(url + path).headers["x-served-by"]


class Load:
    """Ask for one path over and over from several threads, and keep what went wrong."""

    def __init__(self, url: str, threads: int = 4) -> None:
        self.answers: dict[str, int] = {}
        self.failures: list[str] = []
        self._url = url
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._ask) for _ in range(threads)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(30)

    def total(self) -> int:
        with self._lock:
            return sum(self.answers.values()) + len(self.failures)

    def _ask(self) -> None:
        with httpx.Client() as client:
            while not self._stop.is_set():
                try:
                    answer = client.get(self._url)
                    by, body = answer.headers["x-served-by"], answer.json()
                    problem = "" if answer.status_code == 200 and body["by"] == by else answer.text
                except Exception as error:
                    by, problem = "", repr(error)
                with self._lock:
                    if problem:
                        self.failures.append(problem)
                    else:
                        self.answers[by] = self.answers.get(by, 0) + 1


def test_moving_an_endpoint_under_load_fails_no_request(project: Project, gateway_url: Served) -> None:
    with Load(f"{gateway_url.url}/users/7") as load:
        for stage in ("new", "legacy", "canary 50%", "new", "retired", "shadow"):
            before = load.total()
            project.write_table(f"routes:\n  GET /users/{{user_id}}: {stage}\n")
            if stage in ("new", "retired"):
                wait_until(lambda: who(gateway_url.url) == "new", timeout_s=5, what=f"stage {stage}")
            if stage in ("legacy", "shadow"):
                wait_until(lambda: who(gateway_url.url) == "legacy", timeout_s=5, what=f"stage {stage}")
            wait_until(lambda: load.total() > before + 50, what="load at this stage")  # noqa: B023 - called within the iteration
    assert load.failures == []
    assert set(load.answers) == {"legacy", "new"}


def test_a_broken_table_changes_nothing_and_says_where_it_is_broken(
    project: Project, gateway_url: Served
) -> None:
    project.write_table("routes:\n  GET /users/{user_id}: nwe\n")

    def problems() -> list[str]:
        found: list[str] = httpx.get(f"{gateway_url.url}/-/ready").json()["table"]["problems"]
        return found

    (problem,) = wait_until(problems, timeout_s=5, what="the problem in /-/ready")
    assert "routing.yaml:9: GET /users/{user_id}:" in problem
    assert "new" in problem
    assert who(gateway_url.url) == "legacy"
    assert problem in gateway_url.text()
    project.write_table("routes:\n  GET /users/{user_id}: new\n")
    wait_until(lambda: who(gateway_url.url) == "new", timeout_s=5, what="the mended table")
    assert problems() == []


def test_what_the_table_does_not_list_stays_legacys(gateway_url: Served) -> None:
    assert who(gateway_url.url, "/other") == "legacy"
    missing = httpx.get(f"{gateway_url.url}/nowhere")
    assert (missing.status_code, missing.headers["x-served-by"]) == (404, "legacy")
    assert "text/html" in missing.headers["content-type"]


def test_a_claimed_converter_keeps_what_legacy_answered_otherwise(
    project: Project, gateway_url: Served
) -> None:
    project.write_table("routes:\n  GET /users/{user_id}: new\n")
    wait_until(lambda: who(gateway_url.url) == "new", timeout_s=5, what="stage new")
    answer = httpx.get(f"{gateway_url.url}/users/abc")
    assert (answer.status_code, answer.headers["x-served-by"]) == (404, "legacy")


def test_head_options_and_other_methods_answer_as_before(project: Project, gateway_url: Served) -> None:
    before = {
        method: httpx.request(method, f"{gateway_url.url}/users/1")
        for method in ("HEAD", "OPTIONS", "POST", "DELETE")
    }
    project.write_table("routes:\n  GET /users/{user_id}: new\n")
    wait_until(lambda: who(gateway_url.url) == "new", timeout_s=5, what="stage new")
    for method, old in before.items():
        now = httpx.request(method, f"{gateway_url.url}/users/1")
        assert (now.status_code, now.content) == (old.status_code, old.content), method
        assert now.headers.get("allow") == old.headers.get("allow"), method
        assert now.headers["x-served-by"] == ("new" if method == "HEAD" else "legacy")
