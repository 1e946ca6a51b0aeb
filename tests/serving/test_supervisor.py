"""The supervisor keeps its promises: nothing lost, nothing left behind, everything said plainly."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.running import free_port, wait_until
from tests.serving.supervised import command, environment, is_alive, serving, write_stub

if TYPE_CHECKING:
    from tests.serving.supervised import Served


def run_to_end(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    write_stub(folder)
    return subprocess.run(
        command("serve", *options), cwd=folder, env=environment(), capture_output=True, text=True, timeout=60
    )


def pid_of(served: Served) -> int:
    return int(served.get()[1].split()[0])


def test_a_start_says_what_is_served_and_where(tmp_path: Path) -> None:
    with serving(tmp_path) as served:
        text = "".join(served.output)
        assert f"Serving routing.yaml on http://127.0.0.1:{served.port} with 1 worker." in text
        assert "old:app" in text
        assert "new:app" in text
        assert "1 new" in text
        assert f"http://127.0.0.1:{served.admin_port}/" in text
        assert "secret" not in text
        assert served.get()[0] == 200


def test_a_killed_worker_is_replaced_within_three_seconds(tmp_path: Path) -> None:
    with serving(tmp_path) as served:
        victim = pid_of(served)
        os.kill(victim, signal.SIGKILL)
        began = time.monotonic()
        wait_until(served.answers, timeout_s=5)
        assert time.monotonic() - began < 3
        assert pid_of(served) != victim
        served.wait_for_output("was killed by SIGKILL")
        assert served.status()["restarts"] == 1


def test_a_worker_that_exits_by_itself_is_replaced(tmp_path: Path) -> None:
    with serving(tmp_path) as served:
        with pytest.raises((http.client.RemoteDisconnected, ConnectionResetError)):
            served.get("/exit")
        wait_until(served.answers, timeout_s=5)
        served.wait_for_output("ended with status 7")


def test_while_one_of_two_workers_is_dead_its_connections_are_accepted_by_the_other(tmp_path: Path) -> None:
    with serving(tmp_path, "--workers", "2") as served:
        (tmp_path / "broken").touch()
        victim, *_ = served.worker_pids()
        os.kill(victim, signal.SIGKILL)
        served.wait_for_output("was killed by SIGKILL")
        wait_until(lambda: len(served.worker_pids()) == 1, what="one worker left")
        (survivor,) = served.worker_pids()
        answers = [served.get(timeout_s=2)[1] for _ in range(40)]
        assert {int(answer.split()[0]) for answer in answers} == {survivor}
        (tmp_path / "broken").unlink()
        wait_until(lambda: len(served.worker_pids()) == 2, timeout_s=20, what="both workers back")


def test_two_workers_share_the_connections(tmp_path: Path) -> None:
    with serving(tmp_path, "--workers", "2") as served:
        pids = [pid_of(served) for _ in range(60)]
        assert set(pids) == served.worker_pids()
        assert min(pids.count(pid) for pid in set(pids)) >= 12


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_a_stop_answers_what_was_accepted(tmp_path: Path, number: int, status: int) -> None:
    with serving(tmp_path, "--grace", "5") as served, ThreadPoolExecutor() as pool:
        slow = pool.submit(served.get, "/sleep/1.0")
        wait_until((tmp_path / "sleeping").exists)
        exit_status, took_s = served.stop(number)
        assert slow.result()[0] == 200
        assert slow.result()[2] == "close"
        assert exit_status == status
        assert took_s < 3
        assert len(list(tmp_path.glob("shut-*"))) == 1, "the app's shutdown ran"


def test_an_idle_connection_may_ask_once_more_while_the_worker_drains(tmp_path: Path) -> None:
    with serving(tmp_path, "--grace", "5") as served, ThreadPoolExecutor() as pool:
        idle = http.client.HTTPConnection("127.0.0.1", served.port)
        idle.request("GET", "/")
        assert idle.getresponse().read()
        pool.submit(served.get, "/sleep/1.5")
        wait_until((tmp_path / "sleeping").exists)
        served.process.send_signal(signal.SIGTERM)
        wait_until(lambda: not accepts(served.port), what="the end of accepting")
        idle.request("GET", "/")
        response = idle.getresponse()
        assert response.status == 200
        assert response.getheader("connection") == "close"
        idle.close()


def accepts(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


@pytest.mark.parametrize("path", ["/sleep/60", "/stuck-thread", "/stuck-loop"])
def test_a_stop_takes_at_most_the_grace_and_a_second_even_when_stuck(tmp_path: Path, path: str) -> None:
    with serving(tmp_path, "--grace", "1") as served, ThreadPoolExecutor() as pool:
        worker = pid_of(served)
        pool.submit(served.get, path, 20)
        wait_until((tmp_path / "sleeping").exists)
        exit_status, took_s = served.stop()
        assert took_s < 2.2
        assert exit_status == 0
        wait_until(lambda: not is_alive(worker))
        assert "Traceback" not in "".join(served.output)


def test_a_second_interrupt_stops_at_once(tmp_path: Path) -> None:
    with serving(tmp_path, "--grace", "30") as served, ThreadPoolExecutor() as pool:
        pool.submit(served.get, "/sleep/60", 20)
        wait_until((tmp_path / "sleeping").exists)
        served.process.send_signal(signal.SIGINT)
        wait_until(lambda: not accepts(served.port), what="the drain")
        exit_status, took_s = served.stop(signal.SIGINT)
        assert exit_status == 130
        assert took_s < 1


def is_renewed(served: Served, old: set[int], count: int) -> bool:
    now = served.worker_pids()
    return len(now) == count and not now & old


@pytest.mark.parametrize("workers", [1, 2])
def test_a_rolling_restart_under_load_loses_no_request(tmp_path: Path, workers: int) -> None:
    with serving(tmp_path, "--workers", str(workers)) as served:
        before = served.worker_pids()
        is_over = threading.Event()
        failures: list[str] = []
        answered = [0] * 8

        def load(number: int) -> None:
            connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=10)
            while not is_over.wait(0.002):
                try:
                    connection.request("GET", "/")
                    response = connection.getresponse()
                    response.read()
                    assert response.status == 200
                    answered[number] += 1
                except Exception as exc:
                    failures.append(repr(exc))
                    connection.close()
            connection.close()

        threads = [threading.Thread(target=load, args=(number,)) for number in range(len(answered))]
        for thread in threads:
            thread.start()
        for _ in range(2):
            old = served.worker_pids()
            served.process.send_signal(signal.SIGHUP)
            wait_until(partial(is_renewed, served, old, workers), timeout_s=30, what="new workers")
        is_over.set()
        for thread in threads:
            thread.join()
        assert failures == []
        assert min(answered) > 20
        assert not served.worker_pids() & before


def test_a_rolling_restart_that_fails_keeps_the_old_workers(tmp_path: Path) -> None:
    with serving(tmp_path) as served:
        before = served.worker_pids()
        (tmp_path / "broken").touch()
        served.process.send_signal(signal.SIGHUP)
        served.wait_for_output("the old ones keep serving")
        served.wait_for_output("it is broken")
        assert served.worker_pids() == before
        assert served.answers()


def test_a_supervisor_that_is_killed_leaves_no_worker_behind(tmp_path: Path) -> None:
    with serving(tmp_path, "--workers", "2", "--grace", "2") as served:
        workers = served.worker_pids()
        assert len(workers) == 2
        served.process.kill()
        served.process.wait()
        try:
            wait_until(lambda: not any(map(is_alive, workers)), timeout_s=5, what="the workers' end")
        finally:
            for pid in filter(is_alive, workers):
                os.kill(pid, signal.SIGKILL)


def test_a_port_in_use_is_one_clear_line_and_exit_3(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for options in (("--workers", "1"), ("--workers", "2")):
            ended = run_to_end(tmp_path, "--port", str(port), *options)
            assert ended.returncode == 3
            assert ended.stderr.count("\n") == 1
            assert f"127.0.0.1:{port}" in ended.stderr
            assert "--port" in ended.stderr


def test_a_second_gateway_on_the_same_port_is_refused_though_workers_share_it(tmp_path: Path) -> None:
    with serving(tmp_path, "--workers", "2") as served:
        ended = run_to_end(tmp_path, "--port", str(served.port), "--admin", "off", "--workers", "2")
        assert ended.returncode == 3
        assert "in use" in ended.stderr


def test_an_admin_port_in_use_names_its_option(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ended = run_to_end(tmp_path, "--port", str(free_port()), "--admin", str(taken.getsockname()[1]))
        assert ended.returncode == 3
        assert "--admin" in ended.stderr


@pytest.mark.parametrize("workers", ["1", "3"])
def test_a_start_that_fails_prints_the_reason_once_and_exits_3(tmp_path: Path, workers: str) -> None:
    (tmp_path / "broken").touch()
    ended = run_to_end(tmp_path, "--port", str(free_port()), "--admin", "off", "--workers", workers)
    assert ended.returncode == 3
    assert ended.stdout == ""
    assert ended.stderr == "gateway could not start:\n  routing.yaml:3: GET /x: it is broken; mend it\n"


def test_a_worker_killed_during_the_start_is_told_plainly(tmp_path: Path) -> None:
    (tmp_path / "crashing").touch()
    ended = run_to_end(tmp_path, "--port", str(free_port()), "--admin", "off")
    assert ended.returncode == 3
    assert "worker 0 was killed by SIGKILL before it could serve" in ended.stderr


def test_the_supervisor_imports_neither_app_nor_framework(tmp_path: Path) -> None:
    with serving(tmp_path) as served:
        maps = Path(f"/proc/{served.process.pid}/maps").read_text()
        assert "pydantic_core" not in maps
        assert "uvloop" not in maps
        status = Path(f"/proc/{served.process.pid}/status").read_text()
        (resident,) = (int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))
        assert resident < 32 * 1024, f"{resident} KiB"


def test_counts_of_all_workers_are_summed(tmp_path: Path) -> None:
    with serving(tmp_path, "--workers", "2") as served:
        for _ in range(20):
            served.get()

        def total() -> int:
            connection = http.client.HTTPConnection("127.0.0.1", served.admin_port, timeout=10)
            connection.request("GET", "/api/routes", headers={"Authorization": "Bearer secret"})
            body = connection.getresponse().read()
            connection.close()
            return int(b'"counts":{"new":20}' in body)

        wait_until(total, timeout_s=5, what="20 counted answers")


def test_dev_serves_changed_code_and_survives_a_broken_change(tmp_path: Path) -> None:
    with serving(tmp_path, verb="dev") as served:
        assert served.get()[1].endswith("one")
        module = tmp_path / "stub_gateway.py"
        source = module.read_text()
        module.write_text("this is no Python")
        served.wait_for_output("the old ones keep serving")
        assert served.get()[1].endswith("one")
        module.write_text(source.replace('VERSION = "one"', 'VERSION = "two!"'))
        wait_until(lambda: served.answers() and served.get()[1].endswith("two!"), what="the changed code")
