"""From `gateway init` to a promoted route: the whole way, with real processes and both real apps."""

from __future__ import annotations

import contextlib
import http.client
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.running import free_port, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.cli.conftest import Project

FAILING = """
from contextlib import asynccontextmanager
from fastapi import FastAPI


@asynccontextmanager
async def lifespan(app):
    raise RuntimeError("no database")
    yield


app = FastAPI(lifespan=lifespan)
"""


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "GATEWAY_LOG_LEVEL": "error"}


@contextlib.contextmanager
def serve(project: Project, port: int) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "gateway", "serve", "--port", str(port), "--admin", "off"]
    with subprocess.Popen(
        command, cwd=project.folder, env=environment(), stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            for line in process.stdout:
                if "Ctrl-C stops" in line:
                    break
            assert process.poll() is None
            yield process
        finally:
            process.terminate()


def ask(port: int, path: str) -> tuple[int, str, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    with contextlib.closing(connection):
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read().decode(), response.getheader("x-served-by") or ""


def test_a_first_table_serves_legacy_unchanged_and_a_promoted_route_moves_while_serving(
    project: Project,
) -> None:
    assert project.run("init", "--legacy", project.legacy, "--new", project.new, "--force").status == 0
    port = free_port()
    with serve(project, port) as process:
        assert ask(port, "/users/7") == (200, "user 7", "legacy")
        assert ask(port, "/users/me") == (200, "me", "legacy")
        assert ask(port, "/users/abc")[0] == 404
        assert project.run("promote", "GET /users/{user_id:int}", "--to", "new").status == 0
        wait_until(lambda: ask(port, "/users/7") == (200, "7", "new"), timeout_s=5, what="the new answer")
        assert ask(port, "/users/me") == (200, "me", "legacy")
        assert ask(port, "/users/abc")[0] == 404
        assert project.run("rollback", "GET /users/{user_id:int}").status == 0
        wait_until(lambda: ask(port, "/users/7")[2] == "legacy", timeout_s=5, what="legacy's answer")
        process.terminate()
        assert process.wait(15) == 0


@pytest.mark.parametrize(
    ("source", "wanted"),
    [
        ("import nothing_like_it\n", "nothing_like_it"),
        (FAILING, "new: its startup failed: RuntimeError: no database\n    at new_"),
    ],
    ids=["import", "lifespan"],
)
def test_an_app_that_cannot_start_is_one_readable_block_and_exit_3(
    project: Project, source: str, wanted: str
) -> None:
    (project.folder / project.new.replace(":app", ".py")).write_text(source)
    ended = subprocess.run(
        [sys.executable, "-m", "gateway", "serve", "--port", str(free_port()), "--admin", "off"],
        cwd=project.folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ended.returncode == 3
    assert ended.stderr.startswith("gateway could not start:\n  ")
    assert wanted in ended.stderr
    assert "Traceback" not in ended.stderr
    assert ended.stdout == ""
