"""A planted secret is found in nothing that is kept, and equality can still be seen."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.compare import (
    Body,
    Effects,
    Observation,
    OutboundCall,
    Raised,
    Redactor,
    RequestRecord,
    RowWrite,
    Terms,
    compare,
)
from tests.compare.observations import JSON, as_html, as_json, seen

REDACTOR = Redactor(b"a key", ("x-internal",))
SECRET = "hunter2-Zq9"
FORM = "application/x-www-form-urlencoded"
PART = f'--b\r\nContent-Disposition: form-data; name="password"\r\n\r\n{SECRET}\r\n--b--\r\n'


def request(
    url: str = "http://h/", headers: tuple[tuple[str, str], ...] = (), body: str = "", media: str = JSON
) -> RequestRecord:
    raw = tuple((name.encode(), value.encode()) for name, value in (*headers, ("content-type", media)))
    return RequestRecord("POST", url, raw, Body.of(body.encode()))


REQUESTS = {
    "authorization": request(headers=(("Authorization", f"Bearer {SECRET}"),)),
    "basic": request(headers=(("authorization", f"Basic {SECRET}"),)),
    "cookie": request(headers=(("Cookie", f"theme=dark; session={SECRET}"),)),
    "api key": request(headers=(("X-API-Key", SECRET),)),
    "own list": request(headers=(("X-Internal", SECRET),)),
    "referer": request(headers=(("Referer", f"http://h/?reset_token={SECRET}"),)),
    "query": request(f"http://h/?a=1&access_token={SECRET}&b=2#f"),
    "query spelled": request(f"http://h/?pass%77ord={SECRET}"),
    "userinfo": request(f"http://ann:{SECRET}@h/"),
    "json": request(body=json.dumps({"user": {"Password": SECRET}})),
    "json escaped": request(body='{"p\\u0061ssword": "' + SECRET + '"}'),
    "json number": request(body='{"card_number": 41}'.replace("41", SECRET)),
    "json nested": request(body=json.dumps({"secrets": [{"a": [SECRET]}, SECRET]})),
    "json cut": request(body='{"a":1,"client_secret":"' + SECRET),
    "json undeclared": request(body=json.dumps({"ssn": SECRET}), media=""),
    "json url": request(body=json.dumps({"next": f"/x?token={SECRET}"})),
    "form": request(body=f"a=1&user%5Bpassword%5D={SECRET}", media=FORM),
    "multipart": request(body=PART, media="multipart/form-data; boundary=b"),
    "multipart broken": request(body=PART, media="multipart/form-data"),
}
ANSWERS = {
    "set-cookie": seen("", 200, None, f"Set-Cookie: sid={SECRET}; Path=/; HttpOnly"),
    "location": seen("", 302, None, f"Location: /login?token={SECRET}"),
    "page": as_html(f'<input type="hidden" name="csrf_token" value="{SECRET}">'),
    "page, other order": as_html(f"<input value='{SECRET}' name=csrf_token>"),
    "meta": as_html(f'<meta name="csrf-token" content="{SECRET}">'),
    "script": as_html(f'<script>var config = {{"apiKey": "{SECRET}"}}</script>'),
    "text": seen(f"token: {SECRET}", 200, "text/plain"),
    "compressed": seen(
        gzip.compress(json.dumps({"token": SECRET}).encode()), 200, JSON, "content-encoding: gzip"
    ),
    "undecodable": seen(SECRET, 200, JSON, "content-encoding: zstd"),
    "utf-16": seen(json.dumps({"token": SECRET}).encode("utf-16"), 200, JSON),
    "exception": replace(
        as_json({}), raised=Raised("E", f"password={SECRET}", f"File x\n  login(token='{SECRET}')")
    ),
    "row": as_json(
        {}, effects=Effects(rows=(RowWrite("u", "insert", (("id", 1),), (("password_hash", SECRET),)),))
    ),
    "outbound": as_json(
        {}, effects=Effects(outbound=(OutboundCall("GET", f"http://p/?api_key={SECRET}", b'{"cvv":"1"}'),))
    ),
}


def everything(value: object) -> str:
    """Return all that a value holds, bodies decoded if they can be."""
    text = repr(value)
    if isinstance(value, Observation):
        for data in (value.body.captured,):
            text += data.decode("utf-16", "replace") + data.decode("latin-1")
    return text


@pytest.mark.parametrize("record", REQUESTS.values(), ids=REQUESTS)
def test_no_secret_is_left_in_a_request(record: RequestRecord) -> None:
    assert SECRET in repr(record)
    kept = REDACTOR.request(record)
    assert SECRET not in repr(kept)
    assert "redacted:" in repr(kept)


@pytest.mark.parametrize("observation", ANSWERS.values(), ids=ANSWERS)
def test_no_secret_is_left_in_an_answer(observation: Observation) -> None:
    kept = REDACTOR.observation(observation)
    assert SECRET not in everything(kept)
    assert "redacted:" in everything(kept)


@pytest.mark.parametrize("observation", ANSWERS.values(), ids=ANSWERS)
def test_no_secret_is_left_in_a_difference(observation: Observation) -> None:
    for other in (as_json({}), as_html("<p>x</p>"), seen("", 302, None)):
        for pair in ((observation, other), (other, observation)):
            assert SECRET not in repr(compare(*pair, Terms(redactor=REDACTOR)))


def test_no_secret_is_left_in_differences_of_secrets() -> None:
    one = {"user": {"password": SECRET}, "list": [{"token": SECRET}]}
    other = {"user": {"password": "x"}, "list": []}
    result = compare(as_json(one), as_json(other), Terms(redactor=REDACTOR))
    assert len(result.failing) == 2
    assert SECRET not in repr(result)


def test_equal_secrets_stay_equal_and_different_ones_different() -> None:
    one, same, other = (
        REDACTOR.observation(as_json({"token": each, "a": 1})) for each in (SECRET, SECRET, "x")
    )
    assert compare(one, same).is_same
    assert [each.place for each in compare(one, other).failing] == ["$.token"]
    assert Redactor(b"other").digest(SECRET) != REDACTOR.digest(SECRET)


def test_what_is_no_secret_keeps_its_bytes() -> None:
    body = '{"b" : "\\u00e9",\n "a":{"password": "x"}, "c":[1.10, null]}\n'
    kept = REDACTOR.observation(seen(body)).body.captured.decode()
    digest = REDACTOR.digest("x")
    assert kept == body.replace('"x"', f'"{digest}"')


def test_free_text_keeps_what_stands_beside_a_secret() -> None:
    kept = REDACTOR.text(f"error: token={SECRET} for user 7, password: '{SECRET}' wrong")
    digest = REDACTOR.digest(SECRET)
    assert kept == f"error: token={digest} for user 7, password: '{digest}' wrong"


def test_redacting_twice_changes_nothing_more() -> None:
    for record in REQUESTS.values():
        once = REDACTOR.request(record)
        if b"multipart" not in repr(once.headers).encode():
            assert REDACTOR.request(once) == once


def test_a_redactor_without_a_key_is_refused() -> None:
    with pytest.raises(ValueError, match="needs a key"):
        Redactor(b"")


@given(
    st.binary(max_size=80), st.sampled_from([JSON, FORM, "text/html", "multipart/form-data; boundary=a", ""])
)
def test_redacting_never_raises_and_leaves_what_holds_no_name(body: bytes, media: str) -> None:
    REDACTOR.observation(seen(body, 200, media))


@given(
    st.recursive(
        st.integers() | st.text(max_size=5), lambda inner: st.dictionaries(st.text(max_size=6), inner)
    )
)
def test_redacted_json_is_json_of_the_same_shape(value: Any) -> None:
    kept = REDACTOR.json_text(json.dumps({"a": value, "token": value}))
    assert json.loads(kept).keys() == {"a", "token"}


@pytest.mark.parametrize(
    "text", ['\\"' * 60_000, "a" * 120_000, "a=" * 60_000, "<input " * 20_000, '"' * 120_000]
)
def test_redacting_hostile_text_takes_linear_time(text: str) -> None:
    REDACTOR.text(text)
    REDACTOR.json_text(text)
