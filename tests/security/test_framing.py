"""A request that two parsers could read as two different ones is refused on the wire: no app is called.

Numbers in brackets are those of the requirements that docs/security.md lists.
"""

from __future__ import annotations

import base64

import pytest

from tests.security.attacked import TARGETS, Attacked


@pytest.fixture(autouse=True)
def _forget(gate: Attacked) -> None:
    gate.calls()


SMUGGLED = b"GET /legacy/echo/smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
CHUNKS = b"5\r\nhello\r\n0\r\n\r\n"


def post(headers: bytes, body: bytes = b"", version: bytes = b"1.1", host: bytes = b"Host: a\r\n") -> bytes:
    return b"POST %b HTTP/" + version + b"\r\n" + host + headers + b"\r\n\r\n" + body


ATTACKS = {
    # [1] an upgrade with a body: httptools takes what follows for another protocol
    "h2c with a length": post(
        b"Upgrade: h2c\r\nConnection: Upgrade\r\nContent-Length: 5", b"hello" + SMUGGLED
    ),
    "h2c with chunks": post(b"Upgrade: h2c\r\nConnection: Upgrade\r\nTransfer-Encoding: chunked", CHUNKS),
    "foo with a length": post(b"Upgrade: foo\r\nConnection: upgrade\r\nContent-Length: 45", SMUGGLED),
    "a websocket with a body": post(
        b"Upgrade: websocket\r\nConnection: upgrade\r\nContent-Length: 5", b"hello" + SMUGGLED
    ),
    # [2] two lengths, or a length and chunks
    "length then chunked": post(b"Content-Length: 3\r\nTransfer-Encoding: chunked", CHUNKS + SMUGGLED),
    "chunked then length": post(b"Transfer-Encoding: chunked\r\nContent-Length: 3", CHUNKS + SMUGGLED),
    "chunked and length 0": post(b"Transfer-Encoding: chunked\r\nContent-Length: 0", CHUNKS + SMUGGLED),
    "a list of lengths": post(b"Content-Length: 5, 5", b"hello"),
    "the same length twice": post(b"Content-Length: 5\r\nContent-Length: 5", b"hello"),
    "two lengths": post(b"Content-Length: 5\r\nContent-Length: 6", b"hello!"),
    "a signed length": post(b"Content-Length: +5", b"hello"),
    "a negative length": post(b"Content-Length: -5", b"hello"),
    "a length with an underscore": post(b"Content-Length: 1_0", b"hellohello"),
    "a hexadecimal length": post(b"Content-Length: 0x5", b"hello"),
    "a length with an exponent": post(b"Content-Length: 1e1", b"hello"),
    "an empty length": post(b"Content-Length:", b"hello"),
    "a length of 20 digits": post(b"Content-Length: 99999999999999999999", b"hello"),
    "a length in Arabic digits": post("Content-Length: \u0665".encode(), b"hello"),
    "chunked twice": post(b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", CHUNKS),
    "chunked chunked": post(b"Transfer-Encoding: chunked, chunked", CHUNKS),
    "chunked then identity": post(b"Transfer-Encoding: chunked, identity", CHUNKS),
    "identity then chunked": post(b"Transfer-Encoding: identity\r\nTransfer-Encoding: chunked", CHUNKS),
    "gzip then chunked": post(b"Transfer-Encoding: gzip, chunked", CHUNKS),
    "xchunked": post(b"Transfer-Encoding: xchunked", CHUNKS),
    "chunked in quotes": post(b'Transfer-Encoding: "chunked"', CHUNKS),
    "chunked with a parameter": post(b"Transfer-Encoding: chunked;q=1", CHUNKS),
    "chunked behind a vertical tab": post(b"Transfer-Encoding: \x0bchunked", CHUNKS),
    "chunked behind a folded line": post(b"Transfer-Encoding:\r\n chunked", CHUNKS),
    "chunked with a space before the colon": post(b"Transfer-Encoding : chunked", CHUNKS),
    "chunked behind a NUL in the name": post(b"Transfer-Encoding\x00: chunked", CHUNKS),
    "chunked behind a bare CR": post(b"X: y\rTransfer-Encoding: chunked", CHUNKS),
    "chunked behind a bare LF": post(b"X: y\nTransfer-Encoding: chunked", CHUNKS),
    "an empty coding": post(b"Transfer-Encoding:", CHUNKS),
    # [3]
    "chunked in HTTP/1.0": post(b"Transfer-Encoding: chunked", CHUNKS, version=b"1.0"),
    # [4]
    "no host": post(b"X: y", host=b""),
    "two hosts": post(b"Host: a"),
    "two different hosts": post(b"Host: b"),
    "an empty host": post(b"X: y", host=b"Host:\r\n"),
    "a host with a path": post(b"X: y", host=b"Host: a/evil?x\r\n"),
    "a host with a user": post(b"X: y", host=b"Host: u@h\r\n"),
    "a host with a space": post(b"X: y", host=b"Host: a b\r\n"),
    "a host with a fragment": post(b"X: y", host=b"Host: a#b\r\n"),
    "a host with a backslash": post(b"X: y", host=b"Host: a\\b\r\n"),
    "a host beyond ASCII": post(b"X: y", host="Host: b\u00fccher\r\n".encode()),
    "a host with two ports": post(b"X: y", host=b"Host: a:80:90\r\n"),
    "a host with a port that is none": post(b"X: y", host=b"Host: a:x\r\n"),
    "a host with an open bracket": post(b"X: y", host=b"Host: [::1\r\n"),
    # a field that is one value, twice: one app would read both, the other the first
    "two types": post(b"Content-Type: text/html\r\nContent-Type: application/json"),
    "two authorizations": post(b"Authorization: Basic YTpi\r\nAuthorization: Bearer x"),
    # [7]
    "a bare LF after the request line": b"POST %b HTTP/1.1\nHost: a\r\n\r\n",
    "a bare LF after a header": b"POST %b HTTP/1.1\r\nHost: a\n\r\n",
    "a bare LF at the end of the head": b"POST %b HTTP/1.1\r\nHost: a\r\n\n",
    "a bare CR after a header": b"POST %b HTTP/1.1\r\nHost: a\r\r\n\r\n",
    "a folded header": post(b"X: y\r\n z"),
    "a folded header by tab": post(b"X: y\r\n\tz"),
    "a first header that is folded": b"POST %b HTTP/1.1\r\n X: y\r\nHost: a\r\n\r\n",
    "a control character in a value": post(b"X: a\x01b"),
    "a NUL in a value": post(b"X: a\x00b"),
    "a DEL in a value": post(b"X: a\x7fb"),
    "a space in a name": post(b"X Y: z"),
    "a byte beyond ASCII in a name": post("X-\u017fecret: z".encode()),
    "an empty name": post(b": z"),
    "a line without a colon": post(b"XYZ"),
    "parentheses in a name": post(b"X(): z"),
    # the request line
    "no version": b"POST %b\r\nHost: a\r\n\r\n",
    "version 0.9": b"POST %b HTTP/0.9\r\nHost: a\r\n\r\n",
    "version 1.2": b"POST %b HTTP/1.2\r\nHost: a\r\n\r\n",
    "version 2.0": b"POST %b HTTP/2.0\r\nHost: a\r\n\r\n",
    "a lower-case protocol": b"POST %b http/1.1\r\nHost: a\r\n\r\n",
    "a space before the method": b" POST %b HTTP/1.1\r\nHost: a\r\n\r\n",
    "a tab after the method": b"POST\t%b HTTP/1.1\r\nHost: a\r\n\r\n",
    "two spaces after the target": b"POST %b  x HTTP/1.1\r\nHost: a\r\n\r\n",
    # [8] a method that is none, or not spelled so, is never another one
    "an unknown method": b"FROB %b HTTP/1.1\r\nHost: a\r\n\r\n",
    "a lower-case method": b"get %b HTTP/1.1\r\nHost: a\r\n\r\n",
    "a mixed-case method": b"Get %b HTTP/1.1\r\nHost: a\r\n\r\n",
    "a method with a comma": b"GET,POST %b HTTP/1.1\r\nHost: a\r\n\r\n",
    "ANY as a method": b"ANY %b HTTP/1.1\r\nHost: a\r\n\r\n",
    # [5] a target that is no path
    "an absolute target": b"GET http://evil.example%b HTTP/1.1\r\nHost: a\r\n\r\n",
    "an absolute target of this host": b"GET http://a%b HTTP/1.1\r\nHost: a\r\n\r\n",
    "an absolute https target": b"GET https://evil.example%b HTTP/1.1\r\nHost: a\r\n\r\n",
    "an upper-case absolute target": b"GET HTTP://evil.example%b HTTP/1.1\r\nHost: a\r\n\r\n",
    "a file target": b"GET file://%b HTTP/1.1\r\nHost: a\r\n\r\n",
    "a target of a user": b"GET @evil.example%b HTTP/1.1\r\nHost: a\r\n\r\n",
    "a relative target": b"GET x%b HTTP/1.1\r\nHost: a\r\n\r\n",
    "a target that is a query": b"GET ?%b HTTP/1.1\r\nHost: a\r\n\r\n",
    "a target that is a fragment": b"GET #%b HTTP/1.1\r\nHost: a\r\n\r\n",
    "an asterisk": b"GET * HTTP/1.1\r\nX: %b\r\nHost: a\r\n\r\n",
    "an asterisk and more": b"OPTIONS *%b HTTP/1.1\r\nHost: a\r\n\r\n",
    "a control character in the target": b"GET %b\x01 HTTP/1.1\r\nHost: a\r\n\r\n",
    "a tab in the target": b"GET %b\tx HTTP/1.1\r\nHost: a\r\n\r\n",
    "a byte beyond ASCII in the target": b"GET %b\xff HTTP/1.1\r\nHost: a\r\n\r\n",
    "a byte beyond ASCII in the query": b"GET %b?\xff HTTP/1.1\r\nHost: a\r\n\r\n",
    # other protocols
    "an HTTP/2 preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n%b",
    "a TLS hello": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03%b",
    "a PROXY line": b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2\r\nGET %b HTTP/1.1\r\nHost: a\r\n\r\n",
}


@pytest.mark.parametrize("is_second", [False, True], ids=["first", "second"])
@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS)
def test_it_is_refused_with_400_the_connection_closes_and_no_app_is_called(
    gate: Attacked, attack: bytes, target: bytes, is_second: bool
) -> None:
    answer = gate.send(attack.replace(b"%b", target), is_second=is_second)
    assert (answer.status, answer.count(), answer.is_closed) == (400, 1, True), answer.data
    assert b"x-served-by: gateway" in answer.data
    assert gate.calls() == []


