"""The short cuts of a comparison say what the long way says: held together with the short cut taken out."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.compare import Body, Observation, Terms, bodies, compare, compile_rules, content, headers
from tests.compare.observations import as_json, seen
from tests.compare.test_laws import HEADERS, RULES, VALUES

if TYPE_CHECKING:
    from collections.abc import Iterator

SPACE = st.text(alphabet=" \t\r\n\x00\x0b", max_size=3).map(str.encode)
ENCODED = st.sampled_from(["utf-8", "utf-8", "utf-8", "utf-8-sig", "utf-16", "utf-16-be", "utf-32-le"])


@st.composite
def pairs_around(draw: st.DrawFn) -> tuple[Observation, Observation]:
    """Return two answers whose texts differ in what stands around them, if that: JSON for the most part."""
    text = draw(st.one_of(VALUES.map(json.dumps), st.sampled_from(["{", "NaN", "1 2", ""])))
    data = text.encode(draw(ENCODED), "surrogatepass")
    texts = [Body.of(draw(SPACE) + data + draw(SPACE)) for _ in "lr"]
    media = [(b"content-type", draw(st.sampled_from([b"application/json"] * 3 + [b"text/plain"])))]
    coding = draw(st.sampled_from([[], [], [], [(b"content-encoding", b"identity")]]))
    status = draw(st.sampled_from([200, 404]))
    left, right = (Observation(status, (*media, *coding), body) for body in texts)
    return left, right


def without_short_cuts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "_is_spaced_otherwise", lambda *_: False)
    numbers: Iterator[object] = iter(range(10**9))
    monkeypatch.setattr(headers, "_telling", lambda _: next(numbers))  # never equal


@given(pairs_around(), RULES)
@example((seen(b"0\x00"), seen(b"0\x00\n")), compile_rules([]))
@example((seen(b"\xef\xbb\xbf0"), seen(b" \xef\xbb\xbf0")), compile_rules([]))
@settings(deadline=None)
def test_white_space_around_a_text_is_what_parsing_both_finds(
    pair: tuple[Observation, Observation], rules: Any
) -> None:
    terms = Terms(rules)
    short = compare(*pair, terms)
    with pytest.MonkeyPatch.context() as monkeypatch:
        without_short_cuts(monkeypatch)
        assert compare(*pair, terms) == short


@given(HEADERS, HEADERS, st.permutations([(b"date", b"a"), (b"server", b"b"), (b"x-request-id", b"c")]))
@example(((b"connection", b"x-a"), (b"x-a", b"1")), ((b"x-a", b"1"),), [])
@example(((b"Date", b"1"),), ((b"date", b"1"),), [])
@settings(deadline=None)
def test_headers_that_are_equal_but_for_the_servers_own_are_what_grouping_them_finds(
    left: Any, right: Any, own: Any
) -> None:
    one, other = Observation(200, (*left, *own)), Observation(200, (*reversed(own), *right))
    same = Observation(200, (*own, *left))
    for pair in (one, other), (one, same):
        short = compare(*pair)
        with pytest.MonkeyPatch.context() as monkeypatch:
            without_short_cuts(monkeypatch)
            assert compare(*pair) == short


def test_the_short_cut_is_taken_where_flask_and_fastapi_differ_by_a_newline(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    parsed: list[Observation] = []

    def parse(observation: Observation) -> content.Content:
        parsed.append(observation)
        return content.content_of(observation)

    monkeypatch.setattr(bodies, "content_of", parse)
    one, other = as_json({"a": 1}), seen(b'{"a":1}\n')
    assert compare(one, other).is_same
    assert parsed == [one]
