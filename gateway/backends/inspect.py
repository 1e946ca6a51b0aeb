"""Read what two live apps can answer off their routers, as values of :mod:`gateway.table.inventory`.

Reading changes nothing in an app and calls none of its views. What cannot be read with certainty is
reported as unknown (``is_known`` False), never guessed.
"""

from __future__ import annotations

import inspect
import re
from typing import TYPE_CHECKING, Any

from flask import Flask
from starlette.applications import Starlette
from starlette.routing import Host, Mount, Route, Router, WebSocketRoute
from werkzeug.routing import BaseConverter
from werkzeug.routing.rules import parse_converter_args

from gateway.table.inventory import Converter, LegacyInventory, LegacyRule, NewInventory, NewRoute
from gateway.table.template import merge_slashes

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from werkzeug.routing import Map, Rule

_PARAMETER = re.compile(
    r"<(?:(?P<converter>[a-zA-Z_][a-zA-Z0-9_]*)(?:\((?P<arguments>.*?)\))?:)?"
    r"(?P<name>[a-zA-Z_][a-zA-Z0-9_]*)>"
)
_NEW_PARAMETER = re.compile(r"{([a-zA-Z_][a-zA-Z0-9_]*)(?::([a-zA-Z_][a-zA-Z0-9_]*))?}")

# Wrappers that hand every request on with its path as it came, and where they keep the app.
_TRANSPARENT = {
    ("werkzeug.middleware.proxy_fix", "ProxyFix"): "app",
    ("werkzeug.middleware.lint", "LintMiddleware"): "app",
    ("werkzeug.middleware.profiler", "ProfilerMiddleware"): "_app",
    ("werkzeug.debug", "DebuggedApplication"): "app",
    ("whitenoise.base", "WhiteNoise"): "application",
}


def find_flask(app: object) -> Flask | None:
    """Return the Flask app that ``app`` is, or that a wrapper which leaves paths alone holds; else None."""
    for _ in range(10):
        if isinstance(app, Flask):
            return app
        if inspect.ismethod(app) and app.__name__ in ("wsgi_app", "__call__"):
            app = app.__self__
            continue
        attribute = _TRANSPARENT.get((type(app).__module__, type(app).__qualname__))
        if attribute is None:
            return None
        app = getattr(app, attribute, None)
    return None


def inspect_legacy(app: object) -> LegacyInventory:
    """Return every URL rule of a Flask app; ``is_known`` is False for any other WSGI callable."""
    flask_app = find_flask(app)
    if flask_app is None:
        return LegacyInventory(is_known=False)
    url_map = flask_app.url_map
    rules = tuple(_read_rule(flask_app, rule, index) for index, rule in enumerate(_in_order(url_map)))
    return LegacyInventory(
        is_known=True,
        rules=rules,
        make_converter=_ConverterMaker(url_map),
        converter_names=tuple(url_map.converters),
        has_host_matching=url_map.host_matching,
        has_merge_slashes=url_map.merge_slashes,
    )


class _ConverterMaker:
    """Build converters as the app's own map would; ``names`` are those that it knows."""

    def __init__(self, url_map: Map) -> None:
        self._url_map = url_map
        self.names = tuple(url_map.converters)

    def __call__(self, name: str, arguments: str) -> Converter:
        if name not in self._url_map.converters:
            raise LookupError(f"the legacy app has no converter called {name!r}")
        positional, named = parse_converter_args(arguments)
        try:
            made = self._url_map.converters[name](self._url_map, *positional, **named)
        except TypeError as error:
            raise ValueError(f"the converter {name!r} does not take the arguments ({arguments})") from error
        return _read_converter(made, name, arguments)


def _in_order(url_map: Map) -> Iterator[Rule]:
    """Return the rules in the order in which the map's matcher would try them; build-only ones are not there.

    The order of registration is lost once a map has been used (it sorts its rules for building), but
    the matcher's states keep what matters of it.
    """
    url_map.update()
    root = getattr(getattr(url_map, "_matcher", None), "_root", None)
    if root is None:
        yield from (rule for rule in url_map.iter_rules() if not rule.build_only)
        return
    waiting = [root]
    while waiting:
        state = waiting.pop()
        yield from state.rules
        following = [*state.static.values(), *(child for _, child in state.dynamic)]
        waiting.extend(reversed(following))


