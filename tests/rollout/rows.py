"""Make rows for tests without a file."""

from __future__ import annotations

from typing import Any

from gateway.table.spec import Rollout, RolloutStep, RouteSpec, Stage

SHADOW = RolloutStep(Stage.SHADOW)
NEW = RolloutStep(Stage.NEW)
LEGACY = RolloutStep(Stage.LEGACY)
ROUTE_ID = "a1b2c3d4e5f6"


def canary(percent: float) -> RolloutStep:
    """Return a canary step."""
    return RolloutStep(Stage.CANARY, round(percent * 100))


STEPS = (canary(1), canary(5), canary(25), canary(50), NEW)
ROLLOUT = Rollout(STEPS)


def make_row(step: RolloutStep = SHADOW, rollout: Rollout | None = ROLLOUT, **fields: Any) -> RouteSpec:
    """Return ``GET /search`` at ``step``, rolling out by default."""
    values = {
        "key": "GET /search",
        "written": "GET /search",
        "line": 3,
        "methods": ("GET",),
        "path": "/search",
    }
    return RouteSpec(
        **{**values, "stage": step.stage, "weight_bp": step.weight_bp, "rollout": rollout, **fields}
    )
