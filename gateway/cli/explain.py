"""``gateway explain``: say which row a request matches, why, and who would answer."""

from typing import Annotated

import typer

from gateway.cli.loaded import WRONG_USAGE, load_valid, refuse, shown_place
from gateway.cli.options import DEFAULT_CONFIG, ConfigOption, Output, OutputOption
from gateway.cli.output import out, out_json, stage_cell


def run(
    method: Annotated[str, typer.Argument(metavar="METHOD", help="GET, POST, ... or WS for a websocket.")],
    path: Annotated[
        str, typer.Argument(metavar="PATH", help="The path as a client sends it, query included.")
    ],
    header: Annotated[
        list[str] | None, typer.Option("--header", "-H", metavar="'NAME: VALUE'", help="A request header.")
    ] = None,
    config: ConfigOption = DEFAULT_CONFIG,
    output: OutputOption = Output.TABLE,
) -> int:
    """Follow one request through the table without sending it."""
    if not path.startswith("/"):
        refuse(f"a path starts with a slash: gateway explain {method} /{path}", WRONG_USAGE)
    headers = [_parse_header(text) for text in header or ()]
    method = method.upper()  # as `promote` takes it; no app has methods that differ by their case
    from gateway.cli.endpoints import new_place, share_of
    from gateway.cli.explanation import explain
    from gateway.cli.standing import read_positions

    migration, snapshot = load_valid(config)
    found = explain(migration, snapshot, method, path, headers, read_positions(config, snapshot.spec))
    route = found.route
    legacy_view = shown_place(route.legacy_rules[0].view) if route and route.legacy_rules else ""
    new_view = new_place(route.new_route) if route else ""
    if output is Output.JSON:
        out_json(
            {
                "method": found.method,
                "path": found.path,
                "answered_by": found.backend,
                "why": found.why,
                "row": route.key if route else None,
                "id": route.id if route else None,
                "line": route.spec.line if route and route.is_listed else None,
                "stage": route.spec.stage.value if route else None,
                "file_stage": found.file_stage or None,
                "is_listed": route.is_listed if route else False,
                "parameters": dict(found.parameters),
                "not": list(found.over),
                "compared": found.compared,
                "legacy_view": legacy_view,
                "new_view": new_view,
            }
        )
        return 0
    out((f"{found.method} {found.path}", "bold"))
    if route is None:
        _line("row", "none")
    else:
        place = f"{config}:{route.spec.line}" if route.is_listed else "implicit: the table does not list it"
        _line("row", f"{route.key}  ({place})")
        for other in found.over:
            _line("not", other)
        if found.parameters:
            _line("with", ", ".join(f"{name} = {value}" for name, value in found.parameters))
        _line("stage", stage_cell(route.spec.stage.value, share_of(route.spec)))
        if found.file_stage:
            _line(
                "",
                f"where its evidence or a person put it (gateway status); the file says {found.file_stage}",
            )
    _line("answers", f"{found.backend}: {found.why}")
    if route is not None:
        _line("compared", found.compared)
        _line("legacy", legacy_view or "has no such route")
        _line("new", new_view or "has no such route")
    return 0


def _line(label: str, value: str | tuple[str, str]) -> None:
    out("  ", (f"{label:<10}", "dim"), value)


def _parse_header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon or not name.strip() or not name.isascii():
        refuse(f"{text!r} is no header; write -H 'Name: value'", WRONG_USAGE)
    return name.strip(), value.strip()
