"""``gateway rollback``: move a route back to where legacy answers, in the table."""

from typing import Annotated

import typer

from gateway.cli.loaded import WRONG_USAGE, refuse
from gateway.cli.options import (
    DEFAULT_CONFIG,
    AdminOption,
    ConfigOption,
    LiveOption,
    ReasonOption,
    RouteArgument,
)
from gateway.table.spec import Stage


def run(
    route: RouteArgument,
    to: Annotated[Stage | None, typer.Option("--to", help="The stage to go back to.")] = None,
    weight: Annotated[
        str | None, typer.Option("--weight", metavar="PERCENT", help="Canary: a smaller share, as 1%.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the change, and write nothing.")] = False,
    live: LiveOption = False,
    reason: ReasonOption = None,
    config: ConfigOption = DEFAULT_CONFIG,
    admin: AdminOption = None,
) -> int:
    """Works while an app cannot be imported: a listed row is found in the table alone."""
    if live:
        from gateway.cli import ordering

        return ordering.put(
            "rollback",
            route,
            config=config,
            admin=admin,
            reason=reason,
            to=to,
            weight=weight,
            is_dry=dry_run,
        )
    if reason is not None:
        refuse("--reason belongs to --live: in the file, a commit says why", WRONG_USAGE)
    from gateway.cli import moving
    from gateway.table.edit import Change
    from gateway.table.moves import can_shadow, rollback

    weight_bp = moving.read_weight(weight)
    target, data = moving.find(config, route)
    spec = target.spec
    stage = to
    if stage is None and weight_bp is not None:
        stage = Stage.CANARY
    if stage is None:
        stage = rollback(spec.stage, is_websocket=moving.is_websocket(spec), is_shadowed=can_shadow(spec))
    if stage is Stage.CANARY and spec.stage is not Stage.CANARY and weight_bp is None:
        weight_bp = moving.FIRST_WEIGHT_BP
    move = moving.Move(target, Change(stage, weight_bp))
    if move.is_needed and moving.is_forward(spec, move.after):
        refuse(
            f"{target.key} is at {moving.worded(spec)}, and {moving.worded(move.after)} is a step forward: "
            f"gateway promote '{target.key}'",
            WRONG_USAGE,
        )
    return moving.make(config, data, move, is_dry=dry_run, is_checked=False)
