"""Put a constant load on a server, whatever it does, and keep what every single request came to.

Requests are due at a fixed rate; one that waits for a connection is charged for it (a client that only asks
again after an answer would hide every pause). Each carries an id and a caller, and is judged as its client
would judge it: by the status, the body, and whether there was an answer at all.
"""

from __future__ import annotations

import asyncio
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

CONNECTIONS = 64
PATIENCE_S = 30.0


@dataclass(frozen=True, slots=True)
class Asked:
    """Be one request: ``expected`` is the body of a good answer, but for line feeds at its end."""

    path: str
    expected: bytes
    user: str
    method: str = "GET"


@dataclass(frozen=True, slots=True)
class Answer:
    """Be what one request came to. ``at`` is when it was due (monotonic), ``problem`` empty if it went well.

    ``status`` is 0 and ``by`` empty where there was no answer; ``seconds`` counts from when it was due.
    """

    id: str
    asked: Asked
    at: float
    seconds: float
    status: int
    by: str
    problem: str


class _Connection:
    """Be one kept-alive connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self.is_used = False

    @property
    def is_open(self) -> bool:
        return not (self._reader.at_eof() or self._writer.is_closing())

    def close(self) -> None:
        self._writer.close()

    async def ask(self, asked: Asked, request_id: str, host: str) -> tuple[int, dict[str, str], bytes]:
        head = (
            f"{asked.method} {asked.path} HTTP/1.1\r\nHost: {host}\r\nX-User: {asked.user}\r\n"
            f"X-Request-Id: {request_id}\r\n"
        )
        if asked.method != "GET":
            head += "Content-Length: 0\r\n"
        self._writer.write(f"{head}\r\n".encode())
        lines = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {
            name.lower(): value.strip()
            for name, _, value in (line.partition(":") for line in lines[1:] if line)
        }
        body = await self._reader.readexactly(int(headers.get("content-length", "0")))
        self.is_used = True
        return int(lines[0].split()[1]), headers, body


class Load:
    """Ask ``rate`` times a second, for as long as the block lasts; ``ask`` says what the nth request is.

    ``count`` ends it earlier.
    With ``connections=1, is_keeping=False`` requests go one by one, each on a connection of its own, so that
    any worker may get any of them.
    """

    def __init__(
        self,
        url: str,
        ask: Callable[[int], Asked],
        *,
        rate: float = 60.0,
        count: int | None = None,
        connections: int = CONNECTIONS,
        is_keeping: bool = True,
    ) -> None:
        self.answers: list[Answer] = []
        self.asked = 0
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "", parts.port or 80
        self._ask = ask
        self._rate = rate
        self._count = count
        self._connections = connections
        self._is_keeping = is_keeping
        self._idle: list[_Connection] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="load")
        self._crash: BaseException | None = None

    def __enter__(self) -> Load:
        self._thread.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._stop.set()
        self._thread.join(PATIENCE_S + 10)
        assert not self._thread.is_alive(), "the load did not end"
        if self._crash is not None:
            raise self._crash

    @property
    def failures(self) -> list[Answer]:
        """Return the requests that did not go well."""
        return [answer for answer in self.answers if answer.problem]

    def by(self, backend: str) -> list[Answer]:
        """Return the answers of one backend."""
        return [answer for answer in self.answers if answer.by == backend]

    def since(self, moment: float) -> list[Answer]:
        """Return the answers to requests that were due after ``moment`` (monotonic)."""
        return [answer for answer in self.answers if answer.at >= moment]

    def has_answered(self, count: int, since: float = 0.0) -> bool:
        """Tell whether ``count`` requests that were due after ``since`` have been answered."""
        return len(self.since(since)) >= count

    async def _run(self) -> None:
        try:
            await self._keep_asking()
        except BaseException as error:
            self._crash = error

    async def _keep_asking(self) -> None:
        room = asyncio.Semaphore(self._connections)
        tasks: set[asyncio.Task[None]] = set()
        began = time.monotonic()
        while not self._stop.is_set() and self.asked != self._count:
            due = began + self.asked / self._rate
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            task = asyncio.create_task(self._one(self.asked, due, room))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
            self.asked += 1
        if tasks:
            await asyncio.wait(tasks)
        for connection in self._idle:
            connection.close()

    async def _one(self, number: int, due: float, room: asyncio.Semaphore) -> None:
        asked = self._ask(number)
        request_id = f"load-{number:07d}"
        status, headers, body, problem = 0, dict[str, str](), b"", ""
        async with room:
            try:
                async with asyncio.timeout(PATIENCE_S):
                    status, headers, body = await self._exchange(asked, request_id)
            except (OSError, EOFError, TimeoutError, ValueError) as error:
                problem = f"no answer: {error!r}"
        if not problem and not 200 <= status <= 299:
            problem = f"status {status}: {body[:200]!r}"
        elif not problem and body.rstrip(b"\n") != asked.expected:
            problem = f"wrong body: {body[:200]!r}"
        elif not problem and headers.get("x-request-id") != request_id:
            problem = f"the answer is {headers.get('x-request-id')}'s"
        by = headers.get("x-served-by", "")
        took = time.monotonic() - due
        self.answers.append(Answer(request_id, asked, due, took, status, by, problem))

    async def _exchange(self, asked: Asked, request_id: str) -> tuple[int, dict[str, str], bytes]:
        host = f"{self._host}:{self._port}"
        connection = await self._connection()
        try:
            try:
                answer = await connection.ask(asked, request_id, host)
            except (ConnectionError, asyncio.IncompleteReadError) as error:
                is_silent = not isinstance(error, asyncio.IncompleteReadError) or not error.partial
                if not (connection.is_used and is_silent and asked.method == "GET"):
                    raise
                # RFC 9112, 9.3.1: an idle connection may be closed at any time; a client opens another.
                connection.close()
                connection = await self._connect()
                answer = await connection.ask(asked, request_id, host)
        except BaseException:
            connection.close()
            raise
        if self._is_keeping and answer[1].get("connection") != "close":
            self._idle.append(connection)
        else:
            connection.close()
        return answer

    async def _connection(self) -> _Connection:
        while self._idle:
            connection = self._idle.pop()
            if connection.is_open:
                return connection
            connection.close()
        return await self._connect()

    async def _connect(self) -> _Connection:
        return _Connection(*await asyncio.open_connection(self._host, self._port))


def quantile_s(answers: Iterable[Answer], share: float) -> float:
    """Return the time within which ``share`` of ``answers`` came; 0.0 for none."""
    ordered = sorted(answer.seconds for answer in answers)
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)] if ordered else 0.0


def assert_nobody_waited(before: Sequence[Answer], during: Sequence[Answer], *, harm_s: float) -> None:
    """Fail where a twentieth of the requests waited half of ``harm_s`` longer than before.

    ``harm_s`` is how long one waits who does wait for what is broken: far above the noise of a busy machine.
    What it was for a hundredth is printed, for who looks on a quiet one.
    """
    assert len(before) >= 40
    assert len(during) >= 40
    for share in (0.99, 0.95):
        was_s, is_s = quantile_s(before, share), quantile_s(during, share)
        print(f"p{100 * share:.0f}: {1000 * was_s:.1f} ms before, {1000 * is_s:.1f} ms meanwhile")
    assert is_s < was_s + harm_s / 2, f"p95: {was_s:.3f} s before, {is_s:.3f} s meanwhile"


def told(answers: Iterable[Answer]) -> str:
    """Return a few failures as text, for an assertion's message."""
    lines = [f"{answer.id} by {answer.by or 'nobody'}: {answer.problem}" for answer in answers]
    return "\n".join(lines[:8] + ([f"… {len(lines)} in all"] if len(lines) > 8 else []))
