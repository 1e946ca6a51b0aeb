"""Flask apps as teams have them: hosted unchanged, then moved, on the newest Flask and on an old one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
import pytest

from tests.packages import installed, with_packages
from tests.projects import Project, gateway, gunicorn, make_project, served

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LEGACY = """
    import time
    from flask import Blueprint, Flask, Response, abort, jsonify, redirect, request, session, url_for
    from werkzeug.routing import BaseConverter, ValidationError

    class Sku(BaseConverter):
        regex = "[A-Z]{2}-[0-9]{3}"
        def to_python(self, value):
            if value == "XX-000":
                raise ValidationError
            return value.lower()
        def to_url(self, value):
            return value.upper()

    class Listing(BaseConverter):
        part_isolating = False
        regex = "[a-z]+(?:,[a-z]+)*"

    app = Flask(__name__, static_folder=None)
    app.secret_key = "k"
    app.url_map.converters.update(sku=Sku, listing=Listing)

    @app.get("/sku/<sku:code>")
    def sku(code):
        return jsonify(code=code)

    @app.get("/tags/<listing:names>")
    def tags(names):
        return jsonify(names=names.split(","))

    @app.get("/loose", strict_slashes=False)
    def loose():
        return "loose"

    @app.route("/loosely/", strict_slashes=False)
    def loosely():
        return "loosely"

    @app.get("/strict/")
    def strict():
        return "strict"

    @app.get("/<word>")
    def word(word):
        return f"word {word}"

    @app.get("/page/<any(about,help):page>")
    def page(page):
        return page

    @app.get("/pages/", defaults={"number": 1})
    @app.get("/pages/<int:number>")
    def pages(number):
        return f"page {number}"

    @app.get("/f/<float:x>/<uuid:u>")
    def typed(x, u):
        return f"{x} {u}"

    @app.get("/files/<path:name>")
    def files(name):
        return name

    @app.get("/files/<path:name>/raw")
    def raw(name):
        return f"raw {name}"

    blueprint = Blueprint("shop", __name__, url_prefix="/shop/<lang>")

    @blueprint.get("/items/<int:item>")
    def item(lang, item):
        return jsonify(lang=lang, item=item)

    @blueprint.errorhandler(418)
    def teapot(error):
        return "a pot", 418

    @blueprint.get("/teapot")
    def pot(lang):
        abort(418)

    app.register_blueprint(blueprint)

    @app.get("/away")
    def away():
        return redirect(url_for("strict", _external=True))

    @app.get("/stream")
    def stream():
        def lines():
            for number in range(3):
                yield f"line {number}\\n"
        return Response(lines(), mimetype="text/plain")

    @app.route("/count", methods=["GET", "POST"])
    def count():
        session["n"] = session.get("n", 0) + 1
        return jsonify(n=session["n"], form=request.form.to_dict(flat=False), method=request.method)

    @app.get("/boom")
    def boom():
        raise RuntimeError("boom")

    @app.route("/multi", methods=["PUT", "PATCH"])
    def multi():
        return request.get_data()
"""
NEW = """
    from fastapi import FastAPI
    from fastapi.responses import PlainTextResponse

    app = FastAPI(openapi_url=None)

    @app.get("/sku/{code}")
    async def sku(code: str):
        return {"code": code, "by": "new"}

    @app.get("/{word}", response_class=PlainTextResponse)
    async def word(word: str):
        return f"new {word}"

    @app.get("/strict/", response_class=PlainTextResponse)
    async def strict():
        return "new strict"

    @app.get("/files/{name:path}", response_class=PlainTextResponse)
    async def files(name: str):
        return f"new {name}"
