"""Give FastAPI authors Flask's session: read, changed and written back exactly as Flask does it.

Laws of this module:

- Flask's own ``session_interface`` opens and saves every session: the legacy app's where it runs in this
  process, else that of a bare Flask app made from explicit settings. No rule of the cookie is restated here.
- The session is saved when the response's head is sent, as Flask saves it before a response leaves. It
  therefore lands on *any* response: a returned model, a returned ``Response``, a redirect, a stream, an
  ``HTTPException``, a 422, a 500. Changes made after that (inside a stream) are lost, as in Flask.
- Flask's own interface does no I/O and runs in the event loop; any other runs in a worker thread, inside a
  Flask request context.
- A shadow call never saves to a server-side store.

FastAPI merges the headers of an injected ``Response`` only into responses that it builds itself, and a
dependency cannot see what an exception handler sends. So the writing is done around the app's whole
middleware stack, which :meth:`FlaskSessions.install` arranges in one line.
"""

from __future__ import annotations

import logging
from collections import Counter
from typing import TYPE_CHECKING, Any, Final, TypeAlias, cast

import anyio.to_thread
import flask
from flask import Flask
from flask.sessions import SessionMixin
from starlette.requests import HTTPConnection  # noqa: TC002  (FastAPI reads the annotation at run time)

from gateway.compat.host import (
    LEGACY_APP_KEY,
    configured_app,
    cookie_header,
    hosted_app,
    is_plain,
    is_shadow,
    wsgi_environ,
)
from gateway.compat.reader import open_plain
from gateway.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from flask.sessions import SessionInterface
    from starlette.applications import Starlette
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

_SLOTS_KEY: Final = "gateway.sessions"

logger = logging.getLogger("gateway.compat")

FlaskSession = SessionMixin
"""The type of an injected session: a mutable mapping with ``permanent``, ``modified`` and ``new``."""


BeforeSaving: TypeAlias = "Callable[[FlaskSession, flask.Response], None]"
"""A step that may look at the session and the response's head before the session is saved."""


