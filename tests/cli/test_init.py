"""`gateway init` writes a table that loads, for any Flask app, and serves it unchanged."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import yaml

from gateway.loading import load_migration

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.cli.conftest import Project


def init(project: Project, *options: str) -> str:
    result = project.run("init", "--legacy", project.legacy, "--new", project.new, *options)
    assert result.status == 0, result.err
    return project.table.read_text()


def test_every_flask_rule_becomes_a_legacy_row_in_order(make_project: Callable[..., Project]) -> None:
    project = make_project()
    text = init(project)
    assert list(yaml.safe_load(text)["routes"].items()) == [
        ("GET /users", "legacy"),
        ("GET /users/me", "legacy"),
        ("GET,PUT /users/{user_id:int}", "legacy"),
        ("POST /orders", "legacy"),
    ]
    assert "# legacy_" in text
    assert ".py:12, new: new_" in text
    assert "static" not in text


def test_the_table_loads_without_an_error_and_passes_the_check(make_project: Callable[..., Project]) -> None:
    project = make_project()
    init(project)
    result = project.run("check")
    assert result.status == 0
    assert "0 errors" in result.out


def test_an_existing_table_is_never_overwritten_without_force(project: Project) -> None:
    before = project.table.read_text()
    result = project.run("init", "--legacy", project.legacy, "--new", project.new)
    assert result.status == 2
    assert "--force" in result.err
    assert project.table.read_text() == before
    assert init(project, "--force") != before
    assert [path.name for path in project.folder.glob(".routing*")] == []


def test_an_app_that_cannot_be_imported_is_one_readable_block(project: Project) -> None:
    result = project.run("init", "--legacy", "nowhere:app", "--new", project.new, "--force")
    assert result.status == 3
    assert "nowhere" in result.err
    assert "Traceback" not in result.err
    assert result.err.count("\n") <= 4


def test_a_legacy_app_that_is_no_flask_app_gives_an_empty_table_and_a_note(
    make_project: Callable[..., Project],
) -> None:
    project = make_project(legacy="def app(environ, start_response):\n    return []\n")
    text = init(project)
    assert yaml.safe_load(text)["routes"] == {}
    assert "no Flask app" in text
    assert project.run("check").status == 0


def test_a_url_is_written_as_one(project: Project) -> None:
    result = project.run("init", "--legacy", "http://127.0.0.1:9/", "--new", project.new, "--force")
    assert result.status == 0
    assert yaml.safe_load(project.table.read_text())["backends"]["legacy"] == {"url": "http://127.0.0.1:9/"}
    assert "flask --app APP routes --sort match > legacy-rules.txt" in result.out
    assert "no Flask app" not in result.out + project.table.read_text()


def test_a_route_of_new_is_not_called_news_alone_when_legacys_rules_are_unseen(project: Project) -> None:
    project.run("init", "--legacy", "http://127.0.0.1:9/", "--new", project.new, "--force")
    said = project.run("promote", "GET /fresh").err
    assert "only the new app" not in said
    assert "add `GET /fresh: shadow`" in said
    assert "GET /fresh: shadow" in project.run("explain", "GET", "/fresh").out


ODD_RULES = {
    "defaults": '@app.route("/pages/", defaults={"page": 1})\n@app.route("/pages/<int:page>")',
    "same-shape": '@app.route("/x/<int:a>")\n@app.route("/x/<string:b>")\n@app.route("/x/<uuid:c>")',
    "same-path-other-methods": '@app.route("/y", methods=["GET"])\n@app.route("/y", methods=["POST", "GET"])',
    "regex-converter": '@app.route("/code/<sku:code>/<any(a, b):kind>/<string(length=2):lang>")',
    "path": '@app.route("/files/<path:name>/raw")\n@app.route("/<path:rest>")',
    "mixed": '@app.route("/<name>.<ext>")\n@app.route("/v<int:major>/x")',
    "quoting": '@app.route("/a: b")\n@app.route("/it\'s/\\"q\\"")\n@app.route("/100%/@x/!y/*/&z")',
    "braces": '@app.route("/{literal}/<x>")',
    "hash-and-query": '@app.route("/a#b")\n@app.route("/a?b")',
    "unicode": '@app.route("/grüße/<name>/日本")',
    "control": '@app.route("/bell\\x07")\n@app.route("/line\\u2028end")',
    "double-slash": '@app.route("/a//b")\n@app.route("//c")',
    "websocket": '@app.route("/ws", websocket=True)',
    "options-only": '@app.route("/o", methods=["OPTIONS"])\n@app.route("/h", methods=["HEAD"])',
    "odd-methods": '@app.route("/m", methods=["PROPFIND", "X-ODD", "connect"])',
    "long": '@app.route("/" + "long/" * 300)',
    "root": '@app.route("/")',
    "loose": '@app.route("/loose/", strict_slashes=False)\n@app.route("/strict/")',
    "subdomain": '@app.route("/s", subdomain="api")\n@app.route("/s")',
    "host-like": '@app.route("/same", endpoint="one")\n@app.route("/same", endpoint="two")',
}

ODD_APP = """
from flask import Flask
from werkzeug.routing import BaseConverter


class Sku(BaseConverter):
    regex = "[A-Z]{{3}}-[0-9]+"


app = Flask(__name__)
app.url_map.converters["sku"] = Sku


{rules}
def view(**arguments):
    return "answer"
"""


@pytest.mark.parametrize("rules", ODD_RULES.values(), ids=ODD_RULES)
def test_whatever_flask_has_the_table_loads_and_claims_only_what_it_says(
    make_project: Callable[..., Project], rules: str
) -> None:
    rules = "\n".join(
        line
        if "endpoint=" in line
        else line.replace(")", f', endpoint="e{n}")', 1)
        if line.count(")") == 1
        else f'{line[:-1]}, endpoint="e{n}")'
        for n, line in enumerate(rules.splitlines())
    )
    project = make_project(legacy=ODD_APP.format(rules=rules))
    text = init(project)
    migration = load_migration(project.table)
    assert [str(problem) for problem in migration.errors] == []
    assert migration.snapshot is not None
    assert migration.apps is not None
    covered = {rule.index for route in migration.snapshot.routes for rule in route.legacy_rules}
    for rule in migration.apps.legacy_inventory.rules:
        is_said = rule.index in covered or f": {rule.rule}" in text or f" {rule.rule}\n" in text
        assert is_said or rule.is_websocket, "each rule is listed, implicit, or named in a comment"
    assert all(route.spec.stage == "legacy" for route in migration.snapshot.routes)
