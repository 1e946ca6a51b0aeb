"""Build a FastAPI app that uses what FastAPI offers, for tests that ask it by two ways and compare.

Each call of :func:`build` gives an equal app of its own, whose endpoints tell what they see and note what
they do in ``app.state.log``.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from fastapi import (
    APIRouter,
    BackgroundTasks,
    Body,
    Cookie,
    Depends,
    FastAPI,
    File,
    Form,
    Header,
    HTTPException,
    Path,
    Query,
    Request,
    Response,
    Security,
    UploadFile,
    WebSocket,
    WebSocketException,
)
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse, RedirectResponse, StreamingResponse
from fastapi.routing import APIRoute
from fastapi.security import (
    APIKeyHeader,
    HTTPBasic,
    HTTPBasicCredentials,
    OAuth2PasswordBearer,
    SecurityScopes,
)
from fastapi.sse import EventSourceResponse
from fastapi.staticfiles import StaticFiles
from pydantic import BaseModel
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.endpoints import HTTPEndpoint
from starlette.responses import PlainTextResponse
from starlette.routing import Host, Mount, Route, Router

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
    from pathlib import Path as FilePath


class UnicornError(Exception):
    """Be an exception that the app handles."""


class Item(BaseModel):
    """Be a body and a response."""

    name: str
    price: float = 1.5
    tags: list[str] = []


class Noting(APIRoute):
    """Be a route class that wraps its handler, as the documentation shows."""

    def get_route_handler(self) -> Callable[[Request], Any]:
        """Return the handler with a header added."""
        handler = super().get_route_handler()

        async def noting(request: Request) -> Response:
            response: Response = await handler(request)
            response.headers["x-noted"] = "yes"
            return response

        return noting


class Choosy(APIRoute):
    """Be a route class that matches in its own way: only with a certain query."""

    def matches(self, scope: Any) -> Any:
        """Match what the base matches when the query says so."""
        match, child_scope = super().matches(scope)
        return (
            (match, child_scope) if b"choose=me" in scope.get("query_string", b"") else (type(match).NONE, {})
        )


class Handling(APIRoute):
    """Be a route class that handles in its own way."""

    async def handle(self, scope: Any, receive: Any, send: Any) -> None:
        """Note the call, then do as ever."""
        scope["app"].state.log.append("handled by a class")
        await super().handle(scope, receive, send)


class OwnRouter(APIRouter):
    """Be a router that routes in its own way."""

    def matches(self, scope: Any) -> Any:
        """Refuse whatever asks to be refused, else do as ever."""
        match, child_scope = super().matches(scope)
        return (type(match).NONE, {}) if b"refuse" in scope.get("query_string", b"") else (match, child_scope)


def see(request: Any) -> dict[str, Any]:
    """Return what an endpoint can see of its way, in values that compare."""
    scope = request.scope
    route = scope.get("route")
    return {
        "path": scope["path"],
        "root_path": scope.get("root_path"),
        "app_root_path": scope.get("app_root_path"),
        "params": {key: repr(value) for key, value in request.path_params.items()},
        "route": f"{type(route).__name__} {getattr(route, 'path', None)}",
        "endpoint": getattr(scope.get("endpoint"), "__name__", type(scope.get("endpoint")).__name__),
        "router": type(scope["router"]).__name__,
        "keys": sorted(key for key in scope if not key.startswith("gateway.")),
        "fastapi": sorted(scope.get("fastapi", ())),
        "state": sorted(scope.get("state", ())),
        "url": str(request.url),
    }


def build(files: FilePath, **options: Any) -> FastAPI:
    """Return a new app; ``files`` is a directory with ``a.txt``; ``options`` go to :class:`FastAPI`."""
    log: list[str] = []

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, Any]]:
        log.append("up")
        yield {"pool": "pool"}
        log.append("down")

    app = FastAPI(lifespan=lifespan, **options)
    app.state.log = log
    _add_basics(app, log)
    _add_dependencies(app, log)
    _add_responses(app, log, files)
    _add_routers(app, log)
    _add_websockets(app, log)
    _add_mounts(app, files)

    @app.exception_handler(UnicornError)
    async def unicorn(request: Request, exc: UnicornError) -> JSONResponse:
        log.append(f"unicorn {request.scope.get('route') is not None}")
        return JSONResponse({"unicorn": str(exc), "see": see(request)}, status_code=418)

    return app


def add_handlers(app: FastAPI) -> None:
    """Handle 404, validation errors and unexpected errors in the app's own words."""

    @app.exception_handler(404)
    async def missing(request: Request, exc: Exception) -> PlainTextResponse:
        return PlainTextResponse("nothing here", status_code=404)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, exc: RequestValidationError) -> JSONResponse:
        return JSONResponse([error["type"] for error in exc.errors()], status_code=400)

    @app.exception_handler(Exception)
    async def unexpected(request: Request, exc: Exception) -> PlainTextResponse:
        request.app.state.log.append(f"unexpected {exc!r}")
        return PlainTextResponse("sorry", status_code=500)


