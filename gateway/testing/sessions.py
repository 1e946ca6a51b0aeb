"""Read Flask's signed session cookies before they are compared: what is in them counts, not the second.

A signed session carries the second in which it was written, so that two equal sessions differ whenever the
clock ticks between the two sides. Only a cookie whose signature the legacy app itself accepts is read; every
other value stays as it is.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

from gateway.backends.inspect import find_flask
from gateway.compat import SessionReader

if TYPE_CHECKING:
    from gateway.compare.observation import Observation


class SessionCookies:
    """Know the session cookie of the legacy app; of an app that is no Flask app, or runs elsewhere, none."""

    def __init__(self, legacy_app: object | None) -> None:
        self._reader: SessionReader | None = None
        self._name = b""
        flask_app = find_flask(legacy_app)
        if flask_app is not None:
            self._reader = SessionReader(flask_app)
            self._name = str(flask_app.config["SESSION_COOKIE_NAME"]).encode("latin-1")

    def read(self, observation: Observation) -> Observation:
        """Return an observation whose ``Set-Cookie`` shows what the session holds, not its signed form."""
        if self._reader is None or not self._reader.can_read:
            return observation
        headers = tuple(
            (name, self._read(value)) if name.lower() == b"set-cookie" else (name, value)
            for name, value in observation.headers
        )
        return replace(observation, headers=headers)

    def _read(self, line: bytes) -> bytes:
        first, separator, attributes = line.partition(b";")
        name, _, value = first.partition(b"=")
        if self._reader is None or name.strip() != self._name or not value.strip():
            return line
        session = self._reader.read(first.strip())
        if session is None:
            return line
        text = json.dumps(dict(session), sort_keys=True, default=str, ensure_ascii=True)
        return name + b"=" + text.replace(";", "\\u003b").encode("ascii") + separator + attributes
