"""Put the gateway together: the one place where concrete parts meet.

:func:`create_app` loads the table and both apps and returns a :class:`Gateway`: a FastAPI application
whose ``__call__`` settles proxied requests before any middleware or route scan, and leaves the
gateway's own few paths (health, readiness, the merged description and its page) to FastAPI.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI

from gateway.backends.inspect import find_flask
from gateway.backends.legacy_errors import legacy_shape_of
from gateway.backends.making import describe_backend, make_backend, probe
from gateway.compare.redaction import Redactor
from gateway.compat import SessionReader
from gateway.errors import TableError
from gateway.loading import RESTART_NEEDED, Migration, load_migration, reload_migration
from gateway.recording.recorder import recorder_from_environ
from gateway.rollout.clerk import Clerk
from gateway.rollout.standing import Row
from gateway.rollout.state import State
from gateway.serving.answers import Answers
from gateway.serving.deadlines import Deadlines
from gateway.serving.decide import settled
from gateway.serving.front import Front
from gateway.serving.generation import Generation, Way, WayMaker
from gateway.serving.guard import Guard
from gateway.serving.limits import RateLimiter
from gateway.serving.measuring import Measures
from gateway.serving.pulse import Pulse
from gateway.serving.reload import watch_file
from gateway.serving.reporting import Reporter
from gateway.serving.sampling import Sampler
from gateway.serving.shared_limits import SharedLimits
from gateway.serving.tally import NO_STAGE, UNMATCHED, Overhead, Tally
from gateway.serving.watchdog import Watchdog
from gateway.shadowing.ledger import Ledger
from gateway.shadowing.lull import Lull
from gateway.shadowing.shadows import Shadows
from gateway.table.spec import Stage
from gateway.web.openapi import merged_description
from gateway.web.own_paths import OwnPaths

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from gateway.backends.base import Receive, Scope, Send
    from gateway.store import Store
    from gateway.table.route import Snapshot
    from gateway.table.spec import RouteSpec

log = logging.getLogger("gateway")

STOP_GRACE_S = 5.0


class Gateway(FastAPI):
    """Be the gateway as an ASGI application; ``uvicorn gateway.asgi:app`` serves it.

    Without ``keeps_state`` every row stands where the file says, and nothing is stored.
    """

    def __init__(self, migration: Migration, *, keeps_state: bool = True) -> None:
        if migration.snapshot is None or migration.spec is None or migration.apps is None:
            raise TableError(migration.problems)
        super().__init__(
            title="strangler-gateway", docs_url=None, redoc_url=None, openapi_url=None, lifespan=_lifespan
        )
        self.migration = migration
        self.refused: Migration | None = None
        self._keeps_state = keeps_state
        self._spec = migration.spec
        self._apps = migration.apps
        self._tallies: dict[str, Tally] = {}
        self._overhead = Overhead()
        self._deadlines: dict[float, Deadlines] = {}
        self.legacy = make_backend(migration.spec.legacy, self._apps.legacy, migration.path.parent)
        self.new = make_backend(migration.spec.new, self._apps.new, migration.path.parent)
        self._own = OwnPaths(self, self.probed_standing, self.describe)
        self._started = asyncio.Lock()
        self._stack: contextlib.AsyncExitStack | None = None
        compare = self._spec.compare
        self.rollout = State(
            migration.path,
            self._spec.store,
            rows=self._rows,
            receivers=lambda: self.snapshot.spec.events,
            is_wanted=self._has_anything_to_keep,
            on_change=self._stand_anew,
        )
        self._clerk = Clerk(self.rollout, self._standing_rows)
        self.ledger = Ledger(Redactor(os.urandom(32), compare.redact), lambda: self.rollout.store)
        self._pulse = Pulse()
        self._watchdog = Watchdog(self._pulse, lambda: self.front.generation)
        self.shadows = Shadows(
            self.ledger,
            limit_bytes=compare.memory_cap_bytes,
            lag_s=lambda: self._pulse.lag_s,
            lull=Lull(lambda: self.front.in_flight > 0),
        )
        self._reporter = Reporter(self._tallies, self.ledger)
        self._measures = Measures(self._tallies, self.ledger, self._overhead, self._count_more)
        shared = self._spec.shared
        self._limiter = RateLimiter(None if shared is None else SharedLimits(shared, self._spec.salt))
        self._recorder = recorder_from_environ(os.environ, redact=self._spec.compare.redact)
        flask_app = find_flask(self._apps.legacy)
        self._maker = WayMaker(
            self.legacy,
            self.new,
            self.rollout,
            self.ledger.redactor,
            self._apps.legacy_inventory.is_known,
            tallies=self._tallies,
            deadlines_of=self._deadlines,
            breakers={},
        )
        self.front = Front(
            self._make_generation(migration.snapshot),
            limiter=self._limiter,
            sampler=Sampler(self.shadows),
            lull=self.shadows.lull,
            recorder=self._recorder,
            read_session=SessionReader(flask_app).read,
            legacy_app=flask_app,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection event: the gateway's own paths by FastAPI, everything else by the front."""
        kind = scope["type"]
        if kind == "http":
            if scope["path"] in self.front.generation.own_paths:
                await super().__call__(scope, receive, send)
                return
            if self._stack is None:
                await self.start()
            await self.front.serve(scope, receive, send)
        elif kind == "websocket":
            if self._stack is None:
                await self.start()
            await self.front.serve_websocket(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)

    @property
    def snapshot(self) -> Snapshot:
        """Return the table in force."""
        return self.front.generation.snapshot

    @property
    def store(self) -> Store | None:
        """Return the store; None until this table has had anything to keep."""
        return self.rollout.store

    async def start(self) -> None:
        """Start both backends and the watch on the table. Starting twice does nothing.

        A server that runs no lifespan starts the gateway with its first request.
        """
        async with self._started:
            if self._stack is not None:
                return
            async with contextlib.AsyncExitStack() as stack:
                if self._recorder is not None:  # closed last: what is answered while draining belongs in it
                    stack.push_async_callback(asyncio.to_thread, self._recorder.close)
                if self._keeps_state:
                    stack.push_async_callback(self.rollout.stop)  # after the shadows, whose findings it keeps
                    await self.rollout.start()
                for backend in (self.legacy, self.new):
                    stack.push_async_callback(backend.stop, STOP_GRACE_S)
                    await backend.start()
                stack.push_async_callback(self.shadows.stop)
                if self._limiter.shared is not None:
                    stack.push_async_callback(self._limiter.shared.stop)
                    await self._limiter.shared.start()
                self._pulse.start(asyncio.get_running_loop())
                stack.callback(self._pulse.stop)
                self._watchdog.start()
                stack.callback(self._watchdog.stop)
                stop = asyncio.Event()
                watching = asyncio.create_task(
                    watch_file(self.migration.path, self._spec.digest, self.reload, stop)
                )
                stack.push_async_callback(_end, watching, stop)
                self._stack = stack.pop_all()

    async def stop(self) -> None:
        """Stop the watch, then both backends, newest first. Stopping twice does nothing."""
        stack, self._stack = self._stack, None
        if stack is not None:
            await stack.aclose()

    async def reload(self) -> None:
        """Load the table again; put it in force if it is valid, keep the present one if it is not."""
        with _collecting_nothing():
            migration = await asyncio.to_thread(
                reload_migration,
                self.migration.path,
                self._apps,
                self._spec,
                generation=self.snapshot.generation + 1,
            )
            generation = None
            if migration.snapshot is not None:
                generation = await asyncio.to_thread(self._make_generation, migration.snapshot)
        if migration.snapshot is None or generation is None:
            self.refused = migration
            log.error(
                "%s is refused, generation %d stays in force:\n%s",
                migration.path,
                self.snapshot.generation,
                "\n".join(str(problem) for problem in migration.errors),
            )
            return
        self.front.swap(generation)
        self._stand_anew()
        self.migration, self.refused = migration, None
        log.info("generation %d of %s is in force", migration.snapshot.generation, migration.path)
        for problem in migration.problems:
            if problem.row.startswith("backends.") or problem.row in RESTART_NEEDED:
                log.warning("%s", problem)

    def _rows(self) -> dict[str, RouteSpec]:
        """Return the rows that may stand elsewhere than the file says, by route id."""
        return {
            route.id: route.spec
            for route in self.snapshot.routes
            if route.is_listed and not route.is_websocket
        }

    def _has_anything_to_keep(self) -> bool:
        """Tell whether the table compares anything, has rows that move by themselves, or tells of events."""
        return bool(self.snapshot.spec.events) or any(
            route.spec.sample_bp or route.spec.rollout is not None for route in self.snapshot.routes
        )

    def _stand_anew(self, _positions: object = None) -> None:
        """Serve every row where it stands now."""
        moved = self._maker.moved(self.front.generation)
        if moved is not None:
            self.front.swap(moved)

    async def carry_out(self, order: dict[str, Any]) -> dict[str, Any]:
        """Return the answer to what a person asks (:mod:`gateway.rollout.order`).

        Raises :class:`~gateway.errors.OrderRefused`.
        """
        return await self._clerk.carry_out(order)

    def refresh(self) -> None:
        """Read where the routes stand now: a person has moved one."""
        self.rollout.refresh()

    def _standing_rows(self) -> tuple[Row, ...]:
        is_known = self._apps.legacy_inventory.is_known
        return tuple(
            Row(
                route.id,
                route.spec,
                has_legacy=bool(route.legacy_rules) or not is_known,
                is_listed=route.is_listed,
            )
            for route in self.snapshot.routes
        )

    def standing(self) -> dict[str, Any]:
        """Return which table is in force and whether requests can be served, as JSON-able values."""
        refused = self.refused
        reasons = [
            f"{backend.name}: {health.reason}"
            for backend in (self.legacy, self.new)
            if not (health := backend.health()).is_ok
        ]
        return {
            "generation": self.snapshot.generation,
            "digest": self.snapshot.spec.digest,
            "is_valid": refused is None,
            "problems": [str(problem) for problem in refused.errors] if refused is not None else [],
            "is_ready": not reasons,
            "reasons": reasons,
        }

    def report(self) -> dict[str, Any]:
        """Return all that this worker knows of itself, as :mod:`gateway.web.reports` says."""
        return {
            **self.standing(),
            "routes": self._reporter.routes(self.front.generation),
            "measures": self._measures.read(),
            "unmatched": self._tallies[UNMATCHED].by_backend() if UNMATCHED in self._tallies else {},
            "threads": dict(self.legacy.health().facts),
            "in_flight": self.front.in_flight,
            "lag_s": round(self._pulse.worst_lag_s(), 3),
            "store": _word_store(self.store),
            "limits": {} if self._limiter.shared is None else self._limiter.shared.health(),
            "shadow_dropped": self.ledger.dropped(),
            "shadow_stopped": self.ledger.stopped(),
            "differences": self._reporter.differences(),
            "breakers": self._maker.breaker_report(),
            "receivers": self.rollout.webhooks.report() if self.rollout.webhooks is not None else [],
            "backends": {
                "legacy": describe_backend(self._spec.legacy),
                "new": describe_backend(self._spec.new),
            },
        }

    def _count_more(self) -> dict[str, float]:
        """Return what this worker has counted besides its requests."""
        counts: dict[str, float] = {"blocks": self._watchdog.blocks}
        counts |= {f"limited.{where}": number for where, number in self._limiter.counted.items()}
        for name, number in self.store.health().facts.items() if self.store is not None else ():
            if name.startswith("dropped_"):
                counts[f"unstored.{name.removeprefix('dropped_')}"] = float(number)
        return counts

    async def probed_standing(self) -> dict[str, Any]:
        """Return the standing after a connection was tried to every backend that runs elsewhere."""
        for backend in (self.legacy, self.new):
            await probe(backend)
        return self.standing()

    def describe(self) -> dict[str, Any]:
        """Return the merged OpenAPI description of both apps under the table in force."""
        return merged_description(self.snapshot, self._apps.new)

    def _make_generation(self, snapshot: Snapshot) -> Generation:
        server = snapshot.spec.server
        answers = Answers(server, legacy_shape_of(find_flask(self._apps.legacy)))
        tally = self._tallies.setdefault(UNMATCHED, Tally(UNMATCHED, None))
        timeout_s = snapshot.spec.implicit.timeout_s
        deadlines = self._deadlines.setdefault(timeout_s, Deadlines(timeout_s))
        to_legacy, to_new = (
            Way(None, decision, True, self.legacy, self.new, deadlines, tally, tally.at(NO_STAGE))
            for decision in (settled(Stage.LEGACY), settled(Stage.NEW))
        )
        return Generation(
            snapshot=snapshot,
            guard=Guard(server.trusted_proxies),
            answers=answers,
            ways=self._maker.ways(snapshot),
            to_legacy=to_legacy,
            to_new=to_new,
            own_paths=self._own.claim(snapshot),
            is_legacy_known=self._apps.legacy_inventory.is_known,
            is_exposed=server.is_exposed,
            overhead=self._overhead,
        )


