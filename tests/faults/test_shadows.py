"""A shadow changes nothing: no row, no answer, and no wait, however many of them there are."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from tests.faults.lab import Lab, item, key_of, order, serving
from tests.faults.load import Load, assert_nobody_waited, told
from tests.running import wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.faults.load import Asked

POSTS = 10_000
ROUTES = """\
  POST /orders: shadow
  GET /walking/{item_id:int}: shadow
  GET /slow/{item_id:int}: shadow
compare: {body_cap: 16KiB, memory_cap: 256KiB}
"""


def test_ten_thousand_posts_through_a_shadowed_table_make_ten_thousand_rows(tmp_path: Path) -> None:
    """One request in eleven is a read, so that there are shadows beside the writes."""

    def ask(number: int) -> Asked:
        return item("walking", number % 50) if number % 11 == 0 else order(number)

    count = POSTS * 11 // 10
    with serving(tmp_path, ROUTES) as lab:
        with Load(lab.url, ask, rate=5_000, count=count, connections=16) as load:
            wait_until(lambda: load.has_answered(count), timeout_s=100, what="all answers")
        wait_until(lambda: compared(lab, "walking"), what="a comparison")
        rows = lab.orders()
    assert load.failures == [], told(load.failures)
    posted = {each.id for each in load.answers if each.asked.method == "POST"}
    assert len(rows) == len(posted) == POSTS
    assert {request_id for request_id, _side in rows} == posted, "each once, and none without its answer"
    assert {side for _request_id, side in rows} == {"legacy"}


def test_a_full_shadow_queue_changes_nothing_but_what_is_counted(tmp_path: Path) -> None:
    def ask(number: int) -> Asked:
        return item("slow" if number % 5 else "walking", number % 50)

    with serving(tmp_path, ROUTES) as lab:
        with Load(lab.url, ask, rate=120) as load:
            wait_until(lambda: load.has_answered(200), what="answers before")
            before = load.answers[100:]
            lab.break_new("slow", "slow 2")
            wait_until(lambda: lab.dropped().get("queue full", 0) > 50, timeout_s=30, what="a full queue")
            full_at = time.monotonic()
            compared_before = compared(lab, "walking")
            wait_until(lambda: load.has_answered(300, since=full_at), timeout_s=30, what="600 more")
            during = load.since(full_at)
            wait_until(
                lambda: compared(lab, "walking") > compared_before + 20, what="comparisons of the other row"
            )
        assert load.failures == [], told(load.failures)
        assert {each.by for each in load.answers} == {"legacy"}
        assert lab.dropped()["queue full"] > 100
    assert_nobody_waited(before, during, harm_s=2)


def compared(lab: Lab, row: str) -> int:
    """Return how many comparisons of a row have been made."""
    routes = lab.status("/api/routes")["routes"]
    (counts,) = [route["counts"] for route in routes if route["key"] == key_of(row)]
    return sum(count for name, count in counts.items() if name.startswith("compared."))
