"""Prove that the prepared way answers exactly as the app's own way does, whatever the app uses."""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING, Any

import pytest
from fastapi import FastAPI, Request
from fastapi.middleware.cors import CORSMiddleware
from fastapi.middleware.gzip import GZipMiddleware
from starlette.applications import Starlette
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

from gateway.backends.agreement import disagreement
from gateway.backends.asgi import AsgiBackend, Lifespan
from gateway.backends.inspect import inspect_new
from tests.backends.rich_app import Stamp, add_handlers, ask, build, see

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from gateway.table.inventory import NewRoute

JSON = (b"content-type", b"application/json")
FORM = (b"content-type", b"application/x-www-form-urlencoded")
MULTIPART = (b"content-type", b"multipart/form-data; boundary=b")
UPLOAD = (
    b'--b\r\nContent-Disposition: form-data; name="name"\r\n\r\nann\r\n'
    b'--b\r\nContent-Disposition: form-data; name="upload"; filename="u.txt"\r\n\r\ncontent\r\n--b--\r\n'
)
ORIGIN = (b"origin", b"http://elsewhere")

GETS = """
/users/1 /users/me /users/a%2Fb /users/ /users /numbers/7 /numbers/seven /numbers/7x /numbers/٧ /typed/7
/typed/700 /typed/x /typed/7?q=x /typed/7?q=xyz /files/ /files /files//a/b /files/a/b.txt /part/a.b
/part/ab /part/a.b.c /exact/1.5/00000000-0000-4000-8000-000000000000
/exact/1/00000000000040008000000000000000 /exact/x/y /both /headers /items /items/ /items/1 /form
/slashed /slashed/ /slashed// /bare /bare/ /many /many/ /starlette/x /class/x /starlette/x/ /depends
/depends?q=5 /raises/unicorn /raises/key /raises/value /raises/http /raises/missing /raises/nobody
/raises/group /late/unicorn /late/value /task-fails /wrong-model /overridden /basic /bearer /key /html
/redirect /file /stream /lines /events /filtered /nothing /large /openapi.json /docs
/docs/oauth2-redirect /top/x/middle/2 /top/x/middle/2/ /top/x/middle/2/name /top/x/middle/2/low
/top/x/middle/2/low/ /top/x/middle/2/low/y/z /top/x/middle/two/low/y /top/x/middle/2/low/form
/top/x/middle/2/low/plain /top/x/middle/2/mounted/q /top/x/middle/2/mounted /top/x/middle/2/mounted/
/top/x /top /top/ /classy/noting/1 /classy/choosy/1 /classy/choosy/1?choose=me /classy/handling/1
/classy/handling /direct/noting/1 /direct/choosy/1 /direct/choosy/1?choose=me /direct/handling/1
/direct/x/y?choose=me /direct/x/y /direct/x/z /own/1 /own/1?refuse /twice /again/twice /again/twice/
/twice/ /after/1 /after/1/ /after /static/a.txt /static/none.txt /static /static/ /static/../secret
/static/never /sub/t/inner/5 /sub/t/inner/x /sub/t/none /sub/t/fails /sub/t /sub/t/ /sub/t/inner/5/
/plain/x /plain/x/y /rest/of/it /rest /restless /old/users/me /old/numbers/7 /old/none /none / //
//users/1 /users/1␊ /bare␊ /slashed/␊ /numbers/7␊ /a␊/b /users// /numbers/99999999999999999999 /classy
/classy/ /é/ü /users/é
"""
TARGETS = [target.replace("␊", "\n") for target in GETS.split()] + [f"/numbers/{'1' * 5000}"]

