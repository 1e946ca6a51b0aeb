"""Under load a rehearsed row makes what legacy makes, once each; a rehearsal leaves nothing behind."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

from gateway.shadowing.outer import Outer
from gateway.shadowing.rehearsal import Rehearsal
from gateway.shadowing.written import WriteLog
from tests.running import running, wait_until
from tests.shadowing.shops import shop

if TYPE_CHECKING:
    from tests.shadowing.conftest import Database
    from tests.shadowing.shops import Shop

CLIENTS = 16
ORDERS = 1_000


def place(url: str, path: str, numbers: list[int]) -> Counter[tuple[int, str]]:
    """Place the orders of one client; return how many answers there were of each status and side."""
    seen: Counter[tuple[int, str]] = Counter()
    with httpx.Client(timeout=60) as client:
        for number in numbers:
            answer = client.post(url + path, json={"name": f"order {number}"})
            seen[answer.status_code, answer.headers["x-served-by"]] += 1
    return seen


def place_all(url: str, path: str, orders: int) -> Counter[tuple[int, str]]:
    """Place ``orders`` orders by all clients at once."""
    with ThreadPoolExecutor(CLIENTS) as clients:
        shares = [list(range(first, orders, CLIENTS)) for first in range(CLIENTS)]
        return sum(clients.map(lambda share: place(url, path, share), shares), Counter[tuple[int, str]]())


def settled(made: Shop, path: str) -> int:
    """Return how many requests have been compared or counted as dropped."""
    return sum(made.outcomes(path).values()) + sum(made.dropped().values())


@pytest.mark.timeout(600)
def test_a_thousand_orders_by_sixteen_clients_make_a_thousand_rows_with_legacys_values(
    tmp_path: Path, database: Database
) -> None:
    """New would have written 99 cents instead of 100 for every tenth."""
    with shop(tmp_path, database, ["/plain"], legacy_options={}) as made, running(made.app) as url:
        assert place_all(url, "/plain", ORDERS) == {(201, "legacy"): ORDERS}
        wait_until(lambda: settled(made, "/plain") == ORDERS, what="every comparison", timeout_s=60)
        assert Counter(made.rows()) == Counter(f"order {number}" for number in range(ORDERS))
        assert made.rows("SELECT DISTINCT cents FROM orders") == [100]
        assert not made.stopped("/plain")
        assert sum(made.outcomes("/plain").values()) >= ORDERS / 10, made.dropped()
        assert made.failing() == [("effects.rows", "rows:orders:insert.cents", "100", "99")]


@dataclass(frozen=True, slots=True)
class Held:
    """Be what this process holds while it serves nothing."""

    threads: int
    files: int
    tasks: int
    sessions: int
    rehearsals: int


def held(made: Shop) -> Held:
    """Return what is held now; ``sessions`` are the connections that the database server knows."""
    gc.collect()
    objects = Counter(type(each) for each in gc.get_objects())
    sessions = 0
    if not made.database.is_sqlite:
        sessions = made.rows("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()")[0]
    return Held(
        threads=threading.active_count(),
        files=len(list(Path("/proc/self/fd").iterdir())),
        # By its type: isinstance() asks a weak proxy for its object, which may be gone.
        tasks=sum(not each.done() for each in gc.get_objects() if issubclass(type(each), asyncio.Task)),
        sessions=sessions,
        rehearsals=objects[Rehearsal] + objects[Outer] + objects[WriteLog],
    )


LEAVES_NOTHING = ["/same", "/sync", "/raises", "/background"]
ROOM = 20
"""How much more may be held afterwards: pools grow to their size. A leak of one each would be hundreds."""


@pytest.mark.timeout(600)
def test_hundreds_of_rehearsals_leave_no_connection_thread_or_task_behind(
    tmp_path: Path, database: Database
) -> None:
    with shop(tmp_path, database, LEAVES_NOTHING, legacy_options={}) as made, running(made.app) as url:
        place_all(url, "/same", 50)
        first = held(made)
        for path in LEAVES_NOTHING:
            place_all(url, path, 150)
        compared = sum(sum(made.outcomes(path).values()) for path in LEAVES_NOTHING)
        assert compared >= 120, made.dropped()
        wait_until(lambda: not growth(held(made), first), what=f"no more than {first}")


def growth(now: Held, first: Held) -> dict[str, int]:
    """Return by how much more is held than at first, beyond the room for pools."""
    more = {each.name: getattr(now, each.name) - getattr(first, each.name) for each in fields(Held)}
    return {name: by for name, by in more.items() if by > ROOM}
