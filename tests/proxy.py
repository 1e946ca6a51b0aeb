"""Stand between a client and a server, and fall silent when asked: connections stay, and nothing passes."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


class Proxy:
    """Pass bytes between whoever connects to :attr:`port` and ``target``."""

    def __init__(self, target: tuple[str, int]) -> None:
        self._target = target
        self._is_passing = threading.Event()
        self._is_passing.set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._sockets: list[socket.socket] = []

    @property
    def port(self) -> int:
        """Return the port to connect to."""
        return int(self._listener.getsockname()[1])

    @contextlib.contextmanager
    def silent(self) -> Iterator[None]:
        """Let nothing pass until the block ends; what was sent meanwhile is delivered then."""
        self._is_passing.clear()
        try:
            yield
        finally:
            self._is_passing.set()

    @contextlib.contextmanager
    def serving(self) -> Iterator[Proxy]:
        """Serve until the block ends."""
        thread = threading.Thread(target=self._accept, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._is_passing.set()
            self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            thread.join(5)
            for each in self._sockets:
                each.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self._is_passing.wait()
                server = socket.create_connection(self._target, 5)
                server.settimeout(None)
                self._sockets += [client, server]
                for source, sink in ((client, server), (server, client)):
                    threading.Thread(target=self._copy, args=(source, sink), daemon=True).start()

    def _copy(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65_536):
                self._is_passing.wait()
                sink.sendall(data)
        for each in (source, sink):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
