"""What goes wrong on one side, or in one request, stays there; the client counts the failures."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
import time
from functools import partial
from http.client import HTTPConnection
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import httpx
import pytest

from tests.projects import BACKENDS, Project, Served, make_project, served
from tests.running import wait_until
from tests.security.attacked import LEGACY, NEW, ROUTES, Attacked

if TYPE_CHECKING:
    from collections.abc import Iterator

# The whole promise is 20,000 requests; what a suite can spend is less, and the claim is the same.
RELOADS = int(os.environ.get("GATEWAY_TESTS_RELOADS", "12"))


class Load:
    """Ask one path over and over on a few connections; keep every answer and every failure."""

    def __init__(self, url: str, path: str, *, threads: int = 3) -> None:
        self.answers: list[tuple[int, str]] = []
        self.failures: list[str] = []
        self.seconds: list[float] = []
        self._path = path
        self._stop = threading.Event()
        parts = urlsplit(url)
        self._address = (parts.hostname or "", parts.port)
        self._threads = [threading.Thread(target=self._run) for _ in range(threads)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(20)

    def has_just_seen(self, answer: tuple[int, str]) -> bool:
        """Tell whether the last answer was this one."""
        return self.answers[-1:] == [answer]

    def _run(self) -> None:
        connection = HTTPConnection(*self._address, timeout=20)
        while not self._stop.is_set():
            began = time.perf_counter()
            try:
                connection.request("GET", self._path)
                answer = connection.getresponse()
                body = answer.read().decode()
                self.answers.append((answer.status, f"{body} {answer.headers.get('X-Served-By')}"))
                if answer.headers.get("Connection") == "close":
                    connection.close()
            except Exception as error:
                self.failures.append(repr(error))
                connection.close()
            self.seconds.append(time.perf_counter() - began)
            self._stop.wait(0.002)
        connection.close()


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return make_project(tmp_path, LEGACY, NEW, ROUTES)


@pytest.fixture
def gateway(project: Project) -> Iterator[Attacked]:
    with served(project.folder, environ={"OVERRIDE": "sesame"}) as running:
        yield Attacked(running)


def ask(url: str) -> None:
    """Send one request whose answer nobody wants."""
    with contextlib.suppress(httpx.TransportError):
        httpx.get(url, timeout=10)


def memory_of(running: Served) -> int:
    """Return the resident bytes of the gateway's processes."""
    total = 0
    for pid in processes_of(running):
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{pid}/statm").read_text().split()
            total += int(fields[1]) * os.sysconf("SC_PAGE_SIZE")
    return total


def processes_of(running: Served) -> list[int]:
    """Return the ids of the supervisor and its workers."""
    children = Path(f"/proc/{running.process.pid}/task/{running.process.pid}/children").read_text().split()
    return [running.process.pid, *(int(child) for child in children)]


def test_reloads_under_load_fail_no_request_and_none_sees_two_generations(
    project: Project, gateway: Attacked
) -> None:
    # Each generation says two things at once: who answers, and whether the answer is marked.
    tables = [
        ROUTES.replace("server:", "server:\n      expose: true").replace(
            "/override: legacy", "/override: new"
        ),
        ROUTES.replace("server:", "server:\n      expose: false"),
    ]
    with Load(gateway.url, "/override") as load:
        for number in range(RELOADS):
            project.write_table(tables[number % 2], BACKENDS)
            wanted = (200, '"new" new') if number % 2 == 0 else (200, "legacy None")
            wait_until(partial(load.has_just_seen, wanted), what=f"{wanted}")
    assert load.failures == []
    assert set(load.answers) == {(200, '"new" new'), (200, "legacy None"), (200, "legacy legacy")}


def test_a_table_cut_anywhere_serves_as_before_or_as_it_says(project: Project, tmp_path: Path) -> None:
    from gateway.table.read import parse_table

    whole = project.table.read_bytes()
    environ = {"OVERRIDE": "sesame"}
    rows = {row.key: row.stage for row in spec_of(parse_table(whole, source="t", environ=environ)).routes}
    for length in range(len(whole)):
        parsed = parse_table(whole[:length], source="t", environ=environ)
        if parsed.spec is None or any(problem.is_error for problem in parsed.problems):
            continue
        kept = {row.key: row.stage for row in spec_of(parsed).routes}
        if kept and whole[:length].rstrip().endswith(b":"):
            kept.popitem()  # a row without a value is a row: it has the default stage
        assert kept.items() <= rows.items(), f"cut at {length}: a row that nobody wrote"


