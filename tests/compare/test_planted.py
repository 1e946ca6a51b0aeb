"""Every planted difference is found under its own name, and what a client cannot tell does not fail.

The rows marked with a case of the compatibility table are what Flask and FastAPI were measured to answer.
"""

from __future__ import annotations

import gzip
import zlib
from dataclasses import dataclass, replace

import pytest

from gateway.compare import (
    Body,
    Effects,
    Kind,
    Observation,
    OutboundCall,
    Outcome,
    Queries,
    Raised,
    RowWrite,
    Terms,
    compare,
)
from tests.compare.observations import HTML, JSON, as_html, as_json, seen


@dataclass(frozen=True)
class Planted:
    """Be one pair, and what is to be found: ``kind`` at ``place``, and nothing else that fails."""

    name: str
    control: Observation
    candidate: Observation
    kind: Kind
    place: str
    also: tuple[Kind, ...] = ()
    method: str = "GET"


STRICT_KINDS = {"key_order", "json_escapes", "trailing_newline", "header_case"}
NOT_FOUND_PAGE = "<!doctype html>\n<title>404 Not Found</title>\n<h1>Not Found</h1>\n"
REDIRECT_PAGE = "<!doctype html>\n<title>Redirecting...</title>\n"
ROW = RowWrite("users", "insert", (("id", 1),), (("name", "ann"), ("age", 30)))
CALL = OutboundCall("POST", "http://pay/charges", b'{"amount": 5}')
MAIL = OutboundCall("GET", "http://mail/x")


def redirect(status: int, location: str = "/items/", body: str = "", media: str | None = None) -> Observation:
    return seen(body, status, media, f"location: {location}")


def cookie(*values: str) -> Observation:
    return as_json({}, 200, *(f"set-cookie: {each}" for each in values))


def did(**effects: object) -> Observation:
    return as_json({}, effects=Effects(**effects))  # type: ignore[arg-type]  # the rows below give the right ones


