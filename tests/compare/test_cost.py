"""Comparing costs little beside parsing: ratios of processor time, taken in turns in one process."""

from __future__ import annotations

import gc
import json
import statistics
import time
from typing import TYPE_CHECKING, Any

from gateway.compare import Kind, Observation, compare
from gateway.compare.json_text import fold_place
from tests.compare.observations import as_json, seen

if TYPE_CHECKING:
    from collections.abc import Callable

ROUNDS = 15
ITEMS: list[Any] = [
    {"id": n, "name": f"user {n}", "email": f"u{n}@example.com", "balance": 1.5 * n} for n in range(1400)
]


def seconds(work: Callable[[], object]) -> float:
    before = time.thread_time()  # what other tests have left running is not counted
    work()
    return time.thread_time() - before


def ratio(control: Observation, candidate: Observation) -> float:
    """Return the median of comparing ÷ parsing both, a round at a time."""
    texts = control.body.captured, candidate.body.captured
    gc.collect()
    gc.freeze()  # a pass over what other tests have left alive is no part of a comparison
    try:
        return statistics.median(
            seconds(lambda: compare(control, candidate))
            / seconds(lambda: [json.loads(text) for text in texts])
            for _ in range(ROUNDS)
        )
    finally:
        gc.unfreeze()


def test_two_equal_answers_are_settled_without_parsing() -> None:
    one, other = as_json(ITEMS), as_json(ITEMS)
    assert one.body.length_bytes > 80_000
    assert one.body.captured is not other.body.captured
    assert ratio(one, other) <= 0.1


def test_one_changed_value_costs_a_small_multiple_of_parsing() -> None:
    changed = [each | {"name": "new"} if each["id"] == 700 else each for each in ITEMS]
    assert ratio(as_json(ITEMS), as_json(changed)) <= 6  # the target is 3; a busy machine needs room


NAMELESS: list[Any] = [{f"_{name}": value for name, value in each.items()} for each in ITEMS]


def test_a_list_without_ids_that_is_shifted_costs_a_small_multiple_of_parsing() -> None:
    shifted = as_json(NAMELESS[:-1]), as_json(NAMELESS[1:])
    assert ratio(*shifted) <= 6  # the target is 3; a busy machine needs room
    assert [(each.kind, each.place) for each in compare(*shifted).failing] == [
        (Kind.JSON_MISSING, "$[0]"),
        (Kind.JSON_ADDED, "$[1398]"),
    ]


def test_so_does_one_in_which_every_element_is_changed_as_well() -> None:
    changed = as_json(NAMELESS[:-1]), as_json([each | {"_balance": -1} for each in NAMELESS[1:]])
    assert ratio(*changed) <= 10
    result = compare(*changed)
    assert {(each.kind, fold_place(each.place)) for each in result.failing} == {
        (Kind.JSON_MISSING, "$[*]"),
        (Kind.JSON_ADDED, "$[*]"),
        (Kind.JSON_VALUE, "$[*]._balance"),
    }
    assert len(result.failing) + result.omitted == 2 + 1398


def test_lists_within_lists_cost_in_proportion() -> None:
    def nested(last: int) -> Observation:
        return as_json([[n, [n + 1, [n + last]]] for n in range(4000)])

    assert ratio(nested(2), nested(3)) <= 40


def test_flask_bytes_against_fastapi_bytes_cost_a_small_multiple_of_parsing() -> None:
    flask = seen(json.dumps(ITEMS, sort_keys=True, separators=(",", ":")) + "\n")
    assert ratio(flask, as_json(ITEMS)) <= 8


def test_the_cost_grows_in_proportion_to_the_answer() -> None:
    def both(count: int) -> float:
        rows: list[dict[str, Any]] = [{"n": n, "at": f"2026-01-02T03:04:{n % 60:02}Z"} for n in range(count)]
        others: list[Any] = [{"n": -1}, *({**row, "n": row["n"] + row["n"] % 2} for row in rows), {"n": -2}]
        return min(seconds(lambda: compare(as_json(rows), as_json(others))) for _ in range(3))

    assert both(10_000) <= 4 * 10 * both(1_000)
