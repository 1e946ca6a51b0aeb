"""State what the design says of matching, sentence by sentence, and that no table makes it slow."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

import pytest
from werkzeug.routing import BaseConverter, Rule, ValidationError

from gateway.table.match import Node, TreeMatcher
from tests.table.tables import compiled, flask_app, key_of, new_router, view

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gateway.table.route import Matcher

UUID = str(uuid.UUID(int=7))


def match(rows: Mapping[str, str], path: str, legacy: object = None, method: str = "GET") -> str | None:
    """Return the key of the row that takes a request."""
    return key_of(compiled(rows, legacy).snapshot.matcher.match(method, path))


class Sku(BaseConverter):
    """Take three capitals and a digit that is even."""

    regex = "[A-Z]{3}[0-9]"

    def to_python(self, value: str) -> str:
        if int(value[-1]) % 2:
            raise ValidationError
        return value


class Custom(BaseConverter):
    """Take capitals, with a weight beyond the plain converter's."""

    regex = "[A-Z]+"
    weight = 150


@pytest.mark.parametrize(
    ("template", "path", "is_taken"),
    [
        ("/a/{x}", "/a/b", True),
        ("/a/{x}", "/a/", False),
        ("/a/{x}", "/a/b/c", False),
        ("/a/{x:str}", "/a/1", True),
        ("/a/{x:int}", "/a/12", True),
        ("/a/{x:int}", "/a/1x", False),
        ("/a/{x:int}", "/a/-1", False),
        ("/a/{x:int(signed=True)}", "/a/-1", True),
        ("/a/{x:float}", "/a/1.5", True),
        ("/a/{x:float}", "/a/1", False),
        ("/a/{x:uuid}", f"/a/{UUID}", True),
        ("/a/{x:uuid}", f"/a/{UUID.replace('-', '')}", False),
        ("/a/{x:any(about,help)}", "/a/help", True),
        ("/a/{x:any(about,help)}", "/a/helper", False),
        ("/a/{x:string(length=2)}", "/a/de", True),
        ("/a/{x:string(length=2)}", "/a/deu", False),
        ("/a/{x:path}", "/a/b/c", True),
        ("/a/{x:path}", "/a/", False),
        ("/a/{x:path}", "/a//b", False),
        ("/a/{x:path}/edit", "/a/b/c/edit", True),
        ("/a/{x:path}/edit", "/a/edit", False),
        ("/a/{x}.csv", "/a/q.csv", True),
        ("/a/{x}.csv", "/a/.csv", False),
        ("/a/{x}-{y:int}", "/a/q-1-2", True),
        ("/a/{{x}}", "/a/{x}", True),
    ],
)
def test_a_template_takes(template: str, path: str, is_taken: bool) -> None:
    assert (match({f"GET {template}": "new"}, path) is not None) is is_taken


@pytest.mark.parametrize(
    ("winner", "loser", "path"),
    [
        ("GET /a/b", "GET /a/{x}.csv", "/a/b"),
        ("GET /a/b.csv", "GET /a/{x}.csv", "/a/b.csv"),
        ("GET /a/{x}.csv", "GET /a/{x:any(b.csv)}", "/a/b.csv"),
        ("GET /a/{x:int}", "GET /a/{x}", "/a/7"),
        ("GET /a/{x:uuid}", "GET /a/{x}", f"/a/{UUID}"),
        ("GET /a/{x:any(b)}", "GET /a/{x}", "/a/b"),
        ("GET /a/{x}", "GET /a/{x:path}", "/a/b"),
        ("GET /a/{x}/d", "GET /a/{x:path}/d", "/a/b/d"),
        ("GET /a/{x}/c", "GET /{x}/b/c", "/a/b/c"),
        ("GET /{x}/b", "GET /{x}/{y}", "/a/b"),
        ("GET /{x:int}/{y:path}", "GET /{x}/b", "/7/b"),
    ],
)
def test_the_most_specific_row_wins_whatever_the_order_in_the_file(
    winner: str, loser: str, path: str
) -> None:
    assert match({winner: "new", loser: "new"}, path) == winner
    assert match({loser: "new", winner: "new"}, path) == winner


def test_a_tighter_row_that_leads_nowhere_gives_way_to_a_looser_one() -> None:
    rows = {"GET /a/{x}/end": "new", "GET /{p:path}": "new"}
    assert match(rows, "/a/b/end") == "GET /a/{x}/end"
    assert match(rows, "/a/b/other") == "GET /{p:path}"


