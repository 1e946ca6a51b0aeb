# ruff: noqa: E501 - the sentences that people read are compared whole
"""A table is read whole: every key has its meaning, and every mistake its line and its repair."""

from __future__ import annotations

from datetime import date
from ipaddress import ip_network
from typing import TYPE_CHECKING

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import Severity
from gateway.table.read import parse_table, read_table
from gateway.table.spec import KeySource, Pin, RateLimit, RolloutStep, RouteSpec, Stage, TableSpec
from tests.table.samples import HEAD

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from gateway.table.read import Parsed

ENVIRON = {"TOKEN": "t0ken", "PASSWORD": "s3cret", "HOOK": "hush", "EMPTY": ""}


def parse(text: str, environ: Mapping[str, str] | None = None) -> Parsed:
    return parse_table(text.encode(), source="routing.yaml", environ=ENVIRON if environ is None else environ)


def table(text: str) -> TableSpec:
    parsed = parse(text)
    assert parsed.problems == ()
    assert parsed.spec is not None
    return parsed.spec


def row(text: str, defaults: str = "") -> RouteSpec:
    (only,) = table(f"{HEAD}{defaults}routes:\n{text}").routes
    return only


def findings(text: str) -> list[str]:
    return [str(problem).removeprefix("routing.yaml:") for problem in parse(text).problems]


def complaints(rows: str) -> list[str]:
    """Return what is wrong with rows, with lines that count from the first row."""
    found = parse(f"{HEAD}routes:\n{rows}").problems
    first = HEAD.count("\n") + 2
    return [
        f"{problem.line - first} {problem.severity[0]} {problem.row}: {problem.message}" for problem in found
    ]


def test_the_example_of_the_documentation_is_read_without_a_word() -> None:
    spec = table(
        """
# yaml-language-server: $schema=routing.schema.json
version: 1

backends:
  legacy:
    wsgi: legacy_flask.app:create_app()   # module:attribute, or module:factory()
    threads: 16
  new:
    asgi: new_api.main:app

defaults:
  timeout: 30s

routes:
  GET /users/{user_id}: new
  POST /users: legacy
  GET /search: canary 5%
  GET,POST /reports/{name}.csv:
    stage: shadow
    sample: 20%
    timeout: 5s
    owner: payments
    compare:
      - at: "$.generated_at"
        rule: ignore
        reason: the clock
        until: 2027-03-01
"""
    )
    assert (spec.legacy.kind, spec.legacy.target) == ("wsgi", "legacy_flask.app:create_app()")
    assert (spec.new.kind, spec.new.target, spec.new.line) == ("asgi", "new_api.main:app", 9)
    rows = {row.key: row for row in spec.routes}
    assert [row.stage for row in spec.routes] == [Stage.NEW, Stage.LEGACY, Stage.CANARY, Stage.SHADOW]
    assert (rows["GET /search"].weight_bp, rows["GET /search"].sample_bp) == (500, 1000)
    report = rows["GET,POST /reports/{name}.csv"]
    assert (report.sample_bp, report.timeout_s, report.owner, report.line) == (2000, 5.0, "payments", 19)
    (rule,) = report.compare
    assert (rule.at, rule.rule, rule.until, rule.line) == ("$.generated_at", "ignore", date(2027, 3, 1), 25)


