"""Speak HTTP byte by byte over a real socket, for what no client library would send."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True)
class RawAnswer:
    """Be one response as it came: status (0: the connection closed without one), head and all bytes."""

    status: int
    data: bytes
    is_closed: bool

    @property
    def body(self) -> bytes:
        """Return what follows the first response head."""
        return self.data.partition(b"\r\n\r\n")[2]

    def count(self) -> int:
        """Return how many responses the server sent."""
        return self.data.count(b"HTTP/1.1 ")


def exchange(base_url: str, *pieces: bytes, timeout_s: float = 5.0, wait_s: float = 0.3) -> RawAnswer:
    """Send ``pieces`` one after another on one connection; return everything that came back.

    Reads until the server closes or has been silent for ``wait_s`` seconds after its first bytes.
    """
    parts = urlsplit(base_url)
    assert parts.hostname is not None
    with socket.create_connection((parts.hostname, parts.port or 80), timeout_s) as connection:
        for number, piece in enumerate(pieces):
            if number:
                # A segment of its own: the server must have had the chance to act on the one before.
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            try:
                connection.sendall(piece)
            except OSError:
                break
        data = b""
        is_closed = False
        connection.settimeout(timeout_s)
        while True:
            try:
                received = connection.recv(65536)
            except TimeoutError:
                break
            except ConnectionResetError:
                is_closed = True
                break
            if not received:
                is_closed = True
                break
            data += received
            connection.settimeout(wait_s)
    status = int(data[9:12]) if data.startswith(b"HTTP/1.1 ") else 0
    return RawAnswer(status, data, is_closed)
