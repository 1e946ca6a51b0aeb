"""Run a Redis of one's own, to be stopped, killed and started again."""

from __future__ import annotations

import contextlib
import shutil
import signal
import subprocess
from typing import TYPE_CHECKING

import redis

from tests.packages import skip_unless_ci
from tests.running import free_port, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class RedisServer:
    """Be a ``redis-server`` on a port of its own, which keeps nothing on disk."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it answers."""
        argv = ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--save", ""]
        with (self._folder / "redis.log").open("ab") as sink:
            self._process = subprocess.Popen(argv, cwd=self._folder, stdout=sink, stderr=sink)
        wait_until(self._answers, what="Redis")

    def all_keys(self) -> list[bytes]:
        """Return every key."""
        with redis.Redis(port=self.port) as client:
            return list(client.scan_iter())

    def connections(self) -> int:
        """Return how many clients are connected, but for the one that asks."""
        with redis.Redis(port=self.port) as client:
            return len(client.client_list()) - 1

    def refuse_writes(self, is_refusing: bool) -> None:
        """Become the replica of nobody who is there, which is read-only, or be one's own master again."""
        with redis.Redis(port=self.port) as client:
            client.execute_command("REPLICAOF", *(("127.0.0.1", "1") if is_refusing else ("NO", "ONE")))

    def hang(self) -> None:
        """Stop the process: connections stay open, and nothing is answered."""
        self._signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Let a process that hangs go on."""
        self._signal(signal.SIGCONT)

    def kill(self) -> None:
        """End the process at once, if it runs."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
            self._process = None

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def _answers(self) -> bool:
        with contextlib.suppress(redis.RedisError), redis.Redis(port=self.port) as client:
            return bool(client.ping())
        return False


@contextlib.contextmanager
def redis_server(folder: Path) -> Iterator[RedisServer]:
    """Run a Redis until the block ends."""
    if shutil.which("redis-server") is None:
        skip_unless_ci("redis-server is not installed")
    server = RedisServer(folder)
    server.start()
    try:
        yield server
    finally:
        server.kill()
