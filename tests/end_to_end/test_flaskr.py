"""Flask's own tutorial app, flaskr, as the legacy app: a blog with sessions, forms and a database.

Its source distribution holds the app; it is downloaded once, unpacked unchanged and not part of this
repository. Each server has a folder with its own copy, and so its own instance folder and database.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

import httpx
import pytest

from tests.packages import CACHE, skip_unless_ci, with_packages
from tests.projects import Project, gateway, gunicorn, make_project, served
from tests.running import wait_until

FLASKR = "flaskr:create_app()"
NEW = """
    from fastapi import FastAPI
    from fastapi.responses import PlainTextResponse

    app = FastAPI(openapi_url=None)

    @app.get("/hello", response_class=PlainTextResponse)
    async def hello():
        return "Hello from new"
"""
# What a server says of itself and of the hour.
VARYING_HEADERS = {"date", "server", "connection", "x-served-by", "x-request-id"}
ENVIRON = with_packages(None)


@dataclass(frozen=True, slots=True)
class Step:
    """Be one request of the scenario, and what flaskr is known to answer to it."""

    method: str
    path: str
    status: int
    form: dict[str, str] | None = None
    location: str | None = None
    says: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    is_multipart: bool = False


ANNA = {"username": "anna", "password": "pässword & more"}
BEN = {"username": "ben", "password": "b"}
POST = {"title": "Ünique <b>title</b>", "body": "one\r\ntwo & three"}
CHANGED = {"title": "Changed", "body": ""}
STYLE = "/static/style.css"
SCENARIO = {
    "an empty index": Step("GET", "/", 200, says="Log In"),
    "its head": Step("HEAD", "/", 200),
    "hello": Step("GET", "/hello", 200, says="Hello, World!"),
    "a query that nobody reads": Step("GET", "/?page=%C3%BC&page=2", 200),
    "the form to register": Step("GET", "/auth/register", 200, says="Register"),
    "register without a name": Step("POST", "/auth/register", 200, {**ANNA, "username": ""}, says="required"),
    "register without the fields": Step("POST", "/auth/register", 400, {}),
    "register": Step("POST", "/auth/register", 302, ANNA, "/auth/login"),
    "register again": Step("POST", "/auth/register", 200, ANNA, says="already registered"),
    "register another": Step("POST", "/auth/register", 302, BEN, "/auth/login", is_multipart=True),
    "create without a login": Step("GET", "/create", 302, location="/auth/login"),
    "post without a login": Step("POST", "/create", 302, POST, "/auth/login"),
    "the form to log in": Step("GET", "/auth/login", 200, says="Log In"),
    "log in as nobody": Step(
        "POST", "/auth/login", 200, {**ANNA, "username": "x"}, says="Incorrect username."
    ),
    "log in wrongly": Step("POST", "/auth/login", 200, {**ANNA, "password": "x"}, says="Incorrect password."),
    "log in": Step("POST", "/auth/login", 302, ANNA, "/"),
    "index, logged in": Step("GET", "/", 200, says="Log Out"),
    "the form to create": Step("GET", "/create", 200, says="New Post"),
    "create without a title": Step("POST", "/create", 200, {**POST, "title": ""}, says="Title is required."),
    "create": Step("POST", "/create", 302, POST, "/"),
    "index with the post": Step("GET", "/", 200, says="Ünique &lt;b&gt;title&lt;/b&gt;"),
    "the form to update": Step("GET", "/1/update", 200, says="two &amp; three"),
    "update without a title": Step(
        "POST", "/1/update", 200, {**POST, "title": ""}, says="Title is required."
    ),
    "update": Step("POST", "/1/update", 302, CHANGED, "/"),
    "index with the change": Step("GET", "/", 200, says="Changed"),
    "update what is not there": Step("GET", "/2/update", 404, says="Post id 2 doesn&#39;t exist."),
    "update what is no number": Step("GET", "/one/update", 404),
    "delete by GET": Step("GET", "/1/delete", 405),
    "log out": Step("GET", "/auth/logout", 302, location="/"),
    "delete without a login": Step("POST", "/1/delete", 302, {}, "/auth/login"),
    "log in as another": Step("POST", "/auth/login", 302, BEN, "/", is_multipart=True),
    "update another's": Step("POST", "/1/update", 403, POST),
    "delete another's": Step("POST", "/1/delete", 403, {}),
    "log out again": Step("GET", "/auth/logout", 302, location="/"),
    "log in once more": Step("POST", "/auth/login", 302, ANNA, "/"),
    "delete": Step("POST", "/1/delete", 302, {}, "/"),
    "delete again": Step("POST", "/1/delete", 404, {}),
    "index without the post": Step("GET", "/", 200, says="anna"),
    "log out at last": Step("GET", "/auth/logout", 302, location="/"),
    "index, logged out": Step("GET", "/", 200, says="Log In"),
    "the style sheet": Step("GET", STYLE, 200, says="html {"),
    "its head only": Step("HEAD", STYLE, 200),
    "a part of it": Step("GET", STYLE, 206, says="html", headers={"range": "bytes=0-3"}),
    "it is unchanged": Step(
        "GET", STYLE, 304, headers={"if-modified-since": "Fri, 01 Jan 2100 00:00:00 GMT"}
    ),
    "no static file": Step("GET", "/static/none.css", 404),
    "out of the static folder": Step("GET", "/static/..%2Fschema.sql", 404),
    "not found": Step("GET", "/nowhere", 404),
    "a slash too many": Step("GET", "/auth/login/", 404),
    "a method that is not allowed": Step("PUT", "/auth/login", 405, {}),
    "options": Step("OPTIONS", "/auth/login", 200),
}


@dataclass(frozen=True, slots=True)
class Answer:
    """Be what a client sees, without what varies between two servers or two moments."""

    status: int
    headers: list[tuple[str, str]]
    body: str


@pytest.fixture(scope="module")
def flaskr() -> Path:
    """Return the package of the tutorial, of the Flask that is installed."""
    wanted = version("flask")
    folder = CACHE / f"flask-{wanted}-tutorial"
    if not folder.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=CACHE) as fresh:
            fetch = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", "flask"]
            result = subprocess.run(
                [*fetch, "--dest", fresh, f"flask=={wanted}"], capture_output=True, text=True, check=False
            )
            found = list(Path(fresh).glob("*.tar.gz"))
            if result.returncode or not found:
                last = (result.stderr.strip() or "pip failed").splitlines()[-1]
                skip_unless_ci(f"Flask's source distribution could not be downloaded: {last}")
            with tarfile.open(found[0]) as archive:
                archive.extractall(fresh, filter="data")
            # Another test process may have been first: then its folder is as good as ours.
            with contextlib.suppress(OSError):
                next(Path(fresh).glob("flask-*/examples/tutorial")).rename(folder)
    return folder / "flaskr"


def blog(folder: Path, flaskr: Path) -> Project:
    """Return a project with flaskr beside a new app, its database made as its README says, and no table."""
    project = make_project(folder, "", NEW, "")
    project.table.unlink()
    shutil.copytree(flaskr, folder / "flaskr", ignore=shutil.ignore_patterns("__pycache__"))
    argv = [sys.executable, "-m", "flask", "--app", "flaskr", "init-db"]
    done = subprocess.run(argv, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (folder / "instance" / "flaskr.sqlite").exists()
    return project


def write_first_table(project: Project) -> None:
    argv = ["init", "--legacy", FLASKR, "--new", "new_app:app"]
    done = gateway(*argv, folder=project.folder, environ=ENVIRON)
    assert done.returncode == 0, done.stderr + done.stdout


@pytest.fixture
def project(tmp_path: Path, flaskr: Path) -> Project:
    project = blog(tmp_path / "blog", flaskr)
    write_first_table(project)
    return project


def ask(client: httpx.Client, step: Step) -> httpx.Response:
    files = {name: (None, value) for name, value in (step.form or {}).items()} if step.is_multipart else None
    data = None if step.is_multipart else step.form
    return client.request(step.method, step.path, data=data, files=files, headers=step.headers)


def seen(answer: httpx.Response) -> Answer:
    """Return the answer without its hour, its server's names and what a session's cookie holds.

    Fields of different names may stand in any order (RFC 9110, 5.3). The cookie is signed with the second in
    which it was written; an ETag of Flask's ends in a checksum of the file's path, which is not shared.
    """
    headers = []
    for name, value in answer.headers.multi_items():
        if name == "set-cookie":
            value = re.sub(r"^session=[^;]+", "session=SIGNED", value)
        elif name == "etag":
            value = re.sub(r'-\d+"$', '-PATH"', value)
        if name not in VARYING_HEADERS:
            headers.append((name, value))
    body = re.sub(r"on \d{4}-\d\d-\d\d", "on DAY", answer.text)
    return Answer(answer.status_code, sorted(headers, key=lambda pair: pair[0]), body)


def play(url: str) -> dict[str, Answer]:
    """Return the scenario's answers, each checked against what flaskr is known to say."""
    answers = {}
    with httpx.Client(base_url=url, timeout=30) as client:
        for name, step in SCENARIO.items():
            answer = ask(client, step)
            assert answer.status_code == step.status, (name, answer.text)
            assert answer.headers.get("location") == step.location, name
            assert step.says in answer.text, (name, answer.text)
            answers[name] = seen(answer)
    return answers


