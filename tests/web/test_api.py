"""The admin API tells where routes stand and takes orders, with the store or without it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import time
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from gateway.errors import OrderRefused
from gateway.rollout.order import parse_order
from gateway.rollout.orders import carry_out
from gateway.rollout.standing import Row
from gateway.store import EventRecord, ExampleRecord, FindingRecord, Ledger, Store, locate
from gateway.table.compile import route_id
from gateway.web.admin import create_admin
from gateway.web.reports import Overview, Report, RouteReport, WorkerState
from tests.rollout.rows import canary, make_row
from tests.running import running

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TOKEN = "a-token-for-tests"
ID = route_id("GET /search")
OTHER = route_id("GET /other")
SIGNATURE = "a" * 16
EVIL = "<script>alert(1)</script>"

ROWS = (
    Row(ID, make_row()),
    Row(OTHER, make_row(canary(5), None, key="GET /other", path="/other")),
)
OVERVIEW = Overview(
    report=Report(
        generation=3,
        routes=(
            RouteReport(
                ID, "GET /search", "shadow", ("GET",), "/search", sample="100%", counts={"legacy": 7}
            ),
            RouteReport(OTHER, "GET /other", "canary", ("GET",), "/other", weight="5%"),
            RouteReport(route_id("GET /plain"), "GET /plain", "new", ("GET",), "/plain"),
        ),
        store={"is_ok": True, "pending": 0},
        breakers={OTHER: {"state": "open", "reason": f"5 failures {EVIL}", "workers": 1}},
        shadow_dropped={"queue full": 3},
        differences=(
            {
                "route": "GET /search",
                "kind": "status",
                "place": "status",
                "count": 4,
                "waived": 0,
                "is_advisory": False,
                "first": 1.0,
                "last": 2.0,
                "message": "live",
            },
        ),
    ),
    workers=(WorkerState(slot=0, pid=41, state="serving"),),
    address="127.0.0.1:8000",
    config="routing.yaml",
)
DOCUMENT = {
    "request": {"method": "GET", "url": f"http://x/search?q={EVIL}", "headers": [], "body": ""},
    "control": {"status": 200, "headers": [["X-A", EVIL]], "body": '{"a": 1}', "error": ""},
    "candidate": {"status": 500, "headers": [], "body": f"{EVIL}\x1b[2J", "error": "Boom"},
    "difference": {"kind": "status", "place": "status", "control": "200", "candidate": EVIL},
    "curl": f"curl 'http://x/?q={EVIL}'",
}


class Gateway:
    """Be what the admin listener asks: a real ledger; ``trouble`` is what the store says instead."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.trouble = ""
        self.asked: list[dict[str, Any]] = []

    async def ask(self, order: dict[str, Any]) -> dict[str, Any]:
        self.asked.append(order)
        if self.trouble:
            raise OrderRefused(503, self.trouble)
        return await asyncio.to_thread(self._carry_out, order)

    def _carry_out(self, order: dict[str, Any]) -> dict[str, Any]:
        with Ledger(self.url) as ledger:
            return carry_out(ledger, ROWS, parse_order(order), time.time())


@pytest.fixture
def gateway(tmp_path: Path) -> Gateway:
    return Gateway(locate(None, tmp_path / "routing.yaml"))


@pytest.fixture
def stopping() -> asyncio.Event:
    return asyncio.Event()


@pytest.fixture
def admin(gateway: Gateway, stopping: asyncio.Event) -> Iterator[str]:
    app = create_admin(lambda: OVERVIEW, TOKEN, ask=gateway.ask, stopping=stopping)
    with running(app, lifespan="off") as url:
        yield url


@pytest.fixture
def friend(admin: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=admin, headers={"Authorization": f"Bearer {TOKEN}"}) as client:
        yield client


def keep_finding(gateway: Gateway, **fields: Any) -> None:
    store = Store(gateway.url, flush_interval_s=0.02)
    store.start()
    values = {"kind": "status", "place": f"$.{EVIL}", "sentence": f"it says {EVIL}", "count": 9}
    record = FindingRecord(ID, SIGNATURE, **{**values, "last_seen": time.time(), **fields})
    store.record_finding(record, ExampleRecord(1.0, json.dumps(DOCUMENT)))
    store.stop()


