"""What a person asks of the running gateway is done within what the file allows, and refused otherwise."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from gateway.errors import OrderRefused
from gateway.rollout.evidence import request_counters, sketch_bit
from gateway.rollout.order import parse_order
from gateway.rollout.orders import carry_out
from gateway.rollout.persistence import from_record, scope_of
from gateway.rollout.reading import standings
from gateway.rollout.standing import Row, parse_standing
from gateway.store import EventRecord, ExampleRecord, FindingRecord, Ledger, Store, locate
from gateway.table.compile import route_id
from gateway.table.spec import Rollout, RolloutStep, Stage
from tests.rollout.rows import LEGACY, NEW, SHADOW, STEPS, canary, make_row

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from gateway.rollout.positions import Position
    from gateway.rollout.standing import Standing
    from gateway.table.spec import RouteSpec

ID = route_id("GET /search")
WHO = {"by": "ada", "reason": "because"}


@pytest.fixture
def url(tmp_path: Path) -> str:
    return locate(None, tmp_path / "routing.yaml")


@pytest.fixture
def ledger(url: str) -> Iterator[Ledger]:
    with Ledger(url) as opened:
        yield opened


def row_of(spec: RouteSpec | None = None, *, has_legacy: bool = True) -> Row:
    return Row(ID, spec or make_row(), has_legacy=has_legacy)


def do(ledger: Ledger, row: Row, verb: str, now: float = 5.0, **details: Any) -> dict[str, Any]:
    """Carry out an order, and hold its answer to being JSON."""
    answer = carry_out(ledger, [row], parse_order({"verb": verb, "route": ID, **WHO, **details}), now)
    assert json.loads(json.dumps(answer)).keys() == answer.keys()
    return answer


def ask(ledger: Ledger, rows: list[Row], order: dict[str, Any]) -> dict[str, Any]:
    return carry_out(ledger, rows, parse_order(order), 5.0)


def refusal(ledger: Ledger, row: Row, verb: str, **details: Any) -> OrderRefused:
    before = ledger.positions(), ledger.events()
    with pytest.raises(OrderRefused) as caught:
        do(ledger, row, verb, **details)
    assert (ledger.positions(), ledger.events()) == before, "what is refused changes nothing"
    return caught.value


def stored(ledger: Ledger) -> Position:
    (record,) = ledger.positions()
    return from_record(record)


def test_promote_goes_one_step_up_the_ladder_and_tells_who_did_it(ledger: Ledger) -> None:
    answer = do(ledger, row_of(), "promote")
    assert (answer["changed"], answer["before"], answer["after"]) == (True, "shadow", "canary 1%")
    assert stored(ledger).step == canary(1)
    moved, placed = ledger.events()
    assert (placed.kind, placed.caused_by) == ("placed", "file")
    assert (moved.kind, moved.before, moved.after) == ("advanced", "shadow", "canary 1%")
    assert (moved.caused_by, moved.sentence) == ("ada", "because")
    assert parse_standing(answer["standing"]).step == "canary 1%"


def test_a_step_may_be_named_as_long_as_it_is_on_the_ladder(ledger: Ledger) -> None:
    assert do(ledger, row_of(), "promote", weight="25%")["after"] == "canary 25%"
    assert do(ledger, row_of(), "promote", to="new")["after"] == "new"
    assert "as far as the file lets it go" in refusal(ledger, row_of(), "promote").detail
    refused = refusal(ledger, row_of(make_row(SHADOW)), "promote", to="retired")
    assert refused.status == 409
    assert refused.detail.endswith("to change the file: gateway promote 'GET /search' --to retired")


@pytest.mark.parametrize(
    ("row", "details", "words"),
    [
        (make_row(), {"weight": "30%"}, "gateway promote 'GET /search' --weight 30%"),
        (make_row(canary(5), None), {}, "gateway promote 'GET /search'"),
        (make_row(canary(5)), {"to": "shadow"}, "gateway rollback --live 'GET /search' --to shadow"),
    ],
    ids=["off-the-ladder", "manual", "backwards"],
)
def test_what_the_file_does_not_allow_is_refused_with_what_to_type(
    ledger: Ledger, row: RouteSpec, details: dict[str, str], words: str
) -> None:
    refused = refusal(ledger, row_of(row), "promote", **details)
    assert refused.status == 409
    assert words in refused.detail


def test_rollback_goes_to_where_it_is_safe_and_stays_there(ledger: Ledger) -> None:
    do(ledger, row_of(), "promote", weight="50%")
    answer = do(ledger, row_of(), "rollback")
    assert (answer["before"], answer["after"]) == ("canary 50%", "shadow")
    assert stored(ledger).is_rolled_back
    assert answer["standing"]["is_rolled_back"] is True
    assert "until somebody resumes it" in answer["sentence"]


def test_a_second_rollback_says_how_to_go_further(ledger: Ledger) -> None:
    do(ledger, row_of(), "promote")
    do(ledger, row_of(), "rollback")
    second = do(ledger, row_of(), "rollback")
    assert second["changed"] is False
    assert "gateway rollback --live 'GET /search' --to legacy" in second["sentence"]
    assert do(ledger, row_of(), "rollback", to="legacy")["after"] == "legacy"
    again = do(ledger, row_of(), "rollback")
    assert (again["changed"], again["sentence"]) == (False, "GET /search is at legacy already")


def test_a_person_goes_further_back_than_a_rollback_to_a_smaller_share(ledger: Ledger) -> None:
    do(ledger, row_of(), "promote", weight="50%")
    assert do(ledger, row_of(), "rollback", weight="1%")["after"] == "canary 1%"
    assert do(ledger, row_of(), "rollback")["after"] == "shadow"


@pytest.mark.parametrize(
    ("row", "after"),
    [
        (make_row(), "legacy"),
        (make_row(SHADOW, None), "legacy"),
        (make_row(canary(5), None), "shadow"),
        (make_row(NEW, None), "legacy"),
        (make_row(NEW, Rollout(STEPS)), "shadow"),
        (make_row(canary(5), None, methods=("POST",)), "legacy"),
        (make_row(canary(5), Rollout(STEPS, on_fail=Stage.LEGACY)), "legacy"),
    ],
    ids=["shadow", "manual-shadow", "manual-canary", "manual-new", "new", "writes", "on-fail-legacy"],
)
def test_rollback_leads_where_legacy_answers_from_everywhere(
    ledger: Ledger, row: RouteSpec, after: str
) -> None:
    assert do(ledger, row_of(row), "rollback")["after"] == after


def test_a_rollback_without_legacy_is_refused_with_the_reason(ledger: Ledger) -> None:
    row = row_of(make_row(NEW, None), has_legacy=False)
    refused = refusal(ledger, row, "rollback")
    assert refused.status == 409
    assert "legacy has no rule for it any more" in refused.detail


def test_what_no_order_moves_is_refused_with_what_to_type(ledger: Ledger) -> None:
    socket = row_of(make_row(NEW, None, methods=("WS",)), has_legacy=False)
    assert "a websocket, which moves in the file only" in refusal(ledger, socket, "rollback").detail
    implicit = replace(row_of(make_row(LEGACY, None)), is_listed=False)
    assert "to list it: gateway promote 'GET /search'" in refusal(ledger, implicit, "promote").detail


def test_what_writes_is_not_sent_to_shadow_where_nothing_would_be_compared(ledger: Ledger) -> None:
    row = row_of(make_row(canary(5), None, methods=("POST",)))
    assert "--to legacy" in refusal(ledger, row, "rollback", to="shadow").detail


def test_hold_and_resume_say_when_there_is_nothing_to_do(ledger: Ledger) -> None:
    assert do(ledger, row_of(), "resume")["changed"] is False
    assert ledger.positions() == ()
    assert do(ledger, row_of(), "hold")["changed"] is True
    assert stored(ledger).is_held
    again = do(ledger, row_of(), "hold")
    assert (again["changed"], again["sentence"]) == (False, "GET /search is held already, by ada: because")
    assert do(ledger, row_of(), "resume")["changed"] is True
    assert stored(ledger).is_moving


def test_holding_what_moves_by_hand_costs_no_evidence_and_does_nothing(ledger: Ledger) -> None:
    answer = do(ledger, row_of(make_row(canary(5), None)), "hold")
    assert answer["changed"] is False
    assert "nothing moves it by itself" in answer["sentence"]
    assert ledger.positions() == ()


def test_a_held_row_is_still_a_persons_to_move(ledger: Ledger) -> None:
    do(ledger, row_of(), "hold")
    answer = do(ledger, row_of(), "promote")
    assert answer["after"] == "canary 1%"
    assert "still held" in answer["sentence"]


def test_promoting_what_was_rolled_back_lifts_it_step_by_step(ledger: Ledger) -> None:
    row = row_of(make_row(canary(50), None))
    do(ledger, row, "rollback", to="legacy")
    assert do(ledger, row, "promote", to="shadow")["after"] == "shadow"
    assert stored(ledger).is_rolled_back
    assert do(ledger, row, "promote")["after"] == "canary 50%"
    assert stored(ledger).is_moving


def test_a_dry_run_says_what_would_happen_and_stores_nothing(ledger: Ledger) -> None:
    answer = do(ledger, row_of(), "promote", dry_run=True)
    assert (answer["changed"], answer["after"], answer["standing"]) == (True, "canary 1%", None)
    assert (ledger.positions(), ledger.events()) == ((), ())
    refusal(ledger, row_of(), "promote", to="retired", dry_run=True)


def test_an_order_on_a_row_that_changed_takes_note_of_the_change_first(ledger: Ledger) -> None:
    do(ledger, row_of(), "promote")
    changed = row_of(make_row(timeout_s=5.0))
    do(ledger, changed, "hold")
    assert [event.kind for event in ledger.events()] == ["held", "changed", "advanced", "placed"]
    assert stored(ledger).fingerprint != ""


class Rival(Ledger):
    """Be a ledger on which somebody else moves the row each time before we do, ``times`` times."""

    def __init__(self, url: str, times: int) -> None:
        super().__init__(url)
        self.times = times

    def save_position(self, record: Any, event: Any = None, *, lease: Any = None) -> Any:
        if self.times:
            self.times -= 1
            newest = {each.route_id: each for each in self.positions()}.get(record.route_id)
            other = replace(newest or replace(record, version=0), moved_by="rival")
            assert super().save_position(other) is not None
        return super().save_position(record, event, lease=lease)


def test_a_lost_race_is_decided_again_on_what_the_other_left(url: str) -> None:
    with Rival(url, times=2) as ledger:
        answer = do(ledger, row_of(), "promote")
        assert answer["changed"]
        assert stored(ledger).by == "ada"
        assert stored(ledger).step in STEPS


def test_a_race_that_is_lost_for_ever_is_given_up(url: str) -> None:
    with Rival(url, times=1000) as ledger, pytest.raises(OrderRefused) as caught:
        do(ledger, row_of(), "hold")
    assert caught.value.status == 503


@pytest.mark.parametrize(
    ("order", "status", "words"),
    [
        ({"verb": "explode"}, 400, "there is no order explode"),
        ({}, 400, "there is no order nothing"),
        ({"verb": "hold", "route": "ffffffffffff"}, 404, "no row has the id ffffffffffff"),
        ({"verb": "hold"}, 404, "no row has the id nothing"),
        ({"verb": "promote", "route": ID, "to": "canery"}, 400, "canery is no stage"),
        ({"verb": "promote", "route": ID, "weight": 5}, 400, "5%"),
        ({"verb": "promote", "route": ID, "to": "new", "weight": "5%"}, 400, "leave one of them out"),
        ({"verb": "hold", "route": ID, "by": 7}, 400, "by: 7 is no text"),
        ({"verb": "events", "limit": "many"}, 400, "limit"),
        ({"verb": "events", "limit": True}, 400, "limit"),
        ({"verb": "events", "after": -1}, 400, "after"),
        ({"verb": "finding", "route": ID, "signature": "0" * 16}, 404, "no finding"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_an_order_that_makes_no_sense_is_refused(
    ledger: Ledger, order: dict[str, Any], status: int, words: str
) -> None:
    with pytest.raises(OrderRefused) as caught:
        ask(ledger, [row_of()], order)
    assert caught.value.status == status
    assert words in caught.value.detail


def test_control_characters_in_a_reason_are_spelled_and_its_length_is_bounded(ledger: Ledger) -> None:
    do(ledger, row_of(), "hold", reason="a\x1b[2Jb\n" + "x" * 5000)
    assert stored(ledger).reason.startswith("a\\u001b[2Jb\\n")
    assert len(stored(ledger).reason) <= 500


# --- reading ---------------------------------------------------------------------------------------------


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    running = Store(url, flush_interval_s=0.02)
    running.start()
    yield running
    running.stop()


def count(store: Store, row: Row, position: Position | None, counts: dict[str, int]) -> None:
    store.record(scope_of(row.route_id, row.spec, position), counts)


def one(ledger: Ledger, row: Row, now: float = 100.0) -> Standing:
    (standing,) = standings(ledger, [row], now)
    assert parse_standing(json.loads(json.dumps(standing.as_json()))) == standing
    return standing


def test_a_standing_holds_the_evidence_of_the_step_in_force(url: str, ledger: Ledger, store: Store) -> None:
    row = row_of()
    do(ledger, row, "promote", now=10.0)
    position = stored(ledger)
    for caller in range(20):
        store.record_caller(scope_of(ID, row.spec, position), "new", *sketch_bit(caller * 7919))
        count(store, row, position, request_counters("new", is_error=caller == 3, seconds=0.1))
    count(store, row, position, {"comparisons": 500, "mismatches": 1, "waived": 2, "fallbacks": 1})
    store.stop()
    standing = one(ledger, row)
    assert (standing.file_step, standing.step, standing.next_step) == ("shadow", "canary 1%", "canary 5%")
    assert standing.ladder == ("shadow", "canary 1%", "canary 5%", "canary 25%", "canary 50%", "new")
    assert (standing.comparisons, standing.mismatches, standing.waived, standing.fallbacks) == (500, 1, 2, 1)
    assert standing.rate_high == pytest.approx(0.01124, abs=1e-4), "Wilson's upper bound of 1 in 500"
    assert (standing.new.requests, standing.new.errors, standing.new.callers) == (20, 1, 20)
    assert standing.new.p50_s == pytest.approx(0.1, rel=0.08)
    assert standing.legacy.p50_s is None
    assert (standing.outcome, standing.moved_by, standing.since) == ("inconclusive", "ada", 10.0)
    assert standing.missing == (
        "500 requests to new are needed, 20 are there",
        "10 min at this step are needed, 2 min have passed",
    )
    assert standing.last_event is not None
    assert standing.last_event.kind == "advanced"


def test_a_row_that_moves_by_hand_is_judged_as_advice(ledger: Ledger, store: Store) -> None:
    row = row_of(make_row(SHADOW, None, sample_bp=10_000))
    count(store, row, None, {"comparisons": 4511})
    store.stop()
    standing = one(ledger, row)
    assert standing.is_automatic is False
    assert standing.missing == ("4,512 matched comparisons are needed, 4,511 are there",)
    assert (standing.next_step, standing.since) == ("canary 5%", None)


def test_enough_evidence_on_a_row_that_moves_by_hand_says_so(ledger: Ledger, store: Store) -> None:
    row = row_of(make_row(SHADOW, None, sample_bp=10_000))
    count(store, row, None, {"comparisons": 4512})
    store.stop()
    standing = one(ledger, row)
    assert standing.outcome == "pass"
    assert standing.sentence.startswith("ready for canary 5%")


def test_a_rollback_shows_beside_what_the_file_says(ledger: Ledger) -> None:
    row = row_of(make_row(canary(50), None))
    do(ledger, row, "rollback")
    standing = one(ledger, row)
    assert (standing.file_step, standing.step, standing.is_rolled_back) == ("canary 50%", "shadow", True)
    assert (standing.moved_by, standing.reason) == ("ada", "because")
    assert standing.next_step == "canary 50%"


def test_a_row_at_legacy_has_a_standing_without_evidence(ledger: Ledger) -> None:
    standing = one(ledger, row_of(make_row(LEGACY, None)))
    assert (standing.step, standing.next_step, standing.outcome) == ("legacy", "shadow", "")
    assert standing.comparisons == 0


def test_the_standings_say_how_many_false_moves_are_allowed(ledger: Ledger) -> None:
    rows = [row_of(), *(Row(route_id(key), make_row(key=key)) for key in ("GET /b",))]
    rows.append(Row(route_id("GET /c"), make_row(NEW, None, key="GET /c")))
    answer = ask(ledger, rows, {"verb": "standings"})
    assert [each["key"] for each in answer["standings"]] == ["GET /search", "GET /b"], "what is kept"
    assert answer["false_promotions"] == pytest.approx(0.1)
    assert answer["false_rollbacks"] == pytest.approx(0.06)
    assert answer["controller"] is None
    ledger.take_lease("controller", "me", 5.0)
    assert ask(ledger, rows, {"verb": "standings"})["controller"] == "me"


def test_events_come_newest_first_and_from_where_one_stopped(ledger: Ledger) -> None:
    do(ledger, row_of(), "promote")
    do(ledger, row_of(), "hold")
    events = ask(ledger, [row_of()], {"verb": "events"})["events"]
    assert [event["kind"] for event in events] == ["held", "advanced", "placed"]
    later = ask(ledger, [row_of()], {"verb": "events", "after": events[1]["id"]})["events"]
    assert [event["kind"] for event in later] == ["held"]


def test_findings_come_worst_first_and_one_whole_has_its_examples(ledger: Ledger, store: Store) -> None:
    def found(signature: str, count: int, *, is_waived: bool = False, text: str = "{}") -> None:
        record = FindingRecord(ID, signature, "status", "status", "it failed", is_waived, count, 1.0, 2.0)
        store.record_finding(record, ExampleRecord(1.5, text))

    found("a" * 16, 3, text=json.dumps({"curl": "curl x"}))
    found("b" * 16, 900, is_waived=True)
    found("c" * 16, 40, text="no json")
    store.stop()
    listed = ask(ledger, [row_of()], {"verb": "findings"})["differences"]
    assert [each["signature"][0] for each in listed] == ["c", "a", "b"]
    assert listed[0]["route"] == "GET /search"
    whole = ask(ledger, [row_of()], {"verb": "finding", "route": ID, "signature": "a" * 16})
    assert whole["examples"] == [{"at": 1.5, "curl": "curl x"}]
    broken = ask(ledger, [row_of()], {"verb": "finding", "route": ID, "signature": "c" * 16})
    assert broken["examples"] == [{"at": 1.5, "text": "no json"}]


def test_an_event_of_a_route_that_is_gone_is_still_told(ledger: Ledger) -> None:
    assert ledger.last_events() == {}
    do(ledger, row_of(), "hold")
    assert ledger.last_events()[ID].kind == "held"
    assert isinstance(ledger.last_events()[ID], EventRecord)
    assert ask(ledger, [], {"verb": "events"})["events"][0]["key"] == "GET /search"


def test_the_next_step_of_a_promotion_by_hand_is_the_one_that_the_verb_makes(ledger: Ledger) -> None:
    assert one(ledger, row_of(make_row(canary(5), None))).next_step == "new"
    assert one(ledger, row_of(make_row(NEW, None))).next_step == "retired"
    assert one(ledger, row_of(make_row(RolloutStep(Stage.RETIRED), None))).next_step is None
