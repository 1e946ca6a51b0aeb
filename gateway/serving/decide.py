"""Decide who answers one request of one route: the override, then pins, then stage and weight.

A pure function of route, request and salt; :func:`decide` changes nothing and calls nobody but the
session reader that it is given.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from gateway.serving.assignment import bucket_of, caller_key, value_of
from gateway.table.spec import Stage

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gateway.backends.base import Scope
    from gateway.table.route import Route
    from gateway.table.spec import RouteSpec

    ReadSession = Callable[[bytes], Mapping[str, object] | None]

BackendName = Literal["legacy", "new"]


@dataclass(frozen=True, slots=True)
class Decision:
    """Name the backend that answers, and say why in plain words. ``caller`` is who was drawn, if anybody."""

    backend: BackendName
    reason: str
    caller: str = ""


_OF_STAGE: dict[Stage, Decision] = {
    Stage.LEGACY: Decision("legacy", "the row is at stage legacy"),
    Stage.SHADOW: Decision("legacy", "the row is at stage shadow: legacy answers"),
    Stage.NEW: Decision("new", "the row is at stage new"),
    Stage.RETIRED: Decision("new", "the row is at stage retired"),
}


def is_settled(route: Route) -> bool:
    """Tell whether the stage alone decides, for every caller: no weight, no pins."""
    pins = route.spec.pins
    return not (pins.new or pins.legacy or _is_drawn(route.spec))


def _is_drawn(spec: RouteSpec) -> bool:
    """Tell whether callers are told apart; an automatic row counts them even where all of them get new."""
    is_partial = spec.weight_bp < 10_000 or spec.rollout is not None
    return spec.stage is Stage.CANARY and spec.weight_bp > 0 and is_partial


def settled(stage: Stage, weight_bp: int = 0) -> Decision:
    """Return the decision that the stage alone makes (a canary's weight counts as all or nothing)."""
    if stage is Stage.CANARY:
        if weight_bp >= 10_000:
            return Decision("new", "canary at 100%")
        return Decision("legacy", "canary at 0%")
    return _OF_STAGE[stage]


def decide(route: Route, scope: Scope, *, salt: str, read_session: ReadSession) -> Decision:
    """Return who answers this request of ``route``. ``scope`` has been through the guard."""
    spec = route.spec
    for backend, pins in (("legacy", spec.pins.legacy), ("new", spec.pins.new)):
        for pin in pins:
            if value_of(pin.source, scope, route, read_session) == pin.value:
                return Decision(backend, f"pinned by {pin.source}={pin.value}")  # type: ignore[arg-type] # the two words stand right above
    if not _is_drawn(spec):
        return settled(spec.stage, spec.weight_bp)
    key = caller_key(spec.sticky, scope, route, read_session)
    bucket = bucket_of(salt, group_of(route), key)
    source = key.partition("=")[0]
    share = f"{spec.weight_bp / 100:g}%"
    if bucket < spec.weight_bp:
        reason = f"canary {share}: bucket {bucket} (by {source}) is below {spec.weight_bp}"
        return Decision("new", reason, key)
    reason = f"canary {share}: bucket {bucket} (by {source}) is not below {spec.weight_bp}"
    return Decision("legacy", reason, key)


def group_of(route: Route) -> str:
    """Return the name under which a caller's bucket is drawn: the row's group, else its path.

    The path, not the whole key: a row that is split by method keeps its callers where they are.
    """
    return route.spec.group or route.spec.path


def overridden(override: bytes, token: bytes, expected: str | None) -> BackendName | None:
    """Return the tester's choice when the token is right, else None. Compares in constant time."""
    if expected is None or not hmac.compare_digest(token, expected.encode()):
        return None
    if override == b"new":
        return "new"
    return "legacy" if override == b"legacy" else None
