"""Name the parts of FastAPI and Starlette that the prepared way stands on, public and private.

FastAPI matches linearly, and twice through an included router; to match once, the gateway does what
its routers do between a match and the route. What that needs of FastAPI's private parts is imported
here and nowhere else. :data:`PARTS` is None when the installed FastAPI has other parts; then
:mod:`gateway.backends.dispatch` leaves every app to its own router.
"""

from __future__ import annotations

import contextlib
import importlib
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fastapi import routing as fastapi_routing
from starlette.routing import BaseRoute, Match, Router

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.backends.base import Receive, Scope, Send

_SCOPE_KEYS = {
    "_FASTAPI_SCOPE_KEY": "fastapi",
    "_FASTAPI_EFFECTIVE_ROUTE_CONTEXT_KEY": "effective_route_context",
    "_FASTAPI_INCLUDED_ROUTER_KEY": "included_router",
}


@dataclass(frozen=True, slots=True)
class Parts:
    """Be FastAPI's private parts (0.137 and later): what an inclusion is and what it does to a scope."""

    included_router: type[Any]
    update_scope: Callable[[Any, Any], None]
    apply_form_limits: Callable[[Any, Any], None] | None
    note_route: Callable[..., None] | None
    limit_body: Callable[[Any, int | None], Any] | None


def _find_parts() -> Parts | None:
    for name, value in _SCOPE_KEYS.items():
        if getattr(fastapi_routing, name, None) != value:
            return None
    included_router = getattr(fastapi_routing, "_IncludedRouter", None)
    update_scope = getattr(fastapi_routing, "_update_scope", None)
    if included_router is None:
        return None
    return Parts(
        included_router=included_router,
        update_scope=update_scope or dict.update,
        apply_form_limits=getattr(fastapi_routing, "_apply_router_form_limits", None),
        note_route=getattr(fastapi_routing, "_route_selected", None),
        limit_body=getattr(fastapi_routing, "wrap_app_with_body_limit", None),
    )


PARTS = _find_parts()


def is_as_shipped(cls: type[Any], *names: str) -> bool:
    """Tell whether the methods that ``cls`` has under ``names`` are the code of the module they stand in.

    Error trackers and tracers put their own functions into the framework's classes; what is gone round
    must not be theirs.
    """
    for name in names:
        owner = next((each for each in cls.__mro__ if name in vars(each)), None)
        if owner is None:
            continue
        code = getattr(vars(owner)[name], "__code__", None)
        if code is None or code.co_filename != getattr(sys.modules.get(owner.__module__), "__file__", None):
            return False
    return True


def _find(module: str, name: str) -> Any:
    """Return an attribute of a module that some versions have; None in the others."""
    with contextlib.suppress(ImportError, AttributeError):
        return getattr(importlib.import_module(module), name)
    return None


# Layers that FastAPI puts round every app, and that act on errors and on mounted apps only.
INERT_LAYERS = frozenset(
    {
        _find("fastapi.telemetry._asgi", "ExceptionTelemetryMiddleware"),
        _find("fastapi._body_limit", "AppBodyLimitMiddleware"),
    }
) - {None}

# The layer that closes uploaded files after the request; older versions close them in the route.
EXIT_STACK_LAYER = _find("fastapi.middleware.asyncexitstack", "AsyncExitStackMiddleware")

# Where Starlette counts a limited body; a scope that has it stands below such a limit.
BODY_LIMIT_KEY = _find("starlette.middleware.body_limit", "MAX_BODY_SIZE_SCOPE_KEY")


class _Witness(BaseRoute):
    """Match everything, and keep the scope that a router leaves."""

    def __init__(self) -> None:
        self.scope: Scope = {}

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Match fully."""
        return Match.FULL, {}

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Keep the scope."""
        self.scope = scope


def _notes_route(router_class: type[Router]) -> bool:
    """Tell whether a router notes what matched at its top in the scope; versions differ."""
    witness = _Witness()
    scope: Scope = {"type": "http", "path": "/", "root_path": "", "method": "GET"}
    answer = router_class(routes=[witness])(scope, None, None)  # type: ignore[arg-type]  # the witness neither receives nor sends
    with contextlib.suppress(StopIteration):
        answer.send(None)  # a coroutine that never waits ends at its first step
    return "route" in witness.scope


IS_ROUTE_NOTED_BY_STARLETTE = _notes_route(Router)
IS_ROUTE_NOTED_BY_FASTAPI = _notes_route(fastapi_routing.APIRouter)
