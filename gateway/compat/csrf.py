"""Verify and issue Flask-WTF's CSRF tokens, so that a form of one side may be posted to the other.

Fails closed: whatever is missing, malformed, expired or of another session is a 400. Only a legacy
configuration that says ``WTF_CSRF_ENABLED = False`` lifts the check, as it does in Flask-WTF.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from fastapi import HTTPException
from itsdangerous import BadData, SignatureExpired, URLSafeTimedSerializer
from starlette.requests import HTTPConnection, Request  # noqa: TC002  (FastAPI reads them at run time)

from gateway.errors import SettingsError

if TYPE_CHECKING:
    import flask

    from gateway.compat.session import FlaskSessions

_FORM_TYPES: Final = ("application/x-www-form-urlencoded", "multipart/form-data")
_METHODS: Final = ("POST", "PUT", "PATCH", "DELETE")
_HEADERS: Final = ("X-CSRFToken", "X-CSRF-Token")
_TIME_LIMIT_S: Final = 3600


class FlaskCsrf:
    """Be the FastAPI dependency that lets a request through only with a good CSRF token.

    The counterpart of Flask-WTF's ``CSRFProtect``, on the routes (or the router) that declare it; its
    settings (``WTF_CSRF_*``) are those of the Flask configuration behind ``sessions``. The token is the
    form field ``csrf_token`` (also with a form's prefix), else the header ``X-CSRFToken``.
    The form is read with ``request.form()``, so an endpoint must not read the raw stream of a form post.
    """

    def __init__(self, sessions: FlaskSessions) -> None:
        self._sessions = sessions

    async def __call__(self, request: Request) -> None:
        """Return when the request may go on.

        Raises:
            HTTPException: 400 with Flask-WTF's reason.
        """
        app = self._sessions.flask_app(request.scope)
        config = app.config
        if config.get("WTF_CSRF_ENABLED", True) is False:
            return
        if request.method not in config.get("WTF_CSRF_METHODS", _METHODS):
            return
        field = _field_name(app)
        self._verify(await self._sent_token(request, app), (await self._sessions(request)).get(field), app)
        if request.url.scheme == "https" and config.get("WTF_CSRF_SSL_STRICT", True):
            _verify_referrer(request)

    async def token(self, connection: HTTPConnection) -> str:
        """Return a token for the form that this request shows (``generate_csrf()``); also a dependency."""
        session = await self._sessions(connection)
        app = self._sessions.flask_app(connection.scope)
        field = _field_name(app)
        if not isinstance(session.get(field), str):
            session[field] = hashlib.sha1(secrets.token_bytes(64), usedforsecurity=False).hexdigest()
        return str(_serializer(app).dumps(session[field]))

    async def _sent_token(self, request: Request, app: flask.Flask) -> str | None:
        field = _field_name(app)
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() in _FORM_TYPES:
            form = await request.form()
            names = [field, *(name for name in form if name.endswith(field))]
            for name in names:
                value = form.get(name)
                if isinstance(value, str) and value:
                    return value
        for header in app.config.get("WTF_CSRF_HEADERS", _HEADERS):
            if value := request.headers.get(header):
                return value
        return None

    def _verify(self, sent: str | None, expected: Any, app: flask.Flask) -> None:
        if not sent:
            raise _refusal("The CSRF token is missing.")
        if not isinstance(expected, str):
            raise _refusal("The CSRF session token is missing.")
        try:
            found = _serializer(app).loads(sent, max_age=app.config.get("WTF_CSRF_TIME_LIMIT", _TIME_LIMIT_S))
        except SignatureExpired as exc:
            raise _refusal("The CSRF token has expired.") from exc
        except BadData as exc:
            raise _refusal("The CSRF token is invalid.") from exc
        if not isinstance(found, str) or not hmac.compare_digest(expected.encode(), found.encode()):
            raise _refusal("The CSRF tokens do not match.")


def _serializer(app: flask.Flask) -> URLSafeTimedSerializer:
    key = app.config.get("WTF_CSRF_SECRET_KEY") or app.secret_key
    if not key:
        raise SettingsError("CSRF tokens need SECRET_KEY or WTF_CSRF_SECRET_KEY")
    return URLSafeTimedSerializer(key, salt="wtf-csrf-token")


def _field_name(app: flask.Flask) -> str:
    return str(app.config.get("WTF_CSRF_FIELD_NAME", "csrf_token"))


def _verify_referrer(request: Request) -> None:
    referrer = request.headers.get("referer")
    if not referrer:
        raise _refusal("The referrer header is missing.")
    try:
        sent, own = urlsplit(referrer), urlsplit(f"https://{request.headers.get('host', '')}/")
        is_same = (sent.scheme, sent.hostname, sent.port or 443) == ("https", own.hostname, own.port or 443)
    except ValueError:
        is_same = False
    if not is_same:
        raise _refusal("The referrer does not match the host.")


def _refusal(reason: str) -> HTTPException:
    return HTTPException(400, reason)
