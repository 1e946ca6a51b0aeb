"""``gateway routes``: list every endpoint of either app."""

from collections import Counter
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli.loaded import load_valid
from gateway.cli.options import DEFAULT_CONFIG, ConfigOption, Output, OutputOption
from gateway.cli.output import counted, out, out_columns, out_json, stage_cell

if TYPE_CHECKING:
    from gateway.cli.endpoints import Endpoint


class Order(StrEnum):
    """Choose the order of the list; ``match`` is the order in which a path would be tried."""

    PATH = "path"
    MATCH = "match"
    STAGE = "stage"
    METHODS = "methods"


_STAGES = ("legacy", "shadow", "canary", "new", "retired", "")


def run(
    text: Annotated[str, typer.Argument(metavar="[TEXT]", help="Only endpoints that contain this.")] = "",
    sort: Annotated[Order, typer.Option("--sort", "-s", help="The order of the list.")] = Order.PATH,
    config: ConfigOption = DEFAULT_CONFIG,
    output: OutputOption = Output.TABLE,
) -> int:
    """Print methods, path, stage, who answers, and where both implementations are written."""
    from gateway.cli.endpoints import list_endpoints
    from gateway.cli.standing import read_positions

    migration, snapshot = load_valid(config)
    endpoints = list_endpoints(migration, snapshot, read_positions(config, snapshot.spec))
    specificity = {route.key.partition(" ")[2]: route.template.specificity for route in snapshot.routes}

    def place(endpoint: "Endpoint") -> tuple[object, ...]:
        by_path = (endpoint.path, endpoint.methods)
        if sort is Order.MATCH:
            return (not endpoint.stage, specificity.get(endpoint.path, ()), *by_path)
        if sort is Order.STAGE:
            return (_STAGES.index(endpoint.stage), *by_path)
        return (endpoint.methods, endpoint.path) if sort is Order.METHODS else by_path

    shown = [endpoint for endpoint in sorted(endpoints, key=place) if text.lower() in _searched(endpoint)]
    if output is Output.JSON:
        out_json([endpoint.as_json() for endpoint in shown])
        return 0
    if not shown:
        out(f"No endpoint contains {text!r}." if text else "Neither app has an endpoint that can be seen.")
        return 0
    out_columns(
        ("METHODS", "PATH", "STAGE", "ANSWERS", "LEGACY", "NEW", "OWNER"),
        [
            (
                ",".join(endpoint.methods),
                endpoint.path,
                stage_cell(endpoint.stage, endpoint.share) if endpoint.is_listed else _unwritten(endpoint),
                endpoint.answers,
                endpoint.legacy,
                endpoint.new,
                endpoint.owner,
            )
            for endpoint in shown
        ],
    )
    out("")
    out(_summary(shown))
    return 0


def _searched(endpoint: "Endpoint") -> str:
    methods = ",".join(endpoint.methods)
    return f"{methods} {endpoint.path} {endpoint.legacy} {endpoint.new} {endpoint.owner}".lower()


def _unwritten(endpoint: "Endpoint") -> tuple[str, str]:
    return ("(legacy)", "dim") if endpoint.stage else ("unlisted", "red")


def _summary(endpoints: "list[Endpoint]") -> str:
    stages = Counter(endpoint.stage for endpoint in endpoints)
    implicit = sum(bool(endpoint.stage) and not endpoint.is_listed for endpoint in endpoints)
    parts = [f"{stages[stage]} {stage}" for stage in _STAGES[:-1] if stages[stage]]
    text = f"{counted(len(endpoints), 'endpoint')}: {', '.join(parts) or 'none is served'}"
    if implicit:
        text += f"; (legacy) marks {implicit} that the table does not list"
    if stages[""]:
        text += f"; {stages['']} of the new app cannot be reached, for no row lists them"
    return f"{text}."