class FlaskSessions:
    """Be the FastAPI dependency that returns the request's Flask session (``flask.session``).

    ``source`` says whose sessions they are: a Flask app, a mapping of Flask's configuration names
    (``{"SECRET_KEY": ..., "SESSION_COOKIE_NAME": ...}``), or None for the legacy app that the gateway hosts
    in this process. ``secret_key``, ``cookie_name`` and ``key_fallbacks`` are short for the three keys
    needed most; ``session_interface`` is for server-side sessions without the legacy app at hand.
    With ``is_refreshing`` (as in Flask) a permanent session's cookie is renewed by endpoints that never
    touch the session, too.

    Raises:
        SettingsError: settings without a secret key, or together with a Flask app.
    """

    def __init__(
        self,
        source: Flask | Mapping[str, Any] | None = None,
        *,
        secret_key: str | bytes | None = None,
        cookie_name: str | None = None,
        key_fallbacks: list[str | bytes] | None = None,
        session_interface: SessionInterface | None = None,
        is_refreshing: bool = True,
    ) -> None:
        named = {
            "SECRET_KEY": secret_key,
            "SESSION_COOKIE_NAME": cookie_name,
            "SECRET_KEY_FALLBACKS": key_fallbacks,
        }
        settings = {name: value for name, value in named.items() if value is not None}
        if isinstance(source, Flask):
            if settings or session_interface is not None:
                raise SettingsError("a Flask app brings its own session settings; give one or the other")
            self._app: Flask | None = source
        elif source is not None or settings or session_interface is not None:
            self._app = configured_app({**(source or {}), **settings}, session_interface)
        else:
            self._app = None
        self.is_refreshing = is_refreshing
        self._has_compared = False

    async def __call__(self, connection: HTTPConnection) -> FlaskSession:
        """Return this request's session; the same object for every dependant of one request.

        Raises:
            SettingsError: :meth:`install` was not called on the app, or no legacy app is to be found.
        """
        session = await self._slot(connection).open()
        # Flask marks the session as accessed when a view touches `flask.session`; being injected is that.
        session.accessed = True
        return session

    def before_saving(self, connection: HTTPConnection, step: BeforeSaving) -> None:
        """Call ``step(session, response)`` just before this request's session is saved.

        ``response`` is a Flask response that stands for the head to be sent: ``step`` may set cookies on it.
        It is the counterpart of ``flask.after_this_request``. A step that is registered twice runs once.
        """
        steps = self._slot(connection).steps
        if step not in steps:
            steps.append(step)

    def _slot(self, connection: HTTPConnection) -> _Slot:
        slot: _Slot | None = connection.scope.get(_SLOTS_KEY, {}).get(self)
        if slot is None:
            raise SettingsError(
                "these Flask sessions are not installed, so nothing would write the cookie; "
                "call sessions.install(app) once, where the FastAPI app is made"
            )
        return slot

    def install(self, app: Starlette) -> None:
        """Let ``app`` (FastAPI or Starlette) write changed sessions on whatever response it sends.

        Call it once, before the app serves. The whole middleware stack is wrapped, not one more
        middleware added, because Starlette sends its 500s from outside of every added middleware, and
        Flask saves the session on a 500 as well.
        """
        if app.middleware_stack is not None:
            raise SettingsError("sessions.install(app) comes too late: the app has begun to serve")
        build = app.build_middleware_stack
        app.build_middleware_stack = (  # type: ignore[method-assign]  # Starlette has no outermost hook
            lambda: SessionMiddleware(build(), self)
        )

    def flask_app(self, scope: Mapping[str, Any]) -> Flask:
        """Return the Flask app whose settings hold for this request.

        Raises:
            SettingsError: none was given, and the gateway hosts no Flask app in this process.
        """
        if self._app is None:
            app = hosted_app(scope)
            if app is None:
                raise SettingsError(
                    f'there is no Flask app in this process (scope["{LEGACY_APP_KEY}"]) to share sessions '
                    "with; name the settings: FlaskSessions(secret_key=..., cookie_name=...)"
                )
            return app
        if not self._has_compared:
            self._warn_of_other_settings(scope)
        return self._app

    def _warn_of_other_settings(self, scope: Mapping[str, Any]) -> None:
        self._has_compared = True
        hosted, own = hosted_app(scope), self._app
        if hosted is None or own is None or hosted is own:
            return
        for name in ("SECRET_KEY", "SESSION_COOKIE_NAME"):
            if hosted.config[name] != own.config[name]:
                logger.warning(
                    "FlaskSessions was given another %s than the legacy app in this process has: "
                    "neither side will read the other's sessions",
                    name,
                )


