"""Which stage follows which."""

from __future__ import annotations

from typing import Literal

import pytest

from gateway.table.moves import can_shadow, promotion, rollback
from gateway.table.spec import RouteSpec, Stage

LEGACY_ANSWERS = {Stage.LEGACY, Stage.SHADOW}


def spec(
    methods: tuple[str, ...], safe: bool | None = None, writes: Literal["skip", "rehearse"] = "skip"
) -> RouteSpec:
    return RouteSpec(key="", written="", line=0, methods=methods, path="/x", safe=safe, writes=writes)


def test_promotion_leads_from_legacy_to_retired_one_stage_at_a_time() -> None:
    way = [Stage.LEGACY]
    while promotion(way[-1]) is not way[-1]:
        way.append(promotion(way[-1]))
    assert way == list(Stage)


def test_a_row_that_cannot_be_shadowed_is_promoted_past_shadow() -> None:
    assert promotion(Stage.LEGACY, is_shadowed=False) is Stage.CANARY


@pytest.mark.parametrize("stage", Stage)
@pytest.mark.parametrize("is_shadowed", [True, False], ids=["shadowed", "unshadowed"])
def test_after_a_rollback_legacy_answers(stage: Stage, is_shadowed: bool) -> None:
    assert rollback(stage, is_shadowed=is_shadowed) in LEGACY_ANSWERS


def test_canary_rolls_back_to_shadow_only_where_something_can_be_shadowed() -> None:
    assert rollback(Stage.CANARY) is Stage.SHADOW
    assert rollback(Stage.CANARY, is_shadowed=False) is Stage.LEGACY


@pytest.mark.parametrize("stage", Stage)
def test_a_websocket_never_goes_where_new_does_not_answer(stage: Stage) -> None:
    assert rollback(stage, is_websocket=True) is stage
    assert promotion(stage, is_websocket=True) is (Stage.RETIRED if stage is Stage.NEW else stage)


def test_a_row_can_be_shadowed_when_it_writes_nothing_or_is_rehearsed() -> None:
    assert can_shadow(spec(("GET",)))
    assert can_shadow(spec(("GET", "POST")))
    assert can_shadow(spec(("ANY",)))
    assert can_shadow(spec(("POST",), safe=True))
    assert can_shadow(spec(("POST",), writes="rehearse"))
    assert not can_shadow(spec(("POST",)))
    assert not can_shadow(spec(("GET",), safe=False))
    assert not can_shadow(spec(("WS",)))
