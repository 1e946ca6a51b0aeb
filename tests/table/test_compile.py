"""State what compilation makes of a table, and what it says about one that is wrong."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import timedelta

import pytest

from gateway.errors import Severity
from gateway.table.check import check_table
from gateway.table.compile import Compiled, compile_table
from gateway.table.spec import BackendSpec, Rollout, RolloutStep, RouteSpec, Stage
from tests.table.tables import (
    TODAY,
    UNKNOWN_LEGACY,
    UNKNOWN_NEW,
    compiled,
    flask_app,
    key_of,
    new_router,
    row,
    table,
    waiver,
)


def errors(result: Compiled) -> list[str]:
    """Return the errors as a person reads them."""
    return [str(problem) for problem in result.problems if problem.is_error]


def warnings(result: Compiled) -> list[str]:
    """Return the warnings as a person reads them."""
    return [str(problem) for problem in result.problems if not problem.is_error]


def only(texts: list[str]) -> str:
    """Return the one text there is."""
    assert len(texts) == 1, texts
    return texts[0]


def test_a_routes_id_is_the_head_of_its_keys_hash() -> None:
    (route,) = compiled({"GET /a": "new"}).snapshot.routes
    assert route.id == hashlib.sha256(b"GET /a").hexdigest()[:12]
    assert compiled({"GET /a": "new"}).snapshot.by_id[route.id].key == "GET /a"


def test_the_snapshot_knows_its_generation_and_its_table() -> None:
    spec = table({"GET /a": "new"})
    snapshot = compile_table(spec, UNKNOWN_LEGACY, UNKNOWN_NEW, generation=7, today=TODAY).snapshot
    assert (snapshot.generation, snapshot.spec) == (7, spec)


def test_a_row_carries_the_rules_it_claims_and_the_route_that_answers_it() -> None:
    result = compiled(
        {"GET,POST /items/{id}": "new"},
        flask_app("GET /items/<int:number>", "POST,PUT /items/<int:number>"),
        new_router("POST /items/{id}", "GET /items/{id}"),
    )
    assert errors(result) == []
    listed, implicit = result.snapshot.routes
    assert [rule.endpoint for rule in listed.legacy_rules] == ["e0", "e1"]
    assert listed.new_route is not None
    assert listed.new_route.methods == frozenset(("GET", "HEAD"))
    assert (implicit.key, implicit.spec.stage) == ("PUT /items/{number:int}", Stage.LEGACY)


def test_implicit_rows_carry_the_tables_defaults() -> None:
    implicit = RouteSpec("", "", 0, (), "", timeout_s=5.0)
    (route,) = compiled({}, flask_app("GET /a"), implicit=implicit).snapshot.routes
    assert (route.spec.timeout_s, route.spec.path, route.spec.stage) == (5.0, "/a", Stage.LEGACY)


def test_a_plain_row_that_could_claim_several_converters_is_an_error_that_names_them() -> None:
    app = flask_app("GET /a/<int:id>", "GET /a/<slug>", "POST /a/<uuid:id>")
    text = only(errors(compiled({"GET /a/{x}": "new"}, app)))
    assert text.startswith("routing.yaml:1: GET /a/{x}: the legacy app has 2 rules of this shape")
    assert "{x:int} for /a/<int:id>; {x:str} for /a/<slug>" in text
    assert errors(compiled({"GET /a/{x:int}": "new", "GET /a/{x:str}": "new"}, app)) == []


def test_the_key_of_an_implicit_row_is_the_key_that_would_list_it() -> None:
    app = flask_app("GET /a/<int:id>", "GET /a/<slug>", "GET /b/<slug>", "GET /c/<any(x, y):z>/")
    keys = [route.key for route in compiled({}, app).snapshot.routes]
    assert sorted(keys) == [
        *("GET /a/{id:int}", "GET /a/{slug:str}", "GET /b/{slug}", "GET /c/{z:any(x, y)}/"),
    ]
    result = compiled(dict.fromkeys(keys, "legacy"), app)
    assert errors(result) == []
    assert all(route.is_listed for route in result.snapshot.routes)


@pytest.mark.parametrize(
    "rows",
    [
        ("GET /a/{x}", "GET /a/{y}"),
        ("GET /a", "GET,POST /a"),
        ("ANY /a/{x}", "ANY /a/{y}"),
        ("GET /x{a}", "GET /{a}y"),
        ("WS /a/{x}", "WS /a/{y}"),
        ("GET /{p:path}", "GET /{q:path}"),
    ],
)
def test_listed_rows_that_are_equally_specific_and_overlap_are_an_error(rows: tuple[str, str]) -> None:
    first, second = rows
    text = only(errors(compiled({first: "legacy", second: "legacy"}, new=new_router("WS /a/{x}"))))
    assert text.startswith(f"routing.yaml:2: {second}: takes the same requests as {first} in line 1")


@pytest.mark.parametrize(
    "rows",
    [
        ("GET /a/{x}", "POST /a/{x}"),
        ("GET /a/{x}", "ANY /a/{x}"),
        ("GET /a/{x:int}", "GET /a/{x:uuid}"),
        ("GET /a/{x:any(b,c)}", "GET /a/{x:any(d)}"),
        ("GET /a/{x}.csv", "GET /a/{x}.pdf"),
        ("GET /a/{x}/b", "GET /a/{x}/c"),
        ("GET /a/{x}", "GET /a/{x}/"),
        ("GET /a/{x}", "WS /a/{x}"),
    ],
)
def test_rows_that_can_be_told_apart_are_no_error(rows: tuple[str, str]) -> None:
    result = compiled(dict.fromkeys(rows, "legacy"), new=new_router("WS /a/{x}"))
    assert errors(result) == []


@pytest.mark.parametrize("stage", ["shadow", "canary", "new", "retired"])
def test_a_row_that_the_new_app_has_no_route_for_is_an_error(stage: str) -> None:
    new = new_router("GET /v2/users/{user_id}", "POST /users/{user_id}")
    result = compiled({"GET /users/{user_id}": stage}, flask_app("GET /users/<user_id>"), new)
    text = only(errors(result))
    assert f"stage {stage}: the new app has no route for GET /users/{{user_id}}" in text
    assert "there it answers POST only" in text


def test_a_rollout_that_leads_to_a_route_that_is_not_there_is_an_error() -> None:
    automatic = row("GET /users", rollout=Rollout((RolloutStep(Stage.SHADOW), RolloutStep(Stage.NEW))))
    result = compiled([automatic], flask_app("GET /users"), new_router("GET /other"))
    assert "the rollout leads to new: the new app has no route for GET /users" in only(errors(result))


def test_the_nearest_new_route_is_proposed_as_new_path() -> None:
    result = compiled({"GET /users/{id}": "new"}, new=new_router("GET /v2/users/{id}", "GET /other"))
    assert only(errors(result)).endswith("if /v2/users/{id} is the one, write new_path: /v2/users/{id}")


def test_new_path_leads_to_the_other_route_with_the_same_converters() -> None:
    result = compiled(
        [row("GET /users/{id}", "new", 1, new_path="/v2/people/{id}")],
        flask_app("GET /users/<int:id>"),
        new_router("GET /v2/people/{id}"),
    )
    assert errors(result) == []
    (route,) = result.snapshot.routes
    assert route.new_template is not None
    assert route.new_template.format(route.template.params("/users/7")) == "/v2/people/7"
    assert route.new_route is not None
    assert route.new_route.path == "/v2/people/{id}"


def test_new_path_with_other_names_is_an_error() -> None:
    result = compiled([row("GET /users/{id}", "new", 3, new_path="/people/{key}")])
    text = only(errors(result))
    assert text.startswith("routing.yaml:3: GET /users/{id}: new_path /people/{key} does not have")
    assert text.endswith("use the same names: {id}")


def test_a_row_for_a_path_that_neither_app_has_is_an_error_with_the_nearest() -> None:
    result = compiled({"GET /usres": "legacy"}, flask_app("GET /users"), new_router("GET /other"))
    assert "neither app has a route for this path; did you mean /users?" in only(errors(result))


def test_a_row_inside_a_looser_legacy_rule_is_no_error() -> None:
    result = compiled({"GET /users/me": "legacy"}, flask_app("GET /users/<name>"), new_router())
    assert errors(result) == []


def test_what_is_unknown_is_not_complained_about() -> None:
    for stage in Stage:
        assert compiled({"GET /a/{x}": stage}).problems == ()


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (
            {"GET /a/{b": "new"},
            "routing.yaml:1: GET /a/{b: the path '/a/{b' opens a brace",
        ),
        ({"GET /a/{b:sku}": "new"}, "uses the converter 'sku', which nobody knows"),
    ],
)
def test_a_bad_template_is_an_error_of_its_row(rows: dict[str, str], message: str) -> None:
    assert message in only(errors(compiled(rows, flask_app("GET /a/<b>"))))


def test_every_problem_is_reported_at_once() -> None:
    rows = {"GET /a/{": "new", "GET /b": "new", "GET /c": "legacy", "GET /d/{x}": "new", "GET /d/{y}": "new"}
    result = compiled(rows, flask_app("GET /z"), new_router("GET /d/{x}"))
    assert [problem.line for problem in result.problems if problem.is_error] == [1, 2, 3, 5]
    assert not result.is_valid


def test_a_row_that_would_claim_one_of_several_hosts_rules_is_an_error() -> None:
    app = flask_app(
        ("GET /a", {"host": "one.example"}),
        ("GET /a", {"host": "two.example"}),
        ("GET /b", {"host": "one.example"}),
        host_matching=True,
    )
    for key in ("GET /a", "GET /b"):
        assert "binds it to some: " in only(errors(compiled({key: "new"}, app)))


def test_a_websocket_row_needs_a_websocket_of_the_new_app() -> None:
    new = new_router("WS /live/{room}", "GET /live/{room}/x")
    good = compiled({"WS /live/{room}": "new"}, new=new)
    assert errors(good) == []
    assert good.snapshot.routes[0].new_route is not None
    assert good.snapshot.routes[0].new_route.kind == "websocket"
    assert "has no websocket for WS /live/{room}/x" in only(
        errors(compiled({"WS /live/{room}/x": "new", "WS /live/{room}": "new"}, new=new))
    )


def test_a_mount_counts_as_a_route_for_all_that_is_below_it() -> None:
    result = compiled({"GET /files/{p:path}": "new", "GET /files/a": "new"}, new=new_router("MOUNT /files"))
    assert result.problems == ()
    assert {route.new_route.kind for route in result.snapshot.routes if route.new_route} == {"mount"}


def test_head_is_answered_where_the_new_route_knows_only_get() -> None:
    assert errors(compiled({"HEAD /a": "new"}, new=new_router("GET /a"))) == []


def test_an_unlisted_new_route_is_warned_about_with_the_line_to_add() -> None:
    new = new_router("GET /a", "GET,POST /b/{x:int}", "WS /w", "MOUNT /m")
    result = compiled({"GET /a": "new", "POST /b/{x:int}": "new"}, flask_app("GET /b/<int:x>"), new)
    assert [text.rpartition("; ")[2] for text in warnings(result)] == [
        "add GET /b/{x:int}: shadow",
        "add WS /w: new",
        "add ANY /m/{path:path}: new",
    ]


def test_many_unlisted_routes_are_summed_up() -> None:
    new = new_router(*(f"GET /r{number}" for number in range(50)))
    texts = warnings(compiled({}, flask_app("GET /z"), new))
    assert len(texts) == 21
    assert "30 more routes" in texts[-1]


def test_a_day_0_table_of_a_normal_app_is_calm() -> None:
    app = flask_app(
        *("GET,POST /users/", "GET,PUT,DELETE /users/<int:id>", "GET /users/me", "GET /", "GET /<slug>"),
        "GET /r/<name>.csv",
    )
    new = new_router("GET /users/me", "GET /users/{id}", "GET /users/")
    rows = {"GET /users/{id}": "new", "GET /users/me": "shadow", "GET /users/": "canary"}
    assert compiled(rows, app, new).problems == ()


@pytest.mark.parametrize(
    ("rule", "key", "route", "message"),
    [
        ("/a/<x>", "GET /a/{x}", "/a/{x:int}", "takes every str as {x}, the new app's /a/{x:int} does not"),
        ("/a/<path:x>", "GET /a/{x}", "/a/{x}", "takes every path as {x}, the new app's /a/{x} does not"),
        ("/a/<int:x>", "GET /a/{x:str}", "/a/{x}", "/a/<int:x> answers 404 to some texts"),
    ],
)
def test_a_converter_that_differs_is_warned_about(rule: str, key: str, route: str, message: str) -> None:
    result = compiled({key: "new"}, flask_app(f"GET {rule}"), new_router(f"GET {route}"))
    assert message in only(warnings(result))


def test_a_wider_converter_of_the_new_app_is_no_difference_since_the_row_decides() -> None:
    assert (
        compiled({"GET /a/{x}": "new"}, flask_app("GET /a/<int:x>"), new_router("GET /a/{x}")).problems == ()
    )


def test_trailing_slashes_that_differ_are_warned_about() -> None:
    app = flask_app(("GET /a", {"strict_slashes": False}), "GET /b/")
    new = new_router("GET /a", "GET /b")
    texts = warnings(compiled({"GET /a": "new", "GET /b": "new"}, app, new))
    assert "the legacy app serves /a and /a/ alike, the new app redirects one of them" in texts[0]
    assert "the legacy app's /b/ differs by its trailing slash, and stays legacy" in texts[1]


def test_a_new_route_that_an_earlier_one_would_catch_is_warned_about() -> None:
    new = new_router("GET /{anything:path}", "GET /a/{x}")
    result = compiled({"GET /a/{x}": "new", "GET /{anything:path}": "new"}, new=new)
    assert "asks /{anything:path} before /a/{x}, so that it answers; register /a/{x} earlier" in only(
        warnings(result)
    )
    (route, _) = result.snapshot.routes
    assert route.new_route is not None
    assert route.new_route.path == "/{anything:path}"


def test_an_earlier_route_that_takes_some_of_a_rows_requests_is_warned_about() -> None:
    new = new_router("GET /{x}/b", "GET /a/{y}")
    result = compiled({"GET /{x}/b": "new", "GET /a/{y}": "new"}, new=new)
    assert "asks /{x}/b before /a/{y}, which takes some of the row's requests" in only(warnings(result))


def test_a_legacy_row_whose_new_route_exists_is_warned_about() -> None:
    result = compiled({"GET /a": "legacy"}, flask_app("GET /a"), new_router("GET /a"))
    assert "stays at legacy although the new app has /a; set it to shadow" in only(warnings(result))


def test_a_row_that_is_to_be_rehearsed_on_a_new_app_elsewhere_is_warned_about() -> None:
    rehearsed = row("POST /a", "shadow", sample_bp=10_000, writes="rehearse")
    spec = replace(table([rehearsed]), new=BackendSpec("new", "url", "http://127.0.0.1:1"))
    result = compile_table(spec, UNKNOWN_LEGACY, UNKNOWN_NEW, generation=1, today=TODAY)
    assert "writes: rehearse compares nothing: what new does elsewhere cannot be undone" in only(
        warnings(result)
    )


def test_a_legacy_catch_all_under_the_gateways_prefix_is_warned_about() -> None:
    texts = warnings(compiled({}, flask_app("GET /<path:rest>", "GET /-/x", "GET /docs", "GET /<x>")))
    assert [text.split(": ")[1] for text in texts] == ["/-/x", "/<path:rest>", "server.docs"]


def test_a_listed_typed_row_that_turns_flasks_order_round_is_warned_about() -> None:
    app = flask_app("GET /<slug>", "GET /<uuid:key>")
    result = compiled({"GET /{key:uuid}": "new"}, app)
    assert "the legacy app asks /<slug> before /<uuid:key>; this row turns them round" in only(
        warnings(result)
    )
    assert compiled({"GET /{key:uuid}": "legacy"}, app).problems == ()
    other = flask_app("GET /<uuid:key>", "GET /<slug>")
    assert compiled({"GET /{key:uuid}": "new"}, other).problems == ()


def test_a_shadow_row_that_legacy_has_no_route_for_is_warned_about() -> None:
    result = compiled({"GET /a": "shadow"}, flask_app("GET /z"), new_router("GET /a"))
    assert "the legacy app has no such route: at shadow it answers with its 404" in only(warnings(result))


@pytest.mark.parametrize(
    ("days", "text"),
    [(0, "expires today"), (1, "expires tomorrow"), (14, "expires in 14 days"), (15, None), (-1, None)],
)
def test_a_waiver_that_expires_within_14_days_is_warned_about(days: int, text: str | None) -> None:
    until = TODAY + timedelta(days=days)
    result = compiled([row("GET /a", "new", 1, compare=(waiver(until, line=5),))])
    if text is None:
        assert result.problems == ()
    else:
        (problem,) = result.problems
        assert (problem.severity, problem.line) == (Severity.WARNING, 5)
        assert text in problem.message


def test_warnings_are_in_the_snapshot_too() -> None:
    result = compiled({"GET /a": "legacy"}, flask_app("GET /a"), new_router("GET /a"))
    assert result.snapshot.warnings == result.problems
    assert result.is_valid


def test_a_retired_row_whose_rule_is_still_in_the_code_is_found_by_check() -> None:
    app = flask_app("GET /a", "GET /b")
    result = compiled({"GET /a": "retired", "GET /b": "new", "GET /c": "retired"}, app)
    (finding,) = check_table(result.snapshot, today=TODAY)
    assert finding.is_error
    assert (finding.line, finding.row) == (1, "GET /a")
    assert "the legacy app still has /a (" in finding.message
    assert result.is_valid, "serving never fails for it"


def test_expired_waivers_and_warnings_are_errors_of_a_strict_check() -> None:
    expired = row("GET /a", "new", 1, compare=(waiver(TODAY - timedelta(days=1)),))
    result = compiled(
        [expired, row("GET /b", "legacy", 2)], flask_app("GET /a", "GET /b"), new_router("GET /a", "GET /b")
    )
    assert check_table(result.snapshot, today=TODAY) == ()
    findings = check_table(result.snapshot, today=TODAY, is_strict=True)
    assert [(finding.line, finding.is_error) for finding in findings] == [(1, True), (2, True)]
    assert "expired on 2026-11-21" in findings[0].message


def test_a_table_of_two_thousand_rows_names_each_rows_own_route() -> None:
    keys = [f"GET /r{number}/{{x}}" for number in range(2_000)]
    result = compiled(
        dict.fromkeys(keys, "new"),
        flask_app(*(f"GET /r{number}/<int:x>" for number in range(2_000))),
        new_router(*keys),
    )
    assert result.problems == ()
    assert key_of(result.snapshot.matcher.match("GET", "/r1999/7")) == "GET /r1999/{x}"
    assert all(
        route.new_route is not None and route.new_route.path == route.spec.path
        for route in result.snapshot.routes
    )
