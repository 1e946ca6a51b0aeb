"""``gateway hold``: stop automatic moves of a route on the running gateway."""

from gateway.cli.options import DEFAULT_CONFIG, AdminOption, ConfigOption, ReasonOption, RouteArgument


def run(
    route: RouteArgument,
    reason: ReasonOption = None,
    config: ConfigOption = DEFAULT_CONFIG,
    admin: AdminOption = None,
) -> int:
    """The route stays where it is until somebody resumes it; the breaker goes on working."""
    from gateway.cli import ordering

    return ordering.put("hold", route, config=config, admin=admin, reason=reason)
