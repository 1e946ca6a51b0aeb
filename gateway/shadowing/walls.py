"""Tell a watcher of whatever leaves this process: calls to others, processes, threads. It may refuse them.

Law: a wall lets everything pass whose context is not watched, at the price of one look into a context
variable. It is raised with the first watched call of the process and stays.

New connections and processes are seen by an audit hook (PEP 578), and on uvloop, which connects without
Python's sockets, in its own methods; threads where they start. What goes out on a connection that was open
before has no such hook: it is seen where sockets, asyncio's streams and the common clients send. A client
that does neither - its sockets in C, a connection kept open by a transport of its own - is not seen;
docs/operating.md says so. Background tasks of Starlette may be put off. Logs may leave.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import functools
import logging
import logging.handlers
import socket
import ssl
import sys
import threading
from contextvars import Context
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from gateway.shadowing.watching import WATCHER, Watcher

if TYPE_CHECKING:
    from collections.abc import Callable

_LOGGING_FILES = frozenset({logging.__file__, logging.handlers.__file__})

# Threads that serve whoever hands them work, in the context of who did.
_POOLS = frozenset({"anyio._backends._asyncio", "concurrent.futures.thread", "aiosqlite.core"})

_WAKE_UP = b"\0"

_raised: set[str] = set()
_lock = threading.Lock()


def raise_walls(loop: asyncio.AbstractEventLoop) -> None:
    """See that every wall stands that there is a reason for by now. Cheap when they do."""
    with _lock:
        if not _raised:
            sys.addaudithook(_audit)
            _wall_sockets()
            _wall_threads()
            _wall_executors()
            _wall_background_tasks()
        _once(f"loop {type(loop).__qualname__}", lambda: _wall_loop(type(loop)))
        for module, raise_wall in _CLIENTS.items():
            if module in sys.modules:
                _once(module, functools.partial(raise_wall, sys.modules[module]))


def _once(name: str, raise_wall: Callable[[], None]) -> None:
    if name not in _raised:
        _raised.add(name)
        raise_wall()


# New connections and processes.

_AUDITED: dict[str, Callable[[Watcher, tuple[Any, ...]], None]] = {}


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    check = _AUDITED.get(event)
    if check is not None:
        watcher = WATCHER.get()
        if watcher is not None:
            check(watcher, arguments)


def _check_address(watcher: Watcher, arguments: tuple[Any, ...]) -> None:
    if not _is_logging():
        watcher.refuse(f"connected to {_address(arguments[-1])}")


def _check_process(watcher: Watcher, arguments: tuple[Any, ...]) -> None:
    watcher.refuse(f"started a process: {_program(arguments[0]) if arguments else 'by fork'}")


def _check_sqlite(watcher: Watcher, arguments: tuple[Any, ...]) -> None:
    if not watcher.is_connecting():
        watcher.refuse(f"opened a SQLite database by itself: {arguments[0]}")


_AUDITED.update(dict.fromkeys(("socket.connect", "socket.sendto", "socket.sendmsg"), _check_address))
_AUDITED.update(
    dict.fromkeys(
        ("subprocess.Popen", "os.system", "os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn"),
        _check_process,
    )
)
_AUDITED["sqlite3.connect"] = _check_sqlite


def _wall_loop(kind: type[asyncio.AbstractEventLoop]) -> None:
    """Refuse what a loop of its own kind does without Python's sockets; asyncio's own uses those."""
    if issubclass(kind, asyncio.BaseEventLoop):
        return
    for name in ("create_connection", "create_unix_connection", "create_datagram_endpoint", "sock_connect"):
        _wall(kind, name, "connected to", lambda args, named: _address((*args, *named.values())))
    for name in ("sock_sendall", "sock_sendto"):
        _wall(kind, name, "sent something to", lambda args, _named: _peer(args[0]))
    for name in ("subprocess_exec", "subprocess_shell"):
        _wall(kind, name, "started a process:", lambda args, _named: _program(*args[2:3]))


# Connections that are open already.


def _wall_sockets() -> None:
    for kind, names in ((socket.socket, ("send", "sendall", "sendfile")), (ssl.SSLSocket, ("send", "write"))):
        for name in names:
            _wall_socket(kind, name)
    for name in ("write", "writelines"):
        _wall(asyncio.StreamWriter, name, "sent something to", _peer_of_self)


def _wall_socket(kind: type[socket.socket], name: str) -> None:
    original = getattr(kind, name)

    @functools.wraps(original)
    def walled(self: socket.socket, *args: Any, **named: Any) -> Any:
        watcher = WATCHER.get()
        if watcher is not None and not _is_wake_up(self, args) and not _is_logging():
            watcher.refuse(f"sent something to {_peer(self)}")
        return original(self, *args, **named)

    setattr(kind, name, walled)


def _is_wake_up(self: socket.socket, args: tuple[Any, ...]) -> bool:
    """Tell whether an event loop wakes itself, which asyncio's does through a pair of sockets."""
    return self.family == getattr(socket, "AF_UNIX", None) and args == (_WAKE_UP,)


def _wall_anyio(backend: Any) -> None:
    for kind in ("SocketStream", "UNIXSocketStream", "ConnectedUDPSocket", "UDPSocket"):
        if hasattr(backend, kind):
            _wall(getattr(backend, kind), "send", "sent something to", _peer_of_self)


