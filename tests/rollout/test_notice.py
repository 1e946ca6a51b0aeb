"""What a receiver is sent verifies by Standard Webhooks' own library; pauses grow for a day, and end."""

from __future__ import annotations

import base64
import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook as Oracle
from standardwebhooks import WebhookVerificationError

from gateway.rollout.notice import Outcome, Schedule, after_attempt, notice_of, receiver_name, shown_url
from gateway.store.records import EventRecord, ReceiverRecord
from gateway.table.spec import Webhook

EVENT = EventRecord(
    at=1_760_000_000.125,
    route_id="a1b2c3d4e5f6",
    key="GET /search",
    kind="rolled_back",
    before="canary 25%",
    after="shadow",
    caused_by="controller",
    sentence="21 of 21 callers with an error met it on new",
    numbers={"k": 21.0, "e": float("inf")},
    id=17,
)
DAY_S = 86_400.0


def test_a_notice_says_what_happened() -> None:
    notice = notice_of(EVENT)
    assert json.loads(notice.body) == {
        "id": "evt_17_1760000000125",
        "type": "route.rolled_back",
        "at": "2025-10-09T08:53:20.125Z",
        "route": "GET /search",
        "route_id": "a1b2c3d4e5f6",
        "from": "canary 25%",
        "to": "shadow",
        "by": "controller",
        "sentence": "21 of 21 callers with an error met it on new",
        "numbers": {"k": 21.0, "e": None},
    }
    assert notice.id == "evt_17_1760000000125"


@pytest.mark.parametrize(
    ("secret", "key"),
    [
        ("a plain secret", b"a plain secret"),
        ("whsec_" + base64.b64encode(b"\x00\xffkey").decode(), b"\x00\xffkey"),
        ("whsec_" + base64.b64encode(b"unpadded").decode().rstrip("="), b"unpadded"),
    ],
    ids=["as it is", "base64", "base64 without its padding"],
)
def test_the_signature_verifies_by_standard_webhooks_own_library(secret: str, key: bytes) -> None:
    notice = notice_of(EVENT)
    headers = notice.headers(Webhook("http://a", secret).signing_key, now=time.time())
    assert Oracle(key).verify(notice.body, headers) == json.loads(notice.body)
    with pytest.raises(WebhookVerificationError):
        Oracle(key).verify(notice.body + b" ", headers)
    with pytest.raises(WebhookVerificationError):
        Oracle(key + b"x").verify(notice.body, headers)


def test_without_a_secret_nothing_is_signed() -> None:
    headers = notice_of(EVENT).headers(None, now=1.9)
    assert headers == {
        "Content-Type": "application/json",
        "Webhook-Id": "evt_17_1760000000125",
        "Webhook-Timestamp": "1",
    }


@given(attempts=st.integers(1, 10_000), chance=st.floats(0, 1, exclude_max=True))
def test_a_pause_is_between_half_and_the_whole_of_what_doubles_up_to_an_hour(
    attempts: int, chance: float
) -> None:
    whole_s = min(3600.0, 5.0 * 2.0 ** min(attempts - 1, 20))
    assert whole_s / 2 <= Schedule().pause_s(attempts, chance) <= whole_s


def test_what_is_taken_is_settled_and_its_failures_forgotten() -> None:
    before = ReceiverRecord("r", 16, 3, 100.0, 200.0, delivered=4, given_up=1, last_error="status 500")
    after = after_attempt(before, EVENT, Outcome(204), now=300.0, chance=0.0, schedule=Schedule())
    assert after == ReceiverRecord("r", 17, delivered=5, given_up=1, seen_at=300.0)


@pytest.mark.parametrize(
    "outcome",
    [Outcome(500), Outcome(404), Outcome(301), Outcome(302), Outcome(199), Outcome(error="timed out")],
    ids=lambda outcome: outcome.words,
)
def test_what_is_not_taken_is_tried_for_a_day_and_then_given_up(outcome: Outcome) -> None:
    now, record, tries = EVENT.at + 3.0, ReceiverRecord("r", 16), 0
    began = now
    while record.last_id == 16:
        record = after_attempt(record, EVENT, outcome, now=now, chance=0.5, schedule=Schedule())
        tries += 1
        assert record.attempts == (tries if record.last_id == 16 else 0)
        now = max(now, record.next_try_at)
    assert now - began == pytest.approx(DAY_S)
    assert 25 < tries < 60
    assert (record.given_up, record.delivered, record.last_error) == (1, 0, outcome.words)


def test_an_event_from_before_an_outage_gets_its_day_after_the_first_try() -> None:
    now = EVENT.at + 5 * DAY_S
    record = after_attempt(
        ReceiverRecord("r", 16), EVENT, Outcome(503), now=now, chance=0.0, schedule=Schedule()
    )
    assert (record.last_id, record.attempts) == (16, 1)


def test_a_receiver_that_has_long_been_dead_costs_each_old_event_one_try() -> None:
    dead = ReceiverRecord("r", 16, failing_since=EVENT.at - 5 * DAY_S)
    now = EVENT.at + DAY_S
    record = after_attempt(dead, EVENT, Outcome(503), now=now, chance=0.0, schedule=Schedule())
    assert (record.last_id, record.attempts, record.next_try_at, record.given_up) == (17, 0, 0.0, 1)


def test_gone_stops_a_receiver() -> None:
    record = after_attempt(
        ReceiverRecord("r", 16), EVENT, Outcome(410), now=EVENT.at, chance=0.0, schedule=Schedule()
    )
    assert record.is_stopped
    assert record.last_id == 16


@pytest.mark.parametrize(("retry_after_s", "pause_s"), [(0.0, 5.0), (120.0, 120.0), (99_999.0, 3600.0)])
def test_a_receiver_may_ask_for_a_longer_pause_of_up_to_an_hour(retry_after_s: float, pause_s: float) -> None:
    outcome = Outcome(429, retry_after_s=retry_after_s)
    record = after_attempt(
        ReceiverRecord("r", 16), EVENT, outcome, now=EVENT.at, chance=0.0, schedule=Schedule()
    )
    assert record.next_try_at - EVENT.at == pytest.approx(pause_s)


def test_an_address_is_stored_as_a_digest_and_shown_without_what_may_be_secret() -> None:
    url = "https://user:hush@hooks.example:8443/x?token=hush#hush"
    assert shown_url(url) == "https://hooks.example:8443/x"
    assert "hush" not in receiver_name(url)
    assert len(receiver_name(url)) == 64


def test_a_damaged_secret_is_no_key() -> None:
    with pytest.raises(ValueError):  # noqa: PT011 -- binascii words it otherwise in every Python
        _ = Webhook("http://a", "whsec_!!!").signing_key
