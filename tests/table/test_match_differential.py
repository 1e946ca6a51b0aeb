"""Hold the matcher against three others: Werkzeug's, Starlette's, and a plain scan of every row."""

from __future__ import annotations

import random
import re
from functools import cmp_to_key
from typing import TYPE_CHECKING

import pytest
from flask import Flask
from starlette.routing import Match
from werkzeug.exceptions import MethodNotAllowed, NotFound
from werkzeug.routing import BaseConverter, RequestRedirect, Rule, ValidationError

from tests.table.tables import add_rules, compiled, new_router, view

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.routing import Router

    from gateway.table.route import Matcher, Route
    from gateway.table.template import Template

UUID = "0a1b2c3d-0000-1111-2222-333344445555"
LITERALS = ("a", "b", "ab", "x.csv", "7", "edit")
TEXTS = (*LITERALS, "42", "1.5", UUID, "q", "a-7", "abc", "\u0663", "", "x\ny", "A2", "B3", "z.csv")


# What a parameter is likely to take, by a word in its spelling.
FITTING = {
    "int": ("7", "42", "0", "\u0663"),
    "float": ("1.5", "0.0"),
    "uuid": (UUID,),
    "any": ("a", "b"),
    "length": ("ab", "q7"),
    "even": ("A2", "B3", "Z8"),
    "path": ("a", "a/b", "x/edit", "q/"),
    "tail": ("a", "a/b"),
}


class Even(BaseConverter):
    """Take an upper-case letter and a digit, but only an even one."""

    regex = "[A-Z][0-9]"

    def to_python(self, value: str) -> str:
        if int(value[1]) % 2:
            raise ValidationError
        return value


class Tail(BaseConverter):
    """Take one or two segments."""

    regex = "[a-z]+(?:/[a-z]+)?"
    part_isolating = False


FLASK_PARAMETERS = (
    *(
        "<{}>",
        "<string:{}>",
        "<int:{}>",
        "<float:{}>",
        "<uuid:{}>",
        "<any(a, b):{}>",
        "<string(length=2):{}>",
    ),
    *("<even:{}>", "<path:{}>", "<tail:{}>", "<{}>.csv", "a<{}>", "<int:{}>-<int:{}b>", "<{}>-<{}b>"),
)
TABLE_PARAMETERS = (
    *("{{{}}}", "{{{}:int}}", "{{{}:float}}", "{{{}:uuid}}", "{{{}:any(a,b)}}", "{{{}:path}}"),
    *("{{{}}}.csv", "a{{{}}}", "{{{}:int}}-{{{}b:int}}"),
)
STARLETTE_PARAMETERS = (
    *("{{{}}}", "{{{}:int}}", "{{{}:float}}", "{{{}:uuid}}", "{{{}}}.csv", "a{{{}}}"),
    *("{{{}:path}}", "{{{}:int}}-{{{}b:int}}"),
)


def random_path(dice: random.Random, parameters: tuple[str, ...], depth: int = 3) -> str:
    """Return a template, in the spelling of ``parameters``."""
    segments = []
    for number in range(dice.randint(1, depth)):
        if dice.random() < 0.5:
            segments.append(dice.choice(LITERALS))
        else:
            segments.append(dice.choice(parameters).format(f"v{number}", f"v{number}"))
    return "/" + "/".join(segments) + ("/" if dice.random() < 0.3 else "")


def near_path(dice: random.Random, templates: list[str], parameter: re.Pattern[str]) -> str:
    """Return a path that one of the templates takes, or nearly."""

    def fill(found: re.Match[str]) -> str:
        fitting = next((texts for word, texts in FITTING.items() if word in found[0]), TEXTS)
        return dice.choice(fitting if dice.random() < 0.8 else TEXTS)

    path = parameter.sub(fill, dice.choice(templates))
    for _ in range(dice.choice((0, 0, 0, 0, 1, 1, 2))):
        segments = path.split("/")
        change = dice.randint(0, 4)
        if change == 0:
            path += "/"
        elif change == 1:
            path = path.rstrip("/")
        elif change == 2:
            segments[dice.randrange(len(segments))] = dice.choice(TEXTS)
            path = "/".join(segments)
        elif change == 3:
            segments.insert(dice.randint(1, len(segments)), dice.choice(TEXTS))
            path = "/".join(segments)
        else:
            path = "/" + path
    return path if path.startswith("/") else "/" + path


def werkzeug_app(dice: random.Random) -> Flask:
    """Return a Flask app with random rules; some take every method, some serve both slashes."""
    app = Flask("legacy", static_folder=None)
    app.url_map.converters.update(even=Even, tail=Tail)
    app.url_map.strict_slashes = dice.random() < 0.7
    app.url_map.merge_slashes = dice.random() < 0.7
    rules = []
    for _ in range(dice.randint(1, 8)):
        methods = dice.choice(("GET", "GET", "POST", "GET,POST", "PUT"))
        options = {"strict_slashes": dice.random() < 0.5} if dice.random() < 0.3 else {}
        rules.append((f"{methods} {random_path(dice, FLASK_PARAMETERS)}", options))
    add_rules(app, rules)
    if dice.random() < 0.2:
        app.url_map.add(Rule(random_path(dice, FLASK_PARAMETERS), endpoint="any"))
        app.view_functions["any"] = view
    return app


