"""Limits counted in Redis are exact over all who count, and a Redis in trouble costs nobody anything."""

from __future__ import annotations

import asyncio
import importlib.util
import logging
import time
from contextlib import asynccontextmanager
from statistics import quantiles
from typing import TYPE_CHECKING

import pytest
from limits import parse

from gateway.serving import shared_limits
from gateway.serving.limits import RateLimiter
from gateway.serving.shared_limits import CALL_LIMIT_S, SharedLimits, why_unusable
from gateway.table.spec import RateLimit
from tests.redis_server import redis_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

    from tests.redis_server import RedisServer

TEN = (parse("10/minute"),)
MANY = (parse("100000/minute"),)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    with redis_server(tmp_path) as running:
        yield running


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a call take its time, so that a busy machine is not taken for a Redis in trouble."""
    monkeypatch.setattr(shared_limits, "CALL_LIMIT_S", 10.0)


@pytest.fixture
async def limits(server: RedisServer) -> AsyncIterator[SharedLimits]:
    shared = SharedLimits(server.url, "salt")
    await shared.start()
    yield shared
    await shared.stop()


async def until(condition: Callable[[], bool], *, timeout_s: float = 10.0) -> None:
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110 - what is waited for happens in another process
            await asyncio.sleep(0.01)


async def test_all_who_share_a_redis_let_exactly_the_limit_through(
    server: RedisServer, limits: SharedLimits, patient: None
) -> None:
    other = SharedLimits(server.url, "salt")
    try:
        waits = [await each.wait_s(TEN, "GET /x", "client=a") for _ in range(15) for each in (limits, other)]
        assert waits.count(0.0) == 10
        assert all(1 <= wait_s <= 60 for wait_s in waits if wait_s)
        assert await limits.wait_s(TEN, "GET /x", "client=b") == 0.0
    finally:
        await other.stop()


async def test_requests_at_the_same_time_do_not_slip_through_together(
    limits: SharedLimits, patient: None
) -> None:
    waits = await asyncio.gather(*(limits.wait_s(TEN, "GET /x", "client=a") for _ in range(100)))
    assert waits.count(0.0) == 10
    assert None not in waits


async def test_another_salt_counts_apart(server: RedisServer, limits: SharedLimits) -> None:
    other = SharedLimits(server.url, "pepper")
    try:
        for _ in range(10):
            assert await limits.wait_s(TEN, "GET /x", "client=a") == 0.0
        assert await limits.wait_s(TEN, "GET /x", "client=a")
        assert await other.wait_s(TEN, "GET /x", "client=a") == 0.0
    finally:
        await other.stop()


async def test_what_one_limit_refuses_counts_against_none(limits: SharedLimits) -> None:
    both = (parse("2/minute"), parse("5/hour"))
    assert [await limits.wait_s(both, "GET /x", "a") for _ in range(2)] == [0.0, 0.0]
    for _ in range(10):
        assert await limits.wait_s(both, "GET /x", "a")
    only_hour = (both[1],)
    assert [await limits.wait_s(only_hour, "GET /x", "a") for _ in range(3)] == [0.0, 0.0, 0.0]
    assert await limits.wait_s(only_hour, "GET /x", "a")


async def test_callers_are_not_readable_in_redis(server: RedisServer, limits: SharedLimits) -> None:
    assert await limits.wait_s(TEN, "GET /x", "header:authorization=Bearer s3cret") == 0.0
    [key] = [key for key in server.all_keys() if not key.endswith(b"/probe/1000000/1/second")]
    assert b"GET /x" in key
    assert b"s3cret" not in key
    assert b"Bearer" not in key


async def test_a_hung_redis_costs_a_few_requests_a_moment_and_the_rest_nothing(
    server: RedisServer, limits: SharedLimits, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "gateway.limits")
    server.hang()
    for _ in range(shared_limits.FAILURES_IN_A_ROW):
        began = time.monotonic()
        assert await limits.wait_s(MANY, "GET /x", "a") is None
        assert time.monotonic() - began < 4 * CALL_LIMIT_S
    assert limits.health() == {"is_ok": False, "reason": "no answer within 100 ms"}
    took = []
    for _ in range(200):
        began = time.monotonic()
        assert await limits.wait_s(MANY, "GET /x", "a") is None
        took.append(time.monotonic() - began)
    assert quantiles(took, n=100)[-1] < 0.005
    server.go_on()
    await until(lambda: bool(limits.health()["is_ok"]))
    assert await limits.wait_s(MANY, "GET /x", "a") == 0.0
    told = [record.getMessage() for record in caplog.records if record.name == "gateway.limits"]
    assert [each.partition(":")[0] for each in told[:1]] == ["the shared rate limits at 127.0.0.1"]
    assert told[-1].endswith("answer again")


async def test_a_slow_redis_is_given_up(server: RedisServer) -> None:
    async with delaying(server.port, delay_s=0.04) as port:
        limits = SharedLimits(f"redis://127.0.0.1:{port}", "salt")
        await limits.start()
        for _ in range(2 * shared_limits.SLOW_CALLS):
            last = await limits.wait_s(MANY, "GET /x", "a")
        await limits.stop()
        assert last is None
        assert "20 ms" in str(limits.health()["reason"])


@asynccontextmanager
async def delaying(port: int, *, delay_s: float) -> AsyncIterator[int]:
    """Stand before a server, and hold back everything that it answers; yield the port."""
    loop = asyncio.get_running_loop()
    tasks: set[asyncio.Future[None]] = set()
    writers: list[asyncio.StreamWriter] = []

    async def pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, wait_s: float) -> None:
        while data := await reader.read(65536):
            loop.call_later(wait_s, writer.write, data)

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        their_reader, their_writer = await asyncio.open_connection("127.0.0.1", port)
        writers.extend((writer, their_writer))
        tasks.add(asyncio.ensure_future(pipe(reader, their_writer, 0)))
        tasks.add(asyncio.ensure_future(pipe(their_reader, writer, delay_s)))

    async with await asyncio.start_server(accept, "127.0.0.1", 0) as listening:
        yield listening.sockets[0].getsockname()[1]
        for writer in writers:
            writer.close()
        await asyncio.gather(*tasks, *(writer.wait_closed() for writer in writers), return_exceptions=True)


async def test_a_redis_that_was_killed_is_taken_up_again_when_it_is_back(
    server: RedisServer, limits: SharedLimits
) -> None:
    assert await limits.wait_s(MANY, "GET /x", "a") == 0.0
    server.kill()
    for _ in range(20):
        assert await limits.wait_s(MANY, "GET /x", "a") is None
    assert not limits.health()["is_ok"]
    server.start()
    await until(lambda: bool(limits.health()["is_ok"]))
    assert await limits.wait_s(MANY, "GET /x", "a") == 0.0


async def test_a_redis_that_answers_and_may_not_be_written_is_no_help(
    server: RedisServer, limits: SharedLimits
) -> None:
    server.refuse_writes(True)
    waits = [await limits.wait_s(MANY, "GET /x", "a") for _ in range(5)]
    assert waits == [None] * 5
    assert "ReadOnlyError" in str(limits.health()["reason"])
    server.refuse_writes(False)
    await until(lambda: bool(limits.health()["is_ok"]))
    assert await limits.wait_s(MANY, "GET /x", "a") == 0.0


async def test_a_redis_that_is_down_at_the_start_is_no_reason_not_to_start(server: RedisServer) -> None:
    server.kill()
    limits = SharedLimits(server.url, "salt")
    await limits.start()
    assert not limits.health()["is_ok"]
    assert await limits.wait_s(TEN, "GET /x", "a") is None
    server.start()
    await until(lambda: bool(limits.health()["is_ok"]))
    await limits.stop()


async def test_a_cancelled_call_costs_its_connection_and_nobody_reads_its_answer(
    server: RedisServer, limits: SharedLimits
) -> None:
    full = (parse("1/minute"),)
    assert await limits.wait_s(full, "GET /full", "a") == 0.0
    server.hang()
    asking = asyncio.ensure_future(limits._ask(full, "GET /full", limits._hide("a")))
    done, _ = await asyncio.wait((asking,), timeout=CALL_LIMIT_S)
    assert not done  # it is sent; the answer, a refusal, will come when nobody waits
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    server.go_on()
    for _ in range(20):
        assert await limits.wait_s(MANY, "GET /x", "a") == 0.0
        assert await limits.wait_s(full, "GET /full", "a")


async def test_stopping_leaves_no_connection_behind_even_to_a_redis_that_hangs(
    server: RedisServer, limits: SharedLimits
) -> None:
    before = server.connections()
    assert before >= 1
    server.hang()
    assert await limits.wait_s(MANY, "GET /x", "a") is None
    began = time.monotonic()
    await limits.stop()
    assert time.monotonic() - began < 2
    server.go_on()
    await until(lambda: server.connections() == 0)


async def test_without_redis_each_worker_counts_for_itself(server: RedisServer) -> None:
    server.kill()
    shared = SharedLimits(server.url, "salt")
    await shared.start()
    limiter = RateLimiter(shared)
    limit = (RateLimit(2, 1, "minute"),)
    waits = [await limiter.wait_s(limit, "GET /x", "a") for _ in range(3)]
    assert waits[:2] == [0.0, 0.0]
    assert waits[2] >= 1
    assert limiter.counted == {"shared": 0, "local": 3}
    await shared.stop()


@pytest.mark.parametrize(
    ("url", "is_usable"),
    [
        ("redis://cache:6379/0", True),
        ("rediss://user:pass@cache", True),
        ("unix:///run/redis.sock?db=2", True),
        ("redis://cache/shop", False),
        ("redis://cache?db=shop", False),
        ("unix:///run/redis.sock?db=shop", False),
    ],
)
def test_urls_that_redis_does_not_understand_are_named(url: str, is_usable: bool) -> None:
    assert (why_unusable(url) is None) is is_usable


def test_without_the_package_the_repair_is_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    assert why_unusable("redis://cache") == (
        "it needs the package redis",
        "pip install 'strangler-gateway[redis]'",
    )
