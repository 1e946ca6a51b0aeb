"""A post ends in time whatever the receiver does, follows nobody, and shows no secret."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from gateway.rollout.notice import Outcome
from gateway.rollout.posting import post
from tests.rollout.receiving import Behaviour, Receiver
from tests.running import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver().serving() as serving:
        yield serving


@pytest.mark.parametrize("status", [200, 204, 400, 404, 410, 429, 500, 503])
def test_a_status_is_an_outcome(receiver: Receiver, status: int) -> None:
    receiver.behaviour = status
    assert post(receiver.url, b"{}", {"Webhook-Id": "evt_1"}) == Outcome(status)
    (received,) = receiver.received
    assert (received.body, received.id, received.path) == (b"{}", "evt_1", "/hook")
    assert received.headers["user-agent"].startswith("strangler-gateway")


def test_a_redirect_is_not_followed(receiver: Receiver) -> None:
    receiver.behaviour = 307
    receiver.answer_headers = {"location": f"http://127.0.0.1:{receiver.port}/elsewhere"}
    assert post(receiver.url, b"{}", {}) == Outcome(307)
    assert [each.path for each in receiver.received] == ["/hook"]


@pytest.mark.parametrize("behaviour", ["hang", "drip"])
def test_a_receiver_that_takes_its_time_is_cut_off(receiver: Receiver, behaviour: Behaviour) -> None:
    receiver.behaviour = behaviour
    began = time.monotonic()
    outcome = post(receiver.url, b"{}", {}, total_timeout_s=0.3)
    assert outcome == Outcome(error="no answer within 0.3 s")
    assert time.monotonic() - began < 2


def test_a_connection_that_is_cut_or_refused_is_an_outcome(receiver: Receiver) -> None:
    receiver.behaviour = "cut"
    assert post(receiver.url, b"{}", {}).error in {"RemoteDisconnected", "Connection reset by peer"}
    assert post(f"http://127.0.0.1:{free_port()}/", b"{}", {}) == Outcome(error="Connection refused")


def test_a_name_that_nobody_has_is_an_outcome_that_shows_no_secret() -> None:
    outcome = post("http://user:hush@nobody.invalid/hush", b"{}", {}, total_timeout_s=5)
    assert outcome.error
    assert "hush" not in outcome.error


def test_a_user_in_the_url_becomes_an_authorization(receiver: Receiver) -> None:
    url = receiver.url.replace("//", "//us%40er:pa%3Ass@") + "?q=1#part"
    assert post(url, b"{}", {}).is_success
    (received,) = receiver.received
    assert received.headers["authorization"] == "Basic dXNAZXI6cGE6c3M="
    assert received.path == "/hook?q=1"
    assert received.headers["host"] == f"127.0.0.1:{receiver.port}"


def test_a_receiver_says_when_to_come_again(receiver: Receiver) -> None:
    receiver.behaviour = 503
    receiver.answer_headers = {"retry-after": "120"}
    assert post(receiver.url, b"{}", {}) == Outcome(503, retry_after_s=120.0)
    receiver.answer_headers = {"retry-after": "Fri, 31 Dec 1999 23:59:59 GMT"}
    assert post(receiver.url, b"{}", {}) == Outcome(503)


def test_a_proxy_of_the_environment_is_used(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{receiver.port}")
    monkeypatch.setenv("no_proxy", "")
    assert post("http://hooks.example/x", b"{}", {}).is_success
    (received,) = receiver.received
    assert received.path == "http://hooks.example/x"


def test_what_speaks_no_tls_is_an_outcome(receiver: Receiver) -> None:
    assert not post(receiver.url.replace("http:", "https:"), b"{}", {}).is_success
