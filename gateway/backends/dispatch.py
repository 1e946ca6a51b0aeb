"""Give an app the prepared way to its own matching route: the cost of routing no longer grows with the app.

FastAPI asks its routes one after the other, and twice through every included router. Here an index
stands where the app calls its router. The app's own middleware, error handling and exit stacks run as
ever; only the scan is replaced, by a scan of the few routes that could match, in the same order. The
law: the same route gets the same scope. What the index does not answer with a full match (404, 405,
slash redirects, frontends, lifespans) goes to the stock router; so does everything, with one
log line, when the framework or the app holds something that the index cannot vouch for.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from fastapi.routing import APIRouter
from starlette._utils import get_route_path
from starlette.applications import Starlette
from starlette.routing import Host, Match, Mount, Router

from gateway.backends.framework import PARTS, is_as_shipped
from gateway.backends.leaves import Leaf, flatten, included_routers
from gateway.backends.shapes import PathIndex

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from gateway.backends.base import AsgiApp, Receive, Scope, Send

logger = logging.getLogger("gateway.new")

# An app that registers routes while it serves would pay for a new index each time.
_REBUILD_LIMIT = 100
# Routes of one included router that are compared with FastAPI's own choice when the index is built:
# comparing all of them costs the square of their number.
_COMPARED_PER_INCLUSION = 50


class ObservedRoutes(list[Any]):
    """Be a router's list of routes that tells when it changes."""

    def __init__(self, routes: Iterable[Any]) -> None:
        super().__init__(routes)
        self.observers: list[Callable[[], None]] = []


def _observed(name: str) -> Any:
    change = getattr(list, name)

    def observed(self: ObservedRoutes, *args: Any, **named: Any) -> Any:
        result = change(self, *args, **named)
        for observer in self.observers:
            observer()
        return result

    observed.__name__ = name
    observed.__doc__ = change.__doc__
    return observed


_CHANGES = ("append", "clear", "extend", "insert", "pop", "remove", "reverse", "sort")
for _name in (*_CHANGES, "__delitem__", "__iadd__", "__imul__", "__setitem__"):
    setattr(ObservedRoutes, _name, _observed(_name))


class Hint:
    """Name a route that is expected to match, by its object and its path with all prefixes.

    ``leaf`` is that route in the index of ``generation``, when no earlier route could match as well.
    """

    __slots__ = ("generation", "leaf", "path", "route")

    def __init__(self, route: object, path: str) -> None:
        self.route = route
        self.path = path
        self.leaf: Leaf | None = None
        self.generation = -1


