"""State what is read off live Flask and FastAPI apps, and what is left unknown."""

from __future__ import annotations

import functools
import inspect
from typing import TYPE_CHECKING, Any

import pytest
from fastapi import APIRouter, FastAPI, WebSocket
from flask import Blueprint, Flask
from flask.views import MethodView
from starlette.applications import Starlette
from starlette.routing import Host, Mount, Route, Router
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.middleware.proxy_fix import ProxyFix
from werkzeug.routing import BaseConverter, Rule, ValidationError

from gateway.backends.inspect import inspect_legacy, inspect_new

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from gateway.table.inventory import LegacyRule


class Sku(BaseConverter):
    """Take capitals of a given number."""

    weight = 70

    def __init__(self, url_map: Any, length: int = 3) -> None:
        super().__init__(url_map)
        self.regex = f"[A-Z]{{{length}}}"


def loud(view: Callable[..., str]) -> Callable[..., str]:
    """Decorate a view, as people do."""

    @functools.wraps(view)
    def wrapper(*args: object, **kwargs: object) -> str:
        return view(*args, **kwargs).upper()

    return wrapper


@loud
def show(**values: object) -> str:
    """Show one thing."""
    return "shown"


class Things(MethodView):
    """Hold things."""

    def get(self) -> str:
        return ""

    def post(self) -> str:
        return ""


def make_app(**settings: Any) -> Flask:
    """Return an app with a bit of everything."""
    app = Flask("legacy", static_folder=None, **settings)
    app.url_map.converters["sku"] = Sku
    app.add_url_rule("/things/<int:number>", "show", show)
    return app


def rule_of(app: object, text: str) -> LegacyRule:
    """Return the one rule spelled ``text``."""
    (found,) = [rule for rule in inspect_legacy(app).rules if rule.rule == text]
    return found


def test_a_rule_is_read_with_all_that_decides_its_matching() -> None:
    app = make_app()
    app.add_url_rule(
        "/s/<sku(length=4):code>/",
        "sku",
        show,
        methods=["POST"],
        strict_slashes=False,
        defaults={"page": 1},
    )
    rule = rule_of(app, "/s/<sku(length=4):code>/")
    assert rule.methods == frozenset(("POST", "OPTIONS"))
    assert rule.is_strict_slashes is False
    assert rule.defaults == {"page": 1}
    converter = rule.converters["code"]
    assert (converter.name, converter.arguments) == ("sku", "length=4")
    assert (converter.regex, converter.weight, converter.is_isolating) == ("[A-Z]{4}", 70, True)
    assert converter.to_python is None


def test_what_a_converter_rejects_is_known() -> None:
    app = make_app()
    app.add_url_rule("/n/<int(max=5):x>", "n", show)
    to_python = rule_of(app, "/n/<int(max=5):x>").converters["x"].to_python
    assert to_python is not None
    assert to_python("5") == 5
    with pytest.raises(ValidationError):
        to_python("6")


def test_a_view_is_found_below_its_decorators() -> None:
    rule = rule_of(make_app(), "/things/<int:number>")
    file, _, line = rule.view.rpartition(":")
    assert file == __file__
    assert int(line) == inspect.getsourcelines(inspect.unwrap(show))[1]
    assert rule.doc == "Show one thing."


def test_a_class_of_methods_is_found_too() -> None:
    app = make_app()
    app.add_url_rule("/c", view_func=Things.as_view("things"))
    rule = rule_of(app, "/c")
    assert rule.methods == frozenset(("GET", "HEAD", "POST", "OPTIONS"))
    assert rule.view == f"{__file__}:{inspect.getsourcelines(Things)[1]}"
    assert rule.doc == "Hold things."


def test_blueprints_hosts_and_subdomains_are_read() -> None:
    blueprint = Blueprint("shop", __name__, url_prefix="/shop", subdomain="api")
    blueprint.add_url_rule("/a", "a", show)
    app = make_app()
    app.register_blueprint(blueprint)
    rule = rule_of(app, "/shop/a")
    assert (rule.blueprint, rule.endpoint, rule.subdomain) == ("shop", "shop.a", "api")
    hosted = Flask("hosted", static_folder=None, host_matching=True)
    hosted.add_url_rule("/a", "a", show, host="one.example")
    assert rule_of(hosted, "/a").host == "one.example"
    assert inspect_legacy(hosted).has_host_matching


def test_build_only_rules_are_not_there_and_websocket_rules_say_so() -> None:
    app = make_app()
    app.url_map.add(Rule("/built", endpoint="built", build_only=True))
    app.url_map.add(Rule("/live", endpoint="live", websocket=True))
    assert [rule.rule for rule in inspect_legacy(app).rules if rule.is_websocket] == ["/live"]
    assert "/built" not in {rule.rule for rule in inspect_legacy(app).rules}


def test_rules_keep_the_order_in_which_werkzeug_tries_them_however_often_it_was_used() -> None:
    app = make_app()
    for number, rule in enumerate(("/o/<z>", "/o/<sku:a>", "/o/<uuid:b>", "/o/<path:c>", "/o/<int:d>")):
        app.add_url_rule(rule, f"z{9 - number}", show)
    for _ in range(3):
        app.url_map.bind("localhost").test("/o/x")
        order = [rule.rule for rule in inspect_legacy(app).rules if rule.rule.startswith("/o/")]
        assert order == ["/o/<int:d>", "/o/<sku:a>", "/o/<z>", "/o/<uuid:b>", "/o/<path:c>"]


