"""Claim what the ledger keeps, on SQLite and on PostgreSQL alike."""

from __future__ import annotations

import dataclasses
import threading
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import text

from gateway.errors import SettingsError
from gateway.store import (
    EventRecord,
    ExampleRecord,
    FindingRecord,
    Ledger,
    PositionRecord,
    Retention,
    Scope,
    StoreUnavailable,
    locate,
)
from gateway.store.buffer import Batch, Buffer, Limits
from gateway.store.location import open_engine
from gateway.store.migration import MIGRATIONS, migrate
from gateway.store.records import ERROR_CALLERS_KEPT
from gateway.store.schema import HEAD, VERSION_TABLE, metadata

DAY_S = 86_400
SHADOW = Scope("a1b2c3d4e5f6", 1, "shadow")
CANARY = Scope("a1b2c3d4e5f6", 1, "canary 5%")

POSITION = PositionRecord(
    route_id="a1b2c3d4e5f6",
    key="GET /search",
    fingerprint="00ff",
    origin_stage="shadow",
    origin_weight_bp=0,
    stage="canary",
    weight_bp=500,
    run=1,
    since=1000.5,
)
EVENT = EventRecord(
    at=5.0,
    route_id=POSITION.route_id,
    key="GET /search",
    kind="advanced",
    before="shadow",
    after="canary 5%",
    caused_by="controller",
    sentence="0 mismatches in 4,512 comparisons",
    numbers={"parity.comparisons": 4512, "parity.log_e": 2.9957},
)


def test_sums_of_several_workers_and_days_add_up(ledger: Ledger) -> None:
    for worker in ("one", "two"):
        for sequence in (1, 2):
            buffer = Buffer()
            buffer.count(SHADOW, {"comparisons": 10, "mismatches": 1})
            buffer.count(CANARY, {"new.requests": 3})
            ledger.write(buffer.take(), worker=worker, sequence=sequence, now=sequence * DAY_S)
    evidence = ledger.evidence([SHADOW])
    assert evidence[SHADOW].counts == {"comparisons": 40, "mismatches": 4}
    assert evidence[CANARY].counts == {"new.requests": 12}, "the run's other steps come along"
    assert ledger.evidence([Scope("a1b2c3d4e5f6", 2, "shadow")]) == {}


def test_a_batch_that_is_sent_twice_counts_once(ledger: Ledger) -> None:
    batch = Batch(counters={(SHADOW, "comparisons"): 7}, events=[EVENT])
    for _ in range(2):
        ledger.write(batch, worker="one", sequence=1, now=0.0)
    assert ledger.evidence([SHADOW])[SHADOW].counts == {"comparisons": 7}
    assert len(ledger.events()) == 1


def test_a_caller_with_an_error_counts_once_in_a_run_where_it_was_first_met(ledger: Ledger) -> None:
    for sequence, (scope, side) in enumerate(((SHADOW, "legacy"), (CANARY, "new"), (CANARY, "new")), 1):
        buffer = Buffer()
        buffer.see_error_caller(scope, side, 42)  # type: ignore[arg-type]  # the tuple lost the literal
        buffer.see_error_caller(scope, side, 100 + sequence)  # type: ignore[arg-type]  # likewise
        ledger.write(buffer.take(), worker=f"w{sequence}", sequence=1, now=0.0)
    evidence = ledger.evidence([CANARY])
    assert evidence[SHADOW].callers_with_error == {"legacy": 2}
    assert evidence[CANARY].callers_with_error == {"new": 2}


def test_a_run_takes_no_more_callers_once_it_has_enough(ledger: Ledger) -> None:
    route_id, run, step = CANARY
    full = Batch(error_callers={(route_id, run, n): (step, "legacy") for n in range(ERROR_CALLERS_KEPT)})
    assert ledger.write(full, worker="one", sequence=1, now=0.0) == 0
    more = Batch(error_callers={(route_id, run, -1): (step, "new"), (route_id, 2, 5): (step, "new")})
    assert ledger.write(more, worker="one", sequence=2, now=0.0) == 1
    assert ledger.evidence([CANARY])[CANARY].callers_with_error == {"legacy": ERROR_CALLERS_KEPT}


def test_sketches_of_several_workers_unite(ledger: Ledger) -> None:
    for worker, bits in (("one", 0b0011), ("two", 0b0110), ("three", 1 << 59)):
        buffer = Buffer()
        buffer.see_caller(CANARY, "new", 3, bits)
        ledger.write(buffer.take(), worker=worker, sequence=1, now=0.0)
    assert ledger.evidence([CANARY])[CANARY].words == {"new": ((3, 0b0111 | 1 << 59),)}


