"""State what is read from the output of ``flask routes``, and what is said about anything else."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from flask.cli import routes_command

from gateway.table.compile import compile_table
from gateway.table.inventory import NewInventory
from gateway.table.rules_file import RulesFileError, parse_rules, read_rules
from tests.table.tables import TODAY, add_rules, flask_app, key_of, table

if TYPE_CHECKING:
    from pathlib import Path

    from flask import Flask


def routes_of(app: Flask, *options: str) -> str:
    """Return what ``flask routes`` prints for ``app``."""
    output: str = app.test_cli_runner().invoke(routes_command, list(options)).output
    return output


PLAIN = """\
[2026-11-22 10:00:00] INFO loading
Endpoint     Methods    Rule
-----------  ---------  -----------------------
index        GET        /
shop.list    GET, POST  /shop/
shop.item    GET        /shop/<int:number>
static       GET        /static/<path:filename>

"""


def test_the_table_is_read_with_methods_and_converters() -> None:
    inventory = parse_rules(PLAIN, source="rules.txt")
    assert inventory.is_known
    assert [rule.rule for rule in inventory.rules] == [
        *("/", "/shop/", "/shop/<int:number>", "/static/<path:filename>"),
    ]
    shop = inventory.rules[1]
    assert shop.methods == frozenset(("GET", "POST", "HEAD", "OPTIONS"))
    assert (shop.endpoint, shop.blueprint, shop.is_strict_slashes) == ("shop.list", "shop", True)
    assert inventory.rules[2].converters["number"].regex == r"\d+"
    assert inventory.rules[3].converters["filename"].is_isolating is False


@pytest.mark.parametrize("options", [(), ("--sort", "match"), ("--all-methods",)])
def test_what_flask_itself_prints_is_read_back(options: tuple[str, ...]) -> None:
    app = flask_app("GET,POST /a/<any(x, 'y, z'):b>/", "DELETE /c/<c>.csv", "PUT /d d/<uuid:x>")
    inventory = parse_rules(routes_of(app, *options), source="rules.txt")
    printed = {(rule.endpoint, rule.rule, rule.methods) for rule in inventory.rules}
    assert printed == {
        (str(rule.endpoint), rule.rule, frozenset(rule.methods or ())) for rule in app.url_map.iter_rules()
    }


@pytest.mark.parametrize("is_host_matching", [True, False])
def test_hosts_and_subdomains_are_read(is_host_matching: bool) -> None:
    app = flask_app(host_matching=is_host_matching)
    word = "host" if is_host_matching else "subdomain"
    add_rules(app, [("GET /a", {word: "api"}), "GET /b"])
    inventory = parse_rules(routes_of(app), source="rules.txt")
    assert [getattr(rule, word) for rule in inventory.rules] == ["api", ""]
    assert inventory.has_host_matching is is_host_matching


def test_implicit_rows_come_out_of_it() -> None:
    inventory = parse_rules(PLAIN, source="rules.txt")
    spec = table({"GET /shop/{number}": "new"})
    result = compile_table(spec, inventory, NewInventory(is_known=False), generation=1, today=TODAY)
    matcher = result.snapshot.matcher
    assert result.problems == ()
    assert key_of(matcher.match("GET", "/shop/7")) == "GET /shop/{number}"
    assert matcher.match("GET", "/shop/x") is None
    assert key_of(matcher.match("GET", "/shop")) == "GET /shop/"


def test_a_converter_of_the_apps_own_takes_any_segment_and_may_be_written() -> None:
    text = PLAIN.replace("<int:number>", "<sku(8):number>")
    inventory = parse_rules(text, source="rules.txt")
    assert inventory.make_converter is not None
    assert inventory.make_converter("sku", "8").regex == "[^/]+"
    with pytest.raises(LookupError):
        inventory.make_converter("nobody", "")


def test_an_app_without_routes_has_none() -> None:
    assert parse_rules("No routes were registered.\n", source="rules.txt").rules == ()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "rules.txt: holds no table of routes; make it with: flask --app APP routes"),
        ("GET /a\n", "rules.txt: holds no table of routes"),
        ("Name  Path\n----  ----\na     /a\n", "rules.txt:1: the columns are Name, Path, not Endpoint"),
        (PLAIN.replace("  /shop/<", "  shop/<"), "rules.txt:6: 'shop/<int:number>' is no rule"),
        (PLAIN.replace("<int:number>", "<int:number"), "rules.txt:6: the rule '/shop/<int:number' has a '<'"),
    ],
)
def test_anything_else_is_refused_with_its_place(text: str, message: str) -> None:
    with pytest.raises(RulesFileError, match=r"rules\.txt") as caught:
        parse_rules(text, source="rules.txt")
    assert message in str(caught.value)


def test_a_file_is_read_and_a_missing_one_is_named(tmp_path: Path) -> None:
    path = tmp_path / "rules.txt"
    with pytest.raises(RulesFileError, match=r"rules\.txt: cannot be read: No such file"):
        read_rules(path)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(RulesFileError, match="is not UTF-8"):
        read_rules(path)
    path.write_text(PLAIN, encoding="utf-8")
    assert len(read_rules(path).rules) == 4