def test_a_rule_that_the_table_does_not_list_is_an_implicit_legacy_row() -> None:
    app = flask_app("GET /users/me", "GET /users/<int:user_id>", "POST /users/<int:user_id>")
    snapshot = compiled({"GET /users/{user_id}": "new"}, app).snapshot
    me = snapshot.matcher.match("GET", "/users/me")
    assert me is not None
    assert (me.key, me.is_listed, me.spec.stage) == ("GET /users/me", False, "legacy")
    assert key_of(snapshot.matcher.match("POST", "/users/7")) == "POST /users/{user_id:int}"


def test_a_plain_parameter_takes_the_claimed_rules_converter() -> None:
    app = flask_app("GET /users/<int:user_id>")
    rows = {"GET /users/{id}": "new"}
    assert match(rows, "/users/7", app) == "GET /users/{id}"
    assert match(rows, "/users/abc", app) is None


def test_a_written_converter_overrides_the_claimed_rules() -> None:
    app = flask_app("GET /users/<int:user_id>")
    rows = {"GET /users/{id:str}": "new"}
    assert match(rows, "/users/abc", app) == "GET /users/{id:str}"
    assert match(rows, "/users/7", app) == "GET /users/{id:str}"


def test_a_narrower_converter_leaves_the_rest_of_the_rule_to_legacy() -> None:
    app = flask_app("GET /users/<name>")
    rows = {"GET /users/{id:int}": "new", "ANY /{p:path}": "new"}
    assert match(rows, "/users/7", app) == "GET /users/{id:int}"
    assert match(rows, "/users/abc", app) == "GET /users/{name}"


def test_a_path_converter_is_adopted_with_all_its_segments() -> None:
    app = flask_app("GET /wiki/<path:page>/edit")
    assert match({"GET /wiki/{page}/edit": "new"}, "/wiki/a/b/edit", app) == "GET /wiki/{page}/edit"


def test_converters_of_the_legacy_app_come_with_their_arguments() -> None:
    app = flask_app("GET /p/<any(about, help):page>")
    app.url_map.converters["sku"] = Sku
    app.add_url_rule("/s/<sku:code>", "sku", view)
    rows = {"GET /p/{page}": "new", "GET /s/{code:sku}": "new"}
    assert match(rows, "/p/help", app) == "GET /p/{page}"
    assert match(rows, "/p/other", app) is None
    assert match(rows, "/s/ABC2", app) == "GET /s/{code:sku}"


def test_a_text_that_a_converter_rejects_is_legacys_404_and_no_looser_rows() -> None:
    app = flask_app("GET /n/<int(min=5):x>")
    app.url_map.converters["sku"] = Sku
    app.add_url_rule("/s/<sku:code>", "sku", view)
    rows = {"GET /n/{x}": "new", "GET /s/{code}": "new", "GET /{p:path}": "new"}
    assert match(rows, "/n/5", app) == "GET /n/{x}"
    assert match(rows, "/n/4", app) is None
    assert match(rows, "/s/ABC3", app) is None


def test_a_listed_typed_row_beats_a_plain_one_whatever_weight_the_converter_has() -> None:
    app = flask_app("GET /<slug>")
    app.url_map.converters["custom"] = Custom
    app.add_url_rule("/<custom:code>", "custom", view)
    rows = {"GET /{code:custom}": "new"}
    assert match(rows, "/ABC", app) == "GET /{code:custom}"
    assert match(rows, "/abc", app) == "GET /{slug:str}"


@pytest.mark.parametrize("digits", ["7" * 5_000, "7" * 4_301])
def test_a_number_too_long_for_python_is_no_match_and_no_error(digits: str) -> None:
    assert match({"GET /n/{x:int}": "new"}, f"/n/{digits}") is None
    assert match({"GET /n/{x}": "new"}, f"/n/{digits}", flask_app("GET /n/<int:x>")) is None


def test_digits_beyond_ascii_stay_with_legacy_which_knows_them() -> None:
    app = flask_app("GET /n/<int:x>")
    assert match({"GET /n/{x}": "new"}, "/n/\u0663", app) is None
    assert match({}, "/n/\u0663", app) == "GET /n/{x:int}"


def test_head_follows_get_unless_it_is_listed() -> None:
    rows = {"GET /a/{x}": "new", "HEAD /a/b": "legacy", "HEAD /h": "new", "GET /h": "legacy"}
    assert match(rows, "/a/q", method="HEAD") == "GET /a/{x}"
    assert match(rows, "/a/b", method="HEAD") == "HEAD /a/b"
    assert match(rows, "/h", method="HEAD") == "HEAD /h"


