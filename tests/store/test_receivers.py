"""How far a receiver has come outlives upgrades, belongs to who holds the lease, and skips no event."""

from __future__ import annotations

import dataclasses
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg

from gateway.store import EventRecord, Ledger, ReceiverRecord, Retention, Scope, locate
from gateway.store import migration as migration_module
from gateway.store.buffer import Batch, Buffer
from gateway.store.ledger import _add_events
from gateway.store.location import open_engine
from gateway.store.migration import migrate, version
from tests.running import wait_until
from tests.store.test_ledger import DAY_S, EVENT, POSITION

if TYPE_CHECKING:
    import pytest

SHADOW = Scope(POSITION.route_id, 1, "shadow")


def happen(ledger: Ledger, *times: float, sequence: int = 1) -> list[EventRecord]:
    ledger.write(
        Batch(events=[dataclasses.replace(EVENT, at=at) for at in times]),
        worker="w",
        sequence=sequence,
        now=0.0,
    )
    return list(reversed(ledger.events(limit=len(times))))


def test_a_state_of_the_first_release_is_taken_over_with_all_that_is_in_it(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as earlier:
        earlier.setattr(migration_module, "HEAD", "0001")
        with Ledger(url) as old:
            assert old.is_new
            old.save_position(POSITION, EVENT)
            buffer = Buffer()
            buffer.count(SHADOW, {"comparisons": 7})
            old.write(buffer.take(), worker="w", sequence=1, now=0.0)
            lease = old.take_lease("controller", "w", 60.0)
        engine = open_engine(url)
        with engine.connect() as connection:
            assert version(connection) == "0001"
        assert not migrate(engine), "it is what that release takes for the newest"
        engine.dispose()
    with Ledger(url) as ledger:
        assert ledger.positions() == (dataclasses.replace(POSITION, version=1),)
        (event,) = ledger.events()
        assert event == dataclasses.replace(EVENT, id=event.id)
        assert ledger.evidence([SHADOW])[SHADOW].counts == {"comparisons": 7}
        assert ledger.lease("controller") == lease
        assert ledger.receivers() == ()
        ledger.add_receiver("r", since=0.0)
        assert ledger.next_event(ledger.receivers()[0].last_id) == event


def test_a_new_receiver_begins_after_what_happened_before_it(ledger: Ledger) -> None:
    first, second, third = happen(ledger, 1.0, 2.0, 3.0)
    ledger.add_receiver("late", since=2.5)
    ledger.add_receiver("early", since=0.5)
    ledger.add_receiver("late", since=0.0)
    early, late = ledger.receivers()
    assert (early.last_id, late.last_id) == (0, second.id)
    assert ledger.next_event(early.last_id) == first
    assert ledger.next_event(late.last_id) == third
    assert ledger.next_event(third.id) is None


def test_only_who_holds_the_lease_moves_a_receiver_on(ledger: Ledger) -> None:
    ledger.add_receiver("r", since=1.0)
    lease = ledger.take_lease("webhooks", "me", 60.0)
    assert lease is not None
    record = ReceiverRecord("r", 7, 2, 1.5, 2.5, True, 3, 4, "status 500", 9.0)
    assert ledger.save_receiver(record, lease=lease)
    assert ledger.receivers() == (record,)
    assert not ledger.save_receiver(dataclasses.replace(record, receiver="unknown"), lease=lease)
    ledger.release_lease(lease)
    assert not ledger.save_receiver(dataclasses.replace(record, last_id=8), lease=lease)
    assert ledger.receivers() == (record,)
    ledger.forget_receiver("r")
    assert ledger.receivers() == ()


def test_no_event_appears_after_one_with_a_higher_id(postgres_url: str) -> None:
    url = locate(postgres_url, Path())
    with Ledger(url) as one, Ledger(url) as two, Ledger(url) as reader:

        def later() -> None:
            two.write(Batch(events=[dataclasses.replace(EVENT, at=2.0)]), worker="w", sequence=1, now=0.0)

        def is_queueing_or_through() -> bool:
            with psycopg.connect(postgres_url) as connection:
                waiting = connection.execute("SELECT 1 FROM pg_locks WHERE NOT granted").fetchone()
            return waiting is not None or not thread.is_alive()

        thread = threading.Thread(target=later)
        with one._writing() as connection:
            _add_events(connection, [dataclasses.replace(EVENT, at=1.0)])
            thread.start()
            wait_until(is_queueing_or_through)
            assert reader.next_event(0) is None, "its id is higher, and it waits for the one before"
        thread.join(10)
        first = reader.next_event(0)
        assert first is not None
        second = reader.next_event(first.id)
        assert second is not None
        assert (first.at, second.at) == (1.0, 2.0)


def test_ids_go_on_rising_when_every_event_is_too_old_to_keep(ledger: Ledger) -> None:
    newest = happen(ledger, 1.0, 2.0, 3.0)[-1]
    ledger.prune(Retention(events_days=1), now=400.0 * DAY_S)
    assert ledger.events() == (newest,)
    assert happen(ledger, 4.0, sequence=2)[0].id > newest.id


def test_a_receiver_that_nobody_serves_any_more_is_forgotten(ledger: Ledger) -> None:
    ledger.add_receiver("old", since=0.0)
    ledger.add_receiver("recent", since=5.0 * DAY_S)
    ledger.prune(Retention(), now=8.0 * DAY_S)
    assert [record.receiver for record in ledger.receivers()] == ["recent"]
