"""No header makes an app believe what nobody trustworthy said, and none means two things to two apps."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.requests import cookie_parser
from werkzeug.http import parse_cookie

from gateway.backends.upstream_headers import request_headers
from gateway.serving.guard import (
    ADMIN_COOKIE,
    FORWARDING_HEADERS,
    IDENTITY_HEADERS,
    Guard,
    keep_first_cookies,
)
from gateway.web import admin
from tests.projects import make_project, served
from tests.security.attacked import LEGACY, NEW, ROUTES, Attacked

if TYPE_CHECKING:
    from pathlib import Path

ROWS = pytest.mark.parametrize("target", [b"/legacy/echo", b"/new/echo"], ids=["legacy", "new"])


def head(target: bytes, *fields: bytes) -> bytes:
    return b"GET " + target + b" HTTP/1.1\r\nHost: a\r\n" + b"\r\n".join(fields)


def names(told: dict[str, Any]) -> set[str]:
    """Return the names of the headers that an app saw, all in one spelling."""
    return {name.removeprefix("HTTP_").replace("_", "-").lower() for name, _value in told["headers"]}


@ROWS
@pytest.mark.parametrize(
    "field",
    [
        b"X_Forwarded_For: evil",
        b"X-Forwarded_For: evil",
        b"Remote_User: evil",
        b"X_Gateway_Backend: evil",
        b"Authorization_: evil",
        b"Content_Length: 5evil",
        b"Transfer_Encoding: evil",
        b"HTTP_HOST: evil",
        b"_: evil",
        b"Proxy: evil",
        b"PROXY: evil",
        b"X-Gateway-Backend: evil",
        b"X-Gateway-Token: evil",
        b"x-GATEWAY-anything: evil",
        b"Remote-User: evil",
        b"X-Remote-User: evil",
        b"X-Request-ID: evil",
    ],
    ids=lambda field: field.decode() if isinstance(field, bytes) and b":" in field else None,
)
def test_a_header_that_pretends_never_reaches_an_app(gate: Attacked, target: bytes, field: bytes) -> None:
    told = gate.ask(head(target, field, b"X-Innocent: 1"))
    assert "evil" not in str(told["headers"])
    assert {"x-innocent", "x-request-id"} <= names(told)


FORWARDED = [
    b"X-Forwarded-For: 6.6.6.6",
    b"X-Forwarded-Proto: https",
    b"X-Forwarded-Host: six",
    b"X-Forwarded-User: six",
    b"X-Forwarded-Client-Cert: six",
    b"Forwarded: for=6.6.6.6",
    b"X-Real-IP: 6.6.6.6",
    b"True-Client-IP: 6.6.6.6",
]


@ROWS
def test_without_trusted_proxies_forwarding_headers_arrive_and_are_not_believed(
    gate: Attacked, target: bytes
) -> None:
    told = gate.ask(head(target, *FORWARDED))
    assert {field.partition(b":")[0].decode().lower() for field in FORWARDED} <= names(told)
    assert (told["client"], told["scheme"]) == ("127.0.0.1", "http")


def test_the_first_forwarding_header_that_nobody_trusts_is_logged_once(gate: Attacked) -> None:
    for _ in range(3):
        gate.ask(head(b"/legacy/echo", *FORWARDED))
    assert gate.served.text().count("server.trusted_proxies is not set") == 1


@ROWS
def test_a_stranger_says_nothing_about_forwarding_or_identity(distrusting: Attacked, target: bytes) -> None:
    told = distrusting.ask(head(target, *FORWARDED, b"Remote-User: six", b"X-Request-ID: six"))
    assert "6.6.6.6" not in str(told)
    assert "six" not in str(told)
    assert (told["client"], told["scheme"]) == ("127.0.0.1", "http")


@ROWS
@pytest.mark.parametrize(
    ("hops", "client"),
    [
        pytest.param([b"203.0.113.9"], "203.0.113.9", id="one hop"),
        pytest.param([b"6.6.6.6, 203.0.113.9"], "203.0.113.9", id="what a client wrote is behind it"),
        pytest.param([b"6.6.6.6, 203.0.113.9, 10.1.1.1"], "203.0.113.9", id="through a second proxy"),
        pytest.param([b"6.6.6.6", b"203.0.113.9"], "203.0.113.9", id="two fields"),
        pytest.param([b"203.0.113.9:4711"], "203.0.113.9", id="with a port"),
        pytest.param([b"[2001:db8::7]:4711"], "2001:db8::7", id="IPv6 with a port"),
        pytest.param([b"203.0.113.9, ::ffff:10.1.1.1"], "203.0.113.9", id="a proxy in IPv6 clothes"),
        pytest.param([b"6.6.6.6, unknown"], "127.0.0.1", id="a hop that is no address"),
        pytest.param([b"<script>"], "127.0.0.1", id="no address at all"),
    ],
)
def test_a_trusted_proxy_is_believed_up_to_the_first_stranger(
    trusting: Attacked, target: bytes, hops: list[bytes], client: str
) -> None:
    told = trusting.ask(
        head(
            target,
            *(b"X-Forwarded-For: " + hop for hop in hops),
            b"X-Forwarded-Proto: https",
            b"Remote-User: ada",
            b"X-Request-ID: mine-1",
        )
    )
    assert (told["client"], told["scheme"]) == (client, "https")
    assert {"remote-user"} <= names(told)
    assert ("mine-1" in str(told["headers"])) is True


def test_every_answer_has_a_request_id_of_its_own_and_both_apps_see_it(gate: Attacked) -> None:
    ids = set()
    for target in (b"/legacy/echo", b"/new/echo") * 5:
        answer = gate.send(head(target, b"X-Request-ID: mine", b"Connection: close") + b"\r\n\r\n")
        found = re.search(rb"x-request-id: (\S+)", answer.data)
        assert found is not None
        ids.add(found[1])
        assert answer.data.count(found[1]) == 2, "in the head and in what the app saw"
    assert len(ids) == 10
    assert b"mine" not in ids


@ROWS
def test_two_cookie_headers_are_one(gate: Attacked, target: bytes) -> None:
    told = gate.ask(head(target, b"Cookie: a=1", b"Cookie: b=2"))
    assert told["cookies"] == {"a": "1", "b": "2"}


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param([b"Cookie: s=good; s=evil"], id="in one field"),
        pytest.param([b"Cookie: s=good", b"Cookie: s=evil"], id="in two fields"),
        pytest.param([b"Cookie: s=good; s =evil"], id="with a space"),
        pytest.param([b"Cookie: s=good; s\t=evil"], id="with a tab"),
        pytest.param([b'Cookie: s=good; x="; s=evil; "'], id="in the quotes of another"),
        pytest.param([b'Cookie: x="; s=evil; "; s=good'], id="in the quotes of one before"),
        pytest.param([b'Cookie: x="\\"; s=evil; "; s=good'], id="behind an escaped quote"),
        pytest.param([b"Cookie: s=evil x; s=good"], id="behind one that Werkzeug skips"),
    ],
)
def test_a_cookie_that_comes_twice_has_the_same_value_for_both_apps(
    gate: Attacked, fields: list[bytes]
) -> None:
    values = {gate.ask(head(target, *fields))["cookies"]["s"] for target in (b"/legacy/echo", b"/new/echo")}
    assert values == {"good"}


_PIECES = st.sampled_from([b"s", b"t", b"=", b";", b'"', b" ", b"\t", b",", b"\\", b"\\073", b"; s=", b'="'])


@settings(max_examples=1500, deadline=None)
@given(st.lists(st.lists(_PIECES, max_size=12).map(b"".join), min_size=1, max_size=2))
def test_no_cookie_that_comes_twice_means_two_things(values: list[bytes]) -> None:
    headers = [(b"host", b"a"), *((b"cookie", value) for value in values)]
    scope: dict[str, Any] = {"type": "http", "method": "GET", "http_version": "1.1", "headers": headers}
    screened = Guard(None).screen(scope)
    for_new = keep_first_cookies(scope["headers"]) if screened.has_repeated_cookie else scope["headers"]
    legacy = parse_cookie(dict(scope["headers"])[b"cookie"].decode("latin-1"))
    new = cookie_parser(dict(for_new)[b"cookie"].decode("latin-1"))
    both = b";".join(values)
    for name in set(legacy) & set(new) if b";" in both else ():
        assert legacy[name] == new[name]


@ROWS
@pytest.mark.parametrize(
    ("fields", "kept"),
    [
        pytest.param([b"Cookie: gateway_admin=secret"], {}, id="alone"),
        pytest.param([b"Cookie: a=1; gateway_admin=secret; b=2"], {"a": "1", "b": "2"}, id="in between"),
        pytest.param([b"Cookie: gateway_admin=secret;a=1"], {"a": "1"}, id="first, without a space"),
        pytest.param(
            [b"Cookie: a=1", b"Cookie: gateway_admin=secret"], {"a": "1"}, id="in a field of its own"
        ),
        pytest.param([b"Cookie: gateway_admin =secret; a=1"], {"a": "1"}, id="with a space"),
        pytest.param([b"Cookie: my_gateway_admin=1"], {"my_gateway_admin": "1"}, id="another's name"),
    ],
)
def test_the_admin_pages_cookie_never_reaches_an_app(
    gate: Attacked, target: bytes, fields: list[bytes], kept: dict[str, str]
) -> None:
    told = gate.ask(head(target, *fields))
    assert "secret" not in str(told)
    assert told["cookies"] == kept


def test_the_cookie_that_is_kept_from_the_apps_is_the_admin_pages() -> None:
    assert ADMIN_COOKIE.decode() == admin.COOKIE


@ROWS
def test_connection_strips_nothing_that_an_app_relies_on(gate: Attacked, target: bytes) -> None:
    fields = [b"Cookie: s=1", b"Authorization: Bearer x", b"X-Forwarded-For: 1.2.3.4", b"X-Mine: 1"]
    listed = b", ".join(field.partition(b":")[0] for field in fields) + b", x-request-id, host"
    told = gate.ask(b"GET " + target + b" HTTP/1.1\r\nHost: a\r\n" + b"\r\n".join(fields))
    answer = gate.send(head(target, *fields, b"Connection: close, " + listed) + b"\r\n\r\n")
    assert answer.status == 200
    for name in names(told) - {"connection"}:
        assert name.replace("-", "_").encode() in answer.data.lower().replace(b"-", b"_"), name


@pytest.mark.parametrize(
    "name", sorted(FORWARDING_HEADERS | IDENTITY_HEADERS | {b"x-forwarded-user", b"x-request-id"})
)
def test_connection_strips_nothing_on_the_way_to_an_upstream_either(name: bytes) -> None:
    scope = {"headers": [(b"host", b"a"), (name, b"kept"), (b"connection", name)], "client": ("1.1.1.1", 1)}
    found = dict(request_headers(scope))
    assert found[name].startswith(b"kept")
    assert b"connection" not in found


@pytest.mark.parametrize(
    ("fields", "by"),
    [
        pytest.param([b"X-Gateway-Backend: new", b"X-Gateway-Token: sesame"], b"new", id="the right token"),
        pytest.param([b"X-Gateway-Backend: new"], b"legacy", id="no token"),
        pytest.param([b"X-Gateway-Backend: new", b"X-Gateway-Token: sesamE"], b"legacy", id="a wrong token"),
        pytest.param([b"X-Gateway-Backend: new", b"X-Gateway-Token:"], b"legacy", id="an empty token"),
        pytest.param(
            [b"X-Gateway-Backend: new", b"X-Gateway-Token: \xff\xfe"], b"legacy", id="bytes as token"
        ),
        pytest.param([b"X-Gateway-Backend: NEW", b"X-Gateway-Token: sesame"], b"legacy", id="no backend"),
        pytest.param([b"X_Gateway_Backend: new", b"X_Gateway_Token: sesame"], b"legacy", id="underscores"),
    ],
)
def test_the_override_needs_its_token(gate: Attacked, fields: list[bytes], by: bytes) -> None:
    answer = gate.send(head(b"/override", *fields, b"Connection: close") + b"\r\n\r\n")
    assert b"x-served-by: " + by in answer.data
    assert (b"cache-control: private" in answer.data) is (by == b"new")


def test_without_a_token_in_the_table_nothing_overrides(tmp_path: Path) -> None:
    routes = ROUTES.replace("    server:\n      override_token: ${OVERRIDE}\n", "")
    project = make_project(tmp_path, LEGACY, NEW, routes)
    with served(project.folder) as running:
        for token in (b"", b"None", b"null", b"${OVERRIDE}"):
            answer = Attacked(running).send(
                head(b"/override", b"X-Gateway-Backend: new", b"X-Gateway-Token: " + token) + b"\r\n\r\n"
            )
            assert b"x-served-by: legacy" in answer.data
