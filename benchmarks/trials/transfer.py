"""Measure the memory of large bodies through the bridge: up and down, streamed, never held."""

from __future__ import annotations

import http.client
import threading
from functools import partial
from typing import TYPE_CHECKING

from benchmarks.contenders import gateway
from benchmarks.findings import Chapter, Finding, at_most
from benchmarks.load import LoadFailed
from benchmarks.processes import fetch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from benchmarks.contenders import Arrangement
    from benchmarks.race import Bench

PIECE = b"x" * 65536
SAMPLE_EVERY_S = 0.02


def measure(bench: Bench) -> Chapter:
    """Return the highest memory above idle (MiB) while 1 GiB goes up and comes down."""
    pieces = (64 if bench.is_quick else 1024) * 16
    with bench.lab.apart():
        arrangement = gateway("flat_1", 1)(bench.lab)
        for _ in range(200):
            fetch(arrangement.port, "/hello")
        _pour(arrangement.port, 16)
        _swallow(arrangement.port, 16)
        above = []
        for name, move in (("up", _swallow), ("down", _pour)):
            bench.say(f"transfer: {pieces / 16:g} MiB {name}")
            above.append(_highest(arrangement, partial(move, arrangement.port, pieces)))
    size = "1 GiB" if not bench.is_quick else "64 MiB"
    return Chapter(
        f"{size} through the bridge, up and down",
        (
            Finding(f"{size} up: memory above idle", (above[0],), at_most(16), "MiB"),
            Finding(f"{size} down: memory above idle", (above[1],), at_most(16), "MiB"),
        ),
    )


def _highest(arrangement: Arrangement, move: Callable[[], None]) -> float:
    idle = arrangement.memory_mib()
    is_over = threading.Event()
    samples = [idle]

    def sample() -> None:
        while not is_over.wait(SAMPLE_EVERY_S):
            samples.append(arrangement.memory_mib())

    sampler = threading.Thread(target=sample)
    sampler.start()
    try:
        move()
    finally:
        is_over.set()
        sampler.join()
    return max(samples) - idle


def _swallow(port: int, pieces: int) -> None:
    def body() -> Iterator[bytes]:
        for _ in range(pieces):
            yield PIECE

    total = pieces * len(PIECE)
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=300)
    try:
        connection.request("POST", "/swallow", body(), {"Content-Length": str(total)})
        response = connection.getresponse()
        answer = response.read()
    finally:
        connection.close()
    if response.status != 200 or str(total).encode() not in answer:
        raise LoadFailed(f"the upload was answered {response.status} {answer[:80]!r}")


def _pour(port: int, pieces: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=300)
    total = 0
    try:
        connection.request("GET", f"/pour/{pieces}")
        response = connection.getresponse()
        while piece := response.read(1 << 20):
            total += len(piece)
    finally:
        connection.close()
    if total != pieces * len(PIECE):
        raise LoadFailed(f"{total} bytes came down, not {pieces * len(PIECE)}")
