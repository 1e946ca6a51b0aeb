"""Measure with the reference apps: how long the gateway takes to start, and what new gains on a page.

A fresh SQLite database and the providers of :mod:`reference`, with their default latency.
"""

from __future__ import annotations

import http.client
import secrets
import subprocess
import sys
import time
from statistics import median
from typing import TYPE_CHECKING

from benchmarks.contenders import start_gateway, write_table
from benchmarks.findings import Absolute, Chapter, Finding, at_most
from benchmarks.load import LoadFailed
from benchmarks.processes import ROOT, fetch, free_port, wait_until_answering

if TYPE_CHECKING:
    from collections.abc import Mapping

    from benchmarks.processes import Lab
    from benchmarks.race import Bench

LEGACY = "legacy_flask.app:create_app()"
NEW = "new_api.main:app"
PROVIDER_LATENCY_MS = 50


def measure(bench: Bench) -> Chapter:
    """Return the start-up ratio and the ratio of the dashboard's response times."""
    with bench.lab.apart():
        environ = _prepare(bench.lab)
        starts = _measure_start(bench, environ)
        ratios, absolutes = _measure_dashboard(bench, environ)
    return Chapter(
        "The reference apps",
        (
            Finding("start of `gateway serve` ÷ importing both apps alone", tuple(starts), at_most(1.3)),
            Finding(
                f"GET /dashboard (providers take {PROVIDER_LATENCY_MS} ms): new ÷ legacy",
                tuple(ratios),
                at_most(0.4),
            ),
        ),
        absolutes,
    )


def _prepare(lab: Lab) -> Mapping[str, str]:
    port = free_port()
    environ = {
        "DATABASE_URL": f"sqlite:///{lab.folder / 'reference.db'}",
        "SECRET_KEY": secrets.token_hex(16),
        "PROVIDERS_URL": f"http://127.0.0.1:{port}",
    }
    subprocess.run(
        [sys.executable, "-m", "reference.seed"],
        cwd=ROOT, env=_merged(environ), check=True, capture_output=True, timeout=120,
    )  # fmt: skip
    argv = [sys.executable, "-m", "reference.providers", "--port", str(port)]
    server = lab.start("providers", [*argv, "--latency-ms", str(PROVIDER_LATENCY_MS)])
    wait_until_answering(server, port, "/control")
    return environ


def _merged(environ: Mapping[str, str]) -> dict[str, str]:
    import os

    return {**os.environ, **environ}


def _measure_start(bench: Bench, environ: Mapping[str, str]) -> list[float]:
    code = "import legacy_flask.app as legacy, new_api.main; legacy.create_app()"
    table = ROOT / "routing.yaml"
    ratios = []
    for number in range(bench.rounds + 1):
        bench.say(f"reference: start {number} of {bench.rounds}")
        began = time.perf_counter()
        done = bench.lab.start("imports", [sys.executable, "-c", code], environ=environ)
        if done.process.wait(60):
            raise LoadFailed(f"the reference apps cannot be imported: {done.last_words()}")
        alone_s = time.perf_counter() - began
        bench.lab.stop(done)
        began = time.perf_counter()
        arrangement = start_gateway(bench.lab, table, environ=environ)
        ready_s = time.perf_counter() - began
        bench.lab.stop(arrangement.servers[0])
        if number:  # the first round fills the caches
            ratios.append(ready_s / alone_s)
    return ratios


def _measure_dashboard(bench: Bench, environ: Mapping[str, str]) -> tuple[list[float], tuple[Absolute, ...]]:
    times: dict[str, list[float]] = {"legacy": [], "new": []}
    ports = {}
    for stage in times:
        table = bench.lab.folder / f"dashboard-{stage}.yaml"
        write_table(table, legacy=LEGACY, new=NEW, rows={"GET /dashboard": stage})
        ports[stage] = start_gateway(bench.lab, table, environ=environ).port
        for _ in range(3):
            status, body, headers = fetch(ports[stage], "/dashboard")
            if status != 200 or headers.get("x-served-by") != stage:
                raise LoadFailed(f"GET /dashboard of {stage} answered {status} {body[:80]!r}")
    for number in range(bench.rounds):
        bench.say(f"reference: dashboard, round {number + 1} of {bench.rounds}")
        for stage, port in ports.items():
            times[stage].append(_typical_s(port, 5 if bench.is_quick else 20))
    ratios = [new / legacy for new, legacy in zip(times["new"], times["legacy"], strict=True)]
    return ratios, tuple(
        Absolute(f"GET /dashboard by {stage}", {"p50": median(found)}) for stage, found in times.items()
    )


def _typical_s(port: int, count: int) -> float:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    taken = []
    try:
        for _ in range(count):
            began = time.perf_counter()
            connection.request("GET", "/dashboard")
            connection.getresponse().read()
            taken.append(time.perf_counter() - began)
    finally:
        connection.close()
    return median(taken)
