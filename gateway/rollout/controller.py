"""Take turns at moving routes: whoever holds the lease acts on the evidence, everybody reads where they are.

A turn reads positions, holds each against the file, judges the evidence of what may move by itself, and
saves each move together with its event. One controller acts among all workers and machines that share a
store; a save is refused when the lease, or the position, has changed hands meanwhile. It runs in the
store's thread: nothing here is on a request's way.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.rollout.persistence import event_of, from_record, run_evidence, scope_of, to_record
from gateway.rollout.positions import advance, forget, roll_back, settle
from gateway.rollout.verdict import Outcome, judge

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gateway.rollout.evidence import Evidence
    from gateway.rollout.positions import Move, Position
    from gateway.rollout.verdict import Verdict
    from gateway.store import EventRecord, Lease, Ledger
    from gateway.table.spec import RolloutStep, RouteSpec

LEASE = "controller"
LEASE_S = 3.0
"""How long a controller that went silent is waited for; it renews its lease every turn."""

FORGOTTEN_AFTER_S = 600.0
"""How long a row must have been out of the file before its position is dropped: while machines are being
deployed one by one, some of them read an older file."""


@dataclass(frozen=True, slots=True)
class Turn:
    """Be what one turn saw and did: positions by route id, and the events of the moves that it made."""

    positions: Mapping[str, Position]
    is_leader: bool = False
    events: tuple[EventRecord, ...] = ()


class Controller:
    """Be one process's candidate for the lease. ``holder`` names it among all that share the store."""

    def __init__(self, holder: str) -> None:
        self._holder = holder
        self._lease: Lease | None = None
        self._known: Mapping[str, Position] = {}
        self._missing_since: dict[str, float] = {}
        self._judged: dict[str, tuple[Position, Sequence[tuple[RolloutStep, Evidence]], float]] = {}

    def take_turn(self, ledger: Ledger, rows: Mapping[str, RouteSpec], *, now: float) -> Turn:
        """Read the positions of ``rows`` (by route id), and move them if the lease is ours.

        ``now`` is Unix seconds. Raises ``StoreUnavailable``; then nothing is half done. A position that is
        known and no longer stored (the database was lost) is stored again rather than begun anew.
        """
        # Whoever does not hold it looks first: taking it in vain would keep the others from writing.
        may_take = (
            self._lease is not None or (held := ledger.lease(LEASE)) is None or held.holder == self._holder
        )
        self._lease = ledger.take_lease(LEASE, self._holder, LEASE_S) if may_take else None
        versions: dict[str, int] = {}
        stored: dict[str, Position] = {}
        for record in ledger.positions():
            versions[record.route_id] = record.version
            stored[record.route_id] = from_record(record)
        positions = {**self._known, **stored}
        events: list[EventRecord] = []
        if self._lease is not None:
            for route_id, move, verdict in self._moves(ledger, rows, positions, stored, now):
                event = self._save(ledger, route_id, move, verdict, positions, versions, now)
                if event is not None:
                    events.append(event)
        self._known = positions
        return Turn(positions, self._lease is not None, tuple(events))

    def release(self, ledger: Ledger) -> None:
        """Give the lease up, so that nobody waits for it to run out."""
        if self._lease is not None:
            ledger.release_lease(self._lease)
            self._lease = None

    def _moves(
        self,
        ledger: Ledger,
        rows: Mapping[str, RouteSpec],
        positions: dict[str, Position],
        stored: Mapping[str, Position],
        now: float,
    ) -> list[tuple[str, Move, Verdict | None]]:
        for route_id in positions.keys() & rows.keys() - stored.keys():
            ledger.save_position(to_record(positions[route_id], 0), lease=self._lease)
        moves: list[tuple[str, Move, Verdict | None]] = []
        moving: dict[str, Position] = {}
        for route_id, row in rows.items():
            position = positions.get(route_id)
            if position is None and row.rollout is None:
                continue
            move = settle(row, position, route_id=route_id, now=now)
            if move is not None:
                moves.append((route_id, move, None))
            elif position is not None and row.rollout is not None and position.is_moving:
                moving[route_id] = position
        moves += [(route_id, forget(positions[route_id]), None) for route_id in self._gone(rows, stored, now)]
        return moves + self._judge(ledger, rows, moving, now)

    def _gone(self, rows: Mapping[str, RouteSpec], stored: Mapping[str, Position], now: float) -> list[str]:
        missing = stored.keys() - rows.keys()
        self._missing_since = {route_id: self._missing_since.get(route_id, now) for route_id in missing}
        return [
            route_id for route_id, since in self._missing_since.items() if now - since >= FORGOTTEN_AFTER_S
        ]

    def _judge(
        self, ledger: Ledger, rows: Mapping[str, RouteSpec], moving: Mapping[str, Position], now: float
    ) -> list[tuple[str, Move, Verdict | None]]:
        if not moving:
            return []
        scopes = [scope_of(route_id, rows[route_id], position) for route_id, position in moving.items()]
        evidence = ledger.evidence(scopes)
        moves: list[tuple[str, Move, Verdict | None]] = []
        for route_id, position in moving.items():
            row = rows[route_id]
            run = run_evidence(row, position, evidence)
            if not self._has_news(route_id, row, position, run, now):
                continue
            verdict = judge(row, position, run, now=now)
            move = None
            if verdict.outcome is Outcome.PASS:
                move = advance(row, position, now=now, by="controller", reason=verdict.sentence)
            elif verdict.outcome is Outcome.FAIL:
                move = roll_back(row, position, now=now, by="controller", reason=verdict.sentence)
            if move is not None:
                moves.append((route_id, move, verdict))
        return moves

    def _has_news(
        self,
        route_id: str,
        row: RouteSpec,
        position: Position,
        run: Sequence[tuple[RolloutStep, Evidence]],
        now: float,
    ) -> bool:
        """Tell whether judging again may say something else: other evidence, or the step's time is up."""
        before = self._judged.get(route_id)
        self._judged[route_id] = (position, run, now)
        if before is None or before[0] != position or before[1] != run:
            return True
        due = position.since + (row.rollout.min_time_s if row.rollout is not None else 0.0)
        return before[2] < due <= now

    def _save(
        self,
        ledger: Ledger,
        route_id: str,
        move: Move,
        verdict: Verdict | None,
        positions: dict[str, Position],
        versions: Mapping[str, int],
        now: float,
    ) -> EventRecord | None:
        """Store a move with its event; None where somebody was faster, which the next turn sees."""
        version = versions.get(route_id, 0)
        before = positions.get(route_id) or move.position
        if before is None:
            return None
        event = event_of(move, before, now=now, verdict=verdict)
        self._judged.pop(route_id, None)
        if move.position is None:
            if not ledger.delete_position(to_record(before, version), event):
                return None
            del positions[route_id]
            return event
        if ledger.save_position(to_record(move.position, version), event, lease=self._lease) is None:
            return None
        positions[route_id] = move.position
        return event