def test_every_key_of_the_whole_file_arrives() -> None:
    spec = table(
        """version: 1
backends:
  legacy: {command: [gunicorn, "--bind={address}", "app:app"], rules: rules.txt, pool: 7, connect_timeout: 500ms}
  new: {url: "http://127.0.0.1:9000/base", root_path: /v2}
salt: pepper
server:
  trusted_proxies: [10.0.0.0/8, "::1"]
  expose: no
  prefix: /_gw
  docs: off
  openapi: /schema.json
  error_shape: {key: message}
  override_token: ${TOKEN}
store: postgresql+psycopg://app:${PASSWORD}@db/app
shared: redis://cache:6379/0
events:
  - {url: https://hooks.example/x, secret: "${HOOK}"}
compare:
  redact: [iban]
  identity_keys: [id, sku]
  body_cap: 1MiB
  memory_cap: 128MiB
routes: {}
"""
    )
    assert spec.legacy.argv == ("gunicorn", "--bind={address}", "app:app")
    assert (spec.legacy.rules, spec.legacy.pool, spec.legacy.connect_timeout_s) == ("rules.txt", 7, 0.5)
    assert (spec.new.kind, spec.new.target, spec.new.root_path) == (
        "url",
        "http://127.0.0.1:9000/base",
        "/v2",
    )
    server = spec.server
    assert server.trusted_proxies == (ip_network("10.0.0.0/8"), ip_network("::1"))
    assert (server.is_exposed, server.prefix, server.docs, server.openapi) == (
        False,
        "/_gw",
        None,
        "/schema.json",
    )
    assert (server.error_shape, server.error_key, server.override_token) == ("key", "message", "t0ken")
    assert spec.store == "postgresql+psycopg://app:s3cret@db/app"
    assert (spec.shared, spec.salt, spec.routes) == ("redis://cache:6379/0", "pepper", ())
    assert (spec.events[0].url, spec.events[0].secret) == ("https://hooks.example/x", "hush")
    assert (spec.compare.redact, spec.compare.identity_keys) == (("iban",), ("id", "sku"))
    assert (spec.compare.body_cap_bytes, spec.compare.memory_cap_bytes) == (1 << 20, 1 << 27)


def test_every_key_of_a_row_arrives() -> None:
    spec = row(
        """  POST  /orders/{id}:
    stage: canary
    weight: 2.5%
    sample: 50%
    sticky: ["header:X-User", path:id, client]
    group: orders
    pin: {new: ["header:X-Team=qa=1"], legacy: ["cookie:vip=1"]}
    timeout: 1m30s
    fallback: legacy
    safe: false
    writes: rehearse
    new_path: /v2/orders/{id}
    rate_limit: 10/second;1000/hour
    rate_key: client
    body_limit: 10MiB
    allow_encoded_slash: true
    rollout:
      steps: [canary 5%, canary 25%, new]
      mismatch_budget: 0.05%
      min_requests: 50
      min_time: 1h
      on_fail: legacy
      alpha_promote: 0.1
      alpha_rollback: 1%
    equivalences: {date_format: yes, key_order: no}
    owner: payments
    ticket: ABC-1
    note: careful
"""
    )
    assert (spec.key, spec.written) == ("POST /orders/{id}", "POST  /orders/{id}")
    assert (spec.weight_bp, spec.sample_bp, spec.group) == (250, 5000, "orders")
    assert spec.sticky == (KeySource("header", "x-user"), KeySource("path", "id"), KeySource("client"))
    assert spec.pins.new == (Pin(KeySource("header", "x-team"), "qa=1"),)
    assert spec.pins.legacy == (Pin(KeySource("cookie", "vip"), "1"),)
    assert (spec.timeout_s, spec.has_fallback, spec.safe, spec.writes) == (90.0, True, False, "rehearse")
    assert spec.new_path == "/v2/orders/{id}"
    assert spec.rate_limits == (RateLimit(10, 1, "second"), RateLimit(1000, 1, "hour"))
    assert spec.rate_key == (KeySource("client"),)
    assert (spec.body_limit_bytes, spec.allow_encoded_slash) == (10 << 20, True)
    rollout = spec.rollout
    assert rollout is not None
    assert rollout.steps[0] == RolloutStep(Stage.CANARY, 500)
    assert rollout.steps[-1] == RolloutStep(Stage.NEW)
    assert (rollout.mismatch_budget, rollout.min_requests, rollout.min_time_s) == (0.0005, 50, 3600.0)
    assert (rollout.on_fail, rollout.alpha_promote, rollout.alpha_rollback) == (Stage.LEGACY, 0.1, 0.01)
    assert spec.equivalences == {"json_escapes", "trailing_newline", "header_case", "date_format"}
    assert (spec.owner, spec.ticket, spec.note) == ("payments", "ABC-1", "careful")


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("legacy", (Stage.LEGACY, 0, 0)),
        ("shadow", (Stage.SHADOW, 0, 10_000)),
        ("shadow 20%", (Stage.SHADOW, 0, 2000)),
        ("canary  0.01%", (Stage.CANARY, 1, 1000)),
        ("new", (Stage.NEW, 0, 0)),
        ("new 1%", (Stage.NEW, 0, 100)),
        ("retired", (Stage.RETIRED, 0, 0)),
        ("", (Stage.LEGACY, 0, 0)),
    ],
)
def test_a_row_in_one_line_means_its_stage_and_percentage(
    written: str, expected: tuple[Stage, int, int]
) -> None:
    spec = row(f"  GET /x: {written}\n")
    assert (spec.stage, spec.weight_bp, spec.sample_bp) == expected


