"""Aligning finds as much as the textbook's longest common subsequence does, where that is affordable."""

from __future__ import annotations

from functools import cache
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from gateway.compare.alignment import align, longest_increasing

TOKENS = st.lists(st.integers(0, 5), max_size=12)


def common_length(one: list[int], other: list[int]) -> int:
    @cache
    def best(i: int, j: int) -> int:
        if i == len(one) or j == len(other):
            return 0
        if one[i] == other[j]:
            return 1 + best(i + 1, j + 1)
        return max(best(i + 1, j), best(i, j + 1))

    return best(0, 0)


@given(TOKENS, TOKENS)
def test_pairs_are_equal_and_increase_on_both_sides(one: list[int], other: list[int]) -> None:
    pairs = align(one, other)
    assert all(one[i] == other[j] for i, j in pairs)
    assert all(a < b and c < d for (a, c), (b, d) in pairwise(pairs))


@given(TOKENS, TOKENS)
def test_nothing_common_is_missed_where_no_token_is_an_anchor(one: list[int], other: list[int]) -> None:
    doubled, others = [*one, *one], [*other, *other]
    if all(doubled.count(each) > 1 and others.count(each) > 1 for each in {*doubled} & {*others}):
        assert len(align(doubled, others)) == common_length(doubled, others)


@given(st.permutations(range(9)))
def test_the_longest_increasing_run_is_found(order: list[int]) -> None:
    pairs = list(enumerate(order))
    assert len(longest_increasing(pairs)) == common_length(list(order), sorted(order))
