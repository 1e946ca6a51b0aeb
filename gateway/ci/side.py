"""Be the server process of one side: one implementation, alone, on the state that its environment names.

Started by :mod:`gateway.ci.servers`, which owns the socket. What is written to the report file is one JSON
object a line: ``ready``, ``failed``, ``raised``, ``did``. The end of standard input is the order to go, so
that nothing is left behind when whoever compares has died.

An answer's last piece is held back until the app has returned, background tasks included, and until what the
request left running (a thread, a task) has ended or had its time: when the answer is whole, everything that
the request did has been done, and told.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
import threading
import traceback
from dataclasses import astuple
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gateway.ci.watching import Tally, Watcher
from gateway.ci.watching.followers import follow_tasks
from gateway.ci.watching.tally import request, settle, unwatched
from gateway.errors import BackendError, GatewayError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.backends.base import Backend, Message, Receive, Scope, Send
    from gateway.ci.freezing import Clock
    from gateway.table.spec import BackendSpec

NUMBER_HEADER = b"x-gateway-compare-number"
MOMENT_HEADER = b"x-gateway-compare-moment"
_OWN_HEADERS = frozenset({NUMBER_HEADER, MOMENT_HEADER})
HELD_AT_MOST_S = 10.0
START_FAILED = 3
STOP_GRACE_S = 1.0


class Voice:
    """Tell the parent what happened, a JSON object a line."""

    def __init__(self, descriptor: int) -> None:
        self._file = os.fdopen(descriptor, "wb", buffering=0)
        self._lock = threading.Lock()

    def say(self, event: str, **facts: Any) -> None:
        """Send one report; a parent that is gone hears nothing."""
        with self._lock, contextlib.suppress(OSError):
            self._file.write(json.dumps({"event": event, **facts}).encode() + b"\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve one backend of a table until told to go."""
    parser = argparse.ArgumentParser(prog="gateway.ci.side", description=__doc__)
    parser.add_argument("--config", required=True)
    parser.add_argument("--backend", choices=["legacy", "new"], required=True)
    parser.add_argument("--listener", type=int, required=True)
    parser.add_argument("--report", type=int, required=True)
    parser.add_argument("--freeze", default="")
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to hear
    voice = Voice(options.report)
    listener = socket.socket(fileno=options.listener)
    listener.set_inheritable(False)
    clock = None
    if options.freeze:
        from gateway.ci.freezing import freeze

        clock = freeze(options.freeze)
    watcher = Watcher()
    watcher.install()
    try:
        backend, is_watched = _backend(Path(options.config), options.backend)
        app = SideApp(backend, voice, watcher if is_watched else None, clock)
        _serve(app, listener)
    except BackendError as exc:
        voice.say("failed", text=exc.detail)
        return START_FAILED
    except GatewayError as exc:
        voice.say("failed", text=str(exc))
        return START_FAILED
    except Exception as exc:
        traceback.print_exc()
        voice.say("failed", text=f"{type(exc).__name__}: {exc}")
        return START_FAILED
    return START_FAILED if not app.has_started else 0


def _backend(config: Path, name: str) -> tuple[Backend, bool]:
    """Return the backend, and whether it runs in this process."""
    from gateway.table.read import read_table

    spec = read_table(config, environ=os.environ).spec
    if spec is None:
        raise GatewayError(f"{config} cannot be read")
    own = spec.legacy if name == "legacy" else spec.new
    return _make(own, config.parent), own.kind != "command"


def _make(spec: BackendSpec, folder: Path) -> Backend:
    from gateway.backends.importing import import_app

    if spec.kind == "command":
        from gateway.backends.process import ManagedProcess

        return ManagedProcess(
            spec.argv,
            pool=spec.pool,
            connect_timeout_s=spec.connect_timeout_s,
            root_path=spec.root_path,
            name=spec.name,
            cwd=folder,
        )
    app: Any = import_app(spec.target, spec.name)
    if spec.kind == "asgi":
        from gateway.backends.asgi import AsgiBackend

        return AsgiBackend(app, root_path=spec.root_path, name=spec.name)
    from gateway.backends.a2wsgi_bridge import A2wsgiBridge
    from gateway.backends.bridge import WsgiBridge

    bridge = WsgiBridge if spec.bridge == "gateway" else A2wsgiBridge
    return bridge(app, threads=spec.threads, queue=spec.queue, root_path=spec.root_path, name=spec.name)


def _serve(app: SideApp, listener: socket.socket) -> None:
    import uvicorn

    config = uvicorn.Config(
        app,
        lifespan="on",
        proxy_headers=False,
        server_header=False,
        log_level="warning",
        timeout_graceful_shutdown=2,
    )
    server = uvicorn.Server(config)

    def wait_for_order() -> None:
        while sys.stdin.buffer.read(4096):
            pass
        server.should_exit = True
        # What does not end by itself (a thread in a view) must not outlive the comparison.
        timer = threading.Timer(5.0, os._exit, args=(0,))
        timer.daemon = True
        timer.start()

    threading.Thread(target=wait_for_order, daemon=True).start()
    server.run(sockets=[listener])