REQUESTS: list[tuple[Any, ...]] = [
    *(("http", "GET", target) for target in TARGETS),
    *(("http", method, target) for target in TARGETS for method in ("HEAD", "POST")),
    *(("http", "OPTIONS", target) for target in TARGETS[::4]),
    *(("http", "GET", target, [ORIGIN, (b"accept-encoding", b"gzip")]) for target in TARGETS[::3]),
    ("http", "OPTIONS", "/users/1", [ORIGIN, (b"access-control-request-method", b"GET")]),
    ("http", "PUT", "/items/7?q=1", [JSON], b'{"item": {"name": "n", "tags": ["t"]}, "user": "u"}'),
    ("http", "PUT", "/items/7", [JSON], b'{"item": {"price": "x"}, "user": 1}'),
    ("http", "PUT", "/items/7", [JSON], b'{"item": '),
    ("http", "PUT", "/items/7", [], b'{"item": {"name": "n"}, "user": "u"}'),
    ("http", "POST", "/items/", [JSON], b'{"name": "n"}'),
    ("http", "POST", "/items", [JSON], b'{"name": "n"}'),
    ("http", "POST", "/form", [FORM], b"name=ann"),
    ("http", "POST", "/form", [FORM], b"other=ann"),
    ("http", "POST", "/form", [MULTIPART], UPLOAD),
    ("http", "POST", "/form", [MULTIPART], UPLOAD[:60]),
    ("http", "POST", "/top/x/middle/2/low/form", [FORM], b"name=ann"),
    ("http", "POST", "/top/x/middle/2/low/form", [FORM], b"name=" + b"x" * 5000),
    ("http", "POST", "/items/", [JSON], b'{"name": "' + b"n" * 5000 + b'"}'),
    ("http", "DELETE", "/nothing"),
    ("http", "DELETE", "/many"),
    ("http", "delete", "/many"),
    ("http", "PATCH", "/many"),
    (
        "http",
        "GET",
        "/headers",
        [(b"user-agent", b"a"), (b"x-token", b"1"), (b"x-token", b"2"), (b"cookie", b"tracker=t")],
    ),
    ("http", "GET", "/basic", [(b"authorization", b"Basic dTpw")]),
    ("http", "GET", "/bearer", [(b"authorization", b"Bearer t")]),
    ("http", "GET", "/key", [(b"x-key", b"k")]),
    ("http", "GET", "/x", [(b"host", b"a.example.org")]),
    ("http", "GET", "/users/1", [(b"host", b"a.example.org")]),
    ("http", "GET", "/none/x", [(b"host", b"a.example.org:80")]),
    ("http", "GET", "/file", [(b"range", b"bytes=1-2")]),
    ("http", "GET", "/raises/value", [(b"accept", b"text/html")]),
    *(
        ("websocket", "", f"/ws/{room}", [], text)
        for room in ("1", "x", "")
        for text in (b"hi", b"refuse", b"fail")
    ),
    *(
        ("websocket", "", target)
        for target in ("/users/1", "/top/x/middle/2/ws", "/sub/t/ws", "/none", "/rest/x", "/old/ws/1")
    ),
]


class Noted(BaseHTTPMiddleware):
    """Be a user's middleware of the common kind."""

    async def dispatch(self, request: Request, call_next: Any) -> Any:
        """Note what the request became."""
        response = await call_next(request)
        request.app.state.log.append(f"{request.method} {response.status_code}")
        response.headers["x-noted"] = str(request.scope.get("route") is not None)
        return response


def plain(files: Path) -> FastAPI:
    """Return the app as it is."""
    return build(files)


def handling(files: Path) -> FastAPI:
    """Return the app with handlers for 404, 422 and 500."""
    app = build(files)
    add_handlers(app)
    return app


def layered(files: Path) -> FastAPI:
    """Return the app below middleware of every kind."""
    app = handling(files)
    app.add_middleware(Noted)
    app.add_middleware(GZipMiddleware, minimum_size=1000)
    app.add_middleware(Stamp, name="a stamp")
    app.add_middleware(CORSMiddleware, allow_origins=["http://elsewhere"], expose_headers=["x-noted"])
    return app


def debugging(files: Path) -> FastAPI:
    """Return the app with debug pages."""
    return build(files, debug=True)


def limited(files: Path) -> FastAPI:
    """Return the app with limits on bodies and forms."""
    return build(files, max_body_size=1000, form_limits={"max_part_size": 500})


