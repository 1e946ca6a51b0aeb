"""Keys that the database dealt stand for each other in the answers; everything else must be the same."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import Column, Integer, MetaData, String, Table, create_engine

from gateway.compare.engine import terms_for
from gateway.compare.observation import Body, Observation
from gateway.shadowing.rehearsed import compare_rehearsed
from gateway.shadowing.rehearsing import Rehearsed
from gateway.shadowing.written import Write, WriteLog
from gateway.table.spec import CompareRule, CompareSpec, RouteSpec

if TYPE_CHECKING:
    from gateway.compare.difference import Comparison

DIALECT = create_engine("sqlite://").dialect
USERS = Table("users", MetaData(), Column("id", Integer, primary_key=True), Column("name", String))


def log(*rows: tuple[int, str]) -> WriteLog:
    """Return the log of a call that inserted users."""
    made = WriteLog()
    made.statements = 1
    connection = object()
    for number, name in rows:
        write = Write(USERS, DIALECT, "insert", (("id", number),), (("name", name),))
        made.wrote(connection, [write])  # type: ignore[arg-type] # it is a key only
    made.settle_released()
    return made


def answer(body: object, location: str = "") -> Observation:
    """Return a JSON answer."""
    headers = ((b"content-type", b"application/json"), (b"location", location.encode()))
    return Observation(201, headers, Body.of(json.dumps(body).encode()))


def compared(
    control: Observation,
    candidate: Observation,
    legacy: WriteLog,
    new: WriteLog,
    *rules: CompareRule,
) -> Comparison:
    """Return what legacy's answer and new's, with what both wrote, come to."""
    spec = RouteSpec("POST /users", "", 0, ("POST",), "/users", compare=rules)
    rehearsed = Rehearsed(candidate, new, datetime.now(UTC))
    return compare_rehearsed(control, legacy, rehearsed, terms_for(spec, CompareSpec()), method="POST")[0]


def places(comparison: Comparison) -> list[str]:
    """Return the places of what counts."""
    return sorted(each.place for each in comparison.failing)


def test_a_dealt_key_is_waived_by_map_wherever_it_stands() -> None:
    comparison = compared(
        answer({"id": 12, "url": "/users/12", "name": "a"}, "/users/12"),
        answer({"id": 11, "url": "/users/11", "name": "a"}, "/users/11"),
        log((12, "a")),
        log((11, "a")),
    )
    assert places(comparison) == []
    waived = {each.place: each.waiver.name for each in comparison.differences if each.waiver}
    assert waived == {"$.id": "map", "$.url": "map", "header:location": "map"}


@pytest.mark.parametrize(
    ("theirs", "place"),
    [
        pytest.param({"id": 10, "name": "a"}, "$.id", id="another row's key"),
        pytest.param({"id": 11, "name": "b"}, "$.name", id="another value"),
        pytest.param({"id": 111, "name": "a"}, "$.id", id="a key that begins like it"),
    ],
)
def test_anything_but_the_key_of_the_row_that_was_written_counts(
    theirs: dict[str, object], place: str
) -> None:
    comparison = compared(answer({"id": 12, "name": "a"}), answer(theirs), log((12, "a")), log((11, "a")))
    assert places(comparison) == [place]


def test_a_wrong_value_in_a_row_is_found_and_the_keys_are_none_the_less_paired() -> None:
    comparison = compared(answer({"id": 12}), answer({"id": 11}), log((12, "a")), log((11, "b")))
    assert places(comparison) == ["rows:users:insert.name"]


def test_several_rows_are_paired_by_what_they_hold() -> None:
    comparison = compared(
        answer({"ids": [21, 22]}),
        answer({"ids": [12, 11]}),
        log((21, "a"), (22, "b")),
        log((11, "b"), (12, "a")),
    )
    assert places(comparison) == []


def test_a_row_that_only_one_side_wrote_counts() -> None:
    assert places(compared(answer({}), answer({}), log((1, "a")), log())) == ["rows:users:insert"]
    assert places(compared(answer({}), answer({}), log(), log((1, "a")))) == ["rows:users:insert"]


def test_rows_that_could_not_be_seen_are_not_compared() -> None:
    assert places(compared(answer({}), answer({}), WriteLog(), log((1, "a")))) == []


@pytest.mark.parametrize(
    ("at", "left"),
    [
        pytest.param("rows:users.name", [], id="the column"),
        pytest.param("rows:users", [], id="the table"),
        pytest.param("effects.rows", [], id="all rows"),
        pytest.param("rows:users.age", ["rows:users:insert.name"], id="another column"),
        pytest.param("rows:orders", ["rows:users:insert.name"], id="another table"),
    ],
)
def test_a_rule_of_the_table_accepts_what_is_written_differently(at: str, left: list[str]) -> None:
    rule = CompareRule(at, "ignore", "drawn at random")
    comparison = compared(answer({}), answer({}), log((1, "a")), log((1, "b")), rule)
    assert places(comparison) == left


def test_the_rows_own_map_goes_on_as_before() -> None:
    rule = CompareRule("$.token", "map", "drawn at random")
    comparison = compared(
        answer({"id": 12, "token": "x"}),
        answer({"id": 11, "token": "y"}),
        log((12, "a")),
        log((11, "a")),
        rule,
    )
    assert places(comparison) == []
