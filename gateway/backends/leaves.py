"""Flatten a router into leaves: what can answer, in the order in which the router would ask.

A leaf knows how to ask one route and how to hand a request to it with the scope that the framework's
routers would have left. Whatever is not exactly one of the framework's own classes stays whole and is
asked through its own methods. Nothing here changes a router.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastapi.routing import APIRoute, APIRouter, APIWebSocketRoute
from starlette.routing import BaseRoute, Host, Match, Mount, Route, Router, WebSocketRoute

from gateway.backends.framework import (
    IS_ROUTE_NOTED_BY_FASTAPI,
    IS_ROUTE_NOTED_BY_STARLETTE,
    PARTS,
    is_as_shipped,
)
from gateway.backends.shapes import ANYTHING, Shape, shape_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.backends.base import Receive, Scope, Send
    from gateway.backends.framework import Parts

_FASTAPI = "fastapi"


class Leaf:
    """Be one route at the top of a router, asked and entered as the router would.

    ``has_direct_app`` tells that :attr:`app` answers a full match with nothing in between. ``source``
    holds what a match goes by: the route, or FastAPI's view of it behind inclusions.
    """

    __slots__ = (
        "_has_stock_match",
        "has_direct_app",
        "is_after_inclusion",
        "route",
        "shape",
        "source",
        "top",
    )

    def __init__(self, route: Any, shape: Shape, *, is_after_inclusion: bool) -> None:
        self.top = self.route = self.source = route
        self.shape = shape
        self.is_after_inclusion = is_after_inclusion
        self.has_direct_app = _has_stock_handle(type(route))
        self._has_stock_match = shape is not ANYTHING and _has_stock_match(type(route))

    @property
    def app(self) -> Any:
        """Return the ASGI app behind the route, as it is now."""
        return self.source.app

    @property
    def path_format(self) -> str | None:
        """Return the template, as telemetry names it."""
        return getattr(self.route, "path_format", None)

    def match(self, scope: Scope) -> tuple[Match, Any]:
        """Ask the route; return its match and what it adds to the scope."""
        answer: tuple[Match, Any] = self.route.matches(scope)
        return answer

    def match_fully(self, scope: Scope, path: str) -> Any | None:
        """Return what the route adds to the scope when it takes path and method; else None.

        ``path`` is the path below the root path. For the framework's own HTTP routes this is their
        matching without its detours.
        """
        if not self._has_stock_match:
            match, child_scope = self.match(scope)
            return child_scope if match is Match.FULL else None
        source = self.source
        found = source.path_regex.match(path) if scope["type"] == "http" else None
        if found is None or (source.methods and scope["method"] not in source.methods):
            return None
        params: dict[str, Any] = found.groupdict()
        if params:
            convertors = source.param_convertors
            for name, text in params.items():
                params[name] = convertors[name].convert(text)
        if scope.get("path_params"):
            params = {**scope["path_params"], **params}
        child_scope = {"endpoint": source.endpoint, "path_params": params}
        if isinstance(self.route, APIRoute):
            child_scope["route"] = self.route
        return child_scope

    def prepare(self, scope: Scope, child_scope: Any) -> None:
        """Leave in ``scope`` what the router leaves there before it hands over."""
        if IS_ROUTE_NOTED_BY_FASTAPI:
            scope["route"] = self.top
        if PARTS is None:
            scope.update(child_scope)
            return
        if self.is_after_inclusion:
            scope.setdefault(_FASTAPI, {})
        PARTS.update_scope(scope, child_scope)
        if PARTS.note_route is not None and "fastapi.telemetry" in scope:
            PARTS.note_route(scope=scope, path=self.path_format, mount=isinstance(self.route, Mount))

    async def enter(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand the request over to the route."""
        await self.route.handle(scope, receive, send)


class PlainLeaf(Leaf):
    """Be one route at the top of a plain Starlette router."""

    __slots__ = ()

    def prepare(self, scope: Scope, child_scope: Any) -> None:
        """Leave in ``scope`` what Starlette's router leaves there."""
        if IS_ROUTE_NOTED_BY_STARLETTE:
            scope["route"] = self.route
        scope.update(child_scope)


