"""Measure what shadowing costs the clients: one row in ten compared on every request, against none.

Ten legacy rows are asked in turn at half of the rate that the gateway can serve without shadowing.
That the second calls were made is counted by new itself.
"""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

from benchmarks.apps.mirrored import RESOURCES, path_of
from benchmarks.constant import Constant, ConstantLoad
from benchmarks.contenders import Arrangement, start_gateway, write_table
from benchmarks.findings import Absolute, Chapter, Finding, at_least, at_most
from benchmarks.load import Load, put_load
from benchmarks.processes import fetch

if TYPE_CHECKING:
    from benchmarks.processes import Lab
    from benchmarks.race import Bench

PATHS = tuple(f"/shared-{resource}/7" for resource in range(RESOURCES))


def measure(bench: Bench) -> Chapter:
    """Return the ratio of the p99s, and the share of the sampled requests that new was asked."""
    seconds = 2 if bench.is_quick else 6
    core = bench.lab.cores.load
    ratios, shares, calm_runs, busy_runs = [], [], [], []
    with bench.lab.apart():
        calm, busy = _start(bench.lab, "legacy"), _start(bench.lab, "{stage: shadow, sample: 100%}")
        for arrangement in (calm, busy):
            put_load(arrangement.port, (Load(PATHS),), seconds=1, core=core)
        rate = put_load(calm.port, (Load(PATHS),), seconds=2, core=core)[0].rate / 2
        for number in range(bench.rounds):
            bench.say(f"shadowing: round {number + 1} of {bench.rounds}, {rate:.0f} requests/s")
            runs: dict[int, Constant] = {}
            before = _calls(busy)
            for arrangement in (calm, busy) if number % 2 == 0 else (busy, calm):
                load = ConstantLoad(arrangement.port, PATHS, rate=rate, seconds=seconds, core=core)
                runs[arrangement.port] = load.result()
            ratios.append(runs[busy.port].p99_s / runs[calm.port].p99_s)
            shares.append((_settled_calls(busy) - before) / (runs[busy.port].answered / RESOURCES))
            calm_runs.append(runs[calm.port])
            busy_runs.append(runs[busy.port])
    return Chapter(
        f"Shadowing all requests of one row in ten, at {rate:.0f} requests/s (half the capacity)",
        (
            Finding("client p99 with ÷ without", tuple(ratios), at_most(1.1)),
            Finding("sampled requests that new was asked as well", tuple(shares), at_least(0.9)),
        ),
        (_absolute("without", calm_runs), _absolute("with", busy_runs)),
    )


def _start(lab: Lab, stage: str) -> Arrangement:
    rows = {f"GET {path_of(resource)}": "legacy" for resource in range(RESOURCES)}
    rows |= {f"GET {path_of(0)}": stage, "GET /calls": "new"}
    table = write_table(
        lab.folder / f"mirrored-{'with' if 'shadow' in stage else 'without'}.yaml",
        legacy="benchmarks.apps.mirrored:legacy()",
        new="benchmarks.apps.mirrored:new()",
        rows=rows,
    )
    return start_gateway(lab, table)


def _calls(arrangement: Arrangement) -> int:
    return int(json.loads(fetch(arrangement.port, "/calls")[1])["calls"])


def _settled_calls(arrangement: Arrangement) -> int:
    """Return the number of calls once the queue of second calls is worked off."""
    last = -1
    deadline = time.monotonic() + 10
    while (now := _calls(arrangement)) != last and time.monotonic() < deadline:
        last = now
        time.sleep(0.2)
    return now


def _absolute(name: str, runs: list[Constant]) -> Absolute:
    ordered = sorted(runs, key=lambda run: run.p99_s)
    middle = ordered[len(ordered) // 2]
    return Absolute(name, {"p50": middle.p50_s, "p99": middle.p99_s})
