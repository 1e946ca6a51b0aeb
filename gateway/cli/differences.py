"""``gateway differences``: list what comparisons found, worst first, and show one finding whole."""

from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli.options import DEFAULT_CONFIG, AdminOption, ConfigOption, Output, OutputOption
from gateway.cli.output import err, out, out_json, terminal_width

if TYPE_CHECKING:
    from gateway.cli.findings import Source


def run(
    what: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[ROUTE] [ID]",
            help="Only this route's, or one finding whole by its id (the first column).",
        ),
    ] = None,
    show_all: Annotated[
        bool, typer.Option("--all", help="List what is waived, or only advice, as well.")
    ] = False,
    examples: Annotated[
        int,
        typer.Option("--examples", min=1, max=5, metavar="N", help="Example pairs of the one shown whole."),
    ] = 1,
    config: ConfigOption = DEFAULT_CONFIG,
    admin: AdminOption = None,
    output: OutputOption = Output.TABLE,
) -> int:
    """Ask the running gateway; where none runs, read what its state has kept."""
    from gateway.cli import finding_text, findings

    source: Source = findings.open_source(config, admin)
    if source.note and output is Output.TABLE:
        err((f"No gateway can be asked: {source.note}. This is what its state has kept.", "yellow"))
    found = findings.find(source, what or [], is_everything=show_all)
    if found.whole is not None:
        if output is Output.JSON:
            out_json(found.whole)
            return 0
        for line in finding_text.whole_lines(found.whole, terminal_width() or 160, examples=examples):
            out(*line)
        return 0
    if output is Output.JSON:
        out_json(found.listed)
        return 0
    for line in finding_text.list_lines(found, terminal_width()):
        out(*line)
    return 0
