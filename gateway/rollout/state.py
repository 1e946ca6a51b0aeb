"""Be one worker's share of the state: its store, where its routes stand, its turns at the controller's work.

Once a second the positions are read and handed on when they changed; what a person does to one is read at
once (:meth:`State.refresh`). The store is opened when the table needs one, or when its file appears. While
it cannot be used, what is known stands: a route that was rolled back does not come forward by itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import logging
import os
import socket
import time
import uuid
from typing import TYPE_CHECKING

from gateway.rollout.controller import Controller, Turn
from gateway.store import StoreUnavailable, default_file

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from gateway.rollout.positions import Position
    from gateway.rollout.webhooks import Webhooks
    from gateway.store import EventRecord, Ledger, Store
    from gateway.table.spec import RouteSpec, Webhook

log = logging.getLogger("gateway.rollout")

PERIOD_S = 1.0
FIRST_READ_S = 3.0
"""How long a start waits for the positions, so that nothing is served beyond a rollback."""


class State:
    """Keep the state of the table at ``table``; ``url`` is its ``store`` (None: SQLite beside it).

    ``rows`` returns the listed rows in force by route id, ``receivers`` who is told of events, ``is_wanted``
    whether either needs a store;
    ``on_change`` is called in the event loop with all positions, by route id, when any has changed.
    Raises :class:`~gateway.errors.SettingsError` for a URL that cannot hold the state.
    """

    def __init__(
        self,
        table: Path,
        url: str | None,
        *,
        rows: Callable[[], Mapping[str, RouteSpec]],
        receivers: Callable[[], tuple[Webhook, ...]],
        is_wanted: Callable[[], bool],
        on_change: Callable[[Mapping[str, Position]], None],
    ) -> None:
        self.store: Store | None = None
        self.positions: Mapping[str, Position] = {}
        self.is_leader = False
        self.webhooks: Webhooks | None = None
        self._table = table
        self._url = url
        self._rows = rows
        self._receivers = receivers
        self._told: tuple[Webhook, ...] = ()
        self._is_wanted = is_wanted
        self._on_change = on_change
        self._holder = f"{socket.gethostname()[:24]}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        self._controller = Controller(self._holder)
        self._wake = asyncio.Event()
        self._following: asyncio.Task[None] | None = None
        if url is not None:
            from gateway.store import locate

            locate(url, table)

    async def start(self) -> None:
        """Open the store if one is needed, and know the positions before anything is served by them.

        A new one is waited for as well: what making it imports is alive before the worker settles.
        """
        self._following = asyncio.get_running_loop().create_task(self._follow())
        if not self._is_needed():
            return
        await self._open()
        try:
            async with asyncio.timeout(FIRST_READ_S):
                await self._take_turn()
        except (TimeoutError, StoreUnavailable) as error:
            log.warning(
                "where the routes stand could not be read: %s; until it can, they stand as the file says",
                str(error) or f"no answer within {FIRST_READ_S:g} s",
            )

    async def stop(self) -> None:
        """Write what is left, and give up the lease."""
        if self._following is not None:
            self._following.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._following
        if self.webhooks is not None:
            await asyncio.to_thread(self.webhooks.stop)
        store = self.store
        if store is not None:
            store.ask(self._controller.release).add_done_callback(lambda answer: answer.exception())
            await asyncio.to_thread(store.stop)

    def refresh(self) -> None:
        """Read the positions now: somebody has changed one. Call it in the event loop."""
        self._wake.set()

    async def opened(self) -> Store:
        """Return the store, opened for whoever has something to keep or to ask."""
        return self.store if self.store is not None else await self._open()

    def record_event(self, event: EventRecord) -> None:
        """Append an event that is no move; without a store it is only in the log."""
        if self.store is not None:
            self.store.record_event(event)

    def _is_needed(self) -> bool:
        return self._url is not None or self._is_wanted() or default_file(self._table).exists()

    async def _open(self) -> Store:
        await asyncio.to_thread(importlib.import_module, "gateway.store.writer")
        if self.store is None:
            from gateway.store import Store, locate

            self.store = Store(locate(self._url, self._table), worker=self._holder)
            self.store.start()
        await self._tell_receivers(self.store)
        return self.store

    async def _tell_receivers(self, store: Store) -> None:
        """Deliver events to whoever the table names now."""
        receivers = self._receivers()
        if receivers == self._told:
            return
        self._told = receivers
        if self.webhooks is not None:
            self.webhooks.update(receivers)
            return
        await asyncio.to_thread(importlib.import_module, "gateway.rollout.webhooks")
        from gateway.rollout.webhooks import Webhooks

        self.webhooks = Webhooks(store, receivers)
        self.webhooks.start()

    async def _follow(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(PERIOD_S):
                    await self._wake.wait()
            self._wake.clear()
            try:
                if self.store is not None or self._is_needed():
                    await self._open()
                    await self._take_turn()
            except StoreUnavailable:
                self.is_leader = False  # the store itself says in the log what is wrong with it
            except Exception:
                log.exception("a turn at the rollouts failed; it is tried again")

    async def _take_turn(self) -> None:
        store = await self.opened()
        rows = self._rows()

        def question(ledger: Ledger) -> Turn:
            return self._controller.take_turn(ledger, rows, now=time.time())

        turn = await asyncio.wrap_future(store.ask(question))
        self.is_leader = turn.is_leader
        for event in turn.events:
            level = logging.WARNING if event.kind == "rolled_back" else logging.INFO
            log.log(
                level, "%s: %s, %s → %s: %s", event.key, event.kind, event.before, event.after, event.sentence
            )
        if turn.positions != self.positions:
            self.positions = turn.positions
            self._on_change(turn.positions)
