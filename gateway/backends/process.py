"""Be a backend whose server is a process of its own, started, watched and restarted by the gateway.

For an app that needs another Python, other versions of the same libraries, or clashing module names. Each
worker starts its own process, on a loopback port of its own, and forwards to it as to any upstream. The law:
the process lives exactly as long as the backend. It has its own process group, so that nothing meant for the
gateway's terminal reaches it and all its children can be ended; on Linux the kernel sends it SIGTERM when
the worker dies in whatever way. When it exits it is started again, after a wait that doubles from
:data:`FIRST_BACKOFF_S` to :data:`LAST_BACKOFF_S`; what comes meanwhile is answered 502.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import logging
import os
import shutil
import signal
import socket
import sys
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.backends.base import Health
from gateway.backends.upstream import Upstream
from gateway.errors import BackendUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from gateway.backends.base import Receive, Scope, Send

START_TIMEOUT_S = 30.0
FIRST_BACKOFF_S = 0.2
LAST_BACKOFF_S = 15.0
STEADY_S = 10.0
"""A process that lived this long was healthy: the next wait is the first again."""

_OUTPUT_LINES = 20
_LINE_LIMIT_BYTES = 65_536
_POLL_S = 0.05
_PR_SET_PDEATHSIG = 1


class ManagedProcess:
    """Start ``argv`` and forward to it; see :class:`~gateway.backends.upstream.Upstream` for the rest.

    ``{address}`` in an argument becomes ``127.0.0.1:PORT``, ``{host}`` and ``{port}`` its parts; likewise
    in the values of ``env``, which is added to the worker's environment. Raises ``ValueError`` when neither
    says where to listen.
    """

    def __init__(
        self,
        argv: Sequence[str],
        *,
        pool: int = 100,
        connect_timeout_s: float = 2.0,
        root_path: str = "",
        name: str = "legacy",
        cwd: str | Path | None = None,
        env: Mapping[str, str] | None = None,
        start_timeout_s: float = START_TIMEOUT_S,
    ) -> None:
        if not argv:
            raise ValueError("a command needs at least the program's name")
        if not any("{address}" in word or "{port}" in word for word in (*argv, *(env or {}).values())):
            raise ValueError("no argument holds {address} or {port}: the process would not know its port")
        self.name = name
        self.argv = tuple(argv)
        self.restarts = 0
        self._cwd = cwd
        self._env = dict(env or {})
        self._start_timeout_s = start_timeout_s
        self._make_upstream: Callable[[str], Upstream] = lambda address: Upstream(
            f"http://{address}",
            pool=pool,
            connect_timeout_s=connect_timeout_s,
            root_path=root_path,
            name=name,
        )
        self._upstream: Upstream | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._reason = "it has not been started"
        self._output: deque[str] = deque(maxlen=_OUTPUT_LINES)
        self._reader: asyncio.Task[None] | None = None
        self._watcher: asyncio.Task[None] | None = None
        self._logger = logging.getLogger(f"gateway.process.{name}")

    @property
    def pid(self) -> int | None:
        """Return the process's id while it runs."""
        running = self._process is not None and self._process.returncode is None
        return self._process.pid if running and self._process is not None else None

    async def start(self) -> None:
        """Start the process and wait until it accepts connections.

        Raises :class:`BackendUnavailable` with the end of its output when it exits first, or takes longer
        than ``start_timeout_s``.
        """
        try:
            await self._launch()
        except BackendUnavailable:
            await self._end(grace_s=1.0)
            raise
        self._watcher = asyncio.create_task(self._watch(), name=f"watch the {self.name} process")

    async def stop(self, grace_s: float) -> None:
        """Let requests finish, then end the process: SIGTERM, and SIGKILL after ``grace_s`` seconds."""
        self._reason = "it is being stopped"
        deadline = asyncio.get_running_loop().time() + grace_s
        if self._watcher is not None:
            self._watcher.cancel()
            await asyncio.wait((self._watcher,))
        if self._upstream is not None:
            await self._upstream.stop(grace_s)
        await self._end(max(deadline - asyncio.get_running_loop().time(), 0.2))

    def health(self) -> Health:
        """Return whether the process runs and takes connections; if not, why, and since how many restarts."""
        facts: dict[str, int | float | str] = {"command": " ".join(self.argv), "restarts": self.restarts}
        if self.pid is not None:
            facts["pid"] = self.pid
        if self._reason or self._upstream is None:
            return Health(False, self._reason, facts)
        health = self._upstream.health()
        return Health(health.is_ok, health.reason, {**health.facts, **facts})

    async def probe(self) -> Health:
        """Return the health after a TCP connection made for the purpose."""
        if not self._reason and self._upstream is not None:
            await self._upstream.probe()
        return self.health()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Forward one request; raise :class:`BackendUnavailable` while the process is down."""
        if self._reason or self._upstream is None:
            raise BackendUnavailable(self.name, f"the {self.name} process is not running: {self._reason}")
        await self._upstream(scope, receive, send)

    async def _launch(self) -> None:
        host, port = "127.0.0.1", _free_port()
        address = f"{host}:{port}"
        words = {"{address}": address, "{host}": host, "{port}": str(port)}
        argv = [_filled(word, words) for word in self.argv]
        environ = os.environ | {name: _filled(value, words) for name, value in self._env.items()}
        self._output.clear()
        program = _found(argv[0], self._cwd, environ)
        if program is None:
            raise BackendUnavailable(
                self.name, f"the {self.name} process cannot start: no program {argv[0]!r}"
            )
        try:
            self._process = await asyncio.create_subprocess_exec(
                program,
                *argv[1:],
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
                cwd=self._cwd,
                env=environ,
                start_new_session=True,
                preexec_fn=_death_with_parent(os.getpid()),
                limit=_LINE_LIMIT_BYTES,
            )
        except OSError as exc:
            raise BackendUnavailable(
                self.name, f"the {self.name} process cannot start: {argv[0]}: {exc.strerror}"
            ) from exc
        assert self._process.stdout is not None  # noqa: S101 - it was asked for; this tells the type checker
        self._reader = asyncio.create_task(self._log_output(self._process.stdout))
        await self._accepting(host, port)
        if self._upstream is not None:
            await self._upstream.stop(0)
        self._upstream = self._make_upstream(address)
        self._reason = ""
        self._logger.info("process %d listens on %s", self._process.pid, address)

    async def _accepting(self, host: str, port: int) -> None:
        """Wait until the process accepts connections at ``host``:``port``."""
        assert self._process is not None  # noqa: S101 - _launch has just made it
        exited = asyncio.create_task(self._process.wait())
        try:
            async with asyncio.timeout(self._start_timeout_s):
                while not exited.done():
                    try:
                        _, writer = await asyncio.open_connection(host, port)
                    except OSError:
                        await asyncio.wait((exited,), timeout=_POLL_S)
                    else:
                        writer.close()
                        return
        except TimeoutError as exc:
            raise BackendUnavailable(
                self.name,
                f"the {self.name} process accepted no connection at {host}:{port} within "
                f"{self._start_timeout_s:g} s{self._last_lines()}",
            ) from exc
        finally:
            exited.cancel()
        if self._reader is not None:
            await asyncio.wait((self._reader,), timeout=1.0)
        raise BackendUnavailable(
            self.name,
            f"the {self.name} process ended ({_ending(self._process.returncode)}) before it "
            f"accepted connections{self._last_lines()}",
        )

    def _last_lines(self) -> str:
        if not self._output:
            return "; it wrote nothing"
        return "; it last wrote:\n" + "\n".join(f"  {line}" for line in self._output)

    async def _log_output(self, stream: asyncio.StreamReader) -> None:
        while True:
            try:
                raw = await stream.readline()
            except ValueError:  # a line over the limit: its pieces so far are thrown away
                continue
            if not raw:
                return
            line = raw.decode("utf-8", "replace").rstrip()
            self._output.append(line)
            self._logger.info("%s", line)

    async def _watch(self) -> None:
        """Start the process again whenever it ends."""
        loop = asyncio.get_running_loop()
        backoff_s = FIRST_BACKOFF_S
        while True:
            assert self._process is not None  # noqa: S101 - start() has launched it
            since = loop.time()
            code = await self._process.wait()
            if loop.time() - since > STEADY_S:
                backoff_s = FIRST_BACKOFF_S
            self._reason = f"it ended ({_ending(code)}) and is being restarted"
            self._logger.error("process %d ended: %s", self._process.pid, _ending(code))
            _signal_group(self._process.pid, signal.SIGKILL)  # children that outlived it would hold its port
            while True:
                await asyncio.sleep(backoff_s)
                backoff_s = min(backoff_s * 2, LAST_BACKOFF_S)
                self.restarts += 1
                try:
                    await self._launch()
                except BackendUnavailable as exc:
                    self._reason = f"{exc.detail.partition(chr(10))[0]}; next try in {backoff_s:g} s"
                    self._logger.error("%s", exc.detail)
                    await self._end(grace_s=1.0)
                else:
                    break

    async def _end(self, grace_s: float) -> None:
        """End the process and its group, and what reads its output."""
        process = self._process
        if process is not None:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.terminate()
                try:
                    async with asyncio.timeout(grace_s):
                        await process.wait()
                except TimeoutError:
                    self._logger.warning("process %d did not end on SIGTERM, and is killed", process.pid)
            _signal_group(process.pid, signal.SIGKILL)
            await process.wait()
        if self._reader is not None:
            await asyncio.wait((self._reader,), timeout=1.0)
            self._reader.cancel()
            self._reader = None


def _filled(word: str, words: Mapping[str, str]) -> str:
    for name, value in words.items():
        word = word.replace(name, value)
    return word


def _found(program: str, cwd: str | Path | None, environ: Mapping[str, str]) -> str | None:
    if os.sep in program:
        path = Path(cwd or ".") / program
        return str(path.absolute()) if path.is_file() else None
    beside_python = str(Path(sys.executable).parent)  # an environment that runs without being activated
    return shutil.which(program, path=environ.get("PATH")) or shutil.which(program, path=beside_python)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _ending(code: int | None) -> str:
    if code is not None and code < 0:
        with contextlib.suppress(ValueError):
            return f"killed by {signal.Signals(-code).name}"
    return f"exit status {code}"


def _signal_group(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)


def _death_with_parent(parent: int) -> Callable[[], None] | None:
    """Return what makes the kernel end the child with the worker (Linux; elsewhere None).

    The function runs between fork and exec, where only plain system calls are safe: the library is
    loaded here. ``PR_SET_PDEATHSIG`` follows the *thread* that forked; the event loop's lives as long
    as the worker.
    """
    if not sys.platform.startswith("linux"):
        return None
    prctl = ctypes.CDLL(None, use_errno=True).prctl

    def die_with_parent() -> None:
        # SIGKILL would spare the children of a pre-forking server.
        prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # it died before the call took effect
            os._exit(1)

    return die_with_parent
