"""Call the matching route below the app's own outer layers, when those layers would do nothing.

An app without user middleware passes each request through half a dozen framework layers that only act
on errors. The shortcut goes round them on the way in. When an exception comes out, it is raised again
at the bottom of the app's own stack, so that the app's error handling answers and logs as ever.
It is taken only when every layer is known by its exact class; the rest takes the app's own way.
"""

from __future__ import annotations

import time
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.middleware.errors import ServerErrorMiddleware
from starlette.middleware.exceptions import ExceptionMiddleware

from gateway.backends.framework import BODY_LIMIT_KEY, EXIT_STACK_LAYER, INERT_LAYERS, is_as_shipped

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from gateway.backends.base import AsgiApp, Message, Receive, Scope, Send
    from gateway.backends.dispatch import Hint, PreparedRouter
    from gateway.backends.leaves import Leaf

# Telemetry may be configured while the app runs; asking for it costs more than matching the route.
_TELEMETRY_CHECK_S = 0.5


class Shortcut:
    """Be ``app`` by the shortest way that gives the app's own answer."""

    def __init__(self, app: Starlette, prepared: PreparedRouter) -> None:
        self.app = app
        self._prepared = prepared
        self._stack: AsgiApp | None = None
        self._handlers: Any = None
        self._has_exit_stack = False
        self._has_root_path = isinstance(app, FastAPI)
        self._telemetry = getattr(app, "_native_telemetry", None)
        self._has_telemetry = False
        self._telemetry_checked_s = float("-inf")

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Answer as ``app`` does."""
        return self.answer(None, scope, receive, send)

    def answer(self, hint: Hint | None, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Answer as ``app`` does; ``hint`` names the route that is expected to."""
        found = self._find(hint, scope)
        if found is None:
            return self.app(scope, receive, send)
        leaf, child_scope = found
        scope["app"] = self.app
        scope["starlette.exception_handlers"] = self._handlers
        self._prepared.prepare(scope, leaf, child_scope)
        return self._enter(leaf, scope, receive, send)

    async def _enter(self, leaf: Leaf, scope: Scope, receive: Receive, send: Send) -> None:
        """Call the route; let the app's own layers answer what it raises."""
        is_started = False

        async def send_noting_start(message: Message) -> None:
            nonlocal is_started
            if message["type"] == "http.response.start":
                is_started = True
            await send(message)

        try:
            if self._has_exit_stack:
                async with AsyncExitStack() as stack:
                    scope["fastapi_middleware_astack"] = stack
                    await leaf.app(scope, receive, send_noting_start)
            else:
                await leaf.app(scope, receive, send_noting_start)
            return
        except Exception as exc:
            failure = exc
        try:
            await self._fail(failure, scope, receive, send, is_started=is_started)
        finally:
            del failure  # its traceback holds this frame

    def _find(self, hint: Hint | None, scope: Scope) -> tuple[Leaf, Any] | None:
        """Return the leaf to call and what it adds to the scope; None: take the app's own way."""
        app = self.app
        if app.middleware_stack is not self._stack:
            self._look_at_layers()
        if self._handlers is None or scope["type"] != "http":
            return None
        if "fastapi.telemetry" in scope or BODY_LIMIT_KEY in scope or self._is_observed():
            return None
        if self._has_root_path and app.root_path:  # type: ignore[attr-defined]  # FastAPI, as has_root_path says
            scope["root_path"] = app.root_path  # type: ignore[attr-defined]  # the same
        try:
            found = self._prepared.find(scope) if hint is None else self._prepared.find_for(hint, scope)
        except Exception:
            return None  # a converter raised; the app's own way raises it where its handlers see it
        return found if found is not None and found[0].has_direct_app else None

    def _is_observed(self) -> bool:
        """Tell whether the app's telemetry wants to see its requests."""
        if self._telemetry is None:
            return False
        now_s = time.monotonic()
        if now_s - self._telemetry_checked_s > _TELEMETRY_CHECK_S:
            self._telemetry_checked_s = now_s
            self._has_telemetry = bool(self._telemetry.enabled())
        return self._has_telemetry

    def _look_at_layers(self) -> None:
        """Learn from the app's built stack whether all of its layers may be gone round."""
        layer: Any = self.app.middleware_stack
        self._stack, self._handlers, self._has_exit_stack = layer, None, False
        handlers = None
        is_outermost = True
        while layer is not None and layer is not self.app.router:
            kind = type(layer)
            if not is_as_shipped(kind, "__call__"):
                return
            if kind is ExceptionMiddleware:
                handlers = (layer._exception_handlers, layer._status_handlers)
            elif kind is EXIT_STACK_LAYER and layer.context_name == "fastapi_middleware_astack":
                self._has_exit_stack = True
            elif not (kind is ServerErrorMiddleware and is_outermost) and kind not in INERT_LAYERS:
                return
            is_outermost = False
            layer = layer.app
        if layer is not None:
            self._handlers = handlers

    async def _fail(
        self, exc: Exception, scope: Scope, receive: Receive, send: Send, *, is_started: bool
    ) -> None:
        """Let the app's own layers answer ``exc``, as if the route had just raised it below them."""

        async def send_but_the_replayed(message: Message) -> None:
            if "gateway.is_replayed" not in message:
                await send(message)

        scope["gateway.raise"] = (exc, is_started)
        assert self._stack is not None  # noqa: S101 - a shortcut is only taken below a stack
        await self._stack(scope, receive, send_but_the_replayed)


def shorten(app: object, prepared: PreparedRouter | None) -> Shortcut | None:
    """Return the short way to ``app``; None when the app's own entry point is not the framework's."""
    if prepared is None or prepared.is_off or not isinstance(app, Starlette):
        return None
    stock = FastAPI if isinstance(app, FastAPI) else Starlette
    if type(app).__call__ is not stock.__call__ or app.router is not prepared.router:
        return None
    if not is_as_shipped(stock, "__call__") or not is_as_shipped(Starlette, "__call__"):
        return None
    if not prepared.is_alone:
        return None
    return Shortcut(app, prepared)
