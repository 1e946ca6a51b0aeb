"""Carry a request's body from the event loop to the thread that reads it, with bounded memory.

Law: the loop side (:meth:`BodyStream.feed`, :meth:`BodyStream.has_room`) never blocks; the reading side
blocks its own thread and nothing else. What has come and has not been read stays below
``HIGH_WATER_BYTES`` and one message: above it the loop stops receiving, so that the client's own
connection fills up. A body that the client did not finish raises Werkzeug's ``ClientDisconnected`` at
the read that meets the gap; it never looks complete.

Reading follows PEP 3333 ("Input and Error Streams"): ``read(n)`` blocks until n bytes or the end,
``readline(limit)`` returns a whole line or ``limit`` bytes, the end of the body is ``b""`` for good.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING

from werkzeug.exceptions import ClientDisconnected

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HIGH_WATER_BYTES = 256 * 1024
LOW_WATER_BYTES = 64 * 1024


class BodyStream:
    """Be the ``wsgi.input`` of a request whose body is still coming.

    ``ask`` is called from the reading thread: to start receiving, or to go on once there is room.
    """

    def __init__(self, ask: Callable[[], None]) -> None:
        self._ask = ask
        self._chunks: deque[bytes] = deque()
        # Each total has one writer, so that no lock is needed: the loop and the reader.
        self._fed_bytes = 0
        self._taken_bytes = 0
        self._is_whole = False
        self._failure: str | None = None
        self._more = threading.Lock()
        self._more.acquire()
        self._head = b""
        self._position = 0
        self.is_paused = True

    # The loop's side.

    def feed(self, chunk: bytes) -> None:
        """Add what has come."""
        if chunk:
            self._fed_bytes += len(chunk)
            self._chunks.append(chunk)
            self._open()

    def finish(self) -> None:
        """Say that the body is complete."""
        self._is_whole = True
        self._open()

    def fail(self, reason: str) -> None:
        """Say that no more will come although the body is not complete; a later call changes nothing."""
        if not self._is_whole and self._failure is None:
            self._failure = reason
            self._open()

    @property
    def is_whole(self) -> bool:
        """Tell whether the last byte has come."""
        return self._is_whole

    def unread_bytes(self) -> int:
        """Return how much has come and has not been taken by the reader."""
        return self._fed_bytes - self._taken_bytes

    def take_all(self) -> bytes:
        """Return everything that has come; to be used before a reader exists, in its place."""
        return self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)

    def _open(self) -> None:
        # Only the loop releases, so "locked" cannot become untrue in between.
        if self._more.locked():
            self._more.release()

    # The reader's side.

    def read(self, size: int | None = -1) -> bytes:
        """Return ``size`` bytes, fewer only at the end; all of them when ``size`` is negative or None."""
        if size is None or size < 0:
            parts = []
            while self._fill():
                parts.append(self._take(len(self._head)))
            return b"".join(parts)
        parts = []
        missing = size
        while missing > 0 and self._fill():
            part = self._take(missing)
            parts.append(part)
            missing -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def readline(self, size: int | None = -1) -> bytes:
        """Return the next line with its end, at most ``size`` bytes of it when that is not negative."""
        limit = -1 if size is None else size
        parts = []
        missing = limit
        while missing != 0 and self._fill():
            end = self._head.find(b"\n", self._position) + 1
            part = self._take((end or len(self._head)) - self._position, missing)
            parts.append(part)
            if part.endswith(b"\n"):
                break
            if missing > 0:
                missing -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def readlines(self, hint: int | None = -1) -> list[bytes]:
        """Return the lines that are left; stop after about ``hint`` bytes when that is positive."""
        lines = []
        total = 0
        for line in self:
            lines.append(line)
            total += len(line)
            if hint is not None and 0 < hint <= total:
                break
        return lines

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        line = self.readline()
        if not line:
            raise StopIteration
        return line

    def readable(self) -> bool:
        """Say that this stream can be read, as :class:`io.BufferedReader` asks."""
        return True

    def _take(self, size: int, limit: int = -1) -> bytes:
        """Return up to ``size`` bytes of the head, and up to ``limit`` when that is not negative."""
        if 0 <= limit < size:
            size = limit
        start = self._position
        part = self._head if start == 0 and size >= len(self._head) else self._head[start : start + size]
        self._position = start + len(part)
        if self._position >= len(self._head):
            self._head = b""
            self._position = 0
        return part

    def _fill(self) -> bool:
        """See that the head holds a byte; False at the end of the body."""
        if self._head:
            return True
        while not self._chunks:
            # A chunk is appended before the end is declared, so the order of these looks matters.
            if self._is_whole:
                if self._chunks:
                    break
                return False
            if self._failure is not None:
                if self._chunks:
                    break
                raise ClientDisconnected(self._failure)
            if self.is_paused:
                self._ask()
            self._more.acquire()
        self._head = self._chunks.popleft()
        self._taken_bytes += len(self._head)
        if self.is_paused and not self._is_whole and self.unread_bytes() < LOW_WATER_BYTES:
            self._ask()
        return True
