"""Describe one legacy operation with nothing but what its rule and its view say."""

from __future__ import annotations

import inspect
import re
from typing import TYPE_CHECKING, Any

from gateway.table.converters import parse_arguments
from gateway.web.paths import parse_flask_rule

if TYPE_CHECKING:
    from gateway.table.route import Route
    from gateway.web.paths import Path, PathParameter

_UNTAGGED = "legacy"


def plain_operation(route: Route, path: Path, method: str) -> dict[str, Any]:
    """Return the OpenAPI operation of ``method`` (lower-case) on a row that legacy answers.

    Summary: the docstring's first line, else the endpoint's name in words. Tag: the blueprint.
    """
    rule = next(
        (rule for rule in route.legacy_rules if rule.methods is None or method.upper() in rule.methods),
        route.legacy_rules[0] if route.legacy_rules else None,
    )
    operation: dict[str, Any] = {"tags": [(rule.blueprint if rule else "") or _UNTAGGED]}
    if rule is not None:
        summary, description = _words(rule.doc)
        operation["summary"] = summary or _in_words(rule.endpoint)
        if description:
            operation["description"] = description
    name = rule.endpoint if rule is not None else path.text
    operation["operationId"] = f"legacy_{re.sub(r'[^A-Za-z0-9]+', '_', name).strip('_')}_{method}"
    # A converter that the row does not write is the claimed rule's, parameter by parameter in order.
    converters = (
        [rule.converters.get(name) for name in parse_flask_rule(rule.rule).names] if rule is not None else []
    )
    parameters = []
    for index, parameter in enumerate(path.parameters):
        converter, arguments = parameter.converter, parameter.arguments
        claimed = converters[index] if index < len(converters) else None
        if not converter and claimed is not None:
            converter, arguments = claimed.name, claimed.arguments
        parameters.append(_parameter(parameter, converter, arguments))
    if parameters:
        operation["parameters"] = parameters
    operation["responses"] = {"default": {"description": "What the legacy app answers."}}
    return operation


def _words(doc: str) -> tuple[str, str]:
    """Split a docstring into its first line and the rest; flasgger's YAML after ``---`` is not for people."""
    text = re.split(r"^\s*---\s*$", inspect.cleandoc(doc), maxsplit=1, flags=re.MULTILINE)[0].strip()
    first, _, rest = text.partition("\n")
    return first.strip(), rest.strip()


def _in_words(endpoint: str) -> str:
    return endpoint.rpartition(".")[2].replace("_", " ").strip().capitalize()


def _parameter(parameter: PathParameter, converter: str, arguments: str) -> dict[str, Any]:
    described = {
        "name": parameter.name,
        "in": "path",
        "required": True,
        "schema": parameter_schema(converter, arguments),
    }
    if converter == "path":
        described["description"] = "May contain slashes."
    elif converter not in _KNOWN:
        described["description"] = f"As the legacy app's converter `{converter}` takes it."
    return described


_KNOWN = frozenset({"", "str", "string", "default", "path", "int", "float", "uuid", "any"})


def parameter_schema(converter: str, arguments: str = "") -> dict[str, Any]:
    """Return the JSON Schema of what a converter takes; a converter of the app's own is a string."""
    try:
        words, named = parse_arguments(arguments)
    except ValueError:
        words, named = (), {}
    match converter:
        case "int" | "float":
            lowest = named.get("min", None if named.get("signed") else 0)
            schema = {
                "type": "integer" if converter == "int" else "number",
                "minimum": lowest,
                "maximum": named.get("max"),
            }
        case "uuid":
            schema = {"type": "string", "format": "uuid"}
        case "any":
            schema = {"type": "string", "enum": [str(word) for word in words] or None}
        case "str" | "string" | "default" | "":
            length = named.get("length")
            schema = {
                "type": "string",
                "minLength": length if length is not None else named.get("minlength"),
                "maxLength": length if length is not None else named.get("maxlength"),
            }
        case _:
            schema = {"type": "string"}
    return {name: value for name, value in schema.items() if value is not None}
