"""Relay one websocket between an ASGI server and an upstream, message by message.

The upstream decides: the client is accepted only after the upstream accepted, with its subprotocol, and is
refused with the upstream's own status where the server can say that. Each side's closing closes the other
with the same code and reason. The protocol is spoken by the ``websockets`` library; compression is not
offered to the upstream, because the server in front has undone the client's own already.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, InvalidURI

from gateway.backends.upstream_headers import HOP_BY_HOP
from gateway.backends.upstream_pool import reason_of
from gateway.errors import BackendUnavailable

if TYPE_CHECKING:
    import ssl

    from gateway.backends.base import Message, Receive, Scope, Send
    from gateway.backends.upstream_headers import Headers

logger = logging.getLogger("gateway.upstream")

HANDSHAKE_TIMEOUT_S = 10.0
GOING_AWAY = 1001
INTERNAL_ERROR = 1011
_UNSENDABLE = {
    None: INTERNAL_ERROR,
    1005: 1000,
    1006: INTERNAL_ERROR,
    1015: INTERNAL_ERROR,
}  # RFC 6455, 7.4.1


class _Connect(connect):
    """Be the library's ``connect``, but for redirects: those are the client's to follow."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        """Return the redirect as the refusal that it is."""
        return exc


async def open_websocket(
    name: str,
    scope: Scope,
    headers: Headers,
    target: bytes,
    *,
    host: str,
    port: int,
    ssl_context: ssl.SSLContext | None,
    connect_timeout_s: float,
) -> ClientConnection:
    """Shake hands with the upstream.

    Raises ``InvalidStatus`` for its refusal, :class:`BackendUnavailable` where it cannot be reached.
    """
    public = next((value for key, value in headers if key == b"host"), host.encode()).decode("latin-1")
    scheme = "wss" if ssl_context else "ws"
    kept = [
        (_text(key), _text(value))
        for key, value in headers
        if key != b"host" and not key.startswith(b"sec-websocket-")
    ]
    tls: dict[str, Any] = {"ssl": ssl_context, "server_hostname": host} if ssl_context else {}
    try:
        return await _Connect(
            f"{scheme}://{public}{target.decode('latin-1')}",
            additional_headers=kept,
            subprotocols=scope.get("subprotocols") or None,
            compression=None,
            user_agent_header=None,
            proxy=None,
            open_timeout=max(connect_timeout_s, HANDSHAKE_TIMEOUT_S),
            ping_interval=None,
            max_size=None,
            host=host,
            port=port,
            **tls,
        )
    except InvalidStatus:
        raise
    except (OSError, TimeoutError) as exc:
        raise BackendUnavailable(name, f"{name} cannot be reached: {reason_of(exc)}") from exc
    except (InvalidHandshake, InvalidURI, ValueError, EOFError) as exc:
        raise BackendUnavailable(name, f"{name} did not shake hands as a websocket") from exc


def _text(value: bytes) -> str:
    try:
        return value.decode("utf-8")  # the library writes UTF-8, so that these bytes come out as they went in
    except UnicodeDecodeError:
        return value.decode("latin-1")


async def refuse(scope: Scope, send: Send, refusal: InvalidStatus) -> None:
    """Answer the client's handshake with the upstream's refusal (403 where the server knows no other)."""
    response = refusal.response
    if "websocket.http.response" not in (scope.get("extensions") or {}):
        await send({"type": "websocket.close", "code": 1000, "reason": ""})
        return
    headers = [
        (key.lower().encode("latin-1"), value.encode("latin-1", "replace"))
        for key, value in response.headers.raw_items()
        if key.lower().encode("latin-1", "replace") not in HOP_BY_HOP
    ]
    await send({"type": "websocket.http.response.start", "status": response.status_code, "headers": headers})
    await send({"type": "websocket.http.response.body", "body": bytes(response.body or b"")})


async def relay(connection: ClientConnection, receive: Receive, send: Send) -> None:
    """Accept the client and pass messages both ways until either side closes."""
    headers = [
        (key.lower().encode("latin-1"), value.encode("latin-1", "replace"))
        for key, value in (connection.response.headers.raw_items() if connection.response else ())
        if key.lower().encode("latin-1", "replace") not in HOP_BY_HOP
        and not key.lower().startswith("sec-websocket-")
    ]
    accept: Message = {"type": "websocket.accept", "subprotocol": connection.subprotocol, "headers": headers}
    await send(accept)
    upwards = asyncio.create_task(_upwards(connection, receive))
    try:
        try:
            async for message in connection:
                kind = "text" if isinstance(message, str) else "bytes"
                await send({"type": "websocket.send", kind: message})
        except ConnectionClosed:
            pass  # an abnormal end: the code below says so
        if not upwards.done():
            code = connection.close_code
            code = _UNSENDABLE.get(code, code)
            await send({"type": "websocket.close", "code": code, "reason": connection.close_reason or ""})
    finally:
        upwards.cancel()
        await asyncio.wait((upwards,))
        connection.transport.abort()


async def _upwards(connection: ClientConnection, receive: Receive) -> None:
    try:
        while True:
            message = await receive()
            if message["type"] == "websocket.disconnect":
                code: int | None = message.get("code")
                code = _UNSENDABLE.get(code, code)
                await connection.close(code if code is not None else 1000, message.get("reason") or "")
                return
            text: str | None = message.get("text")
            await connection.send(text if text is not None else message["bytes"])
    except ConnectionClosed:
        return  # the other direction sees the same end, and closes the client