def test_defaults_fill_in_what_a_row_does_not_say() -> None:
    defaults = """defaults:
  stage: canary
  weight: 5%
  timeout: 3s
  rate_limit: 5/minute
  owner: all
  strict: true
  compare: [{at: status, rule: ignore, reason: agreed}]
"""
    plain = row("  GET /x:\n", defaults)
    assert (plain.stage, plain.weight_bp, plain.timeout_s, plain.owner) == (Stage.CANARY, 500, 3.0, "all")
    assert plain.equivalences == frozenset()
    assert row("  GET /x: new\n", defaults).weight_bp == 0
    own = row(
        """  GET /x:
    rate_limit: none
    owner: null
    strict: false
    compare: [{at: body, rule: unordered, reason: agreed}]
""",
        defaults,
    )
    assert (own.rate_limits, own.owner) == ((), None)
    assert [rule.at for rule in own.compare] == ["status", "body"]
    assert own.equivalences == {"key_order", "json_escapes", "trailing_newline", "header_case"}


def test_the_error_shape_is_taken_from_server_before_defaults() -> None:
    assert table(f"{HEAD}defaults: {{error_shape: legacy}}\nroutes: {{}}\n").server.error_shape == "legacy"
    both = f"{HEAD}server: {{error_shape: problem}}\ndefaults: {{error_shape: legacy}}\nroutes: {{}}\n"
    parsed = parse(both)
    assert parsed.spec is not None
    assert parsed.spec.server.error_shape == "problem"
    assert [problem.row for problem in parsed.problems] == ["defaults.error_shape"]


@pytest.mark.parametrize(
    ("written", "canonical"),
    [
        ("GET /x", "GET /x"),
        ("  GET   /x  ", "GET /x"),
        ("POST,GET /x", "GET,POST /x"),
        ("PURGE, DELETE ,  HEAD /x", "HEAD,DELETE,PURGE /x"),
        ("ANY /x", "ANY /x"),
        ("FROBNICATE /x", "FROBNICATE /x"),
        ("GET /x/{page:any(about, help)}", "GET /x/{page:any(about, help)}"),
    ],
)
def test_a_key_is_put_into_its_canonical_form(written: str, canonical: str) -> None:
    assert row(f"  {written!r}: legacy\n").key == canonical


TEN_MISTAKES = """version: 1
backends:
  legacy: {wsgi: "legacy_flask.app:create_app()"}
  new: {asgi: "new_api.main:app", threads: 4}
defaults:
  timeout: 30
routes:
  GET /a: canry 5%
  GTE /b: new
  GET /c:
    stage: on
    weigth: 5%
    timeout: 1:30
  GET /d: new
  GET  /d: legacy
  POST /e: canary 120%
  GET /f: {stage: new, weight: 5%}
"""