class SessionMiddleware:
    """Open sessions for one :class:`FlaskSessions` on demand, and save them when the response's head is sent.

    Pure ASGI and stateless; ``FlaskSessions.install`` puts it around an app.
    """

    def __init__(self, app: ASGIApp, sessions: FlaskSessions) -> None:
        self.app = app
        self.sessions = sessions

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on with a place for its session."""
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        slot = _Slot(self.sessions, scope)
        scope[_SLOTS_KEY] = {**scope.get(_SLOTS_KEY, {}), self.sessions: slot}

        async def send_with_session(message: Message) -> None:
            if message["type"] in ("http.response.start", "websocket.accept"):
                message = await slot.save(message)
            await send(message)

        await self.app(scope, receive, send_with_session)


class _Slot:
    """Hold one request's session from its opening to its saving."""

    __slots__ = ("_app", "_context", "_scope", "_session", "_sessions", "steps")

    def __init__(self, sessions: FlaskSessions, scope: Scope) -> None:
        self._sessions = sessions
        self._scope = scope
        self._session: SessionMixin | None = None
        self._app: Flask | None = None
        self._context: Any = None
        self.steps: list[BeforeSaving] = []

    async def open(self) -> SessionMixin:
        """Return the session, opened at most once for the request."""
        if self._session is None:
            app = self._app = self._sessions.flask_app(self._scope)
            if is_plain(app):
                self._session = open_plain(app, cookie_header(self._scope))
            else:
                self._session = await anyio.to_thread.run_sync(self._open_in_context, app)
        return self._session

    def _open_in_context(self, app: Flask) -> SessionMixin:
        # Pushing a request context is how Flask itself opens a session: interfaces may use `request`,
        # `current_app` and what hangs on the app's teardown (a database session, say).
        self._context = app.request_context(wsgi_environ(self._scope))
        with self._context:
            session = cast("SessionMixin", flask.session._get_current_object())  # type: ignore[attr-defined]  # a LocalProxy at run time
        session.accessed = False
        return session

    async def save(self, message: Message) -> Message:
        """Return the response's head with what saving the session adds to it."""
        is_untouched = self._session is None
        if is_untouched and not self._has_to_refresh():
            return message
        session = await self.open()
        app = cast("Flask", self._app)
        interface = app.session_interface
        if interface.is_null_session(session):
            return message
        if is_shadow(self._scope) and not is_plain(app):
            # A cookie is thrown away with the shadow's answer; what is written to a store would stay.
            return message
        if is_untouched and is_plain(app) and not interface.should_set_cookie(app, session):
            # Flask's own interface would do nothing now: spare most requests the response made for it.
            return message
        headers = _one_vary(message.get("headers", ()))
        response = app.response_class(
            status=message.get("status", 101),
            headers=[(name.decode("latin-1"), value.decode("latin-1")) for name, value in headers],
        )
        before = list(response.headers)
        for step in self.steps:
            step(session, response)
        if self._context is None:
            interface.save_session(app, session, response)
        else:
            await anyio.to_thread.run_sync(self._save_in_context, app, session, response)
        after = list(response.headers)
        return message if after == before else {**message, "headers": _changed(headers, before, after)}

    def _save_in_context(self, app: Flask, session: SessionMixin, response: flask.Response) -> None:
        # A copy shares the request and the session that is already open.
        with self._context.copy():
            app.session_interface.save_session(app, session, response)

    def _has_to_refresh(self) -> bool:
        if not self._sessions.is_refreshing or self._scope["type"] != "http":
            return False
        header = cookie_header(self._scope)
        if not header:
            return False
        try:
            app = self._sessions.flask_app(self._scope)
        except SettingsError:
            # The endpoint did not ask for a session: it may run where none is to be had.
            return False
        return bool(app.config["SESSION_REFRESH_EACH_REQUEST"]) and (
            app.session_interface.get_cookie_name(app) in header
        )


def _one_vary(headers: Any) -> list[tuple[bytes, bytes]]:
    """Join several Vary lines: Werkzeug reads the first of them and replaces them all."""
    lines = [(bytes(name), bytes(value)) for name, value in headers]
    values = [value for name, value in lines if name.lower() == b"vary"]
    if len(values) < 2:
        return lines
    others = [line for line in lines if line[0].lower() != b"vary"]
    return [*others, (b"vary", b", ".join(values))]


def _changed(
    headers: list[tuple[bytes, bytes]], before: list[tuple[str, str]], after: list[tuple[str, str]]
) -> list[tuple[bytes, bytes]]:
    """Return ``headers`` with what became of ``before`` in ``after``; untouched lines keep their bytes."""
    gone, added = Counter(before) - Counter(after), Counter(after) - Counter(before)
    kept = []
    for name, value in headers:
        line = (name.decode("latin-1"), value.decode("latin-1"))
        if gone[line]:
            gone[line] -= 1
        else:
            kept.append((name, value))
    for line in after:
        if added[line]:
            added[line] -= 1
            kept.append((line[0].lower().encode("latin-1"), line[1].encode("latin-1")))
    return kept
