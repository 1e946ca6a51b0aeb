"""Draw values that a JSON Schema describes, and now and then one that it does not. Needs Hypothesis."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hypothesis import strategies as st

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hypothesis.strategies import SearchStrategy

Schema = dict[str, Any]
DEEPEST = 6
LARGEST = 2**31

_PLAIN_TEXT = st.text(st.characters(codec="utf-8"), max_size=20)
_WRONG: SearchStrategy[Any] = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-1, 1),
    st.just(LARGEST * LARGEST),
    _PLAIN_TEXT,
    st.just([]),
    st.just({}),
)
_FORMATS: Mapping[str, SearchStrategy[str]] = {
    "date-time": st.datetimes().map(lambda moment: moment.isoformat() + "Z"),
    "date": st.dates().map(str),
    "time": st.times().map(str),
    "uuid": st.uuids().map(str),
    "email": st.from_regex(r"[a-z]{1,8}@[a-z]{1,8}\.(?:com|org)", fullmatch=True),
    "uri": st.just("https://example.com/x"),
    "ipv4": st.ip_addresses(v=4).map(str),
}


def valid(schema: Schema, definitions: Mapping[str, Schema], depth: int = 0) -> SearchStrategy[Any]:
    """Return values that ``schema`` accepts, as far as its words are known here."""
    if "$ref" in schema:
        schema = definitions.get(str(schema["$ref"]).rpartition("/")[2], {})
    if "const" in schema:
        return st.just(schema["const"])
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    choices = schema.get("anyOf") or schema.get("oneOf")
    if choices:
        return st.one_of([valid(choice, definitions, depth + 1) for choice in choices])
    if schema.get("allOf"):
        merged: Schema = {}
        for part in schema["allOf"]:
            merged |= definitions.get(str(part.get("$ref", "")).rpartition("/")[2], part)
        return valid(merged, definitions, depth + 1)
    kind = schema.get("type")
    if isinstance(kind, list):
        return st.one_of([valid(schema | {"type": each}, definitions, depth + 1) for each in kind])
    if depth > DEEPEST:
        return st.none()
    match kind:
        case "integer":
            return st.integers(*_bounds(schema, 1))
        case "number":
            low, high = _bounds(schema, 0)
            return st.floats(low, high, allow_nan=False, width=32) | st.integers(low, high)
        case "boolean":
            return st.booleans()
        case "null":
            return st.none()
        case "array":
            items = valid(schema.get("items", {}), definitions, depth + 1)
            return st.lists(
                items, min_size=schema.get("minItems", 0), max_size=min(schema.get("maxItems", 3), 5)
            )
        case "object":
            return _objects(schema, definitions, depth)
        case "string":
            return _texts(schema)
    return _WRONG


def _bounds(schema: Schema, step: int) -> tuple[int, int]:
    low = schema.get("minimum", schema.get("exclusiveMinimum", -1000 - step) + step)
    high = schema.get("maximum", schema.get("exclusiveMaximum", max(low, 0) + 1000 + step) - step)
    return int(low), int(max(low, high))


def _texts(schema: Schema) -> SearchStrategy[str]:
    if schema.get("pattern"):
        return st.from_regex(str(schema["pattern"]))
    known = _FORMATS.get(schema.get("format", ""))
    if known is not None:
        return known
    least = schema.get("minLength", 0)
    most = max(least, min(schema.get("maxLength", least + 20), least + 20))
    return st.text(st.characters(codec="utf-8"), min_size=least, max_size=most)


def _objects(schema: Schema, definitions: Mapping[str, Schema], depth: int) -> SearchStrategy[dict[str, Any]]:
    properties: Mapping[str, Schema] = schema.get("properties", {})
    required = set(schema.get("required", ()))
    drawn = {name: valid(each, definitions, depth + 1) for name, each in properties.items()}
    return st.fixed_dictionaries(
        {name: each for name, each in drawn.items() if name in required},
        optional={name: each for name, each in drawn.items() if name not in required},
    )


@st.composite
def mostly_valid(draw: Any, schema: Schema, definitions: Mapping[str, Schema]) -> Any:
    """Return a value of ``schema``, one time in four bent: a member gone, a wrong value, another type."""
    value = draw(valid(schema, definitions))
    bend = draw(st.sampled_from(("", "", "", "", "", "", "gone", "wrong")))
    if not bend:
        return value
    if not isinstance(value, dict) or not value:
        return draw(_WRONG) if bend == "wrong" else value
    name = draw(st.sampled_from(sorted(value)))
    changed = dict(value)
    if bend == "gone":
        del changed[name]
    else:
        changed[name] = draw(_WRONG)
    return changed
