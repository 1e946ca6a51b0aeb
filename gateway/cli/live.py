"""Speak to the running gateway: find its admin listener, put questions and orders to it.

``gateway serve`` leaves a note beside the table; ``--admin URL`` (or ``GATEWAY_ADMIN_URL``) with
``GATEWAY_ADMIN_TOKEN`` names a listener elsewhere, and takes precedence. Nothing heavy is imported here: a
rollback must not wait for two apps.
"""

from __future__ import annotations

import json
import os
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from gateway.cli.loaded import FINDINGS, NOT_STARTED, WRONG_USAGE, refuse
from gateway.errors import GatewayError
from gateway.processes.admin_file import note_path, read_note

if TYPE_CHECKING:
    from collections.abc import Mapping

TIMEOUT_S = 10.0

_STATUSES = {400: WRONG_USAGE, 404: WRONG_USAGE, 409: FINDINGS}
"""The exit codes of what the gateway refuses; any other could not be done now."""

_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


class NoGatewayError(GatewayError):
    """Report that no running gateway can be spoken to, and why."""


class RefusedError(GatewayError):
    """Report that the gateway refuses; ``exit_code`` is what the verb ends with."""

    def __init__(self, detail: str, exit_code: int) -> None:
        super().__init__(detail)
        self.exit_code = exit_code


class _Stay(urllib.request.HTTPRedirectHandler):
    """Follow no redirect: the token is for the listener that was named."""

    def redirect_request(self, *_: object) -> None:
        return None


@dataclass(frozen=True, slots=True)
class Admin:
    """Be a running gateway's admin listener. ``source`` says where its address is from."""

    url: str
    token: str
    source: str

    def get(self, path: str, **query: object) -> dict[str, Any]:
        """Return what the listener answers; raise :class:`NoGatewayError` or :class:`RefusedError`."""
        wanted = {name: value for name, value in query.items() if value is not None}
        return self._ask(path + (f"?{urlencode(wanted)}" if wanted else ""), None)

    def post(self, path: str, body: Mapping[str, object]) -> dict[str, Any]:
        """Put an order, and return its answer; raise as :meth:`get` does."""
        return self._ask(path, json.dumps(body).encode())

    def _ask(self, path: str, data: bytes | None) -> dict[str, Any]:
        headers = {"X-Gateway-Token": self.token, "Content-Type": "application/json"}
        request = urllib.request.Request(  # noqa: S310 - http and https only, see admin_at
            self.url + quote(path, safe="/?=&%"), data, headers
        )
        handlers: list[urllib.request.BaseHandler] = [_Stay()]
        if urlsplit(self.url).hostname in _LOOPBACK:
            handlers.append(urllib.request.ProxyHandler({}))
        try:
            with urllib.request.build_opener(*handlers).open(request, timeout=TIMEOUT_S) as answer:
                return _object(answer.read())
        except urllib.error.HTTPError as exc:
            with exc:
                raise self._refusal(exc.code, exc.read()) from exc
        except urllib.error.URLError as exc:
            raise NoGatewayError(f"nothing answers at {self.url} ({_reason(exc.reason)})") from exc
        except (OSError, ValueError) as exc:
            raise NoGatewayError(f"{self.url} does not answer as a gateway does ({_reason(exc)})") from exc

    def _refusal(self, status: int, body: bytes) -> GatewayError:
        if status == 401:
            return NoGatewayError(
                f"{self.url} answers, but does not take the token of {self.source}; is it another gateway?"
            )
        try:
            detail = str(_object(body)["detail"])
        except (ValueError, KeyError):
            return NoGatewayError(f"{self.url} answered {status}, and not as a gateway does")
        return RefusedError(detail, _STATUSES.get(status, NOT_STARTED))


def find_admin(config: Path, url: str | None) -> Admin:
    """Return the listener at ``url``, or of the gateway that serves ``config`` here.

    Raises :class:`NoGatewayError`; exits with 2 when ``url`` is none, or has no token.
    """
    if url:
        return _admin_at(url)
    path = note_path(config)
    shown = _relative(path)
    if not path.exists():
        raise NoGatewayError(f"there is no {shown}")
    note = read_note(path)
    if note is None:
        raise NoGatewayError(f"{shown} cannot be read; is it somebody else's gateway?")
    if not _is_alive(note.pid):
        raise NoGatewayError(f"the gateway that wrote {shown} (pid {note.pid}) is gone")
    return Admin(note.url, note.token, str(shown))


def _admin_at(url: str) -> Admin:
    parts = urlsplit(url if "//" in url else f"http://{url}")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        refuse(f"--admin {url}: that is no address, as http://127.0.0.1:8001 would be", WRONG_USAGE)
    token = dict(parse_qsl(parts.query)).get("token") or os.environ.get("GATEWAY_ADMIN_TOKEN")
    if not token:
        refuse(f"--admin {url}: its token is to stand in GATEWAY_ADMIN_TOKEN", WRONG_USAGE)
    return Admin(f"{parts.scheme}://{parts.netloc}", token, "GATEWAY_ADMIN_TOKEN")


def refuse_unreachable(error: NoGatewayError) -> NoReturn:
    """Exit with 3, and say how to come to a gateway that can be spoken to."""
    refuse(
        f"no gateway can be asked: {error}; start one with `gateway serve`, or name one with --admin URL",
        NOT_STARTED,
    )


def _object(data: bytes) -> dict[str, Any]:
    value = json.loads(data)
    if not isinstance(value, dict):
        raise ValueError("no JSON object")
    return value


def _reason(reason: object) -> str:
    return str(getattr(reason, "strerror", None) or reason).lower()


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


def _relative(path: Path) -> Path:
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
