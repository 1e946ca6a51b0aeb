"""Start the server process of a side, know what it says, and end it.

The socket is bound here and handed down, so that no port is lost to another process. Output goes to a file,
whose end is shown when the process dies; so does what it reports, since a pipe that nobody reads would hold
it up.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from gateway.compare.observation import Effects, OutboundCall, Queries
from gateway.errors import GatewayError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

START_TIMEOUT_S = 60.0
_POLL_S = 0.01


class SideError(GatewayError):
    """Report a side that could not be started, or died. ``log`` is its server's log, where it has one."""

    def __init__(self, text: str, log: Path | None = None) -> None:
        super().__init__(text)
        self.log = log


@dataclass(frozen=True, slots=True)
class RaisedReport:
    """Be an exception that escaped from the app while it answered the request called ``number``."""

    number: str
    type: str
    message: str
    traceback: str


@dataclass(frozen=True, slots=True)
class Told:
    """Be what the process told of one request. ``effects`` None: it told nothing of them.

    ``unwatched`` are modules in it that make calls which are not seen.
    """

    raised: RaisedReport | None = None
    effects: Effects | None = None
    unwatched: tuple[str, ...] = ()


class SideServer:
    """Run one implementation as a process of its own on a loopback port."""

    def __init__(
        self,
        name: str,
        config: Path,
        log: Path,
        environ: Mapping[str, str],
        *,
        folder: Path,
        frozen: str = "",
    ) -> None:
        self.name = name
        self.log = log
        self._told: dict[str, Told] = {}
        self._buffer = b""
        self._failure = ""
        listener = socket.socket()
        listener.bind(("127.0.0.1", 0))
        listener.listen(128)  # who asks between "ready" and the server's own listen() must not be refused
        self.host, self.port = listener.getsockname()
        reports = folder / f"{log.stem}.reports"
        theirs = os.open(reports, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._report = os.open(reports, os.O_RDONLY)
        command = [
            sys.executable, "-m", "gateway.ci.side",
            "--config", str(config),
            "--backend", name,
            "--listener", str(listener.fileno()),
            "--report", str(theirs),
        ]  # fmt: skip
        if frozen:
            command += ["--freeze", frozen]
        with log.open("wb") as sink:
            self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
                command,
                pass_fds=[listener.fileno(), theirs],
                stdin=subprocess.PIPE,
                stdout=sink,
                stderr=subprocess.STDOUT,
                env=dict(environ),
                process_group=0,
            )
        listener.close()
        os.close(theirs)
        self._is_ready = False

    @property
    def base_url(self) -> str:
        """Return the address it listens on."""
        return f"http://{self.host}:{self.port}"

    def wait_until_ready(self, timeout_s: float = START_TIMEOUT_S) -> None:
        """Return when the app has started; raises :class:`SideError` with its own words when it does not."""
        deadline = time.monotonic() + timeout_s
        while True:
            is_over = self._process.poll() is not None
            self._read()
            if self._failure or (is_over and not self._is_ready):
                text = self._failure or f"ended before it could serve ({self.epitaph()})"
                self.stop()
                raise SideError(text if self.name in text else f"{self.name}: {text}", self.log)
            if self._is_ready:
                return
            if time.monotonic() > deadline:
                self.stop()
                raise SideError(f"{self.name} did not start within {timeout_s:g} s", self.log)
            time.sleep(_POLL_S)

    def told(self, number: str) -> Told:
        """Return what was told of a request that has been answered."""
        self._read()
        return self._told.pop(number, Told())

    def has_died(self, within_s: float = 0.5) -> bool:
        """Tell whether the process has ended, or does so now: its connections close a little earlier."""
        try:
            self._process.wait(within_s)
        except subprocess.TimeoutExpired:
            return False
        return True

    def epitaph(self) -> str:
        """Say how the process ended."""
        code = self._process.poll()
        if code is not None and code < 0:
            with contextlib.suppress(ValueError):
                return f"killed by {signal.Signals(-code).name}"
        return f"exit status {code}"

    def kill(self) -> None:
        """Kill the process; :meth:`stop` is still to be called."""
        self._process.kill()

    def stop(self) -> None:
        """End the process and everything that it started. Stopping twice does nothing."""
        with contextlib.suppress(OSError):
            if self._process.stdin is not None:
                self._process.stdin.close()
        try:
            self._process.wait(8)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, 9)
        if self._report >= 0:
            os.close(self._report)
            self._report = -1

    def _read(self) -> None:
        """Take in what the process has told."""
        while data := os.read(self._report, 65_536):
            self._buffer += data
        *lines, self._buffer = self._buffer.split(b"\n")
        for line in lines:
            message = json.loads(line)
            event = message.pop("event")
            if event == "ready":
                self._is_ready = True
            elif event == "failed":
                self._failure = str(message["text"])
            else:
                number = message["number"]
                told = self._told.get(number, Told())
                if event == "raised":
                    self._told[number] = replace(told, raised=RaisedReport(**message))
                elif event == "did":
                    unwatched = tuple(message["unwatched"])
                    self._told[number] = replace(told, effects=_effects(message), unwatched=unwatched)


def _effects(message: Mapping[str, Any]) -> Effects:
    queries, outbound = message["queries"], message["outbound"]
    calls = None
    if outbound is not None:
        calls = tuple(
            OutboundCall(method, url, None if body is None else body.encode("latin-1"))
            for method, url, body in outbound
        )
    return Effects(queries=None if queries is None else Queries(*queries), outbound=calls)
