"""State what a path template may say, and what is said about one that makes no sense."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from werkzeug.routing import Map, Rule

from gateway.table.converters import make_built_in, parse_arguments
from gateway.table.template import Kind, TemplateError, parse_rule, parse_template, spell


@pytest.mark.parametrize(
    ("written", "text", "shape"),
    [
        ("/", "/", "/"),
        ("/users/", "/users/", "/users/"),
        ("/users/{user_id}", "/users/{user_id}", "/users/{}"),
        ("/users/{user_id:int}", "/users/{user_id:int}", "/users/{}"),
        ("/users/{ user_id : int }", "/users/{user_id:int}", "/users/{}"),
        ("/users/{user_id:str}", "/users/{user_id:str}", "/users/{}"),
        ("/users/<user_id>", "/users/{user_id:str}", "/users/{}"),
        ("/users/<int:user_id>", "/users/{user_id:int}", "/users/{}"),
        ("/l/<string(length=2):lang>", "/l/{lang:string(length=2)}", "/l/{}"),
        ("/p/<any(about, help):page>", "/p/{page:any(about, help)}", "/p/{}"),
        ("/r/{name}.csv", "/r/{name}.csv", "/r/{}.csv"),
        ("/r/{a}-{b:int}/x", "/r/{a}-{b:int}/x", "/r/{}-{}/x"),
        ("/f/{p:path}/edit", "/f/{p:path}/edit", "/f/{}/edit"),
        ("/lit/{{x}}", "/lit/{{x}}", "/lit/{{x}}"),
    ],
)
def test_both_spellings_are_read_into_the_tables(written: str, text: str, shape: str) -> None:
    template = parse_template(written)
    if "<" in written:
        assert spell(template, is_plain_written=True) == text
    else:
        assert template.text == text
    assert template.shape == shape
    assert parse_template(template.text).shape == shape


@pytest.mark.parametrize(
    ("written", "message", "repair"),
    [
        ("users", "does not start with a slash", "write /users"),
        ("/a?b=c", "holds a query", "write /a"),
        ("/a#b", "holds a fragment", "write /a"),
        ("/a/{b", "opens a brace that it never closes", "write {name}"),
        ("/a/{b/{c}", "opens a brace that it never closes", "write {name}"),
        ("/a/b}", "closes a brace that it never opened", "write {name}"),
        ("/a/{}", "a parameter without a name", "write {name}"),
        ("/a/{:int}", "a parameter without a name", "write {name}"),
        ("/a/{1b}", "no name for a parameter", "letters, digits and underscores"),
        ("/a/{b}/{b}", "uses the name 'b' twice", "its own name"),
        ("/a/{b:itn}", "the converter 'itn', which nobody knows", "did you mean 'int'?"),
        ("/a/{b:zzz}", "the converter 'zzz', which nobody knows", "use one of str, int, float"),
        ("/a/{b:int(min=}", "opens a brace that it never closes", "write {name}"),
        ("/a/{b:int(min=1)x}", "are not closed", "write {b:int(…)}"),
        ("/a/{b:int(nix=1)}", "does not take the arguments", "as Flask takes them"),
        ("/a/{b:any}", "needs the words it takes", "as Flask takes them"),
        ("/a/<b", "a '<' that starts no parameter", "<converter:name>"),
    ],
)
def test_a_template_that_makes_no_sense_is_refused_with_its_repair(
    written: str, message: str, repair: str
) -> None:
    with pytest.raises(TemplateError) as caught:
        parse_template(written)
    assert message in caught.value.message
    assert repair in caught.value.repair
    assert isinstance(caught.value, ValueError)


def test_question_marks_inside_converter_arguments_are_no_query() -> None:
    assert parse_template('/a/{b:any("x?","y#")}').params("/a/x?") == {"b": "x?"}


@pytest.mark.parametrize(
    ("template", "kinds"),
    [
        ("/a/{x}.csv", [Kind.LITERAL, Kind.MIXED]),
        ("/{x:int}/{y}", [Kind.TYPED, Kind.PLAIN]),
        ("/{x:str}/{y:path}", [Kind.PLAIN, Kind.PATH]),
        ("/{y:path}/z/", [Kind.PATH, Kind.LITERAL]),
    ],
)
def test_parts_know_how_specific_they_are(template: str, kinds: list[Kind]) -> None:
    assert [part.kind for part in parse_template(template).parts] == kinds


@pytest.mark.parametrize(
    "rule",
    [
        *("/", "/a/", "/a/<x>", "/a/<int:x>/", "/<x>.csv", "/a<x>b<int:y>", "/<path:p>/e/<x>", "/<path:p>/"),
        *("/a/<any(b, c):x>", "/<float:x>-<float:y>", "/<a><b>", "/a.b/<uuid:x>/c"),
    ],
)
def test_parts_weigh_what_werkzeugs_weigh(rule: str) -> None:
    made = Rule(rule, endpoint="e")
    Map([made])
    theirs = made._parts[1:][1:]  # the first stands for the host, the second for what precedes the slash
    mine = parse_rule(rule).parts
    assert [part.is_final for part in mine] == [part.final for part in theirs]
    assert [part.is_suffixed for part in mine] == [part.suffixed for part in theirs]
    for one, other in zip(mine, theirs, strict=True):
        if one.kind is not Kind.LITERAL:
            statics, runs, arguments, weights = other.weight
            assert one.weighting == (statics, tuple(runs), arguments, tuple(weights))


def test_parameters_are_found_as_text() -> None:
    template = parse_template("/o/{shop}/{number:int}.{kind}")
    assert template.params("/o/a b/007.tar.gz") == {"shop": "a b", "number": "007", "kind": "tar.gz"}
    assert template.params("//o/a/1.x") == {"shop": "a", "number": "1", "kind": "x"}
    assert template.params("/o/a/x.y") == {}
    assert template.params("/o/a/1.x\n") == {"shop": "a", "number": "1", "kind": "x\n"}


def test_parameters_are_found_whichever_slash_the_row_owns() -> None:
    assert parse_template("/a/{x}/").params("/a/b") == {"x": "b"}
    assert parse_template("/a/{x}").params("/a/b/") == {"x": "b"}
    assert parse_template("/a/{x:path}/").params("/a/b/c/") == {"x": "b/c"}


TEXT = st.text(st.characters(exclude_characters="/", exclude_categories=["Cs"]), min_size=1)


@given(TEXT, TEXT)
def test_what_is_filled_in_is_found_again(one: str, other: str) -> None:
    template = parse_template("/a/{x}/b/{y}")
    path = template.format({"x": one, "y": other})
    assert template.params(path) == {"x": one, "y": other}


@given(st.text())
def test_no_text_makes_parsing_raise_anything_else(text: str) -> None:
    try:
        template = parse_template("/" + text)
    except TemplateError:
        return
    assert parse_template(template.text).parts == template.parts


@given(st.text())
def test_no_path_makes_finding_parameters_raise(path: str) -> None:
    template = parse_template("/{a:int}/{b:float}/{c:path}/{d}")
    template.params(path)
    template.accepts(path)


def test_a_number_of_five_thousand_digits_is_not_accepted_and_raises_nothing() -> None:
    template = parse_template("/n/{x:int}")
    assert not template.accepts("/n/" + "9" * 5_000)
    assert template.accepts("/n/" + "9" * 4_000)
    assert not template.accepts("/n/\u0663")


def test_a_missing_parameter_cannot_be_filled_in() -> None:
    with pytest.raises(KeyError):
        parse_template("/a/{x}").format({})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ((), {})),
        ("about, help", (("about", "help"), {})),
        ("min=1, signed=True", ((), {"min": 1, "signed": True})),
        ("'a,b', \"c\"", (("a,b", "c"), {})),
        ("1.5, None", ((1.5, None), {})),
    ],
)
def test_arguments_are_read_as_flask_writes_them(text: str, expected: object) -> None:
    assert parse_arguments(text) == expected


@pytest.mark.parametrize(
    ("name", "arguments", "good", "bad"),
    [
        ("int", "min=3, max=5", "4", "6"),
        ("int", "fixed_digits=3", "007", "07"),
        ("float", "min=1", "1.5", "0.5"),
    ],
)
def test_numbers_are_held_to_their_limits(name: str, arguments: str, good: str, bad: str) -> None:
    to_python = make_built_in(name, arguments).to_python
    assert to_python is not None
    to_python(good)
    with pytest.raises(ValueError, match=bad):
        to_python(bad)
