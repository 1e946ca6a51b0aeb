"""Build small tables and apps for the tests of the matcher and of compilation."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import TYPE_CHECKING, Any

from flask import Flask
from starlette.responses import PlainTextResponse
from starlette.routing import BaseRoute, Mount, Route, Router, WebSocketRoute

from gateway.backends.inspect import inspect_legacy, inspect_new
from gateway.table.compile import Compiled, compile_table
from gateway.table.inventory import LegacyInventory, NewInventory
from gateway.table.spec import BackendSpec, CompareRule, RouteSpec, Stage, TableSpec

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.table.route import Route as TableRoute

TODAY = date(2026, 11, 22)
UNKNOWN_LEGACY = LegacyInventory(is_known=False)
UNKNOWN_NEW = NewInventory(is_known=False)


def view(**values: object) -> str:
    """Answer any request of any rule."""
    return ""


def flask_app(*rules: str | tuple[str, dict[str, Any]], **settings: Any) -> Flask:
    """Return a Flask app; a rule is ``METHODS RULE``, alone or with options of ``add_url_rule``."""
    app = Flask("legacy", static_folder=None, **settings)
    add_rules(app, rules)
    return app


def add_rules(app: Flask, rules: Iterable[str | tuple[str, dict[str, Any]]]) -> None:
    """Register rules, each under an endpoint of its own."""
    for number, each in enumerate(rules):
        text, options = (each, {}) if isinstance(each, str) else each
        methods, _, rule = text.partition(" ")
        app.add_url_rule(rule, f"e{number}", view, methods=methods.split(","), **options)


async def answer(request: object) -> PlainTextResponse:
    """Answer any request of any route."""
    return PlainTextResponse("")


def new_router(*routes: str, **settings: Any) -> Router:
    """Return a Starlette router; a route is ``METHODS PATH``, ``WS PATH`` or ``MOUNT PATH``."""
    made: list[BaseRoute] = []
    for text in routes:
        methods, _, path = text.partition(" ")
        if methods == "WS":
            made.append(WebSocketRoute(path, answer))
        elif methods == "MOUNT":
            made.append(Mount(path, routes=[]))
        else:
            made.append(Route(path, answer, methods=methods.split(",")))
    return Router(made, **settings)


def row(key: str, stage: str = "legacy", line: int = 0, **options: Any) -> RouteSpec:
    """Return a row as the reader would."""
    methods, _, path = key.partition(" ")
    return RouteSpec(key, key, line, tuple(methods.split(",")), path, Stage(stage), **options)


def table(rows: Mapping[str, str] | Iterable[RouteSpec], **settings: Any) -> TableSpec:
    """Return a table; rows may be written as ``{key: stage}``, and count lines from 1."""
    if isinstance(rows, Mapping):
        rows = [row(key, stage, line) for line, (key, stage) in enumerate(rows.items(), 1)]
    return TableSpec(
        "routing.yaml",
        "",
        BackendSpec("legacy", "wsgi", "legacy:app"),
        BackendSpec("new", "asgi", "new:app"),
        tuple(rows),
        **settings,
    )


def compiled(
    rows: Mapping[str, str] | Iterable[RouteSpec] = (),
    legacy: object = None,
    new: object = None,
    **settings: Any,
) -> Compiled:
    """Compile a table against live apps; an app that is None is unknown."""
    return compile_table(
        table(rows, **settings),
        UNKNOWN_LEGACY if legacy is None else inspect_legacy(legacy),
        UNKNOWN_NEW if new is None else inspect_new(new),
        generation=1,
        today=TODAY,
    )


def key_of(route: TableRoute | None) -> str | None:
    """Return a route's key, for comparing."""
    return None if route is None else route.key


def waiver(until: date, line: int = 0) -> CompareRule:
    """Return a waiver that expires on ``until``."""
    return CompareRule("$.a", "ignore", "the clock", until, line=line)
