"""``gateway promote``: move a route one stage forward, in the table."""

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
from gateway.cli.output import out
from gateway.table.spec import Stage


def run(
    route: RouteArgument,
    to: Annotated[Stage | None, typer.Option("--to", help="The stage to go to, instead of the next.")] = None,
    weight: Annotated[
        str | None, typer.Option("--weight", metavar="PERCENT", help="Canary: new's share, as 10%.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the change, and write nothing.")] = False,
    live: LiveOption = False,
    reason: ReasonOption = None,
    config: ConfigOption = DEFAULT_CONFIG,
    admin: AdminOption = None,
) -> int:
    """Change only the characters that must change; comments, order and quoting stay as they are."""
    if live:
        from gateway.cli import ordering

        return ordering.put(
            "promote",
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
    from gateway.table.moves import can_shadow, promotion

    weight_bp = moving.read_weight(weight)
    target, data = moving.find(config, route)
    spec = target.spec
    stage = to
    if stage is None and weight_bp is not None:
        stage = Stage.CANARY
    if stage is None:
        stage = promotion(spec.stage, is_websocket=moving.is_websocket(spec), is_shadowed=can_shadow(spec))
    if stage is Stage.CANARY and spec.stage is not Stage.CANARY and weight_bp is None:
        weight_bp = next(
            (step.weight_bp for step in (spec.rollout.steps if spec.rollout else ()) if step.weight_bp),
            moving.FIRST_WEIGHT_BP,
        )
    move = moving.Move(target, Change(stage, weight_bp))
    if move.is_needed and not moving.is_forward(spec, move.after):
        refuse(
            f"{target.key} is at {moving.worded(spec)}, and {moving.worded(move.after)} is a step back: "
            f"gateway rollback '{target.key}'",
            WRONG_USAGE,
        )
    status = moving.make(config, data, move, is_dry=dry_run, is_checked=True)
    if move.is_needed and not dry_run:
        out("")
        way = f" --to {spec.stage}" if moving.is_websocket(spec) else ""  # legacy answers no websocket
        out("Back: ", (f"gateway rollback '{target.key}'{way}", "bold"))
    return status
