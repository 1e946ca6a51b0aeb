"""Read where rows stand, so that a verb that reads the table says what is served, not what was written."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from gateway.errors import SettingsError
from gateway.rollout.persistence import from_record
from gateway.rollout.positions import standing_row
from gateway.store import StoreUnavailable, default_file

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from gateway.rollout.positions import Position
    from gateway.table.route import Route
    from gateway.table.spec import TableSpec


def read_positions(config: Path, spec: TableSpec) -> Mapping[str, Position]:
    """Return the stored positions by route id; none where there is no state, or none that can be read."""
    if spec.store is None and not default_file(config).exists():
        return {}
    from gateway.store import Ledger, locate

    try:
        with Ledger(locate(spec.store, config), may_create=False) as ledger:
            return {record.route_id: from_record(record) for record in ledger.positions()}
    except (StoreUnavailable, SettingsError):
        return {}


def at_its_place(route: Route, positions: Mapping[str, Position]) -> Route:
    """Return a route as it is served: with the stage and the weight of its position."""
    position = positions.get(route.id)
    return route if position is None else replace(route, spec=standing_row(route.spec, position))