class PreparedRouter:
    """Stand where an app calls its router, and find the matching route by index.

    ``stock`` is what stood there before. ``is_alone`` tells that the router has no middleware of its
    own. ``generation`` grows with every new index.
    """

    def __init__(self, router: Router, stock: AsgiApp, *, is_alone: bool) -> None:
        self.router = router
        self.stock = stock
        self.generation = 0
        self.is_off = False
        self.is_alone = is_alone
        self._index: PathIndex[Leaf] = PathIndex()
        self._leaves: dict[tuple[int, str], Leaf] = {}
        self._routes: Any = None
        self._has_changed = True
        self._form_limits = getattr(router, "form_limits", None)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand the request to its route as the router would; anything unusual to the router itself."""
        if "gateway.raise" in scope:
            await _raise_again(scope, send)
        found = None if scope["type"] == "lifespan" else self.find(scope)
        if found is None:
            await self.stock(scope, receive, send)
            return
        leaf, child_scope = found
        self.prepare(scope, leaf, child_scope)
        await leaf.enter(scope, receive, send)

    def find(self, scope: Scope) -> tuple[Leaf, Any] | None:
        """Return the first leaf that matches fully, and what it adds to the scope; None: ask the router."""
        if self._has_changed or self.router.routes is not self._routes:
            self.rebuild()
        path = get_route_path(scope) if scope.get("root_path") else scope["path"]
        for leaf in self._index.find(path) or ():
            child_scope = leaf.match_fully(scope, path)
            if child_scope is not None:
                return leaf, child_scope
        return None

    def find_for(self, hint: Hint, scope: Scope) -> tuple[Leaf, Any] | None:
        """Do as :meth:`find`, and first try the route that ``hint`` names."""
        if self._has_changed or self.router.routes is not self._routes:
            self.rebuild()
        if hint.generation != self.generation:
            self._resolve(hint)
        leaf = hint.leaf
        if leaf is not None:
            path = get_route_path(scope) if scope.get("root_path") else scope["path"]
            child_scope = leaf.match_fully(scope, path)
            if child_scope is not None:
                return leaf, child_scope
        return self.find(scope)

    def _resolve(self, hint: Hint) -> None:
        """Find the leaf that a hint means, unless an earlier route could take its requests."""
        hint.generation = self.generation
        leaf = self._leaves.get((id(hint.route), hint.path))
        rivals = self._index.rivals(leaf.shape) if leaf is not None else []
        hint.leaf = leaf if rivals and rivals[0] is leaf else None

    def prepare(self, scope: Scope, leaf: Leaf, child_scope: Any) -> None:
        """Leave in ``scope`` what the router and the routers below it would leave there."""
        if self._form_limits and PARTS is not None and PARTS.apply_form_limits is not None:
            PARTS.apply_form_limits(scope, self._form_limits)
        if "router" not in scope:
            scope["router"] = self.router
        leaf.prepare(scope, child_scope)

    def rebuild(self) -> None:
        """Build the index anew from the routes as they are now."""
        self._has_changed = False
        self._observe(self.router)
        self._routes = self.router.routes
        self.generation += 1
        if not self.is_off and self.generation > _REBUILD_LIMIT:
            self.turn_off(f"its routes changed {_REBUILD_LIMIT} times while it served")
        if self.is_off:
            return
        try:
            trouble = self._build()
        except Exception as exc:  # the router's own way raises it for the requests that it concerns
            trouble = f"indexing its routes raised {exc!r}"
        if trouble:
            self.turn_off(trouble)

    def _build(self) -> str:
        """Index the leaves; return what speaks against using the index, or nothing."""
        for router in included_routers(self.router):
            self._observe(router)
        leaves = list(flatten(self.router))
        for leaf in leaves:
            if isinstance(leaf.route, Mount | Host):
                prepare_routers(leaf.route.app)
        self._index = PathIndex((leaf.shape, leaf) for leaf in leaves)
        self._leaves = {
            (id(getattr(leaf.source, "original_route", leaf.route)), leaf.source.path): leaf
            for leaf in reversed(leaves)
            if leaf.has_direct_app
        }
        return next(self._differences(leaves), "")

    def turn_off(self, reason: str) -> None:
        """Leave every request to the stock router from now on, and say why, once."""
        self.is_off = True
        self._index = PathIndex()
        self._leaves = {}
        logger.warning("new routes by its own router, which is slower with many routes: %s", reason)

    def _observe(self, router: Any) -> None:
        routes = router.routes
        if not isinstance(routes, ObservedRoutes):
            routes = router.routes = ObservedRoutes(routes)
        if self._note_change not in routes.observers:
            routes.observers.append(self._note_change)

    def _note_change(self) -> None:
        self._has_changed = True

    def _differences(self, leaves: list[Leaf]) -> Iterator[str]:
        """Compare the index with the routers' own matching, on a sample path of each route.

        Matches only; no endpoint runs.
        """
        compared: dict[int, int] = {}
        for leaf in leaves:
            if not leaf.shape.sample:
                continue
            scope = _sample_scope(leaf)
            if leaf not in (self._index.find(leaf.shape.sample) or ()):
                yield f"the index does not find {leaf.shape.sample}"
            if leaf.match(scope)[0] is not Match.FULL:
                continue  # a route for another method or protocol than the sample's
            number = compared[id(leaf.top)] = compared.get(id(leaf.top), 0) + 1
            if number <= _COMPARED_PER_INCLUSION and leaf.top.matches(scope)[0] is not Match.FULL:
                yield f"{leaf.shape.sample} matches by the index only"


def prepare_routers(app: object) -> PreparedRouter | None:
    """Put an index before the router of ``app`` and of the apps mounted in it; None: nothing to prepare.

    A router that is not exactly FastAPI's or Starlette's keeps its own scan. Safe to call again.
    """
    router = app.router if isinstance(app, Starlette) else app
    if not isinstance(router, Router):
        return None
    if not _is_stock(type(router)):
        logger.info("%s scans its routes in its own way, which is kept", type(router).__name__)
        return None
    holder, name = _find_slot(router)
    if holder is None:
        return None
    present = getattr(holder, name)
    if isinstance(present, PreparedRouter):
        return present
    prepared = PreparedRouter(router, present, is_alone=holder is router)
    setattr(holder, name, prepared)
    prepared.rebuild()
    return prepared


def _is_stock(cls: type[Router]) -> bool:
    stock = APIRouter if issubclass(cls, APIRouter) else Router
    names = [name for name in ("__call__", "app", "handle", "matches") if hasattr(stock, name)]
    return is_as_shipped(stock, *names) and all(getattr(cls, name) is getattr(stock, name) for name in names)


def _find_slot(router: Router) -> tuple[Any, str]:
    """Return the object and attribute that hold the router's scan; the object is None when nothing does."""
    holder: Any = router
    name = "middleware_stack"
    while True:
        present = getattr(holder, name, None)
        if present is None:
            return None, name
        if isinstance(present, PreparedRouter) or present == router.app:
            return holder, name
        holder, name = present, "app"


async def _raise_again(scope: Scope, send: Send) -> None:
    """Raise what the short way could not answer, where the router would have raised it."""
    exc, is_started = scope.pop("gateway.raise")
    if is_started:
        await send({"type": "http.response.start", "status": 0, "gateway.is_replayed": True})
    raise exc


def _sample_scope(leaf: Leaf) -> Scope:
    methods = getattr(leaf.route, "methods", None)
    return {
        "type": "http" if methods or not hasattr(leaf.route, "dependant") else "websocket",
        "method": min(methods) if methods else "GET",
        "path": leaf.shape.sample,
        "root_path": "",
        "headers": [],
    }