def _wall_httpx(module: Any) -> None:
    def asked(args: tuple[Any, ...], _named: dict[str, Any]) -> str:
        return f"{args[1].method} {_origin(args[1].url)}" if len(args) > 1 else "somebody by HTTP"

    _wall(module.HTTPTransport, "handle_request", "called", asked)
    _wall(module.AsyncHTTPTransport, "handle_async_request", "called", asked)


def _wall_aiohttp(module: Any) -> None:
    def asked(args: tuple[Any, ...], _named: dict[str, Any]) -> str:
        return f"{args[1]} {_origin(args[2])}" if len(args) > 2 else "somebody by HTTP"

    _wall(module.ClientSession, "_request", "called", asked)


_CLIENTS: dict[str, Callable[[Any], None]] = {
    "anyio._backends._asyncio": _wall_anyio,
    "httpx": _wall_httpx,
    "aiohttp": _wall_aiohttp,
}


# Work that is handed on.


def _wall_threads() -> None:
    """Refuse threads but those of pools; those have no context of their own, and run in that of who asks."""
    start = threading.Thread.start

    @functools.wraps(start)
    def walled(self: threading.Thread) -> None:
        watcher = WATCHER.get()
        if watcher is None:
            start(self)
            return
        target = getattr(self, "_target", None)
        if _POOLS.isdisjoint({type(self).__module__, getattr(target, "__module__", "")}):
            watcher.refuse(f"started a thread: {getattr(target, '__qualname__', type(self).__qualname__)}")
        # It outlives what is watched: where threads inherit a context, it must not be this one.
        Context().run(start, self)

    threading.Thread.start = walled  # type: ignore[method-assign] # the wall


def _wall_executors() -> None:
    """See a thread pool's work as that of who handed it in; tell of another process's."""
    submit: Any = concurrent.futures.ThreadPoolExecutor.submit

    @functools.wraps(submit)
    def in_context(self: Any, fn: Any, /, *args: Any, **named: Any) -> Any:
        watcher = WATCHER.get()
        return submit(self, fn if watcher is None else watcher.in_pool(fn), *args, **named)

    concurrent.futures.ThreadPoolExecutor.submit = in_context  # type: ignore[method-assign] # the wall
    _wall(
        concurrent.futures.ProcessPoolExecutor,
        "submit",
        "handed work to another process:",
        lambda args, _named: getattr(args[1], "__qualname__", "") if len(args) > 1 else "",
    )


def _wall_background_tasks() -> None:
    from starlette.background import BackgroundTask, BackgroundTasks

    for kind in (BackgroundTask, BackgroundTasks):
        _postpone(kind)


def _postpone(kind: type[Any]) -> None:
    original = kind.__call__

    @functools.wraps(original)
    async def postponing(self: Any) -> None:
        watcher = WATCHER.get()
        if watcher is None:
            await original(self)
            return
        tasks = getattr(self, "tasks", (self,))
        names = [getattr(each.func, "__qualname__", repr(each.func)) for each in tasks]
        if not any([watcher.postpones(name) for name in names]):  # noqa: C419 - each is to be told of
            await original(self)

    kind.__call__ = postponing


# Common to all.


def _wall(
    kind: Any, name: str, deed: str, object_of: Callable[[tuple[Any, ...], dict[str, Any]], str]
) -> None:
    """Tell of calls of ``kind``'s method ``name``, worded as ``deed`` and what ``object_of`` says."""
    original = getattr(kind, name)

    @functools.wraps(original)
    def walled(*args: Any, **named: Any) -> Any:
        watcher = WATCHER.get()
        if watcher is not None and not _is_logging():
            watcher.refuse(f"{deed} {object_of(args, named)}")
        return original(*args, **named)

    setattr(kind, name, walled)


def _is_logging() -> bool:
    """Tell whether a handler of ``logging`` is at work: what it sends is no effect of the request."""
    frame = sys._getframe(1)
    while frame is not None:
        if frame.f_code.co_filename in _LOGGING_FILES:
            return True
        frame = frame.f_back  # type: ignore[assignment] # the outermost frame has none, which ends the loop
    return False


def _peer_of_self(args: tuple[Any, ...], _named: dict[str, Any]) -> str:
    transport = getattr(args[0], "_transport", None)
    name = transport.get_extra_info("peername") if transport is not None else None
    return _address(name) if name else "a connection that was open before"


def _peer(sock: Any) -> str:
    try:
        return _address(sock.getpeername())
    except (OSError, AttributeError):
        return "a socket"


def _origin(url: Any) -> str:
    """Return who a URL leads to; its path and query may hold what nobody should read."""
    parts = urlsplit(str(url))
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def _program(command: Any = "") -> str:
    """Return the program of a command line, without its arguments."""
    text = command.decode("utf-8", "replace") if isinstance(command, bytes) else str(command)
    return text.split(" ", 1)[0] or "by fork"


def _address(address: Any) -> str:
    if isinstance(address, tuple) and len(address) >= 2 and isinstance(address[0], str | bytes):
        host = address[0].decode("latin-1") if isinstance(address[0], bytes) else address[0]
        return f"{host}:{address[1]}"
    if isinstance(address, tuple):
        named = [each for each in address if isinstance(each, str | int) and not isinstance(each, bool)]
        return ":".join(map(str, named[:2])) or "somebody"
    return str(address) or "somebody"
