"""Give a worker its store: what is recorded never waits and never fails; one thread talks to the database.

Recording adds to a bounded buffer. The thread writes it once a second, each batch exactly once, and answers
questions in between. Trouble (down, locked, full, read-only, deleted) leads to an exponential back-off;
meanwhile sums go on adding up, and questions fail at once; what no longer fits is dropped and counted. It
heals by itself. The engine is made inside the thread, so start it after a fork, never before.
"""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections import deque
from concurrent.futures import Future
from typing import TYPE_CHECKING, TypeVar

from gateway.store.buffer import Batch, Buffer, Limits
from gateway.store.errors import StoreUnavailable
from gateway.store.ledger import Ledger
from gateway.store.records import Retention, StoreHealth

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gateway.store.records import EventRecord, ExampleRecord, FindingRecord, Scope, Side

log = logging.getLogger("gateway.store")

T = TypeVar("T")

FLUSH_INTERVAL_S = 1.0
FIRST_BACKOFF_S = 0.5
LONGEST_BACKOFF_S = 30.0
FIRST_PRUNE_S = 60.0
PRUNE_INTERVAL_S = 3600.0
ENTRIES_A_WRITE = 200
QUESTIONS = 256
"""Questions that may wait; one more fails at once."""


class Store:
    """Be one process's way to the state behind ``url`` (see :func:`~gateway.store.location.locate`).

    ``worker`` names this process among all that share the store, and is made up when it is not given.
    """

    def __init__(
        self,
        url: str,
        *,
        worker: str | None = None,
        limits: Limits | None = None,
        retention: Retention | None = None,
        flush_interval_s: float = FLUSH_INTERVAL_S,
        longest_backoff_s: float = LONGEST_BACKOFF_S,
    ) -> None:
        self.url = url
        self.worker = (worker or uuid.uuid4().hex)[:64]
        self.recreated = 0
        """How often the database turned out to be new after this process had used it: positions are lost."""
        self._buffer = Buffer(limits)
        self._retention = retention or Retention()
        self._flush_interval_s = flush_interval_s
        self._longest_backoff_s = longest_backoff_s
        self._wake = threading.Condition()
        self._questions: deque[tuple[Callable[[Ledger], object], Future[object]]] = deque()
        self._is_stopping = False
        self._is_flush_wanted = False
        self._thread: threading.Thread | None = None
        self._ledger: Ledger | None = None
        self._was_open = False
        self._taken = Batch()
        self._is_writing = False
        self._in_flight: Batch | None = None
        self._sequence = 0
        self._failures = 0
        self._retry_at = 0.0
        self._flush_at = 0.0
        self._prune_at = time.monotonic() + FIRST_PRUNE_S
        self._reason = "not opened yet"
        self._written = 0
        self._flushed_at: float | None = None

    def start(self) -> None:
        """Start the thread; the database is opened (and migrated) there, and may come up later."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="gateway-store", daemon=True)
            self._thread.start()

    def stop(self, timeout_s: float = 3.0) -> None:
        """Write what is left if the database takes it within ``timeout_s``, and let go of it."""
        with self._wake:
            self._is_stopping = True
            self._wake.notify()
        if self._thread is not None:
            self._thread.join(timeout_s)

    def record(self, scope: Scope, counts: Mapping[str, int]) -> None:
        """Add ``counts`` (name → how many) to the sums of ``scope``."""
        self._buffer.count(scope, counts)

    def record_caller(self, scope: Scope, side: Side, word: int, bits: int) -> None:
        """Note a caller of ``side`` as ``bits`` in a ``word`` of the side's sketch."""
        self._buffer.see_caller(scope, side, word, bits)

    def record_error_caller(self, scope: Scope, side: Side, caller: int) -> None:
        """Note that ``caller`` (a digest of 63 bits) met an error on ``side``; its first in a run counts."""
        self._buffer.see_error_caller(scope, side, caller)

    def record_event(self, event: EventRecord) -> None:
        """Append ``event``; one that belongs to a move is stored with it instead (``save_position``)."""
        self._buffer.add_event(event)

    def record_finding(self, finding: FindingRecord, example: ExampleRecord | None = None) -> None:
        """Count a signature once more, with a redacted example pair while it has too few."""
        self._buffer.add_finding(finding, example)

    def ask(self, question: Callable[[Ledger], T]) -> Future[T]:
        """Have ``question`` called with the ledger in the store's thread; never blocks.

        The future fails with :class:`StoreUnavailable` when the store cannot answer now. From a coroutine:
        ``await asyncio.wrap_future(store.ask(Ledger.positions))``.
        """
        answer: Future[T] = Future()
        with self._wake:
            if self._is_stopping or self._thread is None:
                answer.set_exception(StoreUnavailable("the store is not running"))
            elif len(self._questions) >= QUESTIONS:
                self._buffer.drop("question", 1)
                answer.set_exception(StoreUnavailable("too many questions are waiting for the store"))
            else:
                self._questions.append((question, answer))  # type: ignore[arg-type]  # the pair shares one T
                self._wake.notify()
        return answer

    def flush(self) -> None:
        """Ask for a write now rather than at the next interval; does not wait for it."""
        with self._wake:
            self._is_flush_wanted = True
            self._wake.notify()

    def health(self) -> StoreHealth:
        """Return how the store does, without asking the database."""
        dropped = self._buffer.losses()
        pending = len(self._buffer) + len(self._taken) + len(self._in_flight or ())
        age = time.monotonic() - self._flushed_at if self._flushed_at is not None else -1.0
        facts: dict[str, int | float | str] = {
            "pending": max(pending, int(self._is_writing)),
            "written": self._written,
            "dropped": sum(dropped.values()),
            "failures": self._failures,
            "recreated": self.recreated,
            "last_write_age_s": round(age, 1),
            **{f"dropped_{kind}": n for kind, n in dropped.items()},
        }
        return StoreHealth(is_ok=not self._reason, reason=self._reason, facts=facts)

    def _run(self) -> None:
        while True:
            with self._wake:
                if not (self._is_stopping or self._questions or self._is_flush_wanted):
                    self._wake.wait(max(0.0, self._flush_at - time.monotonic()))
                is_stopping, questions = self._is_stopping, list(self._questions)
                self._questions.clear()
                if self._is_flush_wanted:
                    self._is_flush_wanted = False
                    self._flush_at = 0.0
            self._answer(questions)
            now = time.monotonic()
            if is_stopping:
                self._retry_at = 0.0
            if is_stopping or now >= self._flush_at:
                self._attempt(self._flush)
                self._flush_at = max(time.monotonic() + self._flush_interval_s, self._retry_at)
            if is_stopping:
                if self._ledger is not None:
                    self._ledger.close()
                return
            if now >= self._prune_at and self._ledger is not None:
                self._prune_at = now + PRUNE_INTERVAL_S
                self._attempt(lambda ledger: ledger.prune(self._retention, time.time()))

    def _answer(self, questions: list[tuple[Callable[[Ledger], object], Future[object]]]) -> None:
        for question, answer in questions:
            if not answer.set_running_or_notify_cancel():
                continue
            try:
                answer.set_result(self._attempt(question, is_raising=True))
            except BaseException as exc:
                answer.set_exception(exc)

    def _attempt(self, action: Callable[[Ledger], T], *, is_raising: bool = False) -> T | None:
        """Do ``action`` with an open ledger; take note of how it went, and back off from trouble."""
        try:
            if time.monotonic() < self._retry_at:
                raise StoreUnavailable(self._reason)
            result = action(self._opened())
        except StoreUnavailable as exc:
            if time.monotonic() >= self._retry_at:
                self._back_off(str(exc))
            if is_raising:
                raise
            return None
        except Exception as exc:
            if is_raising:
                raise
            log.exception("the store failed in a way that it does not know")
            self._back_off(f"{type(exc).__name__}: {exc}")
            return None
        if self._failures:
            log.info("the state can be written again")
        self._reason, self._failures, self._was_open = "", 0, True
        return result

    def _opened(self) -> Ledger:
        """Return the ledger, opened again when its file is another one now."""
        if self._ledger is not None and self._ledger.is_gone:
            log.warning("the state's file %s was deleted or replaced", self._ledger.path)
            self._close()
        if self._ledger is None:
            self._ledger = Ledger(self.url)
            if self._ledger.is_new and self._was_open:
                self.recreated += 1
        return self._ledger

    def _back_off(self, reason: str) -> None:
        if not self._failures:
            log.warning("the state cannot be used: %s; what is counted is kept in memory meanwhile", reason)
        self._failures += 1
        self._reason = reason
        pause_s = min(self._longest_backoff_s, FIRST_BACKOFF_S * 2 ** min(self._failures - 1, 16))
        self._retry_at = time.monotonic() + pause_s
        self._close()

    def _close(self) -> None:
        if self._ledger is not None:
            self._ledger.close()
            self._ledger = None

    def _flush(self, ledger: Ledger) -> None:
        """Write what could not be written before, the same as it was; then what was gathered since.

        It goes in small pieces: whatever holds the interpreter for long delays the requests in its loop.
        """
        if self._in_flight is not None:
            self._write(ledger, self._in_flight)
        self._is_writing = True
        if not len(self._taken):
            self._taken = self._buffer.take()
        while len(self._taken):
            self._sequence += 1
            self._in_flight = self._taken.cut(ENTRIES_A_WRITE)
            self._write(ledger, self._in_flight)
        self._is_writing = False

    def _write(self, ledger: Ledger, batch: Batch) -> None:
        try:
            refused = ledger.write(batch, worker=self.worker, sequence=self._sequence, now=time.time())
        except StoreUnavailable:
            raise
        except Exception:
            log.exception("a batch of %d entries was refused by the database", len(batch))
            self._buffer.drop("refused", len(batch))
            self._in_flight = None
            raise
        self._written += len(batch)
        self._buffer.drop("error_caller", refused)
        self._in_flight = None
        self._flushed_at = time.monotonic()