@pytest.mark.parametrize("is_second", [False, True], ids=["first", "second"])
@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
@pytest.mark.parametrize("method", [b"TRACE", b"CONNECT"])
def test_trace_and_connect_are_405_wherever_they_go(
    gate: Attacked, method: bytes, target: bytes, is_second: bool
) -> None:
    authority = b"evil.example:443" if method == b"CONNECT" else target
    for named in {authority, target}:
        answer = gate.send(method + b" " + named + b" HTTP/1.1\r\nHost: a\r\n\r\n", is_second=is_second)
        assert (answer.status, answer.is_closed) in {(405, True), (400, True)}, answer.data
        assert named != authority or answer.status == 405
    assert gate.calls() == []


@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
@pytest.mark.parametrize(
    ("head", "status"),
    [
        pytest.param(b"".join(b"X-%d: 1\r\n" % number for number in range(101)), 431, id="101 headers"),
        pytest.param(b"X: " + b"a" * 61_440 + b"\r\n", 431, id="one of 60 KiB"),
        pytest.param(b"".join(b"X-%d: %b\r\n" % (n, b"a" * 1000) for n in range(62)), 431, id="62 of 1 KB"),
        pytest.param(b"Cookie: a=1\r\n" * 101, 431, id="101 cookies"),
    ],
)
def test_more_than_a_hundred_headers_or_60_kib_of_them_are_431(
    gate: Attacked, target: bytes, head: bytes, status: int
) -> None:
    answer = gate.send(b"GET " + target + b" HTTP/1.1\r\nHost: a\r\n" + head + b"\r\n")
    assert (answer.status, answer.is_closed) == (status, True)
    assert gate.calls() == []


