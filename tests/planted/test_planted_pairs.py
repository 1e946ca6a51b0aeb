"""Proved on differences that are known: each one planted in a pair of real endpoints is found under its kind.

``gateway compare`` runs both apps as two server processes, the fixture ``parity`` in one; either way each has
a copy of the database of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.planted.pairs import PLANTED, QUIET
from tests.planted.project import Outcome, row_key, run_compare, run_parity

if TYPE_CHECKING:
    from tests.planted.pairs import Pair


@pytest.fixture(scope="module")
def different(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """Return one run over every pair with a planted difference."""
    return run_compare(tmp_path_factory.mktemp("planted") / "pairs", PLANTED)


@pytest.fixture(scope="module")
def same(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """Return one run over every pair that no client can tell apart."""
    return run_compare(tmp_path_factory.mktemp("quiet") / "pairs", QUIET)


@pytest.fixture(scope="module")
def by_fixture(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[tuple[str, str]]]:
    """Return what the fixture ``parity`` finds in all pairs, by name."""
    return run_parity(tmp_path_factory.mktemp("parity") / "pairs", (*PLANTED, *QUIET))


def as_parameter(pair: Pair, missed: str = "") -> object:
    """Return a pair as a case of its name; what is known to be missed is expected to fail."""
    reason = pair.missed or missed
    marks = [pytest.mark.xfail(strict=True, raises=AssertionError, reason=reason)] if reason else []
    return pytest.param(pair, id=pair.name, marks=marks)


def test_there_are_at_least_sixty_planted_differences_and_twenty_pairs_of_noise() -> None:
    assert len(PLANTED) >= 60
    assert len(QUIET) >= 20
    names = [pair.name for pair in (*PLANTED, *QUIET)]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("pair", [as_parameter(pair) for pair in PLANTED])
def test_a_planted_difference_is_found_under_its_own_kind_and_nothing_else_fails(
    different: Outcome, pair: Pair
) -> None:
    exchanges = different.exchanges(pair)
    assert len(exchanges) == len(pair.asks)
    assert all(each["omitted"] == 0 and each["note"] == "" for each in exchanges)
    assert sorted(different.failing(pair)) == sorted(pair.found), exchanges


@pytest.mark.parametrize("pair", [as_parameter(pair) for pair in PLANTED if pair.failure])
def test_a_hole_that_new_opens_is_told(different: Outcome, pair: Pair) -> None:
    assert any(pair.failure in each for each in different.failures(pair)), different.report["failures"]


@pytest.mark.parametrize("pair", [as_parameter(pair) for pair in PLANTED if pair.raised])
def test_what_new_raised_is_shown_with_its_request(different: Outcome, pair: Pair) -> None:
    (exchange,) = different.exchanges(pair)
    assert any(each["side"] == "candidate" and pair.raised in each["text"] for each in exchange["raised"])


def test_no_security_failure_is_told_of_any_other_pair(different: Outcome) -> None:
    holes = [f"{row_key(pair)}:" for pair in PLANTED if pair.failure]
    assert [each for each in different.report["failures"] if not each.startswith(tuple(holes))] == []


def test_the_run_with_planted_differences_fails(different: Outcome) -> None:
    assert different.exit_code == 1, different.words
    assert different.report["verdict"] == "different"


@pytest.mark.parametrize("pair", [as_parameter(pair) for pair in QUIET])
def test_what_no_client_can_tell_does_not_fail(same: Outcome, pair: Pair) -> None:
    exchanges = same.exchanges(pair)
    assert [each["outcome"] in ("matched", "waived") for each in exchanges] == [True] * len(pair.asks), (
        exchanges
    )
    assert same.failing(pair) == []
    assert same.failures(pair) == []
    assert same.waivers(pair) == set(pair.waived)


def test_the_run_with_noise_alone_passes(same: Outcome) -> None:
    assert same.exit_code == 0, same.words
    assert same.report["verdict"] == "matched"


@pytest.mark.parametrize("pair", [as_parameter(pair, pair.missed_by_fixture) for pair in (*PLANTED, *QUIET)])
def test_the_fixture_parity_finds_the_same_and_what_escaped_from_new(
    by_fixture: dict[str, list[tuple[str, str]]], pair: Pair
) -> None:
    escaped = {("exception", "exception")} if pair.raised else set()
    assert sorted(by_fixture[pair.name]) == sorted({*pair.found, *escaped})
