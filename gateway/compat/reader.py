"""Read Flask's signed-cookie sessions, which takes no I/O, for those who never write them.

Flask's own ``open_session`` verifies signature and age; this module only feeds it a Cookie header.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, cast

from flask import Flask
from flask.sessions import SecureCookieSessionInterface

from gateway.compat.host import configured_app, read_cookies
from gateway.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Mapping

    import flask
    from flask.sessions import SessionInterface, SessionMixin

logger = logging.getLogger("gateway.compat")


class SessionReader:
    """Read Flask sessions without ever writing them, for decisions such as the sticky assignment.

    Only signed-cookie sessions can be read: a server-side store would mean I/O before each decision.
    """

    __slots__ = ("_app",)

    def __init__(self, source: object) -> None:
        """Prepare for ``source``: a Flask app or a dict of its configuration; anything else reads nothing."""
        self._app: Flask | None = None
        if isinstance(source, Flask):
            self._app = source
        elif isinstance(source, dict):
            try:
                self._app = configured_app(source)
            except SettingsError:
                return
        if self._app is not None and not _is_signed_cookie(self._app.session_interface):
            self._app = None

    @property
    def can_read(self) -> bool:
        """Tell whether this source's sessions are in the cookie at all."""
        return self._app is not None

    def read(self, header: bytes) -> Mapping[str, Any] | None:
        """Return the session in a Cookie header whose signature and age are good, else None. Never raises."""
        if self._app is None or not header:
            return None
        try:
            session = open_plain(self._app, header.decode("latin-1"))
        except Exception:
            # The cookie is a stranger's text and the interface may be a subclass of Flask's: no fault of
            # either may touch a request that only wanted to be assigned.
            logger.debug("a session cookie could not be read", exc_info=True)
            return None
        return session or None


def read_session(source: object, header: bytes) -> Mapping[str, Any] | None:
    """Return the verified session in a Cookie header, or None. Never raises.

    ``source`` is a Flask app or a dict of its configuration; keep a :class:`SessionReader` for many reads.
    """
    return SessionReader(source).read(header)


class _CookiesOnly:
    """Be as much of a Flask request as Flask's own session interface looks at."""

    __slots__ = ("cookies",)

    def __init__(self, header: str) -> None:
        self.cookies = read_cookies(header)


def open_plain(app: Flask, header: str) -> SessionMixin:
    """Return the session in a Cookie header as the app's interface opens it, without a request around it."""
    interface = app.session_interface
    session = interface.open_session(app, cast("flask.Request", _CookiesOnly(header)))
    return interface.make_null_session(app) if session is None else session


def _is_signed_cookie(interface: SessionInterface) -> bool:
    return (
        isinstance(interface, SecureCookieSessionInterface)
        and type(interface).open_session is SecureCookieSessionInterface.open_session
    )