PATHS = [
    ("GET", "/api/events"),
    ("GET", f"/api/differences/{ID}/{SIGNATURE}"),
    ("GET", f"/differences/{ID}/{SIGNATURE}"),
    ("GET", "/api/stream"),
    *(("POST", f"/api/routes/{ID}/{verb}") for verb in ("promote", "rollback", "hold", "resume")),
]


@pytest.mark.parametrize(("method", "path"), PATHS)
@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer wrong"}], ids=["nothing", "wrong"])
def test_nobody_looks_or_changes_without_the_token(
    admin: str, gateway: Gateway, method: str, path: str, headers: dict[str, str]
) -> None:
    assert httpx.request(method, admin + path, headers=headers).status_code == 401
    assert gateway.asked == []


@pytest.mark.parametrize("verb", ["promote", "rollback", "hold", "resume"])
def test_no_other_site_gives_orders(friend: httpx.Client, gateway: Gateway, verb: str) -> None:
    for headers in (
        {"Origin": "http://evil.example"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Host": "evil.example"},
    ):
        assert friend.post(f"/api/routes/{ID}/{verb}", headers=headers).status_code == 403
    assert friend.get(f"/api/routes/{ID}/{verb}").status_code == 405
    assert gateway.asked == []


def test_a_route_says_what_is_so_now_and_where_it_stands(friend: httpx.Client) -> None:
    body = friend.get("/api/routes").json()
    assert body["routes"][0]["counts"] == {"legacy": 7}
    assert body["routes"][0]["standing"]["step"] == "shadow"
    assert body["false_promotions"] == pytest.approx(0.05)
    assert body["store_error"] is None
    assert body["routes"][2]["standing"]["step"] == "new", (
        "what nothing is kept of stands where the file says"
    )
    one = friend.get(f"/api/routes/{ID}").json()
    assert one["standing"]["next_step"] == "canary 1%"


def test_an_order_is_carried_out_and_seen_at_once(friend: httpx.Client) -> None:
    friend.get("/api/routes")
    answer = friend.post(f"/api/routes/{ID}/promote", json={"weight": "5%", "by": "ada", "reason": "go"})
    assert answer.status_code == 200
    assert (answer.json()["before"], answer.json()["after"]) == ("shadow", "canary 5%")
    assert friend.get(f"/api/routes/{ID}").json()["standing"]["step"] == "canary 5%"
    newest = friend.get("/api/events").json()["events"][0]
    assert (newest["kind"], newest["caused_by"], newest["sentence"]) == ("advanced", "ada", "go")
    assert friend.post(f"/api/routes/{ID}/hold").json()["changed"] is True
    assert friend.get("/api/events", params={"limit": 1}).json()["events"][0]["caused_by"] == "the admin API"


@pytest.mark.parametrize(
    ("verb", "route", "body", "status", "words"),
    [
        ("promote", OTHER, b"{}", 409, "gateway promote 'GET /other'"),
        ("promote", ID, b'{"to": "retired"}', 409, "to change the file"),
        ("promote", ID, b'{"to": "somewhere"}', 400, "is no stage"),
        ("promote", ID, b'{"weight": 5}', 400, "5%"),
        ("hold", "f" * 12, b"", 404, "/api/routes"),
        ("hold", ID, b"[]", 400, "no JSON object"),
        ("hold", ID, b"{", 400, "no JSON"),
        ("hold", ID, b'{"route": "x"}', 400, "no key of an order"),
        ("hold", ID, b" " * 70_000, 413, "small"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_what_cannot_be_done_is_a_problem_that_says_why(
    friend: httpx.Client, verb: str, route: str, body: bytes, status: int, words: str
) -> None:
    answer = friend.post(f"/api/routes/{route}/{verb}", content=body)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert words in answer.json()["detail"]


def test_what_is_live_stays_when_the_store_does_not(friend: httpx.Client, gateway: Gateway) -> None:
    gateway.trouble = "the store cannot be used: it is gone"
    body = friend.get("/api/routes").json()
    assert body["routes"][0]["counts"] == {"legacy": 7}
    assert body["routes"][0]["standing"] is None
    assert body["store_error"] == gateway.trouble
    assert friend.get(f"/api/routes/{ID}").json()["store_error"] == gateway.trouble
    found = friend.get("/api/differences").json()
    assert (found["store_error"], found["differences"][0]["sentence"]) == (gateway.trouble, "live")
    assert friend.get("/api/status").json()["store_error"] == gateway.trouble
    assert friend.get("/api/events").status_code == 503
    page = friend.get("/")
    assert page.status_code == 200
    assert "The store cannot be used: it is gone" in page.text


def test_the_status_names_every_trouble(friend: httpx.Client) -> None:
    status = friend.get("/api/status").json()
    assert status["breakers"][OTHER]["state"] == "open"
    assert status["shadow_dropped"] == {"queue full": 3}
    assert status["store"]["is_ok"] is True


def test_findings_are_listed_by_route_and_shown_whole(friend: httpx.Client, gateway: Gateway) -> None:
    keep_finding(gateway)
    found = friend.get("/api/differences").json()["differences"]
    assert [(each["route"], each["count"], each["signature"]) for each in found] == [
        ("GET /search", 9, SIGNATURE)
    ]
    assert friend.get("/api/differences", params={"route": OTHER}).json()["differences"] == []
    whole = friend.get(f"/api/differences/{ID}/{SIGNATURE}").json()
    assert whole["examples"][0]["candidate"]["status"] == 500
    assert friend.get(f"/api/differences/{ID}/{'b' * 16}").status_code == 404
    assert friend.get("/api/differences", params={"limit": "many"}).status_code == 400


def test_many_who_look_cost_the_store_one_look_a_second(friend: httpx.Client, gateway: Gateway) -> None:
    began = time.monotonic()
    for _ in range(20):
        friend.get("/api/routes")
    looks = sum(order["verb"] == "standings" for order in gateway.asked)
    assert looks <= 1 + (time.monotonic() - began)


# --- pages -----------------------------------------------------------------------------------------------


INLINE = re.compile(r"<script>|<style| style=| on\w+=|javascript:")


def test_nothing_that_an_app_or_a_person_wrote_runs_in_a_page(friend: httpx.Client, gateway: Gateway) -> None:
    keep_finding(gateway)
    friend.post(f"/api/routes/{ID}/promote", json={"reason": EVIL, "by": EVIL})
    friend.post(f"/api/routes/{ID}/hold", json={"reason": f'"{EVIL}', "by": f"'{EVIL}"})
    friend.post(f"/api/routes/{OTHER}/rollback", json={"reason": EVIL, "by": EVIL})
    for path in ("/", f"/differences/{ID}/{SIGNATURE}"):
        answer = friend.get(path)
        assert answer.status_code == 200
        assert "alert(1)" in answer.text, "it is shown"
        assert not INLINE.search(answer.text), "and is text"
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy


def test_the_page_shows_where_a_route_stands_beside_what_the_file_says(friend: httpx.Client) -> None:
    friend.post(f"/api/routes/{ID}/promote", json={"weight": "25%"})
    friend.post(f"/api/routes/{ID}/hold", json={"reason": "release day"})
    friend.post(f"/api/routes/{OTHER}/rollback", json={"reason": "it burns"})
    page = friend.get("/").text
    assert '<span class="stage stage-canary">canary 25%</span>' in page
    assert "the file says <b>shadow</b>" in page
    assert ">held</span>" in page
    assert ">rolled back</span>" in page
    assert "the file says <b>canary 5%</b>" in page
    assert "it burns" in page
    assert ">breaker open</span>" in page
    assert f'data-verb="resume" data-route="{OTHER}"' in page
    assert "at most 0.05 false promotions" in page


def test_a_page_of_a_finding_puts_both_answers_side_by_side(friend: httpx.Client, gateway: Gateway) -> None:
    keep_finding(gateway)
    page = friend.get(f"/differences/{ID}/{SIGNATURE}").text
    assert '<tr class="changed"><td>status 200</td><td class="gutter">≠</td><td>status 500</td></tr>' in page
    assert "\\u001b[2J" in page, "control characters are written as escapes"
    assert "curl &#x27;http://x/" in page


def test_a_finding_may_be_visited_with_the_token_in_its_address(admin: str, gateway: Gateway) -> None:
    keep_finding(gateway)
    with httpx.Client(base_url=admin) as browser:
        answer = browser.get(f"/differences/{ID}/{SIGNATURE}", params={"token": TOKEN})
        assert (answer.status_code, answer.headers["location"]) == (303, f"/differences/{ID}/{SIGNATURE}")
        assert browser.get(f"/differences/{ID}/{SIGNATURE}").status_code == 200


def test_what_the_breaker_did_is_an_event_of_its_route(friend: httpx.Client, gateway: Gateway) -> None:
    store = Store(gateway.url, flush_interval_s=0.02)
    store.start()
    event = EventRecord(1.0, ID, "GET /search", "breaker_opened", caused_by="breaker", sentence="5 in a row")
    store.record_event(event)
    store.stop()
    assert "breaker opened" in friend.get("/").text
    assert friend.get("/api/events", params={"route": OTHER}).json()["events"] == []
    assert len(friend.get("/api/events", params={"route": ID}).json()["events"]) == 1


# --- stream ----------------------------------------------------------------------------------------------


class Listening:
    """Read a stream of events in the test's own thread, message by message."""

    def __init__(self, response: httpx.Response) -> None:
        self.response = response
        self._blocks = self._split()

    def _split(self) -> Iterator[dict[str, str]]:
        block: dict[str, str] = {}
        for line in self.response.iter_lines():
            if line:
                name, _, value = line.partition(": ")
                block[name] = value
            elif block:
                yield block
                block = {}

    def next(self, event: str) -> tuple[Any, str]:
        """Return the data and the id of the next message called ``event``."""
        for block in self._blocks:
            if block.get("event") == event:
                return json.loads(block["data"]), block.get("id", "")
        raise AssertionError(f"the stream ended before {event}")


@contextlib.contextmanager
def listening(friend: httpx.Client, **headers: str) -> Iterator[Listening]:
    with friend.stream("GET", "/api/stream", headers=headers, timeout=10) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        yield Listening(response)


def test_the_stream_tells_what_changes(friend: httpx.Client) -> None:
    with listening(friend) as heard:
        routes, _ = heard.next("routes")
        assert [route["key"] for route in routes["routes"]] == ["GET /search", "GET /other", "GET /plain"]
        friend.post(f"/api/routes/{ID}/promote", json={"by": "ada"})
        routes, _ = heard.next("routes")
        assert [route["standing"]["step"] for route in routes["routes"]] == ["canary 1%"]
        events, number = heard.next("events")
        assert [event["kind"] for event in events["events"]] == ["placed", "advanced"]
        assert number == str(events["events"][-1]["id"])


def test_a_stream_that_comes_back_gets_what_it_missed(friend: httpx.Client) -> None:
    friend.post(f"/api/routes/{ID}/promote", json={})
    first = friend.get("/api/events").json()["events"][-1]["id"]
    friend.post(f"/api/routes/{ID}/hold", json={})
    with listening(friend, **{"Last-Event-ID": str(first)}) as heard:
        events, _ = heard.next("events")
        assert [event["kind"] for event in events["events"]] == ["advanced", "held"]


def test_the_stream_says_when_the_store_is_in_trouble(friend: httpx.Client, gateway: Gateway) -> None:
    with listening(friend) as heard:
        heard.next("routes")
        gateway.trouble = "it is gone"
        trouble, _ = heard.next("trouble")
        assert trouble == {"detail": "it is gone"}
        gateway.trouble = ""
        trouble, _ = heard.next("trouble")
        assert trouble == {"detail": ""}


def test_an_open_stream_ends_when_the_listener_stops(friend: httpx.Client, stopping: asyncio.Event) -> None:
    with listening(friend) as heard:
        heard.next("routes")
        stopping.set()
        with pytest.raises(AssertionError, match="the stream ended"):
            heard.next("anything more")
