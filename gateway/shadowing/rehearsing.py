"""Rehearse a write on new before legacy answers it, within a bounded time, and leave nothing behind.

The one place where a client waits for the other side: at most :data:`LIMIT_S` seconds, and what the undoing
takes (:data:`~gateway.shadowing.rehearsal.UNDOING_LIMIT_S`). Whatever becomes of a rehearsal, the
caller goes on to legacy; nothing but the cancelling of the request itself is raised here.
"""

from __future__ import annotations

import asyncio
import logging
from contextvars import copy_context
from dataclasses import dataclass, field
from datetime import UTC, datetime
from time import monotonic
from typing import TYPE_CHECKING

from gateway.compat import ROLE_KEY
from gateway.compat.rehearsal import LENDER
from gateway.context import REQUEST_ID
from gateway.errors import BackendError, RequestRefused
from gateway.shadowing import engines, written
from gateway.shadowing.call import SHADOW_HEADER, Candidate
from gateway.shadowing.rehearsal import Rehearsal
from gateway.shadowing.walls import raise_walls
from gateway.shadowing.watching import WATCHER
from gateway.shadowing.written import WRITE_LOG

if TYPE_CHECKING:
    from gateway.backends.base import AsgiApp, Scope
    from gateway.compare.observation import Observation
    from gateway.shadowing.ledger import Ledger
    from gateway.shadowing.written import WriteLog

log = logging.getLogger("gateway.shadow")

LIMIT_S = 2.0
"""The longest that a client waits for a rehearsal, however long its row's timeout is."""

CANCEL_GRACE_S = 0.1
"""How long new may take to give up when its time is over."""


@dataclass(frozen=True, slots=True, eq=False)
class Rehearsed:
    """Be what new did in a rehearsal: its answer, what it wrote, and when it began (UTC).

    ``postponed`` are the background tasks that did not run.
    """

    observation: Observation
    written: WriteLog
    began: datetime
    postponed: tuple[str, ...] = ()


@dataclass(slots=True)
class Rehearsals:
    """Run rehearsals, a few at once, and count in ``ledger`` what became of those that say nothing."""

    ledger: Ledger
    concurrency: int = 4
    _slots: asyncio.Semaphore = field(init=False)

    def __post_init__(self) -> None:
        self._slots = asyncio.Semaphore(self.concurrency)

    async def rehearse(
        self, app: AsgiApp, scope: Scope, body: bytes, *, route: str, timeout_s: float, cap_bytes: int
    ) -> Rehearsed | None:
        """Return what ``app`` does with the request, all of it undone; None where that says nothing.

        ``route`` is the row's key, ``timeout_s`` its timeout.
        """
        began_s = monotonic()
        limit_s = min(timeout_s, LIMIT_S)
        try:
            # Half of the time for waiting in line: who comes to late has no time left to answer.
            async with asyncio.timeout(limit_s / 2):
                await self._slots.acquire()
        except TimeoutError:
            self.ledger.drop("too many rehearsals at once")
            return None
        try:
            left_s = limit_s - (monotonic() - began_s)
            return await self._rehearse(
                app, scope, body, route, left_s=left_s, cap_bytes=cap_bytes, is_row_limit=limit_s >= timeout_s
            )
        except Exception:
            self.ledger.drop("error in the gateway")
            log.exception("a rehearsal on %s failed", route)
            return None
        finally:
            self._slots.release()

    async def _rehearse(
        self,
        app: AsgiApp,
        scope: Scope,
        body: bytes,
        route: str,
        *,
        left_s: float,
        cap_bytes: int,
        is_row_limit: bool,
    ) -> Rehearsed | None:
        loop = asyncio.get_running_loop()
        engines.install()
        written.install()
        raise_walls(loop)
        began = datetime.now(UTC)
        rehearsal = Rehearsal(left_s, lambda what: self._stop(route, what))
        candidate = Candidate(body, cap_bytes)
        refusals: list[BaseException] = []
        task = _start(app, scope, candidate, rehearsal, refusals)
        ended = loop.create_task(rehearsal.ended.wait())
        is_cut = True
        try:
            await asyncio.wait({task, ended}, timeout=left_s, return_when=asyncio.FIRST_COMPLETED)
            is_cut = not task.done()
            if is_cut:
                task.cancel()
                await asyncio.wait({task}, timeout=CANCEL_GRACE_S)
        finally:
            ended.cancel()
            task.cancel()
            rehearsal.close_doors(is_cut=is_cut)
            await asyncio.shield(rehearsal.undo())
        if rehearsal.escape:
            return None
        if refusals:
            self.ledger.drop("the other side cannot be asked this")
            return None
        if rehearsal.trouble or (is_cut and not (is_row_limit and rehearsal.left_s() <= 0)):
            self.ledger.drop(f"rehearsal: {rehearsal.trouble or 'it took too long'}")
            return None
        raised = TimeoutError(f"no answer within {left_s:g} s") if is_cut else task.result()
        return Rehearsed(
            candidate.observation(raised), rehearsal.log, began, postponed=tuple(rehearsal.postponed)
        )

    def _stop(self, route: str, what: str) -> None:
        self.ledger.drop("escaped")
        if not self.ledger.is_stopped(route):
            log.error(
                "%s: in its rehearsal new %s; the row is rehearsed no more in this process", route, what
            )
        self.ledger.stop(route, f"in its rehearsal new {what}")


def _start(
    app: AsgiApp,
    source: Scope,
    candidate: Candidate,
    rehearsal: Rehearsal,
    refusals: list[BaseException],
) -> asyncio.Task[BaseException | None]:
    """Call ``app`` in a context of the rehearsal's, in a task that returns what the app raised."""
    scope: Scope = {
        **source,
        "headers": [*source["headers"], SHADOW_HEADER],
        "state": dict(source.get("state") or {}),
        ROLE_KEY: "shadow",
    }
    request_id = next((value for name, value in source["headers"] if name == b"x-request-id"), b"")

    def enter() -> None:
        WATCHER.set(rehearsal)
        LENDER.set(rehearsal)
        WRITE_LOG.set(rehearsal.log)
        REQUEST_ID.set(request_id.decode("latin-1"))

    async def run() -> BaseException | None:
        try:
            await app(scope, candidate.receive, candidate.send)
        except asyncio.CancelledError:
            raise
        except (RequestRefused, BackendError) as error:  # the gateway's own words, before new was asked
            refusals.append(error)
        except BaseException as error:  # an app's SystemExit must not end the worker
            return error
        return scope.get("gateway.exception")

    context = copy_context()
    context.run(enter)
    return asyncio.get_running_loop().create_task(run(), context=context)
