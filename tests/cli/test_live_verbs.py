"""Verbs that ask the running gateway, on real ones with one worker and with four, and where none runs."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import signal
import sqlite3
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from gateway.processes.admin_file import AdminNote, note_path, read_note, write_note
from tests.projects import Project, Served, gateway, make_project, served
from tests.running import free_port, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LEGACY = """
    from flask import Flask, jsonify, request

    app = Flask(__name__)

    @app.get("/search")
    def search():
        return jsonify(q=request.args.get("q"), hits=[1, 2, 3])

    @app.get("/users/<int:user_id>")
    def user(user_id):
        return jsonify(id=user_id, name="ada", password="hunter2")

    @app.get("/plain")
    def plain():
        return "plain"
"""
NEW = """
    from fastapi import FastAPI

    app = FastAPI()

    @app.get("/search")
    async def search(q: str = ""):
        return {"q": q, "hits": [1, 2, 3]}

    @app.get("/users/{user_id}")
    async def user(user_id: int):
        return {"id": user_id, "name": "<script>alert(1)</script>", "password": "hunter2"}

    @app.get("/plain")
    async def plain():
        return "plain"
"""
ROUTES = """
    routes:
      GET /search:
        stage: canary
        weight: 100%
        sample: 100%
        rollout: {steps: [new], min_time: 1h}
      GET /users/{user_id}: shadow
      GET /plain: new
