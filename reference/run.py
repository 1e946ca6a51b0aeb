"""Run the whole reference migration: ``python -m reference.run [--host 127.0.0.1] [--port 8000]``.

Migrates and seeds the database, starts the providers and the gateway, waits until the gateway is
ready, and says what to try. Ctrl-C, SIGTERM or a child's death stops everything; what this program
started, it also ends. Exit codes: 1 when a child died or did not get ready, 128 + signal otherwise.
"""

# ruff: noqa: T201 - a command line prints
from __future__ import annotations

import argparse
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn

from reference.environment import ROOT, database_url
from reference.schema import upgrade
from reference.seed import DEMO_PASSWORD, seed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Check = Callable[[], None]

READY_WITHIN_S = 60.0
STOP_WITHIN_S = 20.0
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stopped(Exception):
    """Carry the signal that asked this program to stop."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class Failed(Exception):
    """Say why the reference migration cannot go on."""


@dataclass(frozen=True, slots=True)
class Child:
    """Be one process that this program started."""

    name: str
    process: subprocess.Popen[bytes]

    def check(self) -> None:
        """Raise :class:`Failed` when the process has ended."""
        code = self.process.poll()
        if code is not None:
            how = f"by signal {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
            raise Failed(f"{self.name} ended {how}; its last lines above say why")


@contextmanager
def started(name: str, argv: list[str], **environ: str) -> Iterator[Child]:
    """Run a Python module as a child, and end it on the way out."""
    # A group of its own: Ctrl-C reaches this program alone, which then stops its children in order.
    process = subprocess.Popen(  # noqa: S603 - our own modules and the command line's options
        [sys.executable, "-m", *argv], cwd=ROOT, env=os.environ | environ, process_group=0
    )
    try:
        yield Child(name, process)
    finally:
        process.terminate()
        try:
            process.wait(STOP_WITHIN_S)
        except subprocess.TimeoutExpired:
            print(f"{name} did not stop within {STOP_WITHIN_S:g} s and is killed", file=sys.stderr)
            process.kill()
            process.wait()


class StopRequest:
    """Remember the first stop signal. It is asked after, so that it tears nothing apart."""

    def __init__(self) -> None:
        self._number = 0
        for number in STOP_SIGNALS:
            signal.signal(number, self._note)

    def _note(self, number: int, _frame: object) -> None:
        self._number = self._number or number

    def check(self) -> None:
        """Raise :class:`Stopped` when a signal has come."""
        if self._number:
            raise Stopped(self._number)


def answer(url: str) -> tuple[int, str]:
    """Return the status and body of ``GET url``; status 0 and the reason when nothing answers."""
    try:
        with urllib.request.urlopen(url, timeout=2) as response:  # noqa: S310 - our own children
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode(errors="replace")
    except OSError as error:
        return 0, str(error)


def wait_until_ready(url: str, check: Check) -> None:
    """Return when ``url`` answers 200; raise what ``check`` raises, or :class:`Failed` when it does not."""
    deadline = time.monotonic() + READY_WITHIN_S
    while (last := answer(url))[0] != 200:
        check()
        if time.monotonic() > deadline:
            raise Failed(f"{url} was not ready within {READY_WITHIN_S:g} s; its last word: {last[1]}")
        time.sleep(0.1)
    check()


def free_port() -> int:
    """Return a loopback TCP port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def prepare_database() -> None:
    """Migrate the database, and fill it on the first run."""
    url = database_url()
    upgrade(url)
    if seed(url):
        print(f"Seeded {url.render_as_string(hide_password=True)}")


def tour(base: str, providers: str) -> str:
    """Return what to try next; every ``curl`` line in it works as it stands in a POSIX shell."""
    token = f"curl -s {base}/token -d username=ada@example.com -d password={DEMO_PASSWORD}"
    slow = (
        "{" + ", ".join(f'"{name}": {{"latency_ms": 200}}' for name in ("payment", "mail", "analytics")) + "}"
    )
    time_it = f"curl -s -o /dev/null -w '%{{time_total}} s\\n' {base}/dashboard"
    pick = "python3 -c 'import json, sys; print(json.load(sys.stdin)[\"access_token\"])'"
    return f"""
Ready. Who answers? X-Served-By says so:

  curl -i {base}/users/1

Open routing.yaml, write `new` for `legacy` at GET /users/{{user_id}}, save, and ask again.

More to try:

  curl -i {base}/dashboard -H 'X-Team: qa'
  curl -i {base}/reports/orders.csv
  TOKEN=$({token} | {pick})
  curl -i {base}/orders/1 -H "Authorization: Bearer $TOKEN"

Make the providers take 200 ms each, and time the dashboard: legacy asks them one after another, new all
at once.

  curl -s -X PUT {providers}/control -H 'Content-Type: application/json' -d '{slow}'
  {time_it} -H 'X-Team: board'
  {time_it} -H 'X-Team: qa'

  {base}/docs    the whole API
  {base}/admin/  legacy's admin pages: ada@example.com, {DEMO_PASSWORD}

Ctrl-C stops everything.
"""


def run(host: str, port: int, options: list[str], stop: StopRequest) -> NoReturn:
    """Serve until :class:`Stopped` or :class:`Failed`; ``options`` go to ``gateway serve``."""
    providers_port = free_port()
    providers_url = f"http://127.0.0.1:{providers_port}"
    shown_host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, host)  # noqa: S104 - compared, not bound
    base = f"http://{shown_host}:{port}"
    with started("reference.providers", ["reference.providers", "--port", str(providers_port)]) as providers:

        def check_providers() -> None:
            stop.check()
            providers.check()

        wait_until_ready(f"{providers_url}/control", check_providers)
        serve = ["gateway", "serve", "--host", host, "--port", str(port), *options]
        with started("gateway serve", serve, PROVIDERS_URL=providers_url) as gateway:

            def check_all() -> None:
                check_providers()
                gateway.check()

            wait_until_ready(f"{base}/-/ready", check_all)
            print(tour(base, providers_url), flush=True)
            while True:
                check_all()
                time.sleep(0.1)


def main() -> int:
    """Read the command line, run, and return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m reference.run",
        description="Run the reference migration behind the gateway; further options go to gateway serve.",
        allow_abbrev=False,
    )
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    options, passed_on = parser.parse_known_args()
    stop = StopRequest()
    try:
        prepare_database()
        run(options.host, options.port, passed_on, stop)
    except Stopped as stopped:
        return 128 + stopped.number
    except Failed as failed:
        print(f"reference.run: {failed}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
