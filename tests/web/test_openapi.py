"""Claim that the merged description tells the truth about every row, and is OpenAPI."""

from __future__ import annotations

import json
import re
import textwrap
from datetime import date
from typing import Any

import pytest
from fastapi import FastAPI
from flask import Blueprint, Flask

from gateway.backends.inspect import inspect_legacy, inspect_new
from gateway.table.compile import compile_table
from gateway.table.inventory import Converter
from gateway.table.read import parse_table
from gateway.table.spec import Stage
from gateway.web.openapi import merged_description
from gateway.web.plain_operation import parameter_schema
from tests.web.described import implicit, legacy_rule, migration, new_app, new_route, row, snapshot


def operations(description: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {
        f"{method.upper()} {path}": operation
        for path, methods in description["paths"].items()
        for method, operation in methods.items()
    }


@pytest.fixture
def merged() -> dict[str, Any]:
    return merged_description(migration(), new_app())


def test_every_operation_says_its_stage_and_each_row_and_rule_is_there_once(merged: dict[str, Any]) -> None:
    stages = {key: operation["x-migration-stage"] for key, operation in operations(merged).items()}
    assert stages == {
        "GET /users/{user_id}": "new",
        "PUT /users/{user_id}": "canary",
        "DELETE /users/{user_id}": "legacy",
        "GET /search/{term}": "shadow",
        "GET /reports/{name}.csv": "legacy",
        "POST /reports/{name}.csv": "legacy",
        "GET /pages/{page}": "legacy",
    }
    assert operations(merged)["PUT /users/{user_id}"]["x-migration-weight"] == "5.5%"
    assert json.loads(json.dumps(merged)) == merged


def test_a_row_that_new_serves_shows_news_own_operation(merged: dict[str, Any]) -> None:
    theirs = new_app().openapi()["paths"]["/users/{id}"]["get"]
    theirs["parameters"][0]["name"] = "user_id"
    assert operations(merged)["GET /users/{user_id}"] == theirs | {"x-migration-stage": "new"}
    assert merged["info"] == {"title": "Shop", "version": "2.0"}
    assert merged["tags"] == [{"name": "people", "description": "Users"}]


def test_only_components_that_a_shown_operation_reaches_are_kept(merged: dict[str, Any]) -> None:
    assert set(merged["components"]["schemas"]) == {
        "User",
        "Address",
        "HTTPValidationError",
        "ValidationError",
    }
    assert set(merged["components"]["securitySchemes"]) == {"OAuth2PasswordBearer"}
    nothing_new = merged_description(snapshot(implicit(legacy_rule("/a", "a"))), new_app())
    assert "components" not in nothing_new


def test_a_legacy_operation_is_described_from_its_rule_and_its_view(merged: dict[str, Any]) -> None:
    assert operations(merged)["DELETE /users/{user_id}"] == {
        "tags": ["people"],
        "summary": "Show one user.",
        "description": "Answers 404 when there is none.",
        "operationId": "legacy_people_user_delete",
        "parameters": [
            {"name": "user_id", "in": "path", "required": True, "schema": {"type": "integer", "minimum": 0}}
        ],
        "responses": {"default": {"description": "What the legacy app answers."}},
        "x-migration-stage": "legacy",
    }
    assert operations(merged)["GET /reports/{name}.csv"]["summary"] == "Monthly report"
    assert operations(merged)["GET /reports/{name}.csv"]["tags"] == ["legacy"]


def test_a_row_with_another_path_on_new_is_shown_under_its_public_path() -> None:
    shown = merged_description(
        snapshot(
            row(
                "GET",
                "/search/{term:path}",
                Stage.RETIRED,
                new=new_route("/v2/search/{term:path}"),
                new_path="/v2/search/{term}",
            )
        ),
        new_app(),
    )
    assert list(operations(shown)) == ["GET /search/{term}"]
    names = [p["name"] for p in operations(shown)["GET /search/{term}"]["parameters"]]
    assert names == ["term", "limit"]


def test_methods_that_new_keeps_under_differently_named_paths_meet_under_the_public_one() -> None:
    app = FastAPI()
    app.get("/pets/{id}", name="read")(lambda: None)
    app.put("/pets/{pet}", name="change")(lambda: None)
    shown = merged_description(
        snapshot(row("GET,PUT", "/pets/{pet_id}", Stage.NEW, new=new_route("/pets/{id}"))), app
    )
    assert {key: operation["summary"] for key, operation in operations(shown).items()} == {
        "GET /pets/{pet_id}": "Read",
        "PUT /pets/{pet_id}": "Change",
    }


def test_a_table_compiled_against_two_real_apps_is_described_in_full() -> None:
    legacy, people = Flask("legacy"), Blueprint("people", "people", static_folder="files")

    @people.route("/users/<int:user_id>", methods=["GET", "PUT", "DELETE"])
    def user(user_id: int) -> str:
        """Keep one user."""
        return ""

    @legacy.get("/search/<path:term>")
    def search(term: str) -> str:
        return term

    legacy.register_blueprint(people, url_prefix="/api")
    new = FastAPI(title="Shop")

    @new.get("/api/users/{user_id}")
    async def read_user(user_id: int) -> str:
        return ""

    table = """
        version: 1
        backends: {legacy: {wsgi: "legacy:app"}, new: {asgi: "new:app"}}
        routes:
          GET /api/users/{user_id}: canary 5%
    """
    spec = parse_table(textwrap.dedent(table).encode(), source="routing.yaml", environ={}).spec
    assert spec is not None
    compiled = compile_table(
        spec, inspect_legacy(legacy), inspect_new(new), generation=1, today=date(2026, 1, 1)
    )
    assert compiled.snapshot is not None
    shown = operations(merged_description(compiled.snapshot, new))
    assert {
        key: (operation["summary"], operation["x-migration-stage"]) for key, operation in shown.items()
    } == {
        "GET /api/users/{user_id}": ("Read User", "canary"),
        "PUT /api/users/{user_id}": ("Keep one user.", "legacy"),
        "DELETE /api/users/{user_id}": ("Keep one user.", "legacy"),
        "GET /search/{term}": ("Search", "legacy"),
    }
    assert shown["DELETE /api/users/{user_id}"]["parameters"][0]["schema"]["type"] == "integer"


def test_without_a_new_app_in_the_process_its_rows_are_still_listed() -> None:
    shown = merged_description(migration())
    assert operations(shown)["GET /users/{user_id}"]["x-migration-stage"] == "new"
    assert merged_description(migration(), new_app().openapi()) == merged_description(migration(), new_app())


def test_a_new_app_that_cannot_describe_itself_does_not_take_the_rest_away(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Broken:
        def openapi(self) -> dict[str, Any]:
            raise RuntimeError("a model is at fault")

    assert "GET /pages/{page}" in operations(merged_description(migration(), Broken()))
    assert "could not describe itself" in caplog.text


def test_a_route_that_its_author_hid_stays_hidden() -> None:
    hidden = row("GET", "/internal", Stage.NEW, new=new_route("/internal", is_in_schema=False))
    assert merged_description(snapshot(hidden), new_app())["paths"] == {}


def test_rules_that_only_a_converter_tells_apart_share_one_operation_that_names_them() -> None:
    shown = merged_description(
        snapshot(
            implicit(
                legacy_rule("/x/<int:number>", "number", converters={"number": Converter("int")}, index=1)
            ),
            implicit(legacy_rule("/x/<word>", "word", index=2)),
            implicit(legacy_rule("/x/<word>", "word", "POST", index=2)),
        )
    )
    assert list(operations(shown)) == ["GET /x/{number}", "POST /x/{number}"]
    assert "`/x/<word>`" in operations(shown)["GET /x/{number}"]["description"]
    assert operations(shown)["POST /x/{number}"]["parameters"][0]["name"] == "number"


def test_static_files_are_shown_only_when_a_row_lists_them() -> None:
    rule = legacy_rule("/static/<path:filename>", "static")
    assert merged_description(snapshot(implicit(rule)))["paths"] == {}
    listed = row("GET", "/static/{filename:path}", legacy=(rule,))
    assert list(operations(merged_description(snapshot(listed)))) == ["GET /static/{filename}"]


def test_one_description_never_changes_the_new_apps_own() -> None:
    app = new_app()
    before = json.dumps(app.openapi(), sort_keys=True)
    merged_description(migration(), app, title="Other")
    assert json.dumps(app.openapi(), sort_keys=True) == before


@pytest.mark.parametrize(
    ("converter", "arguments", "schema"),
    [
        ("", "", {"type": "string"}),
        ("string", "length=2", {"type": "string", "minLength": 2, "maxLength": 2}),
        ("string", "minlength=1, maxlength=5", {"type": "string", "minLength": 1, "maxLength": 5}),
        ("int", "", {"type": "integer", "minimum": 0}),
        ("int", "min=1, max=9", {"type": "integer", "minimum": 1, "maximum": 9}),
        ("int", "signed=True", {"type": "integer"}),
        ("float", "", {"type": "number", "minimum": 0}),
        ("uuid", "", {"type": "string", "format": "uuid"}),
        ("any", "about, 'two words'", {"type": "string", "enum": ["about", "two words"]}),
        ("path", "", {"type": "string"}),
        ("sku", "whatever it takes(", {"type": "string"}),
    ],
)
def test_a_converter_becomes_the_schema_of_what_it_takes(
    converter: str, arguments: str, schema: dict[str, Any]
) -> None:
    assert parameter_schema(converter, arguments) == schema


def test_the_result_has_the_structure_that_openapi_demands(merged: dict[str, Any]) -> None:
    assert merged["openapi"].startswith("3.1.")
    ids = [operation["operationId"] for operation in operations(merged).values()]
    assert len(set(ids)) == len(ids)
    shapes = [re.sub(r"\{\w+\}", "{}", path) for path in merged["paths"]]
    assert len(set(shapes)) == len(shapes)
    for path, methods in merged["paths"].items():
        assert path.startswith("/")
        assert set(methods) <= {"get", "put", "post", "delete", "patch", "options", "head", "trace"}
        for operation in methods.values():
            named = [p["name"] for p in operation.get("parameters", ()) if p["in"] == "path"]
            assert sorted(named) == sorted(re.findall(r"\{(\w+)\}", path))
            assert operation["responses"]
    for reference in re.findall(r'"#/components/(\w+)/(\w+)"', json.dumps(merged)):
        assert reference[1] in merged["components"][reference[0]]
