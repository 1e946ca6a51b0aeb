"""Start the servers of the benchmarks, pin them, weigh them, and leave none behind.

Every process stands in a group of its own, is told to end when the benchmark dies
(``PR_SET_PDEATHSIG``, prctl(2)), and is ended by its id.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

ROOT = Path(__file__).resolve().parent.parent
START_WITHIN_S = 60.0
STOP_WITHIN_S = 10.0

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None)


class NotStarted(Exception):
    """Say why a server is absent."""


@dataclass(frozen=True, slots=True)
class Cores:
    """Name the core of the servers and the core of the load generator; equal on a machine with one."""

    servers: int
    load: int


def pick_cores() -> Cores:
    """Return the first two cores that this process may use."""
    usable = sorted(os.sched_getaffinity(0))
    return Cores(servers=usable[-1], load=usable[0])


def free_port() -> int:
    """Return a loopback TCP port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Server:
    """Be one process that was started, and its log."""

    def __init__(self, name: str, process: subprocess.Popen[bytes], log: Path) -> None:
        self.name = name
        self.process = process
        self.log = log

    def check(self) -> None:
        """Raise :class:`NotStarted` with the log's end when the process is gone."""
        if self.process.poll() is not None:
            raise NotStarted(f"{self.name} ended with {self.process.returncode}: {self.last_words()}")

    def last_words(self) -> str:
        """Return the last lines of the log, as one line."""
        with contextlib.suppress(OSError):
            return " / ".join(self.log.read_text(errors="replace").strip().splitlines()[-3:])
        return ""

    def stop(self) -> None:
        """End the process and whatever is left of its group."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(STOP_WITHIN_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)

    def memory_mib(self) -> float:
        """Return the proportional set size of the process and its descendants."""
        return sum(_pss_kib(pid) for pid in descendants(self.process.pid)) / 1024

    def cpu_s(self) -> float:
        """Return the processor time (seconds) that the process and its descendants have used."""
        return sum(_cpu_s(pid) for pid in descendants(self.process.pid))


class Lab:
    """Start servers pinned to the servers' core; stop them all at the end, however that comes."""

    def __init__(self, folder: Path, cores: Cores) -> None:
        self.folder = folder
        self.cores = cores
        self._servers: list[Server] = []
        atexit.register(self.stop_all)

    def start(self, name: str, argv: Sequence[str], *, environ: Mapping[str, str] | None = None) -> Server:
        """Start one server in the repository's root; its output goes to a log in the lab's folder."""
        log = self.folder / f"{name.replace(' ', '-').replace('/', '-')}-{free_port()}.log"
        with log.open("wb") as output:
            try:
                process = subprocess.Popen(
                    argv,
                    cwd=ROOT,
                    env={**os.environ, "PYTHONPATH": str(ROOT), **(environ or {})},
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                    preexec_fn=_bound_to(self.cores.servers),
                )
            except OSError as exc:
                raise NotStarted(f"{argv[0]}: {exc.strerror}") from exc
        server = Server(name, process, log)
        self._servers.append(server)
        return server

    def stop(self, server: Server) -> None:
        """Stop one server now."""
        server.stop()
        self._servers.remove(server)

    def stop_all(self) -> None:
        """Stop what runs, newest first."""
        while self._servers:
            self._servers.pop().stop()

    @contextlib.contextmanager
    def apart(self) -> Iterator[None]:
        """Stop, at the end of the block, what was started within it."""
        before = len(self._servers)
        try:
            yield
        finally:
            while len(self._servers) > before:
                self._servers.pop().stop()


def _bound_to(core: int) -> Callable[[], None]:
    def bind() -> None:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        os.sched_setaffinity(0, {core})

    return bind


def program(name: str) -> str:
    """Return the path of a program that was installed beside this Python, else of one on the PATH."""
    beside = Path(sys.executable).parent / name
    if beside.exists():
        return str(beside)
    import shutil

    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")
    if found is None:
        raise NotStarted(f"{name} is not installed")
    return found


def fetch(port: int, path: str, *, timeout_s: float = 30.0) -> tuple[int, bytes, Mapping[str, str]]:
    """Return status, body and headers (names in lower case) of one GET."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout_s)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        body = response.read()
        return response.status, body, {name.lower(): value for name, value in response.getheaders()}
    finally:
        connection.close()


def wait_until_answering(server: Server, port: int, path: str = "/") -> None:
    """Return once anything answers over HTTP on ``port``; raise :class:`NotStarted` when nothing does."""
    deadline = time.monotonic() + START_WITHIN_S
    while True:
        server.check()
        try:
            fetch(port, path, timeout_s=5)
        except (OSError, http.client.HTTPException):
            if time.monotonic() > deadline:
                raise NotStarted(f"{server.name} did not answer within {START_WITHIN_S:g} s") from None
            time.sleep(0.02)
        else:
            return


def descendants(pid: int) -> list[int]:
    """Return ``pid`` and all its descendants, by /proc."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                parents.setdefault(int(fields[1]), []).append(int(entry.name))
    found, waiting = [], [pid]
    while waiting:
        found.append(waiting.pop())
        waiting.extend(parents.get(found[-1], ()))
    return found


def _pss_kib(pid: int) -> int:
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1])
    return 0


def _cpu_s(pid: int) -> float:
    """Return user and system time by the scheduler's own account (nanoseconds), not by clock ticks."""
    total = 0
    for task in Path(f"/proc/{pid}/task").glob("*/schedstat"):
        with contextlib.suppress(OSError):
            total += int(task.read_text().split()[0])
    return total / 1e9


def end_with_signals() -> None:
    """Make SIGTERM and SIGHUP end this process as Ctrl-C does, so that the servers are stopped."""

    def end(number: int, _frame: object) -> None:
        raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGHUP, end)
