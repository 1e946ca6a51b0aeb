"""Count rate limits in a Redis that workers and machines share, and never at a client's expense.

    closed ──3 calls in a row fail or take over 100 ms, or 16 over 20 ms──▶ open ──a probe in time──▶ closed

While it is open nobody asks Redis but a probe of its own, off every request's way. A call that takes too
long is not cut off but left behind: a connection that is being made is there for the next one, and the
socket's own time limit ends what hangs. (A call that is cancelled, when the gateway stops, costs its
connection: redis-py closes it, so that no answer is ever read by another call.)

Callers are written to Redis as keyed digests, for a caller may be a token.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import logging
import time
from hashlib import blake2b
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from limits import RateLimitItem
    from limits.aio.strategies import MovingWindowRateLimiter
    from redis.asyncio import ConnectionPool

log = logging.getLogger("gateway.limits")

CALL_LIMIT_S = 0.1
"""How long a request may wait for Redis."""

SLOW_S = 0.02
"""A Redis is too slow to be asked by every request when it takes longer than this each time."""

SLOW_CALLS = 16
"""How many calls in a row are "each time": the event loop or the machine may delay some of them."""

PATIENCE_STEPS = 5
"""The time limit is waited for in steps. One that comes late, because the event loop was held, counts as one
all the same: a busy worker is no Redis in trouble."""

SOCKET_LIMIT_S = 1.0
FAILURES_IN_A_ROW = 3
READY_CONNECTIONS = 4
_PROBE = "1000000 per 1 second"
FIRST_PROBE_S, LONGEST_PROBE_S = 0.5, 5.0
CONNECTIONS = 32

QUIET_S = 60.0
"""How long a Redis that comes and goes is not told of again."""


def why_unusable(url: str) -> tuple[str, str] | None:
    """Return what is wrong with a ``shared`` URL, and the repair; None for one that can be used."""
    if importlib.util.find_spec("redis") is None:
        return "it needs the package redis", "pip install 'strangler-gateway[redis]'"
    parts = urlsplit(url)
    number = parts.path.removeprefix("/")
    if parts.scheme != "unix" and number and not number.isdecimal():
        return "a database of Redis is a number", f"write {parts.scheme}://HOST:PORT/0"
    try:
        from redis.asyncio.connection import parse_url

        parse_url(url)
    except ValueError:  # its words would show what may hold a password
        return "it is no URL that redis understands", f"write {parts.scheme}://HOST:PORT/0"
    return None


class SharedLimits:
    """Count in the Redis at ``url``; ``salt`` keeps the counts of several gateways on one Redis apart."""

    def __init__(self, url: str, salt: str) -> None:
        self._url = url
        self._salt = salt.encode("utf-8", "surrogatepass")
        self._place = urlsplit(url).hostname or urlsplit(url).path
        self._pool: ConnectionPool | None = None
        self._strategy: MovingWindowRateLimiter | None = None
        self._failures = self._slow_calls = 0
        self._reason = ""
        self._told_s: float | None = None
        self._pending: set[asyncio.Task[float]] = set()
        self._probing: asyncio.Task[None] | None = None

    async def wait_s(self, items: Sequence[RateLimitItem], row: str, caller: str) -> float | None:
        """Count one request; return 0.0, the seconds until it may try again, or None: count it elsewhere."""
        if self._reason:
            return None
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        task = loop.create_task(self._ask(items, row, self._hide(caller)))
        self._pending.add(task)
        task.add_done_callback(self._forget)
        for _ in range(PATIENCE_STEPS):
            if (await asyncio.wait((task,), timeout=CALL_LIMIT_S / PATIENCE_STEPS))[0]:
                break
        else:
            self._fail(f"no answer within {CALL_LIMIT_S * 1000:g} ms")
            return None
        error = task.exception()
        if error is not None:
            self._fail(f"{type(error).__name__}: {error}")
            return None
        self._failures = 0
        self._slow_calls = self._slow_calls + 1 if loop.time() - began_s > SLOW_S else 0
        if self._slow_calls >= SLOW_CALLS:
            self._give_up(f"every answer takes more than {SLOW_S * 1000:g} ms")
        return task.result()

    def health(self) -> dict[str, Any]:
        """Return whether limits are counted in Redis at present, and why not."""
        return {"is_ok": not self._reason, "reason": self._reason}

    async def start(self) -> None:
        """Make a connection, so that no request has to wait for one; without one, begin by counting alone."""
        await asyncio.to_thread(self._open)  # it imports both libraries
        try:
            await self._probe_s()
        except Exception as error:
            self._give_up(f"{type(error).__name__}: {error}")

    async def stop(self) -> None:
        """Leave what is under way, and close the connections."""
        tasks: set[asyncio.Task[Any]] = {*self._pending, *([self._probing] if self._probing else ())}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._probing = None
        if self._pool is not None:
            with contextlib.suppress(Exception):  # whatever is wrong with Redis, we are leaving
                async with asyncio.timeout(SOCKET_LIMIT_S):
                    await self._pool.disconnect()

    async def _ask(self, items: Sequence[RateLimitItem], row: str, caller: str) -> float:
        strategy = self._open()
        if len(items) > 1:  # a request that one limit refuses is counted against none
            answers = await asyncio.gather(*(strategy.test(item, row, caller) for item in items))
            if refusing := [item for item, is_free in zip(items, answers, strict=True) if not is_free]:
                return await self._until_free(refusing, row, caller)
        refusing = [item for item in items if not await strategy.hit(item, row, caller)]
        return await self._until_free(refusing, row, caller) if refusing else 0.0

    async def _until_free(self, items: Sequence[RateLimitItem], row: str, caller: str) -> float:
        windows = [await self._open().get_window_stats(item, row, caller) for item in items]
        return max(1.0, *(window.reset_time - time.time() for window in windows))

    def _open(self) -> MovingWindowRateLimiter:
        if self._strategy is None:
            from limits.aio.storage import RedisStorage
            from limits.aio.strategies import MovingWindowRateLimiter
            from redis.asyncio import BlockingConnectionPool
            from redis.asyncio.retry import Retry
            from redis.backoff import NoBackoff

            pool = BlockingConnectionPool.from_url(
                self._url,
                max_connections=CONNECTIONS,
                timeout=SOCKET_LIMIT_S,
                socket_timeout=SOCKET_LIMIT_S,
                socket_connect_timeout=SOCKET_LIMIT_S,
                retry=Retry(NoBackoff(), 0),
            )
            prefix = f"gateway:{blake2b(self._salt, digest_size=6).hexdigest()}"
            storage = RedisStorage(
                "async+redis://",
                implementation="redispy",
                key_prefix=prefix,
                connection_pool=pool,  # type: ignore[arg-type] # documented, and left out of its annotation
            )
            self._pool = pool
            self._strategy = MovingWindowRateLimiter(storage)
        return self._strategy

    def _hide(self, caller: str) -> str:
        text = caller.encode("utf-8", "surrogatepass")
        return blake2b(text, key=self._salt[:64], digest_size=16).hexdigest()

    def _forget(self, task: asyncio.Task[float]) -> None:
        self._pending.discard(task)
        if not task.cancelled():
            task.exception()  # taken, so that the loop does not report a call that was left behind

    def _fail(self, reason: str) -> None:
        self._failures += 1
        if self._failures >= FAILURES_IN_A_ROW:
            self._give_up(reason)

    def _give_up(self, reason: str) -> None:
        """Ask Redis no more until a probe finds it well."""
        if self._reason:
            return
        self._reason = reason
        now_s = time.monotonic()
        if self._told_s is None or now_s - self._told_s > QUIET_S:
            self._told_s = now_s
            log.warning("the shared rate limits at %s: %s; each worker counts alone", self._place, reason)
        self._probing = asyncio.get_running_loop().create_task(self._heal())

    async def _heal(self) -> None:
        pause_s = FIRST_PROBE_S
        while True:
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, LONGEST_PROBE_S)
            try:
                if await self._probe_s() <= SLOW_S:
                    break
                self._reason = f"every answer takes more than {SLOW_S * 1000:g} ms"
            except Exception as error:
                self._reason = f"{type(error).__name__}: {error}"
        self._failures = self._slow_calls = 0
        self._reason = ""
        log.info("the shared rate limits at %s answer again", self._place)

    async def _probe_s(self) -> float:
        """Return how long Redis takes to count something, at best, in seconds.

        It is what requests ask for: a Redis that answers and may not be written would be no help. On the way
        some connections are made, and the script is loaded.
        """
        from limits import parse

        strategy = self._open()
        item = parse(_PROBE)
        async with asyncio.timeout(2 * SOCKET_LIMIT_S):
            await asyncio.gather(*(strategy.hit(item, "probe") for _ in range(READY_CONNECTIONS)))
            took = []
            for _ in range(3):
                began_s = time.monotonic()
                await strategy.hit(item, "probe")
                took.append(time.monotonic() - began_s)
        return min(took)