def check_against_werkzeug(app: Flask, matcher: Matcher, method: str, path: str) -> str:
    """Assert that both choose alike; return what Werkzeug said."""
    found = matcher.match(method, path)
    endpoints = [] if found is None else [rule.endpoint for rule in found.legacy_rules]
    try:
        rule, _ = app.url_map.bind("localhost").match(path, method, return_rule=True)
    except RequestRedirect:
        collapsed = "/" + path.lstrip("/")
        if "//" in collapsed:
            return "merged"  # the path matches nothing as it is: legacy settles it
        assert found is not None
        assert found.template.has_trailing_slash
        assert found.template.matches(collapsed + "/")
        return "redirected"
    except (NotFound, MethodNotAllowed) as error:
        if found is not None:
            assert not found.template.accepts(path), f"Werkzeug found nothing, the gateway {found.key}"
            return "rejected"
        return type(error).__name__
    assert rule.endpoint in endpoints, f"Werkzeug chose {rule}, the gateway {found and found.key}"
    return "matched"


FLASK_PARAMETER = re.compile("<[^>]*>")


def test_implicit_rows_are_chosen_as_werkzeug_chooses() -> None:
    dice = random.Random(20261122)
    outcomes: dict[str, int] = {}
    for _ in range(700):
        app = werkzeug_app(dice)
        matcher = compiled(legacy=app).snapshot.matcher
        rules = [rule.rule for rule in app.url_map.iter_rules()]
        for _ in range(40):
            path = near_path(dice, rules, FLASK_PARAMETER)
            method = dice.choice(("GET", "GET", "GET", "HEAD", "POST", "PUT", "DELETE"))
            if path.endswith("\n"):
                assert matcher.match(method, path) is None
                continue
            outcome = check_against_werkzeug(app, matcher, method, path)
            outcomes[outcome] = outcomes.get(outcome, 0) + 1
    print(outcomes)
    assert sum(outcomes.values()) >= 25_000
    assert outcomes["matched"] >= 8_000
    assert outcomes["redirected"] >= 250
    assert outcomes["rejected"] >= 50


def test_new_gets_no_request_that_flask_would_give_to_a_rule_the_row_does_not_claim() -> None:
    dice = random.Random(4711)
    outcomes = {"new": 0, "legacy": 0, "warned": 0}
    for _ in range(350):
        app = werkzeug_app(dice)
        keys = [route.key for route in compiled(legacy=app).snapshot.routes]
        rows = {key: "new" for key in keys if dice.random() < 0.5}
        result = compiled(rows, app)
        errors = {problem.row: problem for problem in result.problems if problem.is_error}
        assert not errors, "an implicit row's key can be listed as it is"
        warned = {problem.row for problem in result.problems if "asks" in problem.message}
        rules = [rule.rule for rule in app.url_map.iter_rules()]
        for _ in range(30):
            path = near_path(dice, rules, FLASK_PARAMETER)
            method = dice.choice(("GET", "GET", "HEAD", "POST", "PUT", "DELETE"))
            found = result.snapshot.matcher.match(method, path)
            if found is None or not found.is_listed:
                outcomes["legacy"] += 1
                continue
            try:
                rule, _ = app.url_map.bind("localhost").match(path, method, return_rule=True)
                chosen = rule.endpoint
            except (RequestRedirect, NotFound, MethodNotAllowed) as error:
                chosen = type(error).__name__
            if chosen in {rule.endpoint for rule in found.legacy_rules}:
                outcomes["new"] += 1
            else:
                assert found.key in warned, (rules, sorted(rows), method, path, found.key, chosen)
                outcomes["warned"] += 1
    print(outcomes)
    assert outcomes["new"] >= 1_300


def compare_templates(one: Template, other: Template) -> int:
    """Order two templates by the words of the design: segment by segment from the left."""
    for this, that in zip(one.parts, other.parts, strict=False):
        if (this.kind, this.weighting) != (that.kind, that.weighting):
            return -1 if (this.kind, this.weighting) < (that.kind, that.weighting) else 1
    return 0


def scan(routes: tuple[Route, ...], method: str, path: str) -> Route | None:
    """Find the most specific route by asking every one."""
    collapsed = "/" + path.lstrip("/")
    takes = [
        route
        for route in routes
        if re.fullmatch(route.template._regex.pattern, collapsed)
        and (
            route.methods is None or method in route.methods or (method == "HEAD" and "GET" in route.methods)
        )
    ]
    takes.sort(key=cmp_to_key(lambda one, other: compare_templates(one.template, other.template)))
    if not takes:
        return None
    level = [route for route in takes if compare_templates(takes[0].template, route.template) == 0]
    own = [route for route in level if route.methods is not None and method in route.methods]
    return next(iter(own or [route for route in level if route.methods is not None] or level))