def _add_basics(app: FastAPI, log: list[str]) -> None:
    @app.get("/users/{user_id}")
    async def read_user(request: Request, user_id: str) -> Any:
        return see(request)

    @app.get("/users/me")  # an earlier route takes this path, and must go on doing so
    async def read_me() -> str:
        return "me"

    @app.get("/numbers/{number:int}")
    def read_number(request: Request, number: int) -> Any:
        return see(request)

    @app.get("/numbers/{word}", name="word")
    async def read_word(request: Request, word: str) -> Any:
        return see(request) | {"to": str(request.url_for("deep", a="x", b=2, c="y/z"))}

    @app.get("/typed/{number}")
    async def typed(
        number: Annotated[int, Path(le=100)], q: Annotated[str | None, Query(min_length=2)] = None
    ) -> Any:
        return {"number": number, "q": q}

    @app.get("/files/{path:path}")
    async def read_file(request: Request, path: str) -> Any:
        return see(request)

    @app.get("/part/{name}.{suffix}")
    async def read_part(request: Request) -> Any:
        return see(request)

    @app.get("/exact/{amount:float}/{key:uuid}")
    async def exact(request: Request) -> Any:
        return see(request)

    @app.put("/items/{item_id}")
    async def put_item(item_id: int, item: Item, user: Annotated[str, Body()], q: str | None = None) -> Any:
        log.append(f"put {item_id}")
        return {"id": item_id, "item": item, "user": user, "q": q}

    @app.post("/items/", status_code=201)
    async def post_item(item: Item) -> Item:
        return item

    @app.post("/both")
    @app.get("/both")
    async def both(request: Request) -> Any:
        return see(request)

    @app.get("/headers")
    async def headers(
        user_agent: Annotated[str | None, Header()] = None,
        x_token: Annotated[list[str] | None, Header()] = None,
        tracker: Annotated[str | None, Cookie()] = None,
    ) -> Any:
        return {"agent": user_agent, "tokens": x_token, "tracker": tracker}

    @app.post("/form")
    async def form(name: Annotated[str, Form()], upload: Annotated[UploadFile | None, File()] = None) -> Any:
        content = await upload.read() if upload else b""
        return {"name": name, "upload": content.decode(), "filename": upload.filename if upload else None}

    @app.get("/slashed/")
    async def slashed() -> str:
        return "with a slash"

    @app.get("/bare")
    async def bare() -> str:
        return "without"

    @app.api_route("/many", methods=["GET", "HEAD", "OPTIONS", "DELETE"])
    async def many(request: Request) -> Any:
        return request.method

    app.router.add_route(
        "/starlette/{name}", lambda request: PlainTextResponse(repr(see(request))), name="st"
    )

    class Endpoint(HTTPEndpoint):
        async def get(self, request: Request) -> PlainTextResponse:
            return PlainTextResponse(repr(see(request)))

    app.router.routes.append(Route("/class/{name}", Endpoint))


def _add_dependencies(app: FastAPI, log: list[str]) -> None:
    async def session(request: Request) -> AsyncIterator[str]:
        log.append("opened")
        try:
            yield "session"
        except UnicornError:
            log.append("saw a unicorn")
            raise
        except KeyError as exc:
            raise HTTPException(409, "from a dependency") from exc
        finally:
            log.append("closed")

    def query(session: Annotated[str, Depends(session)], q: str = "") -> Iterator[str]:
        log.append("query opened")
        yield f"{session}-{q}"
        log.append("query closed")

    @app.get("/depends")
    async def depends(
        found: Annotated[str, Depends(query)], tasks: BackgroundTasks, response: Response
    ) -> Any:
        log.append("endpoint")
        tasks.add_task(log.append, "background")
        response.headers["x-by"] = "the endpoint"
        response.set_cookie("seen", "1")
        return found

    @app.get("/raises/{kind}")
    async def raises(kind: str, found: Annotated[str, Depends(query)]) -> Any:
        raise {
            "unicorn": UnicornError("pink"),
            "key": KeyError("lost"),
            "value": ValueError("unexpected"),
            "http": HTTPException(402, {"pay": "now"}, headers={"x-price": "1"}),
            "missing": HTTPException(404),
            "nobody": HTTPException(204),
            "group": ExceptionGroup("several", [ValueError("one")]),
        }[kind]

    @app.get("/late/{kind}")
    async def late(kind: str, found: Annotated[str, Depends(query)]) -> Any:
        async def stream() -> AsyncIterator[bytes]:
            yield b"first"
            raise {"unicorn": UnicornError("late"), "value": ValueError("late")}[kind]

        return StreamingResponse(stream())

    @app.get("/task-fails")
    async def task_fails(tasks: BackgroundTasks) -> str:
        def fail() -> None:
            raise ValueError("in the background")

        tasks.add_task(fail)
        return "sent"

    @app.get("/wrong-model", response_model=Item)
    async def wrong_model() -> Any:
        return {"nothing": 1}

    def override_me() -> str:
        return "original"

    @app.get("/overridden")
    async def overridden(found: Annotated[str, Depends(override_me)]) -> Any:
        return found

    app.dependency_overrides[override_me] = lambda: "override"

    bearer, key = OAuth2PasswordBearer("token", scopes={"read": "read"}), APIKeyHeader(name="x-key")

    @app.get("/basic")
    async def basic(credentials: Annotated[HTTPBasicCredentials, Depends(HTTPBasic(realm="here"))]) -> Any:
        return credentials.username

    def user(scopes: SecurityScopes, token: Annotated[str, Depends(bearer)]) -> str:
        return f"{token} {scopes.scope_str}"

    @app.get("/bearer")
    async def with_bearer(user: Annotated[str, Security(user, scopes=["read"])]) -> Any:
        return user

    @app.get("/key")
    async def with_key(key: Annotated[str, Security(key)]) -> Any:
        return key


