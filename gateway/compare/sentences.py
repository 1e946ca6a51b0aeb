"""Say what a client would notice of a difference and, where it is known, how to mend it.

One sentence or two, without the values: those stand beside it. The mending is for the author of the new app.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.compare.difference import Kind
from gateway.compare.json_text import ABSENT, Constant, type_name

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.compare.found import Found

_PROFILE = "declare them on the new route, or answer as Flask does in its handler for 405"


def sentence(found: Found, method: str = "") -> str:
    """Return the words for ``found``; ``method`` is the request's, where it is known."""
    by_cause = _BY_CAUSE.get((found.kind, found.cause))
    if by_cause is not None:
        return by_cause.format(detail=found.detail)
    return _BY_KIND[found.kind](found, method)


_BY_CAUSE: dict[tuple[Kind, str], str] = {
    (Kind.HEADER_MISSING, "cookie"): (
        "The cookie is not set any more: what it carries is lost for the next request."
    ),
    (Kind.HEADER_ADDED, "cookie"): "A cookie is set that clients did not get before.",
    (Kind.HEADER_VALUE, "cookie"): "The cookie has another value: the next request will carry it back.",
    (Kind.HEADER_VALUE, "deleted"): (
        "Control deletes the cookie, the candidate sets it: the client stays logged in, or the like."
    ),
    (Kind.HEADER_VALUE, "kept"): "The candidate deletes a cookie that control sets.",
    (Kind.HEADER_VALUE, "attribute"): (
        "The cookie's attribute differs: browsers will keep it for another time, send it "
        "elsewhere, or guard it less."
    ),
    (Kind.HEADER_VALUE, "case"): (
        "Header names are in other letters; only a client that compares them letter by letter can tell."
    ),
    (
        Kind.HEADER_VALUE,
        "allow",
    ): (
        "Other methods are announced ({detail}): clients that ask with OPTIONS or read a 405 see it. "
        f"Starlette names the methods of one route only; {_PROFILE}."
    ),
    (Kind.HEADER_VALUE, "vary"): (
        "Caches will tell answers apart by other headers ({detail}); a session read in Flask adds Cookie."
    ),
    (Kind.HEADER_VALUE, "cache-control"): "Caches will keep the answer otherwise ({detail}).",
    (Kind.HEADER_VALUE, "set"): "The header's members differ ({detail}).",
    (Kind.HEADER_VALUE, "media"): (
        "The same body is called another media type: clients that choose a parser by it will notice."
    ),
    (Kind.HEADER_VALUE, "parameters"): (
        "The media type is the same and its parameters differ, such as the charset: set "
        "media_type on the response class."
    ),
    (Kind.HEADER_VALUE, "location"): "Clients are led elsewhere.",
    (Kind.BODY_TYPE, "returned_text"): (
        "A text that Flask sends as a page is sent as a JSON string, quotes included: return "
        "PlainTextResponse or HTMLResponse, or set response_class."
    ),
    (Kind.BODY_TYPE, "misdeclared"): "A body calls itself JSON and is none: a client that parses it fails.",
    (Kind.JSON_MISSING, "renamed"): (
        "A client that reads this member finds nothing; the candidate calls it {detail!r}: give "
        "the field an alias (by_alias)."
    ),
    (Kind.JSON_MISSING, "element"): "The list lacks this element.",
    (Kind.JSON_ADDED, "element"): "The list has an element that it did not have.",
    (Kind.JSON_DATE_FORMAT, "zone"): (
        "The same instant, once with a zone and once without: a client without it takes its own "
        "local time. Write a zone, or serialize as Flask does (gateway.compat)."
    ),
    (Kind.JSON_DATE_FORMAT, "iso"): (
        "The same instant in another format: clients that parse one fail on the other. Flask "
        "writes RFC 822, FastAPI ISO 8601: use a serializer for the field, or the equivalence "
        "date_format."
    ),
    (Kind.JSON_DATE_FORMAT, "rfc822"): (
        "The same instant in another format: clients that parse one fail on the other."
    ),
    (Kind.JSON_VALUE, "map_conflict"): (
        "Under the rule map this value already stands for another one: two things have become "
        "one, or one two."
    ),
    (Kind.HEADER_VALUE, "map_conflict"): (
        "Under the rule map this value already stands for another one: two things have become "
        "one, or one two."
    ),
    (Kind.JSON_ENCODING, "key_order"): (
        "The members stand in another order; JSON gives order no meaning, but a client that "
        "hashes the bytes notices. Flask sorts keys."
    ),
    (Kind.JSON_ENCODING, "json_escapes"): (
        "The same values are spelled with other escapes or spaces; a JSON parser reads the same."
    ),
    (Kind.JSON_ENCODING, "trailing_newline"): (
        "White space around the document differs; Flask ends JSON with a newline."
    ),
    (Kind.JSON_ENCODING, "repeated_names"): (
        "An object has the same name twice on one side: parsers disagree on which value counts (RFC 8259, 4)."
    ),
    (Kind.ERROR_SHAPE, "wrapped"): (
        "The error is the same, wrapped into detail: HTTPException(detail={{…}}) nests; return "
        "JSONResponse with the object, or add an exception handler."
    ),
    (Kind.ERROR_SHAPE, "validation"): (
        "FastAPI's validation errors replace the legacy error ({detail}): clients that show the "
        "message find none, and the input is echoed. Handle RequestValidationError."
    ),
    (Kind.ERROR_SHAPE, "keys"): (
        "The error is told under other names; clients that read {detail} find nothing: add an "
        "exception handler that keeps the shape."
    ),
    (Kind.ERROR_SHAPE, "detail"): (
        "The error page became a JSON object with detail; clients that show or parse the old one "
        "notice: add an exception handler."
    ),
    (Kind.REDIRECT, "body"): (
        "The page under the redirect differs; clients that follow redirects never read it."
    ),
    (Kind.BYTES, "digest"): (
        "The bodies differ. They are beyond the cap on captured bytes and were compared by their digests: to "
        "see where they differ, raise it (compare.body_cap, --body-cap) above {detail} bytes."
    ),
    (Kind.EXCEPTION, "candidate"): "The candidate raised an exception ({detail}).",
    (Kind.EXCEPTION, "control"): (
        "Control raised an exception and the candidate did not: the failure is gone, which may be "
        "a repair or a lost check."
    ),
    (Kind.EFFECTS_ROWS, "missing"): "The answer may be the same, but a row is not written.",
    (Kind.EFFECTS_ROWS, "added"): "A row is written that control does not write.",
    (Kind.EFFECTS_ROWS, "column"): "The same row is written with another {detail}.",
    (Kind.EFFECTS_QUERIES, "again"): (
        "One statement is sent again and again with other values, {detail} - it looks like a query for each "
        "row (N+1): the answer takes longer with every row. Load the relation with the rows (selectinload, "
        "joinedload), or ask for all at once (IN)."
    ),
    (Kind.EFFECTS_OUTBOUND, "missing"): (
        "A call to somebody else is not made any more: what it does (a payment, a mail, a message) does not "
        "happen. Make it, or await it where it is made."
    ),
    (Kind.EFFECTS_OUTBOUND, "added"): (
        "A call to somebody else is made that control does not make: it does something there, and the answer "
        "waits for it."
    ),
    (Kind.EFFECTS_OUTBOUND, "more"): (
        "The call to somebody else is made more often ({detail}): what it does is done twice. Look for a "
        "retry, a dependency that runs twice, or a call for each row."
    ),
    (Kind.EFFECTS_OUTBOUND, "fewer"): (
        "The call to somebody else is made less often ({detail}): a part of what it does does not happen."
    ),
    (Kind.EFFECTS_OUTBOUND, "body"): "The same call to somebody else carries another body.",
    (Kind.STATUS, "nan"): (
        "Flask writes NaN, which is no JSON; FastAPI raises on it: send null, or map it before returning."
    ),
}