"""
REQUESTS = [
    ("GET", "/sku/AB-123"),
    ("GET", "/sku/XX-000"),
    ("GET", "/sku/ab-123"),
    ("GET", "/tags/a,b"),
    ("GET", "/loose"),
    ("GET", "/loose/"),
    ("GET", "/loosely"),
    ("GET", "/loosely/"),
    ("GET", "/strict"),
    ("GET", "/strict/"),
    ("GET", "/strict?a=b"),
    ("POST", "/strict"),
    ("GET", "/something"),
    ("GET", "/%C3%BCber"),
    ("GET", "/a%2Fb"),
    ("GET", "/page/about"),
    ("GET", "/page/none"),
    ("GET", "/pages/"),
    ("GET", "/pages"),
    ("GET", "/pages/1"),
    ("GET", "/pages/2"),
    ("GET", "/f/1.5/12345678-1234-5678-1234-567812345678"),
    ("GET", "/f/1/12345678-1234-5678-1234-567812345678"),
    ("GET", "/files/a/b/c"),
    ("GET", "/files/a/b/raw"),
    ("GET", "/files/raw"),
    ("GET", "/files//a"),
    ("GET", "/shop/en/items/7"),
    ("GET", "/shop/en/items/x"),
    ("GET", "/shop/en/teapot"),
    ("GET", "/away"),
    ("GET", "/stream"),
    ("HEAD", "/stream"),
    ("GET", "/count"),
    ("POST", "/count"),
    ("DELETE", "/count"),
    ("OPTIONS", "/count"),
    ("GET", "/boom"),
    ("PUT", "/multi"),
    ("PATCH", "/multi"),
    ("GET", "/multi"),
    ("GET", "//loose"),
    ("GET", "/nothing/here"),
]


@pytest.fixture(scope="module", params=["newest", "2.3"])
def packages(request: pytest.FixtureRequest) -> Path | None:
    if request.param == "newest":
        return None
    return installed("flask-2.3", "flask==2.3.3", "werkzeug==2.3.8")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, packages: Path | None) -> Project:
    project = make_project(tmp_path_factory.mktemp("flask"), LEGACY, NEW, "")
    project.table.unlink()
    done = gateway(
        "init",
        "--legacy",
        "legacy_app:app",
        "--new",
        "new_app:app",
        folder=project.folder,
        environ=with_packages(packages),
    )
    assert done.returncode == 0, done.stderr + done.stdout
    return project


@pytest.fixture(scope="module")
def through_gateway(project: Project, packages: Path | None) -> Iterator[str]:
    with served(project.folder, environ=with_packages(packages)) as running:
        yield running.url


@pytest.fixture(scope="module")
def through_gunicorn(project: Project, packages: Path | None) -> Iterator[str]:
    with gunicorn("legacy_app:app", project.folder, environ=with_packages(packages)) as url:
        yield url


def ask(base_url: str, method: str, path: str) -> tuple[int, list[tuple[str, str]], bytes]:
    content = b"a=1&a=2" if method in ("POST", "PUT", "PATCH") else None
    headers = {"content-type": "application/x-www-form-urlencoded"} if content else {}
    answer = httpx.request(method, base_url + path, content=content, headers=headers)
    skipped = {"date", "server", "connection", "x-served-by", "x-request-id", "set-cookie"}
    kept = [(name, value) for name, value in answer.headers.multi_items() if name not in skipped]
    port = base_url.rpartition(":")[2]
    kept = sorted((name, value.replace(port, "PORT")) for name, value in kept)
    return answer.status_code, kept, answer.content.replace(port.encode(), b"PORT")


@pytest.mark.parametrize(("method", "path"), REQUESTS)
def test_day_0_changes_nothing(through_gateway: str, through_gunicorn: str, method: str, path: str) -> None:
    ours, theirs = ask(through_gateway, method, path), ask(through_gunicorn, method, path)
    if path == "/boom":
        # Both answer Flask's own page for an unhandled error.
        assert ours[0] == theirs[0] == 500
    assert ours == theirs


def test_a_session_lives_on_through_the_gateway(through_gateway: str) -> None:
    with httpx.Client(base_url=through_gateway) as client:
        assert [client.get("/count").json()["n"] for _ in range(3)] == [1, 2, 3]


MOVED = """\
    routes:
      GET /sku/{code}: new
      GET /{word}: new
      GET /strict/: new
      GET /files/{name:path}: new
"""


@pytest.mark.parametrize(
    ("path", "backend"),
    [
        ("/sku/AB-123", "new"),
        ("/sku/ab-123", "legacy"),
        ("/something", "new"),
        ("/loose", "legacy"),
        ("/loose/", "legacy"),
        ("/strict/", "new"),
        ("/strict", "legacy"),
        ("/files/a/b", "new"),
        ("/files/a/raw", "legacy"),
        ("/pages", "legacy"),
        ("/multi", "new"),
        ("/nothing/here", "legacy"),
    ],
)
def test_what_moves_and_what_stays(moved: str, path: str, backend: str) -> None:
    answer = httpx.get(moved + path)
    assert answer.headers["x-served-by"] == backend, answer.text
    if path == "/strict":
        assert (answer.status_code, answer.headers["location"].endswith("/strict/")) == (308, True)


@pytest.fixture(scope="module")
def moved(tmp_path_factory: pytest.TempPathFactory, packages: Path | None) -> Iterator[str]:
    project = make_project(tmp_path_factory.mktemp("moved"), LEGACY, NEW, MOVED)
    with served(project.folder, environ=with_packages(packages)) as running:
        yield running.url
