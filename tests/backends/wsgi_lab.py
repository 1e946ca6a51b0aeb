"""Be the Flask app that the bridge's tests serve under gunicorn and through the bridge, to compare."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

from flask import Flask, Response, abort, redirect, request, send_file

if TYPE_CHECKING:
    from collections.abc import Iterator

app = Flask(__name__)


def _environ() -> dict[str, Any]:
    """Tell the whole environ, what is text of it, and the plain values."""
    return {
        key: value
        for key, value in request.environ.items()
        if isinstance(value, str | bool | int | tuple) and not key.startswith("werkzeug.")
    }


class _EverywhereEnviron:
    """Answer ``/environ`` below Flask's routing, which would redirect some of the odd paths."""

    def __init__(self, wsgi_app: Any) -> None:
        self.wsgi_app = wsgi_app

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        if "environ" not in environ["PATH_INFO"][:10]:
            return self.wsgi_app(environ, start_response)
        with app.request_context(environ):
            return app.make_response(_environ())(environ, start_response)


app.wsgi_app = _EverywhereEnviron(app.wsgi_app)  # type: ignore[method-assign]  # Flask's documented way


@app.post("/echo")
def echo() -> bytes:
    """Return the body."""
    return request.get_data()


@app.post("/form")
def form() -> dict[str, Any]:
    """Return the form, repeated fields included."""
    return {"form": request.form.to_dict(flat=False), "length": request.content_length}


@app.get("/parts/<path:name>")
def parts(name: str) -> dict[str, str]:
    """Return what Flask makes of the address."""
    return {"url": request.url, "root": request.root_path, "path": request.path}


def _stream() -> Iterator[str]:
    for number in range(10):
        yield f"{number}\n"


@app.route("/answer/<kind>", methods=["GET", "POST"])
def answer(kind: str) -> Any:
    """Answer in one of many ways."""
    if kind == "latin-1":
        return Response("x", headers={"X-Name": "caf\xe9"})
    if kind == "cookies":
        response = Response("x")
        response.set_cookie("a", "1")
        response.set_cookie("b", "2", httponly=True)
        return response
    if kind in {"204", "304"}:
        return Response("gone", status=int(kind), headers={"ETag": '"x"'})
    if kind == "redirect":
        return redirect("/elsewhere")
    if kind == "stream":
        return Response(_stream(), mimetype="text/plain")
    if kind == "error":
        raise RuntimeError("on purpose")
    if kind == "abort":
        abort(409)
    if kind == "file":
        return send_file(io.BytesIO(b"file " * 50_000), mimetype="text/plain")
    if kind == "exit":
        raise SystemExit(1)
    return "plain"
