"""Say which stage follows which: forward by promotion, back by rollback. Pure, and nothing but tables.

Promotion goes one stage forward. Rollback goes to the nearest stage in which *legacy* answers, since
that is what a person in trouble wants; from canary that is shadow, where new stays under observation,
provided that the row can be shadowed at all (a row that writes cannot, unless it is rehearsed).
An unlisted stage stays where it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.table.spec import ANY_METHOD, WEBSOCKET, Stage

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.table.spec import RouteSpec

PROMOTION: Mapping[Stage, Stage] = {
    Stage.LEGACY: Stage.SHADOW,
    Stage.SHADOW: Stage.CANARY,
    Stage.CANARY: Stage.NEW,
    Stage.NEW: Stage.RETIRED,
}
"""One stage forward; retired is the end."""

ROLLBACK: Mapping[Stage, Stage] = {
    Stage.SHADOW: Stage.LEGACY,
    Stage.CANARY: Stage.SHADOW,
    Stage.NEW: Stage.LEGACY,
    Stage.RETIRED: Stage.LEGACY,
}
"""Back to where legacy answers."""

ROLLBACK_UNSHADOWED: Mapping[Stage, Stage] = {**ROLLBACK, Stage.CANARY: Stage.LEGACY}
"""The same for a row that cannot be shadowed."""

PROMOTION_UNSHADOWED: Mapping[Stage, Stage] = {**PROMOTION, Stage.LEGACY: Stage.CANARY}
"""Promotion for a row that cannot be shadowed: a shadow stage would compare nothing."""

WEBSOCKET_PROMOTION: Mapping[Stage, Stage] = {Stage.NEW: Stage.RETIRED}
"""A websocket is served by new or not at all."""

_SAFE_METHODS = frozenset({"GET", "HEAD", ANY_METHOD})


def can_shadow(spec: RouteSpec) -> bool:
    """Tell whether some requests of the row may be shadowed: those that write nothing, or are rehearsed."""
    if WEBSOCKET in spec.methods:
        return False
    if spec.writes == "rehearse" or spec.safe is True:
        return True
    return spec.safe is None and not _SAFE_METHODS.isdisjoint(spec.methods)


def promotion(stage: Stage, *, is_websocket: bool = False, is_shadowed: bool = True) -> Stage:
    """Return the stage after ``stage``; ``stage`` itself where there is none."""
    if is_websocket:
        return WEBSOCKET_PROMOTION.get(stage, stage)
    table = PROMOTION if is_shadowed else PROMOTION_UNSHADOWED
    return table.get(stage, stage)


def rollback(stage: Stage, *, is_websocket: bool = False, is_shadowed: bool = True) -> Stage:
    """Return the stage to go back to from ``stage``; ``stage`` itself where legacy answers alone."""
    if is_websocket:
        return stage
    table = ROLLBACK if is_shadowed else ROLLBACK_UNSHADOWED
    return table.get(stage, stage)
