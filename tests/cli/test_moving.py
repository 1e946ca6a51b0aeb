"""`gateway promote` and `gateway rollback` change one row, and only when the result can serve."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gateway.table.compile import route_id

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.cli.conftest import Project

ROWS = "  GET /users/{user_id}: shadow   # the first one\n  POST /orders: legacy\n"


@pytest.fixture
def moving(project: Project) -> Project:
    project.write_table(ROWS)
    return project


@pytest.mark.parametrize(
    "route",
    [
        "GET /users/{user_id}",
        "get /users/<int:user_id>",
        "GET /users/{id:int}",
        "/users/{user_id}",
        route_id("GET /users/{user_id}"),
    ],
)
def test_a_route_is_found_by_key_spelling_path_or_id(moving: Project, route: str) -> None:
    result = moving.run("promote", route)
    assert result.status == 0, result.err
    assert "GET /users/{user_id}: shadow → canary 5%" in result.out
    assert "gateway rollback 'GET /users/{user_id}'" in result.out
    assert "  GET /users/{user_id}: canary 5%   # the first one\n" in moving.table.read_text()


def test_promotion_goes_all_the_way_and_then_has_nothing_to_do(moving: Project) -> None:
    for stage in ("canary 5%", "new", "retired"):
        assert f"→ {stage}" in moving.run("promote", "/users/{user_id}").out
    end = moving.run("promote", "/users/{user_id}")
    assert end.status == 0
    assert "nothing to do" in end.out


def test_rollback_goes_where_legacy_answers(moving: Project) -> None:
    moving.run("promote", "/users/{user_id}", "--to", "new")
    assert "new → legacy" in moving.run("rollback", "/users/{user_id}").out
    assert "nothing to do" in moving.run("rollback", "/users/{user_id}").out


def test_the_weight_moves_a_canary_both_ways_and_each_verb_knows_its_direction(moving: Project) -> None:
    assert "→ canary 20%" in moving.run("promote", "/users/{user_id}", "--weight", "20%").out
    assert "→ canary 1%" in moving.run("rollback", "/users/{user_id}", "--weight", "1%").out
    for verb, weight in (("promote", "0.5%"), ("rollback", "50%")):
        result = moving.run(verb, "/users/{user_id}", "--weight", weight)
        assert result.status == 2
        assert "a step" in result.err


def test_a_bare_number_is_no_weight(moving: Project) -> None:
    result = moving.run("promote", "/users/{user_id}", "--weight", "5")
    assert result.status == 2
    assert "5%" in result.err


def test_a_dry_run_shows_the_difference_and_writes_nothing(moving: Project) -> None:
    before = moving.table.read_bytes()
    result = moving.run("promote", "/users/{user_id}", "--dry-run")
    assert result.status == 0
    assert "-  GET /users/{user_id}: shadow   # the first one\n" in result.out
    assert "+  GET /users/{user_id}: canary 5%   # the first one\n" in result.out
    assert moving.table.read_bytes() == before


def test_what_the_new_app_cannot_serve_is_refused_and_nothing_is_written(moving: Project) -> None:
    before = moving.table.read_bytes()
    result = moving.run("promote", "POST /orders", "--to", "new")
    assert result.status == 1
    assert "the new app has no route" in result.err
    assert moving.table.read_bytes() == before


def test_an_implicit_endpoint_gets_a_row(project: Project) -> None:
    project.write_table("  POST /orders: legacy\n")
    result = project.run("promote", "GET /users/<int:user_id>")
    assert result.status == 0, result.err
    assert "GET /users/{user_id:int}: shadow" in project.table.read_text()
    assert project.run("check").status == 0


def test_a_rollback_works_while_an_app_cannot_be_imported(moving: Project) -> None:
    (moving.folder / moving.new.replace(":app", ".py")).write_text("raise RuntimeError('down')")
    result = moving.run("rollback", "GET /users/{user_id}")
    assert result.status == 0, result.err
    assert "shadow → legacy" in result.out


def test_an_unknown_route_names_the_nearest(moving: Project) -> None:
    result = moving.run("promote", "GET /user/{user_id}")
    assert result.status == 2
    assert "did you mean `GET /users/{user_id}`" in result.err
    assert result.err.count("\n") == 1


def test_the_way_back_of_a_websocket_is_one_that_exists(make_project: Callable[..., Project]) -> None:
    project = make_project(
        new="from fastapi import FastAPI, WebSocket\n\napp = FastAPI()\n\n\n"
        '@app.websocket("/live")\nasync def live(socket: WebSocket):\n    await socket.accept()\n'
    )
    project.write_table("  WS /live: new\n")
    said = project.run("promote", "WS /live").out
    assert "Back: gateway rollback 'WS /live' --to new" in said
    assert project.run("rollback", "WS /live", "--to", "new").status == 0
    assert "WS /live: new" in project.table.read_text()


@pytest.mark.parametrize("route", ["GET /fresh", "/fresh"])
def test_a_route_that_only_new_has_is_told_with_the_row_that_it_needs(project: Project, route: str) -> None:
    result = project.run("promote", route)
    assert result.status == 2
    assert "only the new app has GET /fresh" in result.err
    assert "add `GET /fresh: new`" in result.err


def test_a_path_of_several_rows_asks_which(project: Project) -> None:
    project.write_table("  GET /users/{user_id}: legacy\n  PUT /users/{user_id}: legacy\n")
    result = project.run("promote", "/users/{user_id}")
    assert result.status == 1
    assert "'GET /users/{user_id}' or 'PUT /users/{user_id}'" in result.err


def test_one_method_of_a_row_is_split_off(project: Project) -> None:
    project.write_table("  GET,PUT /users/{user_id}: legacy\n")
    assert project.run("promote", "GET /users/{user_id}").status == 0
    text = project.table.read_text()
    assert "  PUT /users/{user_id}: legacy\n" in text
    assert "  GET /users/{user_id}: shadow\n" in text


def test_a_table_with_errors_is_not_edited(project: Project) -> None:
    project.write_table("  GET /users/{user_id}: legacy\n  GET /users: nwe\n")
    before = project.table.read_bytes()
    result = project.run("rollback", "GET /users/{user_id}", "--to", "legacy")
    assert project.run("promote", "GET /users/{user_id}").status == 1
    assert result.status == 0  # it is there already
    assert project.table.read_bytes() == before
