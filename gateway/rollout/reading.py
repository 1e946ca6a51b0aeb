"""Read the state for people: where every route stands, what happened, what was found. It changes nothing.

What comes out is JSON-able, for it travels from the worker that was asked to whoever asked.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Protocol

from gateway.compare.difference import ADVISORY
from gateway.errors import OrderRefused
from gateway.rollout.controller import LEASE
from gateway.rollout.order import Order, Verb
from gateway.rollout.persistence import evidence_of, from_record, run_evidence, scope_of
from gateway.rollout.positions import effective_step
from gateway.rollout.standing import Happening, stand
from gateway.rollout.verdict import false_moves_allowed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gateway.rollout.evidence import Evidence
    from gateway.rollout.positions import Position
    from gateway.rollout.standing import Row, Standing
    from gateway.store import (
        EventRecord,
        ExampleRecord,
        FindingRecord,
        Lease,
        PositionRecord,
        Scope,
        StoredEvidence,
    )
    from gateway.table.spec import RolloutStep


class Readable(Protocol):
    """Be what is read here of a :class:`~gateway.store.Ledger`."""

    def positions(self) -> tuple[PositionRecord, ...]: ...
    def evidence(self, scopes: Sequence[Scope], /) -> Mapping[Scope, StoredEvidence]: ...
    def events(
        self, *, route_id: str | None = None, after_id: int = 0, limit: int = 100
    ) -> tuple[EventRecord, ...]: ...
    def last_events(self) -> Mapping[str, EventRecord]: ...
    def findings(
        self, *, route_id: str | None = None, signature: str | None = None, limit: int = 100
    ) -> tuple[FindingRecord, ...]: ...
    def examples(self, route_id: str, signature: str, /) -> tuple[ExampleRecord, ...]: ...
    def lease(self, name: str, /) -> Lease | None: ...


class NothingKept:
    """Be the state of a table that has nothing to keep, so that no store is made for who only looks."""

    def positions(self) -> tuple[PositionRecord, ...]:
        """Return none."""
        return ()

    def evidence(self, _scopes: Sequence[Scope]) -> Mapping[Scope, StoredEvidence]:
        """Return none."""
        return {}

    def events(self, **_wanted: object) -> tuple[EventRecord, ...]:
        """Return none."""
        return ()

    def last_events(self) -> Mapping[str, EventRecord]:
        """Return none."""
        return {}

    def findings(self, **_wanted: object) -> tuple[FindingRecord, ...]:
        """Return none."""
        return ()

    def examples(self, _route_id: str, _signature: str) -> tuple[ExampleRecord, ...]:
        """Return none."""
        return ()

    def lease(self, _name: str) -> Lease | None:
        """Return none."""
        return None


def look(ledger: Readable, rows: Sequence[Row], order: Order, now: float) -> dict[str, Any]:
    """Return what an order that changes nothing asks for, JSON-able; raise ``StoreUnavailable``."""
    match order.verb:
        case Verb.EVENTS:
            return _events(ledger, order)
        case Verb.FINDINGS:
            return _findings(ledger, rows, order)
        case Verb.FINDING:
            return _finding(ledger, rows, order.route_id or "", order.signature)
        case _:
            return _standings(ledger, rows, now)


def standings(
    ledger: Readable, rows: Sequence[Row], now: float, *, is_every: bool = True
) -> tuple[Standing, ...]:
    """Return where every row stands, in the order of ``rows``; raise ``StoreUnavailable``.

    Without ``is_every`` those are left out of which nothing is kept: they stand where the file says.
    """
    positions = {record.route_id: from_record(record) for record in ledger.positions()}
    events = ledger.last_events()
    scopes = {
        row.route_id: scope_of(row.route_id, row.spec, positions.get(row.route_id))
        for row in rows
        if row.is_counted or row.route_id in positions
    }
    stored = ledger.evidence(list(scopes.values()))
    return tuple(
        stand(
            row,
            positions.get(row.route_id),
            _run(row, positions.get(row.route_id), scopes.get(row.route_id), stored),
            now=now,
            last_event=_happening(events.get(row.route_id)),
        )
        for row in rows
        if is_every or row.route_id in scopes or row.route_id in events
    )


def _run(
    row: Row, position: Position | None, scope: Scope | None, stored: Mapping[Scope, StoredEvidence]
) -> list[tuple[RolloutStep, Evidence]]:
    if scope is None:
        return []
    if position is not None and scope.run == position.run:
        return run_evidence(row.spec, position, stored)
    return [(effective_step(row.spec, position), evidence_of(stored.get(scope)))]


def _standings(ledger: Readable, rows: Sequence[Row], now: float) -> dict[str, Any]:
    """Return where rows stand of which anything is kept, how many false moves are allowed, who controls."""
    promotions, rollbacks = false_moves_allowed(row.spec.rollout for row in rows if row.spec.rollout)
    lease = ledger.lease(LEASE)
    return {
        "standings": [each.as_json() for each in standings(ledger, rows, now, is_every=False)],
        "false_promotions": promotions,
        "false_rollbacks": rollbacks,
        "controller": lease.holder if lease is not None else None,
    }


def _events(ledger: Readable, order: Order) -> dict[str, Any]:
    """Return the newest events, newest first."""
    found = ledger.events(route_id=order.route_id, after_id=order.after_id, limit=order.limit)
    return {"events": [asdict(event) for event in found]}


def _findings(ledger: Readable, rows: Sequence[Row], order: Order) -> dict[str, Any]:
    """Return the findings of the last time, worst first: what counts before what does not, then by count."""
    keys = {row.route_id: row.spec.key for row in rows}
    found = ledger.findings(route_id=order.route_id, limit=order.limit)
    worded = [_worded(each, keys) for each in found]
    worded.sort(
        key=lambda each: (each["is_waived"] or each["is_advisory"], -each["count"], -each["last_seen"])
    )
    return {"differences": worded}


def _finding(ledger: Readable, rows: Sequence[Row], route_id: str, signature: str) -> dict[str, Any]:
    """Return one finding whole, with its example pairs; raise ``OrderRefused`` (404) if there is none."""
    keys = {row.route_id: row.spec.key for row in rows}
    found = ledger.findings(route_id=route_id, signature=signature, limit=1)
    if not found:
        raise OrderRefused(404, f"no finding {signature} of route {route_id} is kept")
    examples = [
        {"at": example.at, **_document(example.document)} for example in ledger.examples(route_id, signature)
    ]
    return {**_worded(found[0], keys), "examples": examples}


def _worded(finding: FindingRecord, keys: Mapping[str, str]) -> dict[str, Any]:
    return {
        "route": keys.get(finding.route_id, ""),
        "is_advisory": finding.kind in ADVISORY,
        **asdict(finding),
    }


def _document(text: str) -> dict[str, Any]:
    """Return what an example holds; one that cannot be read is shown as it is."""
    try:
        document = json.loads(text)
    except ValueError:
        return {"text": text}
    return document if isinstance(document, dict) else {"text": text}


def _happening(event: EventRecord | None) -> Happening | None:
    if event is None:
        return None
    return Happening(event.at, event.kind, event.before, event.after, event.caused_by, event.sentence)
