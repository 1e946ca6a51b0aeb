"""A rule accepts what it says, where it says, and no more; what it accepted is shown and counted."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from gateway.compare import Kind, Outcome, Pairing, Terms, compare, compile_rules, terms_for
from gateway.table.spec import CompareRule, CompareSpec, RouteSpec
from tests.compare.observations import as_html, as_json, seen


def rule(at: str, name: Any, **rest: Any) -> CompareRule:
    return CompareRule(at, name, "agreed", **rest)


def under(*rules: CompareRule, today: date | None = None) -> Terms:
    return Terms(rules=compile_rules(rules, today=today))


PERSON = {"id": 1, "at": "a", "tags": ["x", "y"], "score": 1.0}


def person(**changes: Any) -> Any:
    return as_json({key: value for key, value in (PERSON | changes).items() if value != "GONE"})


ACCEPTED = {
    "ignore": (rule("$.at", "ignore"), person(), person(at="b")),
    "ignore below": (rule("$", "ignore"), person(), person(at="GONE")),
    "ignore everywhere": (rule("$..at", "ignore"), as_json([PERSON]), as_json([PERSON | {"at": "b"}])),
    "ignore by filter": (
        rule("$[?@.id == 1].at", "ignore"),
        as_json([PERSON]),
        as_json([PERSON | {"at": "b"}]),
    ),
    "ignore a header": (
        rule("header:ETag", "ignore"),
        seen("", 200, None, "etag: a"),
        seen("", 200, None, "etag: b"),
    ),
    "ignore a cookie": (
        rule("cookie:sid", "ignore"),
        seen("", 200, None, "set-cookie: sid=a; Path=/"),
        seen("", 200, None, "set-cookie: sid=b; Path=/"),
    ),
    "ignore the body": (rule("body", "ignore"), as_html("a"), as_html("b")),
    "ignore an error's shape": (
        rule("body", "ignore"),
        as_html("<p>no</p>", 404),
        as_json({"detail": "no"}, 404),
    ),
    "ignore the status": (rule("status", "ignore"), as_json({}, 400), as_json({}, 422)),
    "ignore_presence": (rule("$.at", "ignore_presence"), person(), person(at="GONE")),
    "ignore_presence of a header": (
        rule("header:x-a", "ignore_presence"),
        seen("", 200, None, "x-a: 1"),
        seen("", 200, None),
    ),
    "unordered": (rule("$.tags", "unordered"), person(), person(tags=["y", "x"])),
    "tolerance": (rule("$.score", "tolerance", by=0.01), person(), person(score=1.01)),
    "tolerance of forms": (rule("$.score", "tolerance", by=0.5), person(), person(score=1)),
    "instant": (
        rule("$.at", "instant"),
        person(at="2026-01-02T01:00:00+01:00"),
        person(at="Fri, 02 Jan 2026 00:00:00 GMT"),
    ),
    "instant as a number": (rule("$.at", "instant"), person(at="2026-01-02"), person(at=1_767_312_000)),
    "matches": (rule("$.at", "matches", regex="[a-c]"), person(), person(at="b")),
    "map": (rule("$.id", "map"), person(), person(id=7)),
}

REFUSED = {
    "ignore asserts presence": (rule("$.at", "ignore"), person(), person(at="GONE")),
    "ignore asserts the type": (rule("$.at", "ignore"), person(), person(at=7)),
    "ignore asserts the body's type": (rule("body", "ignore"), as_html("a"), as_json({"a": 1})),
    "ignore elsewhere": (rule("$.at", "ignore"), person(), person(id=2)),
    "ignore a cookie's presence": (
        rule("cookie:sid", "ignore"),
        seen("", 200, None, "set-cookie: sid=a; Path=/"),
        seen("", 200, None),
    ),
    "ignore_presence is no value": (rule("$.at", "ignore_presence"), person(), person(at="b")),
    "unordered is no membership": (rule("$.tags", "unordered"), person(), person(tags=["y", "z"])),
    "tolerance": (rule("$.score", "tolerance", by=0.01), person(), person(score=1.02)),
    "tolerance of texts": (rule("$.at", "tolerance", by=9.0), person(), person(at="b")),
    "instant": (rule("$.at", "instant"), person(at="2026-01-02"), person(at="2026-01-03")),
    "matches one side": (rule("$.at", "matches", regex="a"), person(), person(at="b")),
    "matches the whole": (rule("$.at", "matches", regex="[a-c]"), person(), person(at="bb")),
    "map of types": (rule("$.id", "map"), person(), person(id="x")),
    "no json": (rule("$.at", "ignore"), as_html("a"), as_html("b")),
}


@pytest.mark.parametrize(("one", "control", "candidate"), ACCEPTED.values(), ids=ACCEPTED)
def test_a_rule_waives_what_it_accepts_and_shows_it(one: CompareRule, control: Any, candidate: Any) -> None:
    assert compare(control, candidate).outcome is Outcome.MISMATCHED
    result = compare(control, candidate, under(one))
    assert result.outcome is Outcome.WAIVED
    assert {each.waiver.rule for each in result.differences if each.waiver} == {one}
    (count,) = result.rule_counts
    assert count.waived >= 1


@pytest.mark.parametrize(("one", "control", "candidate"), REFUSED.values(), ids=REFUSED)
def test_a_rule_waives_nothing_else(one: CompareRule, control: Any, candidate: Any) -> None:
    result = compare(control, candidate, under(one))
    assert result.outcome is Outcome.MISMATCHED
    assert result.rule_counts[0].waived == 0


def test_a_waived_status_does_not_hide_the_body() -> None:
    result = compare(as_json({"a": 1}), as_json({"a": 2}, 404), under(rule("status", "ignore")))
    assert [each.kind for each in result.failing] == [Kind.JSON_VALUE]


def test_a_list_without_order_still_tells_what_it_lacks() -> None:
    rules = under(rule("$", "unordered"))
    result = compare(as_json([3, 1, 2]), as_json([2, 3]), rules)
    assert [(each.kind, each.control) for each in result.failing] == [(Kind.JSON_MISSING, "1")]


def test_elements_are_aligned_by_what_no_rule_ignores() -> None:
    control = as_json([{"at": n, "name": f"n{n}"} for n in range(9)])
    candidate = as_json([{"at": 100, "name": "new"}, *({"at": 50 + n, "name": f"n{n}"} for n in range(9))])
    result = compare(control, candidate, under(rule("$[*].at", "ignore")))
    assert [(each.kind, each.place) for each in result.failing] == [(Kind.JSON_ADDED, "$[0]")]


def test_mapped_ids_do_not_align_a_list() -> None:
    control = as_json([{"id": n, "name": f"n{n}"} for n in range(4)])
    candidate = as_json([{"id": 3 - n, "name": f"n{n}"} for n in range(4)])
    assert compare(control, candidate, under(rule("$[*].id", "map"))).outcome is Outcome.WAIVED


def test_a_mapping_is_kept_within_a_scenario() -> None:
    terms = under(rule("$.id", "map"))
    first = compare(as_json({"id": 1}), as_json({"id": 8}), terms)
    again = compare(as_json({"id": 1}), as_json({"id": 8}), terms, pairing=first.pairing)
    assert again.outcome is Outcome.WAIVED
    for control, candidate in ((1, 9), (2, 8), (1, 1)):
        other = compare(as_json({"id": control}), as_json({"id": candidate}), terms, pairing=first.pairing)
        assert other.outcome is Outcome.MISMATCHED
        assert "map" in other.failing[0].message


def test_a_mapping_is_one_to_one_within_one_answer() -> None:
    terms = under(rule("$[*]", "map"))
    assert compare(as_json(["a", "b"]), as_json(["x", "x"]), terms).outcome is Outcome.MISMATCHED
    assert compare(as_json(["a", "b", "a"]), as_json(["x", "y", "x"]), terms).outcome is Outcome.WAIVED


def test_equal_answers_teach_the_mapping_as_well() -> None:
    terms = under(rule("$.id", "map"))
    first = compare(as_json({"id": 1}), as_json({"id": 1}), terms)
    assert first.outcome is Outcome.MATCHED
    assert first.pairing != Pairing()
    later = compare(as_json({"id": 2}), as_json({"id": 1}), terms, pairing=first.pairing)
    assert later.outcome is Outcome.MISMATCHED


def test_an_expired_rule_waives_nothing_and_is_named() -> None:
    old = rule("$.at", "ignore", until=date(2026, 3, 1))
    assert compile_rules([old], today=date(2026, 3, 1)).expired == ()
    rules = compile_rules([old], today=date(2026, 3, 2))
    assert rules.expired == (old,)
    assert compare(person(), person(at="b"), Terms(rules=rules)).outcome is Outcome.MISMATCHED


@pytest.mark.parametrize(
    "bad",
    [
        rule("$.[", "ignore"),
        rule("$.a", "matches", regex="("),
        rule("$.a", "matches"),
        rule("$.a", "tolerance"),
        rule("bodies", "ignore"),
    ],
    ids=["path", "regex", "no_regex", "no_by", "place"],
)
def test_a_rule_that_cannot_be_read_waives_nothing_and_says_why(bad: CompareRule) -> None:
    rules = compile_rules([bad])
    ((broken, why),) = rules.broken
    assert broken is bad
    assert why
    assert not rules.rules


def test_a_rule_that_met_nothing_can_be_told_from_one_that_had_nothing_to_waive() -> None:
    dead, idle = rule("$.nothing", "ignore"), rule("$.at", "ignore")
    counts = compare(person(), person(id=2), under(dead, idle)).rule_counts
    assert [(each.rule, each.places, each.waived) for each in counts] == [(dead, 0, 0), (idle, 1, 0)]


def test_the_terms_of_a_row_are_what_its_table_says() -> None:
    row = RouteSpec(
        "GET /x",
        "GET /x",
        3,
        ("GET",),
        "/x",
        compare=(rule("$.at", "ignore"),),
        equivalences=frozenset({"date_format"}),
    )
    terms = terms_for(row, CompareSpec(identity_keys=("sku",)), today=date(2026, 1, 1))
    assert terms.identity_keys == ("sku",)
    assert terms.equivalences == {"date_format"}
    assert compare(person(), person(at="b"), terms).outcome is Outcome.WAIVED


@pytest.mark.parametrize(
    ("name", "control", "candidate"),
    [
        ("key_order", seen('{"a":1,"b":2}'), seen('{"b":2,"a":1}')),
        ("json_escapes", seen('"\\u00e9"'), seen('"é"')),
        ("trailing_newline", seen("1\n"), seen("1")),
        ("header_case", seen("", 200, None, "X-A: 1"), seen("", 200, None, "x-a: 1")),
        ("date_format", as_json("2026-01-02"), as_json("Fri, 02 Jan 2026 00:00:00 GMT")),
        ("number_form", as_json("1.10"), as_json(1.1)),
        ("null_is_missing", as_json({"a": None}), as_json({})),
        ("redirect_307_308", seen("<p>moved</p>", 308, "text/html"), seen("", 307, None)),
    ],
)
def test_an_equivalence_waives_its_own_difference_alone(name: str, control: Any, candidate: Any) -> None:
    on = compare(control, candidate, Terms(equivalences=frozenset({name})))
    assert on.outcome is Outcome.WAIVED
    assert {each.waiver.name for each in on.differences if each.waiver} == {name}
    assert compare(control, candidate, Terms(equivalences=frozenset())).outcome is Outcome.MISMATCHED
