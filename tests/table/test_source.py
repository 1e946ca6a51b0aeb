"""YAML becomes plain data with lines; what YAML can do beyond a table is refused with its line."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.table.source import MAX_BYTES, read_source
from tests.table.samples import HEAD


def lines_of(text: bytes) -> list[tuple[int, str]]:
    return [(problem.line, problem.message) for problem in read_source(text, "routing.yaml").problems]


def test_every_place_knows_its_line_and_its_text() -> None:
    source = read_source(b"a: on\nb:\n  - 'x'\n  - c: 010\n", "routing.yaml")
    assert source.data == {"a": True, "b": ["x", {"c": 8}]}
    assert source.lines[("b", 1, "c")] == 4
    assert source.scalars[("a",)].text == "on"
    assert source.written_otherwise(("a",), True) == "on"
    assert source.written_otherwise(("b", 1, "c"), 8) == "010"
    assert not source.scalars[("b", 0)].is_plain
    assert source.line(("b", 1, "c", "no", "such")) == 4


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        pytest.param(b"a: 1\nb: 2\na: 3\n", [(3, "the key a stands twice, first on line 1")], id="duplicate"),
        pytest.param(
            b"a: &x 1\nb: *x\n",
            [(1, "the anchor &x is not allowed"), (2, "the alias *x is not allowed")],
            id="anchor-and-alias",
        ),
        pytest.param(
            b"a: !!python/name:os.system x\n",
            [(1, "the tag tag:yaml.org,2002:python/name:os.system is not allowed")],
            id="tag",
        ),
        pytest.param(b"a: {<<: {b: 1}}\n", [(1, "merge keys (<<) are not allowed")], id="merge"),
        pytest.param(
            b"? [a]\n: 1\nb: 2\n", [(1, "a key must be text, not a list or mapping")], id="list-as-key"
        ),
        pytest.param(b"a: 1\n---\nb: 2\n", [(2, "a second document begins")], id="second-document"),
        pytest.param(
            b"a:\n\tb: 1\n\tc: 2\n",
            [(2, "a tab indents this line"), (3, "a tab indents this line")],
            id="tabs",
        ),
        pytest.param(
            b"a: 1\nb: c: d\n", [(2, "is not YAML: a `: ` stands where no value can begin")], id="two-colons"
        ),
        pytest.param(b"a: 1\nb: @x\n", [(2, "is not YAML: no value can begin with @")], id="reserved"),
        pytest.param(b"a: 1\nb: 'x\n", [(3, "is not YAML: a quote is not closed")], id="open-quote"),
        pytest.param(
            b"a: 1\nb: \x07\nc: \x08\n",
            [(2, "the character U+0007 is not allowed"), (3, "the character U+0008 is not allowed")],
            id="control",
        ),
        pytest.param(b"a: 1\nb: \xff\n", [(2, "byte 0xff is not UTF-8")], id="not-utf-8"),
        pytest.param("a: 1\n".encode("utf-16"), [(1, "the file is UTF-16, not UTF-8")], id="utf-16"),
        pytest.param(b"", [(0, "is empty")], id="empty"),
        pytest.param(b"# nothing\n", [(0, "is empty")], id="only-a-comment"),
        pytest.param(b"- a\n", [(0, "is not a mapping of keys to values")], id="a-list"),
        pytest.param(
            b"a: " + b"[" * 20 + b"]" * 20 + b"\nb: *x\n",
            [(1, "is nested more than 20 deep"), (2, "the alias *x is not allowed")],
            id="too-deep",
        ),
        pytest.param(b"x" * (MAX_BYTES + 1), [(0, "is 1,048,577 bytes, above 1 MiB")], id="too-large"),
    ],
)
def test_what_is_no_table_is_a_problem_with_its_line(text: bytes, problems: list[tuple[int, str]]) -> None:
    assert lines_of(text) == problems


def test_twenty_levels_are_allowed() -> None:
    assert lines_of(b"a: " + b"[" * 19 + b"]" * 19) == []


def test_a_date_that_does_not_exist_stays_text() -> None:
    assert read_source(b"a: 2027-02-30\n", "x").data == {"a": "2027-02-30"}


def test_a_byte_order_mark_and_windows_line_ends_change_no_line() -> None:
    text = b"\xef\xbb\xbf" + HEAD.replace("\n", "\r\n").encode() + b"a: *x\r\n"
    assert lines_of(text) == [(HEAD.count("\n") + 1, "the alias *x is not allowed")]


@given(st.binary(max_size=200) | st.text(alphabet="ab:{}[]-?,'\"&*!|> \n\t#%@0", max_size=60).map(str.encode))
def test_reading_never_raises(data: bytes) -> None:
    source = read_source(data, "routing.yaml")
    assert source.data is not None or source.problems


def test_the_deepest_nesting_that_fits_a_file_is_refused_quietly() -> None:
    assert lines_of(b"[" * MAX_BYTES)[0] == (1, "is nested more than 20 deep")
