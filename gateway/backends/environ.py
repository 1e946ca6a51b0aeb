"""Build a WSGI environ from an ASGI scope, once, from the bytes that came.

Law: what gunicorn would have given the app, the app gets. The path is the *raw* path, percent-decoded
and read as latin-1 (PEP 3333, "Unicode Issues"), never the canonical path that the gateway matched.
A header whose name holds an underscore is dropped (it would be confused with the one spelled with
hyphens), and so is ``Proxy`` (CVE-2016-5385); repeated headers are joined with a comma, cookies with
``"; "`` (RFC 9110 section 5.3, RFC 6265 section 5.4). The process environment plays no part.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote_to_bytes

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.backends.base import Scope

Environ = dict[str, Any]

_DROPPED = ""
_KEYS_LIMIT = 1024
_KEY_LENGTH_LIMIT = 64


def _software() -> str:
    # Apps look for gunicorn here before they trust a chunked body (httpbin answers 501 to all others).
    # What they rely on, the bridge does; so it says that it is like gunicorn, as browsers do.
    try:
        return f"gunicorn/compatible strangler-gateway/{version('strangler-gateway')}"
    except PackageNotFoundError:
        return "gunicorn/compatible strangler-gateway"


SERVER_SOFTWARE = _software()


class EnvironBuilder:
    """Build environs for one app.

    ``root_path`` is the prefix (``/api``) under which the app believes it is mounted; ``constants``
    are the keys that are the same for every request.
    """

    def __init__(self, *, root_path: str, constants: Environ) -> None:
        self._root_path = root_path.rstrip("/")
        self._constants: Environ = {"SERVER_SOFTWARE": SERVER_SOFTWARE, **constants}
        # Names recur: a request brings ten that the last one brought too. Bounded, because a client
        # chooses them.
        self._keys: dict[bytes, str] = {
            b"content-type": "CONTENT_TYPE",
            b"content-length": "CONTENT_LENGTH",
            b"proxy": _DROPPED,
        }

    def build(self, scope: Scope) -> Environ:
        """Return the environ of one http scope, all but ``wsgi.input``."""
        environ = self._constants.copy()
        root_path = scope.get("root_path") or ""
        if root_path or self._root_path:
            root_path = root_path.rstrip("/") + self._root_path
        raw_path = scope.get("raw_path") or quote(scope["path"]).encode("ascii")
        path = (unquote_to_bytes(raw_path) if b"%" in raw_path else raw_path).decode("latin-1")
        target = raw_path.decode("latin-1")
        query = scope.get("query_string") or b""
        if query:
            query_text = query.decode("latin-1")
            target = f"{target}?{query_text}"
            environ["QUERY_STRING"] = query_text
        else:
            environ["QUERY_STRING"] = ""
        if root_path:
            environ["SCRIPT_NAME"], environ["PATH_INFO"] = split_path(root_path, path)
        else:
            environ["SCRIPT_NAME"] = ""
            environ["PATH_INFO"] = path
        environ["RAW_URI"] = environ["REQUEST_URI"] = target
        environ["REQUEST_METHOD"] = scope["method"]
        http_version = scope.get("http_version", "1.1")
        environ["SERVER_PROTOCOL"] = (
            f"HTTP/{http_version}" if "." in http_version else f"HTTP/{http_version}.0"
        )
        environ["wsgi.url_scheme"] = scope.get("scheme") or "http"
        environ["asgi.scope"] = scope
        client = scope.get("client")
        if client:
            environ["REMOTE_ADDR"] = client[0]
            environ["REMOTE_PORT"] = str(client[1])
        else:
            # As gunicorn behind a UNIX socket.
            environ["REMOTE_ADDR"] = ""
        self._add_headers(environ, scope["headers"])
        server = scope.get("server")
        if server and server[1] is not None:
            environ["SERVER_NAME"] = server[0]
            environ["SERVER_PORT"] = str(server[1])
        else:
            environ["SERVER_NAME"], environ["SERVER_PORT"] = _server_from_host(environ)
        return environ

    def _add_headers(self, environ: Environ, headers: Iterable[tuple[bytes, bytes]]) -> None:
        keys = self._keys
        for name, value in headers:
            key = keys.get(name)
            if key is None:
                key = self._key(name)
            if not key:
                continue
            # Not every server takes the padding off (RFC 9112 section 5.1).
            text = value.decode("latin-1").strip(" \t")
            if key in environ:
                separator = "; " if key == "HTTP_COOKIE" else ","
                text = f"{environ[key]}{separator}{text}"
            environ[key] = text

    def _key(self, name: bytes) -> str:
        lowered = name.lower()
        if lowered in self._keys:
            return self._keys[lowered]
        key = _DROPPED if b"_" in name else "HTTP_" + name.decode("latin-1").upper().replace("-", "_")
        if len(self._keys) < _KEYS_LIMIT and len(name) <= _KEY_LENGTH_LIMIT:
            self._keys[name] = key
        return key


def split_path(root_path: str, path: str) -> tuple[str, str]:
    """Return SCRIPT_NAME and PATH_INFO of ``path`` (latin-1 text) under ``root_path`` (Unicode text).

    The prefix is taken off at a segment border only; a path that does not carry it came through
    a proxy that took it off, or lies outside: it stays whole.
    """
    script_name = root_path.encode("utf-8").decode("latin-1")
    if path.startswith(script_name):
        rest = path[len(script_name) :]
        if not rest or rest[0] == "/":
            return script_name, rest
    return script_name, path


def _server_from_host(environ: Environ) -> tuple[str, str]:
    """Make up SERVER_NAME and SERVER_PORT from Host, as gunicorn does behind a UNIX socket."""
    name, colon, port = environ.get("HTTP_HOST", "").rpartition(":")
    if not colon or not port.isdigit():
        name, port = environ.get("HTTP_HOST", ""), "443" if environ["wsgi.url_scheme"] == "https" else "80"
    return name or "localhost", port
