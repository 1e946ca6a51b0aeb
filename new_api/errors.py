"""Answer failures as clients of the legacy app know them: ``{"error": …}``, and 400 for bad input.

``POST /users`` is ahead of the rest: it answers bad input with FastAPI's own 422.
"""

import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, cast

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

log = logging.getLogger(__name__)

WITH_FASTAPIS_OWN_ERRORS = {("POST", "/users")}

SENTENCES = {
    "missing": "{field} is required",
    "string_type": "{field} must be text",
    "string_unicode": "{field} must be printable text",
    "string_too_short": "{field} is too short (shortest: {min_length})",
    "string_too_long": "{field} is too long (longest: {max_length})",
    "int_type": "{field} must be a whole number",
    "int_parsing": "{field} must be a whole number",
    "int_parsing_size": "{field} must be a whole number",
    "int_from_float": "{field} must be a whole number",
    "greater_than_equal": "{field} must be at least {ge}",
    "less_than_equal": "{field} must be at most {le}",
    "value_error": "{field} must be an e-mail address",
}


def install(app: FastAPI) -> None:
    """Install the handlers."""
    app.add_exception_handler(HTTPException, answer_http_error)
    app.add_exception_handler(RequestValidationError, answer_invalid)
    app.add_exception_handler(Exception, answer_unhandled)


async def answer_http_error(_request: Request, error: Exception) -> Response:
    """Answer what a route or the framework raised."""
    error = cast("HTTPException", error)
    is_plain = error.detail == HTTPStatus(error.status_code).phrase
    message = error.detail.capitalize() if is_plain else error.detail
    return JSONResponse({"error": message}, error.status_code, error.headers)


async def answer_invalid(request: Request, error: Exception) -> Response:
    """Answer input that does not fit its type; a path that does not fit leads nowhere."""
    problems = cast("RequestValidationError", error).errors()
    if any(problem["loc"][0] == "path" for problem in problems):
        return JSONResponse({"error": "Not found"}, 404)
    if (request.method, request.url.path) in WITH_FASTAPIS_OWN_ERRORS:
        # Without the input, which would send a password back.
        shown = [{key: problem[key] for key in ("type", "loc", "msg")} for problem in problems]
        return JSONResponse({"detail": shown}, 422)
    return JSONResponse({"error": sentence(problems[0])}, 400)


def sentence(problem: Mapping[str, Any]) -> str:
    """Return pydantic's finding in the words of the legacy app."""
    if problem["loc"] == ("body",) or problem["type"] == "json_invalid":
        return "The body must be a JSON object"
    field, context = problem["loc"][-1], problem.get("ctx", {})
    if problem["input"] is None:
        return SENTENCES["missing"].format(field=field)
    if isinstance(context.get("error"), ValueError):
        return f"{field} {context['error']}"
    return SENTENCES.get(problem["type"], "{field} is not valid").format(field=field, **context)


async def answer_unhandled(request: Request, error: Exception) -> Response:
    """Log the failure with the request's id, and tell the client nothing of it."""
    request_id = request.headers.get("X-Request-ID", "-")
    log.error("%s %s failed, request %s", request.method, request.url.path, request_id, exc_info=error)
    return JSONResponse({"error": "Internal server error"}, 500)
