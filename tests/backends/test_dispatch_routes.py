"""Prove that the index finds what a scan finds, for any routes, also those that come and go later."""

from __future__ import annotations

import functools
import itertools
import logging
import re
from typing import Any

import pytest
from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import FastAPIError
from fastapi.routing import APIRoute
from hypothesis import HealthCheck, given, reject, settings
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.convertors import CONVERTOR_TYPES, StringConvertor
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.responses import PlainTextResponse
from starlette.routing import Match, Mount, Route, Router, compile_path

from gateway.backends import agreement, asgi
from gateway.backends.asgi import AsgiBackend, prepare
from gateway.backends.dispatch import ObservedRoutes, PreparedRouter, prepare_routers
from gateway.backends.inspect import inspect_new
from gateway.backends.leaves import Leaf
from gateway.backends.shapes import ANYTHING, PathIndex, shape_of
from gateway.backends.shortcut import Shortcut, shorten
from tests.backends.rich_app import ask

WORDS = ["a", "b", "1", "2.5", "", "a.b", "a-b", "é", "a\n", "00000000-0000-4000-8000-000000000000"]
PIECES = [
    *WORDS[:8],
    "{p}",
    "{p:int}",
    "{p:float}",
    "{p:uuid}",
    "{p:path}",
    "{p:odd}",
    "{p}.{q}",
    "v{p:int}",
    "x{p:path}",
]


class OddConvertor(StringConvertor):
    """Be a custom converter whose values span segments."""

    regex = "[ab/]+"


@pytest.fixture(autouse=True)
def _odd_convertor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(CONVERTOR_TYPES, "odd", OddConvertor())


def _named_once(pieces: list[str]) -> str:
    """Return a template of ``pieces`` with a name of its own for each parameter."""
    numbers = itertools.count()
    return re.sub(r"{\w", lambda _: f"{{n{next(numbers)}", "".join(f"/{piece}" for piece in pieces))


templates = st.lists(st.sampled_from(PIECES), min_size=1, max_size=4).map(_named_once)
paths = st.lists(st.sampled_from(WORDS), min_size=0, max_size=5).map(
    lambda words: "/" + "/".join(words)
) | st.text(alphabet="/ab1.\n", max_size=8)


@settings(max_examples=400, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(templates, min_size=1, max_size=12), st.lists(paths, min_size=1, max_size=12))
def test_the_index_never_hides_a_route_that_matches(table: list[str], asked: list[str]) -> None:
    compiled = [compile_path(template) for template in table]
    shapes = [shape_of(template, each[0], each[2]) for template, each in zip(table, compiled, strict=True)]
    assert ANYTHING not in [
        shape for shape, template in zip(shapes, table, strict=True) if template[:2] == "/a"
    ]
    index = PathIndex(zip(shapes, range(len(table)), strict=True))
    for path in [
        *asked,
        *(shape.sample + end for shape in shapes for end in ("", "/", "\n") if shape.sample),
    ]:
        found = index.find(path)
        matching = [number for number, each in enumerate(compiled) if each[0].match(path)]
        if found is None:
            assert path[:1] != "/" or path.endswith("\n")
        else:
            assert [number for number in found if number in matching] == matching
            assert found == sorted(found)
            for number in matching:
                assert set(matching) <= set(index.rivals(shapes[number]))
    for shape, each in zip(shapes, compiled, strict=True):
        assert not shape.sample or each[0].match(shape.sample)


async def _tell(request: Request) -> PlainTextResponse:
    scope = request.scope
    route = scope.get("route")
    told = (type(route).__name__, getattr(route, "path", ""), scope["path_params"], scope["root_path"])
    return PlainTextResponse(repr((*told, sorted(scope.get("fastapi", ())))))


async def _echo(scope: Any, receive: Any, send: Any) -> None:
    await PlainTextResponse(f"{scope['root_path']} {scope['path']}")(scope, receive, send)


tables = st.recursive(
    st.lists(
        st.tuples(
            st.sampled_from(["api", "starlette", "mount"]), templates, st.sampled_from(["GET", "POST"])
        ),
        max_size=6,
    ),
    lambda below: st.lists(
        st.tuples(st.just("include"), st.sampled_from(["", "/a", "/b", "/1"]), below)
        | st.tuples(
            st.sampled_from(["api", "starlette", "mount"]), templates, st.sampled_from(["GET", "POST"])
        ),
        min_size=1,
        max_size=5,
    ),
    max_leaves=8,
)


