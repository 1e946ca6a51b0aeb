"""Whatever an app sends, the client gets one well-formed response, and nothing else on the wire."""

from __future__ import annotations

import pytest

from tests.security.attacked import Attacked, body_of

INNOCENT = b"GET /legacy/number/7 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
BOTH = pytest.mark.parametrize("prefix", [b"/legacy", b"/new/raw"], ids=["legacy", "new"])


def request(method: bytes, target: bytes) -> bytes:
    return method + b" " + target + b" HTTP/1.1\r\nHost: a\r\n\r\n"


@pytest.mark.parametrize("method", [b"GET", b"HEAD"])
@BOTH
@pytest.mark.parametrize("status", [204, 304])
def test_204_and_304_have_no_body_on_the_wire_and_the_connection_lives_on(
    gate: Attacked, prefix: bytes, method: bytes, status: int
) -> None:
    target = prefix + (b"/status/" if prefix == b"/legacy" else b"/") + str(status).encode()
    answer = gate.send(request(method, target) + INNOCENT)
    first, second = answer.data.split(b"HTTP/1.1 ")[1:]
    assert first.startswith(str(status).encode())
    assert first.endswith(b"\r\n\r\n")
    assert b"content-length" not in first.lower()
    assert b"transfer-encoding" not in first.lower()
    assert b"x-kept: 1" in first.lower()
    assert second.startswith(b"200")


@pytest.mark.parametrize(
    "target", [b"/legacy/echo", b"/new/echo", b"/legacy/folder/", b"/nowhere", b"/new/number/x"]
)
def test_head_has_no_body_on_the_wire_and_the_connection_lives_on(gate: Attacked, target: bytes) -> None:
    answer = gate.send(request(b"HEAD", target) + INNOCENT)
    first, second = answer.data.split(b"HTTP/1.1 ")[1:]
    assert first.endswith(b"\r\n\r\n")
    assert second.startswith(b"200")


KINDS = (b"crlf", b"lf", b"cr", b"nul", b"control", b"non-latin-1", b"name", b"lengths")
# An ASGI app sends bytes: what is outside latin-1 cannot leave it.
BREAKING = [(b"/legacy", kind) for kind in KINDS]
BREAKING += [(b"/new/raw", kind) for kind in KINDS if kind != b"non-latin-1"]


@pytest.mark.parametrize(("prefix", "kind"), BREAKING)
def test_a_header_that_would_break_the_response_apart_is_a_502_and_a_line_in_the_log(
    gate: Attacked, prefix: bytes, kind: bytes
) -> None:
    target = prefix + (b"/odd/" if prefix == b"/legacy" else b"/") + kind
    before = len(gate.served.text())
    answer = gate.send(request(b"GET", target) + INNOCENT)
    first, second = answer.data.split(b"HTTP/1.1 ")[1:]
    assert first.startswith(b"502")
    assert b"x-served-by: gateway" in first
    assert b"evil" not in answer.data
    assert second.startswith(b"200")
    assert "legacy" in gate.served.text()[before:] or "new" in gate.served.text()[before:]


@pytest.mark.parametrize("kind", [b"number", b"100", b"101", b"199"])
def test_what_no_client_could_read_is_a_502(gate: Attacked, kind: bytes) -> None:
    assert gate.send(request(b"GET", b"/new/raw/" + kind)).status == 502


@BOTH
@pytest.mark.parametrize("kind", [b"framings", b"hop"])
def test_an_app_that_frames_its_response_itself_has_it_framed_once(
    gate: Attacked, prefix: bytes, kind: bytes
) -> None:
    target = prefix + (b"/odd/" if prefix == b"/legacy" else b"/") + kind
    answer = gate.send(request(b"GET", target) + INNOCENT)
    first, second = answer.data.split(b"HTTP/1.1 ")[1:]
    head = first.lower().partition(b"\r\n\r\n")[0]
    assert head.count(b"content-length:") + head.count(b"transfer-encoding:") == 1
    assert b"connection: keep-alive" not in head
    assert first.endswith(b"\r\n\r\nhello")
    assert second.startswith(b"200")


def test_what_was_sent_is_what_the_app_said(gate: Attacked) -> None:
    answer = gate.send(b"GET /legacy/folder/ HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    assert body_of(answer) == b"folder"