def spec_of(parsed: Any) -> Any:
    assert parsed.spec is not None
    return parsed.spec


def test_a_cut_table_changes_nothing_and_says_so_within_two_seconds(
    project: Project, gateway: Attacked
) -> None:
    whole = project.table.read_text()
    for share in (0.1, 0.5, 0.93):
        project.table.write_text(whole[: int(len(whole) * share)].rstrip() + " {")
        wait_until(
            lambda: not httpx.get(f"{gateway.url}/-/ready").json()["table"]["valid"],
            timeout_s=4,
            what="the alarm",
        )
        assert httpx.get(f"{gateway.url}/new/echo").json()["by"] == "new"
        project.table.write_text(whole)
        wait_until(lambda: httpx.get(f"{gateway.url}/-/ready").json()["table"]["valid"], what="the all-clear")


def test_a_legacy_that_hangs_is_a_504_at_its_deadline_and_new_does_not_notice(tmp_path: Path) -> None:
    routes = ROUTES.replace("    routes:", "    defaults:\n      timeout: 500ms\n    routes:")
    project = make_project(tmp_path, LEGACY, NEW, routes)
    with served(project.folder, environ={"OVERRIDE": "sesame"}) as running:
        with Load(running.url, "/new/number/7", threads=1) as before:
            time.sleep(1)  # a second of load is the measure
        hanging = [threading.Thread(target=ask, args=(f"{running.url}/legacy/sleep/2.5",)) for _ in range(40)]
        with Load(running.url, "/new/number/7", threads=1) as load:
            for thread in hanging:
                thread.start()
            began = time.monotonic()
            answer = httpx.get(f"{running.url}/legacy/sleep/2.5", timeout=10)
            assert answer.status_code == 504
            assert time.monotonic() - began < 2
            for thread in hanging:
                thread.join()
        assert load.failures == []
        assert {status for status, _body in load.answers} == {200}
        # The client's own forty threads share two cores with it: generous, and far from a hanging legacy.
        assert (
            sorted(load.seconds)[len(load.seconds) // 2]
            < 20 * sorted(before.seconds)[len(before.seconds) // 2]
        )
        wait_until(
            lambda: httpx.get(f"{running.url}/legacy/number/7").status_code == 200, what="free threads"
        )


@pytest.mark.parametrize("fault", ["os._exit in a view", "kill -9"])
def test_a_worker_that_dies_costs_what_it_was_serving_and_is_replaced_in_three_seconds(
    gateway: Attacked, fault: str
) -> None:
    worker = int(httpx.get(f"{gateway.url}/legacy/pid").text)
    assert worker in processes_of(gateway.served)
    if fault == "kill -9":
        os.kill(worker, signal.SIGKILL)
    else:
        with pytest.raises(httpx.TransportError):
            httpx.get(f"{gateway.url}/legacy/exit")
    began = time.monotonic()

    def replaced() -> bool:
        try:
            return int(httpx.get(f"{gateway.url}/legacy/pid", timeout=2).text) != worker
        except httpx.TransportError:
            return False

    wait_until(replaced, timeout_s=6, what="another worker")
    assert time.monotonic() - began < 4.5, "three seconds, and the start of a Python on a busy machine"


def test_a_stop_under_load_answers_every_request_that_was_accepted(gateway: Attacked) -> None:
    with Load(gateway.url, "/legacy/sleep/0.05", threads=4) as load:
        wait_until(lambda: len(load.answers) > 20)
        gateway.served.process.send_signal(signal.SIGTERM)
        assert gateway.served.process.wait(15) == 0
    assert {status for status, _body in load.answers} == {200}
    refused = [failure for failure in load.failures if "ConnectionRefused" not in failure]
    assert refused == [], "after the end nobody listens; before it nothing fails"


def test_five_hundred_slow_readers_cost_less_than_64_mib(gateway: Attacked) -> None:
    parts = urlsplit(gateway.url)
    for path in (b"/legacy/endless", b"/new/endless"):
        wait_until(
            lambda: httpx.get(f"{gateway.url}/legacy/number/7", timeout=20).status_code == 200,
            timeout_s=40,
            what="legacy's threads after its readers left",
        )
        before = memory_of(gateway.served)
        with contextlib.ExitStack() as stack:
            for _ in range(500):
                connection = socket.socket()
                stack.callback(connection.close)
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                connection.connect((parts.hostname, parts.port))
                connection.sendall(b"GET " + path + b" HTTP/1.1\r\nHost: a\r\n\r\n")
            grown = 0
            for _ in range(50):  # what grows has this long to grow
                assert httpx.get(f"{gateway.url}/new/number/7", timeout=20).status_code == 200
                grown = max(grown, memory_of(gateway.served) - before)
            assert grown < 64 * 1024 * 1024, f"{path.decode()}: {grown >> 20} MiB"
    wait_until(
        lambda: httpx.get(f"{gateway.url}/legacy/number/7", timeout=20).status_code == 200,
        timeout_s=40,
        what="legacy's threads after its readers left",
    )


@pytest.mark.parametrize("path", ["/legacy/echo", "/new/upload"])
def test_a_client_that_leaves_in_mid_upload_frees_what_it_held(gateway: Attacked, path: str) -> None:
    parts = urlsplit(gateway.url)
    for _ in range(60):  # more than there are threads
        with socket.create_connection((parts.hostname or "", parts.port or 80), 5) as connection:
            connection.sendall(f"POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n".encode())
            connection.sendall(b"x" * 70_000)
    wait_until(lambda: httpx.get(f"{gateway.url}/legacy/number/7").status_code == 200, what="free threads")
    assert ("WHOLE", "1000000") not in gateway.calls()
    assert not [told for told in gateway.calls() if told[0] == "WHOLE"]


def test_clients_that_leave_in_mid_stream_free_legacys_threads(gateway: Attacked) -> None:
    parts = urlsplit(gateway.url)
    request = b"GET /legacy/endless HTTP/1.1\r\nHost: a\r\n\r\n"
    for queued in (0, 1):
        for _ in range(40):
            with socket.create_connection((parts.hostname or "", parts.port or 80), 5) as connection:
                connection.sendall(request * (1 + queued))
                connection.recv(100)
        wait_until(
            lambda: httpx.get(f"{gateway.url}/legacy/number/7", timeout=5).status_code == 200,
            what="free threads",
        )


@pytest.mark.parametrize("path", ["/legacy/leak", "/new/leak"])
def test_nothing_of_one_request_is_seen_by_the_next_on_its_connection(gateway: Attacked, path: str) -> None:
    with httpx.Client(base_url=gateway.url) as client:
        for number in range(40):
            assert client.get(path, params={"v": str(number)}).json() == ["", "", ""]


def test_random_paths_leave_no_memory_behind(gateway: Attacked) -> None:
    parts = urlsplit(gateway.url)

    def ask(count: int, mark: str) -> None:
        with socket.create_connection((parts.hostname or "", parts.port or 80), 20) as connection:
            for start in range(0, count, 50):
                names = range(start, start + 50)
                connection.sendall(
                    b"".join(
                        f"GET /new/echo/{mark}{number}/x?{number} HTTP/1.1\r\nHost: h{number}\r\n"
                        f"X-{mark}-{number}: {'y' * 50}\r\n\r\n".encode()
                        for number in names
                    )
                )
                got = 0
                while got < 50:
                    received = connection.recv(1_000_000)
                    assert received
                    got += received.count(b"HTTP/1.1 ")

    ask(3_000, "warm")
    gateway.calls()
    before = memory_of(gateway.served)
    for part in range(4):
        ask(3_000, f"p{part}")
        gateway.calls()  # the lab's own list of calls is no leak
    assert memory_of(gateway.served) - before < 12 * 1024 * 1024