def test_flaskr_answers_as_under_gunicorn(tmp_path: Path, project: Project, flaskr: Path) -> None:
    alone = blog(tmp_path / "alone", flaskr)
    with gunicorn(FLASKR, alone.folder, environ=ENVIRON) as url:
        theirs = play(url)
    with served(project.folder, environ=ENVIRON) as running:
        ours = play(running.url)
    assert {name: (ours[name], theirs[name]) for name in SCENARIO if ours[name] != theirs[name]} == {}
    cookies = [dict(theirs[name].headers).get("set-cookie", "") for name in ("log in", "log out")]
    assert cookies[0] == "session=SIGNED; HttpOnly; Path=/"
    assert "Max-Age=0" in cookies[1]


def test_the_first_table_for_flaskr_passes_the_check(project: Project) -> None:
    done = gateway("check", folder=project.folder, environ=ENVIRON)
    assert done.returncode == 0, done.stdout + done.stderr
    text = project.table.read_text()
    assert "GET /hello: legacy" in text
    assert "POST /{id:int}/delete: legacy" in text


def test_a_session_lives_on_while_one_of_flaskrs_paths_moves(project: Project) -> None:
    with served(project.folder, environ=ENVIRON) as running, httpx.Client(base_url=running.url) as client:
        for name in ("register", "log in", "create"):
            assert ask(client, SCENARIO[name]).status_code == 302
        assert client.get("/hello").text == "Hello, World!"

        text = project.table.read_text()
        assert text.count("GET /hello: legacy") == 1
        fresh = project.table.with_suffix(".fresh")
        fresh.write_text(text.replace("GET /hello: legacy", "GET /hello: new"))
        fresh.replace(project.table)
        wait_until(lambda: client.get("/hello").headers["x-served-by"] == "new", what="the move")

        assert client.get("/hello").text == "Hello from new"
        index = client.get("/")
        assert index.headers["x-served-by"] == "legacy"
        assert "Log Out" in index.text
        assert ask(client, SCENARIO["update"]).headers["location"] == "/"
        assert "Changed" in client.get("/").text
        assert ask(client, SCENARIO["delete"]).status_code == 302
        assert gateway("check", folder=project.folder, environ=ENVIRON).returncode == 0