def test_an_unlisted_method_on_a_known_path_matches_no_row() -> None:
    app = flask_app("GET /a")
    matcher = compiled({"GET /a": "new"}, app).snapshot.matcher
    assert matcher.match("OPTIONS", "/a") is None
    assert matcher.match("DELETE", "/a") is None
    (route,) = matcher.routes_at("/a")
    assert [rule.rule for rule in route.legacy_rules] == ["/a"]


def test_methods_are_told_apart_by_case() -> None:
    assert match({"GET /a": "new"}, "/a", method="get") is None


def test_any_takes_every_method_that_no_other_row_of_the_path_lists() -> None:
    rows = {"ANY /a/{x}": "new", "POST /a/{x}": "legacy"}
    assert match(rows, "/a/b") == "ANY /a/{x}"
    assert match(rows, "/a/b", method="POST") == "POST /a/{x}"
    assert match(rows, "/a/b", method="PROPFIND") == "ANY /a/{x}"


def test_any_claims_the_rules_of_every_method() -> None:
    app = flask_app("GET /a", "POST /a", "PUT /b")
    snapshot = compiled({"ANY /a": "new"}, app).snapshot
    assert [route.key for route in snapshot.routes] == ["ANY /a", "PUT /b"]


def test_a_path_that_nothing_lists_matches_nothing() -> None:
    matcher = compiled({"GET /a": "new"}).snapshot.matcher
    assert matcher.match("GET", "/b") is None
    assert matcher.routes_at("/b") == ()


@pytest.mark.parametrize("path", ["/a\n", "/x/b\n", "/n/7\n", "/p/q/r\n"])
def test_a_trailing_newline_never_matches(path: str) -> None:
    rows = {"GET /a": "new", "GET /x/{y}": "new", "GET /n/{y:int}": "new", "GET /p/{y:path}": "new"}
    assert match(rows, path) is None
    assert match(rows, path[:-1]) is not None


def test_leading_slashes_count_as_one_and_inner_ones_do_not() -> None:
    assert match({"GET /items/a": "new"}, "///items/a") == "GET /items/a"
    assert match({"GET /items/{x}": "new"}, "//items/a") == "GET /items/{x}"
    assert match({"GET /items/a": "new"}, "/items//a") is None


def test_the_root_and_the_empty_path_are_told_apart_from_the_rest() -> None:
    assert match({"GET /": "new"}, "/") == "GET /"
    assert match({"GET /": "new"}, "//") == "GET /"
    assert match({"GET /{x}": "new"}, "/") is None


SLASHES: list[tuple[str, dict[str, Any], str, str | None]] = [
    ("/foo/", {}, "/foo/", "GET /foo/"),
    ("/foo/", {}, "/foo", None),
    ("/foo/", {"strict_slashes": False}, "/foo", "GET /foo/"),
    ("/foo", {}, "/foo/", "GET /{x}/"),
    ("/foo", {"strict_slashes": False}, "/foo/", "GET /foo"),
    ("/foo", {"strict_slashes": False}, "/foo", "GET /foo"),
]


@pytest.mark.parametrize(("rule", "options", "path", "expected"), SLASHES)
def test_a_listed_row_treats_slashes_as_its_rule_does(
    rule: str, options: dict[str, Any], path: str, expected: str | None
) -> None:
    app = flask_app((f"GET {rule}", options))
    rows = {f"GET {rule}": "new", "GET /{x}": "new", "GET /{x}/": "new"}
    assert match(rows, path, app) == expected


def test_flasks_redirect_to_the_slash_comes_before_any_looser_row() -> None:
    app = flask_app("GET /foo/", "GET /<x>")
    matcher = compiled({"GET /{x}": "new"}, app).snapshot.matcher
    assert key_of(matcher.match("GET", "/foo")) == "GET /foo/"
    listed = compiled({"GET /foo/": "new", "GET /{x}": "new"}, app).snapshot.matcher
    assert listed.match("GET", "/foo") is None
    assert [route.key for route in listed.routes_at("/foo")] == ["GET /foo/", "GET /{x}"]
    assert key_of(listed.match("POST", "/foo")) is None


def test_a_row_that_serves_both_slashes_does_so_alone_without_looser_rows() -> None:
    app = flask_app(("GET /foo", {"strict_slashes": False}))
    assert match({"GET /foo": "new"}, "/foo/", app) == "GET /foo"


def test_the_slashless_path_goes_to_new_once_legacy_has_forgotten_the_rule() -> None:
    rows = {"GET /foo/": "retired", "GET /{x}": "new"}
    new = new_router("GET /foo/")
    matcher = compiled({"GET /foo/": "retired"}, flask_app("GET /z"), new).snapshot.matcher
    assert key_of(matcher.match("GET", "/foo")) == "GET /foo/"
    assert match(rows, "/foo") == "GET /{x}"
    assert match({"GET /foo/": "legacy"}, "/foo") is None
    assert match({"GET /foo/": "new"}, "/foo") is None, "a legacy app that cannot be seen may know it still"
    assert match({"GET /foo/": "retired"}, "/foo") == "GET /foo/"


