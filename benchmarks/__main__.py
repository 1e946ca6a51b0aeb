"""Run the benchmarks: ``python -m benchmarks`` (``make bench``). ``--help`` tells the options.

Exit codes: 0 measured, 1 a target was missed (only with ``--strict``), 2 wrong usage or no wrk.
"""

from __future__ import annotations

import argparse
import http.client
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.findings import Chapter, Finding
from benchmarks.load import LoadFailed, wrk_path
from benchmarks.noise import load_average, sentence
from benchmarks.processes import ROOT, Lab, NotStarted, end_with_signals, pick_cores
from benchmarks.race import Bench
from benchmarks.report import RESULTS, render_markdown, render_terminal
from benchmarks.scenarios import RACES
from benchmarks.trials import (
    comparing,
    own_work,
    reference_apps,
    reloading,
    scale,
    shadowing,
    sleeping,
    soak,
    transfer,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

WRONG_USAGE = 2


@dataclass(frozen=True, slots=True)
class Scenario:
    """Be one entry of the list that ``--only`` picks from."""

    name: str
    measure: Callable[[Bench], Chapter]


SCENARIOS = (
    *(Scenario(race.name, race.measure) for race in RACES),
    Scenario("own-work", own_work.measure),
    Scenario("sleeping", sleeping.measure),
    Scenario("reloading", reloading.measure),
    Scenario("transfer", transfer.measure),
    Scenario("reference", reference_apps.measure),
    Scenario("comparing", comparing.measure),
    Scenario("scale", scale.measure),
    Scenario("shadowing", shadowing.measure),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Read the options, measure, print, write RESULTS.md."""
    options = _parse(arguments)
    if options.micro:
        folder = ROOT / "benchmarks" / "micro"
        argv = [sys.executable, "-m", "pytest", str(folder), "-q", "-p", "no:cacheprovider", "-p", "no:xdist"]
        return subprocess.run(
            [*argv, "--benchmark-columns=min,median,rounds"], cwd=ROOT, check=False
        ).returncode
    if wrk_path() is None:
        print("wrk is absent: apt install wrk", file=sys.stderr)
        return WRONG_USAGE
    scenarios = [Scenario("soak", soak.measure)] if options.soak else _chosen(options.only)
    end_with_signals()
    before = load_average()
    with tempfile.TemporaryDirectory(prefix="gateway-bench-") as name:
        lab = Lab(Path(name), pick_cores())
        bench = Bench(lab, options.rounds, options.seconds, options.quick, _say)
        try:
            chapters = [_measure(scenario, bench) for scenario in scenarios]
        finally:
            lab.stop_all()
    print(render_terminal(chapters))
    noise = sentence(before, chapters)
    print(f"\n{noise}")
    if options.write:
        text = render_markdown(chapters, rounds=options.rounds, seconds=options.seconds, noise=noise)
        options.write.write_text(text)
        print(f"written: {options.write}")
    is_missed = any(found.verdict == "missed" for chapter in chapters for found in chapter.findings)
    return 1 if options.strict and is_missed else 0


def _measure(scenario: Scenario, bench: Bench) -> Chapter:
    began = time.monotonic()
    try:
        return scenario.measure(bench)
    except (
        NotStarted, LoadFailed, OSError, http.client.HTTPException, subprocess.SubprocessError
    ) as exc:  # fmt: skip
        _say(f"{scenario.name} failed: {exc}")
        return Chapter(scenario.name, (Finding("the whole scenario", missing=str(exc)),))
    finally:
        _say(f"{scenario.name}: {time.monotonic() - began:.0f} s")


def _chosen(names: Sequence[str]) -> list[Scenario]:
    return [scenario for scenario in SCENARIOS if not names or scenario.name in names]


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__.split("\n")[0])
    names = [scenario.name for scenario in SCENARIOS]
    add = parser.add_argument
    add("--rounds", type=int, default=None, help="rounds of every scenario (5)")
    add("--seconds", type=int, default=None, help="seconds of load per contender and round (5)")
    add("--only", action="append", default=[], choices=names, metavar="NAME", help=", ".join(names))
    add("--quick", action="store_true", help="2 rounds of 1 second, small bodies: to see that it works")
    add("--soak", action="store_true", help="ten minutes at the rate of 50 million requests a day, ×3")
    add("--micro", action="store_true", help="the parts in process, by pytest-benchmark")
    add("--strict", action="store_true", help="exit with 1 when a target is missed")
    add(
        "--write", type=Path, default=None, metavar="FILE",
        help="where the results go (benchmarks/RESULTS.md; nowhere with --quick, --only or --soak)",
    )  # fmt: skip
    options = parser.parse_args(arguments)
    options.rounds = options.rounds or (2 if options.quick else 5)
    options.seconds = options.seconds or (1 if options.quick else 5)
    if options.rounds < 1 or options.seconds < 1:
        parser.error("rounds and seconds are at least 1")
    if options.write is None and not (options.quick or options.only or options.soak):
        options.write = RESULTS
    return options


if __name__ == "__main__":
    sys.exit(main())
