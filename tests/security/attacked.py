"""Run one gateway in front of two apps that write down every call, to be attacked over raw sockets.

Both apps echo what they were asked, whatever the path below ``/legacy`` or ``/new`` is; what the tests
ask for is whether an app was called at all, which one, and with what.
"""

from __future__ import annotations

import json
import socket
from dataclasses import dataclass
from http.client import HTTPConnection
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from tests.raw import RawAnswer, exchange

if TYPE_CHECKING:
    from tests.projects import Served

LEGACY = """
    import base64
    import os
    import time
    from flask import Flask, Response, g, jsonify, redirect, request, session

    BLOCK = b"x" * 65536
    app = Flask(__name__)
    app.secret_key = "legacy"
    calls = []

    def recorded(inner):
        def call(environ, start_response):
            if not environ["PATH_INFO"].startswith("/legacy/calls"):
                calls.append([environ["REQUEST_METHOD"], environ["RAW_URI"]])
            return inner(environ, start_response)
        return call

    app.wsgi_app = recorded(app.wsgi_app)

    @app.get("/legacy/calls")
    def told():
        answer = jsonify(calls)
        calls.clear()
        return answer

    METHODS = ["GET", "POST", "PUT", "DELETE", "PATCH"]

    @app.route("/legacy/echo", methods=METHODS)
    @app.route("/legacy/echo/<name>", methods=METHODS)
    @app.route("/new/echo", methods=METHODS)
    @app.route("/new/echo/<name>", methods=METHODS)
    def echo(name=""):
        body = request.get_data()
        return jsonify(
            by="legacy",
            path=request.path,
            raw=request.environ["RAW_URI"],
            name=name,
            headers=[[key, value] for key, value in request.environ.items() if key.startswith("HTTP_")],
            cookies=request.cookies.to_dict(),
            body=base64.b64encode(body).decode(),
            client=request.environ["REMOTE_ADDR"],
            scheme=request.environ["wsgi.url_scheme"],
        )

    @app.get("/legacy/number/<int:number>")
    @app.get("/new/number/<int:number>")
    def number(number):
        return str(number % 10)

    @app.get("/legacy/folder/")
    def folder():
        return "folder"

    class Raw(Response):
        extra = ()
        def get_wsgi_headers(self, environ):
            headers = super().get_wsgi_headers(environ)
            headers._list.extend(self.extra)
            return headers

    ODD = {
        "crlf": ("X-Bad", "a\\r\\nSet-Cookie: evil=1"),
        "lf": ("X-Bad", "a\\nb"),
        "cr": ("X-Bad", "a\\rb"),
        "nul": ("X-Bad", "a\\0b"),
        "control": ("X-Bad", "a\\x01b"),
        "non-latin-1": ("X-Bad", "\\u20ac"),
        "name": ("X Bad", "a"),
        "lengths": ("Content-Length", "3"),
        "framings": ("Transfer-Encoding", "chunked"),
        "hop": ("Connection", "keep-alive, X-Kept"),
    }

    @app.get("/legacy/odd/<kind>")
    def odd(kind):
        response = Raw("hello")
        response.extra = (ODD[kind],)
        return response

    @app.get("/legacy/status/<int:code>")
    def status(code):
        return Response("a body that must not be sent", status=code, headers={"X-Kept": "1"})

    @app.get("/legacy/sleep/<float:seconds>")
    def sleep(seconds):
        time.sleep(seconds)
        return "slept"

    @app.get("/legacy/leak")
    def leak():
        seen = getattr(app, "local", None) or __import__("contextvars").ContextVar("local", default="")
        app.local = seen
        before = seen.get()
        seen.set(request.args["v"])
        was = [before, g.get("v", ""), session.get("v", "")]
        g.v = request.args["v"]
        return jsonify(was)

    @app.get("/legacy/pid")
    def pid():
        return str(os.getpid())

    @app.get("/legacy/exit")
    def leave():
        os._exit(7)

    @app.get("/legacy/endless")
    def endless():
        def produce():
            while True:
                yield BLOCK
        return Response(produce())

    @app.get("/override")
    def override():
        return "legacy"
"""
NEW = """
    import asyncio
    import base64
    import contextvars
    from fastapi import FastAPI, Request
    from fastapi.responses import JSONResponse, StreamingResponse

    BLOCK = b"x" * 65536
    app = FastAPI(openapi_url=None)
    calls = []
    local = contextvars.ContextVar("local", default="")

    class Recorded:
        def __init__(self, app):
            self.app = app

        async def __call__(self, scope, receive, send):
            if scope["type"] == "http" and not scope["path"].startswith("/new/calls"):
                calls.append([scope["method"], scope["raw_path"].decode("latin-1")])
            await self.app(scope, receive, send)

    app.add_middleware(Recorded)

    @app.get("/new/calls")
    async def told():
        answer = JSONResponse(list(calls))
        calls.clear()
        return answer

    @app.api_route("/new/echo", methods=["GET", "POST", "PUT", "DELETE", "PATCH"])
    @app.api_route("/new/echo/{name}", methods=["GET", "POST", "PUT", "DELETE", "PATCH"])
    async def echo(request: Request, name: str = ""):
        body = await request.body()
        return {
            "by": "new",
            "path": request.scope["path"],
            "raw": request.scope["raw_path"].decode("latin-1"),
            "name": name,
            "headers": [[k.decode("latin-1"), v.decode("latin-1")] for k, v in request.scope["headers"]],
            "cookies": request.cookies,
            "body": base64.b64encode(body).decode(),
            "client": request.client.host,
            "scheme": request.url.scheme,
        }

    @app.get("/new/number/{number:int}")
    async def number(number: int):
        return number % 10

    ODD = {
        "crlf": (b"x-bad", b"a\\r\\nset-cookie: evil=1"),
        "lf": (b"x-bad", b"a\\nb"),
        "cr": (b"x-bad", b"a\\rb"),
        "nul": (b"x-bad", b"a\\0b"),
        "control": (b"x-bad", b"a\\x01b"),
        "name": (b"x bad", b"a"),
        "lengths": (b"content-length", b"3"),
        "number": (b"content-length", b"5_0"),
        "framings": (b"transfer-encoding", b"chunked"),
        "hop": (b"connection", b"keep-alive, X-Kept"),
    }

    async def respond(scope, receive, send):
        kind = scope["path"].rpartition("/")[2]
        headers = [(b"x-kept", b"1")]
        status = 200
        if kind.isdigit():
            status = int(kind)
        else:
            headers += [(b"content-length", b"5"), ODD[kind]]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b"hello"})

    app.mount("/new/raw", respond)

    @app.get("/new/leak")
    async def leak(v: str):
        was = [local.get(), "", ""]
        local.set(v)
        return was

    @app.get("/new/endless")
    async def endless():
        async def produce():
            while True:
                yield BLOCK
                await asyncio.sleep(0)
        return StreamingResponse(produce())

    @app.post("/new/upload")
    async def upload(request: Request):
        size = 0
        async for chunk in request.stream():
            size += len(chunk)
        calls.append(["WHOLE", str(size)])
        return size

    @app.get("/override")
    async def override():
        return "new"
"""
ROUTES = """
    server:
      override_token: ${OVERRIDE}
    routes:
      ANY /new/echo: new
      ANY /new/echo/{name}: new
      GET /new/number/{number:int}: new
      GET /new/raw/{kind}: new
      GET /new/leak: new
      GET /new/endless: new
      GET /new/calls: new
      POST /new/upload: new
      GET /override: legacy
"""
TARGETS = {"a legacy row": b"/legacy/echo", "a new row": b"/new/echo", "an unlisted path": b"/nowhere"}


