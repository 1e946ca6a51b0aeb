"""Start the server process of a side, know what it says, and end it.

The socket is bound here and handed down, so that no port is lost to another process. Output goes to a file,
whose end is shown when the process dies.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.ci.results import visible
from gateway.errors import GatewayError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

START_TIMEOUT_S = 60.0
LOG_LINES = 25


class SideError(GatewayError):
    """Report a side that could not be started, or died; the text holds the end of its log."""


@dataclass(frozen=True, slots=True)
class RaisedReport:
    """Be an exception that escaped from the app while it answered the request called ``number``."""

    number: str
    type: str
    message: str
    traceback: str


class SideServer:
    """Run one implementation as a process of its own on a loopback port."""

    def __init__(
        self, name: str, config: Path, log: Path, environ: Mapping[str, str], *, frozen: str = ""
    ) -> None:
        self.name = name
        self.log = log
        self._reports: dict[str, RaisedReport] = {}
        self._buffer = b""
        self._failure = ""
        listener = socket.socket()
        listener.bind(("127.0.0.1", 0))
        listener.listen(128)  # who asks between "ready" and the server's own listen() must not be refused
        self.host, self.port = listener.getsockname()
        self._report, theirs = os.pipe()
        os.set_blocking(self._report, False)
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
        while not self._is_ready:
            left = deadline - time.monotonic()
            if left <= 0:
                self.stop()
                raise SideError(f"{self.name} did not start within {timeout_s:g} s{self.last_lines()}")
            select.select([self._report], [], [], min(left, 0.2))
            is_open = self._read()
            if self._failure or not is_open or self._process.poll() is not None:
                self._read()
                text = self._failure or f"{self.name} ended before it could serve{self.last_lines()}"
                self.stop()
                raise SideError(text if self.name in text else f"{self.name}: {text}")

    def raised(self, number: str) -> RaisedReport | None:
        """Return what escaped from the app during a request that has been answered."""
        self._read()
        return self._reports.pop(number, None)

    @property
    def is_running(self) -> bool:
        """Tell whether the process lives."""
        return self._process.poll() is None

    def last_lines(self) -> str:
        """Return the end of the log, indented, after a colon; or that there is none."""
        try:
            text = self.log.read_text("utf-8", "replace")
        except OSError:
            text = ""
        lines = visible(text).splitlines()[-LOG_LINES:]
        return (
            "; its log ends:\n" + "\n".join(f"  {line}" for line in lines) if lines else "; it wrote nothing"
        )

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

    def _read(self) -> bool:
        """Take in what the process has said; return False when it will say no more."""
        is_open = True
        while True:
            try:
                data = os.read(self._report, 65_536)
            except BlockingIOError:
                break
            if not data:
                is_open = False
                break
            self._buffer += data
        *lines, self._buffer = self._buffer.split(b"\n")
        for line in lines:
            message = json.loads(line)
            event = message.pop("event")
            if event == "ready":
                self._is_ready = True
            elif event == "failed":
                self._failure = str(message["text"])
            elif event == "raised":
                report = RaisedReport(**message)
                self._reports[report.number] = report
        return is_open