def test_ten_mistakes_are_ten_problems_each_with_its_line_and_repair() -> None:
    assert findings(TEN_MISTAKES) == [
        "4: backends.new.threads: threads means nothing for asgi; remove it, or use wsgi",
        "6: defaults.timeout: timeout 30 has no unit; write 30s",
        "8: GET /a: canry is not legacy, shadow, canary, new or retired; did you mean canary?",
        "9: GTE /b: the method GTE is not known; did you mean GET?",
        '11: GET /c: stage: YAML reads on as true; write legacy, shadow, canary, new or retired ("on" in quotes'
        " would be text)",
        "12: GET /c: weigth is no key of a row; did you mean weight?",
        "13: GET /c: timeout: YAML reads 1:30 as the number 90; write it like 500ms, 30s or 1m30s (units ms s m"
        ' h d) ("1:30" in quotes would be text)',
        "15: GET  /d: is the same row as GET /d on line 14; keep one of the two",
        "16: POST /e: weight 120% is above 100%; write 0% to 100%",
        "17: GET /f: weight means nothing at new, only in canary; remove it, or write stage: canary",
    ]


def test_rows_that_can_be_read_are_read_beside_rows_that_cannot() -> None:
    parsed = parse(TEN_MISTAKES)
    assert parsed.spec is not None
    assert [row.key for row in parsed.spec.routes] == ["GET /d", "GET /f"]
    assert parsed.has_errors