"""


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return make_project(tmp_path / "api", LEGACY, NEW, ROUTES)


@contextlib.contextmanager
def running(project: Project, workers: int = 1) -> Iterator[Served]:
    address = f"127.0.0.1:{free_port()}"
    with served(project.folder, "--workers", str(workers), "--admin", address) as gateway_:
        wait_until(lambda: read_note(note_path(project.table)), what="the note")
        yield gateway_


def run(project: Project, *arguments: str, status: int = 0, **environ: str) -> str:
    """Run a verb in the project, hold it to its exit code, and return what it printed."""
    result = gateway(*arguments, folder=project.folder, environ=environ)
    assert result.returncode == status, result.stdout + result.stderr
    return result.stderr if status else result.stdout


def served_by(running_: Served, path: str = "/search?q=1", requests: int = 24) -> set[str]:
    """Return who answers, over as many connections as it takes to meet every worker."""
    return {httpx.get(running_.url + path).headers["x-served-by"] for _ in range(requests)}


def status_of(project: Project, key: str = "GET /search") -> dict[str, Any]:
    situation = json.loads(run(project, "status", "--output", "json"))
    route = next(each for each in situation["routes"] if each["standing"]["key"] == key)
    standing: dict[str, Any] = route["standing"]
    return standing


@pytest.mark.parametrize("workers", [1, 4])
def test_a_route_is_rolled_back_on_every_worker_and_stays_so_through_a_restart(
    project: Project, workers: int
) -> None:
    before = project.table.read_bytes()
    with running(project, workers) as first:
        assert served_by(first) == {"new"}
        said = run(project, "rollback", "--live", "/search", "--reason", "it burns")
        assert "GET /search: canary 100% → shadow" in said
        assert "gateway resume 'GET /search'" in said
        wait_until(lambda: served_by(first) == {"legacy"}, timeout_s=5, what="legacy everywhere")
        assert project.table.read_bytes() == before, "the file is never edited"
    with running(project, workers) as second:
        assert served_by(second) == {"legacy"}
        standing = status_of(project)
        assert (standing["file_step"], standing["step"]) == ("canary 100%", "shadow")
        assert standing["is_rolled_back"] is True
        assert standing["reason"] == "it burns"
        assert "GET /search: shadow → canary 100%" in run(project, "resume", "/search")
        wait_until(lambda: served_by(second) == {"new"}, timeout_s=5, what="new everywhere")


@pytest.mark.parametrize("workers", [1, 4])
def test_hold_and_promote_are_seen_by_all(project: Project, workers: int) -> None:
    with running(project, workers):
        assert "held at canary 100%" in run(project, "hold", "GET /search", "--reason", "release day")
        assert status_of(project)["is_held"] is True
        assert "held already" in run(project, "hold", "GET /search")
        assert "still held" in run(project, "promote", "--live", "/search")
        assert status_of(project)["step"] == "new"
        assert "resumed at new" in run(project, "resume", "/search")
        kinds = [event["kind"] for event in events(project)]
        assert kinds == ["resumed", "advanced", "held", "placed"]


def events(project: Project) -> list[dict[str, Any]]:
    note = read_note(note_path(project.table))
    assert note is not None
    answer = httpx.get(f"{note.url}/api/events", headers={"X-Gateway-Token": note.token})
    found: list[dict[str, Any]] = answer.json()["events"]
    return found


def test_with_a_broken_store_the_file_is_the_way_back(project: Project) -> None:
    with running(project) as gateway_:
        run(project, "hold", "/search")
        run(project, "resume", "/search")
        state = project.folder / ".gateway" / "state.db"
        for name in ("state.db", "state.db-wal", "state.db-shm"):
            state.with_name(name).unlink(missing_ok=True)
        state.write_bytes(b"this is no database" * 500)

        def refused() -> str:
            result = gateway("rollback", "--live", "/search", "--dry-run", folder=project.folder)
            return result.stderr if result.returncode == 3 else ""

        said = wait_until(refused, timeout_s=20, what="the refusal")
        assert said.rstrip().endswith("the file needs no store: gateway rollback 'GET /search'")
        text = run(project, "status")
        assert "the store cannot be used" in text
        assert "GET /search" in text
        run(project, "rollback", "/search")
        wait_until(lambda: served_by(gateway_) == {"legacy"}, timeout_s=10, what="legacy by the file")


def test_a_dry_run_says_what_would_happen(project: Project) -> None:
    with running(project) as gateway_:
        said = run(project, "rollback", "--live", "--dry-run", "/search")
        assert "canary 100% → shadow" in said
        assert "dry run" in said
        assert status_of(project)["step"] == "canary 100%"
        assert served_by(gateway_, requests=3) == {"new"}


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (("promote", "--live", "/plain"), 1, "to change the file: gateway promote 'GET /plain'"),
        (("promote", "--live", "/search", "--to", "retired"), 1, "does not let"),
        (("promote", "--live", "/search", "--weight", "5"), 2, "5%"),
        (("rollback", "--live", "/search", "--to", "new"), 1, "gateway promote --live 'GET /search'"),
        (("hold", "/serch"), 2, "did you mean `GET /search`?"),
        (("hold", "/nothing/like/it"), 2, "`gateway status` lists them all"),
        (("promote", "/plain", "--reason", "x"), 2, "--reason belongs to --live"),
        (("differences", "/a", "b", "c"), 2, "at most"),
        (("differences", "ffff0000"), 2, "no finding has the id"),
        (("status", "/nothing"), 2, "no row is called"),
        (("hold",), 2, "gateway hold --help"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_what_cannot_be_done_says_what_to_type_and_ends_with_its_code(
    one_gateway: Project, arguments: tuple[str, ...], status: int, words: str
) -> None:
    assert words in run(one_gateway, *arguments, status=status)


@pytest.fixture(scope="module")
def one_gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """Yield a project whose gateway runs for all tests that change nothing on it."""
    project = make_project(tmp_path_factory.mktemp("one") / "api", LEGACY, NEW, ROUTES)
    with running(project) as gateway_:
        for number in range(12):
            httpx.get(f"{gateway_.url}/users/{number}")
            httpx.get(f"{gateway_.url}/search?q={number}")
        wait_until(lambda: status_of(project, "GET /users/{user_id}")["comparisons"] == 12, timeout_s=20)
        yield project


def test_status_tells_a_person_where_every_route_stands_and_what_to_type(one_gateway: Project) -> None:
    text = run(one_gateway, "status", COLUMNS="")
    assert re.search(r"routing\.yaml on http://127\.0\.0\.1:\d+: 1 worker, generation 1, up ", text)
    assert "GET /search  canary 100%" in text
    assert "canary 100%, and by itself up to new" in text
    assert "for new" not in text
    assert "500 requests to new are needed" in text
    assert "12 of 12 differ: 100%" in text
    assert "1 route moves by itself; the levels allow at most 0.05 false promotions" in text
    assert text.rstrip().endswith("gateway differences 'GET /users/{user_id}'  what differs")
    assert "last " in text
    assert max(map(len, text.splitlines())) > 80, "nothing is wrapped in a pipe"
    narrow = run(one_gateway, "status", COLUMNS="80")
    assert max(map(len, narrow.splitlines())) <= 80


def test_status_of_one_route_leaves_the_others_out(one_gateway: Project) -> None:
    text = run(one_gateway, "status", "/search")
    assert "GET /search" in text
    assert "/users" not in text
    assert "levels" not in text


def test_status_for_machines_is_one_object(one_gateway: Project) -> None:
    situation = json.loads(run(one_gateway, "status", "--output", "json"))
    assert situation["is_running"] is True
    assert [each["standing"]["key"] for each in situation["routes"]][:2] == [
        "GET /search",
        "GET /users/{user_id}",
    ]
    assert situation["routes"][1]["standing"]["mismatches"] == 12
    assert situation["routes"][1]["counts"]["legacy"] == 12
    times = situation["routes"][1]["latency"]["legacy"]
    assert 0 < times["p50_s"] <= times["p95_s"] <= times["p99_s"] < 60


def test_status_says_how_fast_a_row_is_that_moves_by_hand(one_gateway: Project) -> None:
    by_hand = run(one_gateway, "status", "/users/{user_id}", COLUMNS="")
    assert re.search(
        r"^  legacy +p50 / p95 / p99 [\d.,]+ / [\d.,]+ / [\d.,]+ ms since the start$", by_hand, re.M
    )
    by_itself = run(one_gateway, "status", "/search", COLUMNS="")
    assert "since the start\n  new" in by_itself, "which has evidence at its step"


def test_differences_are_listed_and_one_is_shown_whole_with_its_curl_line(one_gateway: Project) -> None:
    listed = run(one_gateway, "differences")
    assert "GET /users/{user_id}  1 finding" in listed
    found = re.search(r"^  ([0-9a-f]{8})  12×  json\.value at \$\.name", listed, re.MULTILINE)
    assert found is not None
    assert f"gateway differences {found[1]}" in listed
    whole = run(one_gateway, "differences", found[1], COLUMNS="100")
    assert re.search(r'^  "name": "ada", +≠   "name": "<script>alert\(1\)</script>",$', whole, re.MULTILINE)
    assert "curl -sS -g --path-as-is" in whole
    assert "hunter2" not in whole
    assert "x-served-by" not in whole
    for way in (("GET /users/{user_id}", found[1]), ("GET", "/users/{user_id}", found[1]), (found[1][:4],)):
        again = run(one_gateway, "differences", *way, COLUMNS="100")
        assert again.splitlines()[2:] == whole.splitlines()[2:], "but for how long ago it was"
    assert run(one_gateway, "differences", "/search").startswith("No difference that counts was found")
    assert "waived" in run(one_gateway, "differences", "/search", "--all")


def test_differences_for_machines_are_the_apis(one_gateway: Project) -> None:
    (listed,) = json.loads(run(one_gateway, "differences", "/users/{user_id}", "--output", "json"))
    whole = json.loads(run(one_gateway, "differences", listed["signature"], "--output", "json"))
    assert {name: whole[name] for name in listed if name != "count"} == {
        name: value for name, value in listed.items() if name != "count"
    }
    assert whole["examples"][0]["curl"].startswith("curl")


def test_nothing_of_a_finding_runs_on_the_admin_page(one_gateway: Project) -> None:
    note = read_note(note_path(one_gateway.table))
    assert note is not None
    (found,) = json.loads(run(one_gateway, "differences", "/users/{user_id}", "--output", "json"))
    for path in ("/", f"/differences/{found['route_id']}/{found['signature']}"):
        page = httpx.get(note.url + path, headers={"X-Gateway-Token": note.token}).text
        assert "<script>" not in page
        assert found["signature"] in page or "&lt;script&gt;alert(1)&lt;/script&gt;" in page


def test_another_gateway_is_named_by_its_address_and_token(one_gateway: Project, tmp_path: Path) -> None:
    note = read_note(note_path(one_gateway.table))
    assert note is not None
    elsewhere = Project(tmp_path)
    named = run(elsewhere, "status", "--admin", note.url, GATEWAY_ADMIN_TOKEN=note.token)
    assert "GET /search" in named
    assert "GET /search" in run(elsewhere, "status", "--admin", f"{note.url}/?token={note.token}")
    assert "GET /search" in run(
        elsewhere, "status", GATEWAY_ADMIN_URL=note.url, GATEWAY_ADMIN_TOKEN=note.token
    )
    assert "does not take the token" in run(
        elsewhere, "hold", "/search", "--admin", note.url, status=3, GATEWAY_ADMIN_TOKEN="wrong"
    )
    assert "GATEWAY_ADMIN_TOKEN" in run(elsewhere, "hold", "/search", "--admin", note.url, status=2)
    assert "that is no address" in run(elsewhere, "hold", "/search", "--admin", "ftp://x", status=2)
    assert list(tmp_path.iterdir()) == []


# --- without a gateway ------------------------------------------------------------------------------------


def test_without_a_gateway_status_shows_the_file_and_makes_no_state(project: Project) -> None:
    text = run(project, "status")
    assert "No gateway can be asked: there is no .gateway/admin.json" in text
    assert "GET /search  canary 100%" in text
    assert "there is no state at" in text
    assert "gateway serve" in text
    assert "gateway resume" not in text
    assert not (project.folder / ".gateway").exists()
    assert json.loads(run(project, "status", "--output", "json"))["is_running"] is False


def test_without_a_gateway_what_the_state_has_kept_is_shown(project: Project) -> None:
    with running(project) as gateway_:
        httpx.get(f"{gateway_.url}/users/1")
        wait_until(lambda: status_of(project, "GET /users/{user_id}")["comparisons"], timeout_s=20)
        run(project, "rollback", "--live", "/search", "--reason", "it burns")
    state = project.folder / ".gateway" / "state.db"
    with contextlib.closing(sqlite3.connect(state)) as connection:
        before = list(connection.iterdump())
    text = run(project, "status")
    assert "GET /search  shadow  rolled back" in text
    assert "it burns" in text
    assert "1 of 1 differ" in text
    assert "$.name" in run(project, "differences")
    with contextlib.closing(sqlite3.connect(state)) as connection:
        assert list(connection.iterdump()) == before
    assert "no gateway can be asked" in run(project, "hold", "/search", status=3)


def test_a_gateway_that_was_killed_is_said_to_be_gone(project: Project) -> None:
    with running(project) as gateway_:
        gateway_.process.kill()
        gateway_.process.wait(5)
        for verb in (
            ("hold", "/search"),
            ("rollback", "--live", "/search"),
            ("promote", "--live", "/search"),
        ):
            said = run(project, *verb, status=3)
            assert f"the gateway that wrote .gateway/admin.json (pid {gateway_.process.pid}) is gone" in said
            assert "`gateway serve`" in said
        assert "is gone" in run(project, "status")


def test_a_note_that_leads_nowhere_says_so(project: Project) -> None:
    write_note(note_path(project.table), AdminNote(f"http://127.0.0.1:{free_port()}", "t", os.getpid()))
    assert "nothing answers at http://127.0.0.1:" in run(project, "hold", "/search", status=3)
    write_note(note_path(project.table), AdminNote("http://127.0.0.1:1", "t", 2**22 + 1))
    assert "is gone" in run(project, "hold", "/search", status=3)
    note_path(project.table).write_text("{")
    assert "cannot be read" in run(project, "hold", "/search", status=3)


def test_another_gateway_on_the_port_does_not_take_the_token(project: Project, one_gateway: Project) -> None:
    other = read_note(note_path(one_gateway.table))
    assert other is not None
    write_note(note_path(project.table), AdminNote(other.url, "stale", os.getpid()))
    assert "does not take the token of .gateway/admin.json" in run(project, "hold", "/search", status=3)


def test_a_folder_without_a_table_says_so(tmp_path: Path) -> None:
    assert "routing.yaml" in run(Project(tmp_path), "status", status=3)


# --- watching ---------------------------------------------------------------------------------------------


def test_watching_in_a_pipe_tells_each_change_in_a_line_and_ends_with_130(project: Project) -> None:
    with running(project):
        with subprocess.Popen(
            [sys.executable, "-m", "gateway", "status", "--watch"],
            cwd=project.folder,
            stdout=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stdout is not None
            lines: list[str] = []
            reader = threading.Thread(target=lines.extend, args=(process.stdout,))
            reader.start()
            wait_until(lambda: any("GET /search  canary 100%" in line for line in lines), what="a first line")
            run(project, "hold", "/search")
            wait_until(lambda: any("canary 100%  held" in line for line in lines), what="the change")
            process.send_signal(signal.SIGINT)
            assert process.wait(10) == 130
            reader.join(5)
        assert all("\x1b" not in line for line in lines)


def test_watching_on_a_terminal_redraws_and_ends_with_130(project: Project) -> None:
    with running(project):
        leader, follower = pty.openpty()
        environ = {**os.environ, "TERM": "xterm", "COLUMNS": "80", "LINES": "24"}
        process = subprocess.Popen(
            [sys.executable, "-m", "gateway", "status", "--watch"],
            cwd=project.folder,
            env=environ,
            stdin=follower,
            stdout=follower,
            stderr=follower,
            start_new_session=True,
        )
        os.close(follower)
        screen = b""
        try:
            while b"GET /search" not in screen:
                screen += os.read(leader, 65536)
            assert b"\x1b[?1049h" in screen, "it takes a screen of its own"
            process.send_signal(signal.SIGINT)
            while b"\x1b[?1049l" not in screen:
                screen += os.read(leader, 65536)
            assert process.wait(10) == 130
        finally:
            process.kill()
            process.wait(5)
            os.close(leader)
