"""httpbin from PyPI as the legacy app: it answers as under gunicorn, and new takes over two of its paths."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.packages import installed, with_packages
from tests.projects import Project, gateway, gunicorn, make_project, served

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HEAD = """\
version: 1
backends:
  legacy:
    wsgi: httpbin:app
  new:
    asgi: new_app:app
"""
NEW = """
    from fastapi import FastAPI

    app = FastAPI(openapi_url=None)

    @app.get("/uuid")
    async def uuid():
        return {"uuid": "from new"}

    @app.get("/status/{codes}")
    async def status(codes: str):
        return {"codes": codes}
"""
ROUTES = "routes:\n  GET /uuid: new\n  GET /status/{codes}: new\n"
# What a server says of itself, of the hour, and of the two addresses that differ.
VARYING_HEADERS = {"date", "server", "connection", "keep-alive", "x-served-by", "x-request-id"}


@pytest.fixture(scope="module")
def packages() -> Path:
    return installed("httpbin", "httpbin==0.10.4")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return make_project(tmp_path_factory.mktemp("httpbin"), "", NEW, ROUTES, HEAD)


@pytest.fixture(scope="module")
def through_gateway(project: Project, packages: Path) -> Iterator[str]:
    with served(project.folder, environ=with_packages(packages)) as running:
        yield running.url


@pytest.fixture(scope="module")
def through_gunicorn(project: Project, packages: Path) -> Iterator[str]:
    with gunicorn("httpbin:app", project.folder, environ=with_packages(packages)) as url:
        yield url


def ask(base_url: str, method: str, path: str, **options: object) -> tuple[int, list[tuple[str, str]], bytes]:
    """Return (status, headers but the varying ones, decoded body), with the two servers' ports blotted out.

    Fields of different names may stand in any order (RFC 9110, 5.3). A compressed answer holds the port as
    well, so its length says nothing.
    """
    with httpx.Client(base_url=base_url) as client:
        request = client.build_request(method, path, **options)  # type: ignore[arg-type] # httpx checks its own options
        request.headers.pop("x-request-id", None)
        answer = client.send(request, stream=True)
        body = b"".join(answer.iter_bytes())
        varying = VARYING_HEADERS | ({"content-length"} if "content-encoding" in answer.headers else set())
        headers = [(name, value) for name, value in answer.headers.multi_items() if name not in varying]
    port = base_url.rpartition(":")[2].encode()
    body = body.replace(b":" + port, b":PORT")
    body = re.sub(rb'\s*"X-Request-Id": "[^"]*",?', b"", body)
    headers.sort(key=lambda field: field[0])
    return answer.status_code, [(name, value.replace(port.decode(), "PORT")) for name, value in headers], body


CASES: dict[str, tuple[str, str, dict[str, object]]] = {
    "get": ("GET", "/get?a=1&b=%20x&a=2", {}),
    "get with headers": ("GET", "/headers", {"headers": [("X-Twice", "1"), ("X-Twice", "2")]}),
    "unicode in the query": ("GET", "/get?q=%C3%BC%FF", {}),
    "anything with odd segments": ("GET", "/anything/a%20b/%C3%BC/c%2Fd", {}),
    "form": ("POST", "/post", {"data": {"a": "1", "b": "ü"}}),
    "json": ("POST", "/post", {"json": {"a": [1, None, "ü"]}}),
    "raw bytes": ("PUT", "/put", {"content": bytes(range(256))}),
    "empty post": ("POST", "/post", {"content": b""}),
    "patch": ("PATCH", "/patch", {"content": b"x"}),
    "delete": ("DELETE", "/delete?x=1", {}),
    "chunked upload": ("POST", "/post", {"content": iter([b"one", b"two", b"three"])}),
    "a large upload": ("POST", "/post", {"content": b"x" * 300_000}),
    "head": ("HEAD", "/get", {}),
    "options": ("OPTIONS", "/get", {}),
    "wrong method": ("POST", "/get", {}),
    "not found": ("GET", "/nowhere", {}),
    "not found below a path": ("GET", "/get/further", {}),
    "slash added": ("GET", "/get/", {}),
    "double slash": ("GET", "//get", {}),
    "double slash inside": ("GET", "/anything//x", {}),
    "status as post": ("POST", "/status/418", {}),
    "status 204": ("PUT", "/status/204", {}),
    "status 304": ("DELETE", "/status/304", {}),
    "status 500": ("PATCH", "/status/500", {}),
    "redirect": ("GET", "/redirect/2", {}),
    "relative redirect": ("GET", "/relative-redirect/1", {}),
    "absolute redirect": ("GET", "/absolute-redirect/1", {}),
    "redirect-to": ("GET", "/redirect-to?url=http%3A%2F%2Fexample.com%2F&status_code=307", {}),
    "cookies set": ("GET", "/cookies/set?a=1&b=2", {}),
    "cookies sent": ("GET", "/cookies", {"headers": {"cookie": "a=1; b=2"}}),
    "cookies deleted": ("GET", "/cookies/delete?a", {}),
    "basic auth asked": ("GET", "/basic-auth/u/p", {}),
    "basic auth given": ("GET", "/basic-auth/u/p", {"headers": {"authorization": "Basic dTpw"}}),
    "bearer": ("GET", "/bearer", {"headers": {"authorization": "Bearer t"}}),
    "gzip": ("GET", "/gzip", {}),
    "deflate": ("GET", "/deflate", {}),
    "brotli": ("HEAD", "/brotli", {}),
    "encoding/utf8": ("GET", "/encoding/utf8", {}),
    "html": ("GET", "/html", {}),
    "xml": ("GET", "/xml", {}),
    "json document": ("GET", "/json", {}),
    "robots.txt": ("GET", "/robots.txt", {}),
    "deny": ("GET", "/deny", {}),
    "image": ("GET", "/image/png", {}),
    "image by accept": ("GET", "/image", {"headers": {"accept": "image/webp"}}),
    "stream of lines": ("GET", "/stream/5", {}),
    "stream of bytes": ("GET", "/stream-bytes/5000?seed=1&chunk_size=700", {}),
    "bytes": ("GET", "/bytes/2000?seed=1", {}),
    "range": ("GET", "/range/1000?chunk_size=100", {}),
    "part of a range": ("GET", "/range/1000", {"headers": {"range": "bytes=10-99"}}),
    "an impossible range": ("GET", "/range/1000", {"headers": {"range": "bytes=2000-"}}),
    "drip": ("GET", "/drip?numbytes=5&duration=0.05&delay=0", {}),
    "delay": ("GET", "/delay/0.05", {}),
    "cache": ("GET", "/cache/60", {}),
    "cache, if-modified-since": (
        "GET",
        "/cache",
        {"headers": {"if-modified-since": "Sat, 1 Jan 2028 00:00:00 GMT"}},
    ),
    "etag": ("GET", "/etag/abc", {"headers": {"if-none-match": "abc"}}),
    "etag, if-match": ("GET", "/etag/abc", {"headers": {"if-match": "other"}}),
    "response headers": ("GET", "/response-headers?X-A=1&X-A=2&Content-Type=text/plain", {}),
    "user agent": ("GET", "/user-agent", {}),
    "origin": ("GET", "/ip", {}),
    "links": ("GET", "/links/3/0", {}),
    "base64": ("GET", "/base64/SGVsbG8%3D", {}),
    "front page": ("GET", "/", {}),
    "its own description": ("GET", "/spec.json", {}),
    "static file": ("GET", "/static/favicon.ico", {}),
}


@pytest.mark.parametrize(("method", "path", "options"), CASES.values(), ids=CASES.keys())
def test_httpbin_answers_as_under_gunicorn(
    through_gateway: str, through_gunicorn: str, method: str, path: str, options: dict[str, object]
) -> None:
    if hasattr(options.get("content"), "__next__"):
        options = {"content": b"".join(options["content"])}  # type: ignore[arg-type] # one iterator feeds one request
        theirs = ask(through_gunicorn, method, path, content=iter([options["content"]]))
        ours = ask(through_gateway, method, path, content=iter([options["content"]]))
    else:
        theirs = ask(through_gunicorn, method, path, **options)
        ours = ask(through_gateway, method, path, **options)
    assert ours == theirs


@pytest.mark.parametrize(("path", "key"), [("/uuid", "uuid"), ("/status/200", "codes")])
def test_new_answers_the_two_paths_that_the_table_gives_it(through_gateway: str, path: str, key: str) -> None:
    answer = httpx.get(through_gateway + path)
    assert answer.headers["x-served-by"] == "new"
    assert key in answer.json()
    assert httpx.post(f"{through_gateway}/status/201").headers["x-served-by"] == "legacy"


def test_init_writes_a_table_for_httpbin_that_serves_unchanged(tmp_path: Path, packages: Path) -> None:
    project = make_project(tmp_path / "fresh", "", NEW, "", HEAD)
    project.table.unlink()
    environ = with_packages(packages)
    done = gateway(
        "init", "--legacy", "httpbin:app", "--new", "new_app:app", folder=project.folder, environ=environ
    )
    assert done.returncode == 0, done.stderr
    text = project.table.read_text()
    assert "GET /uuid: legacy" in text
    with served(project.folder, environ=environ) as running:
        assert httpx.get(f"{running.url}/uuid").headers["x-served-by"] == "legacy"
        assert httpx.get(f"{running.url}/anything/a/b").json()["url"].endswith("/anything/a/b")
