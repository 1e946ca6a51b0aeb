"""`gateway record` serves both apps as `gateway serve` does, and leaves a corpus behind."""

from __future__ import annotations

import contextlib
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

from gateway.ci.recordings import read_har
from gateway.cli.record import make_record_parser
from gateway.cli.serve import make_parser
from gateway.recording.archive import read_state
from tests.projects import Project, gateway, make_project
from tests.recording.samples import entries, log
from tests.running import free_port, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]

LEGACY = """
    from flask import Flask, jsonify, request, session

    app = Flask(__name__)
    app.secret_key = "not a secret"

    @app.post("/login")
    def login():
        session["user"] = request.json["name"]
        return jsonify(ok=True)

    @app.get("/me")
    def me():
        return jsonify(user=session.get("user"))

    @app.get("/time")
    def time():
        return "now"
    """

NEW = """
    from fastapi import FastAPI

    app = FastAPI()

    @app.get("/time")
    async def time() -> str:
        return "now"
    """

ROUTES = """
    routes:
      GET /time: new
    """


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return make_project(tmp_path / "project", LEGACY, NEW, ROUTES)


@contextlib.contextmanager
def recording(project: Project, *options: str) -> Iterator[tuple[str, subprocess.Popen[bytes], Path]]:
    """Run ``gateway record`` until the block ends; yield its URL, its process and the file of its output."""
    port = free_port()
    output = project.folder / "record.log"
    with output.open("wb") as sink:
        process = subprocess.Popen(
            [sys.executable, "-m", "gateway", "record", "--port", str(port), "--admin", "off", *options],
            cwd=project.folder,
            env={name: value for name, value in os.environ.items() if name != "PYTHONWARNINGS"},
            stdout=sink,
            stderr=subprocess.STDOUT,
        )

    def is_serving() -> bool:
        assert process.poll() is None, output.read_text()
        return "Recording to" in output.read_text()

    try:
        wait_until(is_serving, timeout_s=30, what="the start of the recording")
        yield f"http://127.0.0.1:{port}", process, output
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        process.wait(20)


def written(path: Path) -> int:
    """Return how many entries a file that is being written has."""
    state = read_state(path)
    return state.entries if state is not None else 0


def test_what_was_served_is_a_corpus_that_compare_reads(project: Project) -> None:
    path = project.folder / "session.har"
    with recording(project, "--output", "session.har", "--limit", "3") as (url, process, output):
        with httpx.Client(base_url=url) as client:
            client.post("/login", json={"name": "ada", "password": "hunter2-secret"})
            assert client.get("/me").json() == {"user": "ada"}
            assert client.get("/time").headers["x-served-by"] == "new"
            wait_until(lambda: "Next: " in output.read_text(), what="the end of the recording")
            assert client.get("/time").status_code == 200  # serving goes on
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert "hunter2-secret" not in path.read_text()
    assert [entry["_served_by"] for entry in entries(path)] == ["legacy", "legacy", "new"]
    (scenario,) = read_har(path).scenarios
    assert [(each.method, each.target) for each in scenario.requests] == [
        ("POST", "/login"),
        ("GET", "/me"),
        ("GET", "/time"),
    ]
    text = output.read_text()
    assert "Recording to session.har: up to 3 exchanges, 256 MiB." in text
    assert "session.har holds 3 exchanges in 1 session." in text
    assert "Next: gateway compare session.har\n" in text


def test_a_recording_survives_the_restart_of_its_worker(project: Project) -> None:
    path = project.folder / "recording.har"
    with recording(project) as (url, process, output):
        httpx.get(url + "/time")
        wait_until(lambda: written(path) == 1, what="the first entry")
        process.send_signal(signal.SIGHUP)
        wait_until(lambda: "rolled 1 worker" in output.read_text(), timeout_s=30, what="the new worker")

        def is_recorded_again() -> bool:
            httpx.get(url + "/time")
            return written(path) > 1

        wait_until(is_recorded_again, what="another entry")
    assert log(path)["_recording"]["ended"] == ""
    assert "recording.har holds" in output.read_text()


def test_time_ends_it_and_an_empty_recording_leaves_no_file(project: Project) -> None:
    with recording(project, "--for", "200ms", "--exit") as (_, process, output):
        assert process.wait(20) == 0
        assert "Nothing was recorded" in output.read_text()
    assert not (project.folder / "recording.har").exists()


@pytest.mark.parametrize(
    ("options", "status", "words"),
    [
        (("--workers", "2"), 2, "a recording is written by one worker"),
        (("--limit", "0"), 2, "no number of exchanges"),
        (("--for", "10"), 2, "write 10s"),
        (("--sample", "5"), 2, "write 5%"),
        (("--redact", "off,names"), 2, "either off, or names"),
        (("--output", "legacy_app.py"), 3, "is there already"),
        (("--output", "no/such/folder.har"), 3, "No such file or directory"),
    ],
    ids=["workers", "limit", "for", "sample", "redact", "existing", "folder"],
)
def test_a_call_that_makes_no_sense_is_one_line(
    project: Project, options: tuple[str, ...], status: int, words: str
) -> None:
    ended = gateway("record", "--admin", "off", "--port", str(free_port()), *options, folder=project.folder)
    assert ended.returncode == status
    assert words in ended.stderr
    assert ended.stdout == ""
    assert not (project.folder / "recording.har").exists()


def test_the_page_on_recording_names_every_option_of_its_own() -> None:
    text = (ROOT / "docs" / "record.md").read_text("utf-8")
    serving = {option for action in make_parser("serve", {})._actions for option in action.option_strings}
    own = {
        option
        for action in make_record_parser({})._actions  # argparse offers no other list of its options
        for option in action.option_strings
    }
    assert {option for option in own - serving if f"`{option}" not in text} == set()