@pytest.mark.parametrize(
    ("rows", "found"),
    [
        ("  get /x: new\n", ["0 e get /x: the method get is not in capitals"]),
        ("  TRACE /x: new\n", ["0 e TRACE /x: the gateway refuses TRACE whoever asks"]),
        ("  /x: new\n", ["0 e /x: the key names no method"]),
        ("  GET x: new\n", ["0 e GET x: the path does not begin with /"]),
        ("  GET POST /x: new\n", ["0 e GET POST /x: GET POST is not one method"]),
        ("  GET|POST /x: new\n", ["0 e GET|POST /x: GET|POST is not a method"]),
        ("  '* /x': new\n", ["0 e * /x: the method * is not known"]),
        ("  GET,GET /x: new\n", ["0 e GET,GET /x: the method GET stands twice"]),
        (
            "  ANY,GET /x: new\n",
            ["0 e ANY,GET /x: ANY stands beside other methods, but ANY already takes every method"],
        ),
        ("  GET /x/<int:id>: new\n", ["0 e GET /x/<int:id>: the path is written in Flask's way"]),
        ("  GET /x?a=1: new\n", ["0 e GET /x?a=1: the path has a query, which rows do not match"]),
        ("  WS /x: shadow\n", ["0 e WS /x: websockets at shadow: only new can serve them"]),
        ("  GET /x: [new]\n", ["0 e GET /x: a row must be a stage or a mapping, not a list"]),
        ("  GET /x: legacy 5%\n", ["0 e GET /x: legacy 5%: a percentage means nothing at legacy"]),
        ("  GET /x: canary 5\n", ["0 e GET /x: weight 5 has no %"]),
        ("  GET /x: canary 5% 10%\n", ["0 e GET /x: canary 5% 10% is more than a stage with a percentage"]),
        ("  GET /x: {stage: canary 5%}\n", ["0 e GET /x: stage canary 5% is more than a stage"]),
        ("  GET /x: {timeout: 0s}\n", ["0 e GET /x: timeout 0s leaves no time at all"]),
        ("  GET /x: {fallback: new}\n", ["0 e GET /x: fallback new is not legacy or none"]),
        ("  GET /x: {fallback: no}\n", ["0 e GET /x: fallback: YAML reads no as false"]),
        ("  GET /x: {writes: replay}\n", ["0 e GET /x: writes replay is not skip or rehearse"]),
        ("  GET /x: {owner: 010}\n", ["0 e GET /x: owner: YAML reads 010 as the number 8"]),
        ("  GET /x: {owner: 1.10}\n", ["0 e GET /x: owner: YAML reads 1.10 as the number 1.1"]),
        ("  GET /x: {owner: 2024-01-02}\n", ["0 e GET /x: owner must be text, not a date"]),
        ("  GET /x:\n    owner:\n", ["1 e GET /x: owner has no value"]),
        ("  GET /x: {prefix: /y}\n", ["0 e GET /x: prefix is no key of a row"]),
        ("  GET /x: {sticky: [session: user]}\n", ["0 e GET /x: sticky[0] must be text, not a mapping"]),
        ("  GET /x: {sticky: [path:id]}\n", ["0 e GET /x: sticky path:id: the path has no such parameter"]),
        ("  GET /x: {sticky: []}\n", ["0 e GET /x: sticky is an empty list"]),
        (
            "  GET /x: {pin: {new: [client]}}\n",
            ["0 e GET /x: pin.new[0] client gives no value to compare with"],
        ),
        ("  GET /x: {stage: legacy, sample: 5%}\n", ["0 w GET /x: sample means nothing at legacy"]),
        ("  POST /x: shadow\n", ["0 w POST /x: shadow compares nothing: POST may write"]),
        ("  GET /x: canary\n", ["0 w GET /x: canary without a weight sends nobody to new"]),
        ("  GET /x: {rate_key: client}\n", ["0 w GET /x: rate_key without rate_limit limits nothing"]),
        ("  GET /x: {writes: rehearse}\n", ["0 w GET /x: writes: rehearse on a row that writes nothing"]),
        (
            "  POST /x: {stage: new, sample: 5%, writes: rehearse}\n",
            ["0 w POST /x: sample compares nothing at new: when POST is answered, new has made the write"],
        ),
        (
            "  GET /x: {compare: [{at: 'rows:a.b.c', rule: ignore, reason: r}]}\n",
            ["0 e GET /x: compare[0].at rows:a.b.c names no table"],
        ),
        (
            "  GET /x: {strict: true, equivalences: {date_format: true}}\n",
            ["0 e GET /x: equivalences.date_format is on beside strict: true, which turns all off"],
        ),
        (
            "  GET /x: {compare: [{at: $.a, rule: tolerance, reason: r}]}\n",
            ["0 e GET /x: compare[0].by is missing, which tolerance needs"],
        ),
        (
            "  GET /x: {compare: [{at: $.a, rule: ignore, reason: r, by: 1}]}\n",
            ["0 e GET /x: compare[0].by means nothing for ignore"],
        ),
        (
            "  GET /x: {compare: [{at: id, rule: ignore}]}\n",
            [
                "0 e GET /x: compare[0].at id is no place in an answer",
                "0 e GET /x: compare[0].reason is missing",
            ],
        ),
        (
            "  GET /x: {stage: shadow, rollout: {steps: [canary]}}\n",
            ["0 e GET /x: rollout.steps[0] a canary step needs its weight"],
        ),
        (
            "  GET /x: {stage: shadow, rollout: {steps: [canary 5%, canary 1%]}}\n",
            ["0 e GET /x: rollout.steps do not rise: canary 1% stands after canary 5%"],
        ),
        (
            "  GET /x: {stage: shadow, rollout: {steps: [retired]}}\n",
            ["0 e GET /x: rollout.steps[0] retired is no step forward that can be automatic"],
        ),
        (
            "  GET /x: {stage: legacy, rollout: {steps: [canary 1%]}}\n",
            ["0 e GET /x: the rollout would jump from legacy to canary 1% without evidence"],
        ),
        (
            "  GET /x: {stage: new, rollout: {steps: [canary 1%, new]}}\n",
            ["0 w GET /x: the rollout ends at new, which the row has reached"],
        ),
        (
            "  GET /x: {stage: shadow, rollout: {mismatch_budget: 0%}}\n",
            ["0 e GET /x: rollout.steps is missing", "0 e GET /x: rollout.mismatch_budget 0% is no budget"],
        ),
    ],
    ids=lambda value: value.strip() if isinstance(value, str) else "",
)
def test_a_mistake_in_a_row_is_said_in_plain_words(rows: str, found: list[str]) -> None:
    assert complaints(rows) == found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (
            "backends: 3\n",
            [
                " version is missing; write version: 1",
                " routes is missing; write routes: {} when there are no rows yet",
                "1: backends: backends must be a mapping, not the number 3; write keys below it",
            ],
        ),
        (
            f"{HEAD}routes: {{}}\nGET /x: new\n",
            ["6: GET /x: GET /x is no key at the top of the file; rows belong under routes: indent it there"],
        ),
        (
            f"{HEAD}routes: {{}}\ntimeout: 3s\n",
            [
                "6: timeout: timeout is no key at the top of the file; timeout belongs on a row or under defaults"
            ],
        ),
        (
            f"{HEAD}routes: {{}}\nrouts: 3\n",
            ["6: routs: routs is no key at the top of the file; did you mean routes?"],
        ),
        (
            f"{HEAD}routes: {{}}\ndefaults: new\n",
            ["6: defaults: defaults must be a mapping; write defaults: {stage: new}"],
        ),
        (
            f"{HEAD}routes: {{}}\ndefaults: {{new_path: /x}}\n",
            [
                "6: defaults.new_path: new_path in defaults would send every row to one path; write it on the row it is for"
            ],
        ),
        (
            f"{HEAD}routes: {{}}\nserver: {{override_token: hunter2}}\n",
            [
                "6: server.override_token: override_token is written in the file, where secrets never stand; write ${NAME} and set that variable"
            ],
        ),
        (
            f"{HEAD}routes: {{}}\nserver: {{override_token: '${{MISSING}}'}}\n",
            [
                "6: server.override_token: the environment variable MISSING is not set; set MISSING before the gateway starts"
            ],
        ),
        (
            f"{HEAD}routes: {{}}\nserver: {{override_token: '${{EMPTY}}'}}\n",
            [
                "6: server.override_token: the environment variable EMPTY is empty; set EMPTY before the gateway starts"
            ],
        ),
        (
            f"{HEAD}routes: {{}}\nserver: {{trusted_proxies: [10.0.0.1/8]}}\n",
            [
                "6: server.trusted_proxies[0]: trusted_proxies[0] 10.0.0.1/8 has bits beyond its prefix; write 10.0.0.0/8"
            ],
        ),
        (
            f"{HEAD}routes: {{}}\nserver: {{docs: /x, openapi: /x}}\n",
            ["6: server.openapi: openapi and docs are both /x; change one of them"],
        ),
        (
            f"{HEAD}routes: {{}}\nserver: {{prefix: /}}\n",
            ["6: server.prefix: prefix / would take every path; write a path like /-"],
        ),
        (
            f"{HEAD}routes: {{}}\nstore: postgres://${{PASSWORD}}@x/y\n",
            ["6: store: store is no URL of SQLite or PostgreSQL; write postgresql:// instead of postgres://"],
        ),
        (
            f"{HEAD}routes: {{}}\nshared: http://x\n",
            ["6: shared: shared is no URL of redis, rediss or unix; write redis://HOST"],
        ),
        (
            f"{HEAD}routes: {{}}\nevents: [{{secret: x}}]\n",
            [
                "6: events[0].url: url is missing; add url",
                "6: events[0].secret: secret is written in the file, where secrets never stand; write ${NAME} and set that variable",
            ],
        ),
        (
            f"{HEAD}routes: {{}}\ncompare: {{body_cap: 1GiB}}\n",
            ["6: compare.body_cap: body_cap is above memory_cap; nothing could be captured: lower it"],
        ),
        (
            HEAD.replace("version: 1", "version: 2") + "routes: {}\n",
            ["1: version: version 2 is above 1; write 1"],
        ),
        (
            "version: 1\nbackends:\n  legacy: {}\nroutes: {}\n",
            [
                "2: backends.new: the backend new is missing; write new: {asgi: package.module:app}",
                "3: backends.legacy: says nowhere how legacy is reached; write wsgi, asgi, url or command",
            ],
        ),
        (
            "version: 1\nbackends:\n  legacy: {wsgi: 'a:b', url: 'http://x'}\n  new: {asgi: a.b}\nroutes: {}\n",
            [
                "3: backends.legacy.url: wsgi and url exclude each other; keep one of them",
                "4: backends.new.asgi: asgi a.b names a module but nothing in it; write a.b:app",
            ],
        ),
        (
            "version: 1\nbackends:\n  legacy: {command: gunicorn app}\n  new: {asgi: 'a:f(x)', rules: r}\nroutes: {}\n",
            [
                '3: backends.legacy.command: command must be a list of words, since no shell reads it; write ["gunicorn", "app"]',
                '4: backends.new.asgi: asgi f(x) has an argument that is no literal; write literals only, like create_app("production")',
            ],
        ),
        (
            "version: 1\nbackends:\n  legacy: {wsgi: 'a:b', threads: 010}\n  new: {url: 'ftp://x'}\nroutes: {}\n",
            [
                '3: backends.legacy.threads: threads: YAML reads 010 as the number 8; write 8, or "010" in quotes for text',
                "4: backends.new.url: url ftp://x is not http or https; write http://x",
            ],
        ),
    ],
    ids=range(21),
)
def test_a_mistake_outside_the_rows_is_said_in_plain_words(text: str, found: list[str]) -> None:
    assert findings(text) == found


