"""Measure that slow legacy requests use all threads, and that new does not feel them.

100 legacy requests sleep one second each on 16 threads; they are sent at once. Meanwhile new is asked
at a constant rate, as it was before they came.
"""

from __future__ import annotations

import http.client
import threading
import time
from math import ceil
from typing import TYPE_CHECKING

from benchmarks.constant import ConstantLoad
from benchmarks.contenders import gateway
from benchmarks.findings import Chapter, Finding, at_most
from benchmarks.load import LoadFailed
from benchmarks.processes import fetch

if TYPE_CHECKING:
    from benchmarks.race import Bench

REQUESTS = 100
THREADS = 16
RATE = 200.0
NEW = "/resource-0/7"


def measure(bench: Bench) -> Chapter:
    """Return the total time against the least possible, and new's p99 during it against before."""
    sleep_ms = 200 if bench.is_quick else 1000
    least_s = ceil(REQUESTS / THREADS) * sleep_ms / 1000
    totals, ratios = [], []
    with bench.lab.apart():
        arrangement = gateway("flat_1", 1, threads=THREADS)(bench.lab)
        core = bench.lab.cores.load
        for number in range(min(bench.rounds, 3)):
            bench.say(f"sleeping: round {number + 1}")
            before = ConstantLoad(arrangement.port, [NEW], rate=RATE, seconds=least_s, core=core).result()
            meanwhile = ConstantLoad(arrangement.port, [NEW], rate=RATE, seconds=least_s, core=core)
            totals.append(_sleep_all(arrangement.port, sleep_ms) / least_s)
            ratios.append(meanwhile.result().p99_s / before.p99_s)
    return Chapter(
        f"{REQUESTS} legacy requests that sleep {sleep_ms / 1000:g} s, on {THREADS} threads",
        (
            Finding(f"total time ÷ {least_s:g} s", tuple(totals), at_most(1.1)),
            Finding(f"new's p99 meanwhile ÷ before, at {RATE:g} requests/s", tuple(ratios)),
        ),
    )


def _sleep_all(port: int, sleep_ms: int) -> float:
    wrong: list[str] = []

    def ask() -> None:
        try:
            status, body, _ = fetch(port, f"/sleep/{sleep_ms}", timeout_s=60)
        except (OSError, http.client.HTTPException) as exc:
            wrong.append(repr(exc))
        else:
            if status != 200:
                wrong.append(f"{status} {body[:80]!r}")

    threads = [threading.Thread(target=ask) for _ in range(REQUESTS)]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if wrong:
        raise LoadFailed(f"{len(wrong)} of {REQUESTS} sleeping requests failed: {wrong[0]}")
    return time.monotonic() - began
