"""Put closed-loop load on a server with wrk, and read what wrk measured.

wrk runs on the load generator's core, with one thread. Each connection sends its next request when the
last answer is there, so a slower server gets fewer requests: right for throughput and for a comparison
at full load, wrong for the latency at a given rate (see open_loop.py).
"""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.processes import fetch

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

CONNECTIONS = 32

_SCRIPT = """\
local paths = {%s}
local requests, turn = {}, 0
init = function(args)
  for i, path in ipairs(paths) do requests[i] = wrk.format("GET", path) end
end
if #paths > 1 then
  request = function()
    turn = turn %% #paths + 1
    return requests[turn]
  end
end
done = function(summary, latency, requests)
  local e = summary.errors
  io.write(string.format(
    '\\nRESULT {"requests": %%d, "duration_us": %%d, "p50_us": %%f, "p99_us": %%f, "max_us": %%f, ' ..
    '"broken": %%d, "refused": %%d}\\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99), latency.max,
    e.connect + e.read + e.write + e.timeout, e.status))
end
"""


class LoadFailed(Exception):
    """Say what was wrong with a contender's answers."""


@dataclass(frozen=True, slots=True)
class Load:
    """Say what one wrk asks for: ``paths`` in turn, over ``connections`` connections.

    Every path must answer ``status``, with ``contains`` in its body; and, where the answer says who
    served it, ``served_by``.
    """

    paths: tuple[str, ...]
    connections: int = CONNECTIONS
    status: int = 200
    contains: bytes = b""
    served_by: str = ""
    name: str = ""


@dataclass(frozen=True, slots=True)
class Run:
    """Be what wrk measured: requests per second, latencies in seconds."""

    rate: float
    p50_s: float
    p99_s: float
    max_s: float


def wrk_path() -> str | None:
    """Return where wrk is, or None."""
    return shutil.which("wrk")


def check(port: int, load: Load) -> None:
    """Ask for every path once; raise :class:`LoadFailed` for an answer that is not the expected one."""
    for path in load.paths:
        status, body, headers = fetch(port, path)
        if status != load.status or load.contains not in body:
            raise LoadFailed(f"GET {path} answered {status} {body[:80]!r}")
        served_by = headers.get("x-served-by", load.served_by)
        if load.served_by and served_by != load.served_by:
            raise LoadFailed(f"GET {path} was served by {served_by}, not by {load.served_by}")


def put_load(port: int, loads: Sequence[Load], *, seconds: int, core: int) -> list[Run]:
    """Run one wrk per load at the same time; return what each measured, in the order of ``loads``."""
    with ExitStack() as stack:
        running = []
        for load in loads:
            script = stack.enter_context(tempfile.NamedTemporaryFile("w", suffix=".lua"))
            script.write(_SCRIPT % ", ".join(json.dumps(path) for path in load.paths))
            script.flush()
            url = f"http://127.0.0.1:{port}{load.paths[0]}"
            wrk = [
                "wrk",
                "-t1",
                "--timeout",
                "30s",
                f"-c{load.connections}",
                f"-d{seconds}s",
                "-s",
                script.name,
                url,
            ]
            running.append(
                subprocess.Popen(
                    ["taskset", "-c", str(core), *wrk], stdout=subprocess.PIPE, stderr=subprocess.STDOUT
                )
            )
        try:
            outputs = [process.communicate(timeout=seconds + 30)[0].decode() for process in running]
        finally:
            for process in running:
                if process.poll() is None:
                    process.kill()
                    process.wait()
    return [_read(load, output) for load, output in zip(loads, outputs, strict=True)]


def _read(load: Load, output: str) -> Run:
    line = next((line for line in output.splitlines() if line.startswith("RESULT ")), None)
    if line is None:
        raise LoadFailed(f"wrk failed: {output.strip().splitlines()[-1:]}")
    found: Mapping[str, float] = json.loads(line.removeprefix("RESULT "))
    if found["broken"] or not found["requests"]:
        raise LoadFailed(f"{found['broken']} socket errors in {found['requests']} requests")
    expected = found["requests"] if load.status >= 400 else 0  # wrk counts every status from 400 on
    if found["refused"] != expected:
        raise LoadFailed(f"{found['refused']} unexpected statuses in {found['requests']} requests")
    return Run(
        rate=found["requests"] / (found["duration_us"] / 1e6),
        p50_s=found["p50_us"] / 1e6,
        p99_s=found["p99_us"] / 1e6,
        max_s=found["max_us"] / 1e6,
    )


def versions() -> Mapping[str, str]:
    """Return the versions of the programs that are no Python packages."""
    found = {}
    for name, argv in (("wrk", ["wrk", "-v"]), ("nginx", ["/usr/sbin/nginx", "-v"])):
        if shutil.which(argv[0]) or Path(argv[0]).exists():
            done = subprocess.run(argv, capture_output=True, text=True, check=False)
            found[name] = (done.stdout + done.stderr).split("\n")[0].split("[")[0].strip()
    return found
