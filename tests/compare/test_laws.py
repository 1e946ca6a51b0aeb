"""What holds for all answers: comparing never raises, equals match, one insertion is one difference."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.compare import (
    DEFAULT_EQUIVALENCES,
    EQUIVALENCES,
    STRICT,
    Body,
    Kind,
    Observation,
    Outcome,
    Redactor,
    Terms,
    compare,
    compile_rules,
)
from gateway.table.models import EQUIVALENCES as IN_THE_TABLE
from gateway.table.spec import CompareRule
from tests.compare.observations import JSON, as_json, seen

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats().map(lambda number: number + 0.0),  # no -0.0, which equals 0.0 and is written otherwise
    st.text(max_size=8),
    st.sampled_from(["1.10", "1.1", "2026-01-02", "Fri, 02 Jan 2026 00:00:00 GMT", "NaN", "http://a/x"]),
)
VALUES: st.SearchStrategy[Any] = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=6),
        st.dictionaries(st.sampled_from(["id", "a", "b", "at", "na me"]), inner, max_size=4),
    ),
    max_leaves=12,
)
NAMES = st.sampled_from(
    [b"content-type", b"Content-Encoding", b"set-cookie", b"Vary", b"location", b"x-a", b"connection", b""]
)
TEXTS = st.sampled_from(
    [b"application/json", b"text/html; charset=utf-16", b"gzip", b"br", b"deflate, gzip", b"a=1; Max-Age=x"]
)
HEADERS = st.lists(st.tuples(NAMES, st.one_of(TEXTS, st.binary(max_size=12))), max_size=5).map(tuple)
BODIES = st.one_of(
    st.binary(max_size=60),
    VALUES.map(lambda value: json.dumps(value).encode()),
    st.sampled_from(
        [b"[" * 100_000, b'{"a":' * 2000 + b"1" + b"}" * 2000, b"9" * 6000, b"\xff\xfe[\x00]\x00"]
    ),
)
OBSERVATIONS = st.builds(
    Observation, st.sampled_from([0, 200, 201, 302, 307, 404, 422, 500]), HEADERS, BODIES.map(Body.of)
)
AT = [
    "$",
    "$..id",
    "$[*].at",
    "$[?@.a == 1].b",
    "header:x-a",
    "cookie:a",
    "header:set-cookie",
    "status",
    "body",
    "$..*",
]
RULES = st.lists(
    st.builds(
        CompareRule,
        at=st.sampled_from(AT),
        rule=st.sampled_from(
            ["ignore", "ignore_presence", "unordered", "tolerance", "instant", "matches", "map"]
        ),
        reason=st.just("so"),
        by=st.just(0.5),
        regex=st.just(".*"),
    ),
    max_size=3,
).map(compile_rules)
SWITCHES = st.sets(st.sampled_from(sorted(EQUIVALENCES))).map(frozenset)


def terms(rules: Any = None, switches: frozenset[str] = STRICT) -> Terms:
    return Terms(rules or compile_rules(()), switches, ("http://a", "http://b"), redactor=Redactor(b"key"))


@given(OBSERVATIONS, RULES)
def test_an_answer_always_matches_itself(one: Observation, rules: Any) -> None:
    other = replace(one, body=Body.of(bytes(bytearray(one.body.captured))))
    result = compare(one, other, terms(rules))
    assert result.outcome is Outcome.MATCHED
    assert not result.differences


@given(OBSERVATIONS, OBSERVATIONS, RULES, SWITCHES)
@example(seen(b"[" * 3000 + b"1" + b"]" * 3000), seen(b"[" * 3000 + b"2" + b"]" * 3000), None, STRICT)
def test_comparing_never_raises_and_says_why_it_does_not_match(
    one: Observation, other: Observation, rules: Any, switches: frozenset[str]
) -> None:
    result = compare(one, other, terms(rules, switches), method="GET")
    assert (result.outcome is Outcome.MISMATCHED) == bool(result.failing)
    assert (result.outcome is Outcome.WAIVED) <= any(each.is_waived for each in result.differences)
    for each in result.differences:
        texts = (each.message, each.place, each.control or "", each.candidate or "", each.diff)
        assert all(text.encode() is not None for text in texts)
        assert len(each.control or "") <= 310


@given(VALUES, VALUES)
def test_whether_two_values_are_the_same_does_not_depend_on_the_side(one: Any, other: Any) -> None:
    left, right = as_json(one), as_json(other)
    assert compare(left, right).outcome is compare(right, left).outcome
    mirrored = {Kind.JSON_MISSING: Kind.JSON_ADDED, Kind.JSON_ADDED: Kind.JSON_MISSING}
    if not isinstance(one, list | dict) or not isinstance(other, list | dict):
        there = [mirrored.get(each.kind, each.kind) for each in compare(right, left).differences]
        assert [each.kind for each in compare(left, right).differences] == there


@given(VALUES, VALUES)
def test_json_that_reads_differently_never_matches_and_json_that_reads_the_same_always_does(
    one: Any, other: Any
) -> None:
    is_same = json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
    assert compare(as_json(one), as_json(other)).is_same == is_same


@given(OBSERVATIONS, OBSERVATIONS, RULES, SWITCHES, SWITCHES)
def test_switching_more_equivalences_on_never_adds_a_mismatch(
    one: Observation, other: Observation, rules: Any, some: frozenset[str], more: frozenset[str]
) -> None:
    few = compare(one, other, terms(rules, some))
    many = compare(one, other, terms(rules, some | more))
    assert few.is_same <= many.is_same
    assert len(many.failing) <= len(few.failing)
    assert len(few.differences) <= len(many.differences) + many.omitted


@given(OBSERVATIONS, OBSERVATIONS, RULES)
def test_a_rule_never_hides_what_it_waives(one: Observation, other: Observation, rules: Any) -> None:
    plain = compare(one, other, Terms())
    ruled = compare(one, other, Terms(rules=rules))
    if plain.outcome is Outcome.MISMATCHED and not any(each.rule.rule == "map" for each in rules.rules):
        assert ruled.differences


@given(st.lists(VALUES, max_size=8), VALUES, st.data())
def test_one_inserted_element_is_one_difference(elements: list[Any], new: Any, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(elements)))
    longer = [*elements[:at], new, *elements[at:]]
    (one,) = compare(as_json(elements), as_json(longer), Terms(identity_keys=())).failing
    assert one.kind is Kind.JSON_ADDED
    (other,) = compare(as_json(longer), as_json(elements), Terms(identity_keys=())).failing
    assert other.kind is Kind.JSON_MISSING


@given(
    st.lists(st.integers(0, 40), unique=True, min_size=1, max_size=20),
    st.integers(41, 99),
    st.data(),
)
def test_one_inserted_object_is_one_difference_though_others_changed_and_moved(
    ids: list[int], new: int, data: st.DataObject
) -> None:
    at = data.draw(st.integers(0, len(ids)))
    changed = data.draw(st.sampled_from(ids))
    control = [{"id": each, "name": f"n{each}"} for each in ids]
    candidate = [{"id": each, "name": "x" if each == changed else f"n{each}"} for each in ids]
    candidate.insert(at, {"id": new, "name": "new"})
    kinds = sorted(each.kind for each in compare(as_json(control), as_json(candidate)).failing)
    assert kinds == [Kind.JSON_ADDED, Kind.JSON_VALUE]


@given(st.lists(st.integers(0, 9), max_size=30), st.randoms(use_true_random=False))
def test_a_shuffled_list_is_at_most_one_difference_of_order(elements: list[int], chance: Any) -> None:
    shuffled = list(elements)
    chance.shuffle(shuffled)
    found = compare(as_json(elements), as_json(shuffled)).failing
    assert [each.kind for each in found] == ([] if shuffled == elements else [Kind.JSON_ORDER])


def test_an_inserted_element_that_python_takes_for_its_neighbour_is_one_difference() -> None:
    for elements, longer in (([False], [0, False]), ([{"a": 1.0}], [{"a": True}, {"a": 1.0}])):
        (one,) = compare(as_json(elements), as_json(longer)).failing
        assert (one.kind, one.place) == (Kind.JSON_ADDED, "$[0]")


@settings(max_examples=20)
@given(st.integers(0, 9999))
def test_one_element_among_ten_thousand_is_one_difference(at: int) -> None:
    elements: list[Any] = [{"n": each, "t": "x"} for each in range(10_000)]
    longer = [*elements[:at], {"n": -1, "t": "y"}, *elements[at:]]
    assert [each.place for each in compare(as_json(elements), as_json(longer)).failing] == [f"$[{at}]"]


def test_ten_thousand_differences_are_counted_and_bounded() -> None:
    control = as_json([{"id": each, "v": 1} for each in range(10_000)])
    candidate = as_json([{"id": each, "v": 2} for each in range(10_000)])
    result = compare(control, candidate)
    assert len(result.differences) + result.omitted == 10_000
    assert len(result.differences) <= 150


def test_a_bomb_is_not_unpacked() -> None:
    bomb = gzip.compress(b"0" * 50_000_000)
    other = gzip.compress(b"1" * 50_000_000)
    (one,) = compare(
        seen(bomb, 200, JSON, "content-encoding: gzip"), seen(other, 200, JSON, "content-encoding: gzip")
    ).failing
    assert one.kind is Kind.BYTES


GZIP = "content-encoding: gzip"
CUT = Body(b"[", 10, "a")


@pytest.mark.parametrize("media", [JSON, "image/png", None], ids=["JSON", "image", "unnamed"])
def test_beyond_the_cap_equal_digests_match(media: str | None) -> None:
    one = replace(seen(b"", 200, media), body=CUT)
    assert compare(one, one).outcome is Outcome.MATCHED


@pytest.mark.parametrize("other", [Body(b"[", 10, "b"), Body(b"[", 11, "b"), Body(b"[]", 2)])
@pytest.mark.parametrize("media", ["image/png", "text/csv", "text/html; charset=utf-8"])
def test_beyond_the_cap_other_bytes_of_what_is_its_bytes_are_a_difference(media: str, other: Body) -> None:
    control, candidate = (replace(seen(b"", 200, media), body=body) for body in (CUT, other))
    (one,) = compare(control, candidate).failing
    assert (one.kind, one.place) == (Kind.BYTES, "body")
    assert one.control == "10 bytes, SHA-256 a"
    assert f"above {max(10, other.length_bytes)} bytes" in one.message


@pytest.mark.parametrize(
    ("media", "headers"),
    [(JSON, ()), ("application/problem+json", ()), ("text/csv", (GZIP,)), (None, ())],
    ids=["JSON", "a kind of JSON", "compressed", "unnamed"],
)
def test_beyond_the_cap_other_bytes_of_what_may_mean_the_same_decide_nothing(
    media: str | None, headers: tuple[str, ...]
) -> None:
    control, candidate = (
        replace(seen(b"", 200, media, *headers), body=body) for body in (CUT, Body(b"[", 10, "b"))
    )
    result = compare(control, candidate)
    assert result.outcome is Outcome.TRUNCATED
    assert not result.is_same
    assert "above 10 bytes" in result.note


@pytest.mark.parametrize("media", [JSON, "image/png"])
def test_beyond_the_cap_a_rule_at_the_body_accepts_other_bytes(media: str) -> None:
    rules = compile_rules([CompareRule("body", "ignore", "drawn anew")])
    control, candidate = (replace(seen(b"", 200, media), body=body) for body in (CUT, Body(b"[", 9, "b")))
    result = compare(control, candidate, Terms(rules))
    assert result.outcome is Outcome.WAIVED
    assert [each.waived for each in result.rule_counts] == [1]


def test_beyond_the_cap_a_rule_that_needs_the_text_decides_nothing() -> None:
    rules = compile_rules([CompareRule("body", "unordered", "lines come as they come")])
    control, candidate = (
        replace(seen(b"", 200, "text/csv"), body=body) for body in (CUT, Body(b"[", 10, "b"))
    )
    assert compare(control, candidate, Terms(rules)).outcome is Outcome.TRUNCATED


def test_the_known_equivalences_are_those_of_the_table() -> None:
    assert frozenset(IN_THE_TABLE) == EQUIVALENCES
    assert frozenset(name for name, is_on in IN_THE_TABLE.items() if is_on) == DEFAULT_EQUIVALENCES
