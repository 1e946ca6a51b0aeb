"""One path decides and is served: no spelling of a path reaches an app that the table keeps it from."""

from __future__ import annotations

import pytest

from tests.security.attacked import Attacked, body_of

NEW_REFUSES = {
    "an encoded slash": b"/new/echo/a%2fb",
    "an encoded backslash": b"/new/echo/a%5cb",
    "a backslash": b"/new/echo/a\\b",
    "a NUL": b"/new/echo/a%00b",
    "a NUL at the end": b"/new/echo/a%00",
    "a dot segment": b"/new/./echo",
    "two dots": b"/new/x/../echo",
    "two dots at the end": b"/new/echo/..",
    "a dot at the end": b"/new/echo/.",
    "encoded dots": b"/new/echo/%2e%2e",
    "half-encoded dots": b"/new/echo/.%2E",
}


@pytest.fixture(autouse=True)
def _forget(gate: Attacked) -> None:
    gate.calls()


def get(gate: Attacked, target: bytes, method: bytes = b"GET") -> tuple[int, bytes, bytes]:
    """Return the status, who served it, and the whole answer."""
    answer = gate.send(
        method + b" " + target + b" HTTP/1.1\r\nHost: api.example\r\nConnection: close\r\n\r\n"
    )
    served_by = answer.data.partition(b"x-served-by: ")[2].partition(b"\r\n")[0]
    return answer.status, served_by, answer.data


@pytest.mark.parametrize("target", NEW_REFUSES.values(), ids=NEW_REFUSES)
def test_a_path_that_two_routers_read_differently_never_reaches_new(gate: Attacked, target: bytes) -> None:
    status, served_by, _data = get(gate, target)
    called = gate.calls()
    assert (status, served_by) in {(400, b"gateway"), (404, b"legacy"), (308, b"legacy")}
    assert ("legacy" in str(served_by)) == bool(called)
    assert served_by != b"new"


@pytest.mark.parametrize(
    "spelling", [b"/new/echo/a%2fb", b"/new/echo/a%5cb", b"/new/echo/a%00b", b"/new/echo/%2e%2e"]
)
def test_a_spelling_that_a_new_row_matches_and_refuses_is_400_and_calls_nobody(
    gate: Attacked, spelling: bytes
) -> None:
    status, served_by, _data = get(gate, spelling)
    if status == 404:
        assert served_by == b"legacy", "decoded, it is no path of the row: legacy's, as it came"
    else:
        assert (status, served_by, gate.calls()) == (400, b"gateway", [])


@pytest.mark.parametrize(
    "target",
    [
        b"/legacy/echo/a%5cb",
        b"/legacy/echo/a%00b",
        b"/legacy/echo/a.b",
        b"/legacy/echo/%C3%BC",
        b"/legacy/echo/%FF",
        b"/legacy/echo/a%20b",
        b"/legacy/echo/..",
        b"/legacy/echo/%2e",
    ],
)
def test_a_legacy_row_gets_the_path_as_it_came(gate: Attacked, target: bytes) -> None:
    status, served_by, _data = get(gate, target)
    assert (status, served_by) == (200, b"legacy")
    assert gate.calls() == [("GET", target.decode())]


@pytest.mark.parametrize(
    "target", [b"/new/echo/a%0A", b"/new/echo/a%0a", b"/new/echo/%0A", b"/new/echo/a%0A%0A"]
)
def test_a_line_feed_at_the_end_brings_no_request_of_a_new_row_to_legacy(
    gate: Attacked, target: bytes
) -> None:
    status, served_by, _data = get(gate, target)
    assert (status, served_by) == (404, b"gateway")
    assert gate.calls() == []


@pytest.mark.parametrize(
    "target", [b"/new/echo%0A", b"/new/number/7%0A", b"/new/raw/204%0A", b"/new/number/%D9%A7%0A"]
)
def test_a_line_feed_at_the_end_of_what_no_framework_takes_is_a_404(gate: Attacked, target: bytes) -> None:
    assert get(gate, target)[0] == 404


