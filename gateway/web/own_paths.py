"""Serve the gateway's own public paths: health, readiness, the merged description and its page.

Everything else on the public listener belongs to the two apps, and so does every path here that an
app already answers: :meth:`OwnPaths.claim` never takes one away from it, but for the gateway's prefix.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from fastapi.responses import JSONResponse

from gateway.web.docs import DOCS_FILES, DocsAssets, docs_page

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from fastapi import FastAPI, Request, Response

    from gateway.table.route import Snapshot

    Handler = Callable[[Request], Awaitable[Response]]


class OwnPaths:
    """Register the gateway's own paths on ``app``, and say per snapshot which of them are in force.

    ``report`` returns how the worker stands after asking both backends how they are (see
    ``Gateway.standing``), ``describe`` the merged OpenAPI description of the snapshot in force.
    """

    def __init__(
        self,
        app: FastAPI,
        report: Callable[[], Awaitable[dict[str, Any]]],
        describe: Callable[[], dict[str, Any]],
    ) -> None:
        self._app = app
        self._report = report
        self._describe = describe
        self._registered: set[str] = set()
        self._described: tuple[Snapshot, Response] | None = None
        self._snapshot: Snapshot

    def claim(self, snapshot: Snapshot) -> frozenset[str]:
        """Return the exact paths that are the gateway's own under ``snapshot``, and make them answer."""
        self._snapshot = snapshot
        server = snapshot.spec.server
        prefix = server.prefix.rstrip("/")
        handlers: dict[str, Handler] = {f"{prefix}/health": self._health, f"{prefix}/ready": self._ready}
        if server.openapi is not None and not _is_taken(snapshot, server.openapi):
            handlers[server.openapi] = self._openapi
            if server.docs is not None and not _is_taken(snapshot, server.docs):
                handlers[server.docs] = self._docs
                handlers |= {f"{prefix}/docs/{name}": _docs_file for name in DOCS_FILES}
        for path, handler in handlers.items():
            if path not in self._registered:
                self._registered.add(path)
                self._app.add_route(path, handler, methods=["GET"], include_in_schema=False)
        return frozenset(handlers)

    async def _health(self, _request: Request) -> Response:
        """Tell that the process is up and its event loop turns."""
        return JSONResponse({"status": "ok"}, headers={"cache-control": "no-store"})

    async def _ready(self, _request: Request) -> Response:
        """Tell whether both backends can answer, and whether the file on disk is the table in force.

        A refused file does not make a worker unready: the last good table serves, and taking the
        worker out of rotation for a typing error would be the outage that the gateway is there to prevent.
        """
        report = await self._report()
        content = {
            "ready": report["is_ready"],
            "reasons": report["reasons"],
            "table": {
                "valid": report["is_valid"],
                "generation": report["generation"],
                "digest": report["digest"],
                "problems": report["problems"],
            },
        }
        status = 200 if report["is_ready"] else 503
        return JSONResponse(content, status, headers={"cache-control": "no-store"})

    async def _openapi(self, _request: Request) -> Response:
        """Describe the whole API. The description is made once a snapshot, in a thread: it may be large."""
        snapshot = self._snapshot
        if self._described is None or self._described[0] is not snapshot:
            description = await asyncio.to_thread(self._describe)
            self._described = (snapshot, JSONResponse(description))
        return self._described[1]

    async def _docs(self, _request: Request) -> Response:
        server = self._snapshot.spec.server
        return docs_page(server.openapi or "", f"{server.prefix.rstrip('/')}/docs")


async def _docs_file(request: Request) -> Response:
    return DocsAssets().response(request.scope)


def _is_taken(snapshot: Snapshot, path: str) -> bool:
    """Tell whether an app answers ``path`` already: a listed row, or a rule of the legacy app."""
    return snapshot.matcher.match("GET", path) is not None
