"""Send requests at a constant rate, whatever the server does: ``python -m benchmarks.open_loop --help``.

A request's latency counts from the moment at which it was due, so that a server that pauses is charged
for everything that would have come meanwhile (closed-loop clients wait with it and hide the pause).
A process of its own, one raw connection per request under way; prints one JSON line.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import time
from collections import deque
from dataclasses import dataclass, field
from time import monotonic  # the loop's own clock has milliseconds under uvloop
from typing import cast

CONNECTIONS = 100
"""How many connections there are at most. What is due meanwhile waits here, and its time counts: a pause
of the whole machine is not to look like an overload of the server, which it would refuse."""


@dataclass(slots=True)
class Record:
    """Collect latencies (seconds, by the due time relative to the start) and failures."""

    latencies: list[tuple[float, float]] = field(default_factory=list)
    failures: int = 0
    first_failure: str = ""

    def fail(self, reason: str) -> None:
        """Note one request that got no good answer."""
        self.failures += 1
        self.first_failure = self.first_failure or reason


class Client(asyncio.Protocol):
    """Be one keep-alive connection that carries one request at a time. Answers need a Content-Length."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._received = b""
        self._due = -1.0
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Note the transport."""
        self.transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass of it

    def connection_lost(self, exc: Exception | None) -> None:
        """Count a request that was cut off."""
        if self._due >= 0:
            self._pool.record.fail(f"the connection was cut: {exc!r}")
            self._pool.under_way -= 1
        self._pool.lose(self)

    def ask(self, request: bytes, due: float) -> None:
        """Send ``request``, which was due at ``due`` (monotonic seconds)."""
        self._due = due
        assert self.transport is not None
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        """Collect one answer; give the connection back when it is whole."""
        self._received = self._received + data if self._received else data
        end = self._received.find(b"\r\n\r\n")
        if end < 0:
            return
        head = self._received[:end].lower()
        start = head.find(b"content-length:")
        length = int(head[start + 15 :].split(b"\r\n", 1)[0]) if start >= 0 else 0
        if len(self._received) < end + 4 + length:
            return
        due, self._due = self._due, -1.0
        status = self._received[9:12]
        self._received = b""
        self._pool.finish(self, due, status)


class Pool:
    """Send the requests of one run."""

    def __init__(self, host: str, port: int, paths: list[str], expected: bytes) -> None:
        self._address = (host, port)
        head = f"Host: {host}:{port}\r\n\r\n"
        self._requests = [f"GET {path} HTTP/1.1\r\n{head}".encode() for path in paths]
        self._expected = expected
        self._idle: deque[Client] = deque()
        self._waiting: deque[tuple[bytes, float]] = deque()
        self._connecting = 0
        self._began = 0.0
        self._tasks: set[asyncio.Task[None]] = set()
        self.record = Record()
        self.under_way = 0

    async def run(self, rate: float, seconds: float) -> None:
        """Send ``rate`` requests a second for ``seconds``, then wait for the last answers."""
        for _ in range(8):
            await self._connect()
        self._began = monotonic() + 0.05
        count, total = 0, int(rate * seconds)
        while count < total:
            now = monotonic()
            while count < total and (due := self._began + count / rate) <= now:
                self._send(self._requests[count % len(self._requests)], due)
                count += 1
            await asyncio.sleep(max(0.0, min(0.002, self._began + count / rate - monotonic())))
        deadline = monotonic() + 30
        while (self.under_way or self._waiting) and monotonic() < deadline:  # noqa: ASYNC110 - one wait at the very end, no event is worth its cost on every answer
            await asyncio.sleep(0.01)
        for _ in range(self.under_way + len(self._waiting)):
            self.record.fail("no answer within 30 s of the end")

    def _send(self, request: bytes, due: float) -> None:
        if self._idle:
            self.under_way += 1
            self._idle.pop().ask(request, due)
            return
        self._waiting.append((request, due))
        if self._connecting < 32 and self.under_way + self._connecting < CONNECTIONS:
            task = asyncio.ensure_future(self._connect())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _connect(self) -> None:
        self._connecting += 1
        try:
            loop = asyncio.get_running_loop()
            _, client = await loop.create_connection(lambda: Client(self), *self._address)
        except OSError as exc:
            if self._waiting:
                self._waiting.popleft()
                self.record.fail(f"could not connect: {exc}")
            return
        finally:
            self._connecting -= 1
        self._offer(client)

    def _offer(self, client: Client) -> None:
        if self._waiting:
            self.under_way += 1
            client.ask(*self._waiting.popleft())
        else:
            self._idle.append(client)

    def finish(self, client: Client, due: float, status: bytes) -> None:
        """Note an answer, and use its connection again."""
        self.under_way -= 1
        now = monotonic()
        if status == self._expected:
            self.record.latencies.append((due - self._began, now - due))
        else:
            self.record.fail(f"status {status.decode()}")
        self._offer(client)

    def lose(self, client: Client) -> None:
        """Forget a connection that is gone."""
        if client in self._idle:
            self._idle.remove(client)


def quantile(values: list[float], share: float) -> float:
    """Return the value below which ``share`` of ``values`` lie; 0.0 when there are none."""
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)] if ordered else 0.0


def main() -> None:
    """Read the command line, run, print the result as JSON (seconds)."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.open_loop", description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--path", action="append", required=True, help="may be given several times")
    parser.add_argument("--rate", type=float, required=True, help="requests per second")
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--expect", default="200", help="the status of every answer")
    options = parser.parse_args()
    pool = Pool("127.0.0.1", options.port, options.path, options.expect.encode())
    try:
        import uvloop
    except ImportError:
        runner: type[asyncio.Runner] | None = None
    else:
        runner = asyncio.Runner
        factory = uvloop.new_event_loop
    began = time.time()
    if runner is None:
        asyncio.run(pool.run(options.rate, options.seconds))
    else:
        with runner(loop_factory=factory) as loop:
            loop.run(pool.run(options.rate, options.seconds))
    latencies = [latency for _, latency in pool.record.latencies]
    worst = max(pool.record.latencies, key=lambda pair: pair[1], default=(0.0, 0.0))
    print(
        json.dumps(
            {
                "began": began,
                "pid": os.getpid(),
                "answered": len(latencies),
                "failures": pool.record.failures,
                "first_failure": pool.record.first_failure,
                "p50_s": quantile(latencies, 0.5),
                "p99_s": quantile(latencies, 0.99),
                "max_s": worst[1],
                "max_at_s": worst[0],
            }
        )
    )


if __name__ == "__main__":
    main()