class SideApp:
    """Be an ASGI application that runs one backend with its life, and reports what it raised."""

    def __init__(
        self, backend: Backend, voice: Voice, watcher: Watcher | None = None, clock: Clock | None = None
    ) -> None:
        self._backend = backend
        self._voice = voice
        self._watcher = watcher
        self._clock = clock
        self.has_started = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or run the backend's life."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["type"] == "http":
            await self._answer(scope, receive, send)
        else:
            await self._backend(scope, receive, send)

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        follow_tasks(asyncio.get_running_loop())
        try:
            await self._backend.start()
        except BaseException as exc:
            text = exc.detail if isinstance(exc, BackendError) else f"{type(exc).__name__}: {exc}"
            traceback.print_exc()
            self._voice.say("failed", text=text)
            await send({"type": "lifespan.startup.failed", "message": text})
            return
        self.has_started = True
        self._voice.say("ready")
        await send({"type": "lifespan.startup.complete"})
        await receive()
        with contextlib.suppress(Exception):  # the comparison is over; how the app ends is not compared
            await self._backend.stop(STOP_GRACE_S)
        await send({"type": "lifespan.shutdown.complete"})

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        number = next((value for name, value in scope["headers"] if name == NUMBER_HEADER), b"")
        moment = next((value for name, value in scope["headers"] if name == MOMENT_HEADER), b"")
        scope["headers"] = [pair for pair in scope["headers"] if pair[0] not in _OWN_HEADERS]
        if self._clock is not None:
            self._clock.move(moment.decode("latin-1"))
        held = _Held(send)
        failure: Exception | None = None
        with request() as tally:
            try:
                await self._backend(scope, held.receive(receive), held.send)
            except Exception as exc:
                failure = exc
        raised = failure or scope.get("gateway.exception")
        if isinstance(raised, BaseException):
            self._report(number, raised)
        await self._tell(number, tally)
        if isinstance(failure, BackendError) and not held.has_started:
            await _refuse(send, failure)
            return
        await held.release()
        if failure is not None and not held.is_whole:
            raise failure

    async def _tell(self, number: bytes, tally: Tally) -> None:
        await settle(tally)
        if self._watcher is None:
            return
        effects = self._watcher.effects(tally)
        outbound = effects.outbound
        self._voice.say(
            "did",
            number=number.decode("latin-1"),
            queries=None if effects.queries is None else astuple(effects.queries),
            outbound=None
            if outbound is None
            else [
                (each.method, each.url, None if each.body is None else each.body.decode("latin-1"))
                for each in outbound
            ],
            unwatched=unwatched(),
        )

    def _report(self, number: bytes, exc: BaseException) -> None:
        text = "".join(traceback.format_exception(exc))
        if not isinstance(exc, BackendError):
            print(text, file=sys.stderr, flush=True)  # noqa: T201 - the log that is shown when a side fails
        self._voice.say(
            "raised",
            number=number.decode("latin-1"),
            type=f"{type(exc).__module__}.{type(exc).__qualname__}",
            message=str(exc)[:2000],
            traceback=text[-8000:],
        )


class _Held:
    """Send every message one step late, and the last when the app has returned (or took too long)."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._waiting: Message | None = None
        self._timer: asyncio.Task[None] | None = None
        self.has_started = False
        self.is_whole = False

    def receive(self, receive: Receive) -> Receive:
        """Return a ``receive`` that tells the app that the client is gone once the answer is whole."""

        async def call() -> Message:
            return {"type": "http.disconnect"} if self.is_whole else await receive()

        return call

    async def send(self, message: Message) -> None:
        """Take one message from the app."""
        self.has_started = True
        if self._waiting is not None:
            waiting, self._waiting = self._waiting, None
            await self._send(waiting)
        if message["type"] == "http.response.body" and not self.is_whole:
            self._waiting = message
            if not message.get("more_body"):
                self.is_whole = True
                self._timer = asyncio.create_task(self._release_late())
        else:
            await self._send(message)

    async def _release_late(self) -> None:
        await asyncio.sleep(HELD_AT_MOST_S)
        self._timer = None
        await self.release()

    async def release(self) -> None:
        """Send what is held back."""
        if self._timer is not None:
            self._timer.cancel()
        if self._waiting is not None:
            waiting, self._waiting = self._waiting, None
            await self._send(waiting)


async def _refuse(send: Send, exc: BackendError) -> None:
    await send(
        {"type": "http.response.start", "status": exc.status, "headers": [(b"content-type", b"text/plain")]}
    )
    await send({"type": "http.response.body", "body": exc.detail.encode()})


if __name__ == "__main__":
    sys.exit(main())
