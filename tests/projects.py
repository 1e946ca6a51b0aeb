"""Write small migrations to disk and serve them as a user does: ``gateway serve`` in their own folder."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING

import httpx

from tests.running import free_port, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

BACKENDS = """\
version: 1
backends:
  legacy:
    wsgi: legacy_app:app
  new:
    asgi: new_app:app
"""


@dataclass(frozen=True, slots=True)
class Project:
    """Be a folder with a legacy app (``legacy_app.py``), a new app (``new_app.py``) and a table."""

    folder: Path

    @property
    def table(self) -> Path:
        """Return the path of the table."""
        return self.folder / "routing.yaml"

    def write_table(self, routes: str, head: str = BACKENDS) -> None:
        """Replace the table atomically, as the gateway's own edits do; ``routes`` is its routes block."""
        fresh = self.folder / ".routing.yaml.fresh"
        fresh.write_text(f"{head}\n{textwrap.dedent(routes)}", encoding="utf-8")
        fresh.replace(self.table)


def make_project(folder: Path, legacy: str, new: str, routes: str, head: str = BACKENDS) -> Project:
    """Write a project; sources are dedented."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "legacy_app.py").write_text(textwrap.dedent(legacy), encoding="utf-8")
    (folder / "new_app.py").write_text(textwrap.dedent(new), encoding="utf-8")
    project = Project(folder)
    project.write_table(routes, head)
    return project


@dataclass(frozen=True, slots=True)
class Served:
    """Be a running gateway: its base URL, its process, and the file that takes its output."""

    url: str
    process: subprocess.Popen[bytes]
    output: Path

    def text(self) -> str:
        """Return what it has printed so far."""
        return self.output.read_text(encoding="utf-8", errors="replace")


def gateway(
    *arguments: str, folder: Path, environ: Mapping[str, str] | None = None, timeout_s: float = 60.0
) -> subprocess.CompletedProcess[str]:
    """Run one command line of the gateway to its end, in ``folder``."""
    return subprocess.run(
        [sys.executable, "-m", "gateway", *arguments],
        cwd=folder,
        env=_environment(environ or {}),
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )


@contextlib.contextmanager
def served(
    folder: Path,
    *options: str,
    environ: Mapping[str, str] | None = None,
    timeout_s: float = 30.0,
    is_ready: bool = True,
) -> Iterator[Served]:
    """Run ``gateway serve`` in ``folder`` until the block ends; wait until it is ready (or just up)."""
    port = free_port()
    output = folder / "serve.log"
    with output.open("wb") as sink:
        process = subprocess.Popen(
            [sys.executable, "-m", "gateway", "serve", "--port", str(port), "--admin", "off", *options],
            cwd=folder,
            env=_environment(environ or {}),
            stdout=sink,
            stderr=subprocess.STDOUT,
        )
    running = Served(f"http://127.0.0.1:{port}", process, output)
    try:
        path = "/-/ready" if is_ready else "/-/health"
        wait_until(lambda: _answers(running, path), timeout_s=timeout_s, what="the gateway's readiness")
        yield running
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(5)
            raise


@contextlib.contextmanager
def gunicorn(app: str, folder: Path, *, environ: Mapping[str, str] | None = None) -> Iterator[str]:
    """Serve a WSGI app as teams do without the gateway; yield its base URL. It is the bridge's oracle."""
    port = free_port()
    argv = ["gunicorn", "-k", "gthread", "--threads", "4", "-b", f"127.0.0.1:{port}", app]
    with (folder / "gunicorn.log").open("wb") as sink:
        process = subprocess.Popen(
            [sys.executable, "-m", *argv],
            cwd=folder,
            env=_environment(environ or {}),
            stdout=sink,
            stderr=subprocess.STDOUT,
        )

    def is_listening() -> bool:
        assert process.poll() is None, (folder / "gunicorn.log").read_text()
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return True
        return False

    try:
        wait_until(is_listening, timeout_s=30, what="gunicorn's start")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(10)


def _answers(running: Served, path: str) -> bool:
    assert running.process.poll() is None, f"gateway serve ended:\n{running.text()}"
    try:
        return httpx.get(running.url + path, timeout=2).status_code == 200
    except httpx.TransportError:
        return False


def _environment(more: Mapping[str, str]) -> dict[str, str]:
    """Return this process's environment without what would colour or redirect the gateway's output."""
    dropped = {"GATEWAY_CONFIG", "GATEWAY_ADMIN_TOKEN", "FORCE_COLOR", "PYTHONWARNINGS"}
    return {name: value for name, value in os.environ.items() if name not in dropped} | dict(more)
