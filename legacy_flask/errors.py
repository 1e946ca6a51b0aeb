"""Answer every failure as ``{"error": …}``, and the admin pages' failures as a page."""

import logging

from flask import Flask, jsonify, make_response, render_template, request
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import HTTPException

log = logging.getLogger(__name__)


def init_app(app: Flask) -> None:
    """Install the handlers."""
    app.register_error_handler(HTTPException, answer_http_error)
    app.register_error_handler(Exception, answer_unhandled)


def answer(status: int, message: str) -> ResponseReturnValue:
    """Return an error in the shape that fits the caller."""
    if request.path.startswith("/admin"):
        return render_template("admin/error.html", status=status, message=message), status
    return jsonify({"error": message}), status


def answer_http_error(error: HTTPException) -> ResponseReturnValue:
    """Answer what Flask or ``abort()`` raised; a redirect or a ready response passes as it is."""
    if error.response is not None or error.code is None or error.code < 400:
        return error.get_response()
    response = make_response(answer(error.code, error.name.capitalize()))
    # Keep what belongs to the error itself, such as Allow on 405.
    for name, value in error.get_headers():
        if name.lower() not in ("content-type", "content-length"):
            response.headers[name] = value
    return response


def answer_unhandled(error: Exception) -> ResponseReturnValue:
    """Log the failure with the request's id, and tell the client nothing of it."""
    request_id = request.headers.get("X-Request-ID", "-")
    log.error("%s %s failed, request %s", request.method, request.path, request_id, exc_info=error)
    return answer(500, "Internal server error")
