"""Try the prepared way against the installed framework before any app is given it.

A small app of our own is asked the same requests by the framework's own way, by the index and by the
shortcut. What its endpoints see (the whole scope), what they send and what they raise must be the
same. One difference, and every app keeps its own way: a future FastAPI may do more between a
match and its route than this gateway knows of. No endpoint of a user's app runs here.
"""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, FastAPI, HTTPException, Request, WebSocket
from starlette.applications import Starlette
from starlette.middleware.errors import ServerErrorMiddleware
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

from gateway.backends.dispatch import prepare_routers
from gateway.backends.framework import is_as_shipped
from gateway.backends.shortcut import shorten

if TYPE_CHECKING:
    from gateway.backends.base import AsgiApp, Message, Scope

_HTTP_PATHS = (
    "/plain/1 /plain/x /after/1 /one/1 /one/starlette/x /one/two/1 /one/two/x /mount/inner/1 "
    "/refuse /fail /nowhere /plain/1/"
)
_WEBSOCKET_PATHS = "/ws/1 /one/ws/1 /one/two/ws/1 /ws/nowhere"
_REQUESTS = [
    *(("http", path) for path in _HTTP_PATHS.split()),
    *(("websocket", path) for path in _WEBSOCKET_PATHS.split()),
]
_OUTER_LAYERS = (FastAPI, Starlette, ServerErrorMiddleware, ExceptionMiddleware)
_OWN_TO_A_REQUEST = ("AsyncExitStack",)


class _Try:
    """Be the small app, and keep what its endpoints see."""

    def __init__(self) -> None:
        self.seen: list[dict[str, Any]] = []
        inner, outer = APIRouter(), APIRouter()
        self.app = FastAPI(openapi_url=None, telemetry={"tracing": False, "metrics": False, "logs": False})
        for router in (inner, outer):
            router.add_api_route("/{number}", self._read)
            router.add_api_websocket_route("/ws/{number}", self._talk)
        self.app.add_api_route("/plain/{number}", self._read)
        self.app.add_api_websocket_route("/ws/{number}", self._talk)
        self.app.add_api_route("/refuse", self._refuse)
        self.app.add_api_route("/fail", self._fail)
        outer.routes.insert(0, Route("/starlette/{name}", self._show))
        outer.include_router(inner, prefix="/two")
        self.app.include_router(outer, prefix="/one", tags=["one"])
        self.app.router.routes.append(Mount("/mount", routes=[Route("/inner/{name}", self._show)]))
        self.app.add_api_route("/after/{number}", self._read)

    async def _read(self, request: Request, number: int) -> dict[str, int]:
        self.seen.append(dict(request.scope))
        return {"number": number}

    async def _show(self, request: Request) -> PlainTextResponse:
        self.seen.append(dict(request.scope))
        return PlainTextResponse("shown")

    async def _talk(self, websocket: WebSocket, number: int) -> None:
        self.seen.append(dict(websocket.scope))
        await websocket.accept()
        await websocket.close()

    async def _refuse(self) -> None:
        raise HTTPException(418, "refused")

    async def _fail(self) -> None:
        raise ZeroDivisionError

    async def outcomes(self, way: AsgiApp) -> list[tuple[str, Any]]:
        """Return what each request leads to by ``way``: what is seen, sent and raised."""
        return [(f"{kind} {path}", await self._outcome(way, kind, path)) for kind, path in _REQUESTS]

    async def _outcome(self, way: AsgiApp, kind: str, path: str) -> Any:
        self.seen.clear()
        sent: list[Message] = []
        raised = ""
        scope: Scope = {"type": kind, "path": path, "root_path": "", "query_string": b"", "headers": []}
        scope["app"] = self.app
        scope["fastapi_middleware_astack"] = AsyncExitStack()
        scope["method" if kind == "http" else "subprotocols"] = "GET" if kind == "http" else []

        async def receive() -> Message:
            return {"type": "http.request", "body": b""} if kind == "http" else {"type": "websocket.connect"}

        async def send(message: Message) -> None:
            sent.append(message)

        try:
            await way(scope, receive, send)
        except Exception as exc:
            raised = repr(exc)
        return [_comparable(each) for each in (*self.seen, scope)], sent, raised


def _comparable(scope: Scope) -> dict[str, Any]:
    """Return the scope with what is made anew for each request replaced by its type."""
    return {
        key: type(value).__name__ if type(value).__name__ in _OWN_TO_A_REQUEST else value
        for key, value in scope.items()
    }


_verdicts: list[str] = []


async def disagreement() -> str:
    """Return where the prepared way differs from the installed framework's; empty: nowhere.

    Tried once per process.
    """
    if not _verdicts:
        _verdicts.append(await _disagreement())
    return _verdicts[0]


async def _disagreement() -> str:
    try:
        tried = _Try()
        ways: list[AsgiApp] = [tried.app.router]
        if all(is_as_shipped(cls, "__call__") for cls in _OUTER_LAYERS):
            ways.append(tried.app)  # else a tracer would report these requests as the user's
        stock = [await tried.outcomes(way) for way in ways]
        prepared = prepare_routers(tried.app)
        if prepared is None or prepared.is_off:
            return "the installed FastAPI's router is not one that the gateway knows"
        short = shorten(tried.app, prepared) if len(ways) > 1 else None
        trials = list(zip(stock, ways, strict=True)) + ([(stock[1], short)] if short is not None else [])
        for outcomes, way in trials:
            for (request, expected), (_, actual) in zip(outcomes, await tried.outcomes(way), strict=True):
                if expected != actual:
                    return f"it answers {request} in another way than the installed FastAPI"
    except Exception as exc:
        return f"trying it raised {exc!r}"
    return ""