def _add_responses(app: FastAPI, log: list[str], files: FilePath) -> None:
    @app.get("/html", response_class=HTMLResponse)
    async def html() -> str:
        return "<p>"

    @app.get("/redirect")
    async def redirect(request: Request) -> RedirectResponse:
        return RedirectResponse(request.url_for("word", word="there"))

    @app.get("/file")
    async def file() -> FileResponse:
        return FileResponse(files / "a.txt", background=BackgroundTask(log.append, "sent a file"))

    @app.get("/stream")
    def stream() -> StreamingResponse:
        return StreamingResponse((f"{number}," for number in range(5)), media_type="text/plain")

    @app.get("/lines")
    async def lines() -> AsyncIterator[Item]:
        for name in "ab":
            yield Item(name=name)

    @app.get("/events", response_class=EventSourceResponse)
    async def events() -> AsyncIterator[Item]:
        for name in "ab":
            yield Item(name=name)

    @app.get(
        "/filtered", response_model=Item, response_model_exclude_unset=True, response_model_exclude={"tags"}
    )
    async def filtered() -> Any:
        return {"name": "n", "tags": ["t"], "secret": 1}

    @app.delete("/nothing", status_code=204)
    async def nothing() -> None:
        log.append("deleted")

    @app.get("/large")
    async def large() -> Any:
        return "x" * 2000


def _add_routers(app: FastAPI, log: list[str]) -> None:
    def noting(name: str) -> Any:
        async def note() -> AsyncIterator[None]:
            log.append(f"+{name}")
            yield
            log.append(f"-{name}")

        return Depends(note)

    low = APIRouter(prefix="/low", tags=["low"], dependencies=[noting("low")])
    middle = APIRouter(prefix="/middle/{b}", dependencies=[noting("middle")])
    top = APIRouter(dependencies=[noting("top")], default_response_class=JSONResponse)

    @low.get("/{c:path}", name="deep")
    async def deep(request: Request, a: str, b: int, c: str) -> Any:
        return see(request) | {"b": b, "here": str(request.url_for("deep", a=a, b=b, c=c))}

    @low.post("/form")
    async def low_form(request: Request, name: Annotated[str, Form()]) -> Any:
        return name

    low.add_route("/plain", lambda request: PlainTextResponse(repr(see(request))))

    @middle.get("")
    async def at_prefix(request: Request) -> Any:
        return see(request)

    @middle.get("/{name}")
    async def in_middle(request: Request, name: str) -> Any:
        return see(request)

    @middle.websocket("/ws")
    async def middle_ws(websocket: WebSocket, b: str) -> None:
        await websocket.accept()
        await websocket.send_json(see(websocket) | {"b": b})
        await websocket.close()

    middle.routes.append(
        Mount("/mounted", routes=[Route("/{x}", lambda request: PlainTextResponse(repr(see(request))))])
    )
    middle.include_router(low)
    top.include_router(middle, prefix="/{a}")
    app.include_router(top, prefix="/top", dependencies=[noting("app")])

    for name, route_class in (("noting", Noting), ("choosy", Choosy), ("handling", Handling)):
        classy = APIRouter(prefix=f"/classy/{name}", route_class=route_class)

        @classy.get("/{x}")
        async def in_class(request: Request, x: str) -> Any:
            return see(request)

        app.include_router(classy)
        app.add_api_route(f"/direct/{name}/{{x}}", in_class, name=name)
    app.router.route_class = Choosy
    app.add_api_route("/direct/{x}/y", in_class, name="direct choosy")
    app.router.route_class = Handling
    app.add_api_route("/direct/{x}/{y}", in_class, name="direct handling")
    app.router.route_class = APIRoute

    own = OwnRouter(prefix="/own")

    @own.get("/{x}")
    async def in_own(request: Request, x: str) -> Any:
        return see(request)

    app.include_router(own)

    twice = APIRouter()

    @twice.get("/twice")
    @twice.post("/twice")
    async def read_twice(request: Request) -> Any:
        return see(request)

    app.include_router(twice)
    app.include_router(twice, prefix="/again")

    @app.get("/after/{x}")
    async def after(request: Request) -> Any:
        return see(request)