def _fill(router: Any, table: Any) -> Any:
    for kind, path, more in table:
        if kind == "include":
            router.include_router(_fill(APIRouter(), more), prefix=path)
        elif kind == "api":
            router.add_api_route(path, _tell, methods=[more])
        elif kind == "starlette":
            router.add_route(path, _tell, methods=[more])
        else:
            router.mount(path, _echo)
    return router


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    table=tables,
    asked=st.lists(paths, min_size=1, max_size=8),
    method=st.sampled_from(["GET", "POST", "HEAD"]),
)
async def test_any_table_answers_any_path_as_the_own_way(table: Any, asked: list[str], method: str) -> None:
    try:
        stock, prepared = _fill(FastAPI(openapi_url=None), table), _fill(FastAPI(openapi_url=None), table)
    except FastAPIError:
        reject()  # a mount at the root of a router without a prefix
    way = await prepare(prepared)
    indexed = prepare_routers(prepared)
    assert isinstance(way, Shortcut)
    assert indexed is not None
    assert not indexed.is_off
    backend = AsgiBackend(prepared)
    backend._shortcut = way
    hinted = [backend.for_route(new_route) for new_route in inspect_new(prepared).routes]
    for path in asked:
        expected = await ask(stock, "http", method, path)
        for each in hinted:
            assert await ask(each, "http", method, path) == expected
        assert await ask(way, "http", method, path) == expected
        assert await ask(prepared, "http", method, path) == expected


def routes_of(number: int) -> FastAPI:
    """Return an app with ``number`` routes, every second one in a router of its own."""
    app = FastAPI()
    for each in range(number):
        router: Any = APIRouter() if each % 2 else app
        router.add_api_route(f"/resource{each}/{{key}}", _tell)
        if router is not app:
            app.include_router(router)
    return app


async def body_of(way: Any, path: str) -> bytes:
    """Return the body of the answer to a GET."""
    outcome = await ask(way, "http", "GET", path)
    return b"".join(message.get("body", b"") for message in outcome["sent"])


async def test_a_route_that_matches_never_costs_a_scan() -> None:
    app = routes_of(40)
    way = await prepare(app)
    indexed = prepare_routers(app)
    assert indexed is not None

    async def never(scope: Any, receive: Any, send: Any) -> None:
        raise AssertionError("the stock router was asked")

    indexed.stock = never
    for each in range(40):
        assert b"key" in await body_of(way, f"/resource{each}/1")
        assert b"key" in await body_of(app, f"/resource{each}/1")


