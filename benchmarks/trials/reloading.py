"""Measure what a reload of a 2,000-row table costs the requests that come meanwhile.

Load at a constant rate, once without a reload and once with one in the middle. The latest request of
the second run is held against the p99 of the first.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from benchmarks.constant import ConstantLoad
from benchmarks.contenders import rows_for, start_gateway, write_table
from benchmarks.findings import Chapter, Finding, at_most
from benchmarks.processes import fetch

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.race import Bench

ROWS = 2000
RATE = 500.0
CHANGED = "/resource-1999/7"


def measure(bench: Bench) -> Chapter:
    """Return, for each round, how much later (ms) than the calm p99 the latest request was."""
    seconds = 3 if bench.is_quick else 6
    later, calm_max, durations = [], [], []
    path = bench.lab.folder / "reloaded.yaml"
    _write(path, "new")
    with bench.lab.apart():
        arrangement = start_gateway(bench.lab, path)
        core = bench.lab.cores.load
        for number in range(bench.rounds):
            bench.say(f"reloading: round {number + 1} of {bench.rounds}")
            stage = "legacy" if number % 2 == 0 else "new"
            calm = ConstantLoad(arrangement.port, ["/resource-7/7"], rate=RATE, seconds=seconds, core=core)
            calm_run = calm.result()
            under = ConstantLoad(arrangement.port, ["/resource-7/7"], rate=RATE, seconds=seconds, core=core)
            time.sleep(1.0)
            _write(path, stage)
            began = time.monotonic()
            while fetch(arrangement.port, CHANGED)[2].get("x-served-by") != stage:
                time.sleep(0.02)
                if time.monotonic() - began > seconds:
                    break
            durations.append(time.monotonic() - began)
            run = under.result()
            later.append((run.max_s - calm_run.p99_s) * 1000)
            calm_max.append((calm_run.max_s - calm_run.p99_s) * 1000)
    return Chapter(
        f"Reload of a table of {ROWS:,} rows at {RATE:g} requests/s",
        (
            Finding("latest request: ms after the p99 without a reload", tuple(later), at_most(10), "ms"),
            Finding("the same without a reload (the machine's own noise)", tuple(calm_max), unit="ms"),
            Finding("from the write to the first request by the new table", tuple(durations), unit="s"),
        ),
    )


def _write(path: Path, stage: str) -> None:
    rows = rows_for(ROWS) | {"GET /resource-1999/{item_id}": stage}
    draft = write_table(path.with_suffix(".draft"), new="benchmarks.apps.new:flat_2000()", rows=rows)
    draft.replace(path)