def _status(found: Found, method: str) -> str:
    left, right = int(str(found.control)), int(str(found.candidate))
    for applies, words in _STATUSES:
        if applies(left, right, method):
            return words
    if left // 100 == right // 100:
        return "The status differs within its class: clients that check for the exact number notice."
    return "The status is of another class: clients take the other branch."


_STATUSES: tuple[tuple[Callable[[int, int, str], bool], str], ...] = (
    (
        lambda left, right, _: left in (401, 403) and right < 400,
        "The candidate lets in what control kept out: a guard is missing. Declare it as a dependency.",
    ),
    (
        lambda _, right, method: method in ("HEAD", "OPTIONS") and right == 405,
        f"Flask answers HEAD and OPTIONS wherever it answers GET, FastAPI does not: {_PROFILE}.",
    ),
    (
        lambda left, right, _: left == 404 and right == 422,
        "A path that Flask's converter rejects is unknown (404); FastAPI validates it instead (422).",
    ),
    (
        lambda left, right, _: left == 415 and right == 422,
        "Flask refuses a body without a JSON content type (415); FastAPI reports it as invalid (422).",
    ),
    (
        lambda left, right, _: right == 422,
        "FastAPI validated the input before the view could: clients get 422 and an echo of what they sent. "
        "Handle RequestValidationError, or loosen the parameter.",
    ),
    (
        lambda left, right, _: left != 404 and right == 404,
        "The candidate knows no such resource: look at the path (double slashes, a last one) and the lookup.",
    ),
    (
        lambda left, right, _: left == 404 and right < 400,
        "The candidate answers what was unknown: its route takes more (a newline, an empty part).",
    ),
    (lambda left, right, _: right >= 500 > left, "The candidate fails where control answers."),
    (lambda left, right, _: left >= 500 > right, "The candidate answers where control fails."),
    (lambda left, right, _: not left or not right, "One side did not answer at all."),
)


