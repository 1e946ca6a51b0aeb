"""Run uvicorn inside a worker: accept on the sockets the supervisor names, report, and stop losing nothing.

The laws of stopping:

1. What the kernel has accepted is answered; then nothing more is accepted.
2. Every answer from then on says ``Connection: close``. An idle connection is not cut at once, because its
   client may be sending already: it gets a moment to ask once more. (Uvicorn's own shutdown cuts it, and the
   request in flight with it.)
3. What is still running at the end of the grace is cancelled; what cannot be cancelled (a thread in a view)
   ends with the process, at most a second later.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import signal
import sys
from typing import TYPE_CHECKING, Any

import uvicorn

from gateway.errors import GatewayError, OrderRefused
from gateway.web.report_changes import ReportSender

if TYPE_CHECKING:
    import socket
    from collections.abc import Coroutine, Iterable, Iterator, Sequence

    from gateway.processes.control import Control, Message

LINGER_S = 1.0
"""How long an idle connection may still send one more request after the drain began."""

LIFESPAN_S = 0.6
"""How long both apps may take to shut down when the grace is already spent."""

REPORT_EVERY_S = 1.0

SWITCH_INTERVAL_S = 0.0005

logger = logging.getLogger("gateway.processes.worker")


class StartFailedError(GatewayError):
    """Report that the app's start-up (its lifespan) failed; uvicorn has logged why."""


