"""A backend that is a command is started for each side, one that is a URL is asked where it runs."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.ci.shop import NEW, TABLE, make_shop, planted
from tests.projects import gateway, gunicorn, make_project
from tests.running import free_port, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.projects import Project

ISOLATED = ("--database-env", "DATABASE_URL")
RULES = """\
Endpoint  Methods  Rule
--------  -------  ------------------------
items     GET      /items
make      POST     /items
item      GET      /items/<int:item_id>
price     GET      /prices/<int:item_id>
guarded   GET      /guarded
"""
LEGACY_COMMAND = [sys.executable, "-m", "gunicorn", "--bind", "{address}", "--threads", "4", "legacy_app:app"]
NEW_COMMAND = [sys.executable, "-m", "uvicorn", "--host", "{host}", "--port", "{port}", "new_app:app"]


def backends(legacy: object, new: object) -> str:
    """Return the head of a table with these backends."""
    return f"version: 1\nbackends: {json.dumps({'legacy': legacy, 'new': new})}\n"


def make(folder: Path, new: str = NEW, routes: str = TABLE) -> tuple[Project, dict[str, str]]:
    """Write the shop, and the list of legacy's rules that stands for its inside."""
    project, environ = make_shop(folder, new, routes)
    (folder / "rules.txt").write_text(RULES)
    return project, environ


def by_command(project: Project, routes: str = TABLE, new: list[str] = NEW_COMMAND) -> None:
    """Let both apps be commands."""
    project.write_table(routes, backends({"command": LEGACY_COMMAND, "rules": "rules.txt"}, {"command": new}))


@contextlib.contextmanager
def uvicorn(folder: Path, environ: dict[str, str]) -> Iterator[str]:
    """Serve the new app as teams do without the gateway; yield its base URL."""

    port = free_port()
    argv = [each.format(host="127.0.0.1", port=port) for each in NEW_COMMAND]
    process = subprocess.Popen(argv, cwd=folder, env=os.environ | environ, stderr=subprocess.DEVNULL)

    def answers() -> bool:
        with contextlib.suppress(httpx.TransportError):
            return httpx.get(f"http://127.0.0.1:{port}/items").status_code == 200
        return False

    try:
        wait_until(answers, timeout_s=30, what="uvicorn's start")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(10)


def test_two_commands_are_each_started_on_a_copy_of_their_own(tmp_path: Path) -> None:
    project, environ = make(tmp_path / "shop")
    by_command(project)

    done = gateway("compare", "shop.http", *ISOLATED, folder=project.folder, environ=environ)

    assert done.returncode == 0, done.stdout + done.stderr
    assert "The same: 4 rows" in done.stdout


def test_what_commands_answer_and_write_otherwise_is_found(tmp_path: Path) -> None:
    project, environ = make(tmp_path / "shop", planted(NEW))
    by_command(project)

    done = gateway(
        "compare", "shop.http", *ISOLATED, "--report=json=out.json", folder=project.folder, environ=environ
    )

    assert done.returncode == 1, done.stdout + done.stderr
    found = {
        (each["row"], each["kind"])
        for each in json.loads((project.folder / "out.json").read_text())["findings"]
    }
    assert found >= {
        ("GET /items/{item_id}", "json.missing"),
        ("GET /prices/{item_id}", "json.number_form"),
        ("POST /items", "effects.rows"),
    }


def test_a_command_that_does_not_start_is_told_with_its_own_words(tmp_path: Path) -> None:
    project, environ = make(tmp_path / "shop")
    by_command(project, new=[sys.executable, "-c", "raise SystemExit('no licence')", "{port}"])

    done = gateway("compare", "shop.http", *ISOLATED, folder=project.folder, environ=environ)

    assert done.returncode == 3, done.stdout + done.stderr
    assert "new" in done.stderr
    assert "no licence" in done.stdout + done.stderr


def test_a_command_that_dies_while_it_answers_is_a_difference(tmp_path: Path) -> None:
    dying = NEW.replace('return {"price": f', 'os._exit(9)\n        return {"price": f')
    project, environ = make(tmp_path / "shop", dying)
    by_command(project)

    done = gateway("compare", "shop.http", *ISOLATED, folder=project.folder, environ=environ)

    assert done.returncode == 1, done.stdout + done.stderr
    assert "✗ GET /prices/{item_id}  1 of 1 request differs" in done.stdout
    assert "502" in done.stdout


