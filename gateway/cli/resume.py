"""``gateway resume``: lift a hold or a rollback of a route on the running gateway."""

from gateway.cli.options import DEFAULT_CONFIG, AdminOption, ConfigOption, ReasonOption, RouteArgument


def run(
    route: RouteArgument,
    reason: ReasonOption = None,
    config: ConfigOption = DEFAULT_CONFIG,
    admin: AdminOption = None,
) -> int:
    """A route that was rolled back starts again from where the file puts it, on evidence from now on."""
    from gateway.cli import ordering

    return ordering.put("resume", route, config=config, admin=admin, reason=reason)