@pytest.mark.parametrize("digit", [b"%D9%A7", b"%EF%BC%97", b"%E0%A5%AD", b"1%D9%A7"])
def test_a_digit_that_only_flask_reads_brings_no_request_of_a_new_row_to_legacy(
    gate: Attacked, digit: bytes
) -> None:
    assert get(gate, b"/new/number/" + digit)[:2] == (404, b"gateway")
    assert gate.calls() == []
    status, served_by, _data = get(gate, b"/legacy/number/" + digit)
    assert (status in (200, 404), served_by) == (True, b"legacy")


@pytest.mark.parametrize("slashes", [b"//", b"///", b"////////"])
def test_leading_slashes_reach_new_as_one_and_legacy_as_they_came(gate: Attacked, slashes: bytes) -> None:
    assert get(gate, slashes + b"new/echo/a")[:2] == (200, b"new")
    assert gate.calls() == [("GET", "/new/echo/a")]
    status, served_by, _data = get(gate, slashes + b"legacy/echo/a")
    assert (status in (200, 308), served_by) == (True, b"legacy")
    assert gate.calls() == [("GET", (slashes + b"legacy/echo/a").decode())]


@pytest.mark.parametrize("digits", [4_000, 4_301, 5_000, 50_000])
@pytest.mark.parametrize("prefix", [b"/new/number/", b"/new/echo/"])
def test_a_number_too_long_for_python_is_404_on_a_new_row(gate: Attacked, prefix: bytes, digits: int) -> None:
    # Where Flask refuses the number as well, nobody takes the path, and the 404 is legacy's own.
    status, served_by, _data = get(gate, prefix + b"7" * digits)
    assert (status, served_by in (b"gateway", b"legacy")) == (404, True)
    assert not [target for _method, target in gate.calls() if served_by == b"gateway"]


def test_a_number_too_long_for_python_is_legacys_as_under_any_server(gate: Attacked) -> None:
    assert get(gate, b"/legacy/number/" + b"7" * 4_000)[:2] == (200, b"legacy")
    status, served_by, _data = get(gate, b"/legacy/number/" + b"7" * 5_000)
    assert (status in (404, 500), served_by) == (True, b"legacy")


EVIL = [
    b"//evil.example",
    b"//evil.example/",
    b"//evil.example/legacy/folder",
    b"/\\evil.example",
    b"///evil.example/%2f..",
    b"//evil.example//legacy//folder",
    b"/%2f/evil.example",
    b"/%5cevil.example/",
    b"//legacy/folder",
    b"//new/echo/",
    b"/new/echo/a/",
    b"/legacy/folder?//evil.example",
    b"/legacy//folder",
    b"//evil.example/%0d%0aSet-Cookie:%20evil=1",
    b"/legacy/folder%0d%0aLocation:%20//evil.example",
]


@pytest.mark.parametrize("target", EVIL, ids=[target.decode() for target in EVIL])
def test_no_redirect_leads_to_a_host_that_the_path_names(gate: Attacked, target: bytes) -> None:
    _status, _served_by, data = get(gate, target)
    head = data.partition(b"\r\n\r\n")[0]
    assert b"set-cookie" not in head.lower()
    for line in head.split(b"\r\n"):
        if line.lower().startswith(b"location:"):
            location = line.partition(b":")[2].strip()
            assert location.startswith((b"http://api.example/", b"/")), location
            assert not location.startswith((b"//", b"/\\")), location


def test_a_slash_that_flask_adds_stays_on_the_host_that_was_asked(gate: Attacked) -> None:
    status, served_by, data = get(gate, b"/legacy/folder")
    assert (status, served_by) == (308, b"legacy")
    assert b"//evil" not in data


def test_a_row_takes_an_encoded_slash_only_where_it_says_so(gate: Attacked) -> None:
    assert get(gate, b"/new/echo/a%20b")[:2] == (200, b"new")
    told = gate.send(b"GET /new/echo/a%20b HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    assert b'"name":"a b"' in body_of(told)


@pytest.mark.parametrize("method", [b"PROPFIND", b"PURGE", b"LOCK", b"M-SEARCH", b"HEAD", b"OPTIONS"])
def test_a_method_never_counts_as_another_one(gate: Attacked, method: bytes) -> None:
    for target in (b"/legacy/number/7", b"/new/number/7"):
        status, _served_by, _data = get(gate, target, method)
        assert status in ((200,) if method == b"HEAD" else (200, 405) if method == b"OPTIONS" else (404, 405))
