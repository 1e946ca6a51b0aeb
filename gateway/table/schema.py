"""Write the JSON Schema of routing.yaml, for editors (yaml-language-server) and other tools.

It is made from the models that read the file, so that the two cannot drift apart. What no schema can
say (a weight at stage new, two rows that are one) is left to ``gateway check``.
"""

from __future__ import annotations

import json
from typing import Any

from gateway.table.models import SHORTHAND_SHAPE, FileModel

ROW_KEY_PATTERN = r"^\s*(ANY|WS|[A-Z][A-Z-]*(\s*,\s*[A-Z][A-Z-]*)*)\s+/.*$"


def json_schema() -> dict[str, Any]:
    """Return the schema as plain data (draft 2020-12)."""
    written = FileModel.model_json_schema(mode="validation")
    definitions = {name: _tidy(shape) for name, shape in written.pop("$defs").items()}
    top = _tidy(written)
    properties = top["properties"]
    properties["version"] = {"const": 1, "description": properties["version"]["description"]}
    properties["routes"] = {
        "description": properties["routes"]["description"],
        "type": ["object", "null"],
        "patternProperties": {
            ROW_KEY_PATTERN: {"anyOf": [SHORTHAND_SHAPE, {"$ref": "#/$defs/RowModel"}, {"type": "null"}]}
        },
        "additionalProperties": False,
    }
    for name in ("defaults", "server", "compare", "events"):
        properties[name] = _or_null(properties[name]) | {"description": _help(name)}
    for name in ("RowModel", "DefaultsModel"):
        for key, words in (("pin", ["none"]), ("rollout", ["manual", "none"])):
            definitions[name]["properties"][key].setdefault("anyOf", []).append({"enum": words})
    kinds = ("wsgi", "asgi", "url", "command")
    definitions["BackendModel"]["oneOf"] = [{"required": [kind]} for kind in kinds]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "routing.yaml",
        **top,
        "$defs": dict(sorted(definitions.items())),
    }


def schema_text() -> str:
    """Return the schema as the text of ``routing.schema.json``."""
    return json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"


def _help(key: str) -> str:
    """Return what a key of the top is for; pydantic leaves it out beside a default that is a model."""
    return FileModel.model_fields[key].description or ""


def _or_null(shape: dict[str, Any]) -> dict[str, Any]:
    """Let a section be empty, as it is when all of its keys are commented out."""
    options = shape.pop("anyOf", None) or [{key: shape.pop(key) for key in ("$ref",) if key in shape}]
    return {
        **shape,
        "anyOf": [*(option for option in options if option != {"type": "null"}), {"type": "null"}],
    }


def _tidy(shape: Any) -> Any:
    """Drop the titles and defaults that pydantic writes; the descriptions say both."""
    if isinstance(shape, list):
        return [_tidy(item) for item in shape]
    if not isinstance(shape, dict):
        return shape
    tidy = {
        key: value if key in ("properties", "examples", "enum") else _tidy(value)
        for key, value in shape.items()
        if key not in ("title", "default")
    }
    if "properties" in tidy:
        tidy["properties"] = {name: _tidy(value) for name, value in tidy["properties"].items()}
    options = tidy.get("anyOf")
    if isinstance(options, list) and len(options) == 1:
        del tidy["anyOf"]
        tidy = {**options[0], **tidy}
    return tidy
