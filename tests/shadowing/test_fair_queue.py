"""Whatever is offered and done in whatever order, the queue keeps its bounds and starves no route."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.shadowing.fair_queue import FairQueue

LIMIT, LIMIT_BYTES, SLOTS = 8, 100, 4

offers = st.tuples(st.just("offer"), st.sampled_from("abc"), st.integers(0, 60))
steps = st.lists(st.one_of(offers, st.just(("take", "", 0)), st.just(("finish", "", 0))), max_size=80)


@given(steps)
def test_no_job_is_lost_or_doubled_and_every_bound_holds(played: list[tuple[str, str, int]]) -> None:
    queue: FairQueue[tuple[int, int]] = FairQueue(limit=LIMIT, limit_bytes=LIMIT_BYTES, slots=SLOTS)
    waiting: dict[int, tuple[str, int]] = {}
    active: list[str] = []
    for number, (step, route, size) in enumerate(played):
        if step == "offer":
            waiting[number] = (route, size)
            for dropped, _size in queue.offer(route, (number, size), size):
                del waiting[dropped]
        elif step == "take" and (taken := queue.take()) is not None:
            route, (job, _size) = taken
            assert waiting.pop(job)[0] == route
            active.append(route)
        elif step == "finish" and active:
            queue.finish(active.pop(0))
        assert len(queue) == len(waiting) <= LIMIT
        assert sum(size for _route, size in waiting.values()) <= LIMIT_BYTES
        assert len(active) <= SLOTS
        assert all(active.count(each) < SLOTS for each in "abc"), "nobody has the last slot too"
    assert sorted(job for job, _size in queue.clear()) == sorted(waiting)


def test_a_route_that_fills_the_queue_makes_room_for_another() -> None:
    queue: FairQueue[str] = FairQueue(limit=4, limit_bytes=1_000, slots=4)
    for number in range(4):
        assert queue.offer("hanging", f"h{number}", 1) == []
    assert queue.offer("hanging", "h4", 1) == ["h4"]
    assert queue.offer("other", "o0", 1) == ["h3"], "the newest of the one that holds most"
    assert [queue.take() for _ in range(4)] == [
        ("hanging", "h0"),
        ("other", "o0"),
        ("hanging", "h1"),
        ("hanging", "h2"),
    ]


def test_a_route_that_hangs_leaves_slots_to_others() -> None:
    queue: FairQueue[int] = FairQueue(limit=100, limit_bytes=1_000, slots=4)
    for number in range(10):
        queue.offer("hanging", number, 1)
    taken = [queue.take() for _ in range(4)]
    assert [each is not None for each in taken] == [True, True, True, False]
    queue.offer("other", 1, 1)
    assert queue.take() == ("other", 1)
    assert queue.take() is None


def test_a_job_that_is_too_large_for_the_queue_goes_at_once() -> None:
    queue: FairQueue[str] = FairQueue(limit=4, limit_bytes=10, slots=4)
    assert queue.offer("a", "huge", 11) == ["huge"]