def test_a_hundred_headers_of_40_kib_are_served(gate: Attacked) -> None:
    head = b"".join(b"X-%d: %b\r\n" % (number, b"a" * 400) for number in range(98))
    for target in (b"/legacy/echo", b"/new/echo"):
        assert gate.ask(b"GET " + target + b" HTTP/1.1\r\nHost: a\r\n" + head)["path"] == target.decode()


BROKEN_CHUNKS = {
    "a size of letters": b"zz\r\nhello\r\n0\r\n\r\n",
    "a size with 0x": b"0x5\r\nhello\r\n0\r\n\r\n",
    "a signed size": b"+5\r\nhello\r\n0\r\n\r\n",
    "a negative size": b"-5\r\nhello\r\n0\r\n\r\n",
    "a size beyond 64 bits": b"FFFFFFFFFFFFFFFFF\r\nhello\r\n0\r\n\r\n",
    "a space before the size": b" 5\r\nhello\r\n0\r\n\r\n",
    "a space after the size": b"5 \r\nhello\r\n0\r\n\r\n",
    "a bare LF after the size": b"5\nhello\r\n0\r\n\r\n",
    "a bare LF in an extension": b"5;a\nb\r\nhello\r\n0\r\n\r\n",
    "a bare LF after the data": b"5\r\nhello\n0\r\n\r\n",
    "a bare LF after the last chunk": b"5\r\nhello\r\n0\n\r\n",
    "a bare LF at the end": b"5\r\nhello\r\n0\r\n\n",
    "data longer than its size": b"5\r\nhello!\r\n0\r\n\r\n",
    "no line end after the data": b"5\r\nhello0\r\n\r\n",
    "an empty size": b"\r\nhello\r\n0\r\n\r\n",
    "a length among the trailers": b"5\r\nhello\r\n0\r\nContent-Length: 50\r\n\r\n",
    "a coding among the trailers": b"5\r\nhello\r\n0\r\nTransfer-Encoding: chunked\r\n\r\n",
    "a folded trailer": b"5\r\nhello\r\n0\r\nX: a\r\n b\r\n\r\n",
}


