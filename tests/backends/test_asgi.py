"""Prove that an in-process ASGI app lives and answers as it would under a server."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import fastapi
import httpx
import pytest
from starlette.applications import Starlette
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.routing import Route, WebSocketRoute
from websockets.sync.client import connect

from gateway.backends.asgi import AsgiBackend
from gateway.backends.base import Backend
from gateway.errors import BackendError
from tests.running import running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, MutableMapping

    from starlette.requests import Request
    from starlette.websockets import WebSocket


async def call(app: Any, method: str = "GET", path: str = "/", **more: Any) -> tuple[int, list[Any], bytes]:
    """Return status, raw headers and body of one in-process request."""
    sent: list[MutableMapping[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message)

    scope: dict[str, Any] = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "scheme": "http",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(b"host", b"testserver")],
        "server": ("testserver", 80),
        "client": ("127.0.0.1", 1),
        **more,
    }
    await app(scope, receive, send)
    body = b"".join(message.get("body", b"") for message in sent[1:])
    return sent[0]["status"], list(sent[0].get("headers", ())), body


def an_app(events: list[str], **options: Any) -> Starlette:
    """Return an app that notes its life in ``events`` and shows what it is given."""

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[dict[str, Any]]:
        events.append("started")
        yield {"pool": "a pool", "shared": []}
        events.append("stopped")

    async def show(request: Request) -> JSONResponse:
        state = request.scope["state"]
        state["pool"] = state.get("pool", "") + "!"
        return JSONResponse(
            {
                "pool": state["pool"],
                "root_path": request.scope["root_path"],
                "path": request.scope["path"],
                "raw_path": request.scope["raw_path"].decode(),
                "url": str(request.url_for("show")),
            }
        )

    async def chat(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.send_text(f"{websocket.scope['state']['pool']} {await websocket.receive_text()}")
        await websocket.close()

    return Starlette(
        routes=[Route("/show", show, name="show"), WebSocketRoute("/chat", chat)],
        lifespan=lifespan,
        **options,
    )


async def test_a_backend_is_an_asgi_app_with_a_life() -> None:
    events: list[str] = []
    backend = AsgiBackend(an_app(events))
    assert isinstance(backend, Backend)
    await backend.start()
    assert events == ["started"]
    assert backend.health().is_ok
    await backend.stop(1.0)
    assert events == ["started", "stopped"]
    assert not backend.health().is_ok


async def test_each_request_gets_its_own_shallow_copy_of_the_lifespan_state() -> None:
    backend = AsgiBackend(an_app([]))
    await backend.start()
    try:
        for _ in range(2):
            _, _, body = await call(backend, path="/show", state={"of": "the gateway"})
            assert b'"pool":"a pool!"' in body
    finally:
        await backend.stop(1.0)


async def test_a_failing_startup_is_told_in_the_words_of_the_app() -> None:
    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        raise RuntimeError("no database at db.internal")
        yield

    backend = AsgiBackend(Starlette(lifespan=lifespan))
    with pytest.raises(
        BackendError, match=r"startup failed: RuntimeError: no database at db\.internal"
    ) as caught:
        await backend.start()
    assert caught.value.backend == "new"
    assert isinstance(caught.value.__cause__, RuntimeError)


async def test_an_app_that_knows_no_lifespan_is_served_all_the_same() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "http"
        await PlainTextResponse("fine")(scope, receive, send)

    backend = AsgiBackend(app)
    await backend.start()
    assert (await call(backend))[2] == b"fine"
    await backend.stop(1.0)


async def test_an_app_that_returns_from_its_lifespan_without_a_word_is_served_all_the_same() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            await PlainTextResponse("fine")(scope, receive, send)

    backend = AsgiBackend(app)
    await backend.start()
    assert (await call(backend))[2] == b"fine"
    await backend.stop(1.0)


async def test_a_failing_shutdown_is_logged_and_stops_nothing(caplog: pytest.LogCaptureFixture) -> None:
    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        yield
        raise RuntimeError("the pool would not close")

    backend = AsgiBackend(Starlette(lifespan=lifespan))
    await backend.start()
    await backend.stop(1.0)
    assert "the pool would not close" in caplog.text


async def test_a_shutdown_that_hangs_is_cancelled_when_the_grace_is_over() -> None:
    cancelled = asyncio.Event()

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        yield
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    backend = AsgiBackend(Starlette(lifespan=lifespan))
    await backend.start()
    await backend.stop(0.05)
    assert cancelled.is_set()


async def test_stopping_waits_for_the_requests_under_way() -> None:
    events: list[str] = []
    entered, leave = asyncio.Event(), asyncio.Event()

    async def slow(request: Request) -> PlainTextResponse:
        entered.set()
        await leave.wait()
        events.append("answered")
        return PlainTextResponse("late")

    app = an_app(events)
    app.router.routes.append(Route("/slow", slow))
    backend = AsgiBackend(app)
    await backend.start()
    request = asyncio.create_task(call(backend, path="/slow"))
    await entered.wait()
    assert backend.health().facts["active"] == 1
    stop = asyncio.create_task(backend.stop(5.0))
    await asyncio.sleep(0)
    assert not stop.done()
    leave.set()
    await stop
    assert (await request)[2] == b"late"
    assert events == ["started", "answered", "stopped"]


@pytest.mark.parametrize(
    ("outer", "path", "seen"),
    [
        pytest.param("", "/show", ("/api", "/api/show", "http://testserver/api/show"), id="alone"),
        pytest.param(
            "/gw",
            "/gw/show",
            ("/gw/api", "/gw/api/show", "http://testserver/gw/api/show"),
            id="below-another",
        ),
    ],
)
async def test_the_root_path_stands_before_the_path(
    outer: str, path: str, seen: tuple[str, str, str]
) -> None:
    backend = AsgiBackend(an_app([]), root_path="/api/")
    _, _, body = await call(backend, path=path, root_path=outer)
    for value in seen:
        assert f'"{value}"'.encode() in body
    assert f'"raw_path":"{seen[1]}"'.encode() in body


async def test_an_exception_of_the_app_propagates_as_it_came() -> None:
    app = fastapi.FastAPI()

    @app.get("/")
    async def fail() -> None:
        raise ZeroDivisionError("of the app")

    backend = AsgiBackend(app)
    with pytest.raises(ZeroDivisionError, match="of the app"):
        await call(backend)
    assert backend.health().facts["active"] == 0


def test_websockets_and_requests_pass_under_a_real_server() -> None:
    backend = AsgiBackend(an_app([]))

    async def gateway(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "lifespan":
            await backend(scope, receive, send)
            return
        await receive()
        await backend.start()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await backend.stop(1.0)
        await send({"type": "lifespan.shutdown.complete"})

    with running(gateway, lifespan="on") as url:
        assert httpx.get(f"{url}/show").json()["pool"] == "a pool!"
        with connect(f"{url.replace('http', 'ws')}/chat") as websocket:
            websocket.send("hello")
            assert websocket.recv() == "a pool hello"
