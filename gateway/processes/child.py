"""Start one worker process and know its state, from the supervisor's side.

starting ──ready──> serving ──drain──> draining ──> gone
    └── failed, died ───────┴── died ────────────────┘
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.errors import GatewayError, OrderRefused
from gateway.processes.control import DEFAULT_APP, LineBuffer, Message, encode
from gateway.web.report_changes import ReportReceiver

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.web.totals import Totals


class WorkerGoneError(GatewayError):
    """Report that a worker ended before it had answered."""


@dataclass(frozen=True, slots=True)
class ServeOptions:
    """Say what to serve and where. ``admin`` is None for no admin listener; ``grace_s`` is in seconds.

    ``app`` is the factory that a worker calls with ``config``; ``is_reloading`` rolls the workers when a
    Python file below the working directory changes.
    """

    config: str = "routing.yaml"
    host: str = "127.0.0.1"
    port: int = 8000
    workers: int = 1
    admin: tuple[str, int] | None = None
    admin_token: str | None = None
    grace_s: float = 10.0
    log_level: str = "info"
    is_access_logged: bool = False
    is_reloading: bool = False
    app: str = DEFAULT_APP


class Child:
    """Be the supervisor's view of one worker process; what it counts is added to ``totals``."""

    def __init__(
        self, slot: int, process: subprocess.Popen[bytes], has_own_group: bool, totals: Totals
    ) -> None:
        self.slot = slot
        self.process = process
        self.is_ready = False
        self.is_draining = False
        self.ready_at = 0.0
        self.accepting = {slot}
        self.failure = ""
        self.received = ReportReceiver(totals)
        self.outcome: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self.ended = asyncio.Event()
        self._has_own_group = has_own_group
        self._numbers = itertools.count(1)
        self._asked: dict[int, asyncio.Future[Message]] = {}
        self._transport: asyncio.WriteTransport | None = None

    @property
    def pid(self) -> int:
        """Return the process id."""
        return self.process.pid

    @property
    def state(self) -> str:
        """Return ``starting``, ``serving``, ``draining`` or ``gone``."""
        if self.ended.is_set():
            return "gone"
        if self.is_draining:
            return "draining"
        return "serving" if self.is_ready else "starting"

    async def connect(self, ours: socket.socket) -> None:
        """Listen to the worker's end of the control channel."""
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_connection(lambda: _Channel(self), sock=ours)
        self._transport = transport

    def tell(self, message: Message) -> None:
        """Send an order; one to a worker that is gone goes nowhere."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(encode(message))

    async def ask(self, order: Message, *, timeout_s: float) -> Message:
        """Return the worker's answer to an order.

        Raises :class:`OrderRefused` as the worker refuses it, :class:`WorkerGoneError` when the worker
        ended first, and ``TimeoutError`` after ``timeout_s`` seconds.
        """
        if self.ended.is_set():
            raise WorkerGoneError(f"worker {self.slot} has ended")
        number = next(self._numbers)
        answer: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        self._asked[number] = answer
        try:
            self.tell({"do": "order", "id": number, "order": order})
            async with asyncio.timeout(timeout_s):
                return await answer
        finally:
            del self._asked[number]

    def hear(self, message: Message) -> None:
        """Note what the worker says of itself, and hand on what it answers."""
        event = message.get("event")
        if event == "ready":
            self.is_ready, self.ready_at = True, time.monotonic()
            self.settle(True)
        elif event == "failed":
            self.failure = str(message.get("text", ""))
        elif event == "draining":
            self.is_draining = True
        elif event == "answer":
            self._hear_answer(message)
        if event in ("ready", "report", "drained"):
            self.received.apply(message)

    def _hear_answer(self, message: Message) -> None:
        answer = self._asked.get(message.get("id", 0))
        if answer is None or answer.done():
            return  # nobody waits for it any more
        refusal = message.get("refusal")
        if refusal is not None:
            answer.set_exception(OrderRefused(int(refusal["status"]), str(refusal["detail"])))
        else:
            answer.set_result(message.get("answer") or {})

    def settle(self, is_ready: bool) -> None:
        """Decide, once, how the start went."""
        if not self.outcome.done():
            self.outcome.set_result(is_ready)

    def drain(self, grace_s: float, *, is_last: bool) -> None:
        """Ask the worker to finish what it serves and go; ``is_last``: nobody else accepts on its socket."""
        self.is_draining = True
        if self.is_ready:
            self.tell({"do": "drain", "grace_s": grace_s, "is_last": is_last})
        else:
            self.kill()

    def kill(self) -> None:
        """Signal the worker and whatever it started; one that has ended is left in peace."""
        if not self.ended.is_set():
            self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if self._has_own_group:
                os.killpg(self.pid, number)
            else:
                self.process.send_signal(number)

    def reap(self) -> None:
        """Note the process's end, if it has come."""
        if self.ended.is_set() or self.process.poll() is None:
            return
        self.ended.set()
        if self._has_own_group:
            self._signal(signal.SIGTERM)  # what it started must not outlive it
        # What it said last is read in the next turns of the loop; a forked child may hold the channel open.
        asyncio.get_running_loop().call_later(0.1, self._bury)

    def _bury(self) -> None:
        self.settle(False)
        for answer in self._asked.values():
            if not answer.done():
                answer.set_exception(WorkerGoneError(f"worker {self.slot} {self.epitaph()}"))
        if self._transport is not None:
            self._transport.close()

    def last_words(self) -> str:
        """Return why the worker could not start, in its own words if it left any."""
        return self.failure or f"worker {self.slot} {self.epitaph()} before it could serve"

    def epitaph(self) -> str:
        """Say in words how the process ended."""
        code = self.process.returncode
        if code is not None and code < 0:
            with contextlib.suppress(ValueError):
                return f"was killed by {signal.Signals(-code).name}"
        return f"ended with status {code}"


class _Channel(asyncio.Protocol):
    def __init__(self, child: Child) -> None:
        self._child = child
        self._lines = LineBuffer()

    def data_received(self, data: bytes) -> None:
        for message in self._lines.feed(data):
            self._child.hear(message)


async def launch(
    options: ServeOptions, slot: int, listeners: Sequence[socket.socket], totals: Totals
) -> Child:
    """Start the worker of ``slot``; it inherits every listener, and accepts on its own to begin with."""
    ours, theirs = socket.socketpair()
    descriptors = [listener.fileno() for listener in listeners]
    has_own_group = not options.is_reloading  # in development `breakpoint()` needs the terminal
    command = [
        sys.executable, "-m", "gateway.processes.worker",
        "--control", str(theirs.fileno()),
        "--listeners", ",".join(map(str, descriptors)),
        "--slot", str(slot % len(descriptors)),
        "--app", options.app,
        "--config", options.config,
        "--grace", str(options.grace_s),
        "--log-level", options.log_level,
    ]  # fmt: skip
    if options.is_access_logged:
        command.append("--access-log")
    process = subprocess.Popen(  # noqa: S603, ASYNC220 - our own interpreter and module; exec takes a millisecond
        command,
        pass_fds=[theirs.fileno(), *descriptors],
        stdin=subprocess.DEVNULL if has_own_group else None,
        process_group=0 if has_own_group else None,
    )
    theirs.close()
    child = Child(slot, process, has_own_group, totals)
    await child.connect(ours)
    return child