def test_no_secret_is_ever_part_of_a_problem() -> None:
    text = f"{HEAD}routes: {{}}\nstore: 'nope://${{PASSWORD}}'\nshared: 'x://${{TOKEN}}'\n"
    text += "server: {override_token: s3cret}\n"
    said = "".join(findings(text))
    assert said
    assert "s3cret" not in said
    assert "t0ken" not in said


@pytest.mark.parametrize(
    "target", ["a:b", "a.b:c.d", "a:f()", 'a:f("x", debug=True)', "a:f([1, {'b': None}])", "a:b.factory(-1)"]
)
def test_an_import_string_may_be_an_attribute_or_a_call_with_literals(target: str) -> None:
    quoted = target.replace("'", "''")
    spec = table(
        f"version: 1\nbackends:\n  legacy: {{wsgi: '{quoted}'}}\n  new: {{asgi: 'a:b'}}\nroutes: {{}}\n"
    )
    assert spec.legacy.target == target


@pytest.mark.parametrize(
    ("secret", "key"),
    [
        ("plain", b"plain"),
        ("whsec_a2V5", b"key"),
        ("whsec_a2V", b"ke"),
        ("whsec_!!!", None),
        ("whsec_", None),
    ],
    ids=["as it is", "base64", "unpadded", "damaged", "empty"],
)
def test_a_signing_secret_is_text_or_base64_after_its_mark(secret: str, key: bytes | None) -> None:
    text = f"{HEAD}routes: {{}}\nevents: [{{url: https://hooks.example/x, secret: '${{HOOK}}'}}]\n"
    parsed = parse(text, {**ENVIRON, "HOOK": secret})
    if key is not None:
        assert parsed.spec is not None
        assert parsed.spec.events[0].signing_key == key
        return
    (problem,) = parsed.problems
    assert (
        str(problem).partition(": events[0].secret: ")[2].startswith("the secret has no base64 after whsec_")
    )


