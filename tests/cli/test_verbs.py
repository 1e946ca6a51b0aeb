"""The reading verbs say what is true, in aligned words and in JSON, with the promised exit codes."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from gateway.cli.explanation import compared
from gateway.cli.serve import make_parser
from gateway.settings import Settings
from tests.table.tables import compiled, row

if TYPE_CHECKING:
    from tests.cli.conftest import Project


def test_routes_lists_listed_implicit_and_unreachable_endpoints(project: Project) -> None:
    project.write_table("  GET /users/{user_id}: canary 5%\n")
    endpoints = json.loads(project.run("routes", "--output", "json").out)
    by_path = {(endpoint["path"], tuple(endpoint["methods"])): endpoint for endpoint in endpoints}
    canary = by_path["/users/{user_id}", ("GET",)]
    assert canary["stage"] == "canary"
    assert canary["answers"] == "new 5%, else legacy"
    assert canary["legacy"].startswith("legacy_")
    assert canary["new"].startswith("new_")
    assert canary["new"].rpartition(":")[2].isdigit()
    assert by_path["/orders", ("POST",)]["is_listed"] is False
    assert by_path["/users/{user_id:int}", ("PUT",)]["stage"] == "legacy"
    assert by_path["/fresh", ("GET",)]["answers"] == "nobody"


def test_routes_prints_aligned_lines_without_colours_or_cuts_in_a_pipe(project: Project) -> None:
    long = "/".join(["segment"] * 30)
    project.write_table(f"  GET /users: legacy\n  GET /{long}: legacy\n")
    (project.folder / project.legacy.replace(":app", ".py")).write_text(
        (project.folder / project.legacy.replace(":app", ".py")).read_text()
        + f'\n@app.route("/{long}")\ndef deep():\n    return ""\n'
    )
    ended = subprocess.run(
        [sys.executable, "-m", "gateway", "routes"],
        cwd=project.folder,
        env={"PYTHONPATH": str(Path(__file__).parents[2]), "COLUMNS": "40", "TERM": "xterm"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ended.returncode == 0, ended.stderr
    assert "\x1b" not in ended.stdout
    lines = ended.stdout.splitlines()
    (row,) = (line for line in lines if long in line)
    assert row.index("legacy ") == lines[0].index("STAGE")
    assert all(line == line.rstrip() for line in lines)


def test_routes_can_be_searched(project: Project) -> None:
    result = project.run("routes", "orders")
    assert "/orders" in result.out
    assert "/users" not in result.out
    assert project.run("routes", "nothing-like-it").status == 0


def test_routes_in_matching_order_puts_the_more_specific_first(project: Project) -> None:
    endpoints = json.loads(project.run("routes", "-s", "match", "--output", "json").out)
    paths = [endpoint["path"] for endpoint in endpoints]
    assert paths.index("/users/me") < paths.index("/users/{user_id:int}")


def test_a_refused_table_prints_every_error_and_exits_1(project: Project) -> None:
    project.write_table("  GET /users: nwe\n  GET /nowhere: legacy\n")
    for verb in (["routes"], ["explain", "GET", "/users"]):
        result = project.run(*verb)
        assert result.status == 1
        assert f"routing.yaml:{project.line_of('nwe')}: " in result.err
        assert f"routing.yaml:{project.line_of('/nowhere')}: " in result.err
        assert "2 errors" in result.err


@pytest.mark.parametrize("verb", [["routes"], ["check"], ["explain", "GET", "/"], ["serve"]])
def test_a_missing_table_is_one_line_that_names_init(project: Project, verb: list[str]) -> None:
    project.table.unlink()
    result = project.run(*verb)
    assert result.status == 3
    assert result.err.count("\n") == 1
    assert "gateway init" in result.err


def test_explain_names_the_row_the_reason_and_who_answers(project: Project) -> None:
    project.write_table("  GET /users/{user_id}: new\n")
    found = json.loads(project.run("explain", "GET", "/users/7", "--output", "json").out)
    assert found["row"] == "GET /users/{user_id}"
    assert found["answered_by"] == "new"
    assert found["parameters"] == {"user_id": "7"}
    assert found["line"] == project.line_of("/users/{user_id}")
    me = json.loads(project.run("explain", "GET", "/users/me", "--output", "json").out)
    assert me["answered_by"] == "legacy"
    assert me["is_listed"] is False
    words = json.loads(project.run("explain", "GET", "/users/abc", "--output", "json").out)
    assert (words["row"], words["answered_by"]) == (None, "legacy")


def test_explain_says_why_another_row_does_not_get_the_request(project: Project) -> None:
    project.write_table("  GET /users/{user_id:str}: new\n  GET /users/me: legacy\n")
    result = project.run("explain", "GET", "/users/me")
    assert "GET /users/{user_id:str} is less specific: the literal me comes before" in result.out


def test_explain_follows_a_callers_identity_and_the_testers_override(project: Project) -> None:
    project.write_table(
        "  GET /users/{user_id}:\n    stage: canary\n    weight: 50%\n    sticky: [header:x-caller]\n"
        "    pin: {new: ['header:x-team=qa']}\n"
    )
    pinned = project.run("explain", "GET", "/users/7", "-H", "X-Team: qa").out
    assert "answers   new: pinned by header:x-team=qa" in pinned
    sides = {
        json.loads(project.run("explain", "GET", "/users/7", "-H", f"X-Caller: {n}", "--output", "json").out)[
            "answered_by"
        ]
        for n in range(12)
    }
    assert sides == {"legacy", "new"}


def test_explain_takes_the_method_in_any_case(project: Project) -> None:
    project.write_table("  GET /users/{user_id}: new\n")
    assert "row       GET /users/{user_id}" in project.run("explain", "get", "/users/1").out


@pytest.mark.parametrize(
    ("stage", "writes", "said"),
    [
        ("shadow", "skip", "never: POST may write"),
        ("shadow", "rehearse", "20% of its requests, in a rehearsal on new before legacy answers"),
        ("new", "rehearse", "never: at new new has made the write when legacy could be asked"),
    ],
)
def test_explain_says_how_a_write_is_compared(stage: str, writes: str, said: str) -> None:
    spec = row("POST /orders", stage, sample_bp=2_000, writes=writes)
    (route,) = compiled([spec]).snapshot.routes
    assert compared(route, "POST").startswith(said)


def test_explain_names_the_row_that_a_route_of_new_alone_needs(project: Project) -> None:
    said = project.run("explain", "GET", "/fresh").out
    assert "legacy answers with its own 404" in said
    assert "the new app has it, and is asked once a row says GET /fresh: new" in said
    assert "the new app has it" not in project.run("explain", "GET", "/nowhere").out
    assert "the new app has it" not in project.run("explain", "POST", "/fresh").out


def test_explain_tells_what_the_guard_refuses(project: Project) -> None:
    project.write_table("  GET /users/{user_id:str}: new\n")
    assert "gateway: 400" in project.run("explain", "GET", "/users/a%5Cb").out
    assert "gateway: 405" in project.run("explain", "TRACE", "/users").out


def test_explain_wants_a_path_and_a_header_with_a_colon(project: Project) -> None:
    assert project.run("explain", "GET", "users").status == 2
    assert project.run("explain", "GET", "/users", "-H", "nonsense").status == 2


def test_check_exits_0_on_warnings_and_1_with_strict(project: Project) -> None:
    project.write_table("  GET /users/{user_id}: legacy\n")
    loose, strict = project.run("check"), project.run("check", "--strict")
    assert loose.status == 0
    assert strict.status == 1
    assert "stays at legacy although the new app has" in loose.out


def test_check_prints_errors_first_and_exits_1(project: Project) -> None:
    project.write_table("  GET /users/{user_id}: legacy\n  GET /users: new\n")
    result = project.run("check")
    assert result.status == 1
    first = result.out.splitlines()[0]
    assert first.startswith(f"routing.yaml:{project.line_of('GET /users: new')}: GET /users: ")
    assert "1 error" in result.out
    problems = json.loads(project.run("check", "--output", "json").out)
    assert problems["is_valid"] is False
    assert problems["problems"][0]["severity"] == "error"


def test_check_fails_on_a_retired_row_whose_rule_is_still_there(project: Project) -> None:
    project.write_table("  GET /users/{user_id}: retired\n")
    result = project.run("check")
    assert result.status == 1
    assert "still has" in result.out


def test_schema_prints_the_json_schema(project: Project) -> None:
    assert json.loads(project.run("schema").out)["title"] == "routing.yaml"


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        (["rutes"], "did you mean `gateway routes`?"),
        (["xyzzy"], "gateway --help"),
        (["explain", "GET"], "PATH"),
        (["routes", "--output", "xml"], "xml"),
        (["check", "--nonsense"], "--nonsense"),
        (["promote"], "ROUTE"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_2(project: Project, arguments: list[str], wanted: str) -> None:
    result = project.run(*arguments)
    assert result.status == 2
    assert result.err.count("\n") == 1
    assert wanted in result.err


@pytest.mark.parametrize(
    "arguments",
    [["--port", "99999"], ["--workers", "0"], ["--admin", "x:y"], ["--grace", "-1"], ["--nonsense"]],
)
def test_wrong_serving_options_are_exit_2(project: Project, arguments: list[str]) -> None:
    result = project.run("serve", *arguments)
    assert result.status == 2
    assert result.err.count("\n") == 1
    assert "gateway serve" in result.err


@pytest.mark.parametrize("arguments", [["routes", "--output", "xml"], ["promote", "GET /", "--to", "nwe"]])
def test_no_library_speaks_in_a_usage_error(project: Project, arguments: list[str]) -> None:
    assert "Value error" not in project.run(*arguments).err


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        (["--host", "no-such-host.invalid"], "choose another with --host"),
        (["--host", "192.0.2.1"], "choose another with --host"),
        (["--admin", "somewhere"], "neither HOST:PORT, PORT nor off"),
    ],
)
def test_an_address_that_cannot_be_is_told_with_the_option_that_mends_it(
    project: Project, options: list[str], wanted: str
) -> None:
    assert wanted in project.run("serve", *options).err


def test_a_port_in_use_is_told_with_the_option_that_mends_it(project: Project) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        result = project.run("serve", "--port", port)
        assert (result.status, "choose another with --port" in result.err) == (3, True)
        result = project.run("serve", "--port", "0", "--admin", port)
        assert (result.status, "choose another with --admin HOST:PORT" in result.err) == (3, True)


def test_help_lists_every_verb(project: Project) -> None:
    text = project.run("--help").out
    for verb in ("init", "serve", "dev", "routes", "explain", "check", "promote", "rollback", "schema"):
        assert f"  {verb} " in text
    assert project.run().out == text


def test_the_serving_options_have_the_settings_names_and_defaults() -> None:
    options = vars(make_parser("serve", {}).parse_args([]))
    settings = Settings(_env_file=None)
    for name in ("host", "port", "workers", "grace", "log_level"):
        assert options[name] == getattr(settings, name)
    assert options["config"] == str(settings.config)
    assert f"{options['admin'][0]}:{options['admin'][1]}" == settings.admin
    changed = vars(make_parser("serve", {"GATEWAY_PORT": "81", "GATEWAY_ADMIN": "off"}).parse_args([]))
    assert (changed["port"], changed["admin"]) == (81, None)


def test_serving_imports_no_heavy_library_in_the_supervisor() -> None:
    code = (
        "import sys, gateway.cli.serve\n"
        "print([name for name in ('fastapi', 'flask', 'sqlalchemy', 'pydantic', 'typer', 'rich', 'uvicorn',"
        " 'starlette', 'yaml') if name in sys.modules])"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "[]"
