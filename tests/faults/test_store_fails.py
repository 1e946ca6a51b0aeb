"""The state on a full disk, locked, read-only, deleted or silent: no client notices, and it heals."""

from __future__ import annotations

import contextlib
import sqlite3
import subprocess
import time
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import make_url

from gateway.rollout.persistence import to_record
from gateway.rollout.positions import Position, fingerprint, own_step, roll_back
from gateway.store.location import BUSY_TIMEOUT_S
from gateway.table.compile import route_id
from gateway.table.read import read_table
from tests.faults.lab import Lab, item, key_of, serving
from tests.faults.load import Load, assert_nobody_waited, told
from tests.packages import skip_unless_ci
from tests.proxy import Proxy
from tests.running import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.faults.load import Asked

ROUTES = """\
  GET /kept/{item_id:int}: {stage: canary, weight: 25%, sample: 100%, rollout: {steps: [new], min_time: 1h}}
  GET /filling/{item_id:int}: {stage: shadow, sample: 100%}
  GET /led/{item_id:int}: new
"""
LONG_ENOUGH_S = BUSY_TIMEOUT_S + 1
"""Longer than any lock is waited for: a client who waited for the store would have waited as long."""


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Yield a gateway whose state lies on a disk of its own, 4 MiB in size."""
    folder = tmp_path_factory.mktemp("store")
    state = folder / ".gateway"
    state.mkdir()
    argv = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(state)]
    mounted = subprocess.run(argv, capture_output=True, text=True, check=False)
    if mounted.returncode:
        skip_unless_ci(f"a disk of its own for the state needs the right to mount: {mounted.stderr.strip()}")
    try:
        with serving(folder, ROUTES, "--workers", "2") as running:
            wait_until(lambda: running.stage("kept"), what="the first turn")
            yield running
    finally:
        subprocess.run(["umount", "-l", str(state)], check=True)


def ask(number: int) -> Asked:
    return item("kept" if number % 2 else "filling", number % 50, user=f"u{number % 300}")


def troubles(lab: Lab) -> int:
    return lab.text().count("the state cannot be used")


def recoveries(lab: Lab) -> int:
    return lab.text().count("the state can be written again")


def requests_counted(lab: Lab) -> int:
    with contextlib.suppress(Exception):  # not while it is broken
        evidence = lab.evidence("kept")
        return evidence.new.requests + evidence.legacy.requests
    return -1


def prove(
    lab: Lab, breakage: contextlib.AbstractContextManager[object], *, is_told: bool = True
) -> tuple[Load, int]:
    """Keep a load up while the store breaks and heals; return it, and what was counted before it."""
    told_before, healed_before = troubles(lab), recoveries(lab)
    counted_before = requests_counted(lab)
    with Load(lab.url, ask) as load:
        wait_until(lambda: load.has_answered(100), timeout_s=20, what="answers before")
        before = load.answers[:]
        with breakage:
            broken_at = time.monotonic()
            if is_told:
                wait_until(lambda: troubles(lab) > told_before, timeout_s=20, what="the trouble in the log")
            wait_until(lambda: load.since(broken_at + LONG_ENOUGH_S), timeout_s=30, what="requests meanwhile")
            during = load.since(broken_at)
        healed_at = time.monotonic()
        if is_told:
            wait_until(lambda: recoveries(lab) > healed_before, timeout_s=60, what="its recovery")
        wait_until(lambda: load.has_answered(100, since=healed_at), timeout_s=20, what="100 more")
    assert load.failures == [], told(load.failures)
    assert_nobody_waited(before, during, harm_s=BUSY_TIMEOUT_S)
    return load, counted_before


def kept(load: Load) -> int:
    return sum(each.asked.path.startswith("/kept/") for each in load.answers)


@contextlib.contextmanager
def locked(lab: Lab) -> Iterator[None]:
    """Hold the database's lock, as a backup or a person at its prompt may."""
    holder = sqlite3.connect(lab.folder / ".gateway" / "state.db", isolation_level=None, timeout=10)
    holder.execute("BEGIN EXCLUSIVE")
    yield
    holder.execute("ROLLBACK")
    holder.close()


@contextlib.contextmanager
def full(lab: Lab) -> Iterator[None]:
    """Fill the disk to its last byte."""
    filler = lab.folder / ".gateway" / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"x" * 4096)
    yield
    filler.unlink()


