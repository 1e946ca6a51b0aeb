"""Carry messages between the supervisor and its workers: one JSON object a line over a socket pair.

    worker → supervisor   {"event": "started" | "ready" | "failed" | "report" | "draining" | "drained", ...}
                          {"event": "answer", "id": 7, "answer": {...}}
                          {"event": "answer", "id": 7, "refusal": {"status": 409, "detail": "..."}}
    supervisor → worker   {"do": "accept", "listeners": [0, 1]} | {"do": "drain", "grace_s": 10.0}
                          {"do": "order", "id": 7, "order": {...}} | {"do": "refresh"}

An order is what a person asks of the running gateway (:mod:`gateway.rollout.order`); after one that changed
something, every worker is told to refresh.

The end of the stream means that the other process is gone; each side acts on it. :class:`Control` is the
worker's end; the supervisor's is :mod:`gateway.processes.child`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import select
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

START_FAILED = 3
"""The exit status of a process that could not start (uvicorn's, too)."""

DEFAULT_APP = "gateway.app:create_app"
"""The factory of the ASGI application that a worker serves."""

LAST_RESORT_S = 0.8
"""How long after the grace the process ends, whatever still runs in it."""

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


class Control:
    """Be the worker's end of the control channel.

    Orders are read by a thread of its own, so that a worker whose event loop is stuck, or whose import hangs,
    still notices that it should go.
    """

    def __init__(self, connection: socket.socket, grace_s: float) -> None:
        connection.setblocking(False)
        self._connection = connection
        self._grace_s = grace_s
        self._lock = threading.Lock()
        self._deliver: Callable[[Message], None] | None = None
        self._waiting: list[Message] = []
        self._sending = asyncio.Lock()
        threading.Thread(target=self._read, name="gateway-control", daemon=True).start()

    def attach(self, deliver: Callable[[Message], None]) -> None:
        """Hand every order to ``deliver`` from now on (called in the control thread), waiting ones first."""
        with self._lock:
            self._deliver = deliver
            waiting, self._waiting = self._waiting, []
        for message in waiting:
            deliver(message)

    def say(self, message: Message) -> None:
        """Send a short message without an event loop; a supervisor that is gone is no error."""
        with contextlib.suppress(OSError):
            self._connection.send(encode(message))

    async def send(self, message: Message) -> None:
        """Send a message of any length from the event loop; a supervisor that is gone is no error."""
        line = encode(message)
        async with self._sending:  # two long messages at a time would mingle
            with contextlib.suppress(OSError):
                await asyncio.get_running_loop().sock_sendall(self._connection, line)

    def _read(self) -> None:
        buffer = LineBuffer()
        while True:
            select.select([self._connection], [], [])
            try:
                data = self._connection.recv(65536)
            except BlockingIOError:
                continue
            except OSError:
                data = b""
            if not data:
                self._order({"do": "drain", "grace_s": self._grace_s, "is_last": False})
                return
            for message in buffer.feed(data):
                self._order(message)

    def _order(self, message: Message) -> None:
        with self._lock:
            deliver = self._deliver
            if deliver is None and message.get("do") != "drain":
                self._waiting.append(message)
                return
        if message.get("do") == "drain":
            if deliver is None:
                os._exit(0)
            end_process_after(float(message["grace_s"]) + LAST_RESORT_S)
        if deliver is not None:
            deliver(message)


def end_process_after(delay_s: float) -> None:
    """End the process in ``delay_s`` seconds, whatever its threads are doing; output is flushed first."""

    def end() -> None:
        time.sleep(delay_s)
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(Exception):
                stream.flush()
        os._exit(0)

    threading.Thread(target=end, name="gateway-last-resort", daemon=True).start()
