"""Keep what must outlive a process: evidence, positions, events, findings and leases.

It stands above :mod:`gateway.table` and knows nothing of what it keeps: rollout, shadowing and web give
names their meaning. What needs SQLAlchemy is imported when it is first used: a gateway that keeps no state
saves its memory. What other parts rely on:

**Where** ::

    locate(url | None, table_path) -> str          # SettingsError; None is .gateway/state.db beside the table
    default_file(table_path) -> Path               # that file

**A worker's store**: never blocks and never raises, but for :meth:`Store.ask`'s future ::

    store = Store(url, worker="host-pid")
    store.start() / store.stop(timeout_s)          # start inside the worker, after any fork
    store.record(Scope(route_id, run, step), {"comparisons": 1, "mismatches": 1})
    store.record_caller(scope, side, word, bits)
    store.record_error_caller(scope, side, caller_digest)
    store.record_event(EventRecord(...))
    store.record_finding(FindingRecord(...), ExampleRecord(...) | None)    # redacted already
    store.ask(question: Callable[[Ledger], T]) -> concurrent.futures.Future[T]     # StoreUnavailable
    store.flush()                                  # soon, without waiting
    store.health() -> StoreHealth(is_ok, reason, facts)
    store.recreated                                # rises when the database was lost: save positions again

    positions = await asyncio.wrap_future(store.ask(Ledger.positions))

**The same, synchronous**: for a command, or inside ``ask``. Each call is one transaction; each may raise
:class:`StoreUnavailable` ::

    with Ledger(url) as ledger:                                     # may_create=False: only look
        ledger.evidence(scopes) -> {Scope: StoredEvidence}          # every step of these runs; none: absent
        ledger.positions() -> (PositionRecord, ...)
        ledger.save_position(record, event=None, lease=None) -> PositionRecord | None    # None: lost a race
        ledger.delete_position(record, event=None) -> bool
        ledger.events(route_id=None, after_id=0, limit=100) -> (EventRecord, ...)        # newest first
        ledger.next_event(after_id) -> EventRecord | None           # ids appear in order
        ledger.receivers(); ledger.add_receiver(name, since); ledger.forget_receiver(name)
        ledger.save_receiver(record, lease=lease) -> bool
        ledger.last_events() -> {route_id: EventRecord}             # each route's newest, without its numbers
        ledger.findings(route_id=None, signature=None, limit=100) -> (FindingRecord, ...)
        ledger.examples(route_id, signature) -> (ExampleRecord, ...)
        ledger.take_lease(name, holder, ttl_s) -> Lease | None      # takes or renews
        ledger.release_lease(lease); ledger.lease(name) -> Lease | None
        ledger.prune(Retention(), now) -> int
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from gateway.store.buffer import Limits
from gateway.store.errors import StoreUnavailable
from gateway.store.folder import default_file
from gateway.store.records import (
    EventRecord,
    ExampleRecord,
    FindingRecord,
    Lease,
    PositionRecord,
    ReceiverRecord,
    Retention,
    Scope,
    Side,
    StoredEvidence,
    StoreHealth,
)

if TYPE_CHECKING:
    from gateway.store.ledger import Ledger
    from gateway.store.location import locate
    from gateway.store.writer import Store

_NEEDS_SQLALCHEMY = {
    "Ledger": "gateway.store.ledger",
    "Store": "gateway.store.writer",
    "locate": "gateway.store.location",
}


def __getattr__(name: str) -> Any:
    """Import what needs SQLAlchemy when it is asked for (PEP 562)."""
    if name in _NEEDS_SQLALCHEMY:
        return getattr(importlib.import_module(_NEEDS_SQLALCHEMY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = [
    "EventRecord",
    "ExampleRecord",
    "FindingRecord",
    "Lease",
    "Ledger",
    "Limits",
    "PositionRecord",
    "ReceiverRecord",
    "Retention",
    "Scope",
    "Side",
    "Store",
    "StoreHealth",
    "StoreUnavailable",
    "StoredEvidence",
    "default_file",
    "locate",
]
