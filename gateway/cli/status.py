"""``gateway status``: where every route stands, on what evidence, what is missing, what to type next."""

from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli.options import DEFAULT_CONFIG, AdminOption, ConfigOption, Output, OutputOption
from gateway.cli.output import out, out_json

if TYPE_CHECKING:
    from gateway.cli.situation import Situation

PERIOD_S = 2.0


def run(
    route: Annotated[
        str | None, typer.Argument(metavar="[ROUTE]", help="Only this route: 'METHOD PATH', its path or id.")
    ] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Go on showing it, until Ctrl-C.")] = False,
    config: ConfigOption = DEFAULT_CONFIG,
    admin: AdminOption = None,
    output: OutputOption = Output.TABLE,
) -> int:
    """Ask the running gateway; where none runs, show what the table and its state say."""
    from gateway.cli.situation import look

    def situation() -> "Situation":
        return _only(look(config, admin), route)

    if watch:
        from gateway.cli.watching import watch as keep_watching

        keep_watching(situation, period_s=PERIOD_S, is_json=output is Output.JSON)
    now = situation()
    if output is Output.JSON:
        out_json(as_json(now))
        return 0
    from gateway.cli.output import terminal_width
    from gateway.cli.status_text import status_lines

    for line in status_lines(now, terminal_width()):
        out(*line)
    return 0


def as_json(situation: "Situation") -> dict[str, object]:
    """Return the situation for machines."""
    return {"is_running": situation.is_running, **asdict(situation)}


def _only(situation: "Situation", route: str | None) -> "Situation":
    if route is None:
        return situation
    from gateway.cli.ordering import find_route

    known = [
        {"id": each.standing.route_id, "key": each.standing.key, "path": each.standing.key.partition(" ")[2]}
        for each in situation.routes
    ]
    route_id, _ = find_route(route, known)
    wanted = tuple(each for each in situation.routes if each.standing.route_id == route_id)
    return replace(situation, routes=wanted, false_promotions=0.0, false_rollbacks=0.0)
