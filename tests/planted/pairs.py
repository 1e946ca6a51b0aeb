"""Hold pairs of small Flask and FastAPI endpoints that differ in one thing, and pairs that differ in noise.

The sources are bodies of views: they use the names that :mod:`tests.planted.project` puts around them.
``found`` is everything that may fail for a pair. More than one entry stands only where one cause shows at two
places of one answer (another status, and with it another error's shape).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tests.planted.project import PARTNER

Place = tuple[str, str]


@dataclass(frozen=True)
class Ask:
    """Be one request to a pair; ``rest`` follows its path, ``line`` holds members of a JSONL corpus line."""

    method: str = "GET"
    rest: str = ""
    line: tuple[tuple[str, Any], ...] = ()


GET = (Ask(),)
POST = (Ask("POST"),)


@dataclass(frozen=True)
class Pair:
    """Be two endpoints under ``/p/NAME``, with a path parameter ``item`` behind it where ``has_item``.

    ``waived`` are the equivalences and rules that accept what differs. ``failure`` is a piece of the
    security failure that is to be told, ``raised`` of the exception. ``missed`` says why what is planted is
    not found, ``missed_by_fixture`` why the fixture ``parity`` alone says something else.
    """

    name: str
    legacy: str
    new: str
    found: tuple[Place, ...] = ()
    asks: tuple[Ask, ...] = GET
    parameters: str = ""
    is_strict: bool = False
    rules: str = ""
    has_item: bool = False
    waived: tuple[str, ...] = ()
    failure: str = ""
    raised: str = ""
    missed: str = ""
    missed_by_fixture: str = ""

    @property
    def method(self) -> str:
        """Return the method that the row of the table names."""
        return "POST" if any(ask.method == "POST" for ask in self.asks) else "GET"


def planted(name: str, legacy: str, new: str, kind: str, place: str, **more: Any) -> Pair:
    """Return a pair with one difference that shows at one place."""
    return Pair(name, legacy, new, ((kind, place),), **more)


def documents(name: str, legacy: str, new: str, kind: str, place: str, **more: Any) -> Pair:
    """Return a pair that answers two JSON values, each as its framework writes them."""
    return planted(name, f"return jsonify({legacy})", f"return {new}", kind, place, **more)


def headers(name: str, legacy: str, new: str, kind: str, place: str) -> Pair:
    """Return a pair that answers one document with different headers."""
    return planted(name, f"return headed({legacy})", f"return headed({new})", kind, f"header:{place}")


def cookies(name: str, legacy: str, new: str, kind: str, place: str) -> Pair:
    """Return a pair that sets cookies differently."""
    return planted(name, f"return baked({legacy})", f"return baked({new})", kind, f"cookie:{place}")


def raws(name: str, legacy: str, new: str, kind: str, place: str, **more: Any) -> Pair:
    """Return a pair that answers bytes of its own making."""
    return planted(name, f"return raw({legacy})", f"return raw({new})", kind, place, **more)


def rows(name: str, legacy: str, new: str, place: str, **more: Any) -> Pair:
    """Return a pair that answers the same and writes other rows."""
    end = "\nreturn said()"
    return planted(name, legacy + end, new + end, "effects.rows", place, asks=POST, **more)


def calls(name: str, legacy: str, new: str, path: str, **more: Any) -> Pair:
    """Return a pair that answers the same and calls the partner otherwise."""
    end, place = "\nreturn said()", f"outbound:POST {PARTNER}{path}"
    return planted(name, legacy + end, new + end, "effects.outbound", place, asks=POST, **more)


MAIL = 'tell("/mails", {"to": "ada"})'
INSERT = 'write("INSERT INTO notes (text, priority) VALUES (?, ?)", "tea", 3)'
PAGE = '"text/html; charset=utf-8"'
STRICT: dict[str, Any] = {"is_strict": True}
BAD_PAGE = (Ask(rest="?page=x"),)
AUTHORIZED = (Ask(line=(("headers", {"Authorization": "Bearer ada-lovelace-1815"}),)),)
CSRF = (Ask("POST", line=(("headers", {"X-CSRF-Token": "token-of-ada"}),)),)
COOKIE_IGNORED = "{at: 'cookie:session', rule: ignore, reason: signed with the time, until: 2099-12-31}"

STATUS_PAIRS = (
    planted("status_created", "return jsonify(id=1), 201", 'return {"id": 1}', "status", "status"),
    planted("status_guard", "abort(401)", 'return {"id": 1}', "status", "status"),
    planted("status_empty_list", "return jsonify([])", "raise HTTPException(404)", "status", "status"),
    planted(
        "status_gone",
        'return jsonify(error="gone"), 410',
        'return JSONResponse({"error": "gone"}, 404)',
        "status",
        "status",
    ),
    planted(
        "status_no_content", f'return raw(b"", {PAGE}, 204)', f'return raw(b"", {PAGE})', "status", "status"
    ),
    planted(
        "exception",
        "return jsonify(a=1)",
        'raise RuntimeError("planted")',
        "status",
        "status",
        raised="planted",
    ),
    documents("nan", 'x=float("nan")', '{"x": float("nan")}', "status", "status", raised="ValueError"),
    Pair(
        "redirect_lost",
        'return redirect("/next")',
        'return {"to": "/next"}',
        (("status", "status"), ("header.missing", "header:location")),
    ),
)

HEADER_PAIRS = (
    headers("header_missing", '{"X-Total": "3"}', "{}", "header.missing", "x-total"),
    headers("header_added", "{}", '{"X-Powered-By": "new"}', "header.added", "x-powered-by"),
    headers("header_value", '{"X-Total": "3"}', '{"X-Total": "4"}', "header.value", "x-total"),
    headers("etag_missing", """{"ETag": '"a1"'}""", "{}", "header.missing", "etag"),
    headers("retry_after", '{"Retry-After": "60"}', '{"Retry-After": "6"}', "header.value", "retry-after"),
    headers("link", '{"Link": "</a>; rel=next"}', '{"Link": "</a>; rel=prev"}', "header.value", "link"),
    headers(
        "disposition",
        """{"Content-Disposition": 'attachment; filename="a.csv"'}""",
        """{"Content-Disposition": 'inline; filename="a.csv"'}""",
        "header.value",
        "content-disposition",
    ),
    headers("language", "{}", '{"Content-Language": "de"}', "header.added", "content-language"),
    headers(
        "cache_control",
        '{"Cache-Control": "no-store, private"}',
        '{"Cache-Control": "private"}',
        "header.value",
        "cache-control",
    ),
    headers(
        "cache_control_missing", '{"Cache-Control": "no-store"}', "{}", "header.missing", "cache-control"
    ),
    headers("vary", '{"Vary": "Cookie, Accept"}', '{"Vary": "Accept"}', "header.value", "vary"),
    headers("vary_missing", '{"Vary": "Cookie"}', "{}", "header.missing", "vary"),
    headers("location", '{"Location": "/items/1"}', '{"Location": "/items/1/"}', "header.value", "location"),
    headers("location_missing", '{"Location": "/items/1"}', "{}", "header.missing", "location"),
    headers(
        "cors_methods",
        '{"Access-Control-Allow-Methods": "GET, POST"}',
        '{"Access-Control-Allow-Methods": "GET"}',
        "header.value",
        "access-control-allow-methods",
    ),
    planted(
        "allow",
        'return jsonify(error="no"), 405, {"Allow": "OPTIONS, GET, HEAD"}',
        'return JSONResponse({"error": "no"}, 405, {"Allow": "GET"})',
        "header.value",
        "header:allow",
    ),
    planted(
        "challenge",
        'return jsonify(error="who?"), 401, {"WWW-Authenticate": "Basic"}',
        'return JSONResponse({"error": "who?"}, 401)',
        "header.missing",
        "header:www-authenticate",
    ),
    raws(
        "charset_added",
        'b"{}"',
        'b"{}", "application/json; charset=utf-8"',
        "header.value",
        "header:content-type",
    ),
    raws(
        "profile_lost", 'b"{}", "application/json; profile=a"', 'b"{}"', "header.value", "header:content-type"
    ),
    raws("media_type", 'b"{}"', 'b"{}", "application/problem+json"', "header.value", "header:content-type"),
    planted(
        "header_repeated",
        'return headed([("Link", "<a>"), ("Link", "<b>")])',
        'return JSONResponse({"a": 1}, headers={"Link": "<a>"})',
        "header.value",
        "header:link",
    ),
)

COOKIE_PAIRS = (
    cookies("cookie_missing", '("c", "1")', "", "header.missing", "c"),
    cookies("cookie_added", "", '("c", "1")', "header.added", "c"),
    cookies("cookie_one_of_two", '("c", "1"), ("d", "2")', '("d", "2")', "header.missing", "c"),
    cookies("cookie_value", '("c", "1")', '("c", "2")', "header.value", "c"),
    cookies("cookie_path", '("c", "1", {"path": "/p"})', '("c", "1")', "header.value", "c;Path"),
    cookies("cookie_domain", '("c", "1", {"domain": "a.example"})', '("c", "1")', "header.value", "c;Domain"),
    cookies("cookie_secure", '("c", "1", {"secure": True})', '("c", "1")', "header.value", "c;Secure"),
    cookies("cookie_httponly", '("c", "1", {"httponly": True})', '("c", "1")', "header.value", "c;HttpOnly"),
    cookies(
        "cookie_samesite",
        '("c", "1", {"samesite": "Lax"})',
        '("c", "1", {"samesite": "strict"})',
        "header.value",
        "c;SameSite",
    ),
    cookies(
        "cookie_samesite_default",
        '("c", "1")',
        '("c", "1", {"samesite": "lax"})',
        "header.value",
        "c;SameSite",
    ),
    cookies(
        "cookie_max_age",
        '("c", "1", {"max_age": 60, "expires": in_days(1)})',
        '("c", "1", {"max_age": 61, "expires": in_days(1)})',
        "header.value",
        "c;Max-Age",
    ),
    # Werkzeug writes Expires wherever it writes Max-Age; Starlette does not.
    cookies(
        "cookie_expires_lost",
        '("c", "1", {"max_age": 60})',
        '("c", "1", {"max_age": 60})',
        "header.value",
        "c;Expires",
    ),
    cookies(
        "cookie_expires",
        '("c", "1", {"expires": in_days(1)})',
        '("c", "1", {"expires": in_days(2)})',
        "header.value",
        "c;Expires",
    ),
    cookies("cookie_kept", '("c", "", {"max_age": 0})', '("c", "")', "header.value", "c"),
)

REDIRECT_PAIRS = (
    raws(
        "redirect_code",
        f'b"", {PAGE}, 302, {{"Location": "/next"}}',
        f'b"", {PAGE}, 307, {{"Location": "/next"}}',
        "redirect",
        "status",
    ),
    raws(
        "redirect_308_307",
        f'b"", {PAGE}, 308, {{"Location": "/p/x/"}}',
        f'b"", {PAGE}, 307, {{"Location": "/p/x/"}}',
        "redirect",
        "status",
    ),
    planted(
        "redirect_page",
        'return redirect("/next")',
        'return RedirectResponse("/next", 302)',
        "redirect",
        "body",
    ),
    raws(
        "redirect_target",
        f'b"", {PAGE}, 302, {{"Location": "/next"}}',
        f'b"", {PAGE}, 302, {{"Location": "/other"}}',
        "header.value",
        "header:location",
    ),
    Pair(
        "redirect_as_written",
        'return redirect("/next")',
        'return RedirectResponse("/next")',
        (("redirect", "status"), ("redirect", "body")),
    ),
)

JSON_PAIRS = (
    documents(
        "json_missing",
        'user={"address": {"city": "Ulm", "zip": "89073"}}',
        '{"user": {"address": {"zip": "89073"}}}',
        "json.missing",
        "$.user.address.city",
    ),
    documents(
        "json_added",
        'user={"name": "Ada"}',
        '{"user": {"name": "Ada", "password_hash": "x"}}',
        "json.added",
        "$.user.password_hash",
    ),
    documents(
        "json_value",
        'orders=[{"lines": [{"n": 1}, {"n": 2}]}]',
        '{"orders": [{"lines": [{"n": 1}, {"n": 3}]}]}',
        "json.value",
        "$.orders[0].lines[1].n",
    ),
    documents("json_bool", "a={'on': True}", '{"a": {"on": False}}', "json.value", "$.a.on"),
    documents("json_case", 'state="open"', '{"state": "OPEN"}', "json.value", "$.state"),
    documents("json_zip_code", 'zip="01234"', '{"zip": "1234"}', "json.value", "$.zip"),
    documents("json_odd_name", '{"a b": 1}', '{"a b": 2}', "json.value", "$['a b']"),
    documents("json_bool_int", 'a={"on": True}', '{"a": {"on": 1}}', "json.type", "$.a.on"),
    documents("json_text_int", 'a="x7"', '{"a": 7}', "json.type", "$.a"),
    documents("json_null_text", "a=None", '{"a": ""}', "json.type", "$.a"),
    documents("json_null_list", 'a={"tags": []}', '{"a": {"tags": None}}', "json.type", "$.a.tags"),
    documents("json_object_list", "a={}", '{"a": []}', "json.type", "$.a"),
    documents("json_root", "[1]", '{"items": [1]}', "json.type", "$"),
    documents("json_null_missing", "a=1, b=None", '{"a": 1}', "json.missing", "$.b"),
    documents("json_null_added", "a=1", '{"a": 1, "b": None}', "json.added", "$.b"),
    documents("json_order", "a=[3, 1, 2]", '{"a": [1, 2, 3]}', "json.order", "$.a"),
    documents(
        "json_order_by_id",
        '[{"id": 1, "n": 1}, {"id": 2, "n": 2}]',
        '[{"id": 2, "n": 2}, {"id": 1, "n": 1}]',
        "json.order",
        "$",
    ),
    documents("json_element_added", "[1, 2, 3]", "[1, 9, 2, 3]", "json.added", "$[1]"),
    documents("json_element_missing", "[1, 2, 3]", "[1, 3]", "json.missing", "$[1]"),
    documents(
        "json_filter_lost",
        '[{"id": 1}, {"id": 3}]',
        '[{"id": 1}, {"id": 2}, {"id": 3}]',
        "json.added",
        "$[1]",
    ),
    documents("json_length", "a=list(range(20))", '{"a": list(range(100))}', "json.length", "$.a"),
    documents("json_emptied", "a=[1, 2]", '{"a": []}', "json.length", "$.a"),
    Pair(
        "json_renamed",
        "return jsonify(user_id=1)",
        'return {"userId": 1}',
        (("json.missing", "$.user_id"), ("json.added", "$.userId")),
    ),
    documents("datetime", "at=MOMENT", '{"at": MOMENT}', "json.date_format", "$.at"),
    documents("date", "on=MOMENT.date()", '{"on": MOMENT.date()}', "json.date_format", "$.on"),
    documents(
        "zone_lost", 'at="2026-01-02T00:00:00Z"', '{"at": "2026-01-02T00:00:00"}', "json.date_format", "$.at"
    ),
    documents(
        "other_instant",
        'at="2026-01-02T00:00:00Z"',
        '{"at": "2026-01-02T00:00:00+01:00"}',
        "json.value",
        "$.at",
    ),
    documents(
        "decimal", 'price=Decimal("1.10")', '{"price": Decimal("1.10")}', "json.number_form", "$.price"
    ),
    documents("int_float", "a={'n': 1}", '{"a": {"n": 1.0}}', "json.number_form", "$.a.n"),
    documents("text_number", 'a="7"', '{"a": 7}', "json.number_form", "$.a"),
    documents("text_forms", 'a="1.10"', '{"a": "1.1"}', "json.number_form", "$.a"),
    documents("rounded", "a=0.30000000000000004", '{"a": 0.3}', "json.value", "$.a"),
)

ENCODING_PAIRS = (
    raws("strict_key_order", """b'{"a":1,"b":2}'""", """b'{"b":2,"a":1}'""", "json.encoding", "$", **STRICT),
    raws(
        "strict_escapes",
        """b'{"a":"\\\\u00e9"}'""",
        """'{"a":"\\u00e9"}'.encode()""",
        "json.encoding",
        "$",
        **STRICT,
    ),
    raws("strict_newline", """b'{"a":1}\\n'""", """b'{"a":1}'""", "json.encoding", "$", **STRICT),
    raws("strict_spaces", """b'{"a": 1}'""", """b'{"a":1}'""", "json.encoding", "$", **STRICT),
    documents("strict_as_written", "a=1", '{"a": 1}', "json.encoding", "$", **STRICT),
    raws("repeated_name", """b'{"a":1,"a":2}'""", """b'{"a":2}'""", "json.encoding", "$"),
)

ERROR_PAIRS = (
    planted("error_page", "abort(404)", "raise HTTPException(404)", "error.shape", "body"),
    planted(
        "error_keys", 'return jsonify(error="x"), 404', 'raise HTTPException(404, "x")', "error.shape", "body"
    ),
    planted(
        "error_wrapped",
        'return jsonify(error="x"), 404',
        'raise HTTPException(404, {"error": "x"})',
        "error.shape",
        "body",
    ),
    planted(
        "error_500",
        'raise KeyError("name")',
        'raise KeyError("name")',
        "error.shape",
        "body",
    ),
    planted(
        "error_value",
        'return jsonify(error="no such user"), 404',
        'return JSONResponse({"error": "not found"}, 404)',
        "json.value",
        "$.error",
    ),
    planted(
        "error_code_lost",
        'return jsonify(error="x", code=7), 400',
        'return JSONResponse({"error": "x"}, 400)',
        "json.missing",
        "$.code",
    ),
    Pair(
        "bad_path_422",
        "return jsonify(item=int(item)) if item.isdigit() else abort(404)",
        'return {"item": item}',
        (("status", "status"), ("error.shape", "body")),
        asks=(Ask(rest="/7"), Ask(rest="/abc")),
        parameters="item: int",
        has_item=True,
    ),
    planted(
        "path_not_decoded",
        "return jsonify(item=item)",
        'return {"item": request.scope["raw_path"].decode().rpartition("/")[2]}',
        "json.value",
        "$.item",
        asks=(Ask(rest="/a%20b"),),
        parameters="item: str",
        has_item=True,
    ),
    planted(
        "repeated_query",
        'return jsonify(tag=request.args.get("tag"))',
        'return {"tag": request.query_params.get("tag")}',
        "json.value",
        "$.tag",
        asks=(Ask(rest="?tag=a&tag=b"),),
    ),
    planted(
        "empty_query",
        'return jsonify(q=request.args.get("q"))',
        'return {"q": request.query_params.get("q") or None}',
        "json.type",
        "$.q",
        asks=(Ask(rest="?q="),),
    ),
    Pair(
        "bad_query_422",
        'return jsonify(error="page"), 400',
        "return {}",
        (("status", "status"), ("error.shape", "body")),
        asks=BAD_PAGE,
        parameters="page: int",
    ),
    planted(
        "bad_query_accepted",
        'return jsonify(page=request.args.get("page", 1, type=int))',
        'return {"page": page}',
        "status",
        "status",
        asks=BAD_PAGE,
        parameters="page: int = 1",
    ),
    Pair(
        "no_content_type",
        "return jsonify(request.get_json())",
        "return body",
        (("status", "status"), ("error.shape", "body")),
        asks=(Ask("POST", line=(("body", '{"a": 1}'), ("headers", {"Content-Type": "text/plain"}))),),
        parameters="body: dict[str, int]",
    ),
)

BODY_PAIRS = (
    raws("body_gone", """b'{"a":1}'""", 'b""', "body.type", "body"),
    planted("returned_text", 'return "hello"', 'return "hello"', "body.type", "body"),
    planted("json_for_page", 'return "<h1>x</h1>"', 'return {"h1": "x"}', "body.type", "body"),
    planted("page_for_json", "return jsonify(a=1)", 'return HTMLResponse("<p>a</p>")', "body.type", "body"),
    raws("no_json_at_all", """b'{"a":1}'""", """b"{'a':1}" """, "body.type", "body"),
    planted("page_text", 'return "<p>a</p>"', 'return HTMLResponse("<p>b</p>")', "text", "body"),
    raws("csv_line_ends", 'b"a,b\\r\\n", "text/csv"', 'b"a,b\\n", "text/csv"', "text", "body"),
    raws("image", 'b"\\x89PNG\\x01", "image/png"', 'b"\\x89PNG\\x02", "image/png"', "bytes", "body"),
    raws(
        "compressed",
        """gzip.compress(b'{"a":1}'), headers={"Content-Encoding": "gzip"}""",
        """gzip.compress(b'{"a":2}'), headers={"Content-Encoding": "gzip"}""",
        "json.value",
        "$.a",
    ),
    raws(
        "compression_lost",
        """gzip.compress(b'{"a":1}'), headers={"Content-Encoding": "gzip"}""",
        """b'{"a":1}'""",
        "header.missing",
        "header:content-encoding",
    ),
    planted(
        "stream_piece_lost",
        'return streamed("text/csv", b"a\\n", b"b\\n", b"c\\n")',
        'return streamed("text/csv", b"a\\n", b"c\\n")',
        "text",
        "body",
    ),
    planted(
        "stream_bytes",
        'return streamed("application/octet-stream", b"\\xff\\x00", b"\\x01")',
        'return streamed("application/octet-stream", b"\\xff\\x00", b"\\x02")',
        "bytes",
        "body",
    ),
    planted(
        "stream_json",
        """return streamed("application/json", b'{"a":', b"1}")""",
        """return streamed("application/json", b'{"a":', b"2}")""",
        "json.value",
        "$.a",
    ),
    planted(
        "stream_torn",
        'return streamed("text/csv", b"a\\n", b"b\\n")',
        'return torn("text/csv", b"a\\n", b"b\\n")',
        "exception",
        "exception",
        raised="torn here",
    ),
)

EFFECT_PAIRS = (
    rows("row_twice", INSERT, f"{INSERT}\n{INSERT}", "rows:notes:insert"),
    rows("row_missing", INSERT, "pass", "rows:notes:insert"),
    rows("row_added", "pass", INSERT, "rows:notes:insert"),
    rows("row_value", INSERT, INSERT.replace("3)", "4)"), "rows:notes:insert.priority"),
    rows("row_null", INSERT, INSERT.replace("3)", "None)"), "rows:notes:insert.priority"),
    rows(
        "row_update",
        'write("UPDATE notes SET priority = 9 WHERE id = 1")',
        'write("UPDATE notes SET priority = 8 WHERE id = 1")',
        "rows:notes:update.priority",
    ),
    rows(
        "row_not_updated", 'write("UPDATE notes SET priority = 9 WHERE id = 1")', "pass", "rows:notes:update"
    ),
    rows("row_not_deleted", 'write("DELETE FROM notes WHERE id = 1")', "pass", "rows:notes:delete"),
    rows(
        "row_in_other_table",
        INSERT,
        f'{INSERT}\nwrite("INSERT INTO log (text) VALUES (?)", "x")',
        "rows:log:insert",
    ),
    planted(
        "n_plus_one",
        'return jsonify(texts=[text for (text,) in read("SELECT text FROM notes ORDER BY id")])',
        'found = [number for (number,) in read("SELECT id FROM notes ORDER BY id")]\n'
        'return {"texts": [read("SELECT text FROM notes WHERE id = ?", each)[0][0] for each in found]}',
        "effects.queries",
        "effects.queries",
    ),
    planted(
        "many_statements",
        'return jsonify(n=read("SELECT count(*) FROM notes")[0][0])',
        'for column in ("id", "text", "priority", "id, text", "text, id", "id, priority", "priority, id"):\n'
        '    read(f"SELECT {column} FROM notes")\n'
        'return {"n": read("SELECT count(*) FROM notes")[0][0]}',
        "effects.queries",
        "effects.queries",
    ),
    calls("call_lost", MAIL, "pass", "/mails"),
    calls("call_added", "pass", MAIL, "/mails"),
    calls("call_doubled", MAIL, f"{MAIL}\n{MAIL}", "/mails"),
    calls("call_changed", MAIL, MAIL.replace("ada", "eve"), "/mails"),
    calls("call_not_awaited", MAIL, 'atell("/mails", {"to": "ada"}).close()', "/mails"),
)

STATE_PAIRS = (
    planted(
        "session_key_lost",
        'if request.args.get("step") == "login":\n'
        '    session["user"], session["cart"] = "ada", 7\n'
        "    return jsonify(ok=True)\n"
        'return jsonify(user=session["user"], cart=session.get("cart"))',
        'if request.query_params.get("step") == "login":\n'
        '    session["user"] = "ada"\n'
        '    return {"ok": True}\n'
        'return {"user": session["user"], "cart": session.get("cart")}',
        "json.type",
        "$.cart",
        asks=(Ask(rest="?step=login"), Ask()),
        parameters="session: Session",
        rules=COOKIE_IGNORED,
    ),
    Pair(
        "auth_hole",
        'return jsonify(ok=True) if request.headers.get("Authorization") else (jsonify(error="who?"), 401)',
        'return {"ok": True}',
        asks=AUTHORIZED,
        failure="as nobody, control keeps out (401) and the candidate lets in (200)",
    ),
    Pair(
        "forgery_hole",
        'is_ada = request.headers.get("Authorization") == "Bearer ada-lovelace-1815"\n'
        'return jsonify(ok=True) if is_ada else (jsonify(error="who?"), 401)',
        'is_given = request.headers.get("Authorization")\n'
        'return {"ok": True} if is_given else JSONResponse({"error": "who?"}, 401)',
        asks=AUTHORIZED,
        failure="with forged credentials, control keeps out (401) and the candidate lets in (200)",
    ),
    Pair(
        "csrf_hole",
        'is_own = request.headers.get("X-CSRF-Token") == "token-of-ada"\n'
        'return jsonify(ok=True) if is_own else (jsonify(error="csrf"), 400)',
        'return {"ok": True}',
        asks=CSRF,
        failure="with a wrong CSRF token, control keeps out (400) and the candidate lets in (200)",
    ),
)

PLANTED = (
    *STATUS_PAIRS,
    *HEADER_PAIRS,
    *COOKIE_PAIRS,
    *REDIRECT_PAIRS,
    *JSON_PAIRS,
    *ENCODING_PAIRS,
    *ERROR_PAIRS,
    *BODY_PAIRS,
    *EFFECT_PAIRS,
    *STATE_PAIRS,
)


def _headed(name: str, legacy: str, new: str) -> Pair:
    return Pair(name, f"return headed({legacy})", f"return headed({new})")


def _baked(name: str, legacy: str, new: str) -> Pair:
    return Pair(name, f"return baked({legacy})", f"return baked({new})")


QUIET = (
    Pair(
        "quiet_as_written",
        "return jsonify(b=1, a={'d': [1], 'c': 'é'})",
        "return {'b': 1, 'a': {'d': [1], 'c': 'é'}}",
        waived=("json_escapes", "key_order", "trailing_newline"),
    ),
    Pair(
        "quiet_key_order",
        """return raw(b'{"a":1,"b":2}')""",
        """return raw(b'{"b":2,"a":1}')""",
        waived=("key_order",),
    ),
    Pair(
        "quiet_escapes",
        """return raw(b'{"a":"\\\\u00e9"}')""",
        """return raw('{"a":"\\u00e9"}'.encode())""",
        waived=("json_escapes",),
    ),
    Pair(
        "quiet_newline",
        """return raw(b'{"a":1}\\n')""",
        """return raw(b'{"a":1}')""",
        waived=("trailing_newline",),
    ),
    Pair(
        "quiet_spaces",
        """return raw(b'{"a": [1, 2]}')""",
        """return raw(b'{"a":[1,2]}')""",
        waived=("json_escapes",),
    ),
    Pair(
        "quiet_uuid",
        'return jsonify(id=UUID("0" * 31 + "1"))',
        'return {"id": UUID("0" * 31 + "1")}',
        waived=("trailing_newline",),
    ),
    _headed("quiet_header_case", '{"X-TOTAL": "3"}', '{"x-total": "3"}'),
    _headed(
        "quiet_date", '{"Date": "Fri, 02 Jan 2026 00:00:00 GMT"}', '{"Date": "Sat, 03 Jan 2026 00:00:00 GMT"}'
    ),
    _headed("quiet_server", '{"Server": "gunicorn"}', '{"Server": "uvicorn"}'),
    _headed("quiet_request_id", '{"X-Request-ID": str(uuid4())}', '{"X-Request-ID": str(uuid4())}'),
    _headed("quiet_vary", '{"Vary": "Cookie, Accept"}', '{"Vary": "accept,cookie"}'),
    _headed(
        "quiet_cache_control",
        '{"Cache-Control": "no-cache, max-age=5"}',
        '{"Cache-Control": "max-age=5,No-Cache"}',
    ),
    _headed("quiet_allow", '{"Allow": "GET, HEAD"}', '{"Allow": "HEAD,GET"}'),
    _baked("quiet_cookie_order", '("c", "1"), ("d", "2")', '("d", "2"), ("c", "1")'),
    _baked("quiet_cookie_samesite", '("c", "1", {"samesite": "Lax"})', '("c", "1", {"samesite": "lax"})'),
    _baked(
        "quiet_cookie_expires",
        '("c", "1", {"expires": in_days(1)})',
        '("c", "1", {"expires": in_days(1, 2)})',
    ),
    _baked(
        "quiet_cookie_deleted",
        '("c", "", {"max_age": 0, "expires": in_days(-9000)})',
        '("c", "", {"max_age": 0})',
    ),
    Pair(
        "quiet_content_type",
        'return raw(b"a", "text/html; charset=utf-8")',
        """return raw(b"a", 'Text/HTML;charset="UTF-8"')""",
    ),
    Pair(
        "quiet_chunks",
        'return streamed("text/csv", b"a\\nb\\n", b"c\\n")',
        'return streamed("text/csv", b"a\\n", b"b\\nc\\n")',
    ),
    Pair(
        "quiet_streamed",
        'return raw(b"a\\nb\\n", "text/csv")',
        'return streamed("text/csv", b"a\\n", b"b\\n")',
    ),
    Pair(
        "quiet_compression",
        """return raw(gzip.compress(b'{"a":1}', 1), headers={"Content-Encoding": "gzip"})""",
        """return raw(gzip.compress(b'{"a":1}', 9, mtime=5), headers={"Content-Encoding": "gzip"})""",
    ),
    Pair(
        "quiet_head",
        "return jsonify(a=1)",
        'return {"a": 1}',
        asks=(Ask("HEAD"), Ask()),
        waived=("trailing_newline",),
    ),
    Pair(
        "quiet_500",
        'return jsonify(n=[1][request.args.get("at", 7, type=int)])',
        'return {"n": [1][at]}',
        asks=(Ask(), Ask(rest="?at=0")),
        parameters="at: int = 7",
        waived=("trailing_newline",),
    ),
    Pair("quiet_rows", f"{INSERT}\nreturn said()", f"{INSERT}\nreturn said()", asks=POST),
    Pair(
        "quiet_generated_key",
        f"{INSERT}\nreturn said()",
        'write("INSERT INTO notes (id, text, priority) VALUES (77, ?, ?)", "tea", 3)\nreturn said()',
        asks=POST,
    ),
    Pair(
        "quiet_now",
        'write("INSERT INTO log (text) VALUES (?)", now())\nreturn said()',
        'write("INSERT INTO log (text) VALUES (?)", now())\nreturn said()',
        asks=POST,
    ),
    Pair(
        "quiet_password",
        'write("INSERT INTO log (text) VALUES (?)", hashed("pw"))\nreturn said()',
        'write("INSERT INTO log (text) VALUES (?)", hashed("pw"))\nreturn said()',
        asks=POST,
    ),
    Pair(
        "quiet_one_statement_more",
        'return jsonify(n=read("SELECT count(*) FROM notes")[0][0])',
        'read("SELECT count(*) FROM notes")\nreturn {"n": read("SELECT count(*) FROM notes")[0][0]}',
        waived=("trailing_newline",),
    ),
    Pair(
        "quiet_relations_apart",
        'return jsonify(n=read("SELECT n.id, l.id FROM notes n LEFT JOIN log l ON l.id = n.id")[0][0])',
        'read("SELECT id FROM log WHERE id IN (?, ?)", 1, 2)\n'
        'return {"n": read("SELECT id FROM notes")[0][0]}',
        waived=("trailing_newline",),
    ),
    Pair(
        "quiet_calls_at_once",
        'tell("/mails", {"to": "ada", "at": now()})\ntell("/events", {"b": 1, "a": "é"})\nreturn said()',
        "async def both():\n"
        '    mail = {"to": "ada", "at": now()}\n'
        '    await asyncio.gather(atell("/events", {"a": "é", "b": 1}), atell("/mails", mail))\n'
        "asyncio.run(both())\nreturn said()",
        asks=POST,
    ),
    Pair(
        "quiet_call_in_background",
        f"{MAIL}\nreturn said()",
        'tasks.add_task(atell, "/mails", {"to": "ada"})\nreturn said()',
        asks=POST,
        parameters="tasks: BackgroundTasks",
    ),
    Pair(
        "quiet_call_in_thread",
        f"threading.Thread(target=lambda: {MAIL}).start()\nreturn said()",
        f"{MAIL}\nreturn said()",
        asks=POST,
    ),
    Pair(
        "quiet_guard",
        'return jsonify(ok=True) if request.headers.get("Authorization") else (jsonify(error="who?"), 401)',
        'is_given = request.headers.get("Authorization")\n'
        'return {"ok": True} if is_given else JSONResponse({"error": "who?"}, 401)',
        asks=AUTHORIZED,
        waived=("trailing_newline",),
    ),
)