def test_rules_of_every_host_are_implicit_rows() -> None:
    app = flask_app(
        ("GET /a", {"host": "one.example"}),
        ("GET /a", {"host": "two.example"}),
        host_matching=True,
        static_host=None,
    )
    snapshot = compiled({}, app).snapshot
    (route,) = snapshot.routes
    assert [rule.host for rule in route.legacy_rules] == ["one.example", "two.example"]


def test_websocket_rows_are_matched_apart() -> None:
    snapshot = compiled({"WS /live/{room}": "new", "GET /live/{room}": "legacy"}).snapshot
    assert key_of(snapshot.websocket_matcher.match("GET", "/live/a")) == "WS /live/{room}"
    assert key_of(snapshot.matcher.match("GET", "/live/a")) == "GET /live/{room}"


def test_a_rule_for_any_method_stays_behind_the_rows_that_list_one() -> None:
    app = flask_app()
    app.url_map.add(Rule("/a", endpoint="a"))
    matcher = compiled({"GET /a": "new"}, app).snapshot.matcher
    assert key_of(matcher.match("GET", "/a")) == "GET /a"
    assert key_of(matcher.match("PURGE", "/a")) == "ANY /a"


def test_routes_at_names_the_best_first_and_each_once() -> None:
    rows = {"GET /{p:path}": "new", "POST /a/{x}": "new", "GET /a/b": "new", "ANY /a/{x}": "new"}
    matcher = compiled(rows).snapshot.matcher
    assert [route.key for route in matcher.routes_at("/a/b")] == [
        "GET /a/b",
        "POST /a/{x}",
        "ANY /a/{x}",
        "GET /{p:path}",
    ]


class CountingDict(dict[str, Node]):
    """Be a node's static parts, and count the looks at them."""

    looks = 0

    def get(self, key: str, default: Any = None) -> Any:
        CountingDict.looks += 1
        return super().get(key, default)


def count_looks(matcher: Matcher, path: str) -> int:
    """Return how many nodes a match enters."""
    assert isinstance(matcher, TreeMatcher)
    tree = matcher._trees["GET"]
    waiting = [tree.root]
    while waiting:
        node = waiting.pop()
        waiting.extend([*node.statics.values(), *(edge[2] for edge in node.edges)])
        if not isinstance(node.statics, CountingDict):
            node.statics = CountingDict(node.statics)
    CountingDict.looks = 0
    matcher.match("GET", path)
    return CountingDict.looks


def _alternating(depth: int) -> list[str]:
    """Return every template of literals and parameters up to ``depth`` that a path of a's can follow."""
    templates = [""]
    for level in range(depth):
        templates = [
            f"{template}/{part}"
            for template in templates
            for part in ("a", f"{{v{level}}}", f"{{v{level}:any(a,b)}}")
        ]
    return templates


@pytest.mark.parametrize(
    "make",
    [
        lambda: [f"GET {template}/end" for template in _alternating(6)],
        lambda: ["GET " + "".join(f"/{{x{n}}}" for n in range(40)) + f"/e{k}" for k in range(200)],
        lambda: [f"GET /a/{{p:path}}/x{k}" for k in range(300)],
        lambda: ["GET " + "/a" * depth + "/{p:path}/end" for depth in range(300)],
    ],
    ids=["every mixture", "deep", "many path suffixes", "path at every depth"],
)
def test_no_table_makes_a_match_enter_more_nodes_than_the_table_has_segments(
    make: Callable[[], list[str]],
) -> None:
    rows = make()
    matcher = compiled(dict.fromkeys(rows, "legacy")).snapshot.matcher
    segments = sum(key.count("/") for key in rows)
    for path in ("/a" * 6, "/a" * 7 + "/miss", "/a" * 40 + "/e199x", "/a" * 400, "/" * 400 + "a"):
        assert count_looks(matcher, path) <= segments + 1


def test_an_ordinary_table_is_matched_along_the_path_alone() -> None:
    rows = [f"GET /api/r{number}/{{id}}/items/{{item}}" for number in range(300)]
    matcher = compiled(dict.fromkeys(rows, "legacy")).snapshot.matcher
    assert count_looks(matcher, "/api/r299/7/items/9") == 5
    assert count_looks(matcher, "/api/r299/7/nothing") <= 5