PLANTED = [
    # the compatibility table, row by row
    Planted("json_keys", seen('{"a":1,"b":2}'), seen('{"b":2,"a":1}'), Kind.JSON_ENCODING, "$"),
    Planted("json_escapes", seen('{"a":"\\u00e9"}'), seen('{"a":"é"}'), Kind.JSON_ENCODING, "$"),
    Planted("json_newline", seen('{"a":1}\n'), seen('{"a":1}'), Kind.JSON_ENCODING, "$"),
    Planted(
        "datetime",
        as_json({"at": "Fri, 02 Jan 2026 03:04:05 GMT"}),
        as_json({"at": "2026-01-02T03:04:05Z"}),
        Kind.JSON_DATE_FORMAT,
        "$.at",
    ),
    Planted(
        "datetime_naive_with_fraction",
        as_json({"at": "Fri, 02 Jan 2026 03:04:05 GMT"}),
        as_json({"at": "2026-01-02T03:04:05.678901"}),
        Kind.JSON_DATE_FORMAT,
        "$.at",
    ),
    Planted(
        "date",
        as_json({"on": "Fri, 02 Jan 2026 00:00:00 GMT"}),
        as_json({"on": "2026-01-02"}),
        Kind.JSON_DATE_FORMAT,
        "$.on",
    ),
    Planted("decimal", as_json({"p": "1.10"}), as_json({"p": 1.1}), Kind.JSON_NUMBER_FORM, "$.p"),
    Planted("nan_null", seen('{"x":NaN}'), seen('{"x":null}'), Kind.JSON_TYPE, "$.x"),
    Planted(
        "nan_500", seen('{"x":NaN}'), seen("Internal Server Error", 500, "text/plain"), Kind.STATUS, "status"
    ),
    Planted("returned_str", as_html("hello"), as_json("hello"), Kind.BODY_TYPE, "body"),
    Planted("head", seen(b""), seen(b"", 405), Kind.STATUS, "status", method="HEAD"),
    Planted(
        "options",
        seen(b"", 200, HTML, "allow: GET, HEAD, OPTIONS"),
        seen('{"detail":"Method Not Allowed"}', 405, JSON, "allow: GET"),
        Kind.STATUS,
        "status",
        (Kind.HEADER_VALUE,),
        method="OPTIONS",
    ),
    Planted(
        "allow",
        as_json({"e": 1}, 405, "allow: OPTIONS, GET, HEAD"),
        as_json({"e": 1}, 405, "allow: GET"),
        Kind.HEADER_VALUE,
        "header:allow",
    ),
    Planted(
        "missing_slash",
        redirect(308, body=REDIRECT_PAGE, media=HTML),
        redirect(307),
        Kind.REDIRECT,
        "status",
        (Kind.REDIRECT,),
    ),
    Planted("redirect_302_307", redirect(302), redirect(307), Kind.REDIRECT, "status"),
    Planted(
        "redirect_body", redirect(302, body=REDIRECT_PAGE, media=HTML), redirect(302), Kind.REDIRECT, "body"
    ),
    Planted(
        "404_body",
        as_html(NOT_FOUND_PAGE, 404),
        as_json({"detail": "Not Found"}, 404),
        Kind.ERROR_SHAPE,
        "body",
    ),
    Planted("405_body", as_html("<p>no</p>", 405), as_json({"detail": "no"}, 405), Kind.ERROR_SHAPE, "body"),
    Planted(
        "500_body",
        as_html("<h1>Internal Server Error</h1>", 500),
        seen("Internal Server Error", 500, "text/plain; charset=utf-8"),
        Kind.ERROR_SHAPE,
        "body",
    ),
    Planted(
        "bad_path_parameter",
        as_html(NOT_FOUND_PAGE, 404),
        as_json({"detail": [{"loc": ["path", "id"], "input": "abc"}]}, 422),
        Kind.STATUS,
        "status",
        (Kind.ERROR_SHAPE,),
    ),
    Planted(
        "bad_query_200",
        as_json({"items": []}),
        as_json({"detail": [{"loc": ["query", "page"], "input": "x"}]}, 422),
        Kind.STATUS,
        "status",
    ),
    Planted(
        "bad_query_400",
        as_json({"error": "page"}, 400),
        as_json({"detail": [{"loc": ["query", "page"], "input": "x"}]}, 422),
        Kind.STATUS,
        "status",
        (Kind.ERROR_SHAPE,),
    ),
    Planted("duplicate_cookie", as_json({"c": "first"}), as_json({"c": "last"}), Kind.JSON_VALUE, "$.c"),
    Planted(
        "no_content_type",
        as_json({"detail": "type"}, 415),
        as_json({"detail": [{"loc": ["body"]}]}, 422),
        Kind.STATUS,
        "status",
        (Kind.JSON_TYPE,),
    ),
    Planted("newline_in_path", as_html(NOT_FOUND_PAGE, 404), as_json({"id": 7}), Kind.STATUS, "status"),
    Planted("double_slash", as_json({"id": 7}), as_json({"detail": "Not Found"}, 404), Kind.STATUS, "status"),
    # status and exceptions
    Planted("201_200", as_json({"id": 1}, 201), as_json({"id": 1}), Kind.STATUS, "status"),
    Planted("guard_lost", as_json({"error": "no"}, 401), as_json({"id": 1}), Kind.STATUS, "status"),
    Planted("no_answer", as_json({}), seen(b"", 0, None), Kind.STATUS, "status"),
    Planted(
        "exception",
        as_json({}),
        replace(as_json({}), raised=Raised("builtins.KeyError", "'name'", 'File "a.py", line 3, in view')),
        Kind.EXCEPTION,
        "exception",
    ),
    Planted(
        "exception_other",
        replace(as_json({}, 500), raised=Raised("builtins.KeyError")),
        replace(as_json({}, 500), raised=Raised("builtins.TypeError")),
        Kind.EXCEPTION,
        "exception",
    ),
    # headers
    Planted(
        "header_gone", as_json({}, 200, "x-total: 3"), as_json({}), Kind.HEADER_MISSING, "header:x-total"
    ),
    Planted("header_new", as_json({}), as_json({}, 200, "x-total: 3"), Kind.HEADER_ADDED, "header:x-total"),
    Planted(
        "header_value",
        as_json({}, 200, "x-total: 3"),
        as_json({}, 200, "x-total: 4"),
        Kind.HEADER_VALUE,
        "header:x-total",
    ),
    Planted(
        "header_repeated",
        as_json({}, 200, "link: <a>", "link: <b>"),
        as_json({}, 200, "link: <a>"),
        Kind.HEADER_VALUE,
        "header:link",
    ),
    Planted(
        "location",
        redirect(302, "http://a.example/x"),
        redirect(302, "http://evil.example/x"),
        Kind.HEADER_VALUE,
        "header:location",
    ),
    Planted("vary", as_json({}, 200, "vary: Cookie"), as_json({}), Kind.HEADER_MISSING, "header:vary"),
    Planted(
        "cache_control",
        as_json({}, 200, "cache-control: no-store, private"),
        as_json({}, 200, "cache-control: private"),
        Kind.HEADER_VALUE,
        "header:cache-control",
    ),
    Planted(
        "charset",
        seen("{}", 200, "application/json; charset=utf-8"),
        seen("{}"),
        Kind.HEADER_VALUE,
        "header:content-type",
    ),
    Planted(
        "media_of_same_bytes",
        seen("{}", 200, "text/plain"),
        seen("{}"),
        Kind.HEADER_VALUE,
        "header:content-type",
    ),
    Planted("cookie_gone", cookie("a=1; Path=/"), cookie(), Kind.HEADER_MISSING, "cookie:a"),
    Planted("cookie_new", cookie(), cookie("a=1; Path=/"), Kind.HEADER_ADDED, "cookie:a"),
    Planted("cookie_value", cookie("a=1", "b=2"), cookie("b=3", "a=1"), Kind.HEADER_VALUE, "cookie:b"),
    Planted(
        "cookie_httponly", cookie("a=1; HttpOnly"), cookie("a=1"), Kind.HEADER_VALUE, "cookie:a;HttpOnly"
    ),
    Planted(
        "cookie_samesite",
        cookie("a=1; SameSite=Lax"),
        cookie("a=1; SameSite=None"),
        Kind.HEADER_VALUE,
        "cookie:a;SameSite",
    ),
    Planted(
        "cookie_expires",
        cookie("a=1; Expires=Fri, 02 Jan 2026 03:04:05 GMT"),
        cookie("a=1; Expires=Sat, 03 Jan 2026 03:04:05 GMT"),
        Kind.HEADER_VALUE,
        "cookie:a;Expires",
    ),
    Planted("cookie_deleted", cookie("a=; Max-Age=0"), cookie("a=1"), Kind.HEADER_VALUE, "cookie:a"),
    # JSON
    Planted("member_gone", as_json({"a": 1, "b": 2}), as_json({"a": 1}), Kind.JSON_MISSING, "$.b"),
    Planted("member_new", as_json({"a": 1}), as_json({"a": 1, "b": 2}), Kind.JSON_ADDED, "$.b"),
    Planted(
        "member_renamed",
        as_json({"user_id": 1}),
        as_json({"userId": 1}),
        Kind.JSON_MISSING,
        "$.user_id",
        (Kind.JSON_ADDED,),
    ),
    Planted("null_gone", as_json({"a": None}), as_json({}), Kind.JSON_MISSING, "$.a"),
    Planted("value", as_json({"a": [{"b": "x"}]}), as_json({"a": [{"b": "y"}]}), Kind.JSON_VALUE, "$.a[0].b"),
    Planted("value_odd_name", as_json({"a b": 1}), as_json({"a b": 2}), Kind.JSON_VALUE, "$['a b']"),
    Planted("bool_int", as_json({"a": True}), as_json({"a": 1}), Kind.JSON_TYPE, "$.a"),
    Planted("string_int", as_json({"a": "x7"}), as_json({"a": 7}), Kind.JSON_TYPE, "$.a"),
    Planted("object_list", as_json({"a": {}}), as_json({"a": []}), Kind.JSON_TYPE, "$.a"),
    Planted("null_value", as_json({"a": None}), as_json({"a": ""}), Kind.JSON_TYPE, "$.a"),
    Planted("int_float", as_json({"a": 1}), as_json({"a": 1.0}), Kind.JSON_NUMBER_FORM, "$.a"),
    Planted("text_number", as_json({"a": "7"}), as_json({"a": 7}), Kind.JSON_NUMBER_FORM, "$.a"),
    Planted("text_forms", as_json({"a": "1.10"}), as_json({"a": "1.1"}), Kind.JSON_NUMBER_FORM, "$.a"),
    Planted("zip_code", as_json({"a": "01234"}), as_json({"a": "1234"}), Kind.JSON_VALUE, "$.a"),
    Planted(
        "other_instant",
        as_json({"a": "2026-01-02T00:00:00Z"}),
        as_json({"a": "2026-01-02T00:00:00+01:00"}),
        Kind.JSON_VALUE,
        "$.a",
    ),
    Planted(
        "zone_lost",
        as_json({"a": "2026-01-02T00:00:00Z"}),
        as_json({"a": "2026-01-02T00:00:00"}),
        Kind.JSON_DATE_FORMAT,
        "$.a",
    ),
    Planted("order", as_json([3, 1, 2]), as_json([1, 2, 3]), Kind.JSON_ORDER, "$"),
    Planted(
        "order_by_id",
        as_json([{"id": 1, "n": 1}, {"id": 2, "n": 2}]),
        as_json([{"id": 2, "n": 2}, {"id": 1, "n": 1}]),
        Kind.JSON_ORDER,
        "$",
    ),
    Planted("element_new", as_json([1, 2, 3]), as_json([1, 9, 2, 3]), Kind.JSON_ADDED, "$[1]"),
    Planted("element_gone", as_json([1, 2, 3]), as_json([1, 3]), Kind.JSON_MISSING, "$[1]"),
    Planted("element_changed", as_json([1, 2, 3]), as_json([1, 5, 3]), Kind.JSON_VALUE, "$[1]"),
    Planted(
        "length", as_json({"a": list(range(20))}), as_json({"a": list(range(100))}), Kind.JSON_LENGTH, "$.a"
    ),
    Planted("emptied", as_json({"a": [1, 2]}), as_json({"a": []}), Kind.JSON_LENGTH, "$.a"),
    Planted("repeated_name", seen('{"a":1,"a":2}'), seen('{"a":2}'), Kind.JSON_ENCODING, "$"),
    Planted("huge_int", seen("[" + "1" * 5000 + "]"), seen("[" + "1" * 4999 + "2]"), Kind.JSON_VALUE, "$[0]"),
    Planted("infinity", seen("[Infinity]"), seen("[1e999]"), Kind.JSON_TYPE, "$[0]"),
    # errors, bodies
    Planted(
        "error_keys", as_json({"error": "x"}, 404), as_json({"detail": "x"}, 404), Kind.ERROR_SHAPE, "body"
    ),
    Planted(
        "error_wrapped",
        as_json({"error": "x"}, 404),
        as_json({"detail": {"error": "x"}}, 404),
        Kind.ERROR_SHAPE,
        "body",
    ),
    Planted(
        "error_value", as_json({"error": "x"}, 404), as_json({"error": "y"}, 404), Kind.JSON_VALUE, "$.error"
    ),
    Planted("body_gone", as_json({"a": 1}), seen(b""), Kind.BODY_TYPE, "body"),
    Planted("json_for_page", as_html("<p>x</p>"), as_json({"p": "x"}), Kind.BODY_TYPE, "body"),
    Planted("not_json_at_all", seen('{"a": 1}'), seen("{'a': 1}"), Kind.BODY_TYPE, "body"),
    Planted("page", as_html("<p>a</p>\n<p>b</p>"), as_html("<p>a</p>\n<p>c</p>"), Kind.TEXT, "body"),
    Planted("csv", seen("a,b\r\n", 200, "text/csv"), seen("a,b\n", 200, "text/csv"), Kind.TEXT, "body"),
    Planted(
        "image",
        seen(b"\x89PNG\1", 200, "image/png"),
        seen(b"\x89PNG\2", 200, "image/png"),
        Kind.BYTES,
        "body",
    ),
    Planted(
        "compressed",
        seen(gzip.compress(b'{"a":1}'), 200, JSON, "content-encoding: gzip"),
        seen(gzip.compress(b'{"a":2}'), 200, JSON, "content-encoding: gzip"),
        Kind.JSON_VALUE,
        "$.a",
    ),
    Planted(
        "compression_lost",
        seen(gzip.compress(b'{"a":1}'), 200, JSON, "content-encoding: gzip"),
        seen(b'{"a":1}'),
        Kind.HEADER_MISSING,
        "header:content-encoding",
    ),
    # effects
    Planted("row_gone", did(rows=(ROW,)), did(rows=()), Kind.EFFECTS_ROWS, "rows:users:insert"),
    Planted("row_new", did(rows=()), did(rows=(ROW,)), Kind.EFFECTS_ROWS, "rows:users:insert"),
    Planted(
        "row_column",
        did(rows=(ROW,)),
        did(rows=(replace(ROW, values=(("name", "bob"), ("age", 30))),)),
        Kind.EFFECTS_ROWS,
        "rows:users:insert.name",
    ),
    Planted(
        "queries",
        did(queries=Queries(2)),
        did(queries=Queries(12)),
        Kind.EFFECTS_QUERIES,
        "effects.queries",
    ),
    Planted(
        "n_plus_one",
        did(queries=Queries(2)),
        did(queries=Queries(4, again=2, text="SELECT a FROM b WHERE id = ?", times=3, place="views.py:7")),
        Kind.EFFECTS_QUERIES,
        "effects.queries",
    ),
    Planted(
        "call_twice",
        did(outbound=(CALL,)),
        did(outbound=(CALL, CALL)),
        Kind.EFFECTS_OUTBOUND,
        "outbound:POST http://pay/charges",
    ),
    Planted(
        "call_new",
        did(outbound=(CALL,)),
        did(outbound=(CALL, MAIL)),
        Kind.EFFECTS_OUTBOUND,
        "outbound:GET http://mail/x",
    ),
    Planted(
        "call_gone",
        did(outbound=(CALL,)),
        did(outbound=()),
        Kind.EFFECTS_OUTBOUND,
        "outbound:POST http://pay/charges",
    ),
    Planted(
        "call_body",
        did(outbound=(CALL,)),
        did(outbound=(replace(CALL, body=b'{"amount": 6}'),)),
        Kind.EFFECTS_OUTBOUND,
        "outbound:POST http://pay/charges",
    ),
]