def test_a_position_is_saved_with_its_event_and_comes_back_whole(ledger: Ledger) -> None:
    stored = ledger.save_position(POSITION, EVENT)
    assert stored == dataclasses.replace(POSITION, version=1)
    assert ledger.positions() == (stored,)
    assert ledger.events() == (dataclasses.replace(EVENT, id=1),)


def test_of_two_who_change_a_position_the_second_is_told(ledger: Ledger) -> None:
    assert ledger.save_position(POSITION) is not None
    assert ledger.save_position(POSITION) is None, "it is there already"
    (read,) = ledger.positions()
    held = ledger.save_position(dataclasses.replace(read, is_held=True))
    assert held is not None
    assert ledger.save_position(dataclasses.replace(read, stage="new"), EVENT) is None
    assert ledger.positions() == (held,)
    assert ledger.events() == (), "the event of a move that was not made is not told"
    assert not ledger.delete_position(read)
    assert ledger.delete_position(held, EVENT)
    assert ledger.positions() == ()


def test_who_lost_the_lease_moves_nothing(ledger: Ledger) -> None:
    mine = ledger.take_lease("controller", "one", 30.0)
    assert mine is not None
    assert ledger.save_position(POSITION, EVENT, lease=mine) is not None
    ledger.release_lease(mine)
    theirs = ledger.take_lease("controller", "two", 30.0)
    assert theirs is not None
    assert theirs.token > mine.token
    (read,) = ledger.positions()
    assert ledger.save_position(dataclasses.replace(read, stage="new"), lease=mine) is None
    assert ledger.save_position(dataclasses.replace(read, stage="new"), lease=theirs) is not None


def test_who_took_the_lease_again_moves_nothing_by_the_one_before(ledger: Ledger) -> None:
    before = ledger.take_lease("controller", "one", 30.0)
    assert before is not None
    ledger.release_lease(before)
    now = ledger.take_lease("controller", "one", 30.0)
    assert now is not None
    assert ledger.save_position(POSITION, EVENT, lease=before) is None
    assert ledger.save_position(POSITION, EVENT, lease=now) is not None


def test_a_lease_has_one_holder_who_may_renew_it(ledger: Ledger) -> None:
    first = ledger.take_lease("controller", "one", 30.0)
    assert first is not None
    assert ledger.take_lease("controller", "two", 30.0) is None
    assert ledger.lease("controller") == first
    again = ledger.take_lease("controller", "one", 60.0)
    assert again is not None
    assert again.token == first.token
    assert again.expires_at > first.expires_at + 29
    assert ledger.take_lease("other", "two", 30.0) is not None


def test_a_lease_that_ran_out_goes_to_the_next_with_a_higher_token(ledger: Ledger) -> None:
    dead = ledger.take_lease("controller", "one", -1.0)
    assert dead is not None
    assert ledger.lease("controller") is None
    heir = ledger.take_lease("controller", "two", 30.0)
    assert heir is not None
    assert heir.token == dead.token + 1
    ledger.release_lease(dead)
    assert ledger.lease("controller") == heir


def test_a_signature_is_one_row_with_a_count_and_at_most_five_examples(ledger: Ledger) -> None:
    for sequence in range(1, 4):
        buffer = Buffer()
        for n in range(3):
            at = float(10 * sequence + n)
            finding = FindingRecord(
                "r", "sig", "json.value", "$.total", "differs", first_seen=at, last_seen=at
            )
            buffer.add_finding(finding, ExampleRecord(at, f"pair at {at:g}"))
        ledger.write(buffer.take(), worker="one", sequence=sequence, now=0.0)
    (finding,) = ledger.findings(route_id="r")
    assert (finding.count, finding.first_seen, finding.last_seen) == (9, 10.0, 32.0)
    assert [example.document for example in ledger.examples("r", "sig")] == [
        f"pair at {at}" for at in (10, 11, 12, 20, 21)
    ]
    assert ledger.findings(route_id="another") == ()


def test_events_come_newest_first_and_can_be_followed(ledger: Ledger) -> None:
    events = [dataclasses.replace(EVENT, at=float(n), route_id=f"r{n % 2}") for n in range(6)]
    ledger.write(Batch(events=events), worker="one", sequence=1, now=0.0)
    assert [event.at for event in ledger.events(limit=2)] == [5.0, 4.0]
    assert [event.at for event in ledger.events(route_id="r1")] == [5.0, 3.0, 1.0]
    newest = ledger.events(limit=1)[0].id
    assert ledger.events(after_id=newest) == ()


