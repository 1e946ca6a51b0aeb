"""Bend a request to what the new route expects: its own path, and GET where it knows no HEAD."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from gateway.backends.base import AsgiApp, Message, Receive, Scope, Send
    from gateway.table.template import Template

# What may stand unescaped in a path besides letters and digits (RFC 3986, 3.3: pchar, and the slash).
_PATH_SAFE = "/-._~!$&'()*+,;=:@"


def rewrite_path(app: AsgiApp, public: Template, inner: Template) -> AsgiApp:
    """Return ``app`` called with ``inner``'s path, filled with the parameters that ``public`` finds."""

    async def call(scope: Scope, receive: Receive, send: Send) -> None:
        path = inner.format(public.params(scope["path"]))
        # A copy: the server's own scope goes on to name what the client asked for.
        inside = {**scope, "path": path, "raw_path": quote(path, safe=_PATH_SAFE).encode()}
        await app(inside, receive, send)

    return call


def answer_head(app: AsgiApp) -> AsgiApp:
    """Return ``app`` answering HEAD as its GET without the body (RFC 9110, 9.3.2)."""

    def call(scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        # Most requests are no HEAD: they pay no coroutine of their own here.
        if scope.get("method") != "HEAD":
            return app(scope, receive, send)

        async def send_head(message: Message) -> None:
            if message["type"] == "http.response.body":
                message = {**message, "body": b""}
            await send(message)

        return app({**scope, "method": "GET"}, receive, send_head)

    return call