@dataclass(frozen=True, slots=True)
class Attacked:
    """Be the gateway under attack, and the calls that came through."""

    served: Served

    @property
    def url(self) -> str:
        """Return its base URL."""
        return self.served.url

    def calls(self) -> list[tuple[str, str]]:
        """Return (method, raw target) of every call of either app since the last time of asking."""
        parts = urlsplit(self.url)
        # A client library's start costs more than the attack, a thousand times over.
        connection = HTTPConnection(parts.hostname or "", parts.port, timeout=5)
        told: list[list[str]] = []
        try:
            for name in ("legacy", "new"):
                connection.request("GET", f"/{name}/calls")
                told += json.loads(connection.getresponse().read())
        finally:
            connection.close()
        return [(method, target) for method, target in told]

    def send(self, request: bytes, *, is_second: bool = False) -> RawAnswer:
        """Send raw bytes on a connection of their own, or behind a request that has been answered."""
        if not is_second:
            return exchange(self.url, request, wait_s=0.15)
        parts = urlsplit(self.url)
        assert parts.hostname is not None
        with socket.create_connection((parts.hostname, parts.port or 80), 5) as connection:
            connection.sendall(b"GET /-/health HTTP/1.1\r\nHost: a\r\n\r\n")
            while not (answer := connection.recv(65536)).endswith(b"}"):
                assert answer, "closed after an innocent request"
            connection.sendall(request)
            return _rest(connection)

    def ask(self, head: bytes, body: bytes = b"") -> dict[str, Any]:
        """Send one request that is to be served and return the JSON of its answer."""
        answer = self.send(head.rstrip(b"\r\n") + b"\r\nConnection: close\r\n\r\n" + body)
        assert answer.status == 200, answer.data
        found: dict[str, Any] = json.loads(body_of(answer))
        return found


def body_of(answer: RawAnswer) -> bytes:
    """Return the body of one whole answer, its chunks put together."""
    head, _, body = answer.data.partition(b"\r\n\r\n")
    if b"transfer-encoding: chunked" not in head.lower():
        return body
    whole = b""
    while body:
        size, _, body = body.partition(b"\r\n")
        if int(size, 16) == 0:
            break
        whole, body = whole + body[: int(size, 16)], body[int(size, 16) + 2 :]
    return whole


def _rest(connection: socket.socket) -> RawAnswer:
    data, is_closed = b"", False
    connection.settimeout(5)
    try:
        while received := connection.recv(65536):
            data += received
            connection.settimeout(0.15)
        is_closed = True
    except TimeoutError:
        pass
    except ConnectionResetError:
        is_closed = True
    return RawAnswer(int(data[9:12]) if data.startswith(b"HTTP/1.1 ") else 0, data, is_closed)
