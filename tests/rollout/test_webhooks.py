"""Every event reaches every receiver in order, whoever fails, hangs, restarts or leads meanwhile."""

from __future__ import annotations

import logging
import shutil
import sqlite3
import time
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import make_url
from standardwebhooks import Webhook as Oracle

from gateway.rollout import webhooks as webhooks_module
from gateway.rollout.notice import Schedule, receiver_name
from gateway.rollout.webhooks import Webhooks
from gateway.rollout.wording import undelivered
from gateway.store import EventRecord, Ledger, PositionRecord, ReceiverRecord, Store
from gateway.store import writer as writer_module
from gateway.table.spec import Webhook
from tests.rollout.receiving import Receiver
from tests.running import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

SOON = Schedule(first_s=0.02, longest_s=0.05)


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer_module, "FIRST_BACKOFF_S", 0.05)
    monkeypatch.setattr(webhooks_module, "LEASE_S", 1.0)
    monkeypatch.setattr(webhooks_module, "RENEW_AFTER_S", 0.2)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver().serving() as serving:
        yield serving


class Worker:
    """Be what one worker process has: a store, and its part in delivering."""

    def __init__(self, url: str, *receivers: Receiver | Webhook, schedule: Schedule = SOON) -> None:
        hooks = [each if isinstance(each, Webhook) else Webhook(each.url, "hush") for each in receivers]
        self.store = Store(url, flush_interval_s=0.02, longest_backoff_s=0.1)
        self.webhooks = Webhooks(self.store, hooks, schedule=schedule, poll_s=0.02)

    def start(self) -> Worker:
        """Start both, and wait until somebody delivers."""
        self.store.start()
        self.webhooks.start()
        wait_until(lambda: self.store.ask(lambda ledger: ledger.lease("webhooks")).result(10), what="a lease")
        return self

    def happen(self, *routes: str) -> None:
        """Let something happen to each of ``routes``."""
        for route in routes:
            self.store.record_event(event(route))

    def stop(self, timeout_s: float = 1.0) -> None:
        """Stop both, as a worker that ends does."""
        self.webhooks.stop(timeout_s)
        self.store.stop()


@pytest.fixture
def work() -> Iterator[Callable[..., Worker]]:
    """Yield what starts a worker, and stops it at the end."""
    started: list[Worker] = []

    def start(url: str, *receivers: Receiver | Webhook, schedule: Schedule = SOON) -> Worker:
        worker = Worker(url, *receivers, schedule=schedule)
        started.append(worker)
        return worker.start()

    yield start
    for worker in started:
        worker.stop()


def event(route: str, at: float | None = None) -> EventRecord:
    return EventRecord(time.time() if at is None else at, "r" * 12, route, "advanced")


def names(count: int, start: int = 0) -> list[str]:
    return [f"GET /{number}" for number in range(start, start + count)]


def progress(url: str, receiver: Receiver | str) -> ReceiverRecord:
    name = receiver_name(receiver if isinstance(receiver, str) else receiver.url)
    with Ledger(url) as ledger:
        return {record.receiver: record for record in ledger.receivers()}[name]


def test_events_arrive_once_in_order_and_signed(
    url: str, receiver: Receiver, work: Callable[..., Worker]
) -> None:
    work(url, receiver).happen(*names(30))
    wait_until(lambda: len(receiver.received) == 30, what="30 notices")
    assert receiver.routes == names(30)
    assert len(set(receiver.ids)) == 30
    for received in receiver.received:
        assert Oracle(b"hush").verify(received.body, received.headers) == received.document
    wait_until(lambda: progress(url, receiver).delivered == 30, what="its progress")


def test_a_new_receiver_begins_with_what_happens_from_now_on(
    url: str, receiver: Receiver, work: Callable[..., Worker]
) -> None:
    with Receiver().serving() as old:
        worker = work(url, old)
        worker.happen(*names(5))
        wait_until(lambda: len(old.received) == 5, what="5 notices")
        worker.webhooks.update([Webhook(old.url), Webhook(receiver.url)])
        wait_until(lambda: len(worker.webhooks.states()) == 2 and worker.webhooks.states()[1].record)
        worker.happen(*names(2, start=5))
        wait_until(lambda: len(receiver.received) == 2 and len(old.received) == 7, what="the others")
    assert receiver.routes == names(2, start=5)
    assert old.routes == names(7)


