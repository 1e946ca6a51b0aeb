"""Word the gateway's own errors as the legacy app would: through its own error handlers."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from flask import Flask
from werkzeug.exceptions import HTTPException, default_exceptions
from werkzeug.http import HTTP_STATUS_CODES

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from gateway.backends.base import Scope


def legacy_shape_of(
    app: object | None,
) -> Callable[[Scope, int, str], Awaitable[tuple[bytes, bytes] | None]] | None:
    """Return what words an error as ``app`` does, or None when ``app`` is not a Flask app in this process.

    The result takes (scope, status, detail) and returns (content type, body). The app's handlers run in
    a thread, for they may block.
    """
    if not isinstance(app, Flask):
        return None

    async def shape(scope: Scope, status: int, detail: str) -> tuple[bytes, bytes] | None:
        return await asyncio.to_thread(_shape, app, scope, status, detail)

    return shape


def _shape(app: Flask, scope: Scope, status: int, detail: str) -> tuple[bytes, bytes]:
    with app.test_request_context(path=scope["path"], method=scope.get("method", "GET")):
        response: Any = app.make_response(app.handle_user_exception(_exception_for(status, detail)))
        body: bytes = response.get_data()
        return response.headers.get("Content-Type", "text/html").encode("latin-1"), body


def _exception_for(status: int, detail: str) -> HTTPException:
    """Return werkzeug's exception of ``status``; one that it lacks is made in its image, so that a handler
    for HTTPException or for the number still finds it."""
    kind = default_exceptions.get(status)
    if kind is None:
        name = HTTP_STATUS_CODES.get(status, "Error")
        kind = type(name.replace(" ", ""), (HTTPException,), {"code": status})
    return kind(description=detail)
