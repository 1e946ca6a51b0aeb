"""Serve a legacy and a new app whose faults can be switched on and off, row by row, while they serve.

New reads the file ``fault.ROW`` at every request, which holds words such as ``raise 10%`` or ``block 2``.
``gateway serve`` runs as its users run it, in processes of its own, with as many workers as asked.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

import httpx

from gateway.rollout.evidence import Evidence
from gateway.rollout.persistence import evidence_of
from gateway.store import Ledger, Scope, StoreUnavailable, locate
from gateway.table.compile import route_id
from tests.faults.load import Asked
from tests.projects import BACKENDS, Project, make_project
from tests.running import free_port, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from gateway.store import EventRecord, PositionRecord

T = TypeVar("T")

ROWS = (
    *("steady", "breaking", "guarded", "waiting", "tenth", "slow", "hanging", "blocking"),
    *("walking", "wrong", "edited", "kept", "led", "stopped", "filling"),
)
"""The rows that both apps serve alike, as ``/ROW/{item_id}``: a test takes one for itself."""

LEGACY = """
    import os, pathlib, sqlite3
    from flask import Flask, jsonify, request

    app = Flask(__name__)
    orders = str(pathlib.Path(__file__).with_name("orders.db"))
    with sqlite3.connect(orders) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE IF NOT EXISTS orders (request_id text, side text)")

    def item(item_id):
        return jsonify(id=item_id, name=f"item {item_id}", tags=["a", "b"])

    for row in ROWS:
        app.add_url_rule(f"/{row}/<int:item_id>", row, item)

    @app.post("/orders")
    def order():
        with sqlite3.connect(orders, timeout=60) as connection:
            connection.execute("PRAGMA synchronous = OFF")
            connection.execute("INSERT INTO orders VALUES (?, 'legacy')", [request.headers["X-Request-Id"]])
        connection.close()
        return jsonify(ok=True), 201
"""
NEW = """
    import asyncio, hashlib, os, pathlib, sqlite3, time
    from fastapi import FastAPI, Request

    app = FastAPI(openapi_url=None)
    folder = pathlib.Path(__file__).parent

    def fault_of(row, user):
        switch = folder / f"fault.{row}"
        words = switch.read_text().split() if switch.exists() else []
        if words and words[-1].endswith("%"):
            digest = hashlib.sha256(user.encode()).digest()
            if int.from_bytes(digest[:4], "big") % 100 >= int(words.pop()[:-1]):
                return "", 0.0
        kind, seconds, *_ = [*words, "", "0"] if len(words) < 2 else words
        if kind in ("block", "exit"):
            switch.write_text("")
        return kind, float(seconds or 0)

    def make(row):
        async def item(item_id: int, request: Request):
            kind, seconds = fault_of(row, request.headers.get("x-user", ""))
            if kind == "raise":
                raise RuntimeError("broken on purpose")
            if kind == "slow":
                await asyncio.sleep(seconds)
            if kind == "hang":
                await asyncio.sleep(3600)
            if kind == "block":
                time.sleep(seconds)
            if kind == "exit":
                os._exit(7)
            name = f"thing {item_id}" if kind == "wrong" else f"item {item_id}"
            return {"id": item_id, "name": name, "tags": ["a", "b"]}
        return item

    for row in ROWS:
        app.get(f"/{row}/{{item_id}}")(make(row))

    @app.post("/orders", status_code=201)
    async def order(request: Request):
        with sqlite3.connect(folder / "orders.db", timeout=60) as connection:
            connection.execute("INSERT INTO orders VALUES (?, 'new')", [request.headers["x-request-id"]])
        return {"ok": True}
"""
HEAD = BACKENDS + 'server: {trusted_proxies: [127.0.0.1]}\ndefaults: {sticky: ["header:x-user"]}\n'
"""The load is believed what it says of its requests' ids."""

TOKEN = "lab-token"


def key_of(row: str) -> str:
    """Return a row's canonical key."""
    return f"GET /{row}/{{item_id:int}}"


def item(row: str, number: int, *, user: str = "") -> Asked:
    """Return a request for one item; its good answer is the same from either side, but for a line feed."""
    body = f'{{"id":{number},"name":"item {number}","tags":["a","b"]}}'
    return Asked(f"/{row}/{number}", body.encode(), user or f"u{number}")


def order(number: int) -> Asked:
    """Return a request that writes one row, under the request's id."""
    return Asked("/orders", b'{"ok":true}', f"u{number}", "POST")