def create_app(config: str | Path | None = None) -> Gateway:
    """Return the gateway for the table at ``config`` (default: ``GATEWAY_CONFIG``, else ``routing.yaml``).

    Raises :class:`~gateway.errors.TableError` with every problem when the table is refused.
    """
    path = Path(config if config is not None else os.environ.get("GATEWAY_CONFIG", "routing.yaml"))
    migration = load_migration(path.absolute())
    gateway = Gateway(migration)
    if migration.problems:
        log.warning("%d warnings about %s; `gateway check` lists them", len(migration.problems), path.name)
    return gateway


@contextlib.contextmanager
def _collecting_nothing() -> Iterator[None]:
    """Keep the garbage collector from passing while a table is compiled.

    A compiled table is hundreds of thousands of objects and holds no garbage; a full pass in the middle
    stops every request.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _word_store(store: Store | None) -> dict[str, Any]:
    """Return how the store does; nothing where there is none."""
    if store is None:
        return {}
    health = store.health()
    numbers = {name: health.facts[name] for name in ("pending", "written", "dropped", "failures")}
    return {"is_ok": health.is_ok, "reason": health.reason, **numbers}


@contextlib.asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    if not isinstance(app, Gateway):
        raise TypeError("the gateway's lifespan belongs to a Gateway")
    await app.start()
    try:
        yield
    finally:
        await app.stop()


async def _end(task: asyncio.Task[None], stop: asyncio.Event) -> None:
    stop.set()
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