def test_a_receiver_that_fails_gets_the_same_notice_again_and_the_next_one_after_it(
    sqlite_url: str, receiver: Receiver, work: Callable[..., Worker]
) -> None:
    receiver.behaviour = 500
    worker = work(sqlite_url, receiver)
    worker.happen(*names(3))
    wait_until(lambda: len(receiver.received) >= 4, what="four attempts")
    assert len(set(receiver.ids)) == 1
    assert progress(sqlite_url, receiver).last_error == "status 500"
    receiver.behaviour = 204
    wait_until(lambda: progress(sqlite_url, receiver).delivered == 3, what="three notices")
    assert list(dict.fromkeys(receiver.routes)) == names(3)
    assert receiver.routes[-2:] == names(2, start=1)
    assert progress(sqlite_url, receiver).failing_since == 0


def test_a_receiver_that_hangs_delays_no_other(
    sqlite_url: str, receiver: Receiver, work: Callable[..., Worker]
) -> None:
    with Receiver("hang").serving() as hanging:
        work(sqlite_url, hanging, receiver).happen(*names(20))
        wait_until(lambda: len(receiver.received) == 20, timeout_s=5, what="20 notices")
    assert receiver.routes == names(20)
    assert len(hanging.received) == 1


def test_a_redirect_is_a_failure_and_is_not_followed(
    sqlite_url: str, receiver: Receiver, work: Callable[..., Worker]
) -> None:
    with Receiver().serving() as elsewhere:
        receiver.behaviour = 302
        receiver.answer_headers = {"location": elsewhere.url}
        work(sqlite_url, receiver).happen("GET /a")
        wait_until(lambda: len(receiver.received) >= 2, what="two attempts")
    assert elsewhere.received == []


def test_gone_stops_a_receiver_until_it_is_taken_out_and_put_in_again(
    sqlite_url: str, receiver: Receiver, work: Callable[..., Worker]
) -> None:
    receiver.behaviour = 410
    first = work(sqlite_url, receiver)
    first.happen(*names(2))
    wait_until(lambda: progress(sqlite_url, receiver).is_stopped, what="its stop")
    (report,) = first.webhooks.report()
    assert undelivered(report, 0.0) == f"events are not sent to {receiver.url} any more: status 410"
    first.stop()
    receiver.behaviour = 204
    with Receiver().serving() as other:
        second = work(sqlite_url, receiver, other)
        second.happen("GET /missed")
        wait_until(lambda: other.routes == ["GET /missed"], what="the other's notice")
        second.webhooks.update([Webhook(other.url)])
        wait_until(lambda: len(second.store.ask(Ledger.receivers).result(10)) == 1, what="its end")
        second.webhooks.update([Webhook(other.url), Webhook(receiver.url)])
        wait_until(lambda: len(second.store.ask(Ledger.receivers).result(10)) == 2, what="its return")
        second.happen("GET /after")
        wait_until(lambda: len(receiver.received) == 2, what="its notice")
    assert receiver.routes == ["GET /0", "GET /after"]


def test_what_is_given_up_is_counted_and_logged_without_secrets(
    sqlite_url: str, receiver: Receiver, work: Callable[..., Worker], caplog: pytest.LogCaptureFixture
) -> None:
    receiver.behaviour = 500
    secret_url = receiver.url.replace("//", "//user:hush@") + "?token=hush"
    hook = Webhook(secret_url, "hush")
    with caplog.at_level(logging.INFO, logger="gateway"):
        worker = work(sqlite_url, hook, schedule=Schedule(0.02, 0.05, give_up_after_s=0.3))
        worker.happen(*names(2))
        wait_until(lambda: progress(sqlite_url, secret_url).given_up == 2, what="giving up")
        receiver.behaviour = 200
        worker.happen("GET /2")
        wait_until(lambda: progress(sqlite_url, secret_url).delivered == 1, what="its recovery")
        wait_until(lambda: "takes events again" in caplog.text, what="the log line")
    (report,) = worker.webhooks.report()
    assert (report["delivered"], report["given_up"], report["failing_since"]) == (1, 2, 0.0)
    assert "hush" not in repr(report)
    told = [record.getMessage() for record in caplog.records if record.name == "gateway.webhooks"]
    shown = f"http://127.0.0.1:{receiver.port}/hook"
    assert told == [
        f"{shown} does not take event 1: status 500; it is tried again",
        f"{shown} did not take event 1 (advanced GET /0), which is given up: status 500",
        f"{shown} did not take event 2 (advanced GET /1), which is given up: status 500",
        f"{shown} takes events again",
    ]
    assert list(dict.fromkeys(receiver.routes)) == names(3)
    assert "hush" not in repr(worker.webhooks.states())