@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
@pytest.mark.parametrize("chunks", BROKEN_CHUNKS.values(), ids=BROKEN_CHUNKS)
def test_a_broken_chunk_is_400_and_what_follows_is_no_request(
    gate: Attacked, chunks: bytes, target: bytes
) -> None:
    head = b"POST " + target + b" HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    answer = gate.send(head + chunks + SMUGGLED)
    assert (answer.status, answer.count(), answer.is_closed) == (400, 1, True)
    assert "smuggled" not in str(gate.calls())


@pytest.mark.parametrize("target", [b"/legacy/echo", b"/new/echo"])
def test_a_chunked_body_arrives_whole_and_its_trailers_nowhere(gate: Attacked, target: bytes) -> None:
    told = gate.ask(
        b"POST " + target + b" HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked",
        b'5;ext="v"\r\nhello\r\n1\r\n!\r\n0\r\nX-Gateway-Backend: legacy\r\nCookie: a=evil\r\nHost: evil\r\n'
        b"X-Forwarded-For: 6.6.6.6\r\nAuthorization: evil\r\n\r\n",
    )
    assert base64.b64decode(told["body"]) == b"hello!"
    assert "evil" not in str(told["headers"])
    assert "6.6.6.6" not in str(told)


@pytest.mark.parametrize("target", [b"/legacy/echo", b"/new/echo"])
@pytest.mark.parametrize("method", [b"GET", b"DELETE", b"POST"])
def test_a_body_is_never_the_next_request_whatever_the_method(
    gate: Attacked, target: bytes, method: bytes
) -> None:
    told = gate.ask(
        method + b" " + target + b" HTTP/1.1\r\nHost: a\r\nContent-Length: %d" % len(SMUGGLED), SMUGGLED
    )
    assert base64.b64decode(told["body"]) == SMUGGLED
    assert "smuggled" not in str(gate.calls())


@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
@pytest.mark.parametrize("protocol", [b"foo", b"h2c", b"websocket", b"TLS/1.0, HTTP/1.1"])
def test_what_follows_an_upgrade_is_never_a_request(gate: Attacked, target: bytes, protocol: bytes) -> None:
    answer = gate.send(
        b"GET "
        + target
        + b" HTTP/1.1\r\nHost: a\r\nUpgrade: "
        + protocol
        + b"\r\nConnection: upgrade\r\n\r\n"
        + SMUGGLED
    )
    assert (answer.count(), answer.is_closed) == (1, True)
    assert "smuggled" not in str(gate.calls())


def test_an_options_for_the_server_is_answered_by_legacy_as_ever(gate: Attacked) -> None:
    answer = gate.send(b"OPTIONS * HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    assert answer.status in (200, 404)
    assert gate.calls() == [("OPTIONS", "*")]


def test_http_1_0_without_a_host_is_served_and_closed(gate: Attacked) -> None:
    for target in (b"/legacy/echo", b"/new/echo"):
        answer = gate.send(b"GET " + target + b" HTTP/1.0\r\n\r\n")
        assert (answer.status, answer.is_closed) == (200, True)


def test_requests_behind_a_close_are_not_served(gate: Attacked) -> None:
    answer = gate.send(b"GET /legacy/echo HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n" + SMUGGLED)
    assert (answer.count(), answer.is_closed) == (1, True)
    assert gate.calls() == [("GET", "/legacy/echo")]