def test_warnings_do_not_refuse_a_table() -> None:
    parsed = parse(f"{HEAD}routes:\n  POST /x: shadow\n")
    assert [problem.severity for problem in parsed.problems] == [Severity.WARNING]
    assert not parsed.has_errors


def test_five_hundred_rows_are_read_with_all_their_mistakes() -> None:
    rows = "".join(f"  GET /x{number}: canry 5%\n" for number in range(500))
    assert len(parse(f"{HEAD}routes:\n{rows}").problems) == 500


def test_a_missing_file_is_one_problem(tmp_path: Path) -> None:
    parsed = read_table(tmp_path / "routing.yaml", environ={})
    assert parsed.spec is None
    (problem,) = parsed.problems
    assert (
        str(problem)
        == "routing.yaml: cannot be read: No such file or directory; write one with `gateway init`"
    )


def test_a_file_is_read_from_where_it_stands(tmp_path: Path) -> None:
    path = tmp_path / "routing.yaml"
    path.write_text(f"{HEAD}routes: {{}}\n")
    parsed = read_table(path, environ={})
    assert parsed.spec is not None
    assert parsed.spec.source == "routing.yaml"


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
WORDS = st.sampled_from(
    [
        "version",
        "backends",
        "legacy",
        "new",
        "wsgi",
        "asgi",
        "url",
        "command",
        "routes",
        "defaults",
        "server",
        "compare",
        "events",
        "rollout",
        "steps",
        "pin",
        "sticky",
        "stage",
        "weight",
        "sample",
        "timeout",
        "equivalences",
        "strict",
        "at",
        "rule",
        "reason",
        "by",
        "regex",
        "error_shape",
        "key",
    ]
)