def _redirect(found: Found, method: str) -> str:
    left, right = int(str(found.control)), int(str(found.candidate))
    if {left, right} == {307, 308}:
        return "Both lead there with the same method; 308 may be remembered for ever, 307 is asked again."
    if left in (301, 302, 303) and right in (307, 308):
        return (
            "Clients repeat the method and the body at the new place, where they sent a GET before: "
            f"pass status_code={left} to RedirectResponse."
        )
    if left in (307, 308) and right in (301, 302, 303):
        return "Clients send a GET to the new place, where they repeated the method and the body before."
    return "The redirect is of another kind: whether it is remembered differs."


def _json_type(found: Found, method: str) -> str:
    left, right = type_name(found.control), type_name(found.candidate)
    if isinstance(found.control, Constant) or isinstance(found.candidate, Constant):
        return f"{left} became {right}: NaN and Infinity are no JSON, and pydantic writes null for them."
    if "null" in (left, right):
        return f"{left} became {right}: a client that expects the one fails on the other."
    return f"{left} became {right}: a typed client fails to read it."


def _header_gone(found: Found, method: str) -> str:
    return f"The header {found.shown_place.partition(':')[2]} is not sent any more."


def _header_new(found: Found, method: str) -> str:
    return f"The header {found.shown_place.partition(':')[2]} is sent, which it was not before."


def _body_type(found: Found, method: str) -> str:
    if found.candidate is ABSENT:
        return "The body is gone."
    if found.control is ABSENT:
        return "There is a body where there was none."
    return "The body is another sort of thing: a client that parses one fails on the other."


def _lengths(found: Found, method: str) -> str:
    return "The list has another length, and many of its elements no partner: paging, a filter or a join."


def _always(words: str) -> Callable[[Found, str], str]:
    return lambda found, method: words


_BY_KIND: dict[Kind, Callable[[Found, str], str]] = {
    Kind.STATUS: _status,
    Kind.HEADER_MISSING: _header_gone,
    Kind.HEADER_ADDED: _header_new,
    Kind.HEADER_VALUE: _always("The header has another value."),
    Kind.BODY_TYPE: _body_type,
    Kind.JSON_MISSING: _always("A client that reads this member finds nothing."),
    Kind.JSON_ADDED: _always(
        "There is a member that was not there; strict clients refuse it, and it may be private."
    ),
    Kind.JSON_VALUE: _always("The value differs."),
    Kind.JSON_TYPE: _json_type,
    Kind.JSON_ORDER: _always(
        "The list has the same elements in another order: sort it, or say unordered if nobody minds."
    ),
    Kind.JSON_LENGTH: _lengths,
    Kind.JSON_DATE_FORMAT: _always(
        "The same instant in another format: clients that parse one fail on the other."
    ),
    Kind.JSON_NUMBER_FORM: _always(
        "The same number in another form: typed clients, and those that show it as it is, notice. "
        "Flask writes Decimal as a text."
    ),
    Kind.JSON_ENCODING: _always("The same value in other bytes."),
    Kind.ERROR_SHAPE: _always("The error has another shape: clients that read its message find none."),
    Kind.REDIRECT: _redirect,
    Kind.TEXT: _always("The text differs."),
    Kind.BYTES: _always("The bytes differ."),
    Kind.EXCEPTION: _always("Another exception escaped."),
    Kind.EFFECTS_ROWS: _always("Other rows are written."),
    Kind.EFFECTS_QUERIES: _always(
        "Many more statements are sent to the database for the same answer: it takes longer. Look for "
        "relations that are loaded one by one."
    ),
    Kind.EFFECTS_OUTBOUND: _always("Other calls are made to somebody else."),
    Kind.LATENCY: _always(
        "The candidate took clearly longer (advisory: both share one process in a shadow call)."
    ),
}
