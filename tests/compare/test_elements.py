"""Elements of two lists are paired once each, and what is only counted counts as much as what is kept."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.compare import Kind, compare
from gateway.compare.alignment import is_increasing
from gateway.compare.elements import pair_up
from gateway.compare.json_diff import JsonDiff
from gateway.compare.tokens import numbered, tokens
from tests.compare.observations import as_json
from tests.compare.test_laws import VALUES

NUMBERS = st.lists(st.integers(0, 6), max_size=30)


@given(NUMBERS, NUMBERS, st.booleans(), st.booleans())
def test_every_element_has_one_partner_or_none(
    left: list[int], right: list[int], is_identity: bool, is_unordered: bool
) -> None:
    found = pair_up(left, right, is_identity=is_identity, is_unordered=is_unordered)

    pairs = [*found.alike, *found.changed]
    assert sorted([*(i for i, _ in pairs), *found.missing]) == list(range(len(left)))
    assert sorted([*(j for _, j in pairs), *found.added]) == list(range(len(right)))
    assert all(left[i] == right[j] for i, j in found.alike)


@given(NUMBERS, NUMBERS)
def test_elements_without_a_partner_have_none_to_be_had(left: list[int], right: list[int]) -> None:
    found = pair_up(left, right, is_identity=False, is_unordered=True)

    assert len(found.alike) == (Counter(left) & Counter(right)).total()
    assert not (found.missing and found.added)


@given(st.lists(st.integers(), unique=True, max_size=30), st.data())
def test_an_order_alone_is_a_move_and_nothing_else(left: list[int], data: st.DataObject) -> None:
    right = data.draw(st.permutations(left))
    found = pair_up(left, right, is_identity=False, is_unordered=False)

    assert found.is_moved == (left != right)
    assert not found.changed
    assert not found.missing
    assert not found.added


@given(VALUES, VALUES)
def test_what_is_counted_counts_as_much_as_what_is_kept(control: Any, candidate: Any) -> None:
    kept, counted = JsonDiff(("id",)), JsonDiff(("id",), is_counting=True)
    for each in (kept, counted):
        each.compare(control, candidate)

    totals = Counter((each.kind, each.equivalence) for each in counted.found) + counted.more
    assert totals == Counter((each.kind, each.equivalence) for each in kept.found)
    assert counted.reordered == kept.reordered


def test_beyond_twenty_of_a_kind_and_place_only_their_number_is_kept() -> None:
    control = [{"a": n, "b": n, "at": "2026-01-02"} for n in range(500)]
    candidate = [{"a": -n - 1, "b": str(n), "at": "2026-01-02T00:00:00"} for n in range(500)]
    result = compare(as_json(control), as_json(candidate))

    kinds = Counter(each.kind for each in result.failing)
    assert kinds == {Kind.JSON_VALUE: 20, Kind.JSON_NUMBER_FORM: 20, Kind.JSON_DATE_FORMAT: 20}
    assert len(result.failing) + result.omitted == 1500


@pytest.mark.parametrize(
    ("left", "right", "sort"),
    [
        (
            [{"n": 1, "s": 1}, {"n": 2, "s": 1}, {"n": 3, "s": 1}],
            [{"n": 2, "s": 2}, {"n": 3, "s": 2}],
            "member",
        ),
        ([{"s": 1}, {"s": 1}, {"s": 2}], [{"s": 1}, {"s": 2}], "exact"),
        (["a", "b", "c"], ["b", "c"], "exact"),
        ([["1.10"], ["2.20"]], [[1.1], [2.2], [3.3]], "loose"),
        ([{"at": "2026-01-02T00:00:00Z"}], [{"at": "Fri, 02 Jan 2026 00:00:00 GMT"}, {"at": "x"}], "loose"),
    ],
    ids=["a member tells them apart", "equal ones", "equal texts", "equal numbers", "equal moments"],
)
def test_the_cheapest_token_that_serves_is_taken(left: list[Any], right: list[Any], sort: str) -> None:
    mine, theirs, seen_by = tokens(left, right)

    assert seen_by == sort
    assert set(mine) & set(theirs)


def test_a_name_tells_elements_apart_rather_than_their_position() -> None:
    names = ["ann", "bob", "cid", "dan", "eve", "fay", "gus", "hal", "ida", "jim", "kay", "lou"]
    control = [{"position": n, "name": name, "x": n % 2} for n, name in enumerate(names)]
    candidate = [{"position": n, "name": name, "x": n % 2} for n, name in enumerate(["new", *names])]
    result = compare(as_json(control), as_json(candidate))

    assert [each.place for each in result.failing if each.kind is Kind.JSON_ADDED] == ["$[0]"]
    assert not [each for each in result.failing if each.place.endswith(".name")]


def test_numbers_stand_for_equal_tokens() -> None:
    assert numbered(["a", "b", "a"], ["b", "c"]) == ([0, 1, 0], [1, 2])
    assert is_increasing([])
    assert is_increasing([1, 2])
    assert not is_increasing([1, 1])
