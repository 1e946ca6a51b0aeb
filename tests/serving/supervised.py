"""Start `gateway serve` as its users do, on a stub application, and know its workers."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.running import free_port, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

STUB = """
import asyncio, os, pathlib, time

VERSION = "one"

class Stub:
    answered = 0

    def report(self):
        route = {"id": "0123456789ab", "key": "GET /x", "stage": "new", "counts": {"new": self.answered}}
        backends = {"legacy": "wsgi old:app", "new": "asgi new:app"}
        return {"generation": 1, "digest": "d1", "routes": [route], "backends": backends}

    def refresh(self):
        pathlib.Path(f"refreshed-{os.getpid()}").touch()

    async def carry_out(self, order):
        from gateway.errors import OrderRefused
        if order["verb"] not in ("promote", "hold"):
            raise OrderRefused(503, "there is no store")
        pathlib.Path(f"asked-{os.getpid()}").touch()
        reason = order["reason"]
        if reason == "die once" and not pathlib.Path("dead").exists():
            pathlib.Path("dead").touch()
            os._exit(9)
        if reason == "hang":
            await asyncio.sleep(60)
        if reason == "refuse":
            raise OrderRefused(409, "not like this")
        if reason == "crash":
            raise RuntimeError("what nobody should read")
        return {"changed": reason != "nothing", "pid": os.getpid(), "text": "x" * int(order.get("to") or 0)}

    async def __call__(self, scope, receive, send):
        if scope["type"] == "lifespan":
            while True:
                message = await receive()
                await send({"type": message["type"] + ".complete"})
                if message["type"].endswith("shutdown"):
                    pathlib.Path(f"shut-{os.getpid()}").touch()
                    return
        path = scope["path"]
        if path.startswith("/sleep/"):
            pathlib.Path("sleeping").touch()
            await asyncio.sleep(float(path.rpartition("/")[2]))
        elif path == "/stuck-thread":
            pathlib.Path("sleeping").touch()
            await asyncio.to_thread(time.sleep, 60)
        elif path == "/stuck-loop":
            pathlib.Path("sleeping").touch()
            time.sleep(60)
        elif path == "/exit":
            os._exit(7)
        self.answered += 1
        body = f"{os.getpid()} {VERSION}".encode()
        headers = [(b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

def create(config):
    from gateway.errors import TableError, Problem, Severity
    if pathlib.Path("broken").exists():
        raise TableError([Problem(Severity.ERROR, "routing.yaml", 3, "GET /x", "it is broken", "mend it")])
    if pathlib.Path("crashing").exists():
        os.kill(os.getpid(), 9)
    return Stub()
"""


@dataclass
class Served:
    """Be one running `gateway serve`."""

    process: subprocess.Popen[str]
    port: int
    admin_port: int
    folder: Path
    output: list[str] = field(default_factory=list)

    def get(self, path: str = "/", timeout_s: float = 10) -> tuple[int, str, str]:
        """Return status, body and the Connection header of one request on a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout_s)
        with contextlib.closing(connection):
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read().decode(), response.getheader("connection") or ""

    def status(self) -> dict[str, Any]:
        """Return what the admin listener says of the workers."""
        connection = http.client.HTTPConnection("127.0.0.1", self.admin_port, timeout=10)
        with contextlib.closing(connection):
            connection.request("GET", "/api/status", headers={"X-Gateway-Token": "secret"})
            status: dict[str, Any] = json.loads(connection.getresponse().read())
            return status

    def order(self, verb: str, **order: str) -> tuple[int, dict[str, Any]]:
        """Put an order to the admin listener; return the status and the answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.admin_port, timeout=10)
        with contextlib.closing(connection):
            path, headers = f"/api/routes/0123456789ab/{verb}", {"X-Gateway-Token": "secret"}
            connection.request("POST", path, json.dumps(order), headers)
            response = connection.getresponse()
            answer: dict[str, Any] = json.loads(response.read())
            return response.status, answer

    def worker_pids(self) -> set[int]:
        """Return the process ids of the workers that serve."""
        return {worker["pid"] for worker in self.status()["workers"] if worker["state"] == "serving"}

    def answers(self) -> bool:
        """Tell whether a request is answered."""
        with contextlib.suppress(OSError, http.client.HTTPException):
            return self.get()[0] == 200
        return False

    def wait_for_output(self, text: str) -> None:
        """Wait until ``text`` has been printed, on either stream."""
        wait_until(lambda: text in "".join(self.output), what=f"the output {text!r}")

    def stop(self, number: int = signal.SIGTERM) -> tuple[int, float]:
        """Send the signal; return the exit status and how many seconds it took."""
        began = time.monotonic()
        self.process.send_signal(number)
        return self.process.wait(20), time.monotonic() - began


def write_stub(folder: Path) -> None:
    """Write the stub application into ``folder``."""
    (folder / "stub_gateway.py").write_text(STUB)


def command(verb: str, *options: str) -> list[str]:
    """Return the command line of ``gateway <verb>`` on the stub application."""
    return [sys.executable, "-m", "gateway", verb, "--app", "stub_gateway:create", *options]


def environment() -> dict[str, str]:
    """Return the environment for a gateway in another working directory than the repository's."""
    root = Path(__file__).resolve().parents[2]
    return {
        **os.environ,
        "PYTHONPATH": str(root),
        "GATEWAY_ADMIN_TOKEN": "secret",
        "PYTHONWARNINGS": "default",
    }


@contextlib.contextmanager
def serving(folder: Path, *options: str, verb: str = "serve") -> Iterator[Served]:
    """Run ``gateway <verb>`` in ``folder`` until it says that it serves; kill what is left at the end."""
    write_stub(folder)
    port, admin_port = free_port(), free_port()
    process = subprocess.Popen(
        command(verb, "--port", str(port), "--admin", str(admin_port), *options),
        cwd=folder,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    served = Served(process, port, admin_port, folder)
    reader = threading.Thread(target=_collect, args=(process, served.output), daemon=True)
    reader.start()
    try:
        wait_until(
            lambda: "Ctrl-C stops" in "".join(served.output) or process.poll() is not None, timeout_s=30
        )
        assert process.poll() is None, "".join(served.output)
        yield served
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        reader.join(5)


def _collect(process: subprocess.Popen[str], lines: list[str]) -> None:
    assert process.stdout is not None
    lines.extend(process.stdout)
    process.stdout.close()


def is_alive(pid: int) -> bool:
    """Tell whether the process exists and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