def test_merged_slashes_are_read_as_werkzeug_reads_them() -> None:
    app = make_app()
    app.add_url_rule("/a//b", "ab", show)
    app.add_url_rule("/c//d", "cd", show, merge_slashes=False)
    assert {"/a/b", "/c//d"} <= {rule.rule for rule in inspect_legacy(app).rules}


def test_converters_are_made_as_the_app_makes_them() -> None:
    make = inspect_legacy(make_app()).make_converter
    assert make is not None
    assert make("sku", "5").regex == "[A-Z]{5}"
    assert make("any", "about, help").regex == "(?:about|help)"
    with pytest.raises(LookupError, match="no converter called 'nobody'"):
        make("nobody", "")
    with pytest.raises(ValueError, match="does not take the arguments"):
        make("sku", "nix=1")


@pytest.mark.parametrize(
    "wrap",
    [
        pytest.param(lambda app: app, id="the app"),
        pytest.param(lambda app: app.wsgi_app, id="its WSGI method"),
        pytest.param(lambda app: ProxyFix(app), id="ProxyFix around it"),
        pytest.param(lambda app: ProxyFix(app.wsgi_app), id="ProxyFix around its method"),
    ],
)
def test_wrappers_that_leave_paths_alone_are_looked_through(wrap: Callable[[Flask], object]) -> None:
    assert [rule.rule for rule in inspect_legacy(wrap(make_app())).rules] == ["/things/<int:number>"]


@pytest.mark.parametrize(
    "wrap",
    [
        pytest.param(lambda app: DispatcherMiddleware(app, {}), id="a dispatcher"),
        pytest.param(lambda app: lambda environ, start: app(environ, start), id="a function"),
        pytest.param(lambda app: None, id="nothing"),
    ],
)
def test_any_other_wsgi_callable_is_unknown(wrap: Callable[[Flask], object]) -> None:
    inventory = inspect_legacy(wrap(make_app()))
    assert (inventory.is_known, inventory.rules, inventory.make_converter) == (False, (), None)


def test_an_app_whose_wsgi_app_is_wrapped_is_still_the_app() -> None:
    app = make_app()
    app.wsgi_app = ProxyFix(app.wsgi_app)  # type: ignore[method-assign] # what Flask's documentation says to do
    assert inspect_legacy(app).is_known


def new_app() -> FastAPI:
    """Return an app with routers in routers, a mount and a websocket."""
    app = FastAPI()
    outer = APIRouter(prefix="/v1")
    inner = APIRouter()

    @inner.get("/things/{number:int}")
    async def thing(number: int) -> None: ...

    @outer.websocket("/live/{room}")
    async def live(websocket: WebSocket) -> None: ...

    @app.post("/first")
    async def first() -> None: ...

    outer.include_router(inner, prefix="/inner")
    app.include_router(outer)
    app.include_router(inner, prefix="/again")
    app.mount("/files", Starlette())

    @app.api_route("/last", methods=["GET", "PUT"], include_in_schema=False)
    async def last() -> None: ...

    return app


def test_routes_come_flat_with_their_prefixes_in_the_order_of_asking() -> None:
    inventory = inspect_new(new_app())
    assert inventory.is_known
    own = [route for route in inventory.routes if route.path not in ("/docs", "/redoc", "/openapi.json")]
    assert [(route.kind, route.path) for route in own if "oauth2" not in route.path] == [
        ("route", "/first"),
        ("websocket", "/v1/live/{room}"),
        ("route", "/v1/inner/things/{number:int}"),
        ("route", "/again/things/{number:int}"),
        ("mount", "/files"),
        ("route", "/last"),
    ]
    assert [route.index for route in inventory.routes] == list(range(len(inventory.routes)))


def test_a_route_is_read_with_methods_converters_and_endpoint() -> None:
    routes = {route.path: route for route in inspect_new(new_app()).routes}
    thing = routes["/again/things/{number:int}"]
    assert thing.methods == frozenset(("GET",))
    assert thing.converters == {"number": "int"}
    assert thing.endpoint.endswith("new_app.<locals>.thing")
    assert thing.name == "thing"
    assert routes["/last"].methods == frozenset(("GET", "PUT"))
    assert routes["/last"].is_in_schema is False
    assert routes["/files"].methods is None


def test_frontends_are_mounts_that_are_asked_last(tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("")
    app = FastAPI()
    if not hasattr(app, "frontend"):
        pytest.skip("this FastAPI knows no frontends")
    app.frontend("/ui", directory=tmp_path)

    @app.get("/ui/api")
    async def api() -> None: ...

    last = inspect_new(app).routes[-1]
    assert (last.kind, last.path, last.is_in_schema) == ("mount", "/ui", False)


def test_fastapis_own_pages_are_listed_outside_the_schema() -> None:
    routes = {route.path: route for route in inspect_new(FastAPI()).routes}
    for path in ("/docs", "/redoc", "/openapi.json"):
        assert routes[path].is_in_schema is False


def test_starlette_apps_and_routers_are_read_too() -> None:
    async def view(request: object) -> None: ...

    routes = [Route("/a", view), Host("api.example", Router()), Mount("/m", routes=[])]
    for app in (Starlette(routes=routes), Router(routes, redirect_slashes=False)):
        inventory = inspect_new(app)
        assert [route.kind for route in inventory.routes] == ["route", "host", "mount"]
        assert inventory.routes[0].methods == frozenset(("GET", "HEAD"))
    assert inspect_new(Router(routes, redirect_slashes=False)).redirects_slashes is False


def test_any_other_asgi_callable_is_unknown() -> None:
    async def app(scope: object, receive: object, send: object) -> None: ...

    assert inspect_new(app).is_known is False
    assert inspect_new(None).is_known is False