def test_texts_that_a_database_would_refuse_are_mended_and_not_lost(ledger: Ledger) -> None:
    finding = FindingRecord("r", "s" * 99, "k" * 99, "$.a\0b\udc80", "x" * 100_000)
    buffer = Buffer()
    buffer.add_finding(finding, ExampleRecord(0.0, "\0"))
    buffer.add_event(dataclasses.replace(EVENT, key="GET /\udcff\0", kind="e" * 99))
    ledger.write(buffer.take(), worker="one", sequence=1, now=0.0)
    (stored,) = ledger.findings()
    assert (stored.place, len(stored.signature)) == ("$.a\ufffdb?", 64)
    assert ledger.events()[0].key == "GET /?\ufffd"


def test_what_is_old_or_too_much_goes_and_the_current_run_stays(ledger: Ledger) -> None:
    old = Scope("a1b2c3d4e5f6", 7, "shadow")
    now = 400.0 * DAY_S
    for scope, sequence in ((old, 1), (SHADOW, 2)):
        buffer = Buffer()
        buffer.count(scope, {"comparisons": 1})
        buffer.see_error_caller(scope, "new", 5)
        buffer.see_caller(scope, "new", 1, 1)
        ledger.write(buffer.take(), worker="old", sequence=sequence, now=0.0)
    ledger.save_position(POSITION)
    buffer = Buffer()
    for n in range(30):
        buffer.add_event(dataclasses.replace(EVENT, at=now + n))
        seen = now + n if n else 0.0
        finding = FindingRecord("r", f"sig{n}", "status", "", first_seen=seen, last_seen=seen)
        buffer.add_finding(finding, ExampleRecord(seen, "{}"))
    ledger.write(buffer.take(), worker="new", sequence=1, now=now)
    ledger.prune(Retention(events_count=10, findings_count=12), now)
    assert ledger.evidence([old, SHADOW]).keys() == {SHADOW}
    assert [event.at - now for event in ledger.events()] == list(range(29, 19, -1))
    assert [finding.signature for finding in ledger.findings()] == [f"sig{n}" for n in range(29, 17, -1)]
    assert ledger.examples("r", "sig29")
    assert ledger.examples("r", "sig17") == ()
    assert ledger.prune(Retention(events_count=10, findings_count=12), now) == 0


def test_the_migrations_make_the_tables_that_the_code_uses(ledger: Ledger) -> None:
    engine = open_engine(ledger.url)
    with engine.connect() as connection:
        options = {"include_name": lambda name, kind, _parents: kind != "table" or name != VERSION_TABLE}
        assert compare_metadata(MigrationContext.configure(connection, opts=options), metadata) == []
        assert connection.execute(text(f"SELECT version_num FROM {VERSION_TABLE}")).scalar() == HEAD
    engine.dispose()
    assert len(list(MIGRATIONS.glob("versions/*.py"))) == int(HEAD)