class IncludedLeaf(Leaf):
    """Be one route behind one or more included routers (FastAPI 0.137 and later)."""

    __slots__ = ("_chain", "_has_form_limits", "_inner", "_is_api_route", "_matches", "_parts")

    def __init__(self, parts: Parts, top: Any, chain: tuple[Any, ...], context: Any, shape: Shape) -> None:
        original = context.original_route
        super().__init__(original, shape, is_after_inclusion=True)
        self.top = top
        self._parts = parts
        self._chain = chain
        self.source = context
        self._inner = chain[-1]
        self._is_api_route = isinstance(original, APIRoute)
        is_stock = self._is_api_route and _has_stock_handle(type(original))
        self.has_direct_app = is_stock and getattr(context, "app", None) is not None
        self._has_form_limits = any(getattr(each.include_context, "form_limits", None) for each in chain)
        self._matches = context.matches
        self._has_stock_match = self._is_api_route and shape is not ANYTHING and _has_stock_match(APIRoute)
        if not self._is_api_route:
            self.route = context.starlette_route

    @property
    def path_format(self) -> str | None:
        """Return the template with the prefixes of the inclusions."""
        own = getattr(self.source.starlette_route, "path_format", None)
        return str(own or self.source.path_format)

    def match(self, scope: Scope) -> tuple[Match, Any]:
        """Ask the route as this inclusion has it."""
        match, child_scope = self._matches(scope)
        if self._is_api_route and match is not Match.NONE:
            child_scope["route"] = self.route
        return match, child_scope

    def prepare(self, scope: Scope, child_scope: Any) -> None:
        """Leave in ``scope`` what each router on the way leaves there."""
        parts = self._parts
        if IS_ROUTE_NOTED_BY_FASTAPI:
            scope["route"] = self.top
        own = scope.setdefault(_FASTAPI, {})
        if self._has_form_limits and parts.apply_form_limits is not None:
            for each in self._chain:
                parts.apply_form_limits(scope, each.include_context.form_limits)
        own["included_router"] = self._inner
        scope.update(child_scope)
        own["effective_route_context"] = self.source
        if parts.note_route is not None and "fastapi.telemetry" in scope:
            parts.note_route(scope=scope, path=self.path_format, mount=isinstance(self.route, Mount))

    async def enter(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand the request over to the route, within the body limit of its inclusion."""
        handle = self.route.handle
        if not self._is_api_route and self._parts.limit_body is not None:
            handle = self._parts.limit_body(
                handle, getattr(self._inner.include_context, "max_body_size", None)
            )
        await handle(scope, receive, send)


def flatten(router: Router) -> Iterator[Leaf]:
    """Return the leaves of ``router`` in the order in which it asks them."""
    has_inclusion = False
    for route in router.routes:
        if PARTS is not None and isinstance(route, PARTS.included_router):
            has_inclusion = True
            branch = list(_flatten_inclusion(PARTS, route, route, ()))
            if None not in branch:
                yield from (leaf for leaf in branch if leaf is not None)
                continue
            shape = ANYTHING
        else:
            shape = _shape(route)
        if isinstance(router, APIRouter):
            yield Leaf(route, shape, is_after_inclusion=has_inclusion)
        else:
            yield PlainLeaf(route, shape, is_after_inclusion=False)


def included_routers(router: Router, seen: set[int] | None = None) -> Iterator[Any]:
    """Return every router that is included below ``router``, once each."""
    seen = set() if seen is None else seen
    for route in router.routes:
        if PARTS is not None and isinstance(route, PARTS.included_router):
            original = route.original_router
            if id(original) not in seen:
                seen.add(id(original))
                yield original
                yield from included_routers(original, seen)


def _flatten_inclusion(
    parts: Parts, top: Any, inclusion: Any, chain: tuple[Any, ...]
) -> Iterator[Leaf | None]:
    """Return the leaves of one inclusion; None for one that must be left to FastAPI's own code."""
    own, stock = type(inclusion.original_router), APIRouter
    if not is_as_shipped(parts.included_router, "matches", "handle", "_match", "_handle_selected"):
        yield None
        return
    if (own.matches, own.handle) != (stock.matches, stock.handle) or type(
        inclusion
    ) is not parts.included_router:
        yield None
        return
    chain = (*chain, inclusion)
    for candidate in inclusion.effective_candidates():
        if isinstance(candidate, parts.included_router):
            yield from _flatten_inclusion(parts, top, candidate, chain)
            continue
        original, starlette_route = candidate.original_route, candidate.starlette_route
        if isinstance(original, APIRoute):
            is_stock = type(original).matches is APIRoute.matches
            shape = shape_of(candidate.path, candidate.path_regex, candidate.param_convertors)
        else:
            is_stock = starlette_route is not None
            shape = _shape(starlette_route)
        yield IncludedLeaf(parts, top, chain, candidate, shape) if is_stock else None


def _has_stock_handle(cls: type[Any]) -> bool:
    """Tell whether a class hands requests to its app exactly as FastAPI's or Starlette's own routes do."""
    is_stock = getattr(cls, "handle", None) in (APIRoute.handle, Route.handle)
    return is_stock and is_as_shipped(Route, "handle") and is_as_shipped(APIRoute, "handle")


def _has_stock_match(cls: type[Any]) -> bool:
    """Tell whether a class matches HTTP requests exactly as FastAPI's or Starlette's own routes do."""
    if not is_as_shipped(Route, "matches") or not is_as_shipped(APIRoute, "matches"):
        return False
    if cls.matches is Route.matches:
        return True
    ancestors = cls.__mro__
    return cls.matches is APIRoute.matches and ancestors[ancestors.index(APIRoute) + 1] is Route


_STOCK_MATCHING = frozenset(cls.matches for cls in (APIRoute, Route, APIWebSocketRoute, WebSocketRoute))


def _shape(route: BaseRoute | None) -> Shape:
    """Return what is certain of a route's paths; anything for a route whose way of matching is its own."""
    matches = getattr(type(route), "matches", None)
    path = getattr(route, "path", None)
    if not isinstance(path, str) or isinstance(route, Host):
        return ANYTHING
    if matches in _STOCK_MATCHING:
        return shape_of(path, getattr(route, "path_regex", None), getattr(route, "param_convertors", {}))
    if matches is Mount.matches:
        return shape_of(
            f"{path}/{{path:path}}",
            getattr(route, "path_regex", None),
            getattr(route, "param_convertors", {}),
        )
    return ANYTHING
