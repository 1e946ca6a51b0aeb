"""Two texts beside each other keep every line, and only what is the same is folded away."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.compare.beside import CUT, DIFFERING_LINES, SideLine, folded, readable, side_by_side

TEXTS = st.lists(st.sampled_from(["a", "b", "c", "d"]), max_size=30).map("\n".join)


@given(TEXTS, TEXTS)
def test_no_line_is_lost_or_moved(left: str, right: str) -> None:
    lines = side_by_side(left, right)
    assert [line.left for line in lines if line.mark != "added"] == left.splitlines()
    assert [line.right for line in lines if line.mark != "missing"] == right.splitlines()
    for line in lines:
        assert (line.mark == "same") == (line.left == line.right)


@given(TEXTS, TEXTS, st.integers(0, 3))
def test_folding_hides_only_what_is_the_same(left: str, right: str, context: int) -> None:
    lines = side_by_side(left, right)
    kept = [line for line in folded(lines, context) if line.mark not in ("same", "cut")]
    assert kept == [line for line in lines if line.mark != "same"]


def test_a_fold_says_how_much_it_hides() -> None:
    left = "\n".join(map(str, range(20)))
    lines = folded(side_by_side(left, left.replace("10", "ten")), 1)
    assert [(line.mark, line.left) for line in lines] == [
        ("cut", "… 9 same lines"),
        ("same", "9"),
        ("changed", "10"),
        ("same", "11"),
        ("cut", "… 8 same lines"),
    ]


def test_a_difference_far_down_a_long_text_is_found() -> None:
    left = "\n".join(map(str, range(50_000)))
    lines = [line for line in side_by_side(left, left.replace("49998", "x")) if line.mark != "same"]
    assert lines == [SideLine("changed", "49998", "x")]


def test_what_differs_for_too_long_is_cut_and_says_so() -> None:
    left, right = "a\n" * 5000, "b\n" * 5000
    lines = side_by_side(left, right)
    assert len(lines) == DIFFERING_LINES + 1
    assert lines[-1] == SideLine("cut", CUT, CUT)


def test_json_is_indented_with_its_keys_in_order_and_text_stays() -> None:
    assert readable('{"b":1,"a":"ü"}') == '{\n  "a": "ü",\n  "b": 1\n}'
    assert readable("<p>no json") == "<p>no json"
    assert readable("[" * 100_000) == "[" * 100_000
