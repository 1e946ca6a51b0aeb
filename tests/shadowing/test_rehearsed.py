"""Keys that the database dealt stand for each other in the answers; everything else must be the same."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import Column, Integer, MetaData, String, Table, create_engine

from gateway.compare.engine import DEFAULT_TERMS, terms_for
from gateway.compare.observation import Body, Observation
from gateway.rollout.evidence import comparison_counters
from gateway.shadowing.rehearsed import EARLIER, compare_rehearsed
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
    began: datetime | None = None,
) -> Comparison:
    """Return what legacy's answer and new's, with what both wrote, come to; it ``began`` just now."""
    spec = RouteSpec("POST /users", "", 0, ("POST",), "/users", compare=rules)
    rehearsed = Rehearsed(candidate, new, began or datetime.now(UTC))
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


NOW = datetime.now(UTC).replace(microsecond=0)


def spelled(seconds: float, style: str) -> str:
    """Return the moment ``seconds`` from now as APIs spell it."""
    moment = NOW + timedelta(seconds=seconds)
    return {
        "zone": moment.isoformat(),
        "utc": moment.replace(tzinfo=None).isoformat(),
        "local": moment.astimezone().replace(tzinfo=None).isoformat(),
        "rfc822": format_datetime(moment, usegmt=True),
        "micro": moment.replace(microsecond=5).isoformat(),
    }[style]


@pytest.mark.parametrize("style", ["zone", "utc", "local", "rfc822", "micro"])
def test_the_moment_of_the_request_is_waived_in_any_one_format(style: str) -> None:
    answers = answer({"at": spelled(0, style)}), answer({"at": spelled(-1, style)})
    comparison = compared(*answers, log(), log(), began=NOW - timedelta(seconds=1))
    assert places(comparison) == []
    assert [each.waiver.reason for each in comparison.differences if each.waiver] == [EARLIER]


@pytest.mark.parametrize(
    ("control", "candidate"),
    [
        pytest.param(spelled(0, "zone"), spelled(-100, "zone"), id="another moment"),
        pytest.param(spelled(0, "zone"), spelled(-1, "micro"), id="another precision"),
        pytest.param(spelled(0, "zone"), spelled(-1, "utc"), id="without its zone"),
        pytest.param("2026-01-01", "2026-01-02", id="another day"),
    ],
)
def test_any_other_moment_counts(control: str, candidate: str) -> None:
    answers = answer({"at": control}), answer({"at": candidate})
    assert places(compared(*answers, log(), log(), began=NOW - timedelta(seconds=1))) == ["$.at"]


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


def test_new_is_not_timed_in_a_rehearsal_for_which_it_had_to_connect() -> None:
    control = replace(answer({}), first_byte_s=0.001, end_s=0.001)
    rehearsed = Rehearsed(replace(answer({}), first_byte_s=0.2, end_s=0.2), log(), datetime.now(UTC))
    comparison, *both = compare_rehearsed(control, log(), rehearsed, DEFAULT_TERMS, method="POST")
    counted = comparison_counters(comparison, *both)
    assert counted["comparisons"] == 1
    assert counted.keys().isdisjoint({"timed_pairs", "slower_pairs"})