class WorkerServer(uvicorn.Server):
    """Be uvicorn's server with the supervisor in charge: of signals, of sockets, and of the end.

    ``listeners`` are all bound sockets of the gateway; the worker accepts on its own (``slot``) and, while a
    sibling is down, on those that the supervisor adds, so that no connection waits for a dead process.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        app: Any,
        control: Control,
        *,
        listeners: Sequence[socket.socket],
        slot: int,
        grace_s: float,
    ) -> None:
        super().__init__(config)
        self._app = app
        self._control = control
        self._listeners = listeners
        self._slot = slot
        self._grace_s = grace_s
        self._is_last = True
        self._accepting: dict[int, asyncio.Server] = {}
        self._accept_lock = asyncio.Lock()
        self._orders: set[asyncio.Task[None]] = set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals alone: SIGTERM is handled in the loop, Ctrl-C by the supervisor."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Run both apps' start-up, accept on the own listener, say ready, and hear orders from then on."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self._begin_drain, self._grace_s, True)

        def deliver(message: Message) -> None:
            loop.call_soon_threadsafe(self._obey, message)

        self._control.attach(deliver)
        if hasattr(self._app, "start"):
            await self._app.start()  # so that its failure comes here, and not into uvicorn's log
        await self.lifespan.startup()
        if self.lifespan.should_exit:
            raise StartFailedError("the start-up of an app failed; the log above says why")
        try:
            await self._accept_on({self._slot})
        except OSError as exc:
            raise StartFailedError(
                f"cannot listen: {exc.strerror}; does another process use the port?"
            ) from exc
        self.servers = []
        _settle_interpreter()
        self.started = True
        await self.on_tick(0)
        self._sender = ReportSender()
        await self._control.send({"event": "ready", **self._changes()})
        self._reporting = loop.create_task(self._report())

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Drain by the laws in the head of this module, then shut both apps down."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        deadline = began + self._grace_s
        await self._control.send({"event": "draining"})
        await self._stop_accepting()
        linger_until = began + min(LINGER_S, self._grace_s / 2)
        await self._announce_close()
        next_date = loop.time() + 1
        self._close(connection for connection in self._connections if not _takes_one_more(connection))
        while (self._connections or self.server_state.tasks) and (now := loop.time()) < deadline:
            if now >= linger_until:
                self._close(connection for connection in self._connections if not _is_receiving(connection))
            if now >= next_date:
                await self._announce_close()
                next_date = now + 1
            await asyncio.sleep(0.02)
        self._cut_what_is_left()
        self._reporting.cancel()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.lifespan.shutdown(), max(deadline - loop.time(), 0) + LIFESPAN_S)
        await self._control.send({"event": "drained", **self._changes()})

    @property
    def _connections(self) -> list[Any]:
        return list(self.server_state.connections)

    def _obey(self, message: Message) -> None:
        if message.get("do") == "drain":
            self._begin_drain(float(message["grace_s"]), bool(message.get("is_last", True)))
        elif message.get("do") == "accept" and not self.should_exit:
            self._spawn(self._accept_on(set(message["listeners"])))
        elif message.get("do") == "order":
            self._spawn(self._carry_out(message["id"], message["order"]))
        elif message.get("do") == "refresh" and hasattr(self._app, "refresh"):
            self._app.refresh()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._orders.add(task)
        task.add_done_callback(self._orders.discard)

    async def _carry_out(self, number: int, order: Message) -> None:
        """Let the application carry out what a person asks, and tell the supervisor how it went."""
        answer: Message = {"event": "answer", "id": number}
        try:
            if not hasattr(self._app, "carry_out"):
                raise OrderRefused(503, "this application takes no orders")
            answer["answer"] = await self._app.carry_out(order)
        except OrderRefused as refusal:
            answer["refusal"] = {"status": refusal.status, "detail": refusal.detail}
        except Exception as exc:
            logger.exception("an order failed")
            answer["refusal"] = {"status": 500, "detail": f"the worker failed: {type(exc).__name__}"}
        await self._control.send(answer)

    def _begin_drain(self, grace_s: float, is_last: bool) -> None:
        self._grace_s = grace_s
        self._is_last = is_last
        self.should_exit = True

    async def _accept_on(self, wanted: set[int]) -> None:
        async with self._accept_lock:
            loop = asyncio.get_running_loop()
            for index in wanted - self._accepting.keys():
                self._accepting[index] = await loop.create_server(
                    self._new_protocol, sock=self._listeners[index].dup(), backlog=self.config.backlog
                )
            for index in self._accepting.keys() - wanted:
                self._accepting.pop(index).close()

    def _new_protocol(self) -> asyncio.Protocol:
        protocol: asyncio.Protocol = self.config.http_protocol_class(  # type: ignore[call-arg] # as uvicorn does
            config=self.config,
            server_state=self.server_state,
            app_state=self.lifespan.state,
            _loop=asyncio.get_running_loop(),
        )
        return protocol

    async def _stop_accepting(self) -> None:
        """Stop accepting; a worker without a successor first takes what waits in the kernel's queues.

        In all of them: a socket that another worker has left is open, and gets connections, for as long as
        anybody holds it. Nothing is awaited between the last look and the close.
        """
        await self._accept_on(set())
        waiting: list[socket.socket] = []
        for listener in self._listeners:
            if self._is_last:
                waiting.extend(_waiting_connections(listener))
            listener.close()
        loop = asyncio.get_running_loop()
        for connection in waiting:
            with contextlib.suppress(OSError):
                await loop.connect_accepted_socket(self._new_protocol, connection)

    async def _announce_close(self) -> None:
        await self.on_tick(0)  # a fresh Date
        self.server_state.default_headers = [*self.server_state.default_headers, (b"connection", b"close")]

    def _close(self, connections: Iterable[Any]) -> None:
        for connection in list(connections):
            connection.shutdown()

    def _cut_what_is_left(self) -> None:
        tasks = list(self.server_state.tasks)
        logging.getLogger("uvicorn.error").addFilter(_is_no_cancellation)
        if tasks:
            logger.warning("cut %d requests: the grace of %g s was too short", len(tasks), self._grace_s)
        for task in tasks:
            task.cancel(msg="the worker's grace is over")
        for connection in self._connections:
            if connection.transport is not None:
                connection.transport.close()

    def _changes(self) -> Message:
        try:
            return self._sender.changes(self._app.report())
        except Exception:
            logger.exception("the worker's report failed")
            return {}

    async def _report(self) -> None:
        while True:
            await asyncio.sleep(REPORT_EVERY_S)
            # In a thread: a table of 2,000 rows would hold the loop for 16 ms.
            if changes := await asyncio.to_thread(self._changes):
                await self._control.send({"event": "report", **changes})


def _settle_interpreter() -> None:
    """Prepare the interpreter for serving, once both apps are imported and nothing has been served.

    What is alive now lives as long as the worker: frozen, it is never walked again by the collector, whose
    full pass over two apps and a large table held every request for a quarter of a second. And the loop's
    thread and the views' hand the interpreter over after half a millisecond instead of five.
    """
    gc.collect()
    gc.freeze()
    sys.setswitchinterval(SWITCH_INTERVAL_S)


def _is_no_cancellation(record: logging.LogRecord) -> bool:
    """Keep uvicorn from logging each request that we cut as an error of the app."""
    return not (record.exc_info and isinstance(record.exc_info[1], asyncio.CancelledError))


def _waiting_connections(listener: socket.socket) -> Iterator[socket.socket]:
    listener.setblocking(False)
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        connection.setblocking(False)
        yield connection


def _takes_one_more(connection: Any) -> bool:
    """Tell whether the connection is left open for one more request, which is answered with a close.

    So it is for an idle one, and for one whose answer has begun: its headers promised to stay open.
    A websocket has no requests to come, and is told to go away at once.
    """
    if not hasattr(connection, "cycle"):
        return False
    cycle = connection.cycle
    return cycle is None or bool(cycle.response_started)


def _is_receiving(connection: Any) -> bool:
    """Tell whether a request is half received, or its answer under way: then closing would lose it."""
    cycle = getattr(connection, "cycle", None)
    scope = getattr(connection, "scope", None)
    is_answering = cycle is not None and not cycle.response_complete
    is_reading = scope is not None and (cycle is None or getattr(cycle, "scope", scope) is not scope)
    return is_answering or is_reading
