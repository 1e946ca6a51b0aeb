"""Deliver events to their receivers: each receiver in order, at least once, whoever else is down.

Whoever holds the lease ``webhooks`` delivers, of all workers and machines that share the store. How far a
receiver has come is stored after each event, so that neither a restart nor another holder loses one, and
repeats are rare; the notice's id lets a receiver drop them. A receiver that is new begins with what happens
from now on. Nothing here runs on the event loop, or waits for a receiver on another one's behalf.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

from gateway.rollout.notice import Outcome, Schedule, after_attempt, notice_of, receiver_name, shown_url
from gateway.rollout.posting import post
from gateway.store.errors import StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gateway.store import EventRecord, Lease, Ledger, ReceiverRecord, Store
    from gateway.table.spec import Webhook

log = logging.getLogger("gateway.webhooks")

T = TypeVar("T")

LEASE = "webhooks"
LEASE_S = 15.0
RENEW_AFTER_S = 5.0
POLL_S = 1.0
TOUCH_AFTER_S = 3600.0
ANSWER_LIMIT_S = 30.0
"""How long the store may take to answer; it refuses by itself long before that."""


@dataclass(frozen=True, slots=True)
class ReceiverState:
    """Be how one receiver does, as this process knows it; ``record`` is None before the store told it."""

    url: str
    record: ReceiverRecord | None


@dataclass(slots=True)
class _Receiver:
    """Be one receiver at work. ``unsaved`` is how far it has come since ``record`` was read or stored."""

    webhook: Webhook
    since: float
    record: ReceiverRecord | None = None
    unsaved: ReceiverRecord | None = None
    is_busy: bool = False

    @property
    def shown(self) -> str:
        return shown_url(self.webhook.url)


class Webhooks:
    """Be one process's part in delivering the events of ``store`` to ``receivers``.

    ``clock`` gives Unix seconds, ``rng`` numbers in [0, 1). Start it after the store, stop it before.
    """

    def __init__(
        self,
        store: Store,
        receivers: Sequence[Webhook],
        *,
        clock: Callable[[], float] = time.time,
        rng: Callable[[], float] = random.random,
        schedule: Schedule | None = None,
        poll_s: float = POLL_S,
    ) -> None:
        self._store = store
        self._clock = clock
        self._rng = rng
        self._schedule = schedule or Schedule()
        self._poll_s = poll_s
        self._receivers: dict[str, _Receiver] = {}
        self._wake = threading.Condition()
        self._finished: list[tuple[_Receiver, EventRecord, Outcome]] = []
        self._thread: threading.Thread | None = None
        self._has_started = False
        self._stopping = threading.Event()
        self._stop_by = 0.0
        self._lease: Lease | None = None
        self._lease_until = 0.0
        self.update(receivers)

    @property
    def is_leading(self) -> bool:
        """Tell whether this process delivers at present."""
        return self._lease is not None

    def update(self, receivers: Sequence[Webhook]) -> None:
        """Deliver to these receivers from now on; one whose URL stays goes on where it is."""
        now, present = self._clock(), self._receivers
        fresh: dict[str, _Receiver] = {}
        for webhook in receivers:
            name = receiver_name(webhook.url)
            known = present.get(name)
            if known is not None:
                known.webhook = webhook
            fresh[name] = known or _Receiver(webhook, now)
        self._receivers = fresh
        if self._has_started:
            self.start()

    def start(self) -> None:
        """Start to deliver, in a thread of its own; without receivers there is nothing to start."""
        self._has_started = True
        if self._receivers and self._thread is None:
            self._thread = threading.Thread(target=self._run, name="gateway-webhooks", daemon=True)
            self._thread.start()

    def stop(self, timeout_s: float = 1.0) -> None:
        """Wait up to ``timeout_s`` for what is being posted, and leave the rest to the next holder."""
        with self._wake:
            self._stop_by = time.monotonic() + timeout_s
            self._stopping.set()
            self._wake.notify()
        if self._thread is not None:
            self._thread.join(timeout_s + 1)

    def states(self) -> tuple[ReceiverState, ...]:
        """Return how the receivers do; of use where :attr:`is_leading`."""
        return tuple(
            ReceiverState(receiver.shown, receiver.unsaved or receiver.record)
            for receiver in self._receivers.values()
        )

    def report(self) -> list[dict[str, Any]]:
        """Return how the receivers do, JSON-able, for people; nothing where another process delivers.

        ``failing_since`` is in Unix seconds, 0 while the receiver takes what it is sent.
        """
        if not self.is_leading:
            return []
        names = ("delivered", "given_up", "failing_since", "is_stopped", "last_error")
        return [
            {"url": each.url, **{name: getattr(each.record, name) for name in names}}
            for each in self.states()
            if each.record is not None
        ]

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._guarded(self._turn)
            with self._wake:
                if not (self._stopping.is_set() or self._finished):
                    self._wake.wait(self._poll_s)
        while self._is_any_busy() and (left_s := self._stop_by - time.monotonic()) > 0:
            with self._wake:
                if not self._finished:
                    self._wake.wait(left_s)
            self._guarded(self._settle_finished)
        if self._lease is not None:
            self._guarded(self._leave)

    def _is_any_busy(self) -> bool:
        return any(receiver.is_busy for receiver in self._receivers.values())

    def _guarded(self, action: Callable[[], None]) -> None:
        """Do ``action``; a store in trouble is told by the store itself, and tried again at the next turn."""
        try:
            action()
        except (StoreUnavailable, TimeoutError) as exc:
            log.debug("the state cannot be asked: %s", exc)
            if time.monotonic() >= self._lease_until:
                self._lease = None
        except Exception:
            log.exception("delivering events failed in a way that nobody foresaw")

    def _ask(self, question: Callable[[Ledger], T]) -> T:
        return self._store.ask(question).result(ANSWER_LIMIT_S)

    def _turn(self) -> None:
        self._settle_finished()
        now = self._clock()
        receivers = dict(self._receivers)
        for receiver, event in self._ask(lambda ledger: self._look(ledger, receivers, now)):
            receiver.is_busy = True
            threading.Thread(
                target=self._attempt, args=(receiver, event), name="gateway-webhook", daemon=True
            ).start()

    def _look(
        self, ledger: Ledger, receivers: dict[str, _Receiver], now: float
    ) -> list[tuple[_Receiver, EventRecord]]:
        """Return what is to be posted now, in the store's thread; nothing where somebody else delivers."""
        lease = self._hold_lease(ledger)
        if lease is None:
            return []
        stored = {record.receiver: record for record in ledger.receivers()}
        for name in receivers.keys() - stored.keys():
            ledger.add_receiver(name, receivers[name].since)
        if receivers.keys() - stored.keys():
            stored = {record.receiver: record for record in ledger.receivers()}
        for name in stored.keys() - receivers.keys():
            if stored[name].is_stopped:
                ledger.forget_receiver(name)
        due = []
        for name, receiver in receivers.items():
            if receiver.is_busy:
                continue
            record = self._catch_up(ledger, receiver, stored[name], lease, now)
            if record is None or record.is_stopped or record.next_try_at > now:
                continue
            event = ledger.next_event(record.last_id)
            if event is not None:
                due.append((receiver, event))
        return due

    def _hold_lease(self, ledger: Ledger) -> Lease | None:
        """Return the lease where it is ours: renewed in time, taken when it is free."""
        asked_at = time.monotonic()
        if self._lease is not None and asked_at < self._lease_until - LEASE_S + RENEW_AFTER_S:
            return self._lease
        holder = self._store.worker
        if self._lease is None:
            held = ledger.lease(LEASE)
            if held is not None and held.holder != holder:
                return None
        self._lease = ledger.take_lease(LEASE, holder, LEASE_S)
        self._lease_until = asked_at + LEASE_S
        return self._lease

    def _catch_up(
        self, ledger: Ledger, receiver: _Receiver, stored: ReceiverRecord, lease: Lease, now: float
    ) -> ReceiverRecord | None:
        """Hold a receiver against the store: save what could not be saved, unless somebody went on since."""
        fresh = receiver.unsaved
        if receiver.record is None or _place(stored) != _place(receiver.record):
            fresh = None
        if fresh is None and now - stored.seen_at > TOUCH_AFTER_S:
            fresh = replace(stored, seen_at=now)
        if fresh is not None and not ledger.save_receiver(fresh, lease=lease):
            self._lease = None
            return None
        receiver.record, receiver.unsaved = fresh or stored, None
        return receiver.record

    def _attempt(self, receiver: _Receiver, event: EventRecord) -> None:
        """Post ``event`` and report; runs in a thread of its own, whatever the receiver makes of it."""
        outcome = Outcome(error="an error in the gateway")
        try:
            notice = notice_of(event)
            headers = notice.headers(receiver.webhook.signing_key, now=self._clock())
            outcome = post(receiver.webhook.url, notice.body, headers)
        except Exception:
            log.exception("event %d could not be sent to %s", event.id, receiver.shown)
        with self._wake:
            self._finished.append((receiver, event, outcome))
            self._wake.notify()

    def _settle_finished(self) -> None:
        """Enter what came of the attempts, and store it; what cannot be stored now is at the next look."""
        with self._wake:
            finished, self._finished = self._finished, []
        for receiver, event, outcome in finished:
            receiver.is_busy = False
            if receiver.record is not None:
                receiver.unsaved = after_attempt(
                    receiver.record,
                    event,
                    outcome,
                    now=self._clock(),
                    chance=self._rng(),
                    schedule=self._schedule,
                )
                _tell(receiver.shown, receiver.record, receiver.unsaved, event)
        for receiver, _event, _outcome in finished:
            self._save(receiver)

    def _save(self, receiver: _Receiver) -> None:
        unsaved, lease = receiver.unsaved, self._lease
        if unsaved is None or lease is None:
            return
        if self._ask(lambda ledger: ledger.save_receiver(unsaved, lease=lease)):
            receiver.record, receiver.unsaved = unsaved, None
        else:
            self._lease = None

    def _leave(self) -> None:
        lease, self._lease = self._lease, None
        if lease is not None:
            self._ask(lambda ledger: ledger.release_lease(lease))


def _place(record: ReceiverRecord) -> tuple[int, int]:
    return record.last_id, record.attempts


def _tell(shown: str, before: ReceiverRecord, after: ReceiverRecord, event: EventRecord) -> None:
    """Log what people should know: a receiver that begins or ends to fail, and what it will never get."""
    if after.is_stopped:
        log.warning("%s answered 410: it gets no more events until it is taken out of the table", shown)
    elif after.given_up > before.given_up:
        log.warning(
            "%s did not take event %d (%s %s), which is given up: %s",
            shown, event.id, event.kind, event.key, after.last_error,
        )  # fmt: skip
    elif after.failing_since and not before.failing_since:
        log.warning("%s does not take event %d: %s; it is tried again", shown, event.id, after.last_error)
    elif before.failing_since and not after.failing_since:
        log.info("%s takes events again", shown)
