"""Answer on the admin listener: the migration as JSON and as a page, to whoever holds the token.

The laws: every route, existing or not, answers 401 without the token; tokens are compared in constant time;
a change must come from the listener's own origin and name a host that the listener goes by (DNS rebinding);
nothing is cached, framed or scripted from elsewhere. What is shown comes from ``provider``, so that the
supervisor stays the only one who knows workers.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import time
from http.cookies import CookieError, SimpleCookie
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from starlette.applications import Starlette
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from gateway.errors import OrderRefused
from gateway.web.api import Api
from gateway.web.difference_page import render_difference
from gateway.web.found import parse_found
from gateway.web.inquiry import Inquiry
from gateway.web.page import render_page

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.requests import Request
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from gateway.web.inquiry import Ask
    from gateway.web.reports import Overview

COOKIE = "gateway_admin"

LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "[::1]"})

SECURITY_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self' data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}

STATIC_FOLDER = Path(__file__).with_name("static")
STATIC_TYPES = {"admin.css": "text/css", "admin.js": "text/javascript"}


def create_admin(
    provider: Callable[[], Overview],
    token: str,
    *,
    hosts: frozenset[str] = LOOPBACK_NAMES,
    ask: Ask | None = None,
    stopping: asyncio.Event | None = None,
) -> ASGIApp:
    """Return the admin application.

    ``hosts`` are the names (without port) under which it may be changed, ``ask`` carries out orders, and
    ``stopping`` ends open streams.
    """
    inquiry = Inquiry(ask)
    api = Api(provider, inquiry, stopping or asyncio.Event())

    async def page(_: Request) -> Response:
        return HTMLResponse(render_page(provider(), await inquiry.known(), time.time()))

    async def show_difference(request: Request) -> Response:
        wanted = {"route": request.path_params["id"], "signature": request.path_params["signature"]}
        found = parse_found(await inquiry.order({"verb": "finding", **wanted}))
        return HTMLResponse(render_difference(found, time.time()))

    async def show_metrics(request: Request) -> Response:
        from gateway.web.metrics import render_metrics  # with the first scrape: it brings prometheus-client

        overview = provider()
        sums = overview.totals.snapshot()
        body, content_type = await asyncio.to_thread(
            render_metrics, overview, sums, request.headers.get("accept", "")
        )
        return Response(body, headers={"Content-Type": content_type})

    async def show_static(request: Request) -> Response:
        name = request.path_params["name"]
        if name not in STATIC_TYPES:
            raise HTTPException(404, f"there is no file {name}")
        return Response((STATIC_FOLDER / name).read_bytes(), media_type=STATIC_TYPES[name])

    async def explain(_: Request, exc: Exception) -> Response:
        if isinstance(exc, OrderRefused):
            return _problem(exc.status, exc.detail)
        if not isinstance(exc, HTTPException):
            raise exc
        return _problem(exc.status_code, exc.detail, exc.headers)

    return Starlette(
        routes=[
            Route("/", page),
            Route("/differences/{id}/{signature}", show_difference),
            *api.routes(),
            Route("/metrics", show_metrics),
            Route("/static/{name}", show_static),
        ],
        middleware=[Middleware(_Gate, token=token, hosts=hosts)],
        exception_handlers={HTTPException: explain, OrderRefused: explain},
    )


def _problem(status: int, detail: str, headers: Any = None) -> Response:
    return JSONResponse({"status": status, "detail": detail}, status, headers, "application/problem+json")


class _Gate:
    """Let through who holds the token, and changes only from the listener's own pages."""

    def __init__(self, app: ASGIApp, *, token: str, hosts: frozenset[str]) -> None:
        self._app = app
        self._token = token.encode()
        # Cookies know no ports: the public listener gets to see this one, so it must not be the token itself.
        self._cookie = hmac.new(self._token, b"admin cookie", hashlib.sha256).hexdigest()
        self._hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in SECURITY_HEADERS.items():
                    headers[name] = value
            await send(message)

        await (self._refusal(scope) or self._welcome(scope) or self._app)(scope, receive, send_guarded)

    def _refusal(self, scope: Scope) -> ASGIApp | None:
        headers = Headers(scope=scope)
        if not self._is_known(headers, scope["query_string"]):
            hint = "the admin listener wants its token: `gateway serve` prints the address that holds it"
            challenge = {"WWW-Authenticate": 'Bearer realm="gateway admin"'}
            if "text/html" in headers.get("accept", ""):
                return PlainTextResponse(f"401: {hint}\n", 401, challenge)
            return _problem(401, hint, challenge)
        if scope["method"] not in ("GET", "HEAD") and not self._is_own_page(headers):
            return _problem(403, "a change must come from the admin listener's own page or a script")
        return None

    def _is_known(self, headers: Headers, query: bytes) -> bool:
        scheme, _, credentials = headers.get("authorization", "").partition(" ")
        given = [
            credentials.strip() if scheme.lower() == "bearer" else "",
            headers.get("x-gateway-token", ""),
            dict(parse_qsl(query.decode("latin-1"))).get("token", ""),
        ]
        is_token = [hmac.compare_digest(text.encode(), self._token) for text in given]
        cookie = hmac.compare_digest(_cookie(headers).encode(), self._cookie.encode())
        return any(is_token) or cookie

    def _is_own_page(self, headers: Headers) -> bool:
        host = headers.get("host", "")
        if _name(host) not in self._hosts:
            return False
        if headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
            return False
        origin = headers.get("origin")
        return origin is None or urlsplit(origin).netloc == host

    def _welcome(self, scope: Scope) -> ASGIApp | None:
        """Turn the first visit's token into a cookie, so that it stays in no history or bookmark."""
        pairs = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        path = scope["path"]
        is_page = path == "/" or path.startswith("/differences/")
        if not is_page or scope["method"] != "GET" or "token" not in dict(pairs):
            return None
        rest = urlencode([pair for pair in pairs if pair[0] != "token"])
        where = quote(path)
        response = RedirectResponse(f"{where}?{rest}" if rest else where, 303)
        response.set_cookie(COOKIE, self._cookie, httponly=True, samesite="strict")
        return response


def _name(host: str) -> str:
    """Return ``host`` without its port."""
    return host.rpartition(":")[0] if ":" in host.rpartition("]")[2] else host


def _cookie(headers: Headers) -> str:
    for line in headers.getlist("cookie"):
        try:
            morsel = SimpleCookie(line).get(COOKIE)
        except CookieError:
            continue
        if morsel is not None:
            return morsel.value
    return ""