@pytest.mark.parametrize("breakage", [locked, full], ids=["locked", "on a full disk"])
def test_a_store_that_cannot_be_written_is_noticed_by_no_client_and_loses_nothing(
    lab: Lab, breakage: Callable[[Lab], contextlib.AbstractContextManager[None]]
) -> None:
    load, counted_before = prove(lab, breakage(lab))
    wait_until(lambda: requests_counted(lab) == counted_before + kept(load), timeout_s=20, what="every count")
    assert lab.stage("kept") == "canary"


def test_a_store_that_is_deleted_is_made_anew_with_the_positions_that_were_known(lab: Lab) -> None:
    @contextlib.contextmanager
    def deleted() -> Iterator[None]:
        for file in (lab.folder / ".gateway").iterdir():
            file.unlink()
        yield

    roll_back_by_hand(lab, "led")
    with Load(lab.url, lambda n: item("led", n % 50), is_keeping=False) as load:
        wait_until(
            lambda: {each.by for each in load.answers[-60:]} == {"legacy"}, timeout_s=20, what="the rollback"
        )
        rolled_back_at = time.monotonic()
        other, _ = prove(lab, deleted(), is_told=False)
        wait_until(lambda: lab.stage("led") == "legacy", timeout_s=20, what="its position")
    assert load.failures == [], told(load.failures)
    assert {each.by for each in load.since(rolled_back_at)} == {"legacy"}, "nothing comes forward by itself"
    position = lab.position("led")
    assert position is not None
    assert (position.is_rolled_back, position.moved_by) == (True, "ann")
    assert "was deleted or replaced" in lab.text()
    assert 0 < requests_counted(lab) <= kept(other), "evidence began anew"


def roll_back_by_hand(lab: Lab, row: str) -> None:
    """Do what a person's rollback does to the store."""
    spec = read_table(lab.project.table, environ={}).spec
    assert spec is not None
    (found,) = [each for each in spec.routes if each.key == key_of(row)]
    own, now = own_step(found), time.time()
    placed = Position(route_id(found.key), found.key, fingerprint(found), own, own, now)
    move = roll_back(found, placed, now=now, by="ann", reason="complaints")
    assert move is not None
    assert move.position is not None
    record = to_record(move.position, 0)
    assert lab.ask(lambda ledger: ledger.save_position(record)) is not None


def test_a_folder_that_cannot_be_written_from_the_start_is_noticed_by_no_client(tmp_path: Path) -> None:
    state = tmp_path / ".gateway"
    state.mkdir()
    argv = ["mount", "-t", "tmpfs", "-o", "ro,size=4m", "tmpfs", str(state)]
    mounted = subprocess.run(argv, capture_output=True, text=True, check=False)
    if mounted.returncode:
        skip_unless_ci(f"a read-only folder needs the right to mount: {mounted.stderr.strip()}")
    try:
        with serving(tmp_path, ROUTES) as lab, Load(lab.url, ask) as load:
            wait_until(lambda: troubles(lab), timeout_s=20, what="the trouble in the log")
            wait_until(lambda: load.has_answered(200), timeout_s=20, what="200 answers")
            assert {each.by for each in load.answers} == {"legacy", "new"}, "they stand as the file says"
            subprocess.run(["mount", "-o", "remount,rw", str(state)], check=True)
            wait_until(lambda: recoveries(lab), timeout_s=60, what="its recovery")
            wait_until(lambda: lab.stage("kept") == "canary", timeout_s=20, what="its position")
        assert load.failures == [], told(load.failures)
    finally:
        subprocess.run(["umount", "-l", str(state)], check=True)


def test_a_postgresql_that_stops_answering_is_noticed_by_no_client(
    tmp_path: Path, state_database: str
) -> None:
    address = make_url(state_database)
    with Proxy((address.host or "", address.port or 5432)).serving() as proxy:
        store = address.set(port=proxy.port, host="127.0.0.1").render_as_string(hide_password=False)
        with serving(tmp_path, ROUTES, store=store) as lab:
            wait_until(lambda: lab.stage("kept"), timeout_s=20, what="the first turn")
            load, counted_before = prove(lab, proxy.silent(), is_told=False)
            wait_until(
                lambda: requests_counted(lab) == counted_before + kept(load), timeout_s=20, what="every count"
            )
            assert lab.stop() < 12
