"""Measure what shadowing costs the clients: one row in ten compared on every request, against none.

Ten legacy rows are asked in turn at half of the rate that the gateway can serve without shadowing. The
compared row is on an automatic rollout, so that evidence is stored and judged as well; how many comparisons
were made is what the store says in the end.

The gateway without is asked before and after the one with: how far its two p99s lie apart is the machine's
own noise, and stands beside the result.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from benchmarks.apps.mirrored import RESOURCES, path_of
from benchmarks.constant import Constant, ConstantLoad
from benchmarks.contenders import Arrangement, start_gateway, write_table
from benchmarks.findings import Absolute, Chapter, Finding, at_least, at_most
from benchmarks.load import Load, put_load
from gateway.rollout.persistence import evidence_of
from gateway.store import Ledger, Scope, StoreUnavailable, locate
from gateway.table.compile import route_id

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.processes import Lab
    from benchmarks.race import Bench

PATHS = tuple(f"/shared-{resource}/7" for resource in range(RESOURCES))


SETTLED_AFTER_S = 2.5
"""Longer than a worker keeps what it has counted before it writes."""

ROLLOUT = "{stage: shadow, sample: 100%, rollout: {steps: [canary 1%], min_time: 1d}}"
FIRST = f"GET {path_of(0)}"


def measure(bench: Bench) -> Chapter:
    """Return the ratio of the p99s, and the share of the sampled requests that were compared."""
    seconds = 2 if bench.is_quick else 6
    core = bench.lab.cores.load
    ratios, twice, shares, calm_runs, busy_runs = [], [], [], [], []
    with bench.lab.apart():
        (calm, _), (busy, table) = _start(bench.lab, "legacy"), _start(bench.lab, ROLLOUT)
        for arrangement in (calm, busy):
            put_load(arrangement.port, (Load(PATHS),), seconds=1, core=core)
        rate = put_load(calm.port, (Load(PATHS),), seconds=2, core=core)[0].rate / 2
        for number in range(bench.rounds):
            bench.say(f"shadowing: round {number + 1} of {bench.rounds}, {rate:.0f} requests/s")
            before = _settled_comparisons(table)
            first, run, last = (
                ConstantLoad(each.port, PATHS, rate=rate, seconds=seconds, core=core).result()
                for each in (calm, busy, calm)
            )
            ratios.append(2 * run.p99_s / (first.p99_s + last.p99_s))
            twice.append(last.p99_s / first.p99_s)
            shares.append((_settled_comparisons(table) - before) / (run.answered / RESOURCES))
            calm_runs += [first, last]
            busy_runs.append(run)
    return Chapter(
        f"Shadowing all requests of one row in ten, at {rate:.0f} requests/s (half the capacity)",
        (
            Finding("client p99 with ÷ without", tuple(ratios), at_most(1.1)),
            Finding("client p99 without ÷ without (the noise)", tuple(twice)),
            Finding("sampled requests that were compared", tuple(shares), at_least(0.9)),
        ),
        (_absolute("without", calm_runs), _absolute("with", busy_runs)),
    )


def _start(lab: Lab, stage: str) -> tuple[Arrangement, Path]:
    """Start a gateway in a folder of its own: the one without shadows has no state to keep."""
    folder = lab.folder / ("mirrored-with" if "shadow" in stage else "mirrored-without")
    folder.mkdir()
    rows = {f"GET {path_of(resource)}": "legacy" for resource in range(RESOURCES)} | {FIRST: stage}
    table = write_table(
        folder / "routing.yaml",
        legacy="benchmarks.apps.mirrored:legacy()",
        new="benchmarks.apps.mirrored:new()",
        rows=rows,
    )
    return start_gateway(lab, table), table


def _settled_comparisons(table: Path) -> int:
    """Return how many comparisons are stored, once the queue is worked off and no more arrive."""
    last, since = -1, time.monotonic()
    deadline = since + 30
    while time.monotonic() < deadline:
        now = _comparisons(table)
        if now != last:
            last, since = now, time.monotonic()
        elif time.monotonic() - since > SETTLED_AFTER_S:
            break
        time.sleep(0.2)
    return last


def _comparisons(table: Path) -> int:
    scopes = [Scope(route_id(FIRST), run, "") for run in (0, 1)]
    try:
        with Ledger(locate(None, table)) as ledger:
            return sum(evidence_of(found).comparisons for found in ledger.evidence(scopes).values())
    except StoreUnavailable:
        return -1


def _absolute(name: str, runs: list[Constant]) -> Absolute:
    ordered = sorted(runs, key=lambda run: run.p99_s)
    middle = ordered[len(ordered) // 2]
    return Absolute(name, {"p50": middle.p50_s, "p99": middle.p99_s})
