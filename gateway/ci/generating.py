"""Make requests up from what the new app says of itself; shrink each that differs to the smallest that does.

Hypothesis draws them, from a fixed seed, so that two runs on the same code send the same requests. Each
request starts from the starting state. What is drawn for a row stops with its first difference. An operation
whose description makes no sense is told, and nothing is made up for it.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from hypothesis.errors import HypothesisException

from gateway.ci.corpus import CorpusRequest, Scenario
from gateway.ci.judging import Gathered
from gateway.ci.results import GENERATED
from gateway.ci.running import run_scenario
from gateway.ci.schemas import mostly_valid
from gateway.errors import GatewayError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from gateway.ci.running import Pair
    from gateway.ci.schemas import Schema
    from gateway.table.route import Route

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_PATH_SAFE = "-._~!$&'()*+,;=:@"


@dataclass(frozen=True, slots=True)
class Operation:
    """Be one operation of the new app's description, on one row, under the row's public path."""

    route: Route
    method: str
    parameters: tuple[Schema, ...]
    body: Schema | None
    body_type: str
    definitions: Mapping[str, Schema]


class BadDescription(GatewayError):
    """Report a description from which no request can be made up."""


class _Differs(Exception):
    """Say that a request was answered differently."""


def operations(routes: tuple[Route, ...], description: Mapping[str, Any]) -> Iterator[Operation]:
    """Yield what ``description`` (OpenAPI 3) says of the rows' new routes."""
    paths = _object(description, "paths")
    components = _object(description, "components")
    definitions = _object(components, "schemas")
    for route in routes:
        if route.new_route is None:
            continue
        # OpenAPI names parameters without Starlette's converters.
        item = _object(paths, re.sub(r"\{(\w+):[^}]*\}", r"{\1}", route.new_route.path))
        for method, operation in item.items():
            taken = route.methods is None or method.upper() in route.methods
            if not taken or not isinstance(operation, dict):
                continue
            content = _object(_object(operation, "requestBody"), "content")
            kind = next(
                (
                    each
                    for each in ("application/json", "application/x-www-form-urlencoded")
                    if each in content
                ),
                "",
            )
            yield Operation(
                route,
                method.upper(),
                tuple(_parameters(item, operation, components)),
                _object(_object(content, kind), "schema") if kind else None,
                kind,
                definitions,
            )


def _object(owner: Any, name: str) -> dict[str, Any]:
    """Return a member that is an object; an empty one in the place of anything else."""
    found = owner.get(name) if isinstance(owner, dict) else None
    return found if isinstance(found, dict) else {}


def _parameters(item: Schema, operation: Schema, components: Schema) -> Iterator[Schema]:
    """Yield the parameters of a path and of its operation, references followed."""
    for owner in (item, operation):
        listed = owner.get("parameters")
        for each in listed if isinstance(listed, list) else ():
            found = each
            if isinstance(each, dict) and "$ref" in each:
                found = _object(_object(components, "parameters"), str(each["$ref"]).rpartition("/")[2])
            if isinstance(found, dict) and isinstance(found.get("name"), str):
                yield found


def generate(
    found: Iterable[Operation],
    pair: Pair,
    gathered: Gathered,
    *,
    count: int,
    headers: tuple[tuple[str, str], ...] = (),
    seed_number: int = 0,
) -> None:
    """Send up to ``count`` requests for each operation to both sides, and gather what is found.

    Of requests that differ only the smallest is gathered. ``headers`` are sent with each.
    """
    for operation in found:
        _explore(operation, pair, gathered, count, headers, seed_number)


def _explore(
    operation: Operation,
    pair: Pair,
    gathered: Gathered,
    count: int,
    headers: tuple[tuple[str, str], ...],
    seed_number: int,
) -> None:
    smallest: list[Gathered] = []
    name = f"generated: {operation.method} {operation.route.spec.path}"

    @seed(seed_number)
    @settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
        report_multiple_bugs=False,
        print_blob=False,
    )
    @given(requests(operation, headers))
    def holds(request: CorpusRequest) -> None:
        tried = Gathered(gathered.settings)
        run_scenario(Scenario(name, (request,)), *pair, tried)
        if any(row.is_selected and row.mismatched for row in tried.rows.values()):
            smallest[:] = [tried]
            raise _Differs
        gathered.absorb(tried)

    try:
        holds()
    except BadDescription as exc:
        gathered.notes.append(f"{name}: nothing is made up: {exc}")
    except (_Differs, HypothesisException, BaseExceptionGroup) as exc:
        if not smallest:
            if not isinstance(exc, HypothesisException):
                raise
            words = str(exc).splitlines() or [""]
            gathered.notes.append(f"{name}: nothing is made up: {type(exc).__name__}: {words[0]}")
        elif not isinstance(exc, _Differs):
            gathered.notes.append(f"{name}: differed, and not again with the same request")
    for tried in smallest:
        gathered.absorb(tried)


@st.composite
def requests(draw: Any, operation: Operation, headers: tuple[tuple[str, str], ...]) -> CorpusRequest:
    """Return requests of an operation; drawing one raises :class:`BadDescription`."""
    try:
        return _request(draw, operation, headers)
    except (TypeError, ValueError, LookupError, AttributeError, ArithmeticError, re.error) as exc:
        words = str(exc).splitlines() or [type(exc).__name__]
        raise BadDescription(f"its description makes no sense ({words[0]})") from exc
    except RecursionError as exc:
        raise BadDescription("its description leads in circles") from exc


def _request(draw: Any, operation: Operation, headers: tuple[tuple[str, str], ...]) -> CorpusRequest:
    template = operation.route.template
    drawn: dict[str, dict[str, Any]] = {"path": {}, "query": {}, "header": {}, "cookie": {}}
    for parameter in operation.parameters:
        place, name = parameter.get("in", "query"), parameter["name"]
        is_needed = parameter.get("required", False) or place == "path"
        if is_needed or draw(st.booleans()):
            value = draw(mostly_valid(parameter.get("schema", {}), operation.definitions))
            drawn.setdefault(place, {})[name] = value
    segments = {
        name: quote(_text(drawn["path"].get(name, 1)).replace("/", "") or "0", safe=_PATH_SAFE)
        for name in template.names
    }
    target = re.sub(
        r"\{([^{}]*)\}", lambda part: segments.get(part[1].partition(":")[0], "1"), operation.route.spec.path
    )
    query = [(name, _text(each)) for name, value in drawn["query"].items() for each in _listed(value)]
    sent = [
        (name, quote(_text(value), safe=" "))
        for name, value in drawn["header"].items()
        if _NAME.fullmatch(name)
    ]
    body = b""
    if operation.body is not None:
        value = draw(mostly_valid(operation.body, operation.definitions))
        sent.append(("Content-Type", operation.body_type))
        body = _body(value, operation.body_type)
    return CorpusRequest(
        method=operation.method,
        target=target + (f"?{urlencode(query)}" if query else ""),
        headers=(*headers, *sent),
        body=body,
        source=GENERATED,
        is_literal=True,
    )


def _body(value: Any, kind: str) -> bytes:
    if kind == "application/json":
        return json.dumps(value, ensure_ascii=False).encode("utf-8", "replace")
    pairs = value.items() if isinstance(value, dict) else ()
    return urlencode([(name, _text(each)) for name, each in pairs if each is not None]).encode()


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    return json.dumps(value)
