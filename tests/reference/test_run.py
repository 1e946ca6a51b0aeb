"""``make run`` serves what it promises, and leaves nothing behind however it ends."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import httpx
import pytest

from reference.environment import ROOT
from tests.running import free_port, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

START_WITHIN_S = 60.0


class Run:
    """Be one running ``python -m reference.run`` on files of its own."""

    def __init__(self, folder: Path, table: str | None = None) -> None:
        self.table = folder / "routing.yaml"
        self.table.write_text(table or (ROOT / "routing.yaml").read_text())
        self.log = folder / "log.txt"
        self.base = f"http://127.0.0.1:{free_port()}"
        options = ["--port", self.base.rpartition(":")[2], "--admin", "off", "--config", str(self.table)]
        environ = os.environ | {"DATABASE_URL": f"sqlite:///{folder / 'reference.db'}"}
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "reference.run", *options],
                cwd=ROOT,
                env=environ,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def wait_until_ready(self) -> None:
        """Wait for the tour to be printed."""
        wait_until(
            lambda: "Ctrl-C stops everything" in self.said() or self.process.poll() is not None,
            timeout_s=START_WITHIN_S,
            what="the start",
        )
        assert self.process.poll() is None, self.said()

    def said(self) -> str:
        """Return what was printed until now."""
        return self.log.read_text()

    def children(self) -> dict[int, str]:
        """Return the living descendants' command lines by process id."""
        shown = subprocess.run(
            ["ps", "-eo", "pid=,ppid=,args="], capture_output=True, text=True, check=True
        ).stdout
        table = [line.split(None, 2) for line in shown.splitlines()]
        found: dict[int, str] = {}
        parents = {self.process.pid}
        while parents:
            level = {int(pid): args for pid, ppid, args in table if int(ppid) in parents}
            found |= level
            parents = set(level)
        return found


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    """Yield a run that is ready; end it when the test has not."""
    with started(tmp_path) as running:
        running.wait_until_ready()
        yield running


@contextmanager
def started(folder: Path, table: str | None = None) -> Iterator[Run]:
    running = Run(folder, table)
    try:
        yield running
    finally:
        running.process.terminate()
        running.process.wait(40)


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_every_line_of_the_tour_works_and_one_edited_word_changes_who_answers(run: Run) -> None:
    script = "\n".join(re.findall(r"^  ((?:curl|TOKEN=).*)$", run.said(), re.M))
    assert script.count("curl") == 8
    script = script.replace("curl ", "curl --fail ")
    done = subprocess.run(["sh", "-eu", "-c", script], capture_output=True, text=True)

    assert done.returncode == 0, done.stderr
    assert re.findall(r"(?i)x-served-by: (\w+)", done.stdout) == ["legacy", "new", "legacy", "legacy"]
    assert '"Ada Lovelace"' in done.stdout
    legacy_s, new_s = (float(time_s) for time_s in re.findall(r"([\d.]+) s$", done.stdout, re.M))
    assert legacy_s > 0.6, "three times 200 ms"
    assert 0.2 < new_s < legacy_s
    assert httpx.get(f"{run.base}/admin/login").status_code == 200

    text = run.table.read_text()
    assert "GET /users/{user_id}: legacy" in text
    run.table.write_text(text.replace("GET /users/{user_id}: legacy", "GET /users/{user_id}: new"))

    wait_until(
        lambda: httpx.get(f"{run.base}/users/1").headers["X-Served-By"] == "new", what="the edit's effect"
    )
    assert httpx.get(f"{run.base}/users/1").json()["name"] == "Ada Lovelace"
    assert httpx.get(f"{run.base}/users/abc").headers["X-Served-By"] == "legacy"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_everything(run: Run, number: signal.Signals) -> None:
    children = run.children()
    assert len(children) >= 2

    run.process.send_signal(number)

    assert run.process.wait(40) == 128 + number
    assert "Traceback" not in run.said()
    assert [args for pid, args in children.items() if is_alive(pid)] == []


@pytest.mark.parametrize("name", ["reference.providers", "gateway serve"])
def test_a_childs_death_is_named_and_ends_the_rest(run: Run, name: str) -> None:
    children = run.children()
    [victim] = [pid for pid, args in children.items() if f"-m {name}" in args]

    os.kill(victim, signal.SIGKILL)

    assert run.process.wait(40) == 1
    assert f"reference.run: {name} ended by signal SIGKILL" in run.said()
    wait_until(lambda: not any(is_alive(pid) for pid in children), what="the end of every child")


def test_a_table_that_is_refused_is_told_and_ends_the_run(tmp_path: Path) -> None:
    with started(tmp_path, table="version: 9\n") as broken:
        assert broken.process.wait(START_WITHIN_S) == 1

    assert "gateway serve ended with exit code" in broken.said()
    assert "version" in broken.said()
