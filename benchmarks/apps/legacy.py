"""Be the legacy app of the benchmarks: a Flask app, and the bridges that others would put before it.

``hello`` is the plain request; ``sleep`` blocks a thread; ``pour`` and ``swallow`` move many bytes.
"""

from __future__ import annotations

import time
import warnings
from typing import TYPE_CHECKING, Any

from flask import Flask, Response, jsonify, request

if TYPE_CHECKING:
    from collections.abc import Iterator

CHUNK = b"x" * 65536

app = Flask(__name__)


@app.get("/hello")
def hello() -> Response:
    """Answer the plain request."""
    return jsonify(hello="world")


@app.get("/sleep/<int:milliseconds>")
def sleep(milliseconds: int) -> Response:
    """Block the thread, as a call to a slow database does."""
    time.sleep(milliseconds / 1000)
    return jsonify(slept=milliseconds)


@app.get("/pour/<int:chunks>")
def pour(chunks: int) -> Response:
    """Stream ``chunks`` times 64 KiB."""

    def produce() -> Iterator[bytes]:
        for _ in range(chunks):
            yield CHUNK

    return Response(produce(), mimetype="application/octet-stream")


@app.post("/swallow")
def swallow() -> Response:
    """Read the body piece by piece and say how long it was (bytes)."""
    total = 0
    while piece := request.stream.read(65536):
        total += len(piece)
    return jsonify(total=total)


def a2wsgi() -> Any:
    """Return the app behind a2wsgi's bridge, with 8 threads."""
    from a2wsgi import WSGIMiddleware

    return WSGIMiddleware(app, workers=8)  # type: ignore[arg-type] # its own WSGI types are narrower than PEP 3333


def asgiref() -> Any:
    """Return the app behind asgiref's bridge."""
    from asgiref.wsgi import WsgiToAsgi

    return WsgiToAsgi(app)  # type: ignore[no-untyped-call] # asgiref types it not


def starlette() -> Any:
    """Return the app behind Starlette's bridge."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecated, and still what many use
        from starlette.middleware.wsgi import WSGIMiddleware

    return WSGIMiddleware(app)
