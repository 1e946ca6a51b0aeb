"""Bind the public socket, once for each worker where the kernel deals connections among them."""

from __future__ import annotations

import socket
import sys

from gateway.errors import GatewayError


class ListenError(GatewayError):
    """Report an address that cannot be listened on."""


def bind(host: str, port: int, count: int = 1) -> list[socket.socket]:
    """Return ``count`` sockets bound to one address (one where the kernel does not deal connections).

    None listens yet: that begins when a worker can answer. The first is bound alone, which fails when anyone
    uses the port, be it a gateway that shares its own sockets; only then is sharing allowed. Raises
    :class:`ListenError`.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except OSError as exc:
        raise ListenError(f"cannot listen on {host}: {exc.strerror or exc}") from exc
    is_dealing = sys.platform == "linux" and count > 1
    sockets: list[socket.socket] = []
    try:
        for _ in range(count if is_dealing else 1):
            listener = socket.socket(family, socket.SOCK_STREAM)
            sockets.append(listener)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if len(sockets) > 1:
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            listener.bind(address)
            if is_dealing:
                address = listener.getsockname()
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    except OSError as exc:
        for listener in sockets:
            listener.close()
        raise ListenError(f"cannot listen on {host}:{port}: {exc.strerror or exc}") from exc
    return sockets


def address_of(listener: socket.socket) -> str:
    """Return ``HOST:PORT`` as it stands in a URL."""
    host, port = listener.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
