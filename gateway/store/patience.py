"""Cut the connection to a server that has stopped answering, so that nobody waits for it for ever.

A statement has its own limit, but the server keeps that one; a server that is stopped, or a proxy in between
that swallows what it takes, keeps none, and its kernel goes on acknowledging. So a thread watches from this
side.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from typing import TYPE_CHECKING, Any

from sqlalchemy import event

from gateway.store.errors import StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Engine

LIMIT_S = 15.0
"""How long one transaction may take, above the limits of its connecting and of its statements."""

PERIOD_S = 1.0


class Patience:
    """Watch the one connection of ``engine``: after ``LIMIT_S`` within :meth:`limited` it is cut."""

    def __init__(self, engine: Engine) -> None:
        self._is_over = False
        self._due: float | None = None
        self._socket: socket.socket | None = None
        self._closed = threading.Event()
        event.listen(engine, "connect", self._connected)
        self._thread = threading.Thread(target=self._watch, name="gateway-store-watch", daemon=True)
        self._thread.start()

    @contextlib.contextmanager
    def limited(self) -> Iterator[None]:
        """Give what happens in this block the limit; raise :class:`StoreUnavailable` where it was cut."""
        self._is_over = False
        self._due = time.monotonic() + LIMIT_S
        try:
            yield
        except Exception as exc:
            if self._is_over:
                raise StoreUnavailable(f"the database has not answered for {LIMIT_S:g} s") from exc
            raise
        finally:
            self._due = None

    def close(self) -> None:
        """End the watch."""
        self._closed.set()

    def _connected(self, connection: Any, _record: object) -> None:
        """Keep a descriptor of our own: the driver's may be another connection's by the time it is cut."""
        former, self._socket = self._socket, socket.socket(fileno=os.dup(connection.fileno()))
        if former is not None:
            former.close()

    def _watch(self) -> None:
        while not self._closed.wait(PERIOD_S):
            due = self._due
            if due is not None and time.monotonic() >= due and self._socket is not None:
                self._is_over, self._due = True, None
                with contextlib.suppress(OSError):
                    self._socket.shutdown(socket.SHUT_RDWR)
        if self._socket is not None:
            self._socket.close()
