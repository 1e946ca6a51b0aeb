"""A websocket crosses to an upstream and back: messages, subprotocol, refusal, and both ways of closing."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Subprotocol

from gateway.backends.upstream import Upstream
from gateway.errors import BackendUnavailable
from tests.running import free_port, running, wait_until

closed: list[tuple[int, str]] = []


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Echo; on /refused refuse, on "leave" close with 4001; note how the client closed."""
    await receive()
    if scope["path"] == "/refused":
        await send({"type": "websocket.http.response.start", "status": 401, "headers": [(b"x-why", b"no")]})
        await send({"type": "websocket.http.response.body", "body": b"log in"})
        return
    headers = dict(scope["headers"])
    await send({"type": "websocket.accept", "subprotocol": "v2", "headers": [(b"x-room", b"9")]})
    await send(
        {
            "type": "websocket.send",
            "text": f"{scope['raw_path']!r} {headers[b'host']!r} {headers[b'cookie']!r}",
        }
    )
    while True:
        message = await receive()
        if message["type"] == "websocket.disconnect":
            closed.append((message["code"], message.get("reason") or ""))
            return
        if message.get("text") == "leave":
            await send({"type": "websocket.close", "code": 4001, "reason": "as you wish"})
            return
        if message.get("text") is not None:
            await send({"type": "websocket.send", "text": message["text"]})
        else:
            await send({"type": "websocket.send", "bytes": message["bytes"]})


def dial(front: str, path: str) -> Any:
    return connect(
        front.replace("http", "ws") + path,
        additional_headers={"Cookie": "session=abc"},
        subprotocols=[Subprotocol("v1"), Subprotocol("v2")],
        proxy=None,
        max_size=None,
    )


async def talk(front: str) -> None:
    socket: ClientConnection
    async with dial(front, "/room%2F9?x=1") as socket:
        assert socket.subprotocol == "v2"
        assert socket.response is not None
        assert socket.response.headers["x-room"] == "9"
        host = front.removeprefix("http://")
        assert await socket.recv() == f"b'/room%2F9' b'{host}' b'session=abc'"
        for message in ("text ☃", b"\x00\xff", "a" * 2_000_000):
            await socket.send(message)
            assert await socket.recv() == message
        await socket.close(4009, "had enough")
    async with dial(front, "/room") as socket:
        await socket.recv()
        await socket.send("leave")
        with pytest.raises(ConnectionClosed):
            await socket.recv()
        assert (socket.close_code, socket.close_reason) == (4001, "as you wish")
    with pytest.raises(InvalidStatus) as refused:
        async with dial(front, "/refused"):
            pass
    assert refused.value.response.status_code == 401
    assert refused.value.response.headers["x-why"] == "no"


def test_a_websocket_crosses_both_ways() -> None:
    closed.clear()
    options: dict[str, Any] = {"ws": "websockets-sansio", "lifespan": "off", "ws_max_size": 4_000_000}
    with running(app, **options) as url:
        upstream = Upstream(url)
        with running(upstream, **options) as front:
            asyncio.run(talk(front))
            wait_until(lambda: closed, what="the upstream's news of the closing")
            assert closed[0] == (4009, "had enough")
            wait_until(lambda: upstream.health().facts["active"] == 0, what="the end of every relay")


async def test_a_websocket_to_nobody_is_unavailable() -> None:
    async def receive() -> Any:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        raise AssertionError(message)

    scope = {"type": "websocket", "path": "/", "raw_path": b"/", "headers": [(b"host", b"a")], "scheme": "ws"}
    with pytest.raises(BackendUnavailable, match="refused"):
        await Upstream(f"http://127.0.0.1:{free_port()}")(scope, receive, send)