@given(st.binary(max_size=300))
def test_parsing_never_raises_on_bytes(data: bytes) -> None:
    parsed = parse_table(data, source="routing.yaml", environ={})
    assert parsed.spec is not None or parsed.problems


@given(
    st.dictionaries(
        WORDS,
        st.recursive(
            SCALARS,
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(WORDS | st.sampled_from(["GET /x", "ws /y", "/z"]), inner, max_size=4)
            ),
            max_leaves=12,
        ),
        max_size=6,
    )
)
@settings(max_examples=200, deadline=None)
def test_any_data_is_read_or_refused_in_the_words_of_the_table(data: dict[str, object]) -> None:
    text = yaml.dump(data, allow_unicode=True, Dumper=yaml.SafeDumper)
    parsed = parse_table(text.encode("utf-8", "replace"), source="routing.yaml", environ={})
    assert parsed.spec is not None or parsed.problems
    for problem in parsed.problems:
        assert "Input should" not in str(problem)
        assert problem.message


@given(st.integers(0, len(TEN_MISTAKES)))
def test_a_file_cut_anywhere_is_read_or_refused(length: int) -> None:
    parse(TEN_MISTAKES[:length])


def test_a_rollout_of_the_defaults_waits_until_a_person_has_started_the_row() -> None:
    defaults = "defaults: {rollout: {steps: [canary 5%, new]}}\n"
    assert row("  GET /x: legacy\n", defaults).rollout is None
    assert row("  WS /x: new\n", defaults).rollout is None
    started = row("  GET /x: shadow\n", defaults).rollout
    assert started is not None
    assert started.steps == (RolloutStep(Stage.CANARY, 500), RolloutStep(Stage.NEW))


def test_a_row_elsewhere_on_its_ladder_compares_what_it_would_if_the_file_put_it_there() -> None:
    for written, at_new in (("shadow", 0), ("shadow 20%", 2_000), ("{stage: shadow, sample: 100%}", 10_000)):
        spec = row(f"  GET /x: {written}\n")
        assert spec.at(RolloutStep(Stage.SHADOW)) == spec
        moved = spec.at(RolloutStep(Stage.NEW))
        assert (moved.stage, moved.weight_bp, moved.sample_bp) == (Stage.NEW, 0, at_new)
        assert spec.at(RolloutStep(Stage.LEGACY)).sample_bp == 0
    assert row("  GET /x: shadow\n").at(RolloutStep(Stage.CANARY, 500)).sample_bp == 1_000
