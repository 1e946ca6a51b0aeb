"""Name the options that several verbs share."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Output(StrEnum):
    """Choose between a table for people and JSON for machines."""

    TABLE = "table"
    JSON = "json"


ConfigOption = Annotated[
    Path, typer.Option("--config", envvar="GATEWAY_CONFIG", metavar="FILE", help="The migration table.")
]
OutputOption = Annotated[Output, typer.Option("--output", help="A table for people, or JSON.")]
RouteArgument = Annotated[
    str,
    typer.Argument(metavar="ROUTE", help="'METHOD PATH', a path that only one row has, or a row's id."),
]

AdminOption = Annotated[
    str | None,
    typer.Option(
        "--admin",
        envvar="GATEWAY_ADMIN_URL",
        metavar="URL",
        help="Another gateway's admin listener; its token stands in GATEWAY_ADMIN_TOKEN.",
    ),
]
ReasonOption = Annotated[
    str | None, typer.Option("--reason", metavar="TEXT", help="Why; it stands in the events.")
]
LiveOption = Annotated[
    bool, typer.Option("--live", help="Ask the running gateway instead; the file stays as it is.")
]

DEFAULT_CONFIG = Path("routing.yaml")