@pytest.mark.parametrize("has_hint", [False, True], ids=["found", "hinted"])
async def test_the_number_of_routes_asked_does_not_grow_with_the_app(
    has_hint: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    original = Leaf.match_fully

    def counting(self: Leaf, scope: Any, path: str) -> Any:
        asked.append(self.route.path)
        return original(self, scope, path)

    app = routes_of(200)
    backend = AsgiBackend(app)
    await backend.start()
    hinted = [each for each in inspect_new(app).routes if each.path == "/resource150/{key}"]
    way: Any = backend.for_route(hinted[0]) if has_hint else backend
    monkeypatch.setattr(Leaf, "match_fully", counting)
    await body_of(way, "/resource150/1")
    assert asked == ["/resource150/{key}"]
    await backend.stop(1.0)


async def test_a_hint_never_overrules_a_route_that_ends_before_a_newline() -> None:
    app = FastAPI()
    app.add_api_route("/a", _tell)
    _add(app, "/a\n")
    backend = AsgiBackend(app)
    await backend.start()
    assert backend._shortcut is not None
    for new_route in inspect_new(app).routes:
        assert b"/a" in await body_of(backend.for_route(new_route), "/a\n")
    await backend.stop(1.0)


async def test_a_hint_never_overrules_an_earlier_route() -> None:
    app = FastAPI()
    app.add_api_route("/users/{key}", _tell)
    _add(app, "/users/me")
    backend = AsgiBackend(app)
    await backend.start()
    for new_route in inspect_new(app).routes:
        assert b"key" in await body_of(backend.for_route(new_route), "/users/me")
    app.router.routes.insert(0, app.router.routes.pop())
    for new_route in inspect_new(app).routes:
        assert await body_of(backend.for_route(new_route), "/users/me") == b'"late"'
    await backend.stop(1.0)


def _add(app: FastAPI, path: str, *, first: bool = False) -> None:
    async def late() -> str:
        return "late"

    app.add_api_route(path, late)
    if first:
        app.router.routes.insert(0, app.router.routes.pop())


async def test_routes_that_are_added_removed_and_moved_later_count_at_once() -> None:
    app = FastAPI()
    router, inner = APIRouter(), APIRouter()
    app.add_api_route("/things/{key}", _tell)
    router.include_router(inner, prefix="/inner")
    app.include_router(router, prefix="/outer")
    way = await prepare(app)
    indexed = prepare_routers(app)
    assert indexed is not None
    assert b"key" in await body_of(way, "/things/new")

    _add(app, "/things/new")
    assert b"key" in await body_of(way, "/things/new"), "the earlier route still wins"
    _add(app, "/things/new", first=True)
    assert await body_of(way, "/things/new") == b'"late"'
    app.router.routes.pop(0)
    assert b"key" in await body_of(way, "/things/new")

    assert b"Not Found" in await body_of(way, "/outer/inner/x")
    inner.add_api_route("/x", _tell)
    assert b"/x" in await body_of(way, "/outer/inner/x")
    later = APIRouter()
    router.include_router(later, prefix="/later")
    later.add_api_route("/y", _tell)
    assert b"/y" in await body_of(way, "/outer/later/y")
    later.add_api_route("/z", _tell)
    assert b"/z" in await body_of(way, "/outer/later/z")

    app.router.routes = [Route("/only", _tell)]
    assert b"{}" in await body_of(way, "/only")
    assert b"Not Found" in await body_of(way, "/things/new")
    assert not indexed.is_off


async def test_an_app_that_keeps_changing_its_routes_is_left_to_its_own_router(
    caplog: pytest.LogCaptureFixture,
) -> None:
    app = FastAPI()
    way = await prepare(app)
    with caplog.at_level(logging.WARNING, "gateway.new"):
        for each in range(150):
            _add(app, f"/added/{each}")
            assert await body_of(way, f"/added/{each}") == b'"late"'
    assert [record.name for record in caplog.records] == ["gateway.new"]
    assert "changed 100 times" in caplog.text


async def test_an_app_whose_routes_cannot_be_indexed_is_left_to_its_own_router(
    caplog: pytest.LogCaptureFixture,
) -> None:
    app, router, inner = FastAPI(), APIRouter(), APIRouter()
    inner.add_api_route("/{key}", _tell)
    router.include_router(inner, prefix="/{key}")
    app.add_api_route("/fine", _tell)
    app.include_router(router, prefix="/checked-late")
    assert await prepare(app) is None
    assert "Duplicated param name" in caplog.text
    assert b"fine" in await body_of(app, "/fine")


async def test_a_router_that_scans_in_its_own_way_keeps_it() -> None:
    class Backwards(Router):
        async def app(self, scope: Any, receive: Any, send: Any) -> None:
            for route in reversed(self.routes):
                match, child_scope = route.matches(scope)
                if match is Match.FULL:
                    scope.update(child_scope, route=route)
                    await route.handle(scope, receive, send)
                    return

    router = Backwards([Route("/{x}", _tell), Route("/y", _tell)])
    assert prepare_routers(router) is None
    app = Starlette()
    app.router = router
    assert await prepare(app) is None
    assert b"/y" in await body_of(app, "/y")


async def test_preparing_twice_changes_nothing_more() -> None:
    app = routes_of(4)
    first = prepare_routers(app)
    assert first is prepare_routers(app)
    assert isinstance(first, PreparedRouter)
    assert not isinstance(first.stock, PreparedRouter)


async def test_a_plain_asgi_app_is_called_as_it_is() -> None:
    assert await prepare(_echo) is None


async def test_a_framework_that_behaves_in_another_way_is_left_alone(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def differs() -> str:
        return "it answers /x in another way"

    monkeypatch.setattr(asgi, "disagreement", differs)
    app = routes_of(4)
    routes = list(app.router.routes)
    assert await prepare(app) is None
    assert "in another way" in caplog.text
    assert app.router.routes == routes
    assert type(app.router.routes) is list


async def test_middleware_that_wraps_a_built_stack_ends_the_shortcut() -> None:
    app = routes_of(4)
    way = await prepare(app)
    await body_of(way, "/resource1/1")
    seen = []
    stack = app.middleware_stack
    assert stack is not None

    async def wrapped(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope["path"])
        await stack(scope, receive, send)

    app.middleware_stack = wrapped
    assert b"key" in await body_of(way, "/resource1/1")
    assert seen == ["/resource1/1"]


@pytest.mark.parametrize(
    ("cls", "name"),
    [(Starlette, "__call__"), (FastAPI, "__call__"), (ExceptionMiddleware, "__call__"), (APIRoute, "handle"),
     (Route, "handle"), (APIRoute, "matches"), (Route, "matches"), (Router, "__call__"), (APIRouter, "app")],
    ids=lambda value: getattr(value, "__name__", value),
)  # fmt: skip
async def test_what_a_tracer_puts_into_the_framework_is_never_gone_round(
    cls: type[Any], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await agreement.disagreement()
    seen: list[str] = []
    original = getattr(cls, name)

    @functools.wraps(original)
    def traced(self: Any, *args: Any) -> Any:
        seen.append(name)
        return original(self, *args)

    monkeypatch.setattr(cls, name, traced)
    app = FastAPI()
    app.add_api_route("/x", _tell)
    app.router.routes.append(Route("/y", _tell))
    backend = AsgiBackend(app)
    await backend.start()
    for path in ("/x", "/y"):
        expected = await ask(app, "http", "GET", path)
        seen.clear()
        assert await ask(backend, "http", "GET", path) == expected
        if cls is not APIRoute or path == "/x":
            assert seen
    await backend.stop(1.0)


async def test_trying_the_framework_shows_a_tracer_no_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []

    async def traced(self: Any, scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope["path"])

    monkeypatch.setattr(ExceptionMiddleware, "__call__", traced)
    monkeypatch.setattr(agreement, "_verdicts", [])
    assert await agreement.disagreement() == ""
    assert seen == []


def test_observed_routes_are_a_list_that_tells_of_every_change() -> None:
    changes: list[int] = []
    routes = ObservedRoutes([3, 1, 2])
    routes.observers.append(lambda: changes.append(1))
    assert routes == [3, 1, 2]

    mutations: list[tuple[str, Any]] = [
        ("append", 4), ("__setitem__", (0, 9)), ("insert", (0, 0)), ("extend", [5]), ("remove", 1),
        ("pop", ()), ("__delitem__", 0), ("__iadd__", [7]), ("__imul__", 2), ("sort", ()),
        ("reverse", ()), ("clear", ()),
    ]  # fmt: skip
    for number, (name, arguments) in enumerate(mutations, start=1):
        getattr(routes, name)(*(arguments if isinstance(arguments, tuple) else (arguments,)))
        assert len(changes) == number, name


async def test_requests_are_seen_by_telemetry_as_soon_as_it_is_configured() -> None:
    app = routes_of(4)
    indexed = prepare_routers(app)
    way = shorten(app, indexed)
    assert way is not None
    seen: list[Any] = []

    class Telemetry:
        is_on = False

        def enabled(self) -> bool:
            return self.is_on

        async def __call__(self, *, app: Any, scope: Any, receive: Any, send: Any, **more: Any) -> None:
            seen.append(scope["path"])
            await app(scope, receive, send)

    app._native_telemetry = Telemetry()  # type: ignore[assignment]  # FastAPI's own needs a configured SDK
    way = shorten(app, indexed)
    await body_of(way, "/resource1/1")
    assert not seen
    Telemetry.is_on = True
    way = shorten(app, indexed)
    await body_of(way, "/resource1/1")
    assert seen == ["/resource1/1"]


async def test_a_backend_serves_its_routes_by_the_shortcut() -> None:
    backend = AsgiBackend(routes_of(4))
    await backend.start()
    try:
        assert isinstance(backend._shortcut, Shortcut)
        assert b"key" in await body_of(backend, "/resource3/1")
    finally:
        await backend.stop(1.0)


async def test_mounted_apps_are_prepared_too() -> None:
    sub = routes_of(4)
    app = FastAPI()
    app.mount("/sub", sub)
    app.router.routes.append(Mount("/plain", routes=[Route("/x", _tell)]))
    await prepare(app)
    assert isinstance(sub.router.middleware_stack, PreparedRouter)
    assert b"key" in await body_of(app, "/sub/resource1/1")
