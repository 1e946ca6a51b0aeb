"""A managed process lives exactly as long as its backend, and comes back when it dies."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import signal
import subprocess
import sys
import textwrap
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from gateway.backends.base import Backend
from gateway.backends.process import ManagedProcess
from gateway.errors import BackendUnavailable
from tests.running import wait_until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

APP = """
    import os

    def app(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain"), ("X-Host", environ["HTTP_HOST"])])
        return [f"{os.getpid()} {environ['PATH_INFO']} {os.environ.get('COLOUR', '')}".encode()]
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "served.py").write_text(textwrap.dedent(APP))
    return tmp_path


def gunicorn(*more: str) -> list[str]:
    return [sys.executable, "-m", "gunicorn", "--bind", "{address}", *more, "served:app"]


@asynccontextmanager
async def started(argv: list[str], **options: Any) -> AsyncIterator[ManagedProcess]:
    process = ManagedProcess(argv, **options)
    await process.start()
    try:
        yield process
    finally:
        await process.stop(5.0)


async def get(backend: Backend, path: str = "/") -> tuple[int, bytes]:
    sent: list[Any] = []

    async def receive() -> Any:
        if not sent:
            return {"type": "http.request", "body": b"", "more_body": False}
        return await asyncio.Event().wait()

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "GET",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [(b"host", b"api.example")],
        "client": ("203.0.113.9", 1234),
        "scheme": "http",
    }
    await backend(scope, receive, send)
    return sent[0]["status"], b"".join(message.get("body", b"") for message in sent)


async def true_soon(condition: Callable[[], bool], what: str) -> None:
    await asyncio.to_thread(wait_until, condition, what=what)


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_a_gunicorn_is_started_served_from_and_ended_with_its_workers(folder: Path) -> None:
    async with started(gunicorn("--workers", "2"), cwd=folder) as process:
        assert isinstance(process, Backend)
        status, body = await get(process, "/users/7")
        assert status == 200
        worker, path = body.decode().split()[:2]
        assert path == "/users/7"
        master = process.pid
        assert master is not None
        assert process.health().is_ok
        assert process.health().facts["pid"] == master
    assert process.pid is None
    assert not process.health().is_ok
    for pid in (master, int(worker)):
        wait_until(lambda pid=pid: not is_running(pid), what="the process's end")  # type: ignore[misc] # a bound default


async def test_a_killed_process_is_restarted_and_serves_again(folder: Path) -> None:
    async with started(gunicorn(), cwd=folder) as process:
        first = process.pid
        assert first is not None
        os.killpg(first, signal.SIGKILL)
        await true_soon(lambda: not process.health().is_ok, "the death being noticed")
        with pytest.raises(BackendUnavailable, match="killed by SIGKILL"):
            await get(process)
        assert "restarted" in process.health().reason
        await true_soon(lambda: process.health().is_ok, "the restart")
        assert (await get(process))[0] == 200
        assert process.pid != first
        assert process.restarts == 1


async def test_a_process_that_exits_at_once_is_reported_with_its_last_words(folder: Path) -> None:
    process = ManagedProcess(
        [sys.executable, "-c", "import sys; print('no database', '{port}'); sys.exit(3)"], name="new"
    )
    with pytest.raises(BackendUnavailable, match=r"(?s)exit status 3.*no database \d+") as caught:
        await process.start()
    assert caught.value.backend == "new"
    assert process.pid is None


async def test_a_process_that_never_listens_is_ended_and_reported(folder: Path) -> None:
    argv = [sys.executable, "-c", "import time; print('thinking', flush=True); time.sleep(600)  # {port}"]
    process = ManagedProcess(argv, start_timeout_s=1.0)
    with pytest.raises(BackendUnavailable, match=r"(?s)within 1 s.*thinking"):
        await process.start()
    assert process.pid is None


async def test_a_program_that_does_not_exist_is_named() -> None:
    with pytest.raises(BackendUnavailable, match="no program 'no-such-program'"):
        await ManagedProcess(["no-such-program", "{address}"]).start()


def test_a_command_that_is_not_told_its_port_is_refused() -> None:
    with pytest.raises(ValueError, match="address"):
        ManagedProcess(["gunicorn", "served:app"])


async def test_its_environment_is_ours_and_what_is_added(folder: Path) -> None:
    async with started(gunicorn(), cwd=folder, env={"COLOUR": "green {port}"}) as process:
        assert re.search(rb"green \d+$", (await get(process))[1])


async def test_its_output_goes_to_logging_under_its_name(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with started(gunicorn(), cwd=folder, name="new"):
        pass
    lines = [record for record in caplog.records if record.name == "gateway.process.new"]
    assert any("Starting gunicorn" in record.getMessage() for record in lines)


async def test_a_process_deaf_to_sigterm_is_killed_at_the_end_of_the_grace() -> None:
    deaf = """
        import signal, socket
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        listener = socket.create_server(("{host}", {port}))
        while True:
            listener.accept()[0].close()
    """
    process = ManagedProcess([sys.executable, "-c", textwrap.dedent(deaf)])
    await process.start()
    pid = process.pid
    assert pid is not None
    loop = asyncio.get_running_loop()
    began = loop.time()
    await process.stop(0.5)
    assert loop.time() - began < 3
    assert not is_running(pid)


@pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="only Linux tells a child of its parent's death"
)
@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_a_killed_worker_leaves_no_orphan(folder: Path, loop: str) -> None:
    worker = f"""
        import asyncio, sys, {loop}
        from gateway.backends.process import ManagedProcess

        async def main():
            process = ManagedProcess({gunicorn()!r}, cwd={str(folder)!r})
            await process.start()
            print(process.pid, flush=True)
            await asyncio.Event().wait()

        {loop}.run(main())
    """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(worker)], stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        parent.kill()
    wait_until(lambda: not is_running(pid) or is_zombie(pid), what="the end of the orphan")


def is_zombie(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as stat:  # noqa: PTH123 - it may vanish between looking and reading
            return stat.read().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True