def test_many_workers_that_open_an_empty_state_at_once_migrate_it_once(url: str) -> None:
    results: list[bool | BaseException] = []
    barrier = threading.Barrier(6)

    def open_it() -> None:
        engine = open_engine(url)
        barrier.wait()
        try:
            results.append(migrate(engine))
        except BaseException as exc:
            results.append(exc)
        finally:
            engine.dispose()

    if url.startswith("sqlite"):
        Path(url.removeprefix("sqlite:///")).parent.mkdir()
    threads = [threading.Thread(target=open_it) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(map(str, results)) == ["False"] * 5 + ["True"]


def test_many_workers_connect_to_a_new_file_at_once(tmp_path: Path) -> None:
    """Changing to WAL, SQLite heeds no busy timeout: about one in two hundred was told "locked" at once."""
    problems: list[BaseException] = []

    def connect(url: str, barrier: threading.Barrier) -> None:
        engine = open_engine(url)
        barrier.wait()
        try:
            engine.connect().close()
        except BaseException as exc:
            problems.append(exc)
        finally:
            engine.dispose()

    for number in range(150):
        arguments = (f"sqlite:///{tmp_path / str(number)}.db", threading.Barrier(8))
        threads = [threading.Thread(target=connect, args=arguments) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert problems == []


def test_a_state_that_a_newer_gateway_wrote_is_left_alone(url: str) -> None:
    with Ledger(url) as ledger:
        ledger.save_position(POSITION)
    engine = open_engine(url)
    with engine.connect().execution_options(is_writing=True) as connection, connection.begin():
        connection.execute(text(f"UPDATE {VERSION_TABLE} SET version_num = '9999'"))
    engine.dispose()
    with pytest.raises(StoreUnavailable, match="a newer one has written it"):
        Ledger(url)


def test_the_state_lies_beside_the_table_out_of_git(tmp_path: Path) -> None:
    url = locate(None, tmp_path / "routing.yaml")
    Ledger(url).close()
    assert (tmp_path / ".gateway" / "state.db").is_file()
    assert (tmp_path / ".gateway" / ".gitignore").read_text() == "*\n"
    assert (tmp_path / ".gateway").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("url", ["mysql://db/x", "sqlite://", "sqlite:///:memory:", "nonsense"])
def test_a_store_that_cannot_hold_the_state_is_named(url: str) -> None:
    with pytest.raises(SettingsError, match="store: "):
        locate(url, Path("routing.yaml"))


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
def test_postgresql_is_reached_by_psycopg_whatever_its_url_is_called(scheme: str) -> None:
    assert locate(f"{scheme}://u:p@h/d", Path("routing.yaml")) == "postgresql+psycopg://u:p@h/d"


def test_a_buffer_is_bounded_and_counts_what_it_drops() -> None:
    buffer = Buffer(Limits(2, 2, 2, 2, 2, examples_bytes=10, example_bytes=6))
    for n in range(5):
        scope = Scope(f"r{n}", 1, "shadow")
        for _ in range(2):
            buffer.count(scope, {"comparisons": 3})
        buffer.see_caller(scope, "new", 0, 1)
        buffer.see_error_caller(scope, "new", n)
        buffer.add_event(EVENT)
        buffer.add_finding(FindingRecord(f"r{n}", "s", "status", ""), ExampleRecord(0.0, "12345" + "67" * n))
    assert buffer.losses() == {
        "counter": 18,
        "caller": 3,
        "error_caller": 3,
        "event": 3,
        "finding": 3,
        "example": 1,
    }
    batch = buffer.take()
    assert len(batch) == 10
    assert batch.counters == {(Scope(f"r{n}", 1, "shadow"), "comparisons"): 6 for n in range(2)}
    assert len(buffer) == 0


@pytest.mark.parametrize("entries", [1, 7, 40, 1000])
def test_a_batch_that_is_cut_into_pieces_is_the_same_in_all(entries: int) -> None:
    buffer = Buffer()
    for n in range(30):
        scope = Scope(f"r{n}", 1, "shadow")
        buffer.count(scope, {"comparisons": n, "mismatches": 1})
        buffer.see_caller(scope, "new", n % 17, 1)
        buffer.see_error_caller(scope, "legacy", n)
        buffer.add_event(dataclasses.replace(EVENT, at=float(n)))
        buffer.add_finding(FindingRecord(f"r{n}", "s", "status", ""), ExampleRecord(0.0, str(n)))
    batch = buffer.take()
    counters, events, examples, pieces = dict(batch.counters), list(batch.events), dict(batch.examples), 0
    while len(batch):
        piece = batch.cut(entries)
        assert 0 < len(piece) <= entries
        pieces += 1
        for key, n in piece.counters.items():
            assert counters.pop(key) == n
        for found in piece.findings:
            assert examples.pop(found) == piece.examples[found]
        assert events[: len(piece.events)] == piece.events
        del events[: len(piece.events)]
    assert (counters, events, examples) == ({}, [], {})
    assert (pieces == 1) == (entries == 1000)


def test_who_only_looks_makes_no_state(url: str, tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable, match="there is no state"):
        Ledger(url, may_create=False)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(StoreUnavailable, match="there is no state"):
        Ledger(url, may_create=False)
    with Ledger(url) as ledger:
        ledger.save_position(POSITION)
    with Ledger(url, may_create=False) as ledger:
        assert [each.route_id for each in ledger.positions()] == [POSITION.route_id]


def test_who_only_looks_leaves_a_state_of_another_version_as_it_is(ledger: Ledger, url: str) -> None:
    engine = open_engine(url)
    with engine.begin() as connection:
        connection.execute(text(f"UPDATE {VERSION_TABLE} SET version_num = '0000'"))
    engine.dispose()
    with pytest.raises(StoreUnavailable, match="at version 0000"):
        Ledger(url, may_create=False)


def test_the_last_event_of_each_route_is_found_however_old(ledger: Ledger) -> None:
    for name in ("one", "two"):
        placed = dataclasses.replace(POSITION, route_id=name)
        ledger.save_position(placed, dataclasses.replace(EVENT, route_id=name, kind="placed"))
    held = dataclasses.replace(POSITION, route_id="one", version=1)
    ledger.save_position(held, dataclasses.replace(EVENT, route_id="one", kind="held"))
    kinds = {route: each.kind for route, each in ledger.last_events().items()}
    assert kinds == {"one": "held", "two": "placed"}
