"""Whatever clients, timeouts and views do, no thread is lost and nothing waits for ever."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from flask import Flask

from gateway.backends.bridge import WsgiBridge
from gateway.errors import BackendOverloaded, BackendUnavailable
from tests.backends.conformance import (
    Environ,
    both,
    call_of,
    connect,
    eventually,
    plain,
    read_until,
    reference_fails,
    wire,
)
from tests.running import free_port, running, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

StartResponse = Any


class Held:
    """Be an app whose views wait until the test lets them go."""

    def __init__(self) -> None:
        self.entered = 0
        self.left = 0
        self.release = threading.Event()
        self._lock = threading.Lock()

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        if environ["PATH_INFO"] == "/quick":
            return plain(b"quick")(environ, start_response)  # type: ignore[no-any-return]  # apps are untyped
        with self._lock:
            self.entered += 1
        self.release.wait(30)
        with self._lock:
            self.left += 1
        start_response("200 OK", [])
        return [b"released"]


@pytest.fixture
def held() -> Iterator[Held]:
    app = Held()
    yield app
    app.release.set()


def begin(bridge: Any, call: Any) -> asyncio.Task[None]:
    return asyncio.ensure_future(bridge(call.scope, call.receive, call.send))


def is_as_long(items: list[int], length: int) -> bool:
    return len(items) >= length


def busy(bridge: WsgiBridge) -> int:
    return int(bridge.health().facts["busy"])


@reference_fails("send() returns silently, and the thread loops for ever", is_run=False)
def test_a_client_that_leaves_ends_an_endless_stream_and_frees_the_thread(make_bridge: Any) -> None:
    made: list[int] = []
    closed: list[int] = []

    def chunks() -> Iterator[bytes]:
        try:
            while True:
                made.append(1)
                yield b"data: x\n\n"
                time.sleep(0.01)
        finally:
            closed.append(len(made))

    app = Flask(__name__)
    app.add_url_rule("/", "stream", lambda: app.response_class(chunks(), mimetype="text/event-stream"))
    bridge = make_bridge(app, threads=1)
    with running(bridge) as url:
        for attempt in range(1, 4):
            with wire(url, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n") as client:
                read_until(client, b"data: x")
            wait_until(partial(is_as_long, closed, attempt), what="the generator's close")
        wait_until(lambda: busy(bridge) == 0, what="the thread's return")


async def test_at_most_one_chunk_is_made_after_the_client_left() -> None:
    made: list[int] = []
    may_make = threading.Semaphore(0)
    is_closed = threading.Event()

    def chunks() -> Iterator[bytes]:
        try:
            while True:
                may_make.acquire()
                made.append(1)
                yield b"x" * 100_000
        finally:
            is_closed.set()

    bridge = WsgiBridge(plain(chunks()), threads=1)
    call = call_of()
    task = begin(bridge, call)
    may_make.release()
    await eventually(lambda: len(call.sent) == 2, "the first chunk")
    call.leave()
    await eventually(call.incoming.empty, "the news of it")
    for _ in range(10):
        may_make.release()
    await asyncio.wait_for(task, 5)
    assert is_closed.is_set()
    assert len(made) <= 2
    await eventually(lambda: busy(bridge) == 0, "the thread's return")


async def test_a_client_that_stops_reading_holds_its_thread_no_longer_than_it_stays() -> None:
    closed = threading.Event()

    def chunks() -> Iterator[bytes]:
        try:
            while True:
                yield b"x" * 100_000
        finally:
            closed.set()

    bridge = WsgiBridge(plain(chunks()), threads=1)
    call = call_of()
    task = begin(bridge, call)
    await eventually(lambda: len(call.sent) >= 2, "the first chunk")
    call.gate.clear()
    call.leave()
    await eventually(closed.is_set, "the generator's close")
    call.gate.set()
    await asyncio.wait_for(task, 5)


@reference_fails("a cancelled call blocks its thread for good", is_run=False)
async def test_a_thousand_cancelled_requests_leave_every_thread_free(make_bridge: Any) -> None:
    closed: list[int] = []

    def stream() -> Iterator[bytes]:
        try:
            while True:
                yield b"x" * 1000
        finally:
            closed.append(1)

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", [])
        if environ["PATH_INFO"] == "/upload":
            with contextlib.suppress(Exception):
                environ["wsgi.input"].read()
        return stream() if environ["PATH_INFO"] == "/stream" else [b"ok"]

    bridge = make_bridge(app, threads=4, queue=2000)
    for number in range(1000):
        path = ("/stream", "/upload", "/plain")[number % 3]
        call = call_of("POST", path, headers=[(b"content-length", b"9")] if path == "/upload" else [])
        task = begin(bridge, call)
        for _ in range(number % 5):
            await asyncio.sleep(0)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
    await eventually(lambda: busy(bridge) == 0 and bridge.health().facts["queued"] == 0, "all threads free")
    calls = [call_of(path="/plain") for _ in range(40)]
    await asyncio.wait_for(asyncio.gather(*(begin(bridge, call) for call in calls)), 10)
    assert all(call.body == b"ok" for call in calls)


async def test_a_timeout_frees_the_thread_when_the_view_returns(held: Held) -> None:
    bridge = WsgiBridge(held, threads=1)
    call = call_of()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(bridge(call.scope, call.receive, call.send), 0.05)
    assert busy(bridge) == 1
    held.release.set()
    await eventually(lambda: busy(bridge) == 0, "the thread's return")
    call = call_of(path="/quick")
    await bridge(call.scope, call.receive, call.send)
    assert call.body == b"quick"


async def test_a_timeout_in_mid_upload_raises_in_the_view() -> None:
    seen: list[str] = []

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        try:
            environ["wsgi.input"].read()
        except Exception as error:
            seen.append(type(error).__name__)
            raise
        return []

    bridge = WsgiBridge(app)
    call = call_of("POST", headers=[(b"content-length", b"10")])
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(bridge(call.scope, call.receive, call.send), 0.2)
    await eventually(lambda: seen == ["ClientDisconnected"], "the error in the view")
    await eventually(lambda: busy(bridge) == 0, "the thread's return")


async def test_a_request_cancelled_in_the_queue_never_runs(held: Held) -> None:
    bridge = WsgiBridge(held, threads=1, queue=5)
    first = begin(bridge, call_of())
    await eventually(lambda: held.entered == 1, "the view's start")
    second = begin(bridge, call_of())
    await eventually(lambda: bridge.health().facts["queued"] == 1, "the queue")
    second.cancel()
    await asyncio.wait([second])
    assert bridge.health().facts["queued"] == 0
    held.release.set()
    await first
    assert held.entered == 1


async def test_a_queued_request_whose_client_left_never_runs(held: Held) -> None:
    bridge = WsgiBridge(held, threads=1, queue=5)
    first = begin(bridge, call_of())
    await eventually(lambda: held.entered == 1, "the view's start")
    waiting = call_of()
    second = begin(bridge, waiting)
    waiting.leave()
    await asyncio.wait_for(second, 5)
    assert waiting.sent == []
    held.release.set()
    await first
    assert held.entered == 1


async def test_beyond_threads_and_queue_a_request_is_refused_at_once(held: Held) -> None:
    bridge = WsgiBridge(held, threads=2, queue=3)
    tasks = [begin(bridge, call_of()) for _ in range(5)]
    await eventually(lambda: bridge.health().facts["queued"] == 3, "the queue")
    call = call_of()
    with pytest.raises(BackendOverloaded) as caught:
        await bridge(call.scope, call.receive, call.send)
    assert (caught.value.status, caught.value.retry_after_s) == (503, 1)
    held.release.set()
    await asyncio.gather(*tasks)
    assert held.entered == 5


async def test_a_queue_of_none_serves_as_many_as_there_are_threads(held: Held) -> None:
    bridge = WsgiBridge(held, threads=2, queue=0)
    tasks = [begin(bridge, call_of()) for _ in range(3)]
    done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    assert [type(task.exception()) for task in done] == [BackendOverloaded]
    held.release.set()
    await asyncio.wait(tasks)
    assert held.entered == 2


async def test_threads_start_only_when_they_are_needed(held: Held) -> None:
    bridge = WsgiBridge(held, threads=8)
    for _ in range(20):
        call = call_of(path="/quick")
        await bridge(call.scope, call.receive, call.send)
        await eventually(lambda: not bridge.health().facts["busy"], "the end of its close()")
    assert int(bridge.health().facts["threads_started"]) <= 2, "one, and one while its close() was under way"
    tasks = [begin(bridge, call_of()) for _ in range(20)]
    await eventually(lambda: held.entered == 8, "eight views at once")
    assert bridge.health().facts["threads_started"] == 8
    held.release.set()
    await asyncio.gather(*tasks)


async def test_views_that_wait_run_side_by_side() -> None:
    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        time.sleep(0.1)
        return plain()(environ, start_response)  # type: ignore[no-any-return]  # apps are untyped

    bridge = WsgiBridge(app, threads=10)
    started = time.monotonic()
    await asyncio.gather(*(begin(bridge, call_of()) for _ in range(50)))
    assert time.monotonic() - started < 1.5, "five rounds of 0.1 s"


async def test_one_thread_never_runs_two_requests_at_once() -> None:
    active, most, threads = 0, 0, set()

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        nonlocal active, most
        active += 1
        most = max(most, active)
        threads.add(threading.get_ident())
        time.sleep(0.001)
        active -= 1
        assert environ["wsgi.multithread"] is False
        return plain()(environ, start_response)  # type: ignore[no-any-return]  # apps are untyped

    bridge = WsgiBridge(app, threads=1)
    await asyncio.gather(*(begin(bridge, call_of()) for _ in range(50)))
    assert (most, len(threads)) == (1, 1)


async def test_a_view_that_never_returns_costs_its_own_thread_and_is_named_with_its_stack(
    held: Held, caplog: pytest.LogCaptureFixture
) -> None:
    bridge = WsgiBridge(held, threads=2, stuck_after_s=0.2)
    task = begin(bridge, call_of(path="/stuck"))
    await eventually(lambda: held.entered == 1, "the view's start")
    task.cancel()
    await eventually(lambda: bridge.health().facts["stuck"] == 1, "the count")
    await eventually(lambda: "GET /stuck" in caplog.text, "the log")
    assert "in __call__" in caplog.text
    assert "self.release.wait(30)" in caplog.text
    assert bridge.health().is_ok
    for _ in range(10):
        call = call_of(path="/quick")
        await bridge(call.scope, call.receive, call.send)
    assert len([record for record in caplog.records if "GET /stuck" in record.getMessage()]) == 1
    held.release.set()
    await eventually(lambda: bridge.health().facts["stuck"] == 0, "the thread's return")


async def test_a_bridge_whose_threads_all_hang_says_so(held: Held) -> None:
    bridge = WsgiBridge(held, threads=1, stuck_after_s=0.0)
    task = begin(bridge, call_of())
    await eventually(lambda: held.entered == 1, "the view's start")
    task.cancel()
    await eventually(lambda: not bridge.health().is_ok, "the bad health")
    assert "hang" in bridge.health().reason


def test_a_client_that_leaves_a_slow_view_lets_the_call_end_although_the_view_does_not(held: Held) -> None:
    bridge = WsgiBridge(held, threads=1, stuck_after_s=0.2)
    with running(bridge) as url:
        with wire(url, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"):
            wait_until(lambda: held.entered == 1, what="the view's start")
        wait_until(lambda: bridge.health().facts["stuck"] == 1, what="the count")
        wait_until(lambda: not bridge._calls, what="the end of the call")


@both
async def test_a_legacy_that_hangs_leaves_the_loop_alone(make_bridge: Any, held: Held) -> None:
    bridge = make_bridge(held, threads=4)
    tasks = [begin(bridge, call_of()) for _ in range(30)]
    await eventually(lambda: held.entered == 4, "four views")
    started = time.monotonic()
    for _ in range(200):
        await asyncio.sleep(0)
    assert time.monotonic() - started < 0.2
    held.release.set()
    await asyncio.gather(*tasks)


request_id: contextvars.ContextVar[str] = contextvars.ContextVar("request_id", default="none")


@both
async def test_context_set_outside_is_seen_and_context_set_inside_does_not_leak(make_bridge: Any) -> None:
    seen: list[str] = []

    def app(environ: Environ, start_response: StartResponse) -> Iterator[bytes]:
        seen.append(request_id.get())
        request_id.set("set by the view")
        start_response("200 OK", [])
        yield b"x"
        seen.append(request_id.get())

    bridge = make_bridge(app, threads=1)
    for number in range(2):
        request_id.set(f"request {number}")
        call = call_of()
        await bridge(call.scope, call.receive, call.send)
        assert request_id.get() == f"request {number}"
    assert seen == ["request 0", "set by the view", "request 1", "set by the view"]


async def test_stop_waits_for_what_is_under_way_and_then_refuses(held: Held) -> None:
    bridge = WsgiBridge(held)
    await bridge.start()
    call = call_of()
    task = begin(bridge, call)
    await eventually(lambda: held.entered == 1, "the view's start")
    stopping = asyncio.ensure_future(bridge.stop(10))
    await asyncio.sleep(0)
    held.release.set()
    await asyncio.wait_for(stopping, 5)
    await task
    assert call.body == b"released"
    assert not bridge.health().is_ok
    with pytest.raises(BackendUnavailable):
        await bridge(call.scope, call.receive, call.send)
    names = [worker.thread for worker in bridge._pool.workers]
    await eventually(lambda: not any(thread.is_alive() for thread in names), "the threads' end")


async def test_stop_gives_up_what_outlasts_its_grace(held: Held) -> None:
    bridge = WsgiBridge(held, threads=1)
    running_one, waiting_one = begin(bridge, call_of()), begin(bridge, call_of())
    await eventually(lambda: held.entered == 1, "the view's start")
    await asyncio.wait_for(bridge.stop(0.05), 5)
    for task in (running_one, waiting_one):
        with pytest.raises(BackendUnavailable):
            await task
    held.release.set()
    assert held.entered == 1


async def test_a_stopped_bridge_can_start_again() -> None:
    bridge = WsgiBridge(plain())
    await bridge.start()
    await bridge.stop(1)
    await bridge.start()
    call = call_of()
    await bridge(call.scope, call.receive, call.send)
    assert call.body == b"ok"


def test_it_serves_one_loop_after_another() -> None:
    bridge = WsgiBridge(plain())
    for _ in range(3):
        call = call_of()
        asyncio.run(_once(bridge, call))


async def _once(bridge: WsgiBridge, call: Any) -> None:
    fresh = call_of()
    await bridge(fresh.scope, fresh.receive, fresh.send)
    assert fresh.body == b"ok"


def test_sigterm_ends_the_process_although_views_never_return() -> None:
    port = free_port()
    program = textwrap.dedent(f"""
        import threading, uvicorn
        from gateway.backends.bridge import WsgiBridge
        def app(environ, start_response):
            if environ["PATH_INFO"] == "/hang":
                threading.Event().wait()
            start_response("200 OK", [])
            return [b"ok"]
        uvicorn.run(WsgiBridge(app, threads=3), port={port}, timeout_graceful_shutdown=1)
    """)
    process = subprocess.Popen([sys.executable, "-c", program])
    try:
        url = f"http://127.0.0.1:{port}"

        def answers() -> bool:
            with contextlib.suppress(httpx.TransportError):
                return httpx.get(url).text == "ok"
            return False

        wait_until(answers, timeout_s=20, what="the server's start")
        with connect(url) as one, connect(url) as two:
            for client in (one, two):
                client.sendall(b"GET /hang HTTP/1.1\r\nHost: a\r\n\r\n")
            assert answers()
            os.kill(process.pid, signal.SIGTERM)
            process.wait(8)
    finally:
        process.kill()
        process.wait()
