"""Be one worker process: hear the supervisor, import both apps, serve until told to stop.

The heavy imports come late, inside :func:`_serve`, so that a worker hears orders, and can report why it
failed, from its first milliseconds. A worker whose control socket closes has lost its supervisor: it drains
and goes, so that nothing is left behind.
"""

from __future__ import annotations

import argparse
import contextlib
import faulthandler
import logging
import os
import signal
import socket
import sys
import traceback
from typing import TYPE_CHECKING, Any

from gateway.errors import BackendError, GatewayError
from gateway.processes.control import DEFAULT_APP, START_FAILED, Control
from gateway.processes.journal import configure_journal

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

KEEP_ALIVE_S = 65
"""How long an idle connection is kept: longer than common load balancers' 60 s, who must close first."""

logger = logging.getLogger("gateway.processes.worker")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one worker and return its exit status; the supervisor is the only caller."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the supervisor's to hear
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    faulthandler.enable()
    options = _parse(arguments)
    listeners = [socket.socket(fileno=fd) for fd in options.listeners]
    connection = socket.socket(fileno=options.control)
    for inherited in (*listeners, connection):
        inherited.set_inheritable(False)  # what the apps start must not hold the port or hide our end
    control = Control(connection, options.grace)
    control.say({"event": "started", "pid": os.getpid()})
    configure_journal(options.log_level)
    if str(directory := os.getcwd()) not in sys.path:  # noqa: PTH109 - sys.path holds strings, and pathlib costs start-up
        sys.path.insert(0, directory)
    try:
        _serve(options, listeners, control)
    except BackendError as exc:
        return _fail(control, f"{exc.backend}: {exc.detail}{_place_of(exc.__cause__)}")
    except GatewayError as exc:
        return _fail(control, str(exc))
    except Exception as exc:
        logger.exception("the worker failed")
        return _fail(control, f"{type(exc).__name__}: {exc}")
    finally:
        for listener in listeners:
            listener.close()
    return 0


def _fail(control: Control, text: str) -> int:
    control.say({"event": "failed", "text": text})  # the supervisor prints it, once for all workers
    return START_FAILED


def _place_of(cause: BaseException | None) -> str:
    """Return a line that names where in the app its start-up failed; empty where that cannot be told."""
    frames = traceback.extract_tb(cause.__traceback__) if cause is not None else []
    own = [frame for frame in frames if "site-packages" not in frame.filename] or frames
    if not own:
        return ""
    return f"\n  at {os.path.relpath(own[-1].filename)}:{own[-1].lineno}: {own[-1].line}"


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="gateway.processes.worker", description=__doc__)
    parser.add_argument("--control", type=int, required=True, help="file descriptor of the control socket")
    parser.add_argument("--listeners", type=_numbers, required=True, help="descriptors of all bound sockets")
    parser.add_argument("--slot", type=int, default=0, help="which of the listeners is this worker's own")
    parser.add_argument("--app", default=DEFAULT_APP, help="factory that takes --config and returns the app")
    parser.add_argument("--config", default="routing.yaml")
    parser.add_argument("--grace", type=float, default=10.0)
    parser.add_argument("--log-level", default="info")
    parser.add_argument("--access-log", action="store_true")
    return parser.parse_args(arguments)


def _numbers(text: str) -> list[int]:
    return [int(number) for number in text.split(",")]


def _serve(options: argparse.Namespace, listeners: list[socket.socket], control: Control) -> None:
    import importlib
    import inspect

    import uvicorn

    from gateway.processes.server import WorkerServer

    module, _, factory = options.app.partition(":")
    with _only_first_speaks(options.slot):
        app: Any = getattr(importlib.import_module(module), factory)(options.config)
    settings: dict[str, Any] = {
        "loop": "uvloop" if _is_importable("uvloop") else "asyncio",
        "http": http_protocol(),
        "lifespan": "on",
        "backlog": 2048,
        "proxy_headers": False,  # the gateway decides whom to believe (server.trusted_proxies)
        "server_header": False,  # what an app says of itself stands alone
        "date_header": True,
        "access_log": options.access_log,
        "log_config": None,
        "timeout_keep_alive": KEEP_ALIVE_S,
        "h11_max_incomplete_event_size": 64 * 1024,
    }
    if "reset_contextvars" in inspect.signature(uvicorn.Config).parameters:
        settings["reset_contextvars"] = True
    config = uvicorn.Config(app, **settings)
    server = WorkerServer(config, app, control, listeners=listeners, slot=options.slot, grace_s=options.grace)
    server.run()


@contextlib.contextmanager
def _only_first_speaks(slot: int) -> Iterator[None]:
    """Keep all workers but the first from repeating the same warnings about the same table."""
    journal = logging.getLogger("gateway")
    level = journal.level
    if slot:
        journal.setLevel(max(level, logging.ERROR))
    try:
        yield
    finally:
        journal.setLevel(level)


def _is_importable(name: str) -> bool:
    import importlib.util

    return importlib.util.find_spec(name) is not None


def http_protocol() -> Any:
    """Return the HTTP protocol class: the gateway's own, which guards the framing, on uvicorn's httptools."""
    try:
        from gateway.serving.protocol import GuardedHttpProtocol
    except ModuleNotFoundError as exc:
        if exc.name != "gateway.serving.protocol":
            raise
        return "httptools" if _is_importable("httptools") else "h11"
    return GuardedHttpProtocol


if __name__ == "__main__":
    sys.exit(main())