def _add_websockets(app: FastAPI, log: list[str]) -> None:
    async def opened() -> AsyncIterator[str]:
        log.append("socket opened")
        yield "dependency"
        log.append("socket closed")

    @app.websocket("/ws/{room}")
    async def chat(websocket: WebSocket, room: int, found: Annotated[str, Depends(opened)]) -> None:
        await websocket.accept()
        text = await websocket.receive_text()
        if text == "refuse":
            raise WebSocketException(1008, "refused")
        if text == "fail":
            raise ValueError("in a socket")
        await websocket.send_json(see(websocket) | {"room": room, "text": text, "found": found})
        await websocket.close()


def _add_mounts(app: FastAPI, files: FilePath) -> None:
    sub = FastAPI(openapi_url=None)

    @sub.get("/inner/{x}")
    async def inner(request: Request, x: int) -> Any:
        return see(request) | {"to": str(request.url_for("inner", x=5))}

    @sub.get("/fails")
    async def fails() -> Any:
        raise ValueError("in a mounted app")

    @sub.websocket("/ws")
    async def sub_ws(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.send_json(see(websocket))
        await websocket.close()

    app.mount("/static", StaticFiles(directory=files), name="static")
    app.mount("/sub/{tenant}", sub)
    show = Route("/{x}", lambda request: PlainTextResponse(repr(see(request))))
    app.mount("/plain", Starlette(routes=[show]), name="plain")
    app.router.routes.append(Host("{sub}.example.org", Router([show]), name="host"))
    app.router.routes.append(Mount("/rest", app=_echo))

    @app.get("/static/never")
    async def never() -> str:
        return "behind a mount"


async def _echo(scope: Any, receive: Any, send: Any) -> None:
    await PlainTextResponse(scope["path"])(scope, receive, send)


class Stamp:
    """Be a pure ASGI middleware that adds a header and changes the path of some requests."""

    names: ClassVar[list[str]] = []

    def __init__(self, app: Callable[[Any, Any, Any], Awaitable[None]], name: str = "stamp") -> None:
        self.app = app
        self.name = name

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Pass the request on, with ``/old`` in front of its path removed."""

        async def stamped(message: Any) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), (b"x-stamp", self.name.encode())]
            await send(message)

        if scope["type"] != "lifespan" and scope["path"].startswith("/old/"):
            scope = dict(scope, path=scope["path"].removeprefix("/old"))
        await self.app(scope, receive, stamped)


async def ask(app: Any, kind: str, method: str, target: str, headers: Any = (), body: bytes = b"") -> Any:
    """Return all that one request leads to: the messages sent and what is raised.

    ``kind`` is ``http`` or ``websocket``; a websocket's ``body`` is the one text that the client says.
    """
    path, _, query = target.partition("?")
    sent: list[Any] = []
    scope: dict[str, Any] = {
        "type": kind,
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "scheme": "http" if kind == "http" else "ws",
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [(b"host", b"testserver"), *headers],
        "server": ("testserver", 80),
        "client": ("127.0.0.1", 1),
    }
    if kind == "http":
        scope["method"] = method
        messages = [{"type": "http.request", "body": body[:7], "more_body": True}]
        messages.append({"type": "http.request", "body": body[7:], "more_body": False})
    else:
        scope["subprotocols"] = []
        messages = [{"type": "websocket.connect"}, {"type": "websocket.receive", "text": body.decode()}]

    async def receive() -> Any:
        if not messages:
            await asyncio.Event().wait()
        return messages.pop(0)

    async def send(message: Any) -> None:
        sent.append(
            {**message, "headers": list(message["headers"])} if "headers" in message else dict(message)
        )

    raised = ""
    try:
        await asyncio.wait_for(app(scope, receive, send), 5)
    except Exception as exc:
        raised = f"{exc!r} because of {exc.__cause__!r}"
    return {"sent": sent, "raised": raised}
