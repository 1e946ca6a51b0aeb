"""Hold the admin socket, and bring up its server when the first connection comes.

A supervisor whose page nobody opens stays small: uvicorn and Starlette are imported on first use (0.2 s).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING

from gateway.processes.sockets import bind

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterator

    import uvicorn

    from gateway.web.inquiry import Ask
    from gateway.web.reports import Overview

logger = logging.getLogger("gateway.admin")


class AdminListener:
    """Listen on ``host:port`` from now on; raise ``ListenError`` if that cannot be."""

    def __init__(self, host: str, port: int, token: str) -> None:
        self.socket: socket.socket = bind(host, port)[0]
        self.socket.listen()
        self.socket.setblocking(False)
        self._host = host
        self._token = token
        self._stopping = asyncio.Event()
        self._serving: asyncio.Task[None] | None = None
        self._server: uvicorn.Server | None = None

    def start(self, provider: Callable[[], Overview], ask: Ask) -> None:
        """Answer with what ``provider`` returns, and put orders to ``ask``; call it in the event loop."""
        loop = asyncio.get_running_loop()

        def wake() -> None:
            loop.remove_reader(self.socket)
            self._serving = loop.create_task(self._serve(provider, ask))

        loop.add_reader(self.socket, wake)

    async def stop(self) -> None:
        """Stop listening; an answer under way, such as a stream of events, is cut."""
        self._stopping.set()
        if self._serving is None:
            asyncio.get_running_loop().remove_reader(self.socket)
        else:
            self._serving.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._serving
            for connection in list(self._server.server_state.connections) if self._server else ():
                connection.transport.abort()
        self.socket.close()

    async def _serve(self, provider: Callable[[], Overview], ask: Ask) -> None:
        try:
            self._server = self._make_server(provider, ask)
            await self._server.serve(sockets=[self.socket])
        except Exception:  # importing it may fail as well, which must not go unsaid
            logger.exception("the admin listener failed")

    def _make_server(self, provider: Callable[[], Overview], ask: Ask) -> uvicorn.Server:
        import uvicorn

        from gateway.web.admin import LOOPBACK_NAMES, create_admin

        class QuietServer(uvicorn.Server):
            """Leave signals to the supervisor."""

            @contextlib.contextmanager
            def capture_signals(self) -> Iterator[None]:
                yield

        hosts = LOOPBACK_NAMES | {f"[{self._host}]" if ":" in self._host else self._host}
        config = uvicorn.Config(
            create_admin(provider, self._token, hosts=hosts, ask=ask, stopping=self._stopping),
            log_config=None,
            access_log=False,
            lifespan="off",
            ws="none",
            proxy_headers=False,
            server_header=False,
        )
        return QuietServer(config)
