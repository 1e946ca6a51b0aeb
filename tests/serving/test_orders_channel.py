"""What a person asks reaches one worker and comes back, and all workers hear of a change."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import socket
import stat
import threading
import time
from typing import TYPE_CHECKING

import pytest

from gateway.processes.admin_file import AdminNote, note_path, read_note, remove_note, url_of, write_note
from tests.running import wait_until
from tests.serving.supervised import serving

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.serving.supervised import Served


def asked(folder: Path) -> set[int]:
    return {int(path.name.removeprefix("asked-")) for path in folder.glob("asked-*")}


@pytest.mark.parametrize("workers", [1, 4])
def test_one_worker_is_asked_and_all_are_told_to_look_again(tmp_path: Path, workers: int) -> None:
    with serving(tmp_path, "--workers", str(workers)) as served:
        status, answer = served.order("hold", reason="go")
        assert status == 200
        assert answer["changed"] is True
        assert asked(tmp_path) == {answer["pid"]}
        expected = {f"refreshed-{pid}" for pid in served.worker_pids()}
        assert len(expected) == workers
        wait_until(lambda: {p.name for p in tmp_path.glob("refreshed-*")} == expected, what="the refresh")


def test_nobody_is_told_of_what_changed_nothing(tmp_path: Path) -> None:
    with serving(tmp_path) as served:
        assert served.order("hold", reason="nothing")[1]["changed"] is False
        assert served.order("hold", reason="nothing")[0] == 200, "the channel has been read to here"
        assert list(tmp_path.glob("refreshed-*")) == []


@pytest.mark.parametrize(
    ("reason", "status", "words"), [("refuse", 409, "not like this"), ("crash", 500, "RuntimeError")]
)
def test_a_refusal_keeps_its_status_and_a_crash_its_secrets(
    tmp_path: Path, reason: str, status: int, words: str
) -> None:
    with serving(tmp_path) as served:
        got, answer = served.order("hold", reason=reason)
        assert got == status
        assert words in answer["detail"]
        assert "nobody should read" not in answer["detail"]
        assert served.answers(), "the worker serves on"


def test_a_worker_that_dies_over_an_order_leaves_it_to_another(tmp_path: Path) -> None:
    with serving(tmp_path, "--workers", "2") as served:
        status, answer = served.order("hold", reason="die once")
        assert status == 200
        assert len(asked(tmp_path)) == 2
        assert answer["pid"] in asked(tmp_path)


def test_one_step_further_is_never_asked_for_twice(tmp_path: Path) -> None:
    with serving(tmp_path, "--workers", "2") as served:
        status, answer = served.order("promote", reason="die once")
        assert status == 503
        assert "gateway status" in answer["detail"]
        assert len(asked(tmp_path)) == 1
        (tmp_path / "dead").unlink()
        wait_until(lambda: len(served.worker_pids()) == 2, timeout_s=20, what="both workers back")
        assert served.order("promote", reason="die once", weight="5%")[0] == 200, "a named step may be"


def test_no_answer_is_a_503_in_time(tmp_path: Path) -> None:
    with serving(tmp_path, "--workers", "2") as served:
        began = time.monotonic()
        status, answer = served.order("hold", reason="hang")
        assert status == 503
        assert "does not answer" in answer["detail"]
        assert time.monotonic() - began < 7
        assert served.order("hold", reason="go")[0] == 200, "and the next order is answered"


def test_many_long_answers_at_a_time_arrive_whole(tmp_path: Path) -> None:
    with serving(tmp_path) as served:
        sizes = [300_000 + number for number in range(8)]
        texts: list[int] = []

        def order(size: int) -> None:
            texts.append(len(served.order("hold", reason="go", to=str(size))[1]["text"]))

        threads = [threading.Thread(target=order, args=(size,)) for size in sizes]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        assert sorted(texts) == sizes


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_open_stream_holds_no_stop_back(tmp_path: Path, number: int) -> None:
    with serving(tmp_path, "--grace", "3") as served, an_open_stream(served):
        began = time.monotonic()
        served.stop(number)
        assert time.monotonic() - began < 3


def test_a_listener_that_cannot_be_brought_up_says_why(tmp_path: Path) -> None:
    with serving(tmp_path) as served:
        (tmp_path / "click.py").write_text("raise RuntimeError('in the way of uvicorn')")
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", served.admin_port), timeout=5).close()
        served.wait_for_output("the admin listener failed")
        served.wait_for_output("in the way of uvicorn")
        assert served.answers(), "and what is served is served"


@contextlib.contextmanager
def an_open_stream(served: Served) -> Iterator[None]:
    connection = http.client.HTTPConnection("127.0.0.1", served.admin_port, timeout=10)
    with contextlib.closing(connection):
        connection.request("GET", "/api/stream", headers={"X-Gateway-Token": "secret"})
        with connection.getresponse() as response:
            wait_until(lambda: response.readline().startswith(b"event: routes"), what="the stream's start")
            yield


# --- the note ---


def test_the_note_leads_to_the_listener_while_it_is_there(tmp_path: Path) -> None:
    (tmp_path / "routing.yaml").touch()
    path = note_path(tmp_path / "routing.yaml")
    with serving(tmp_path) as served:
        note = read_note(path)
        assert note == AdminNote(f"http://127.0.0.1:{served.admin_port}", "secret", served.process.pid)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        assert [each.name for each in path.parent.iterdir() if each.name.startswith(".admin")] == []
        served.stop()
        assert not path.exists()


def test_a_note_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    with serving(tmp_path) as served:
        path = note_path(tmp_path / "routing.yaml")
        theirs = AdminNote("http://127.0.0.1:1", "theirs", os.getpid())
        write_note(path, theirs)
        served.stop()
        assert read_note(path) == theirs


def test_without_an_admin_listener_there_is_no_note(tmp_path: Path) -> None:
    with serving(tmp_path, "--admin", "off") as served:
        assert served.answers()
        assert not note_path(tmp_path / "routing.yaml").exists()


def test_a_folder_that_cannot_be_written_costs_only_the_note(tmp_path: Path) -> None:
    (tmp_path / ".gateway").write_text("in the way")
    with serving(tmp_path) as served:
        assert served.answers()
        assert served.order("hold", reason="go")[0] == 200
        served.wait_for_output("admin.json cannot be written")


@pytest.mark.parametrize("text", ["", "{", "[]", '{"url": "x"}', '{"url": "x", "token": "y", "pid": "z"}'])
def test_a_broken_note_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "note").write_text(text)
    assert read_note(tmp_path / "note") is None
    remove_note(tmp_path / "note", pid=1)
    assert (tmp_path / "note").exists()


@pytest.mark.parametrize(
    ("address", "url"),
    [
        ("127.0.0.1:8001", "http://127.0.0.1:8001"),
        ("0.0.0.0:8001", "http://127.0.0.1:8001"),
        ("[::]:8001", "http://[::1]:8001"),
        ("10.0.0.7:8001", "http://10.0.0.7:8001"),
    ],
)
def test_the_note_names_an_address_that_this_machine_reaches(address: str, url: str) -> None:
    assert url_of(address) == url
