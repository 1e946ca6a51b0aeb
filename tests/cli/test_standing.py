"""Verbs that read the table say where a row stands, which need not be where the file put it."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import pytest

from gateway.loading import load_table
from gateway.rollout.persistence import to_record
from gateway.rollout.positions import Position, fingerprint, own_step, roll_back
from gateway.store import Ledger, locate
from gateway.table.compile import route_id

if TYPE_CHECKING:
    from tests.cli.conftest import Project

KEY = "GET /users/{user_id}"


@pytest.fixture
def rolled_back(project: Project) -> Project:
    """Return a project whose one row the file puts to new, and a person has rolled back."""
    project.write_table(f"  {KEY}: new\n")
    row = load_table(project.table).by_id[route_id(KEY)].spec
    placed = Position(route_id(KEY), KEY, fingerprint(row), own_step(row), own_step(row), time.time())
    move = roll_back(row, placed, now=time.time(), by="ann", reason="complaints")
    assert move is not None
    assert move.position is not None
    with Ledger(locate(None, project.table)) as ledger:
        assert ledger.save_position(to_record(move.position, 0)) is not None
    return project


def test_explain_says_who_answers_where_the_row_stands(rolled_back: Project) -> None:
    found = rolled_back.run("explain", "GET", "/users/7").out
    assert "answers   legacy: the row is at stage legacy" in found
    assert "the file says new" in found
    as_json = json.loads(rolled_back.run("explain", "GET", "/users/7", "--output", "json").out)
    assert (as_json["stage"], as_json["file_stage"], as_json["answered_by"]) == ("legacy", "new", "legacy")


def test_routes_lists_the_stage_that_is_served(rolled_back: Project) -> None:
    endpoints = json.loads(rolled_back.run("routes", "--output", "json").out)
    found = next(each for each in endpoints if each["path"] == "/users/{user_id}")
    assert (found["stage"], found["answers"]) == ("legacy", "legacy")


def test_who_only_looks_makes_no_state(project: Project) -> None:
    project.write_table(f"  {KEY}: new\n")
    assert "the row is at stage new" in project.run("explain", "GET", "/users/7").out
    project.run("routes")
    assert not (project.folder / ".gateway").exists()
