"""Hold the load of 50 million requests a day (579 a second, three times that at peak) for ten minutes.

Reference mix: half legacy, half new, one worker; at a constant rate. First a tenth of the load, whose
p99 is the measure. ``python -m benchmarks --soak``; it is no part of an ordinary run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.constant import ConstantLoad
from benchmarks.contenders import gateway
from benchmarks.findings import Absolute, Chapter, Finding, at_most

if TYPE_CHECKING:
    from benchmarks.race import Bench

PER_DAY = 50_000_000
PEAK = 3
MINUTES = 10
PATHS = ("/hello", "/resource-99/7")


def measure(bench: Bench) -> Chapter:
    """Return failures and the ratio of the p99s; a quick run takes ten seconds."""
    average = PER_DAY / 86_400
    seconds = 10 if bench.is_quick else MINUTES * 60
    core = bench.lab.cores.load
    with bench.lab.apart():
        arrangement = gateway("routers_100", 100)(bench.lab)
        ConstantLoad(arrangement.port, PATHS, rate=average, seconds=2, core=core).result()
        before_mib = arrangement.memory_mib()
        bench.say("soak: a tenth of the load")
        calm_s = max(5, seconds / 10)
        calm = ConstantLoad(arrangement.port, PATHS, rate=average * PEAK / 10, seconds=calm_s, core=core)
        calm_run = calm.result()
        bench.say(f"soak: {average * PEAK:.0f} requests/s for {seconds} s")
        peak = ConstantLoad(arrangement.port, PATHS, rate=average * PEAK, seconds=seconds, core=core)
        run = peak.result(may_fail=True)
        grown_mib = arrangement.memory_mib() - before_mib
    return Chapter(
        f"{PER_DAY / 1e6:g} million requests a day, ×{PEAK}, for {seconds} s",
        (
            Finding("failed requests", (float(run.failures),), at_most(0), "requests"),
            Finding("p99 ÷ p99 at a tenth of the load", (run.p99_s / calm_run.p99_s,), at_most(3)),
            Finding("memory gained", (grown_mib,), unit="MiB"),
        ),
        (
            Absolute("a tenth", {"p50": calm_run.p50_s, "p99": calm_run.p99_s}),
            Absolute("the peak", {"rate": run.answered / seconds, "p50": run.p50_s, "p99": run.p99_s}),
        ),
        note=run.first_failure,
    )
