"""Tell what stands behind each endpoint: who answers, and where both implementations are written."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from gateway.backends.inspect import place_of
from gateway.cli.loaded import shown_place
from gateway.cli.standing import at_its_place
from gateway.table.spec import Stage
from gateway.table.template import TemplateError, parse_template

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from gateway.loading import Migration
    from gateway.rollout.positions import Position
    from gateway.table.inventory import NewRoute
    from gateway.table.route import Route, Snapshot
    from gateway.table.spec import RouteSpec


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Be one endpoint of either app. ``stage`` is empty for a new route that no row lists."""

    id: str
    methods: tuple[str, ...]
    path: str
    stage: str
    share: str
    answers: str
    legacy: str
    new: str
    is_listed: bool
    owner: str = ""

    def as_json(self) -> dict[str, Any]:
        """Return the endpoint as JSON-able values."""
        return asdict(self)


def percent(basis_points: int) -> str:
    """Return basis points as the table writes them: ``5%``, ``0.25%``."""
    return f"{basis_points / 100:g}%"


def share_of(spec: RouteSpec) -> str:
    """Return the percentage that stands behind a row's stage: canary's weight, or what is compared."""
    if spec.stage is Stage.CANARY:
        return percent(spec.weight_bp)
    is_usual = spec.sample_bp == (10_000 if spec.stage is Stage.SHADOW else 0)
    return "" if is_usual or spec.stage in (Stage.LEGACY, Stage.RETIRED) else percent(spec.sample_bp)


def who_answers(spec: RouteSpec) -> str:
    """Say who answers callers of a row."""
    if spec.stage in (Stage.NEW, Stage.RETIRED) or spec.weight_bp >= 10_000:
        return "new"
    if spec.stage is Stage.CANARY and spec.weight_bp:
        return f"new {percent(spec.weight_bp)}, else legacy"
    return "legacy"


def new_place(route: NewRoute | None) -> str:
    """Return ``file:line`` of a new route's function, or its name where that cannot be told."""
    if route is None:
        return ""
    return shown_place(place_of(getattr(route.route, "endpoint", None))) or route.endpoint


def list_endpoints(
    migration: Migration, snapshot: Snapshot, positions: Mapping[str, Position]
) -> list[Endpoint]:
    """Return every endpoint: listed rows, then implicit ones, then new routes that no row lists.

    Rows are at the stage at which they are served, by their ``positions`` (by route id).
    """
    found = [_endpoint(at_its_place(route, positions)) for route in snapshot.routes if route.is_listed]
    implicit: dict[tuple[int, str], list[Route]] = {}
    for route in snapshot.routes:
        if not route.is_listed:
            index = route.legacy_rules[0].index if route.legacy_rules else -1
            implicit.setdefault((index, route.spec.path), []).append(route)
    for routes in implicit.values():
        methods = tuple(method for route in routes for method in _methods(route))
        found.append(_endpoint(routes[0], methods))
    found += unlisted_endpoints(migration, snapshot)
    return found


def _methods(route: Route) -> tuple[str, ...]:
    return route.spec.methods


def _endpoint(route: Route, methods: tuple[str, ...] | None = None) -> Endpoint:
    spec = route.spec
    return Endpoint(
        id=route.id,
        methods=methods or spec.methods,
        path=route.key.partition(" ")[2],
        stage=spec.stage.value,
        share=share_of(spec),
        answers=who_answers(spec),
        legacy=shown_place(route.legacy_rules[0].view) if route.legacy_rules else "",
        new=new_place(route.new_route),
        is_listed=route.is_listed,
        owner=spec.owner or "",
    )


def knows_legacy(migration: Migration) -> bool:
    """Tell whether the legacy app's rules can be seen: then what only new has is known to be so."""
    return migration.apps is not None and migration.apps.legacy_inventory.is_known


def unlisted_endpoints(migration: Migration, snapshot: Snapshot) -> Iterator[Endpoint]:
    """Yield the new app's routes that no row leads to; what FastAPI adds by itself (its docs) is left out."""
    if migration.apps is None:
        return
    listed: dict[str, list[Route]] = {}
    for route in snapshot.routes:
        if route.is_listed:
            for template in {route.template.shape, (route.new_template or route.template).shape}:
                listed.setdefault(template, []).append(route)
    for new in migration.apps.new_inventory.routes:
        if new.kind not in ("route", "websocket") or not (new.is_in_schema or new.kind == "websocket"):
            continue
        try:
            shape = parse_template(new.path).shape
        except TemplateError:
            shape = new.path
        taken = {method for route in listed.get(shape, ()) for method in route.spec.methods}
        own = set(new.methods or ()) if new.kind == "route" else {"WS"}
        left = own - taken - ({"HEAD"} if "GET" in own else set())
        if left and "ANY" not in taken:
            yield Endpoint("", tuple(sorted(left)), new.path, "", "", "nobody", "", new_place(new), False)
