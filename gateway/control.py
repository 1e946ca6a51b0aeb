"""Carry messages between the supervisor and its workers: one JSON object a line over a socket pair.

    worker → supervisor   {"event": "started" | "ready" | "failed" | "report" | "draining" | "drained", ...}
    supervisor → worker   {"do": "accept", "listeners": [0, 1]} | {"do": "drain", "grace_s": 10.0}

The end of the stream means that the other process is gone; each side acts on it.
"""

from __future__ import annotations

import json
from typing import Any

START_FAILED = 3
"""The exit status of a process that could not start (uvicorn's, too)."""

DEFAULT_APP = "gateway.app:create_app"
"""The factory of the ASGI application that a worker serves."""

Message = dict[str, Any]


def encode(message: Message) -> bytes:
    """Return ``message`` as one line of JSON."""
    return json.dumps(message, separators=(",", ":"), default=str).encode() + b"\n"


class LineBuffer:
    """Cut a stream of bytes into messages, however it arrives."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[Message]:
        """Return the messages that ``data`` completes; raise ``ValueError`` if one is no object."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        messages = [json.loads(line) for line in lines if line]
        for message in messages:
            if not isinstance(message, dict):
                raise ValueError(f"a control message must be an object, not {message!r}")
        return messages
