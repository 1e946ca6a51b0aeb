"""Find the Flask app whose sessions and keys the new app shares, and speak to it in its own types.

The gateway puts the in-process legacy app (or None) into the ASGI scope under :data:`LEGACY_APP_KEY`;
nothing here imports a legacy app. Where there is none, a bare Flask app made from explicit settings
stands in, so that Flask's own code decides in both cases.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, Final

from flask import Flask
from flask.sessions import SecureCookieSessionInterface
from werkzeug.http import parse_cookie

from gateway.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Mapping, MutableMapping

    from flask.sessions import SessionInterface
    from werkzeug.datastructures import MultiDict

LEGACY_APP_KEY: Final = "gateway.legacy_app"
"""The key of the ASGI scope under which the gateway puts the in-process legacy app, or None."""

ROLE_KEY: Final = "gateway.role"
"""The key of the ASGI scope under which the gateway says ``shadow`` for a call that must change nothing."""


def configured_app(config: Mapping[str, Any], session_interface: SessionInterface | None = None) -> Flask:
    """Return a bare Flask app that only carries ``config`` (upper-case Flask names) and an interface.

    Raises:
        SettingsError: no SECRET_KEY (unless an interface of your own is given), or a key of sessions
            that the installed Flask would silently ignore.
    """
    app = Flask("gateway.compat", static_folder=None)
    for name in ("SECRET_KEY_FALLBACKS", "SESSION_COOKIE_PARTITIONED"):
        if config.get(name) and name not in app.config:
            raise SettingsError(f"{name} needs Flask 3.1 or later; the installed Flask would ignore it")
    app.config.from_mapping(config)
    if session_interface is not None:
        app.session_interface = session_interface
    elif not app.secret_key:
        raise SettingsError("sessions need SECRET_KEY: give the key with which the legacy app signs")
    return app


def hosted_app(scope: Mapping[str, Any]) -> Flask | None:
    """Return the legacy Flask app that the gateway hosts in this process, or None."""
    app = scope.get(LEGACY_APP_KEY)
    return app if isinstance(app, Flask) else None


def is_shadow(scope: Mapping[str, Any]) -> bool:
    """Tell whether this call is a shadow call, which must change nothing."""
    return scope.get(ROLE_KEY) == "shadow"


def is_plain(app: Flask) -> bool:
    """Tell whether ``app`` keeps its sessions as Flask itself does: in the signed cookie, without any I/O."""
    return type(app.session_interface) is SecureCookieSessionInterface


def cookie_header(scope: Mapping[str, Any]) -> str:
    """Return the request's Cookie header; several of them join with ``; `` (RFC 9113, 8.2.3)."""
    return "; ".join(value.decode("latin-1") for name, value in scope["headers"] if name == b"cookie")


def read_cookies(header: str) -> MultiDict[str, str]:
    """Return the cookies of a Cookie header as Flask reads them: the first of a name wins."""
    return parse_cookie(header)


def wsgi_environ(scope: Mapping[str, Any]) -> dict[str, Any]:
    """Return the WSGI environ (PEP 3333) of a request without its body, for Flask code that wants one."""
    server = scope.get("server") or ("localhost", 80)
    scheme = {"ws": "http", "wss": "https"}.get(scope.get("scheme", "http"), scope.get("scheme", "http"))
    root_path = scope.get("root_path", "")
    path = scope["path"]
    if root_path and path.startswith(root_path):
        path = path[len(root_path) :]
    environ: dict[str, Any] = {
        "REQUEST_METHOD": scope.get("method", "GET"),
        "SCRIPT_NAME": _wsgi_text(root_path),
        "PATH_INFO": _wsgi_text(path),
        "QUERY_STRING": scope.get("query_string", b"").decode("latin-1"),
        "SERVER_NAME": server[0],
        "SERVER_PORT": str(server[1] or 80),
        "SERVER_PROTOCOL": f"HTTP/{scope.get('http_version', '1.1')}",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": scheme,
        "wsgi.input": io.BytesIO(),
        "wsgi.errors": io.StringIO(),
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
    }
    if scope.get("client"):
        environ["REMOTE_ADDR"] = scope["client"][0]
    _add_headers(environ, scope)
    return environ


def _add_headers(environ: MutableMapping[str, Any], scope: Mapping[str, Any]) -> None:
    for raw_name, raw_value in scope["headers"]:
        name = raw_name.decode("latin-1").upper().replace("-", "_")
        if name == "CONTENT_LENGTH":
            # The body belongs to the new app: an environ that announced one would be read for it.
            continue
        key = name if name == "CONTENT_TYPE" else f"HTTP_{name}"
        value = raw_value.decode("latin-1")
        if key in environ:
            value = f"{environ[key]}{'; ' if key == 'HTTP_COOKIE' else ','}{value}"
        environ[key] = value


def _wsgi_text(text: str) -> str:
    return text.encode("utf-8", "surrogateescape").decode("latin-1")
