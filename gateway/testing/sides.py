"""Hold both implementations of a table in this process, each imported and started in its own environment.

They are the same backends that ``gateway serve`` would use, reached by the same guard and the same matching,
in an event loop on a thread of their own: tests may be synchronous or not. Where a database is named each
side gets a copy, which is brought back to its starting state before every test.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Literal

from anyio.from_thread import start_blocking_portal

from gateway.app import Gateway
from gateway.backends.importing import import_app
from gateway.backends.inspect import find_flask, inspect_legacy, inspect_new
from gateway.ci.databases import SqliteCopy, open_original
from gateway.ci.outbound import settled
from gateway.ci.watching import Watcher
from gateway.ci.watching.followers import follow_tasks
from gateway.ci.watching.tally import request, settle
from gateway.compare.rows import Reading, Window, written
from gateway.compat import LEGACY_APP_KEY
from gateway.errors import RequestRefused, TableError
from gateway.loading import Apps, reload_migration
from gateway.serving.guard import keep_first_cookies
from gateway.serving.paths import canonicalise
from gateway.table.inventory import LegacyInventory, NewInventory
from gateway.table.read import read_table
from gateway.table.rules_file import read_rules
from gateway.testing.answering import observe, scope_of
from gateway.testing.sessions import SessionCookies

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from anyio.from_thread import BlockingPortal

    from gateway.backends.base import AsgiApp, Receive, Scope, Send
    from gateway.ci.databases import Copy, Original
    from gateway.compare.observation import Observation, RequestRecord, RowWrite
    from gateway.compare.rows import Table
    from gateway.serving.generation import Way
    from gateway.table.route import Route, Snapshot
    from gateway.table.spec import BackendSpec, TableSpec

Side = Literal["legacy", "new"]
SIDES: tuple[Side, Side] = ("legacy", "new")
STOP_GRACE_S = 5.0


@dataclass(frozen=True, slots=True)
class Setup:
    """Say which table, and in which environment each side is imported and started.

    ``database_env`` names the variable with the database's URL, of which each side gets a copy in
    ``folder``; empty: none is copied.
    """

    config: Path
    folder: Path
    environments: Mapping[str, Mapping[str, str]]
    database_env: str = ""


@contextlib.contextmanager
def opened(setup: Setup) -> Iterator[Sides]:
    """Import and start both sides; stop them at the end.

    Raises:
        TableError: the table is refused.
        BackendError: an app cannot be imported or started.
        StateError: the database cannot be copied.
    """
    with contextlib.ExitStack() as stack:
        databases = stack.enter_context(_copies(setup))
        environments = {
            side: {
                **({setup.database_env: databases[side].url} if databases else {}),
                **setup.environments[side],
            }
            for side in SIDES
        }
        watcher = Watcher()
        watcher.install()
        stack.callback(watcher.undo)
        gateway = _load(setup.config, environments)
        portal = stack.enter_context(start_blocking_portal(backend="asyncio", name="gateway-parity"))
        portal.call(_follow_tasks)
        for side in SIDES:
            backend = gateway.legacy if side == "legacy" else gateway.new
            stack.callback(portal.call, backend.stop, STOP_GRACE_S)
            with environment(environments[side]):
                portal.call(backend.start)
        for copy in databases.values():
            copy.keep()  # what an app does to its database while it starts belongs to the starting state
        sides = Sides(gateway, portal, databases, watcher)
        sides.reset()
        yield sides


async def _follow_tasks() -> None:
    follow_tasks(asyncio.get_running_loop())


@contextlib.contextmanager
def environment(values: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables while the block lasts."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextlib.contextmanager
def _copies(setup: Setup) -> Iterator[dict[Side, Copy]]:
    if not setup.database_env:
        yield {}
        return
    setup.folder.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, setup.folder, ignore_errors=True)
        url = os.environ.get(setup.database_env, "")
        original: Original = open_original(url, setup.database_env, setup.folder)
        stack.callback(original.close)
        found: dict[Side, Copy] = {}
        for side in SIDES:
            found[side] = original.copy(side)
            stack.callback(found[side].close)
        yield found


def _load(config: Path, environments: Mapping[Side, Mapping[str, str]]) -> Gateway:
    parsed = read_table(config, environ=os.environ)
    if parsed.spec is None:
        raise TableError(parsed.problems)
    spec = parsed.spec
    with environment(environments["legacy"]):
        legacy = _imported(spec.legacy)
    with environment(environments["new"]):
        new = _imported(spec.new)
    apps = Apps(
        legacy,
        new,
        _legacy_inventory(spec, legacy, config),
        NewInventory(is_known=False) if new is None else inspect_new(new),
    )
    migration = reload_migration(config, apps, spec, generation=1)
    if migration.snapshot is None:
        raise TableError(migration.errors)
    return Gateway(migration, keeps_state=False)


def _imported(spec: BackendSpec) -> object | None:
    return import_app(spec.target, spec.name) if spec.kind in ("wsgi", "asgi") else None


def _legacy_inventory(spec: TableSpec, legacy: object | None, config: Path) -> LegacyInventory:
    if legacy is not None:
        return inspect_legacy(legacy)
    if spec.legacy.rules is not None:
        return read_rules(config.parent / spec.legacy.rules)
    return LegacyInventory(is_known=False)


class Sides:
    """Ask either implementation; made by :func:`opened`."""

    def __init__(
        self, gateway: Gateway, portal: BlockingPortal, databases: Mapping[Side, Copy], watcher: Watcher
    ) -> None:
        self._gateway = gateway
        self._watcher = watcher
        self._portal = portal
        self._databases = databases
        self._readings: dict[Side, Reading] = {}
        self._starts: dict[Side, Reading] = {}
        legacy = gateway.migration.apps.legacy if gateway.migration.apps is not None else None
        self._legacy_app = find_flask(legacy)
        self.session_cookies = SessionCookies(legacy)

    @property
    def snapshot(self) -> Snapshot:
        """Return the table in force."""
        return self._gateway.snapshot

    @property
    def tables(self) -> Mapping[str, Table]:
        """Return the outlines of control's tables, as far as they were read."""
        reading = self._readings.get("legacy")
        return reading.tables if reading is not None else {}

    def route_of(self, record: RequestRecord) -> Route | None:
        """Return the row that takes a request, or None."""
        return self._way(scope_of(record)).route

    def reset(self) -> None:
        """Bring both databases back to where they were when the sides were opened (SQLite only)."""
        for side, copy in self._databases.items():
            if isinstance(copy, SqliteCopy) and side in self._starts:
                if copy.is_dirty():
                    copy.reset()
                self._readings[side] = self._starts[side]
            else:
                self._starts[side] = self._readings[side] = copy.read()

    def ask(self, side: Side, record: RequestRecord) -> Observation:
        """Return what one side does with a request; blocks, and raises nothing of the side's own."""
        began = datetime.now(UTC)
        observation = self._portal.call(self._ask, side, record)
        now = datetime.now().astimezone()
        window = Window(began, now.astimezone(UTC), now.utcoffset() or timedelta(0))
        effects = replace(observation.effects, rows=self._written(side, window))
        if effects.outbound:
            effects = replace(effects, outbound=settled(effects.outbound, window))
        return replace(observation, effects=effects)

    def _written(self, side: Side, window: Window) -> tuple[RowWrite, ...] | None:
        copy = self._databases.get(side)
        if copy is None:
            return None
        if not copy.is_touched():
            return ()
        before = self._readings[side]
        after = self._readings[side] = copy.read()
        return written(before, after, window)

    async def _ask(self, side: Side, record: RequestRecord) -> Observation:
        generation = self._gateway.front.generation
        scope = scope_of(record)
        timeout_s = 30.0

        async def answer(scope: Scope, receive: Receive, send: Send) -> None:
            screened = generation.guard.screen(scope)
            way = self._way(scope)
            app: AsgiApp = way.legacy
            if side == "new":
                app = way.new
                canonicalise(scope, allow_encoded_slash=way.allow_encoded_slash)
                if screened.has_repeated_cookie:
                    scope["headers"] = keep_first_cookies(scope["headers"])
                if self._legacy_app is not None:
                    scope[LEGACY_APP_KEY] = self._legacy_app
            await app(scope, receive, send)

        with contextlib.suppress(RequestRefused):
            timeout_s = self._way(scope).deadlines.timeout_s
        with request() as tally:
            observation = await observe(answer, scope, record.body.captured, name=side, timeout_s=timeout_s)
        table = self.snapshot.spec
        backend = table.legacy if side == "legacy" else table.new
        if backend.kind not in ("wsgi", "asgi"):
            return observation
        await settle(tally)
        return replace(observation, effects=self._watcher.effects(tally))

    def _way(self, scope: Scope) -> Way:
        return self._gateway.front.generation.way_of(scope["method"], scope["path"])
