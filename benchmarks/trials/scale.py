"""Measure ``gateway compare`` at scale: what of a long run is comparing, and what is the apps answering.

The reference corpora are sent as often as it takes, each copy a scenario of its own on a database of its own,
as ``make compare`` does. The engine's share is what comparing, redacting and counting took of the whole run.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any

from benchmarks.findings import Absolute, Chapter, Finding, at_most
from benchmarks.load import LoadFailed
from benchmarks.processes import ROOT

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.race import Bench

REQUESTS = 2000
QUICK_REQUESTS = 200
WITHIN_S = 1800


def measure(bench: Bench) -> Chapter:
    """Return the engine's share of one run over all requests; rounds would only send more of the same."""
    from gateway.ci.corpus import read_corpora

    wanted = QUICK_REQUESTS if bench.is_quick else REQUESTS
    folder = bench.lab.folder / "scale"
    each = read_corpora([ROOT / "corpora"]).request_count
    copies = -(-wanted // each)
    _copy(folder, copies)
    bench.say(f"scale: {copies * each} requests, {copies} times the corpora")
    report = _run(folder, bench.lab.folder / "scale.json")
    compared = sum(exchange["outcome"] is not None for exchange in report["exchanges"])
    if compared < 0.9 * wanted:  # what only legacy has is sent along and not compared
        raise LoadFailed(f"{compared} of {wanted} requests were compared")
    share, elapsed_s = report["judging_s"] / report["elapsed_s"], report["elapsed_s"]
    return Chapter(
        f"Comparing at scale: {copies * each:,} requests of the reference corpora, {compared:,} compared",
        (
            Finding("the engine's share of the run's time", (100 * share,), at_most(10), "%"),
            Finding("the engine's time per request", (report["judging_s"] / compared * 1000,), unit="ms"),
            Finding("differences that nobody waived", (float(len(report["findings"])),), at_most(0)),
        ),
        (Absolute("gateway compare, both sides", {"rate": compared / elapsed_s}),),
    )


def _copy(folder: Path, copies: int) -> None:
    folder.mkdir()
    for path in sorted((ROOT / "corpora").iterdir()):
        if path.suffix != ".http":
            shutil.copy(path, folder)
            continue
        for number in range(copies):
            shutil.copy(path, folder / f"{path.stem}-{number:03}.http")


def _run(folder: Path, report: Path) -> dict[str, Any]:
    argv = [sys.executable, "-m", "reference.compare", str(folder), f"--report=json={report}"]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=WITHIN_S, check=False)
    if done.returncode not in (0, 1) or not report.exists():
        raise LoadFailed(f"gateway compare ended with {done.returncode}: {done.stderr[-300:]}")
    found: dict[str, Any] = json.loads(report.read_text())
    return found