def test_a_restart_neither_loses_nor_repeats(
    url: str, receiver: Receiver, work: Callable[..., Worker]
) -> None:
    for number in range(4):
        worker = work(url, receiver)
        worker.happen(*names(10, start=10 * number))
        wait_until(lambda: len(receiver.received) > 10 * number + 3, what="some notices")  # noqa: B023 -- called within the iteration
        worker.stop(timeout_s=10)
    work(url, receiver)
    wait_until(lambda: len(receiver.received) >= 40, what="40 notices")
    assert receiver.routes == names(40)


def test_what_happened_while_nobody_was_there_is_delivered_afterwards(
    sqlite_url: str, receiver: Receiver, work: Callable[..., Worker]
) -> None:
    work(sqlite_url, receiver).stop()
    position = PositionRecord("r" * 12, "GET /meanwhile", "00", "shadow", 0, "shadow", 0, run=1, since=0.0)
    with Ledger(sqlite_url) as ledger:
        ledger.save_position(position, event("GET /meanwhile"))
    work(sqlite_url, receiver)
    wait_until(lambda: receiver.routes == ["GET /meanwhile"], what="the notice")


def test_of_several_workers_one_delivers_and_another_takes_over(
    url: str, receiver: Receiver, work: Callable[..., Worker], monkeypatch: pytest.MonkeyPatch
) -> None:
    workers = [work(url, receiver) for _ in range(3)]
    workers[1].happen(*names(10))
    wait_until(lambda: progress(url, receiver).delivered == 10, what="10 notices")
    (leader,) = [worker for worker in workers if worker.webhooks.is_leading]
    # As kill -9 leaves it: the lease is neither renewed nor given back.
    monkeypatch.setattr(leader.webhooks, "_ask", lambda _question: time.sleep(30))
    others = [worker for worker in workers if worker is not leader]
    others[0].happen(*names(10, start=10))
    wait_until(lambda: len(receiver.received) == 20, what="10 more")
    assert receiver.routes == names(20)
    assert sum(worker.webhooks.is_leading for worker in others) == 1


def test_a_store_that_is_locked_between_posting_and_saving_causes_no_repeat(
    sqlite_url: str, receiver: Receiver, work: Callable[..., Worker]
) -> None:
    worker = work(sqlite_url, receiver)
    receiver.behaviour = "hang"
    worker.happen("GET /0")
    wait_until(lambda: receiver.received, what="a post")
    holder = sqlite3.connect(make_url(sqlite_url).database or "", isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    receiver.release(204)
    wait_until(lambda: "locked" in worker.store.health().reason, what="trouble")
    wait_until(lambda: not worker.webhooks.is_leading, what="the lease's end")
    holder.execute("ROLLBACK")
    holder.close()
    worker.happen("GET /1")
    wait_until(lambda: len(receiver.received) >= 2, what="the next notice")
    wait_until(lambda: progress(sqlite_url, receiver).delivered == 2, what="its progress")
    assert receiver.routes == ["GET /0", "GET /1"]


def test_a_store_that_was_deleted_tells_what_happens_from_then_on_under_other_ids(
    sqlite_url: str, receiver: Receiver, work: Callable[..., Worker], tmp_path: Path
) -> None:
    worker = work(sqlite_url, receiver)
    worker.happen(*names(3))
    wait_until(lambda: len(receiver.received) == 3, what="three notices")
    shutil.rmtree(tmp_path / ".gateway")
    worker.happen(*names(3, start=3))
    wait_until(lambda: len(receiver.received) == 6, what="three more")
    assert receiver.routes == names(6)
    assert len(set(receiver.ids)) == 6


def test_without_receivers_nothing_runs_until_there_are_some(sqlite_url: str, receiver: Receiver) -> None:
    worker = Worker(sqlite_url)
    worker.store.start()
    worker.webhooks.start()
    assert worker.webhooks._thread is None
    worker.webhooks.update([Webhook(receiver.url)])
    wait_until(lambda: worker.webhooks.is_leading, what="its part")
    worker.happen("GET /a")
    wait_until(lambda: receiver.routes == ["GET /a"], what="a notice")
    worker.stop()


def test_stopping_waits_for_no_receiver(
    sqlite_url: str, work: Callable[..., Worker], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhooks_module, "LEASE_S", 60.0)
    with Receiver("hang").serving() as hanging:
        worker = work(sqlite_url, hanging)
        worker.happen("GET /a")
        wait_until(lambda: hanging.received, what="a post")
        began = time.monotonic()
        worker.stop()
        assert time.monotonic() - began < 3
    with Ledger(sqlite_url) as ledger:
        assert ledger.lease("webhooks") is None, "the next one need not wait"
