"""Be the emptiest applications: what is left is the server, the floor of any gateway."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from gateway.backends.base import Receive, Scope, Send

BODY = b'{"hello":"world"}\n'


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer any request with a constant; let a lifespan pass."""
    if scope["type"] == "lifespan":
        while (await receive())["type"] != "lifespan.shutdown":
            await send({"type": "lifespan.startup.complete"})
        await send({"type": "lifespan.shutdown.complete"})
        return
    headers = [(b"content-type", b"application/json"), (b"content-length", b"18")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": BODY})


def wsgi(_environ: object, start_response: Callable[..., object]) -> Iterable[bytes]:
    """Be the same as a WSGI app."""
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", "18")])
    return [BODY]
