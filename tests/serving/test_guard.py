"""The guard settles what two frameworks would read differently."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Any
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import RequestRefused
from gateway.serving.guard import Guard, keep_first_cookies
from gateway.serving.paths import canonicalise

HOST = (b"host", b"api.example.com")
TRUSTING = Guard((ip_network("10.0.0.0/8"),))
UNSET = Guard(None)


def scope_of(*headers: tuple[bytes, bytes], client: str = "192.0.2.7", **more: Any) -> dict[str, Any]:
    return {
        "type": "http",
        "method": "GET",
        "http_version": "1.1",
        "scheme": "http",
        "path": "/",
        "headers": list(headers) if any(name == b"host" for name, _ in headers) else [HOST, *headers],
        "client": (client, 1234),
        **more,
    }


def names(scope: dict[str, Any]) -> list[bytes]:
    return [name for name, _value in scope["headers"]]


@pytest.mark.parametrize("method", ["TRACE", "CONNECT"])
def test_methods_that_reflect_or_tunnel_are_refused(method: str) -> None:
    with pytest.raises(RequestRefused) as refused:
        UNSET.screen(scope_of(method=method))
    assert refused.value.status == 405


@pytest.mark.parametrize(
    "hosts",
    [
        pytest.param([b"a/evil?x"], id="with a path"),
        pytest.param([b"user@host"], id="with a user"),
        pytest.param([b"a", b"b"], id="twice"),
        pytest.param([b""], id="empty"),
        pytest.param([b"a b"], id="with a space"),
        pytest.param([b"a:80x"], id="with a port that is none"),
    ],
)
def test_a_malformed_or_repeated_host_is_refused(hosts: list[bytes]) -> None:
    with pytest.raises(RequestRefused) as refused:
        UNSET.screen(scope_of(*[(b"host", host) for host in hosts]))
    assert refused.value.status == 400


def test_a_missing_host_is_refused_but_from_http_1_0() -> None:
    scope = scope_of() | {"headers": []}
    with pytest.raises(RequestRefused):
        UNSET.screen(scope)
    UNSET.screen(scope | {"http_version": "1.0", "headers": []})


@pytest.mark.parametrize("host", [b"localhost:8000", b"[::1]:80", b"xn--bcher-kva.example", b"10.0.0.1"])
def test_ordinary_hosts_pass(host: bytes) -> None:
    UNSET.screen(scope_of((b"host", host)))


def test_more_than_a_hundred_headers_are_refused() -> None:
    with pytest.raises(RequestRefused) as refused:
        UNSET.screen(scope_of(*[(b"x-many", b"1")] * 101))
    assert refused.value.status == 431


def test_names_that_wsgi_would_merge_or_misuse_never_arrive() -> None:
    scope = scope_of((b"x_forwarded_for", b"1"), (b"proxy", b"http://evil"), (b"x-fine", b"1"))
    UNSET.screen(scope)
    assert names(scope) == [b"host", b"x-fine", b"x-request-id"]


def test_the_gateways_own_headers_never_reach_an_app() -> None:
    scope = scope_of((b"x-gateway-backend", b"new"), (b"x-gateway-token", b"t"), (b"x-gateway-shadow", b"1"))
    screened = UNSET.screen(scope)
    assert names(scope) == [b"host", b"x-request-id"]
    assert (screened.override, screened.token) == (b"new", b"t")


def test_two_cookie_headers_join_with_a_semicolon() -> None:
    scope = scope_of((b"cookie", b"a=1"), (b"cookie", b"b=2"))
    UNSET.screen(scope)
    assert dict(scope["headers"])[b"cookie"] == b"a=1; b=2"
    assert names(scope).count(b"cookie") == 1


@pytest.mark.parametrize("cookies", [[b"a=1; a=2"], [b"a=1", b"a=2"], [b"a=1; b=3; a=2"]])
def test_a_repeated_cookie_is_noticed_and_its_first_value_kept_for_new(cookies: list[bytes]) -> None:
    scope = scope_of(*[(b"cookie", cookie) for cookie in cookies])
    assert UNSET.screen(scope).has_repeated_cookie
    kept = dict(keep_first_cookies(scope["headers"]))[b"cookie"]
    assert kept.startswith(b"a=1")
    assert b"a=2" not in kept


def test_forwarding_headers_pass_untouched_and_unbelieved_while_no_proxy_is_trusted() -> None:
    scope = scope_of((b"x-forwarded-for", b"203.0.113.9"), (b"x-forwarded-proto", b"https"))
    UNSET.screen(scope)
    assert b"x-forwarded-for" in names(scope)
    assert (scope["client"][0], scope["scheme"]) == ("192.0.2.7", "http")


def test_forwarding_headers_of_a_stranger_are_removed_once_proxies_are_named() -> None:
    scope = scope_of((b"x-forwarded-for", b"203.0.113.9"), (b"forwarded", b"for=1"))
    TRUSTING.screen(scope)
    assert names(scope) == [b"host", b"x-request-id"]
    assert scope["client"][0] == "192.0.2.7"


def test_a_trusted_proxy_is_believed_up_to_the_first_stranger() -> None:
    scope = scope_of(
        (b"x-forwarded-for", b"6.6.6.6, 203.0.113.9, 10.1.1.1"),
        (b"x-forwarded-proto", b"https"),
        client="10.0.0.1",
    )
    TRUSTING.screen(scope)
    assert (scope["client"][0], scope["scheme"]) == ("203.0.113.9", "https")


@pytest.mark.parametrize("name", [b"remote-user", b"x-remote-user"])
def test_an_identity_header_counts_from_a_trusted_proxy_only(name: bytes) -> None:
    for client, is_kept in (("10.0.0.1", True), ("192.0.2.7", False)):
        scope = scope_of((name, b"admin"), client=client)
        TRUSTING.screen(scope)
        assert (name in names(scope)) is is_kept


def test_a_request_id_is_made_and_a_trusted_one_kept() -> None:
    made = {UNSET.screen(scope_of((b"x-request-id", b"mine"))).request_id for _ in range(100)}
    assert len(made) == 100
    assert b"mine" not in made
    scope = scope_of((b"x-request-id", b"mine"), client="10.0.0.1")
    assert TRUSTING.screen(scope).request_id == b"mine"
    assert scope["headers"].count((b"x-request-id", b"mine")) == 1


@given(st.lists(st.tuples(st.binary(max_size=20), st.binary(max_size=20)), max_size=20))
def test_no_header_list_makes_the_guard_fail_otherwise_than_by_refusing(
    headers: list[tuple[bytes, bytes]],
) -> None:
    scope = scope_of(HOST, *headers)
    try:
        UNSET.screen(scope)
    except RequestRefused:
        return
    assert not any(b"_" in name or name.startswith(b"x-gateway-") for name in names(scope))


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        pytest.param(b"/a%2fb", 400, id="encoded slash"),
        pytest.param(b"/a%5Cb", 400, id="encoded backslash"),
        pytest.param(b"/a%00b", 400, id="NUL"),
        pytest.param(b"/a/../b", 400, id="dot segments"),
        pytest.param(b"/a/%2e%2E/b", 400, id="encoded dot segments"),
        pytest.param(b"/a/.", 400, id="a dot at the end"),
        pytest.param(b"/a%0A", 404, id="a line feed at the end"),
        pytest.param(b"/" + b"7" * 5000, 404, id="a number that Python does not convert"),
    ],
)
def test_new_never_sees_a_path_that_its_router_reads_otherwise(raw: bytes, status: int) -> None:
    scope = scope_of(path=unquote(raw.decode()), raw_path=raw)
    with pytest.raises(RequestRefused) as refused:
        canonicalise(scope, allow_encoded_slash=False)
    assert refused.value.status == status


@pytest.mark.parametrize("raw", [b"/a.b/c..d", b"/%C3%BC", b"/a%20b", b"/.well-known/x", b"/a~b"])
def test_ordinary_paths_pass_unchanged(raw: bytes) -> None:
    scope = scope_of(path="/x", raw_path=raw)
    canonicalise(scope, allow_encoded_slash=False)
    assert scope["raw_path"] == raw


def test_an_encoded_slash_passes_where_the_row_takes_it() -> None:
    canonicalise(scope_of(path="/a/b", raw_path=b"/a%2Fb"), allow_encoded_slash=True)
    with pytest.raises(RequestRefused):
        canonicalise(scope_of(path="/a/../b", raw_path=b"/a%2F../b%5c"), allow_encoded_slash=True)


def test_leading_slashes_are_one_for_new() -> None:
    scope = scope_of(path="//items/a", raw_path=b"//items/a")
    canonicalise(scope, allow_encoded_slash=False)
    assert (scope["path"], scope["raw_path"]) == ("/items/a", b"/items/a")
