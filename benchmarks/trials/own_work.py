"""Measure the gateway's own work: what it adds to an application that does nothing.

In process: the whole gateway (``create_app``) is called as a server would call it, on a table whose
new app is the empty ASGI app; the time of the empty app called directly is taken off. Divided by what
one request to the empty app costs under uvicorn on the pinned core: the server's processor time per
request, which is 1 ÷ requests/s when nothing else wants the core. On the wire: the same two compared
from outside, which also counts the framing checks of the gateway's HTTP protocol.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from statistics import median
from time import perf_counter, process_time
from typing import TYPE_CHECKING, Any

from benchmarks.contenders import start_gateway, uvicorn, write_table
from benchmarks.findings import Absolute, Chapter, Finding, at_most
from benchmarks.load import Load, put_load
from benchmarks.processes import ROOT

if TYPE_CHECKING:
    from benchmarks.contenders import Arrangement
    from benchmarks.processes import Lab
    from benchmarks.race import Bench

EMPTY = "benchmarks.apps.empty:app"
EMPTY_WSGI = "benchmarks.apps.empty:wsgi"
PATH = "/resource-0/7"


def table(folder: Path) -> Path:
    """Write a table of ten new rows on the empty app."""
    rows = {f"GET /resource-{number}/{{item_id}}": "new" for number in range(10)}
    return write_table(folder / "empty.yaml", legacy=EMPTY_WSGI, new=EMPTY, rows=rows)


def measure(bench: Bench) -> Chapter:
    """Return the gateway's own work in process and on the wire."""
    path = table(bench.lab.folder)

    def gateway(lab: Lab) -> Arrangement:
        return start_gateway(lab, path)

    in_process, on_wire, added, floor = [], [], [], []
    load = (Load((PATH,), contains=b"hello"),)
    core = bench.lab.cores.load
    with bench.lab.apart():
        arrangements = uvicorn(EMPTY)(bench.lab), gateway(bench.lab)
        for arrangement in arrangements:
            put_load(arrangement.port, load, seconds=1, core=core)
        for number in range(bench.rounds):
            bench.say(f"own-work: round {number + 1} of {bench.rounds}")
            costs_s = []
            for arrangement in arrangements:
                before = arrangement.cpu_s()
                run = put_load(arrangement.port, load, seconds=bench.seconds, core=core)[0]
                costs_s.append((arrangement.cpu_s() - before) / (run.rate * bench.seconds))
            floor_s, through_s = costs_s
            added_s = added_in_process_s(path, bench.lab.cores.servers)
            in_process.append(added_s / floor_s)
            on_wire.append((through_s - floor_s) / floor_s)
            added.append(added_s)
            floor.append(floor_s)
    return Chapter(
        "The gateway's own work on a plain row ÷ an empty ASGI app under uvicorn",
        (
            Finding("in process: time added ÷ time of the empty app", tuple(in_process), at_most(0.25)),
            Finding("on the wire, the framing guard included", tuple(on_wire)),
        ),
        (
            Absolute("added in process", {"cpu": median(added)}),
            Absolute("empty ASGI app under uvicorn", {"cpu": median(floor)}),
        ),
    )


def added_in_process_s(table_path: Path, core: int) -> float:
    """Return the processor time that the gateway adds to one request, by a process of its own."""
    argv = ["taskset", "-c", str(core), sys.executable, "-m", "benchmarks.trials.own_work", str(table_path)]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=120, check=True)
    return float(json.loads(done.stdout)["added_s"])


def scope_for(path: str, method: str = "GET") -> dict[str, Any]:
    """Return a scope as uvicorn makes it for wrk's requests."""
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "server": ("127.0.0.1", 8000),
        "client": ("127.0.0.1", 50000),
        "scheme": "http",
        "method": method,
        "root_path": "",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [(b"host", b"127.0.0.1:8000")],
        "state": {},
    }


async def _time(app: Any, path: str, count: int) -> float:
    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        pass

    scopes = [scope_for(path) for _ in range(count)]
    began = process_time()
    for scope in scopes:
        await app(scope, receive, send)
    return (process_time() - began) / count


async def _added_s(table_path: Path) -> float:
    from benchmarks.apps.empty import app as empty
    from gateway import create_app

    app = create_app(table_path)
    await app.start()
    try:
        for warm in (empty, app):
            await _time(warm, PATH, 2000)
        added: list[float] = []
        began = perf_counter()
        while len(added) < 7 or (len(added) < 25 and perf_counter() - began < 2):
            through = await _time(app, PATH, 2000)
            added.append(through - await _time(empty, PATH, 2000))
        return median(added)
    finally:
        await app.stop()


if __name__ == "__main__":
    print(json.dumps({"added_s": asyncio.run(_added_s(Path(sys.argv[1])))}))