def form_limited(files: Path) -> FastAPI:
    """Return the app with limits on forms only."""
    return build(files, form_limits={"max_part_size": 500})


def without_redirects(files: Path) -> FastAPI:
    """Return the app without slash redirects."""
    return build(files, redirect_slashes=False)


def with_default(files: Path) -> FastAPI:
    """Return the app with an ASGI app of its own for what no route takes."""
    app = build(files)
    app.router.default = PlainTextResponse("the default")
    return app


def rooted(files: Path) -> FastAPI:
    """Return the app below a root path of its own."""
    app = build(files)
    app.root_path = "/old"
    return app


def below_middleware_class(files: Path) -> FastAPI:
    """Return an app whose class does something of its own with every request."""

    class Own(FastAPI):
        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            scope["own"] = True
            await super().__call__(scope, receive, send)

    app = build(files)
    app.__class__ = Own
    return app


def mounted(files: Path) -> Starlette:
    """Return a Starlette app with the app below a mount."""
    inner = build(files)
    outer = Starlette(routes=[Route("/m/users/me", _mine), Mount("/m", app=inner), Mount("", app=inner)])
    outer.state.log = inner.state.log
    return outer


async def _mine(request: Request) -> PlainTextResponse:
    return PlainTextResponse(repr(see(request)))


BUILDERS = [
    plain, handling, layered, debugging, limited, form_limited, without_redirects, with_default, rooted,
    below_middleware_class, mounted,
]  # fmt: skip


@contextlib.asynccontextmanager
async def ways(make: Callable[[], Any]) -> AsyncIterator[tuple[Any, Any, Any, Any]]:
    """Yield an app, its own way, an equal app and its prepared way; lifespans run."""
    stock, prepared = make(), make()
    lifespan = Lifespan(stock, "stock")
    await lifespan.start()
    backend = AsgiBackend(prepared)
    await backend.start()

    async def own_way(scope: Any, receive: Any, send: Any) -> None:
        scope["state"] = lifespan.state.copy()
        await stock(scope, receive, send)

    try:
        yield stock, own_way, prepared, backend
    finally:
        await backend.stop(1.0)
        await lifespan.stop(1.0)


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """Return a directory with one file."""
    (tmp_path / "a.txt").write_text("the content of a file")
    return tmp_path


async def test_the_installed_framework_is_one_that_the_prepared_way_knows() -> None:
    assert await disagreement() == ""


@pytest.mark.parametrize("has_hint", [False, True], ids=["found", "hinted"])
@pytest.mark.parametrize("builder", BUILDERS, ids=lambda builder: builder.__name__)
async def test_the_prepared_way_answers_as_the_own_way(
    builder: Callable[[Path], Any], has_hint: bool, files: Path
) -> None:
    async with ways(lambda: builder(files)) as (stock, own_way, prepared, backend):
        new_routes = inspect_new(prepared).routes
        for number, request in enumerate(REQUESTS):
            expected = await ask(own_way, *request)
            way = backend.for_route(_hint(new_routes, request[2], number)) if has_hint else backend
            actual = await ask(way, *request)
            assert comparable(actual) == comparable(expected), request
            assert prepared.state.log == stock.state.log, request


def _hint(new_routes: tuple[NewRoute, ...], target: str, number: int) -> NewRoute:
    """Return a route that matches the target's path, else any route: a wrong hint must do no harm."""
    path = target.partition("?")[0]
    fitting = [each for each in new_routes if re.fullmatch(re.sub("{[^}]*}", "[^/]+", each.path), path)]
    return (fitting or new_routes)[number % len(fitting or new_routes)]


def comparable(outcome: Any) -> Any:
    """Return an outcome without what no two ways share: the frames that a debug page shows."""
    body = b"".join(message.get("body", b"") for message in outcome["sent"])
    if b"Traceback" not in body:
        return outcome
    return [message.get("status") for message in outcome["sent"]], body.strip()[-30:], outcome["raised"]
