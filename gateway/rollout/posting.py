"""Post one body to one URL, within a time limit. The one door of everything that HTTP may raise here.

Redirects are not followed: a receiver is who the table names. Proxies are taken from the environment
(``https_proxy``, ``no_proxy``), as any HTTP client does. It blocks, so it belongs in a thread.
"""

from __future__ import annotations

import base64
import contextlib
import functools
import http.client
import socket
import ssl
import threading
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from gateway.rollout.notice import Outcome

if TYPE_CHECKING:
    from collections.abc import Mapping

CONNECT_TIMEOUT_S = 5.0
TOTAL_TIMEOUT_S = 10.0


def post(
    url: str,
    body: bytes,
    headers: Mapping[str, str],
    *,
    connect_timeout_s: float = CONNECT_TIMEOUT_S,
    total_timeout_s: float = TOTAL_TIMEOUT_S,
) -> Outcome:
    """Return what the receiver at ``url`` answered; failures are outcomes, and nothing is raised.

    A receiver that sends its answer byte by byte is cut off after ``total_timeout_s`` like one that sends
    none; the answer's body is not read.
    """
    attempt = _Attempt()
    limit = threading.Timer(total_timeout_s, attempt.abort)
    limit.daemon = True
    limit.start()
    try:
        opener = urllib.request.OpenerDirector()
        opener.add_handler(urllib.request.ProxyHandler())
        opener.add_handler(_Handler(attempt, total_timeout_s))
        response = opener.open(_request(url, body, headers), timeout=connect_timeout_s)
        with contextlib.closing(response):
            if attempt.is_late:
                return Outcome(error=_late(total_timeout_s))
            return Outcome(response.status, retry_after_s=_seconds(response.headers.get("retry-after", "")))
    except (OSError, http.client.HTTPException, ValueError) as exc:
        return Outcome(error=_late(total_timeout_s) if attempt.is_late else _words(exc))
    finally:
        limit.cancel()


def _request(url: str, body: bytes, headers: Mapping[str, str]) -> urllib.request.Request:
    """Return the request; a user and password in the URL become an ``Authorization``."""
    parts = urlsplit(url)
    user_info, _, host = parts.netloc.rpartition("@")
    bare = parts._replace(netloc=host, fragment="").geturl()
    request = urllib.request.Request(bare, body, dict(headers), method="POST")  # noqa: S310 -- the table takes http and https only
    request.add_header("User-Agent", "strangler-gateway")
    if user_info:
        basic = base64.b64encode(unquote(user_info).encode()).decode()
        request.add_header("Authorization", f"Basic {basic}")
    return request


class _Attempt:
    """Hold the socket of an attempt, so that another thread can end it."""

    def __init__(self) -> None:
        self.is_late = False
        self.socket: socket.socket | None = None

    def abort(self) -> None:
        self.is_late = True
        if self.socket is not None:
            with contextlib.suppress(OSError):
                # Not the method of an SSLSocket, which takes its state away from the thread that reads.
                socket.socket.shutdown(self.socket, socket.SHUT_RDWR)


class _Handler(urllib.request.AbstractHTTPHandler):
    """Open connections whose socket the attempt knows; no redirects, and no status is an error."""

    http_request = urllib.request.AbstractHTTPHandler.do_request_
    https_request = urllib.request.AbstractHTTPHandler.do_request_

    def __init__(self, attempt: _Attempt, total_timeout_s: float) -> None:
        super().__init__()
        self._attempt = attempt
        self._total_timeout_s = total_timeout_s

    def http_open(self, request: urllib.request.Request) -> Any:
        return self._open(http.client.HTTPConnection, request)

    def https_open(self, request: urllib.request.Request) -> Any:
        return self._open(http.client.HTTPSConnection, request, context=_tls())

    def _open(self, kind: type[Any], request: urllib.request.Request, **options: Any) -> Any:
        def connection(host: str, **settings: Any) -> Any:
            made = kind(host, **settings)
            connect = made.connect

            def connect_and_note() -> None:
                connect()
                made.sock.settimeout(self._total_timeout_s)
                self._attempt.socket = made.sock
                if self._attempt.is_late:
                    raise TimeoutError

            made.connect = connect_and_note
            return made

        return self.do_open(connection, request, **options)


@functools.cache
def _tls() -> ssl.SSLContext:
    return ssl.create_default_context()


def _late(total_timeout_s: float) -> str:
    return f"no answer within {total_timeout_s:g} s"


def _seconds(retry_after: str) -> float:
    """Return a ``Retry-After`` in seconds; a date is left to the schedule."""
    return float(retry_after) if retry_after.isdecimal() else 0.0


def _words(exc: Exception) -> str:
    """Return what went wrong without the URL, which some of these errors quote."""
    reason = exc.reason if isinstance(exc, urllib.error.URLError) else exc
    if isinstance(reason, TimeoutError):
        return "timed out"
    if isinstance(reason, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {reason.verify_message}"
    if isinstance(reason, OSError) and reason.strerror:
        return reason.strerror
    return type(reason).__name__
