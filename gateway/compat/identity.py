"""Say who is logged in, from what Flask-Login keeps in the session and in its remember cookie.

Flask-Login is the law: the same keys (``_user_id``, ``_fresh``, ``_id``, ``_remember``), the same session
protection, the same signature of the remember cookie, so that a login on one side is a login on the other.
Flask-Login itself need not be installed. Loading the user object is the new app's own affair.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha512
from typing import TYPE_CHECKING, Final, Literal

from fastapi import HTTPException
from starlette.requests import HTTPConnection  # noqa: TC002  (FastAPI reads the annotation at run time)

from gateway.compat.host import cookie_header, read_cookies

if TYPE_CHECKING:
    from collections.abc import Mapping

    import flask

    from gateway.compat.session import FlaskSession, FlaskSessions

Protection = Literal["basic", "strong"]

_REMEMBER_COOKIE: Final = "remember_token"
_REMEMBER_DURATION: Final = timedelta(days=365)
_SESSION_KEYS: Final = ("_user_id", "_remember", "_remember_seconds", "_id", "_fresh", "next")


@dataclass(frozen=True, slots=True)
class Identity:
    """Be a logged-in user: the id as Flask-Login's ``get_id()`` wrote it, and whether the login is fresh.

    ``is_fresh`` is False for a login restored from the remember cookie, or whose caller's address or
    browser changed under ``basic`` protection (Flask-Login's ``login_fresh()``).
    """

    user_id: str
    is_fresh: bool


class FlaskLogin:
    """Be the FastAPI dependency for the user that Flask-Login put in the session, or None.

    The counterpart of ``current_user``; :meth:`required` is that of ``@login_required``, :meth:`fresh` of
    ``@fresh_login_required``. ``protection`` is Flask-Login's ``session_protection``; by default it is
    SESSION_PROTECTION of the Flask configuration, else that of the app's LoginManager, else ``basic``.
    """

    def __init__(
        self, sessions: FlaskSessions, *, protection: Protection | Literal["off"] | None = None
    ) -> None:
        self._sessions = sessions
        self._protection = protection

    async def __call__(self, connection: HTTPConnection) -> Identity | None:
        """Return who is logged in, or None."""
        session = await self._sessions(connection)
        app = self._sessions.flask_app(connection.scope)
        self._sessions.before_saving(connection, self._update_remember_cookie(app))
        if self._is_locked_out(connection, session, app):
            return None
        user_id = session.get("_user_id")
        if user_id is not None:
            return Identity(str(user_id), session.get("_fresh") is True)
        if session.get("_remember") == "clear":
            return None
        cookie = read_cookies(cookie_header(connection.scope)).get(_remember_name(app))
        remembered = None if cookie is None else read_remember_cookie(cookie, app.config["SECRET_KEY"])
        if remembered is None:
            return None
        session["_user_id"] = remembered
        session["_fresh"] = False
        return Identity(remembered, is_fresh=False)

    async def required(self, connection: HTTPConnection) -> Identity:
        """Return who is logged in; 401 when nobody is, as Flask-Login does without a ``login_view``."""
        identity = await self(connection)
        if identity is None:
            raise HTTPException(401)
        return identity

    async def fresh(self, connection: HTTPConnection) -> Identity:
        """Return who logged in during this session; 401 when nobody did, or the login is a remembered one."""
        identity = await self.required(connection)
        if not identity.is_fresh:
            raise HTTPException(401)
        return identity

    async def log_in(
        self,
        connection: HTTPConnection,
        user_id: str,
        *,
        is_remembered: bool = False,
        is_fresh: bool = True,
        duration: timedelta | None = None,
    ) -> None:
        """Log a user in on both sides, as ``login_user`` does; ``duration`` is the remember cookie's."""
        session = await self._sessions(connection)
        session["_user_id"] = user_id
        session["_fresh"] = is_fresh
        session["_id"] = caller_identifier(connection.scope)
        if is_remembered:
            session["_remember"] = "set"
            if duration is not None:
                session["_remember_seconds"] = duration.total_seconds()
        app = self._sessions.flask_app(connection.scope)
        self._sessions.before_saving(connection, self._update_remember_cookie(app))

    async def log_out(self, connection: HTTPConnection) -> None:
        """Log the user out on both sides, as ``logout_user`` does, and clear the remember cookie."""
        session = await self._sessions(connection)
        app = self._sessions.flask_app(connection.scope)
        for key in ("_user_id", "_fresh", "_id"):
            session.pop(key, None)
        if _remember_name(app) in read_cookies(cookie_header(connection.scope)):
            session["_remember"] = "clear"
            session.pop("_remember_seconds", None)
        self._sessions.before_saving(connection, self._update_remember_cookie(app))

    def _is_locked_out(self, connection: HTTPConnection, session: FlaskSession, app: flask.Flask) -> bool:
        mode = self._protection_of(app)
        if mode not in ("basic", "strong") or not session:
            return False
        if session.get("_id") == caller_identifier(connection.scope):
            return False
        if mode == "basic" or session.permanent:
            if session.get("_fresh") is not False:
                session["_fresh"] = False
            return False
        for key in _SESSION_KEYS:
            session.pop(key, None)
        session["_remember"] = "clear"
        return True

    def _protection_of(self, app: flask.Flask) -> str | None:
        if self._protection is not None:
            return self._protection
        manager = getattr(app, "login_manager", None)
        mode: str | None = app.config.get(
            "SESSION_PROTECTION", getattr(manager, "session_protection", "basic")
        )
        return mode

    def _update_remember_cookie(self, app: flask.Flask) -> _RememberStep:
        return _RememberStep(app)


@dataclass(frozen=True, slots=True)
class _RememberStep:
    """Set or clear the remember cookie as Flask-Login's after-request function does."""

    app: flask.Flask

    def __call__(self, session: FlaskSession, response: flask.Response) -> None:
        config = self.app.config
        if "_remember" not in session and config.get("REMEMBER_COOKIE_REFRESH_EACH_REQUEST"):
            session["_remember"] = "set"
        if "_remember" not in session:
            return
        wish = session.pop("_remember", None)
        if wish == "set" and "_user_id" in session:
            duration = session.get("_remember_seconds", config.get("REMEMBER_COOKIE_DURATION"))
            if duration is None:
                duration = _REMEMBER_DURATION
            elif not isinstance(duration, timedelta):
                duration = timedelta(seconds=duration)
            response.set_cookie(
                _remember_name(self.app),
                write_remember_cookie(str(session["_user_id"]), config["SECRET_KEY"]),
                expires=datetime.now(UTC) + duration,
                domain=config.get("REMEMBER_COOKIE_DOMAIN"),
                path=config.get("REMEMBER_COOKIE_PATH", "/"),
                secure=config.get("REMEMBER_COOKIE_SECURE", False),
                httponly=config.get("REMEMBER_COOKIE_HTTPONLY", True),
                samesite=config.get("REMEMBER_COOKIE_SAMESITE"),
            )
        elif wish == "clear":
            response.delete_cookie(
                _remember_name(self.app),
                domain=config.get("REMEMBER_COOKIE_DOMAIN"),
                path=config.get("REMEMBER_COOKIE_PATH", "/"),
            )


def caller_identifier(scope: Mapping[str, object]) -> str:
    """Return Flask-Login's ``_id`` of a caller: SHA-512 (hex) over its address and its browser's name.

    The address is the first of X-Forwarded-For, else the peer's; both texts enter as Python shows bytes,
    which is what Flask-Login hashes.
    """
    headers: list[tuple[bytes, bytes]] = scope["headers"]  # type: ignore[assignment]  # an ASGI scope's shape
    forwarded = ",".join(value.decode("latin-1") for name, value in headers if name == b"x-forwarded-for")
    has_forwarded = any(name == b"x-forwarded-for" for name, _ in headers)
    client: tuple[str, int] | None = scope.get("client")  # type: ignore[assignment]  # an ASGI scope's shape
    address = forwarded if has_forwarded else (client[0] if client else None)
    agents = [value.decode("latin-1") for name, value in headers if name == b"user-agent"]
    shown_address = None if address is None else address.encode().split(b",")[0].strip()
    shown_agent = ",".join(agents).encode() if agents else None
    return sha512(f"{shown_address!r}|{shown_agent!r}".encode()).hexdigest()


def read_remember_cookie(cookie: str, secret_key: str | bytes) -> str | None:
    """Return the user id in a remember cookie whose signature is good, else None.

    The signature is HMAC-SHA512 with SECRET_KEY; Flask-Login knows no fallback keys.
    """
    user_id, bar, digest = cookie.rpartition("|")
    # Compared as bytes, since compare_digest refuses non-ASCII text and a stranger wrote this.
    if bar and hmac.compare_digest(
        _digest(user_id, secret_key).encode(), digest.encode("utf-8", "surrogateescape")
    ):
        return user_id
    return None


def write_remember_cookie(user_id: str, secret_key: str | bytes) -> str:
    """Return the value of the remember cookie for ``user_id``."""
    return f"{user_id}|{_digest(user_id, secret_key)}"


def _digest(text: str, secret_key: str | bytes) -> str:
    key = secret_key.encode("latin-1") if isinstance(secret_key, str) else secret_key
    return hmac.new(key, text.encode("utf-8", "surrogateescape"), sha512).hexdigest()


def _remember_name(app: flask.Flask) -> str:
    return str(app.config.get("REMEMBER_COOKIE_NAME", _REMEMBER_COOKIE))
