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

DEFAULT_CONFIG = Path("routing.yaml")
