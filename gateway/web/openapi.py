"""Describe the whole API from the first day: new's own operations, and plain ones for the rest.

The rows decide. A row that new serves (canary, new, retired) shows the operation that the new app
describes, under the public path; every other row shows what the legacy rule tells: parameters from the
converters, words from the view's docstring. Nothing is guessed about bodies. The result is OpenAPI 3.1
(https://spec.openapis.org/oas/v3.1.1.html); each operation says its stage in ``x-migration-stage``.
"""

from __future__ import annotations

import copy
import logging
from typing import TYPE_CHECKING, Any, Final

from gateway.table.spec import ANY_METHOD, Stage
from gateway.web.components import prune_components
from gateway.web.paths import Path, parse_flask_rule, parse_starlette_path, parse_table_path
from gateway.web.plain_operation import plain_operation

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from gateway.table.route import Route, Snapshot

Description = dict[str, Any]
"""An OpenAPI document, or a part of one: JSON as Python values."""

logger = logging.getLogger("gateway.web")

_METHODS: Final = ("get", "put", "post", "delete", "options", "head", "patch", "trace")
_LEGACY_METHODS: Final = ("get", "post", "put", "patch", "delete")
_SERVED_BY_NEW: Final = frozenset({Stage.CANARY, Stage.NEW, Stage.RETIRED})
_KEPT: Final = ("tags", "security", "externalDocs", "webhooks", "jsonSchemaDialect")


def merged_description(
    snapshot: Snapshot,
    new: object = None,
    *,
    title: str | None = None,
    version: str | None = None,
) -> Description:
    """Return the OpenAPI description of everything that the gateway answers.

    ``new`` is the new app when it is a FastAPI (anything with an ``openapi()``), the description itself
    (a dict, of an app that runs elsewhere), or anything else, which describes nothing. ``title`` and
    ``version`` default to the new app's. The new app's own description stays untouched. Its cost is that
    of ``openapi()`` and one pass over the rows: keep the result for as long as the snapshot lives.
    """
    theirs = _description_of(new)
    info = {"title": "API", "version": "0.1.0"} | theirs.get("info", {})
    info |= {name: value for name, value in (("title", title), ("version", version)) if value is not None}
    paths = _Paths(theirs.get("paths", {}))
    for route in sorted(snapshot.routes, key=lambda route: not route.is_listed):
        if not route.is_websocket and not _is_static(route):
            paths.add(route)
    merged: Description = {"openapi": "3.1.0", "info": info, "paths": paths.sorted()}
    merged |= {name: theirs[name] for name in _KEPT if name in theirs}
    components = prune_components(theirs.get("components", {}), merged)
    return merged | ({"components": components} if components else {})