def test_a_row_that_new_may_not_have_is_left_out_unless_it_is_named(tmp_path: Path) -> None:
    routes = TABLE.replace("GET /items: shadow", "GET /items: legacy")
    project, environ = make(tmp_path / "shop", planted(NEW), routes)
    by_command(project, routes)
    (project.folder / "one.http").write_text("GET /items\n")

    every = gateway("compare", "one.http", "--all", *ISOLATED, folder=project.folder, environ=environ)
    named = gateway(
        "compare", "one.http", "--route", "GET /items", *ISOLATED, folder=project.folder, environ=environ
    )

    assert "whether new has it cannot be seen, and --route does not name it: GET /items" in every.stdout
    assert named.returncode == 1, named.stdout + named.stderr
    assert "json.added  $[*]" in named.stdout


@pytest.mark.parametrize("legacy", ["url", "wsgi"])
def test_urls_are_asked_where_they_run_and_only_what_new_has_of_new(tmp_path: Path, legacy: str) -> None:
    # Only legacy has /guarded: behind the gateway it would answer, whichever side is asked.
    new = planted(NEW).partition('    @app.get("/guarded")')[0]
    project, environ = make(tmp_path / "shop", new)
    (project.folder / "shop.http").write_text(
        "GET /guarded\nAuthorization: x\n\n###\nGET /items\n\n###\nGET /items/1\n\n###\nGET /prices/1\n"
    )
    routes = TABLE.partition("      POST /items")[0] + "      GET /guarded: legacy\n"
    with (
        gunicorn("legacy_app:app", project.folder, environ=environ) as left,
        uvicorn(project.folder, environ) as right,
    ):
        old = {"url": left, "rules": "rules.txt"} if legacy == "url" else {"wsgi": "legacy_app:app"}
        project.write_table(routes, backends(old, {"url": right}))
        done = gateway(
            "compare",
            "shop.http",
            "--no-database",
            "--report=json=out.json",
            folder=project.folder,
            environ=environ,
        )
        state = gateway("compare", "shop.http", *ISOLATED, folder=project.folder, environ=environ)
        frozen = gateway("compare", "shop.http", "--freeze", folder=project.folder, environ=environ)

    assert done.returncode == 1, done.stdout + done.stderr
    report = json.loads((project.folder / "out.json").read_text())
    assert {(each["row"], each["kind"]) for each in report["findings"]} >= {
        ("GET /items/{item_id}", "json.missing"),
        ("GET /prices/{item_id}", "json.number_form"),
        ("GET /items", "json.added"),
    }
    guarded = next(each for each in report["exchanges"] if each["url"].endswith("/guarded"))
    assert (guarded["control_status"], guarded["candidate_status"]) == (200, 200)
    assert state.returncode == 2
    assert "is a url: it runs elsewhere and cannot be given a copy" in state.stderr
    assert frozen.returncode == 2
    assert "--freeze stops the clock of apps that are imported" in frozen.stderr


def test_a_url_where_nobody_answers_ends_the_run_with_exit_3(tmp_path: Path) -> None:
    project, environ = make(tmp_path / "shop")
    nowhere = f"http://127.0.0.1:{free_port()}"
    project.write_table(TABLE, backends({"wsgi": "legacy_app:app"}, {"url": nowhere}))
    (project.folder / "shop.http").write_text("GET /items\n")

    done = gateway("compare", "shop.http", folder=project.folder, environ=environ)
    against = gateway(
        "compare", "shop.http", "--against", nowhere, nowhere, folder=project.folder, environ=environ
    )

    for each in (done, against):
        assert each.returncode == 3, each.stdout + each.stderr
        assert each.stderr.endswith(f"gateway: nothing answers at {nowhere}: Connection refused\n")
        assert "✓" not in each.stdout


def test_a_row_on_which_control_only_fails_is_no_pass(tmp_path: Path) -> None:
    legacy = """
        from flask import Flask

        app = Flask(__name__)

        @app.get("/items")
        def items():
            return "", 500
    """
    new = """
        from fastapi import FastAPI, Response

        app = FastAPI()

        @app.get("/items")
        def items():
            return Response("", 500, media_type="text/html; charset=utf-8")
    """
    project = make_project(tmp_path / "shop", legacy, new, "routes:\n  GET /items: shadow\n")
    (project.folder / "shop.http").write_text("GET /items\n")

    done = gateway("compare", "shop.http", folder=project.folder)

    assert done.returncode == 2, done.stdout + done.stderr
    assert "Not a pass: control answered nothing but failures (5xx) on GET /items." in done.stdout
