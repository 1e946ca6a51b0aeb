"""The same caller gets the same side; raising the weight only adds callers."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.serving.assignment import BUCKETS, bucket_of, caller_key, value_of
from gateway.serving.decide import decide, overridden
from gateway.table.route import Route
from gateway.table.spec import KeySource, Pin, Pins, RouteSpec, Stage
from gateway.table.template import parse_template


def route_of(**spec: Any) -> Route:
    row = RouteSpec("GET /u/{id}", "GET /u/{id}", 1, ("GET",), "/u/{id}", **spec)
    return Route("0" * 12, row.key, frozenset({"GET"}), parse_template(row.path), row, is_listed=True)


def scope_of(*headers: tuple[bytes, bytes], path: str = "/u/7", query: bytes = b"") -> dict[str, Any]:
    return {
        "method": "GET",
        "path": path,
        "query_string": query,
        "headers": list(headers),
        "client": ("192.0.2.1", 5),
    }


def no_session(_cookies: bytes) -> None:
    return None


def backend_of(route: Route, *headers: tuple[bytes, bytes], salt: str = "s") -> str:
    return decide(route, scope_of(*headers), salt=salt, read_session=no_session).backend


callers = st.text(min_size=1, max_size=30)
weights = st.integers(min_value=0, max_value=BUCKETS)


@given(caller=callers, low=weights, high=weights)
def test_raising_the_weight_never_moves_a_caller_back(caller: str, low: int, high: int) -> None:
    low, high = sorted((low, high))
    header = (b"x-caller", caller.encode("utf-8"))
    row = route_of(stage=Stage.CANARY, sticky=(KeySource("header", "x-caller"),))
    at_low, at_high = (replace(row, spec=replace(row.spec, weight_bp=weight)) for weight in (low, high))
    if backend_of(at_low, header) == "new":
        assert backend_of(at_high, header) == "new"


@given(caller=callers, group=callers, salt=callers)
def test_a_caller_keeps_its_bucket(caller: str, group: str, salt: str) -> None:
    assert bucket_of(salt, group, caller) == bucket_of(salt, group, caller)
    assert 0 <= bucket_of(salt, group, caller) < BUCKETS


def test_the_share_of_callers_is_the_weight() -> None:
    row = route_of(stage=Stage.CANARY, weight_bp=2_500, sticky=(KeySource("header", "x-caller"),))
    served = sum(backend_of(row, (b"x-caller", b"%d" % number)) == "new" for number in range(20_000))
    assert 0.235 < served / 20_000 < 0.265  # five standard deviations about 25%


def test_rows_of_one_group_share_their_callers_and_others_do_not() -> None:
    keys = [(b"x-caller", b"%d" % number) for number in range(300)]
    sticky = (KeySource("header", "x-caller"),)
    one, two = (
        route_of(stage=Stage.CANARY, weight_bp=5_000, sticky=sticky, group=group) for group in ("a", "a")
    )
    other = route_of(stage=Stage.CANARY, weight_bp=5_000, sticky=sticky, group="b")
    assert [backend_of(one, key) for key in keys] == [backend_of(two, key) for key in keys]
    assert [backend_of(one, key) for key in keys] != [backend_of(other, key) for key in keys]
    assert [backend_of(one, key) for key in keys] != [backend_of(one, key, salt="t") for key in keys]


def test_a_pin_outranks_the_weight_and_legacy_outranks_new() -> None:
    qa = Pin(KeySource("header", "x-team"), "qa")
    row = route_of(stage=Stage.CANARY, weight_bp=0, pins=Pins(new=(qa,)))
    assert backend_of(row, (b"x-team", b"qa")) == "new"
    assert backend_of(row, (b"x-team", b"dev")) == "legacy"
    both = route_of(stage=Stage.NEW, pins=Pins(new=(qa,), legacy=(qa,)))
    assert backend_of(both, (b"x-team", b"qa")) == "legacy"
    assert backend_of(both) == "new"


@pytest.mark.parametrize(
    ("stage", "weight_bp", "backend"),
    [
        (Stage.LEGACY, 0, "legacy"),
        (Stage.SHADOW, 0, "legacy"),
        (Stage.CANARY, 0, "legacy"),
        (Stage.CANARY, 10_000, "new"),
        (Stage.NEW, 0, "new"),
        (Stage.RETIRED, 0, "new"),
    ],
)
def test_each_stage_has_its_backend(stage: Stage, weight_bp: int, backend: str) -> None:
    assert backend_of(route_of(stage=stage, weight_bp=weight_bp)) == backend


def token_of(claims: object) -> bytes:
    payload = base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=").decode()
    return f"Bearer e30.{payload}.sig".encode()


@pytest.mark.parametrize(
    ("source", "scope", "value"),
    [
        ("header:x-a", scope_of((b"x-a", b"1")), "1"),
        ("header:X-A", scope_of((b"x-a", b"1")), "1"),
        ("cookie:c", scope_of((b"cookie", b"b=0; c=1; c=2")), "1"),
        ("query:q", scope_of(query=b"a=0&q=x%20y&q=2"), "x y"),
        ("path:id", scope_of(), "7"),
        ("client", scope_of(), "192.0.2.1"),
        ("jwt:sub", scope_of((b"authorization", token_of({"sub": "u1"}))), "u1"),
        ("jwt:sub", scope_of((b"authorization", token_of({"sub": 12}))), "12"),
        ("jwt:sub", scope_of((b"authorization", token_of([1]))), None),
        ("jwt:sub", scope_of((b"authorization", b"Bearer a.%%%.c")), None),
        ("jwt:sub", scope_of((b"authorization", b"Basic abc")), None),
        ("header:x-none", scope_of(), None),
        ("path:none", scope_of(), None),
    ],
)
def test_each_source_reads_its_place(source: str, scope: dict[str, Any], value: str | None) -> None:
    kind, _, name = source.partition(":")
    key: Any = KeySource(kind, name)  # type: ignore[arg-type] # the test's rows hold only known kinds
    assert value_of(key, scope, route_of(), no_session) == value


def test_a_session_key_is_read_through_the_legacy_apps_session() -> None:
    scope = scope_of((b"cookie", b"session=x"))
    source = KeySource("session", "_user_id")
    assert value_of(source, scope, route_of(), lambda _cookies: {"_user_id": 7}) == "7"
    assert value_of(source, scope, route_of(), no_session) is None


def test_the_first_source_that_is_present_names_the_caller() -> None:
    sources = (KeySource("header", "x-a"), KeySource("cookie", "c"), KeySource("client"))
    assert caller_key(sources, scope_of((b"cookie", b"c=1")), route_of(), no_session) == "cookie:c=1"
    assert caller_key(sources[:1], scope_of(), route_of(), no_session) == "client=192.0.2.1"


@given(header=st.binary(max_size=200), cookies=st.binary(max_size=200), query=st.binary(max_size=200))
def test_nothing_that_a_client_sends_breaks_the_choice(header: bytes, cookies: bytes, query: bytes) -> None:
    scope = scope_of((b"authorization", b"Bearer " + header), (b"cookie", cookies), query=query)
    sources = [KeySource("jwt", "sub"), KeySource("cookie", "c"), KeySource("query", "q")]
    assert caller_key(sources, scope, route_of(), no_session)


def test_the_override_needs_its_token() -> None:
    assert overridden(b"new", b"secret", "secret") == "new"
    assert overridden(b"legacy", b"secret", "secret") == "legacy"
    assert overridden(b"new", b"Secret", "secret") is None
    assert overridden(b"new", b"", None) is None
    assert overridden(b"elsewhere", b"secret", "secret") is None