TABLE_PARAMETER = re.compile("{[^}]*}")


def test_listed_rows_are_chosen_as_by_asking_every_one_of_them() -> None:
    dice = random.Random(7)
    matched = total = 0
    for _ in range(500):
        rows = {}
        for _ in range(dice.randint(1, 8)):
            methods = dice.choice(("GET", "GET", "POST", "GET,POST", "ANY", "HEAD"))
            rows[f"{methods} {random_path(dice, TABLE_PARAMETERS)}"] = "legacy"
        result = compiled(rows)
        wrong = {problem.row for problem in result.problems if problem.is_error}
        result = compiled({key: stage for key, stage in rows.items() if key not in wrong})
        assert not [problem for problem in result.problems if problem.is_error]
        snapshot = result.snapshot
        paths = [route.spec.path for route in snapshot.routes]
        for _ in range(30):
            path = near_path(dice, paths, TABLE_PARAMETER)
            method = dice.choice(("GET", "GET", "HEAD", "POST", "PROPFIND"))
            expected = None if path.endswith("\n") else scan(snapshot.routes, method, path)
            found = snapshot.matcher.match(method, path)
            assert found is expected, (rows, method, path, expected and expected.key, found and found.key)
            total += 1
            matched += found is not None
    print(total, matched)
    assert total >= 15_000
    assert matched >= 5_500


def starlette_choice(router: Router, method: str, path: str) -> int | None:
    """Return the number of the route that Starlette's router would hand the request to."""
    scope = {"type": "http", "method": method, "path": path, "headers": []}
    for number, route in enumerate(router.routes):
        if route.matches(scope)[0] is Match.FULL:
            return number
    return None


def test_a_row_that_new_serves_is_answered_by_the_route_that_compilation_names() -> None:
    dice = random.Random(99)
    outcomes = {"named": 0, "warned": 0, "redirected": 0, "unmatched": 0}
    for _ in range(500):
        texts = [
            f"{dice.choice(('GET', 'GET', 'POST', 'GET,POST'))} {random_path(dice, STARLETTE_PARAMETERS)}"
            for _ in range(dice.randint(1, 7))
        ]
        router = new_router(*texts)
        rows = dict.fromkeys(texts, "new")
        result = compiled(rows, new=router)
        wrong = {problem.row for problem in result.problems if problem.is_error}
        rows = {key: stage for key, stage in rows.items() if key not in wrong}
        result = compiled(rows, new=router)
        warned = {problem.row for problem in result.problems if "before" in problem.message}
        # A row whose own kind of text is narrower in the new app is warned about, too.
        warned |= {problem.row for problem in result.problems if "does not" in problem.message}
        unlisted = {number for number, text in enumerate(texts) if text not in rows}
        paths = [text.partition(" ")[2] for text in texts]
        for _ in range(30):
            path = near_path(dice, paths, TABLE_PARAMETER)
            method = dice.choice(("GET", "GET", "POST"))
            found = result.snapshot.matcher.match(method, path)
            if found is None:
                outcomes["unmatched"] += 1
                continue
            if "//" in path.lstrip("/") or path.endswith("/"):
                continue  # Starlette's path parameter may be empty or start with a slash, Werkzeug's not
            assert not path.endswith("\n")
            collapsed = "/" + path.lstrip("/")
            choice = starlette_choice(router, method, collapsed)
            if choice is None and found.template.has_trailing_slash:
                assert starlette_choice(router, method, collapsed + "/") is not None
                outcomes["redirected"] += 1
            elif found.new_route is not None and choice == found.new_route.index:
                outcomes["named"] += 1
            elif choice is not None and choice in {
                number
                for number, text in enumerate(texts)
                if text.partition(" ")[2] == (found.new_route.path if found.new_route else "")
            }:
                outcomes["named"] += 1  # another route of the same path, for another of the row's methods
            else:
                assert found.key in warned or choice in unlisted, (texts, method, path, found.key, choice)
                outcomes["warned"] += 1
    print(outcomes)
    assert sum(outcomes.values()) >= 12_000
    assert outcomes["named"] >= 4_000


@pytest.mark.parametrize("choose", [scan])
def test_the_scan_that_tests_the_matcher_can_tell_routes_apart(
    choose: Callable[[tuple[Route, ...], str, str], Route | None],
) -> None:
    routes = compiled({"GET /a/{x}": "legacy", "GET /a/b": "legacy"}).snapshot.routes
    assert choose(routes, "GET", "/a/b") is routes[1]
    assert choose(routes, "GET", "/a/c") is routes[0]
