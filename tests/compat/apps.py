"""Build the pair of apps that the session tests hold against each other, and drive them alike."""

from collections.abc import AsyncIterator, Callable
from typing import Annotated, Any

import httpx
from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.responses import JSONResponse, RedirectResponse, Response, StreamingResponse
from flask import Flask, abort, redirect, session

from gateway.compat import LEGACY_APP_KEY, FlaskSession, FlaskSessions

SECRET = "a key only tests know"


def flask_app(**config: Any) -> Flask:
    """Return a Flask app with ``config`` and no routes."""
    app = Flask("legacy", static_folder=None)
    app.config.update({"SECRET_KEY": SECRET, **config})
    return app


def add_flask_views(app: Flask, change: Callable[[Any], Any]) -> Flask:
    """Give ``app`` one view for each kind of answer; each applies ``change`` to the session."""

    @app.get("/model")
    def model() -> Any:
        change(session)
        return {"ok": True}

    @app.get("/redirect")
    def redirected() -> Any:
        change(session)
        return redirect("/elsewhere")

    @app.get("/abort")
    def aborted() -> Any:
        change(session)
        abort(403)

    @app.get("/stream")
    def stream() -> Any:
        change(session)
        return (part for part in ("a", "b"))

    @app.get("/broken")
    def broken() -> Any:
        change(session)
        raise ZeroDivisionError

    @app.get("/untouched")
    def untouched() -> Any:
        return {"ok": True}

    return app


def fastapi_app(sessions: FlaskSessions, change: Callable[[Any], Any]) -> FastAPI:
    """Return the FastAPI counterpart of :func:`add_flask_views`."""
    app = FastAPI()
    sessions.install(app)
    Session = Annotated[FlaskSession, Depends(sessions)]  # noqa: N806  (a type, though a local one)

    @app.get("/model")
    async def model(session: Session) -> dict[str, bool]:
        change(session)
        return {"ok": True}

    @app.get("/response")
    def response(session: Session) -> Response:
        change(session)
        return JSONResponse({"ok": True}, headers={"Vary": "Accept"})

    @app.get("/redirect")
    def redirected(session: Session) -> Response:
        change(session)
        return RedirectResponse("/elsewhere", 302)

    @app.get("/abort")
    def aborted(session: Session) -> None:
        change(session)
        raise HTTPException(403)

    @app.get("/stream")
    async def stream(session: Session) -> Response:
        change(session)

        async def parts() -> AsyncIterator[str]:
            yield "a"
            yield "b"

        return StreamingResponse(parts())

    @app.get("/broken")
    async def broken(session: Session) -> None:
        change(session)
        raise ZeroDivisionError

    @app.get("/invalid")
    def invalid(request: Request, session: Session, number: int) -> None:
        raise AssertionError("the request does not validate")

    @app.get("/untouched")
    async def untouched() -> dict[str, bool]:
        return {"ok": True}

    return app


def under_gateway(app: Any, legacy: Flask | None) -> Any:
    """Return ``app`` with the scope that the gateway gives it."""

    async def outer(scope: Any, receive: Any, send: Any) -> None:
        scope[LEGACY_APP_KEY] = legacy
        await app(scope, receive, send)

    return outer


async def ask(app: Any, path: str, cookie: str = "", **headers: str) -> httpx.Response:
    """Send a GET straight to an ASGI app, with an optional Cookie header; exceptions become its 500."""
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await client.get(path, headers={**named, **({"cookie": cookie} if cookie else {})})


def ask_flask(app: Flask, path: str, cookie: str = "", **headers: str) -> Any:
    """Send a GET to a Flask app, with an optional Cookie header; exceptions become its 500."""
    client = app.test_client(use_cookies=False)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return client.get(path, headers={**named, **({"Cookie": cookie} if cookie else {})})