class _Paths:
    """Collect operations under public paths; two spellings of one shape share one, as OpenAPI demands."""

    def __init__(self, new_paths: Mapping[str, Any]) -> None:
        self._new_paths_by_shape: dict[str, list[tuple[Path, Mapping[str, Description]]]] = {}
        for text, methods in new_paths.items():
            path = parse_starlette_path(text)
            self._new_paths_by_shape.setdefault(path.shape, []).append((path, _with_shared(methods)))
        self._by_shape: dict[str, tuple[Path, dict[str, Description]]] = {}
        self._owners: dict[tuple[str, str], Route] = {}
        self._ids: set[str] = set()

    def add(self, route: Route) -> None:
        """Add the operations of one row."""
        path = _public_path(route)
        if route.spec.stage in _SERVED_BY_NEW:
            if route.new_route is not None and not route.new_route.is_in_schema:
                return
            operations = self._operations_of_new(route, path)
            if operations:
                for method, operation in operations:
                    self._put(path, method, operation, route)
                return
        for method in _plain_methods(route):
            self._put(path, method, plain_operation(route, path, method), route)

    def sorted(self) -> dict[str, dict[str, Description]]:
        """Return the paths in order, each with its operations."""
        filled = [(path.text, operations) for path, operations in self._by_shape.values() if operations]
        return dict(sorted(filled, key=lambda item: item[0]))

    def _operations_of_new(self, route: Route, path: Path) -> list[tuple[str, Description]]:
        written = route.new_route.path if route.new_route is not None else (route.spec.new_path or path.text)
        template = parse_starlette_path(written)
        operations = []
        for method in _METHODS:
            if _takes(route, method) and (found := self._find(template, method)) is not None:
                names, described = found
                operation = copy.deepcopy(described)
                if set(names) != set(path.names) and len(names) == len(path.names):
                    _rename_parameters(operation, dict(zip(names, path.names, strict=True)))
                operations.append((method, operation))
        return operations

    def _find(self, template: Path, method: str) -> tuple[tuple[str, ...], Description] | None:
        """Find new's operation: under this very path, else under one that names its parameters otherwise."""
        for path, methods in self._new_paths_by_shape.get(template.shape, ()):
            if path.text == template.text and method in methods:
                return path.names, methods[method]
        for path, methods in self._new_paths_by_shape.get(template.shape, ()):
            if method in methods:
                return path.names, methods[method]
        return None

    def _put(self, path: Path, method: str, operation: Description, route: Route) -> None:
        shown, operations = self._by_shape.setdefault(path.shape, (path, {}))
        owner = self._owners.get((path.shape, method))
        if owner is not None:
            # The same rule again, or one that only its converters tell apart, which OpenAPI cannot.
            if not {rule.index for rule in route.legacy_rules} & {rule.index for rule in owner.legacy_rules}:
                _mention(operations[method], route)
            return
        _rename_parameters(operation, dict(zip(path.names, shown.names, strict=True)))
        operation["operationId"] = self._unique_id(operation.get("operationId", f"{method}_{shown.text}"))
        operation["x-migration-stage"] = str(route.spec.stage)
        if route.spec.stage is Stage.CANARY:
            operation["x-migration-weight"] = f"{route.spec.weight_bp / 100:g}%"
        operations[method] = operation
        self._owners[path.shape, method] = route

    def _unique_id(self, wanted: str) -> str:
        name, count = wanted, 1
        while name in self._ids:
            count += 1
            name = f"{wanted}_{count}"
        self._ids.add(name)
        return name


def _description_of(new: object) -> Description:
    if isinstance(new, dict):
        return copy.deepcopy(new)
    describe = getattr(new, "openapi", None)
    if not callable(describe):
        return {}
    try:
        described = describe()
    except Exception:
        # The new app's own models may be at fault; the legacy half of the description still helps.
        logger.exception("the new app could not describe itself; its operations are shown without detail")
        return {}
    return copy.deepcopy(described) if isinstance(described, dict) else {}


def _public_path(route: Route) -> Path:
    if not route.is_listed and route.legacy_rules:
        return parse_flask_rule(route.legacy_rules[0].rule)
    return parse_table_path(route.spec.path)


def _with_shared(methods: Mapping[str, Any]) -> dict[str, Description]:
    """Return a path's operations, each with the parameters that the path states for all of them."""
    shared = methods.get("parameters", [])
    return {
        method: {**methods[method], "parameters": [*shared, *methods[method].get("parameters", [])]}
        if shared
        else methods[method]
        for method in _METHODS
        if method in methods
    }


def _takes(route: Route, method: str) -> bool:
    return route.methods is None or method.upper() in route.methods


def _plain_methods(route: Route) -> Sequence[str]:
    if route.methods is not None and ANY_METHOD not in route.methods:
        known: Iterable[str] = route.methods
    elif route.spec.stage in _SERVED_BY_NEW and route.new_route is not None and route.new_route.methods:
        known = route.new_route.methods
    else:
        known = {method for rule in route.legacy_rules for method in rule.methods or ()}
    return [method for method in _LEGACY_METHODS if method.upper() in known]


def _is_static(route: Route) -> bool:
    """Tell whether a row only stands for Flask's own static files, which are no part of an API."""
    return not route.is_listed and any(
        rule.endpoint == "static" or rule.endpoint.endswith(".static") for rule in route.legacy_rules
    )


def _mention(operation: Description, route: Route) -> None:
    rules = ", ".join(f"`{rule.rule}`" for rule in route.legacy_rules) or f"`{route.spec.path}`"
    note = f"Other values of the path's parameters belong to {rules} ({route.spec.stage})."
    operation["description"] = "\n\n".join(filter(None, (operation.get("description", ""), note)))


def _rename_parameters(operation: Description, names: Mapping[str, str]) -> None:
    for parameter in operation.get("parameters", ()):
        if parameter.get("in") == "path":
            parameter["name"] = names.get(parameter["name"], parameter["name"])