STRICT_TERMS = Terms(equivalences=frozenset())


def test_there_are_at_least_sixty_planted_differences() -> None:
    assert len(PLANTED) >= 60
    assert len({each.name for each in PLANTED}) == len(PLANTED)


def test_every_kind_is_planted_but_the_advisory_one() -> None:
    assert {each.kind for each in PLANTED} == set(Kind) - {Kind.LATENCY}


@pytest.mark.parametrize("planted", PLANTED, ids=lambda each: each.name)
def test_a_planted_difference_is_found_under_its_own_kind_and_nothing_else_is(planted: Planted) -> None:
    result = compare(planted.control, planted.candidate, STRICT_TERMS, method=planted.method)
    assert result.outcome is Outcome.MISMATCHED
    found = [(each.kind, each.place) for each in result.failing]
    assert (planted.kind, planted.place) in found
    assert sorted(each.kind for each in result.failing) == sorted([planted.kind, *planted.also])
    assert all(each.message.endswith(".") for each in result.failing)


@pytest.mark.parametrize("planted", PLANTED, ids=lambda each: each.name)
def test_a_planted_difference_is_also_found_the_other_way_round(planted: Planted) -> None:
    if planted.kind is not Kind.EFFECTS_QUERIES:  # only growth is a difference
        assert compare(planted.candidate, planted.control, STRICT_TERMS).outcome is Outcome.MISMATCHED