def _read_rule(app: Flask, rule: Rule, index: int) -> LegacyRule:
    words = {found["name"]: found for found in _PARAMETER.finditer(rule.rule)}
    converters = {}
    for name, made in rule._converters.items():
        found = words.get(name)
        if found is not None:
            converters[name] = _read_converter(
                made, found["converter"] or "default", found["arguments"] or ""
            )
    endpoint = str(rule.endpoint)
    view = app.view_functions.get(endpoint)
    return LegacyRule(
        rule=merge_slashes(rule.rule) if rule.merge_slashes else rule.rule,
        endpoint=endpoint,
        methods=None if rule.methods is None else frozenset(rule.methods),
        index=index,
        is_strict_slashes=bool(rule.strict_slashes),
        is_websocket=bool(rule.websocket),
        host=rule.host or "",
        subdomain=rule.subdomain or "",
        converters=converters,
        defaults=dict(rule.defaults or {}),
        blueprint=_blueprint_of(app, endpoint),
        view=place_of(view),
        doc=inspect.getdoc(_innermost(view)) or "" if view is not None else "",
    )


def _read_converter(made: BaseConverter, name: str, arguments: str) -> Converter:
    is_free = type(made).to_python is BaseConverter.to_python
    return Converter(
        name=name,
        arguments=arguments.strip(),
        regex=made.regex,
        weight=made.weight,
        is_isolating=made.part_isolating,
        to_python=None if is_free else made.to_python,
    )


def _blueprint_of(app: Flask, endpoint: str) -> str:
    name = endpoint.rpartition(".")[0]
    return name if name in app.blueprints else ""


def _innermost(view: Any) -> Any:
    """Return the function or class that a person wrote, below decorators and ``View.as_view``."""
    view = getattr(view, "view_class", view)
    try:
        return inspect.unwrap(view)
    except ValueError:  # a circle of __wrapped__
        return view


def place_of(view: Any) -> str:
    """Return ``file:line`` of a view, below its decorators; empty where that cannot be told."""
    if view is None:
        return ""
    inner = _innermost(view)
    inner = getattr(inner, "func", inner)
    code = getattr(inner, "__code__", None)
    if code is not None:
        return f"{code.co_filename}:{code.co_firstlineno}"
    try:
        return f"{inspect.getsourcefile(inner) or ''}:{inspect.getsourcelines(inner)[1]}"
    except (TypeError, OSError):
        return ""


def inspect_new(app: object) -> NewInventory:
    """Return every route of a FastAPI or Starlette app, in the order in which its router tries them.

    ``route`` of each is FastAPI's ``RouteContext`` where there is one (0.137 and later), else the route.
    ``is_known`` is False for any other ASGI callable.
    """
    router = app.router if isinstance(app, Starlette) else app
    if not isinstance(router, Router):
        return NewInventory(is_known=False)
    routes = [_read_new_route(found, index) for index, found in enumerate(_contexts(router))]
    routes.extend(_frontends(router, len(routes)))
    return NewInventory(is_known=True, routes=tuple(routes), redirects_slashes=router.redirect_slashes)


def _frontends(router: Router, index: int) -> Iterator[NewRoute]:
    """Yield what FastAPI asks last, after its slash redirects: directories of built frontends, as mounts."""
    iterate = getattr(router, "_iter_low_priority_routes", None)
    for found in iterate() if iterate is not None else ():
        prefix = getattr(found, "frontend_prefix", "")
        group = getattr(found, "original_route", found)
        for route in getattr(group, "routes", ()):
            yield NewRoute(
                path=(prefix + route.path).rstrip("/"),
                methods=frozenset(route.methods),
                index=index,
                name="frontend",
                kind="mount",
                is_in_schema=False,
                route=route,
            )
            index += 1


def _contexts(router: Router) -> Iterable[Any]:
    """Return the routes with the prefixes of the routers that include them, whatever FastAPI's version."""
    try:
        from fastapi.routing import iter_route_contexts
    except ImportError:  # before 0.137 include_router copied the routes flat
        return router.routes
    found: list[Any] = list(iter_route_contexts(router.routes))
    return found


def _read_new_route(found: Any, index: int) -> NewRoute:
    original = getattr(found, "original_route", found)
    endpoint = getattr(found, "endpoint", None) or getattr(found, "app", None)
    path = found.path
    kind, methods = "other", None
    if isinstance(original, Mount):
        kind = "mount"
    elif isinstance(original, Host):
        kind, path = "host", original.host
    elif isinstance(original, WebSocketRoute):
        kind = "websocket"
    elif isinstance(original, Route):
        kind = "route"
        methods = frozenset(found.methods) if found.methods else None
    path = path or ""
    return NewRoute(
        path=path,
        methods=methods,
        index=index,
        name=getattr(found, "name", None) or "",
        kind=kind,
        converters={name: word or "str" for name, word in _NEW_PARAMETER.findall(path)},
        endpoint=_name_of(endpoint),
        is_in_schema=bool(getattr(found, "include_in_schema", True)),
        route=found,
    )


def _name_of(endpoint: Any) -> str:
    if endpoint is None:
        return ""
    named = endpoint if hasattr(endpoint, "__qualname__") else type(endpoint)
    return f"{named.__module__}.{named.__qualname__}"
