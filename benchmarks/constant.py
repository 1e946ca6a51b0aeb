"""Put load at a constant rate on a server, from a process of its own on the load generator's core."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from benchmarks.load import LoadFailed
from benchmarks.processes import ROOT

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True)
class Constant:
    """Be the result of one run: latencies in seconds from the moment a request was due."""

    answered: int
    failures: int
    first_failure: str
    p50_s: float
    p99_s: float
    max_s: float


class ConstantLoad:
    """Run ``benchmarks.open_loop``; :meth:`result` waits for its end."""

    def __init__(self, port: int, paths: Sequence[str], *, rate: float, seconds: float, core: int) -> None:
        self._seconds = seconds
        argv = ["taskset", "-c", str(core), sys.executable, "-m", "benchmarks.open_loop"]
        argv += ["--port", str(port), "--rate", str(rate), "--seconds", str(seconds)]
        for path in paths:
            argv += ["--path", path]
        self._process = subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE)

    def result(self, *, may_fail: bool = False) -> Constant:
        """Return what was measured; raise :class:`LoadFailed` for failed requests unless they may be."""
        try:
            output, _ = self._process.communicate(timeout=self._seconds + 60)
        finally:
            if self._process.poll() is None:
                self._process.kill()
                self._process.wait()
        if self._process.returncode:
            raise LoadFailed(f"the constant-rate client ended with {self._process.returncode}")
        found: dict[str, Any] = json.loads(output)
        names = ("answered", "failures", "first_failure", "p50_s", "p99_s", "max_s")
        run = Constant(**{name: found[name] for name in names})
        if run.failures and not may_fail:
            raise LoadFailed(f"{run.failures} of {run.answered + run.failures}: {run.first_failure}")
        return run