LONG = Body(b"[1,2", 400_000, "a" * 64)
SLOW = replace(as_json({}), end_s=2.0)
BASES = Terms(base_urls=("http://legacy:5000", "http://new:8000/"))
SHUFFLED = ("vary: Cookie, Accept-Encoding", "vary: accept-encoding,cookie")
PATHS = ("Fri, 02 Jan 2026 00:00:00 GMT", "Thu, 01 Jan 1970 00:00:00 GMT")

QUIET = [
    ("same", as_json({"a": 1}), as_json({"a": 1}), None),
    ("key_order", seen('{"a":1,"b":2}'), seen('{"b":2,"a":1}'), None),
    ("escapes", seen('{"a":"\\u00e9"}'), seen('{"a":"é"}'), None),
    ("newline", seen('{"a":1}\n'), seen('{"a":1}'), None),
    ("spaces", seen('{"a": [1, 2]}'), seen('{"a":[1,2]}'), None),
    ("flask_and_fastapi", seen('{"a":1,"b":"\\u00e9"}\n'), seen('{"b":"é","a":1}'), None),
    ("nan_both", seen("[NaN]"), seen("[NaN ]"), None),
    ("header_case", seen("{}", 200, None, "X-Total: 1"), seen("{}", 200, None, "x-total: 1"), None),
    (
        "own_headers",
        as_json({}, 200, "date: a", "server: b", "x-request-id: c", "connection: keep-alive"),
        as_json({}, 200, "date: d", "server: e", "x-request-id: f", "transfer-encoding: chunked"),
        None,
    ),
    ("content_length", as_json({}, 200, "content-length: 2"), as_json({}, 200, "content-length: 3"), None),
    ("named_in_connection", as_json({}, 200, "connection: x-hop", "x-hop: 1"), as_json({}), None),
    ("served_by", as_json({}, 200, "x-served-by: legacy"), as_json({}, 200, "x-served-by: new"), None),
    ("vary_as_set", as_json({}, 200, SHUFFLED[0]), as_json({}, 200, SHUFFLED[1]), None),
    ("allow_as_set", as_json({}, 405, "allow: GET, HEAD"), as_json({}, 405, "allow: HEAD,GET"), None),
    (
        "cache_control_as_set",
        as_json({}, 200, "cache-control: no-cache, max-age=5"),
        as_json({}, 200, "cache-control: max-age=5", "cache-control: No-Cache"),
        None,
    ),
    (
        "content_type_spelling",
        seen("a", 200, "text/html; charset=utf-8"),
        seen("a", 200, 'Text/HTML;charset="UTF-8"'),
        None,
    ),
    ("location_base", redirect(302, "http://legacy:5000/x"), redirect(302, "http://new:8000/x"), BASES),
    ("location_relative", redirect(302, "/x?y=1"), redirect(302, "http://new:8000/x?y=1"), BASES),
    (
        "url_in_json",
        as_json({"next": "http://legacy:5000/i?page=2"}),
        as_json({"next": "http://new:8000/i?page=2"}),
        BASES,
    ),
    ("cookie_order", cookie("a=1", "b=2"), cookie("b=2", "a=1"), None),
    ("cookie_attribute_order", cookie("a=1; Path=/; HttpOnly"), cookie("a=1; httponly; path=/"), None),
    (
        "cookie_expires_a_second_later",
        cookie("a=1; Expires=Fri, 02 Jan 2026 00:00:00 GMT"),
        cookie("a=1; Expires=Fri, 02-Jan-2026 00:00:01 GMT"),
        None,
    ),
    (
        "cookie_deleted_twice",
        cookie(f"a=gone; Expires={PATHS[1]}; Max-Age=0; Path=/"),
        cookie(f'a=""; expires={PATHS[0]}; Max-Age=0; Path=/'),
        None,
    ),
    ("long_and_equal", replace(as_json({}), body=LONG), replace(as_json({}), body=LONG), None),
    (
        "compressed_differently",
        seen(gzip.compress(b'{"a":1}', 1), 200, JSON, "content-encoding: gzip"),
        seen(gzip.compress(b'{"a":1}', 9, mtime=5), 200, JSON, "content-encoding: gzip"),
        None,
    ),
    (
        "deflated_raw_and_wrapped",
        seen(zlib.compress(b'{"a":1}'), 200, JSON, "content-encoding: deflate"),
        seen(zlib.compress(b'{"a":1}', wbits=-15), 200, JSON, "content-encoding: deflate"),
        None,
    ),
    ("slower", replace(as_json({}), end_s=0.1), SLOW, None),
    ("fewer_queries", did(queries=Queries(9)), did(queries=Queries(2)), None),
    (
        "calls_at_once",
        did(outbound=(CALL, MAIL)),
        did(outbound=(MAIL, replace(CALL, body=b'{"amount":5}'))),
        None,
    ),
    ("call_body_unseen", did(outbound=(CALL,)), did(outbound=(replace(CALL, body=None),)), None),
    (
        "loaded_once_more",
        did(queries=Queries(2)),
        did(queries=Queries(3, again=1, text="SELECT a FROM users WHERE id = ?", times=2)),
        None,
    ),
    ("relations_loaded_apart", did(queries=Queries(1)), did(queries=Queries(5)), None),
    ("generated_key", did(rows=(ROW,)), did(rows=(replace(ROW, key=(("id", 9),)),)), None),
    ("effects_on_one_side", did(rows=(ROW,), queries=Queries(3)), did(), None),
]


def test_there_are_at_least_twenty_pairs_that_do_not_fail() -> None:
    assert len(QUIET) >= 20


@pytest.mark.parametrize(
    ("control", "candidate", "terms"), [each[1:] for each in QUIET], ids=[each[0] for each in QUIET]
)
def test_what_a_client_cannot_tell_does_not_fail(
    control: Observation, candidate: Observation, terms: Terms | None
) -> None:
    result = compare(control, candidate, terms or Terms())
    assert result.is_same
    assert not result.failing


def test_a_slower_candidate_is_told_and_does_not_fail() -> None:
    (one,) = compare(replace(as_json({}), end_s=0.1), SLOW).differences
    assert one.kind is Kind.LATENCY
    assert one.is_advisory
    assert not one.is_failing
