"""Values that an answer gave out are sent back with each side's own, and nothing else is touched."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from gateway.ci.correlation import Correlator, Jar
from gateway.ci.exchange import Sent

JSON = ((b"Content-Type", b"application/json"),)
HTML = ((b"Content-Type", b"text/html; charset=utf-8"),)


def learned(theirs: object, mine: object) -> Correlator:
    """Return a correlator that has seen one JSON answer of the reference and of the side."""
    correlator = Correlator("tests")
    correlator.learn(1, (JSON, json.dumps(theirs).encode()), JSON, json.dumps(mine).encode())
    return correlator


def test_an_id_is_put_where_something_is_identified_and_nowhere_else() -> None:
    correlator = learned({"id": 61, "count": 3}, {"id": 75, "count": 4})
    body = b'{"order_id": 61, "quantity": 61, "items": [{"id": "61"}]}'
    sent = Sent(
        "POST", "/orders/61/lines/3?order_id=61&page=61", (("Content-Type", "application/json"),), body
    )

    put = correlator.apply(2, sent)

    assert put.target == "/orders/75/lines/3?order_id=75&page=61"
    assert json.loads(put.body) == {"order_id": 75, "quantity": 61, "items": [{"id": "75"}]}
    assert "$.id of request 1 → path of request 2" in map(str, correlator.found)


def test_a_token_is_put_into_headers_forms_and_query() -> None:
    correlator = learned({"access_token": "aaaa.bbbb.cccc"}, {"access_token": "xxxx.yyyy.zzzz"})
    form = (("Content-Type", "application/x-www-form-urlencoded"), ("Authorization", "Bearer aaaa.bbbb.cccc"))

    put = correlator.apply(2, Sent("POST", "/x?t=aaaa.bbbb.cccc", form, b"t=aaaa.bbbb.cccc&u=a"))

    assert put.target == "/x?t=xxxx.yyyy.zzzz"
    assert put.headers[1] == ("Authorization", "Bearer xxxx.yyyy.zzzz")
    assert put.body == b"t=xxxx.yyyy.zzzz&u=a"


def test_the_latest_meaning_of_a_value_counts() -> None:
    correlator = learned({"id": 61}, {"id": 75})
    correlator.learn(2, (JSON, b'{"id": 61}'), JSON, b'{"id": 61}')

    assert correlator.apply(3, Sent("GET", "/orders/61")).target == "/orders/61"


def test_a_location_and_an_etag_lead_to_each_sides_own() -> None:
    correlator = Correlator("tests")
    correlator.learn(
        1,
        (((b"Location", b"http://a/orders/61"), (b"ETag", b'"old-etag"')), b""),
        ((b"Location", b"/orders/75"), (b"ETag", b'"new-etag"')),
        b"",
    )

    put = correlator.apply(2, Sent("GET", "/orders/61", (("If-None-Match", '"old-etag"'),)))

    assert put.target == "/orders/75"
    assert put.headers == (("If-None-Match", '"new-etag"'),)


def test_a_csrf_field_comes_from_the_page_even_without_a_reference() -> None:
    correlator = Correlator("tests")
    correlator.learn(1, None, HTML, b'<form><input type="hidden" name="csrf_token" value="mine"></form>')
    form = (("Content-Type", "application/x-www-form-urlencoded"), ("X-CSRFToken", "any"))

    put = correlator.apply(2, Sent("POST", "/", form, b"csrf_token=any&name=any"))

    assert put.body == b"csrf_token=mine&name=any"
    assert put.headers[1] == ("X-CSRFToken", "mine")


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=10,
)


@given(values, st.text(alphabet="abc/123?&=%", max_size=20), st.binary(max_size=40))
def test_where_both_sides_gave_the_same_nothing_is_changed(value: object, target: str, body: bytes) -> None:
    correlator = learned(value, value)
    for kind in ("application/json", "application/x-www-form-urlencoded", "text/plain"):
        sent = Sent("POST", "/" + target, (("Content-Type", kind), ("X-A", "b c")), body)
        assert correlator.apply(2, sent) == sent
    assert correlator.found == []


def test_a_jar_keeps_what_is_set_and_forgets_what_is_deleted() -> None:
    jar = Jar()
    jar.learn(((b"Set-Cookie", b"sid=1; Path=/"), (b"set-cookie", b"area=2; Path=/admin")))

    assert jar.apply(Sent("GET", "/"), is_literal=False).headers == (("Cookie", "sid=1"),)
    assert jar.apply(Sent("GET", "/admin/x"), is_literal=False).headers == (("Cookie", "sid=1; area=2"),)
    recorded = Sent("GET", "/admin", (("Cookie", "sid=old; lang=de"),))
    assert jar.apply(recorded, is_literal=True).headers == (("Cookie", "sid=1; lang=de"),)
    jar.learn(((b"Set-Cookie", b"sid=; Max-Age=0; Path=/"),))
    assert jar.apply(Sent("GET", "/"), is_literal=False).headers == ()
