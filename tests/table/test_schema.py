"""The JSON Schema in the repository is the models', and helps an editor with every key."""

from __future__ import annotations

import importlib
import json
import re
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from gateway.table.grammar import parse_row_key
from gateway.table.read import parse_table
from gateway.table.schema import json_schema, schema_text
from tests.table.samples import HEAD

if TYPE_CHECKING:
    from collections.abc import Iterator

SHIPPED = Path(__file__).parents[2] / "routing.schema.json"

GOOD = {
    "no-rows": "routes: {}\n",
    "nothing-below-routes": "routes:\n",
    "one-line-rows": "routes:\n  GET /a: new\n  GET,POST /b: canary 5%\n  WS /d: new 1%\n",
    "empty-row": "routes:\n  GET /a:\n",
    "a-mapping": "routes:\n  GET /a: {stage: canary, weight: 2.5%, timeout: 1m30s, sticky: client}\n",
    "lists": "routes:\n  GET /a: {sticky: [jwt:sub, client], pin: {new: client=::1}, body_limit: none}\n",
    "rollout": "routes:\n  GET /a: {stage: shadow, rollout: {steps: [canary 1%, new], on_fail: legacy}}\n",
    "manual-rollout": "routes:\n  GET /a: {rollout: manual, pin: none}\n",
    "rules": "routes:\n  GET /a: {compare: [{at: $.a, rule: ignore, reason: r}]}\n",
    "server": "routes: {}\nserver: {docs: off, trusted_proxies: 10.0.0.0/8, error_shape: {key: error}}\n",
    "empty-sections": "routes: {}\nserver:\ndefaults:\ncompare:\n",
    "defaults": "routes: {}\ndefaults: {timeout: 5s, error_shape: legacy}\n",
}
BAD = {
    "no-routes": "salt: x\n",
    "unknown-key": "routes: {}\nrouts: 3\n",
    "unknown-row-key": "routes:\n  GET /a: {stagee: new}\n",
    "unknown-stage": "routes:\n  GET /a: canry\n",
    "legacy-with-a-percentage": "routes:\n  GET /a: legacy 5%\n",
    "lower-case-method": "routes:\n  get /a: new\n",
    "no-slash": "routes:\n  GET a: new\n",
    "bare-duration": "routes:\n  GET /a: {timeout: 30}\n",
    "bare-percentage": "routes:\n  GET /a: {weight: 5}\n",
    "bare-size": "routes:\n  GET /a: {body_limit: 10}\n",
    "rule-without-a-reason": "routes:\n  GET /a: {compare: [{at: $.a, rule: ignore}]}\n",
    "secret-in-the-file": "routes: {}\nserver: {override_token: hunter2}\n",
}


def shapes(schema: Any) -> Iterator[dict[str, Any]]:
    if isinstance(schema, dict):
        yield schema
        for value in schema.values():
            yield from shapes(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from shapes(value)


def test_the_shipped_schema_is_the_models() -> None:
    assert SHIPPED.read_text(encoding="utf-8") == schema_text(), "run `gateway schema > routing.schema.json`"


def test_every_key_is_described() -> None:
    schema = json_schema()
    for shape in (schema, *schema["$defs"].values()):
        for name, value in shape["properties"].items():
            assert value.get("description"), name


def test_no_mapping_takes_unknown_keys() -> None:
    schema = json_schema()
    for shape in (schema, *schema["$defs"].values()):
        assert shape["additionalProperties"] is False


def test_every_reference_leads_somewhere() -> None:
    schema = json_schema()
    references = {shape["$ref"] for shape in shapes(schema) if isinstance(shape.get("$ref"), str)}
    assert {reference.removeprefix("#/$defs/") for reference in references} <= set(schema["$defs"])


def test_the_schema_is_plain_json() -> None:
    assert json.loads(schema_text()) == json_schema()


@pytest.mark.parametrize("text", GOOD.values(), ids=GOOD)
def test_a_good_table_is_good_to_the_reader(text: str) -> None:
    assert not parse_table((HEAD + text).encode(), source="routing.yaml", environ={}).has_errors


@pytest.mark.parametrize("text", BAD.values(), ids=BAD)
def test_a_bad_table_is_bad_to_the_reader(text: str) -> None:
    assert parse_table((HEAD + text).encode(), source="routing.yaml", environ={}).has_errors


@pytest.mark.skipif(find_spec("jsonschema") is None, reason="jsonschema is not installed")
@pytest.mark.parametrize("name", [*GOOD, *BAD])
def test_the_schema_agrees_with_the_reader(name: str) -> None:
    jsonschema: Any = importlib.import_module("jsonschema")
    validator = jsonschema.Draft202012Validator(json_schema())
    data = yaml.safe_load(HEAD + (GOOD | BAD)[name])
    assert validator.is_valid(data) is (name in GOOD)


def test_the_pattern_of_row_keys_takes_what_the_reader_takes() -> None:
    (pattern,) = json_schema()["properties"]["routes"]["patternProperties"]
    for key in ("GET /x", "GET, POST /x", "ANY /", "WS /x", "PURGE /x/{id:int}", "VERSION-CONTROL /x"):
        assert re.search(pattern, key)
        assert parse_row_key(key).path
