# ruff: noqa: E501 - a table and its edited form stand side by side
"""Machine edits change the characters that must change, and none else."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import EditError
from gateway.table.edit import Change, edit_row, find_row, write_atomically
from gateway.table.read import parse_table
from gateway.table.spec import Stage
from tests.table.samples import HEAD

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.table.spec import TableSpec


def table(data: bytes) -> TableSpec:
    parsed = parse_table(data, source="routing.yaml", environ={})
    assert parsed.spec is not None
    assert not parsed.has_errors, parsed.problems
    return parsed.spec


def edited(rows: str, key: str, change: Change, *, head: str = HEAD) -> str:
    return edit_row((head + rows).encode(), key, change).decode().removeprefix(head)


TO_NEW = Change(Stage.NEW)
TO_CANARY = Change(Stage.CANARY, weight_bp=2500)


@pytest.mark.parametrize(
    ("rows", "key", "change", "result"),
    [
        pytest.param(
            "routes:\n  GET /x: canary 5%  # why\n  GET /y: new\n",
            "GET /x",
            TO_CANARY,
            "routes:\n  GET /x: canary 25%  # why\n  GET /y: new\n",
            id="only-the-scalar",
        ),
        pytest.param(
            "routes:\n  'GET /x'  :   'canary 5%' # why\n",
            "GET /x",
            TO_NEW,
            "routes:\n  'GET /x'  :   'new' # why\n",
            id="quotes-stay",
        ),
        pytest.param(
            'routes:\n  "GET /x": "legacy"\n',
            "GET /x",
            Change(Stage.SHADOW, sample_bp=1250),
            'routes:\n  "GET /x": "shadow 12.5%"\n',
            id="double-quotes-stay",
        ),
        pytest.param(
            "routes:\n  GET /x: canary 5%\n",
            "GET /x",
            Change(Stage.CANARY, weight_bp=1000, sample_bp=5000),
            "routes:\n  GET /x: {stage: canary, weight: 10%, sample: 50%}\n",
            id="two-percentages-need-a-mapping",
        ),
        pytest.param(
            "routes:\n  GET /x: canary 5%\n",
            "GET /x",
            Change(Stage.CANARY),
            "routes:\n  GET /x: canary 5%\n",
            id="nothing-to-change",
        ),
        pytest.param(
            "routes:\n  GET /x:\n    # first\n    stage: shadow  # why\n    owner: me\n",
            "GET /x",
            TO_CANARY,
            "routes:\n  GET /x:\n    # first\n    stage: canary  # why\n    weight: 25%\n    owner: me\n",
            id="a-weight-is-added-behind-the-stage",
        ),
        pytest.param(
            "routes:\n  GET /x:\n      stage: canary\n      weight: '5%'  # slow\n      owner: me\n",
            "GET /x",
            TO_CANARY,
            "routes:\n  GET /x:\n      stage: canary\n      weight: '25%'  # slow\n      owner: me\n",
            id="a-weight-is-replaced",
        ),
        pytest.param(
            "routes:\n  GET /x:\n    stage: canary\n    weight: 5%\n    owner: me\n",
            "GET /x",
            TO_NEW,
            "routes:\n  GET /x:\n    stage: new\n    owner: me\n",
            id="a-weight-that-no-longer-fits-goes",
        ),
        pytest.param(
            "routes:\n  GET /x:\n    stage: canary\n    weight: 5%  # slowly\n    owner: me\n",
            "GET /x",
            TO_NEW,
            "routes:\n  GET /x:\n    stage: new\n    # slowly\n    owner: me\n",
            id="its-comment-stays",
        ),
        pytest.param(
            "routes:\n  GET /x:\n    stage: canary\n    weight: 5%",
            "GET /x",
            TO_NEW,
            "routes:\n  GET /x:\n    stage: new",
            id="a-last-weight-goes-and-no-final-newline-comes",
        ),
        pytest.param(
            "routes:\n  GET /x:\n    owner: me\n",
            "GET /x",
            TO_CANARY,
            "routes:\n  GET /x:\n    stage: canary\n    weight: 25%\n    owner: me\n",
            id="a-stage-is-added-before-the-first-key",
        ),
        pytest.param(
            "routes:\n  GET /x: {stage: canary, weight: 5%, owner: me}\n",
            "GET /x",
            TO_NEW,
            "routes:\n  GET /x: {stage: new, owner: me}\n",
            id="flow-mapping-loses-its-weight",
        ),
        pytest.param(
            "routes:\n  GET /x: {weight: 5%, stage: canary}\n",
            "GET /x",
            TO_NEW,
            "routes:\n  GET /x: {stage: new}\n",
            id="flow-mapping-loses-a-first-weight",
        ),
        pytest.param(
            "routes:\n  GET /x: { owner: me }\n",
            "GET /x",
            TO_CANARY,
            "routes:\n  GET /x: { stage: canary, weight: 25%, owner: me }\n",
            id="flow-mapping-gains-a-stage",
        ),
        pytest.param(
            "routes:\n  GET /x: {}\n",
            "GET /x",
            TO_CANARY,
            "routes:\n  GET /x: {stage: canary, weight: 25%}\n",
            id="empty-flow-mapping",
        ),
        pytest.param(
            "routes:\n  GET /x:  # later\n  GET /y:\n",
            "GET /x",
            TO_CANARY,
            "routes:\n  GET /x: canary 25%  # later\n  GET /y:\n",
            id="empty-value",
        ),
        pytest.param(
            "routes: {}\n", "GET /x", TO_NEW, "routes:\n  GET /x: new\n", id="first-row-of-an-empty-mapping"
        ),
        pytest.param(
            "routes: {}  # none yet\nsalt: a\n",
            "GET /x",
            TO_NEW,
            "routes:  # none yet\n  GET /x: new\nsalt: a\n",
            id="first-row-keeps-the-comment",
        ),
        pytest.param("routes:", "GET /x", TO_NEW, "routes:\n  GET /x: new", id="first-row-of-nothing"),
        pytest.param(
            "routes:\n    GET /y: new  # y\n    # the end\n\nsalt: a\n",
            "GET /x",
            TO_CANARY,
            "routes:\n    GET /y: new  # y\n    GET /x: canary 25%\n    # the end\n\nsalt: a\n",
            id="an-implicit-endpoint-becomes-a-row",
        ),
        pytest.param(
            "routes:\n  GET /y: new",
            "GET /x",
            TO_NEW,
            "routes:\n  GET /y: new\n  GET /x: new",
            id="no-final-newline-stays-none",
        ),
        pytest.param(
            'routes: {"GET /y": new}\n',
            "GET /x/{id}",
            TO_NEW,
            'routes: {"GET /y": new, "GET /x/{id}": new}\n',
            id="rows-in-one-line",
        ),
        pytest.param(
            "routes:\n  GET, POST /x: shadow  # both\n  GET /y: new\n",
            "GET /x",
            TO_CANARY,
            "routes:\n  POST /x: shadow  # both\n  GET /x: canary 25%\n  GET /y: new\n",
            id="one-method-is-split-off",
        ),
        pytest.param(
            "routes:\n  GET,POST,PUT /x:\n    stage: canary\n    weight: 5%\n    owner: me  # who\n\n"
            "  GET /y: new\n",
            "GET,PUT /x",
            TO_NEW,
            "routes:\n  POST /x:\n    stage: canary\n    weight: 5%\n    owner: me  # who\n"
            "  GET,PUT /x:\n    stage: new\n    owner: me\n\n  GET /y: new\n",
            id="a-split-row-copies-its-options",
        ),
        pytest.param(
            'routes: {"GET,POST /x": {stage: shadow, owner: me}}\n',
            "GET /x",
            TO_NEW,
            'routes: {"POST /x": {stage: shadow, owner: me}, "GET /x": {stage: new, owner: me}}\n',
            id="a-split-within-braces",
        ),
        pytest.param(
            "routes:\n  ANY /x: {stage: shadow, owner: me}\n",
            "GET /x",
            TO_NEW,
            "routes:\n  ANY /x: {stage: shadow, owner: me}\n  GET /x: {stage: new, owner: me}\n",
            id="a-method-of-ANY-gets-a-row-beside-it",
        ),
    ],
)
def test_an_edit_changes_only_the_characters_that_must_change(
    rows: str, key: str, change: Change, result: str
) -> None:
    assert edited(rows, key, change) == result
    windows = (HEAD + rows).replace("\n", "\r\n").encode()
    assert edit_row(windows, key, change) == (HEAD + result).replace("\n", "\r\n").encode()
    assert edit_row(b"\xef\xbb\xbf" + windows, key, change)[:3] == b"\xef\xbb\xbf"


@pytest.mark.parametrize(
    ("rows", "key", "result"),
    [
        pytest.param("routes:\n  ? GET /x\n  : canary 5%\n", "GET /x", "routes:\n  ? GET /x\n  : new\n", id="explicit-key"),
        pytest.param("routes:\n  GET /x: canary\n    5%\n", "GET /x", "routes:\n  GET /x: new\n", id="two-lines"),
        pytest.param("routes:\n  GET /x: >\n    canary\n    5%\n  GET /y:\n", "GET /x", "routes:\n  GET /x: new\n  GET /y:\n", id="folded"),
        pytest.param("routes: {GET /x: {stage: canary,\n  # d\n  weight: 5%, # e\n  owner: me}}\n", "GET /x", "routes: {GET /x: {stage: new,\n  # d\n  owner: me}}\n", id="braces-with-comments"),
        pytest.param("routes:\n  GET /x:\n    weight: 5%\ndefaults: {stage: canary}\n", "GET /x", "routes:\n  GET /x:\n    stage: new\ndefaults: {stage: canary}\n", id="a-lone-weight"),
        pytest.param("routes:\n  GET /y: new\n...\n", "GET /x", "routes:\n  GET /y: new\n  GET /x: new\n...\n", id="document-end"),
        pytest.param("routes:\n  # none\nsalt: a\n", "GET /x", "routes:\n  GET /x: new\n  # none\nsalt: a\n", id="only-comments"),
        pytest.param("routes: ~\n", "GET /x", "routes:\n  GET /x: new\n", id="null"),
        pytest.param("routes:\n  GET /y: new\n", "GET /x: y", 'routes:\n  GET /y: new\n  "GET /x: y": new\n', id="a-key-that-needs-quotes"),
    ],
)  # fmt: skip
def test_unusual_layouts_are_edited_as_well(rows: str, key: str, result: str) -> None:
    assert edited(rows, key, TO_NEW) == result


def test_the_first_row_is_indented_as_the_rest_of_the_file() -> None:
    head = HEAD.replace("  legacy", "    legacy").replace("  new", "    new")
    assert edited("routes: {}\n", "GET /x", TO_NEW, head=head) == "routes:\n    GET /x: new\n"


def test_an_edit_works_where_the_secrets_are_not() -> None:
    rows = "store: postgresql://app:${NOT_HERE}@db/app\nroutes:\n  GET /x: legacy\n"
    assert edited(rows, "GET /x", TO_NEW) == rows.replace("legacy", "new")


@pytest.mark.parametrize(
    ("rows", "key", "change", "words"),
    [
        pytest.param("routes:\n  GET /x: canry\n", "GET /x", TO_NEW, "has errors", id="a-table-with-errors"),
        pytest.param("routes: {}\n", "GTE /x", TO_NEW, "did you mean GET", id="a-misspelt-key"),
        pytest.param("routes: {}\n", "WS /x", Change(Stage.SHADOW), "only new", id="a-websocket-at-shadow"),
        pytest.param(
            "routes:\n  GET /x: new\n  PUT /x: new\n",
            "GET,PUT /x",
            TO_NEW,
            "one by one",
            id="two-rows-at-once",
        ),
        pytest.param(
            "routes:\n  GET /x: new\n",
            "GET /x",
            Change(Stage.NEW, weight_bp=5),
            "weight means nothing",
            id="a-weight-at-new",
        ),
        pytest.param(
            "routes:\n  GET,PUT /x:\n    note: |+\n      hi\n\n\n  GET /y: new\n",
            "GET /x",
            TO_NEW,
            "without touching more",
            id="a-split-that-would-change-a-note",
        ),
        pytest.param(
            "routes:\n  ? GET,PUT /x\n  : new\n", "GET /x", TO_NEW, "by hand", id="a-split-of-an-explicit-key"
        ),
        pytest.param(
            "routes: {}\n", "GET /" + "a" * 2000, TO_NEW, "make the table wrong", id="a-key-too-long"
        ),
        pytest.param("routes:\n\n  {}\n", "GET /x", TO_NEW, "unusual", id="an-unusual-empty-mapping"),
    ],
)
def test_an_edit_that_cannot_be_made_says_why(rows: str, key: str, change: Change, words: str) -> None:
    with pytest.raises(EditError, match=words):
        edited(rows, key, change)


WORDS = st.sampled_from(["legacy", "shadow", "shadow 20%", "canary 5%", "new", "new 1%", "retired", ""])
COMMENTS = st.sampled_from(["", "  # why: 5%", " # é😀"])


@st.composite
def row_texts(draw: st.DrawFn, indent: str, path: str) -> str:
    methods = draw(st.lists(st.sampled_from(["GET", "POST", "PUT"]), min_size=1, max_size=3, unique=True))
    quote = draw(st.sampled_from(["", "'", '"']))
    key = f"{indent}{quote}{draw(st.sampled_from([',', ', '])).join(methods)} {path}{quote}:"
    comment = draw(COMMENTS)
    kind = draw(st.sampled_from(["short", "quoted", "block", "flow"]))
    if kind == "short":
        return f"{key} {draw(WORDS)}{comment}\n"
    if kind == "quoted":
        return f"{key} '{draw(WORDS.filter(bool))}'{comment}\n"
    stage = draw(st.sampled_from(["legacy", "shadow", "canary", "new"]))
    pairs = [("stage", stage), ("owner", "me"), ("timeout", "5s")]
    if stage == "canary":
        pairs.append(("weight", "5%"))
    if stage in ("shadow", "canary"):
        pairs.append(("sample", "50%"))
    pairs = draw(st.permutations(pairs))
    if kind == "flow":
        return f"{key} {{{', '.join(f'{name}: {value}' for name, value in pairs)}}}{comment}\n"
    deeper = indent + draw(st.sampled_from([" ", "  ", "    "]))
    lines = "".join(f"{deeper}{name}: {value}{draw(COMMENTS)}\n" for name, value in pairs)
    return f"{key}{comment}\n{lines}"


@st.composite
def tables(draw: st.DrawFn) -> str:
    indent = draw(st.sampled_from(["  ", "    "]))
    rows = []
    for number in range(draw(st.integers(1, 4))):
        rows.append(draw(st.sampled_from(["", "\n", f"{indent}# between\n"])))
        rows.append(draw(row_texts(indent, f"/p{number}/{{id}}")))
    text = HEAD + "routes:\n" + "".join(rows) + draw(st.sampled_from(["", "\n# end\n", "salt: a\n"]))
    if draw(st.booleans()):
        text = text.removesuffix("\n")
    return draw(st.sampled_from(["", "\ufeff"])) + text.replace("\n", draw(st.sampled_from(["\n", "\r\n"])))


CHANGES = st.sampled_from(
    [
        Change(Stage.LEGACY),
        Change(Stage.SHADOW),
        Change(Stage.SHADOW, sample_bp=1),
        Change(Stage.CANARY),
        Change(Stage.CANARY, weight_bp=333),
        Change(Stage.CANARY, weight_bp=10_000, sample_bp=0),
        Change(Stage.NEW),
        Change(Stage.RETIRED),
    ]
)


@given(text=tables(), change=CHANGES, data=st.data())
@settings(max_examples=150, deadline=None)
def test_any_edit_changes_one_row_and_keeps_every_other_line(
    text: str, change: Change, data: st.DataObject
) -> None:
    before = table(text.encode())
    chosen = data.draw(st.sampled_from(before.routes))
    methods = data.draw(st.lists(st.sampled_from(chosen.methods), min_size=1, unique=True))
    key = data.draw(st.sampled_from([f"{','.join(methods)} {chosen.path}", "DELETE /not/listed"]))
    result = edit_row(text.encode(), key, change)
    after = table(result)
    row = find_row(after, key)
    assert row is not None
    assert row.stage is change.stage
    assert change.weight_bp in (None, row.weight_bp)
    assert change.sample_bp in (None, row.sample_bp)
    touched = {chosen.path, "/not/listed"}
    others = {other.key: other.stage for other in before.routes if other.path not in touched}
    assert others.items() <= {other.key: other.stage for other in after.routes}.items()
    start = text.index(chosen.path) - len(text[: text.index(chosen.path)].splitlines(keepends=True)[-1])
    if key.startswith("DELETE"):
        assert result.decode().startswith(text[:start])
    else:
        assert result.decode()[:start] == text[:start]
        following = next((other.path for other in before.routes if other.line > chosen.line), None)
        if following is not None:
            tail = text[text.index(following) :]
            assert result.decode().endswith(tail)


@given(text=tables(), change=CHANGES, data=st.data())
@settings(max_examples=60, deadline=None)
def test_an_edit_made_twice_changes_nothing_the_second_time(
    text: str, change: Change, data: st.DataObject
) -> None:
    key = data.draw(st.sampled_from(table(text.encode()).routes)).key
    once = edit_row(text.encode(), key, change)
    assert edit_row(once, key, change) == once


def test_a_row_is_found_by_what_a_person_types() -> None:
    spec = table((HEAD + "routes:\n  GET,POST /x/{id}: new\n  PUT /x/{id}: legacy\n").encode())
    for typed, key in (
        ("get /x/{id}", "GET,POST /x/{id}"),
        (" POST,GET  /x/{id} ", "GET,POST /x/{id}"),
        ("PUT /x/{id}", "PUT /x/{id}"),
    ):
        row = find_row(spec, typed)
        assert row is not None
        assert row.key == key
    assert find_row(spec, "DELETE /x/{id}") is None
    assert find_row(spec, "nonsense") is None


def test_a_file_is_replaced_at_once_with_its_mode_kept(tmp_path: Path) -> None:
    path = tmp_path / "routing.yaml"
    path.write_bytes(b"old")
    path.chmod(0o640)
    inode = path.stat().st_ino
    write_atomically(path, b"new")
    assert path.read_bytes() == b"new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert path.stat().st_ino != inode
    assert [entry.name for entry in tmp_path.iterdir()] == ["routing.yaml"]


def test_a_symbolic_link_still_points_to_its_target(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    target = tmp_path / "real" / "table.yaml"
    target.write_bytes(b"old")
    link = tmp_path / "routing.yaml"
    link.symlink_to("real/table.yaml")
    write_atomically(link, b"new")
    assert link.is_symlink()
    assert target.read_bytes() == b"new"


def test_a_place_that_cannot_be_written_is_an_edit_error_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(EditError, match="cannot be written"):
        write_atomically(tmp_path / "missing" / "routing.yaml", b"new")
    directory = tmp_path / "directory"
    directory.mkdir()
    with pytest.raises(EditError, match="cannot be written"):
        write_atomically(directory, b"new")
    assert [entry.name for entry in tmp_path.iterdir()] == ["directory"]
