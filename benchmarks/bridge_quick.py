"""Compare the bridge with gunicorn and a2wsgi on one Flask view, in half a minute.

    python benchmarks/bridge_quick.py [--rounds 3] [--seconds 2]

Each contender is one process on core 0, wrk with 32 connections is on core 1. Contenders take turns;
the figures are medians of the ratios within a round, which is all that a shared machine can tell.
``cpu`` is the server's processor time for one request: it bears a busy machine better than throughput.
"""

from __future__ import annotations

import argparse
import contextlib
import re
import socket
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from flask import Flask

from gateway.backends.a2wsgi_bridge import A2wsgiBridge
from gateway.backends.bridge import WsgiBridge

if TYPE_CHECKING:
    from collections.abc import Iterator

THREADS = 8
CONNECTIONS = 32

app = Flask(__name__)


@app.get("/hello")
def hello() -> str:
    """Say hello, which is all that is measured."""
    return "Hello, world!"


bridged = WsgiBridge(app, threads=THREADS)
by_a2wsgi = A2wsgiBridge(app, threads=THREADS)

_GUNICORN = ["gunicorn", "--worker-class", "gthread", "--threads", str(THREADS), "--log-level", "error"]
_UVICORN = ["uvicorn", "--log-level", "error", "--no-access-log"]
CONTENDERS = {
    "gunicorn": [*_GUNICORN, "--keep-alive", "30", "--bind", "127.0.0.1:{port}", "{module}:app"],
    "a2wsgi": [*_UVICORN, "--port", "{port}", "{module}:by_a2wsgi"],
    "bridge": [*_UVICORN, "--port", "{port}", "{module}:bridged"],
}


@dataclass(frozen=True, slots=True)
class Round:
    """Hold what one contender did in one round."""

    requests_per_s: float
    p99_ms: float
    cpu_us: float


@contextlib.contextmanager
def serving(name: str) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """Run a contender on core 0; yield its process and port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    words = [word.format(port=port, module="benchmarks.bridge_quick") for word in CONTENDERS[name]]
    command = ["taskset", "-c", "0", sys.executable, "-m", *words]
    process = subprocess.Popen(command, cwd=Path(__file__).parents[1])
    try:
        deadline = time.monotonic() + 20
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                break
            if time.monotonic() > deadline:
                raise SystemExit(f"{name} did not start")
            time.sleep(0.05)
        yield process, port
    finally:
        process.terminate()
        process.wait(10)


def cpu_us(pid: int) -> float:
    """Return the processor time (microseconds) that a process and its children have used."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    ticks = 0
    for each in [str(pid), *children]:
        fields = Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks * 10_000


def measure(pid: int, port: int, seconds: int) -> Round:
    """Load one contender from core 1."""
    before = cpu_us(pid)
    command = ["taskset", "-c", "1", "wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "--latency"]
    output = subprocess.run(
        [*command, f"http://127.0.0.1:{port}/hello"], capture_output=True, text=True, check=True
    ).stdout
    if "Non-2xx" in output or "Socket errors" in output:
        raise SystemExit(output)
    used = cpu_us(pid) - before

    def find(pattern: str) -> tuple[str, ...]:
        match = re.search(pattern, output)
        if match is None:
            raise SystemExit(output)
        return match.groups()

    value, unit = find(r"99%\s+([\d.]+)(us|ms|s|m)\n")
    return Round(
        requests_per_s=float(find(r"Requests/sec:\s+([\d.]+)")[0]),
        p99_ms=float(value) * {"us": 0.001, "ms": 1, "s": 1000, "m": 60_000}[unit],
        cpu_us=used / int(find(r"(\d+) requests in")[0]),
    )


def main() -> None:
    """Run the rounds and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=2)
    options = parser.parse_args()
    rounds: dict[str, list[Round]] = {name: [] for name in CONTENDERS}
    with contextlib.ExitStack() as stack:
        servers = {name: stack.enter_context(serving(name)) for name in CONTENDERS}
        for _ in range(options.rounds):
            for name, (process, port) in servers.items():
                rounds[name].append(measure(process.pid, port, options.seconds))
    print(f"{'':10}{'requests/s':>12}{'p99 ms':>9}{'cpu us':>9}   bridge to it: throughput, p99, cpu")
    for name, seen in rounds.items():
        pairs = list(zip(rounds["bridge"], seen, strict=True))
        print(
            f"{name:10}{statistics.median(r.requests_per_s for r in seen):12.0f}"
            f"{statistics.median(r.p99_ms for r in seen):9.2f}"
            f"{statistics.median(r.cpu_us for r in seen):9.1f}"
            f"{statistics.median(b.requests_per_s / r.requests_per_s for b, r in pairs):25.2f}"
            f"{statistics.median(b.p99_ms / r.p99_ms for b, r in pairs):6.2f}"
            f"{statistics.median(b.cpu_us / r.cpu_us for b, r in pairs):6.2f}"
        )


if __name__ == "__main__":
    main()
