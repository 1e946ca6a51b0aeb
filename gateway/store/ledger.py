"""Read and write the state in plain synchronous calls, each one transaction. For one thread.

The writer of a worker uses it from its background thread; a command uses it directly. Whatever a driver
raises because the database cannot be used now becomes :class:`StoreUnavailable` here, and only here.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections import defaultdict
from typing import TYPE_CHECKING, Any

from sqlalchemy import delete, func, insert, select, tuple_, update
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError, ProgrammingError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from gateway.store import receivers, statements
from gateway.store.errors import StoreUnavailable, describe
from gateway.store.folder import prepare_folder
from gateway.store.location import file_of, identity, open_engine
from gateway.store.migration import migrate, require_newest
from gateway.store.patience import Patience
from gateway.store.records import (
    ERROR_CALLERS_KEPT,
    EventRecord,
    ExampleRecord,
    FindingRecord,
    Lease,
    PositionRecord,
    ReceiverRecord,
    Scope,
    StoredEvidence,
)
from gateway.store.retention import prune
from gateway.store.schema import (
    error_callers,
    events,
    examples,
    findings,
    leases,
    positions,
)
from gateway.store.schema import receivers as receivers_table

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sqlalchemy import Connection, RowMapping, Table

    from gateway.store.buffer import Batch
    from gateway.store.records import Retention, Side

DAY_S = 86_400

_RUNS_A_QUERY = 50
_EXAMPLES_A_QUERY = 200

_BROKEN_FILE = ("disk image is malformed", "not a database")


class Ledger:
    """Be the state behind ``url`` (as :func:`~gateway.store.location.locate` returns it), migrated.

    Every method raises :class:`StoreUnavailable` when the database cannot be used now. With ``may_create``
    false, a state that is not there yet, or of another version, is left as it is, and is unavailable.
    """

    def __init__(self, url: str, *, may_create: bool = True) -> None:
        self.url = url
        self.path = file_of(url)
        with _door():
            if self.path is not None and not may_create and not self.path.exists():
                raise StoreUnavailable(f"there is no state at {self.path} yet")
            if self.path is not None and may_create:
                prepare_folder(self.path)
            self._engine = open_engine(url)
            self._dialect = self._engine.dialect.name
            self._patience = Patience(self._engine) if self._dialect == "postgresql" else None
            try:
                with self._limited():
                    if not may_create:
                        require_newest(self._engine)
                    self.is_new = may_create and migrate(self._engine)
            except BaseException:
                self.close()
                raise
            self._identity = identity(self.path)

    def __enter__(self) -> Ledger:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection; trouble in doing so is nobody's."""
        with contextlib.suppress(Exception):
            self._engine.dispose()
        if self._patience is not None:
            self._patience.close()

    @property
    def is_gone(self) -> bool:
        """Tell whether the SQLite file was deleted or replaced, so that what is written here is lost."""
        return self.path is not None and identity(self.path) != self._identity

    def write(self, batch: Batch, *, worker: str, sequence: int, now: float) -> int:
        """Write ``batch`` exactly once: a ``sequence`` of ``worker`` that is there already is passed over.

        Return how many callers with an error were not taken, because their run has enough of them.
        Rows are written in the order of their keys, so that two workers never wait for each other in a ring.
        """
        day = int(now // DAY_S)
        with self._writing() as connection:
            number = {"worker": worker, "sequence": sequence, "seen_at": now}
            if connection.execute(statements.numbering_batch(self._dialect), number).one_or_none() is None:
                return 0
            full = _full_runs(connection, batch)
            counts = [
                {**scope._asdict(), "day": day, "name": name, "n": n}
                for (scope, name), n in sorted(batch.counters.items())
            ]
            words = [
                {**scope._asdict(), "side": side, "word": word, "bits": bits, "day": day}
                for (scope, side, word), bits in sorted(batch.sketch_words.items())
            ]
            callers = [
                {"route_id": route_id, "run": run, "caller": caller, "step": step, "side": side, "day": day}
                for (route_id, run, caller), (step, side) in sorted(batch.error_callers.items())
                if (route_id, run) not in full
            ]
            found = [
                _fitting(findings, dataclasses.asdict(finding))
                for _key, finding in sorted(batch.findings.items())
            ]
            for statement, rows in (
                (statements.adding_counters(self._dialect), counts),
                (statements.uniting_sketches(self._dialect), words),
                (statements.adding_error_callers(self._dialect), callers),
                (statements.adding_findings(self._dialect), found),
            ):
                if rows:
                    connection.execute(statement, rows)
            _add_events(connection, batch.events)
            _add_examples(connection, batch)
        return len(batch.error_callers) - len(callers)

    def evidence(self, scopes: Sequence[Scope]) -> dict[Scope, StoredEvidence]:
        """Return the sums of every step of the runs that ``scopes`` name, over all workers and days."""
        counts: defaultdict[Scope, dict[str, int]] = defaultdict(dict)
        words: defaultdict[Scope, dict[Side, list[tuple[int, int]]]] = defaultdict(lambda: defaultdict(list))
        callers: defaultdict[Scope, dict[Side, int]] = defaultdict(dict)
        with self._reading() as connection:
            for start in range(0, len(scopes), _RUNS_A_QUERY):
                runs = statements.runs_of(scopes[start : start + _RUNS_A_QUERY])
                for route_id, run, step, name, n in connection.execute(statements.SUMS_OF_RUNS, runs):
                    counts[Scope(route_id, run, step)][name] = int(n)
                for *scope, side, word, bits in connection.execute(statements.WORDS_OF_RUNS, runs):
                    words[Scope(*scope)][side].append((word, bits))
                for *scope, side, n in connection.execute(statements.CALLERS_OF_RUNS, runs):
                    callers[Scope(*scope)][side] = n
        return {
            scope: StoredEvidence(
                counts.get(scope, {}),
                {side: tuple(pairs) for side, pairs in words.get(scope, {}).items()},
                callers.get(scope, {}),
            )
            for scope in {*counts, *words, *callers}
        }

    def positions(self) -> tuple[PositionRecord, ...]:
        """Return every stored position, by key."""
        with self._reading() as connection:
            rows = connection.execute(statements.ALL_POSITIONS).mappings()
            return tuple(PositionRecord(**row) for row in rows)

    def save_position(
        self, record: PositionRecord, event: EventRecord | None = None, *, lease: Lease | None = None
    ) -> PositionRecord | None:
        """Store ``record`` and ``event`` together, if nobody changed it since; return it with its version.

        ``record.version`` is the version it was read at (0: it was not there). None means that somebody
        was faster, or that ``lease`` is no longer ours: read again, and decide again.
        """
        stored = dataclasses.replace(record, version=record.version + 1)
        values = _fitting(positions, dataclasses.asdict(stored))
        with self._writing() as connection:
            if lease is not None and not _holds(connection, lease):
                return None
            if record.version == 0:
                adding = statements.upsert(self._dialect, positions).values(values).on_conflict_do_nothing()
                changed = len(connection.execute(adding.returning(positions.c.route_id)).all())
            else:
                at = (positions.c.route_id == record.route_id) & (positions.c.version == record.version)
                changed = connection.execute(update(positions).where(at).values(values)).rowcount
            if changed != 1:
                return None
            _add_events(connection, [event] if event is not None else [])
        return stored

    def delete_position(self, record: PositionRecord, event: EventRecord | None = None) -> bool:
        """Forget a position, if nobody changed it since it was read."""
        with self._writing() as connection:
            at = (positions.c.route_id == record.route_id) & (positions.c.version == record.version)
            if connection.execute(delete(positions).where(at)).rowcount != 1:
                return False
            _add_events(connection, [event] if event is not None else [])
        return True

    def events(
        self, *, route_id: str | None = None, after_id: int = 0, limit: int = 100
    ) -> tuple[EventRecord, ...]:
        """Return the newest ``limit`` events with an id above ``after_id``, newest first."""
        query = select(events).where(events.c.id > after_id).order_by(events.c.id.desc()).limit(limit)
        if route_id is not None:
            query = query.where(events.c.route_id == route_id)
        with self._reading() as connection:
            return tuple(_event(row) for row in connection.execute(query).mappings())

    def next_event(self, after_id: int) -> EventRecord | None:
        """Return the oldest event with an id above ``after_id``."""
        query = select(events).where(events.c.id > after_id).order_by(events.c.id).limit(1)
        with self._reading() as connection:
            row = connection.execute(query).mappings().one_or_none()
            return _event(row) if row is not None else None

    def receivers(self) -> tuple[ReceiverRecord, ...]:
        """Return how far every known receiver of events has come."""
        with self._reading() as connection:
            return receivers.read(connection)

    def add_receiver(self, receiver: str, since: float) -> None:
        """Let a receiver that is not known begin with the first event after ``since`` (Unix seconds)."""
        with self._writing() as connection:
            receivers.add(connection, receiver, since)

    def save_receiver(self, record: ReceiverRecord, *, lease: Lease) -> bool:
        """Store ``record`` over what is there; False: ``lease`` is not ours any more, or it is gone."""
        values = _fitting(receivers_table, dataclasses.asdict(record))
        with self._writing() as connection:
            return _holds(connection, lease) and receivers.save(connection, values)

    def forget_receiver(self, receiver: str) -> None:
        """Delete what is known of a receiver; under the same name it begins anew."""
        with self._writing() as connection:
            receivers.forget(connection, receiver)

    def last_events(self) -> dict[str, EventRecord]:
        """Return the newest event of each route, by route id."""
        newest = select(func.max(events.c.id)).group_by(events.c.route_id)
        query = select(events).where(events.c.id.in_(newest))
        with self._reading() as connection:
            rows = connection.execute(query).mappings()
            return {row["route_id"]: EventRecord(**{**row, "numbers": {}}) for row in rows}

    def findings(
        self, *, route_id: str | None = None, signature: str | None = None, limit: int = 100
    ) -> tuple[FindingRecord, ...]:
        """Return the signatures that were seen last, newest first."""
        query = select(findings).order_by(findings.c.last_seen.desc(), findings.c.signature).limit(limit)
        if route_id is not None:
            query = query.where(findings.c.route_id == route_id)
        if signature is not None:
            query = query.where(findings.c.signature == signature)
        with self._reading() as connection:
            return tuple(FindingRecord(**row) for row in connection.execute(query).mappings())

    def examples(self, route_id: str, signature: str) -> tuple[ExampleRecord, ...]:
        """Return the example pairs of one signature, oldest first."""
        at = (examples.c.route_id == route_id) & (examples.c.signature == signature)
        query = select(examples.c.at, examples.c.document).where(at).order_by(examples.c.id)
        with self._reading() as connection:
            return tuple(ExampleRecord(**row) for row in connection.execute(query).mappings())

    def take_lease(self, name: str, holder: str, ttl_s: float) -> Lease | None:
        """Take or renew a lease for ``ttl_s`` seconds of the store's clock; None: somebody else has it."""
        with self._writing() as connection:
            wanted = {"lease_name": name, "lease_holder": holder, "lease_ttl_s": ttl_s}
            row = connection.execute(statements.taking_lease(self._dialect), wanted).one_or_none()
        return Lease(name, holder, row.token, row.expires_at) if row is not None else None

    def release_lease(self, lease: Lease) -> None:
        """Give a lease up at once; one that is no longer ours stays as it is.

        The row stays, run out, so that its token goes on rising.
        """
        at = (leases.c.name == lease.name) & (leases.c.holder == lease.holder)
        at = at & (leases.c.token == lease.token)
        with self._writing() as connection:
            connection.execute(update(leases).where(at).values(expires_at=0.0))

    def lease(self, name: str) -> Lease | None:
        """Return who holds the lease ``name`` now, if anybody."""
        with self._reading() as connection:
            held = connection.execute(statements.held_lease(self._dialect), {"lease_name": name})
            row = held.mappings().one_or_none()
            return Lease(**row) if row is not None else None

    def prune(self, retention: Retention, now: float) -> int:
        """Throw away what ``retention`` does not keep; return how many rows went."""
        with self._writing() as connection:
            return prune(connection, retention, now)

    @contextlib.contextmanager
    def _reading(self) -> Iterator[Connection]:
        with _door(), self._limited(), self._engine.connect() as connection:
            yield connection

    @contextlib.contextmanager
    def _writing(self) -> Iterator[Connection]:
        with (
            _door(),
            self._limited(),
            self._engine.connect().execution_options(is_writing=True) as connection,
            connection.begin(),
        ):
            yield connection

    def _limited(self) -> contextlib.AbstractContextManager[None]:
        """Limit the waiting for a server that is silent; SQLite's only wait, for a lock, has its limit."""
        return self._patience.limited() if self._patience is not None else contextlib.nullcontext()


@contextlib.contextmanager
def _door() -> Iterator[None]:
    """Translate what says "not now"; an error in what was sent is a bug, or somebody's data, and passes.

    A table that is missing is a programming error to PostgreSQL; opening the database again makes it.
    """
    try:
        yield
    except (OperationalError, InterfaceError, ProgrammingError, PoolTimeout, OSError) as exc:
        raise StoreUnavailable(describe(exc)) from exc
    except DBAPIError as exc:
        if exc.connection_invalidated or any(words in str(exc.orig) for words in _BROKEN_FILE):
            raise StoreUnavailable(describe(exc)) from exc
        raise


def _add_events(connection: Connection, added: Sequence[EventRecord]) -> None:
    if added:
        statements.queue_for_events(connection)
        connection.execute(insert(events), [_event_row(event) for event in added])


def _event(row: RowMapping) -> EventRecord:
    return EventRecord(**{**row, "numbers": json.loads(row["numbers"])})


def _event_row(event: EventRecord) -> dict[str, Any]:
    row = dataclasses.asdict(event)
    del row["id"]
    row["numbers"] = json.dumps(dict(event.numbers), sort_keys=True)
    return _fitting(events, row)


def _fitting(table: Table, row: dict[str, Any]) -> dict[str, Any]:
    """Return ``row`` with texts that any database takes: no NUL, no half characters, none too long."""
    for name, value in row.items():
        if isinstance(value, str):
            length = getattr(table.c[name].type, "length", None)
            row[name] = value.replace("\0", "\ufffd").encode("utf-8", "replace").decode()[:length]
    return row


def _holds(connection: Connection, lease: Lease) -> bool:
    query = statements.held_lease(connection.dialect.name)
    held = connection.execute(query, {"lease_name": lease.name}).one_or_none()
    return held is not None and (held.holder, held.token) == (lease.holder, lease.token)


def _full_runs(connection: Connection, batch: Batch) -> set[tuple[str, int]]:
    """Return the runs of the batch that have as many callers with an error as are kept."""
    c = error_callers.c
    runs = sorted({(route_id, run) for route_id, run, _caller in batch.error_callers})
    full: set[tuple[str, int]] = set()
    for start in range(0, len(runs), _RUNS_A_QUERY):
        counted = (
            select(c.route_id, c.run)
            .where(tuple_(c.route_id, c.run).in_(runs[start : start + _RUNS_A_QUERY]))
            .group_by(c.route_id, c.run)
            .having(func.count() >= ERROR_CALLERS_KEPT)
        )
        full.update((route_id, run) for route_id, run in connection.execute(counted))
    return full


def _add_examples(connection: Connection, batch: Batch) -> None:
    keys = sorted(key for key, kept in batch.examples.items() if kept)
    for start in range(0, len(keys), _EXAMPLES_A_QUERY):
        part = keys[start : start + _EXAMPLES_A_QUERY]
        there = {
            (route_id, signature): n
            for route_id, signature, n in connection.execute(statements.counting_examples(part))
        }
        rows = [
            _fitting(
                examples,
                {"route_id": key[0], "signature": key[1], "at": example.at, "document": example.document},
            )
            for key in part
            for example in batch.examples[key][: statements.room_for_examples(there.get(key, 0))]
        ]
        if rows:
            connection.execute(insert(examples), rows)
