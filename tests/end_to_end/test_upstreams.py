"""Backends that run elsewhere: a legacy app on another Python with an old Flask, either side by URL."""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.packages import installed, other_python
from tests.projects import Project, Served, gateway, gunicorn, make_project, served
from tests.running import free_port, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LEGACY = """
    import os, sys
    import flask
    from flask import Flask, jsonify, redirect, request, session

    app = Flask(__name__)
    app.secret_key = "k"

    @app.route("/versions")
    def versions():
        return jsonify(python="%d.%d" % sys.version_info[:2], pid=os.getpid())

    @app.route("/users/<int:user_id>")
    def user(user_id):
        return jsonify(by="legacy", id=user_id)

    @app.route("/count", methods=["GET", "POST"])
    def count():
        session["n"] = session.get("n", 0) + 1
        return jsonify(n=session["n"], host=request.host, body=len(request.get_data()))

    @app.route("/away")
    def away():
        return redirect("/users/1")
"""
NEW = """
    from fastapi import FastAPI

    app = FastAPI(openapi_url=None)

    @app.get("/users/{user_id}")
    async def user(user_id: int):
        return {"by": "new", "id": user_id}
"""
RULES = """\
Endpoint  Methods    Rule
--------  ---------  -----------------------
away      GET        /away
count     GET, POST  /count
static    GET        /static/<path:filename>
user      GET        /users/<int:user_id>
versions  GET        /versions
"""
ROUTES = "routes:\n  GET /users/{user_id}: new\n"


@pytest.fixture(scope="module")
def python() -> str:
    return other_python()


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, python: str) -> Project:
    packages = installed(
        "old-flask",
        "flask==1.1.4",
        "werkzeug==1.0.1",
        "jinja2<3.1",
        "markupsafe<2.1",
        "itsdangerous<2.1",
        "click<8",
        "waitress<3",
        python=python,
    )
    head = f"""\
version: 1
backends:
  legacy:
    command: [env, "PYTHONPATH={packages}", "{python}", -m, waitress, "--listen={{address}}", legacy_app:app]
    rules: rules.txt
  new:
    asgi: new_app:app
"""
    project = make_project(tmp_path_factory.mktemp("old"), LEGACY, NEW, ROUTES, head)
    (project.folder / "rules.txt").write_text(RULES)
    return project


@pytest.fixture(scope="module")
def running(project: Project) -> Iterator[Served]:
    with served(project.folder) as running:
        yield running


def test_a_legacy_app_on_another_python_with_an_old_flask_is_hosted(running: Served, python: str) -> None:
    answer = httpx.get(f"{running.url}/versions")
    assert answer.headers["x-served-by"] == "legacy"
    if python != sys.executable:
        assert answer.json()["python"] != f"{sys.version_info.major}.{sys.version_info.minor}"


def test_its_rules_give_a_plain_row_their_converter(running: Served) -> None:
    assert httpx.get(f"{running.url}/users/7").json() == {"by": "new", "id": 7}
    assert httpx.get(f"{running.url}/users/abc").headers["x-served-by"] == "legacy"


def test_sessions_redirects_and_bodies_pass_through(running: Served) -> None:
    with httpx.Client(base_url=running.url) as client:
        assert [client.get("/count").json()["n"] for _ in range(2)] == [1, 2]
        uploaded = client.post("/count", content=iter([b"x" * 1000] * 5)).json()
        assert (uploaded["body"], f"http://{uploaded['host']}") == (5000, running.url)
        away = client.get("/away")
        assert (away.status_code, away.headers["location"].endswith("/users/1")) == (302, True)


def test_a_killed_process_is_replaced(running: Served) -> None:
    old = httpx.get(f"{running.url}/versions").json()["pid"]
    os.kill(old, signal.SIGKILL)

    def replaced() -> bool:
        answer = httpx.get(f"{running.url}/versions")
        return answer.status_code == 200 and answer.json()["pid"] != old

    wait_until(replaced, timeout_s=20, what="a new process")


def test_check_has_nothing_to_say_against_it(project: Project) -> None:
    done = gateway("check", folder=project.folder)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("side", ["legacy", "new"])
def test_either_side_may_be_a_url(tmp_path: Path, side: str) -> None:
    folder = tmp_path / side
    make_project(folder, LEGACY, NEW, ROUTES)
    elsewhere = "legacy_app:app" if side == "legacy" else "wsgi_new:app"
    (folder / "wsgi_new.py").write_text(
        "from flask import Flask\napp = Flask(__name__)\n"
        "@app.get('/users/<int:u>')\ndef user(u):\n    return {'by': 'new', 'id': u}\n"
    )
    with gunicorn(elsewhere, folder) as url:
        backends = {"legacy": "wsgi: legacy_app:app", "new": "asgi: new_app:app"} | {side: f"url: {url}"}
        head = "version: 1\nbackends:\n" + "".join(
            f"  {name}:\n    {how}\n" for name, how in backends.items()
        )
        Project(folder).write_table(ROUTES, head)
        with served(folder) as running:
            assert httpx.get(f"{running.url}/users/7").json() == {"by": "new", "id": 7}
            answer = httpx.get(f"{running.url}/versions")
            assert (answer.status_code, answer.headers["x-served-by"]) == (200, "legacy")
            assert len(answer.headers.get_list("date")) == 1


def test_a_backend_that_does_not_answer_is_a_502_and_shows_in_readiness(tmp_path: Path) -> None:
    head = f"""\
version: 1
backends:
  legacy:
    wsgi: legacy_app:app
  new:
    url: http://127.0.0.1:{free_port()}
"""
    project = make_project(tmp_path / "down", LEGACY, NEW, ROUTES, head)
    with served(project.folder, is_ready=False) as running:
        answer = httpx.get(f"{running.url}/users/7")
        assert (answer.status_code, answer.headers["x-served-by"]) == (502, "gateway")
        assert httpx.get(f"{running.url}/versions").status_code == 200
        ready = httpx.get(f"{running.url}/-/ready")
        assert (ready.status_code, ready.json()["ready"]) == (503, False)
        assert ready.json()["reasons"][0].startswith("new: ")