@dataclass
class Lab:
    """Be a project and the gateway that serves it."""

    project: Project
    options: tuple[str, ...] = ()
    environ: Mapping[str, str] = field(default_factory=dict)
    store: str | None = None
    head: str = HEAD
    process: subprocess.Popen[bytes] | None = None
    _ledger: Ledger | None = None
    port: int = field(default_factory=free_port)
    admin_port: int = field(default_factory=free_port)

    @property
    def folder(self) -> Path:
        """Return the project's folder."""
        return self.project.folder

    @property
    def url(self) -> str:
        """Return the gateway's base URL."""
        return f"http://127.0.0.1:{self.port}"

    def break_new(self, row: str, fault: str) -> None:
        """Switch new's fault on a row: ``raise``, ``slow 0.3``, ``hang``, ``wrong``, or none (an empty text).

        ``10%`` at its end keeps it to the callers whose hash is in a tenth. ``block 2`` and ``exit`` happen
        once.
        """
        fresh = self.folder / f"fault.{row}.fresh"
        fresh.write_text(fault)
        fresh.rename(self.folder / f"fault.{row}")

    def write_routes(self, routes: str) -> None:
        """Replace the table's rows, as a person's editor does."""
        self.project.write_table(f"routes:\n{routes}", self.head)

    def text(self) -> str:
        """Return what the gateway has printed so far."""
        return (self.folder / "serve.log").read_text(encoding="utf-8", errors="replace")

    def status(self, path: str = "/api/status") -> Any:
        """Return what the admin listener says."""
        url = f"http://127.0.0.1:{self.admin_port}{path}"
        return httpx.get(url, headers={"X-Gateway-Token": TOKEN}, timeout=10).json()

    def dropped(self) -> dict[str, int]:
        """Return the comparisons that did not come about, by reason."""
        dropped: dict[str, int] = self.status("/api/differences")["dropped"]
        return dropped

    def worker_pids(self) -> set[int]:
        """Return the process ids of the workers that serve."""
        return {worker["pid"] for worker in self.status()["workers"] if worker["state"] == "serving"}

    def ask(self, question: Callable[[Ledger], T]) -> T:
        """Ask the state. Raises :class:`StoreUnavailable` where it cannot be read now."""
        if self._ledger is not None and self._ledger.is_gone:
            self._ledger.close()
            self._ledger = None
        if self._ledger is None:
            self._ledger = Ledger(locate(self.store, self.project.table))
        return question(self._ledger)

    def events(self, row: str, *kinds: str) -> list[EventRecord]:
        """Return a row's events of these kinds (all without any), oldest first."""
        events = self.ask(lambda ledger: ledger.events(route_id=route_id(key_of(row)), limit=1000))
        return [event for event in reversed(events) if not kinds or event.kind in kinds]

    def position(self, row: str) -> PositionRecord | None:
        """Return where a row stands; None before the controller's first turn."""
        return next((each for each in self.ask(Ledger.positions) if each.key == key_of(row)), None)

    def stage(self, row: str) -> str:
        """Return the stage where a row stands; empty where that is not known now."""
        with contextlib.suppress(StoreUnavailable):
            position = self.position(row)
            return position.stage if position is not None else ""
        return ""

    def evidence(self, row: str, *runs: int) -> Evidence:
        """Return what the store knows of a row over all steps of these runs (0 and 1 without any).

        Run 0 is what a worker has counted before it read where the row stands.
        """
        scopes = [Scope(route_id(key_of(row)), run, "") for run in runs or (0, 1)]
        found = self.ask(lambda ledger: ledger.evidence(scopes))
        return sum(map(evidence_of, found.values()), Evidence())

    def orders(self) -> list[tuple[str, str]]:
        """Return the rows that were written, as (request id, side)."""
        with contextlib.closing(sqlite3.connect(self.folder / "orders.db")) as connection:
            return connection.execute("SELECT request_id, side FROM orders").fetchall()

    def start(self) -> None:
        """Start ``gateway serve``, and wait until it is ready."""
        dropped = {"GATEWAY_CONFIG", "FORCE_COLOR", "PYTHONWARNINGS"}
        environ = {name: value for name, value in os.environ.items() if name not in dropped}
        argv = [sys.executable, "-m", "gateway", "serve", "--port", str(self.port)]
        argv += ["--admin", str(self.admin_port), *self.options]
        with (self.folder / "serve.log").open("ab") as sink:
            self.process = subprocess.Popen(
                argv,
                cwd=self.folder,
                env=environ | {"GATEWAY_ADMIN_TOKEN": TOKEN} | dict(self.environ),
                stdout=sink,
                stderr=subprocess.STDOUT,
            )
        wait_until(self._is_ready, timeout_s=90, what="the gateway's readiness")

    def signal(self, number: int) -> None:
        """Send a signal to the supervisor."""
        assert self.process is not None
        self.process.send_signal(number)

    def stop(self) -> float:
        """Stop it as an operator does; return how many seconds it took."""
        process, self.process = self.process, None
        if process is None:
            return 0.0
        began = time.monotonic()
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(5)
            raise
        return time.monotonic() - began

    def close(self) -> None:
        """Let go of the state."""
        if self._ledger is not None:
            self._ledger.close()
            self._ledger = None

    def _is_ready(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, f"gateway serve ended:\n{self.text()}"
        with contextlib.suppress(httpx.TransportError):
            return httpx.get(f"{self.url}/-/ready", timeout=2).status_code == 200
        return False


@contextlib.contextmanager
def serving(
    folder: Path,
    routes: str,
    *options: str,
    store: str | None = None,
    environ: Mapping[str, str] | None = None,
) -> Iterator[Lab]:
    """Serve the rows that ``routes`` lists (below ``routes:``) until the block ends."""
    head = HEAD if store is None else f"{HEAD}store: {store}\n"
    legacy, new = (source.replace("ROWS", repr(ROWS)) for source in (LEGACY, NEW))
    lab = Lab(
        make_project(folder, legacy, new, f"routes:\n{routes}", head), options, environ or {}, store, head
    )
    lab.start()
    try:
        yield lab
    finally:
        lab.stop()
        lab.close()
