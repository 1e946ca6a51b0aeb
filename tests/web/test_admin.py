"""The admin listener shows the migration to whoever holds the token, and to nobody else."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

import httpx
import pytest

from gateway.rollout.latency import bin_of
from gateway.web.admin import COOKIE, create_admin
from gateway.web.reports import Overview, Report, RouteReport, WorkerState
from gateway.web.totals import Totals
from tests.running import running

if TYPE_CHECKING:
    from collections.abc import Iterator

TOKEN = "a-token-for-tests"

ROUTES = (
    RouteReport(
        id="0123456789ab",
        key="GET /users/{user_id}",
        stage="canary",
        path="/users/{user_id}",
        weight="5%",
        sample="10%",
        owner="accounts",
        legacy_view="/srv/app/shop/users.py:31",
        new_view="api/users.py:12",
        counts={"legacy": 1900, "new": 100},
    ),
    RouteReport(id="ba9876543210", key="POST /<script>", stage="legacy", is_listed=False, path="/<script>"),
)
OVERVIEW = Overview(
    report=Report(generation=7, digest="feedface00", routes=ROUTES, backends={"legacy": "wsgi shop:app"}),
    workers=(WorkerState(slot=0, pid=41, state="serving", uptime_s=3.0, generation=7, digest="feedface00"),),
    address="127.0.0.1:8000",
    config="routing.yaml",
    folder="/srv/app",
)


@pytest.fixture(scope="module")
def admin() -> Iterator[str]:
    with running(create_admin(lambda: OVERVIEW, TOKEN), lifespan="off") as url:
        yield url


@pytest.fixture
def friend(admin: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=admin, headers={"Authorization": f"Bearer {TOKEN}"}) as client:
        yield client


PATHS = [
    "/",
    "/api/routes",
    "/api/routes/0123456789ab",
    "/metrics",
    "/api/status",
    "/api/differences",
    "/static/admin.css",
    "/nothing/here",
]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer wrong"},
        {"Authorization": f"Basic {TOKEN}"},
        {"X-Gateway-Token": ""},
        {"Cookie": f"{COOKIE}={TOKEN}"},
        {"Cookie": 'gateway_admin="broken;;='},
    ],
    ids=["nothing", "wrong-bearer", "basic", "empty", "token-as-cookie", "broken-cookie"],
)
def test_every_route_answers_401_without_the_token(admin: str, path: str, headers: dict[str, str]) -> None:
    for method in ("GET", "POST", "OPTIONS"):
        answer = httpx.request(method, admin + path, headers=headers)
        assert answer.status_code == 401
        assert "www-authenticate" in answer.headers
        assert "shop" not in answer.text


@pytest.mark.parametrize("path", PATHS[:-1])
def test_the_token_opens_every_route_by_either_header(admin: str, path: str) -> None:
    for headers in ({"Authorization": f"Bearer {TOKEN}"}, {"X-Gateway-Token": TOKEN}):
        assert httpx.get(admin + path, headers=headers).status_code == 200


def test_a_non_ascii_token_is_refused_and_breaks_nothing(admin: str) -> None:
    for headers in ({b"X-Gateway-Token": b"\xff\xfe"}, {b"Authorization": b"Bearer \xe9"}):
        assert httpx.get(admin, headers=headers).status_code == 401
    assert httpx.get(admin + "/?token=%FF").status_code == 401


def test_the_first_visit_turns_the_token_into_a_cookie_that_is_not_the_token(admin: str) -> None:
    with httpx.Client(base_url=admin) as browser:
        answer = browser.get("/", params={"token": TOKEN})
        assert answer.status_code == 303
        assert answer.headers["location"] == "/"
        cookie = answer.headers["set-cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=strict" in cookie
        assert TOKEN not in cookie
        assert browser.get("/").status_code == 200
        assert browser.get("/api/status").status_code == 200


def test_a_wrong_token_sets_no_cookie(admin: str) -> None:
    answer = httpx.get(admin, params={"token": "wrong"})
    assert answer.status_code == 401
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": "http://evil.example"}, 403),
        ({"Host": "evil.example", "Origin": "http://evil.example"}, 403),
        ({"Host": "evil.example:8001"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Host": "localhost:8001", "Origin": "http://localhost:8001"}, 405),
        ({"Host": "[::1]:8001"}, 405),
        ({}, 405),
    ],
)
def test_a_change_must_come_from_the_listeners_own_page(
    friend: httpx.Client, headers: dict[str, str], status: int
) -> None:
    assert friend.post("/api/status", headers=headers).status_code == status


def test_the_routes_are_listed_with_their_counts(friend: httpx.Client) -> None:
    body = friend.get("/api/routes").json()
    assert body["generation"] == 7
    assert body["routes"][0]["counts"] == {"legacy": 1900, "new": 100}
    one = friend.get("/api/routes/0123456789ab").json()
    assert {**one, "standing": None} == {**body["routes"][0], "store_error": one["store_error"]}


def test_an_unknown_route_is_a_404_that_says_where_to_look(friend: httpx.Client) -> None:
    answer = friend.get("/api/routes/ffffffffffff")
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"
    assert "/api/routes" in answer.json()["detail"]


def test_the_status_names_workers_and_generation(friend: httpx.Client) -> None:
    status = friend.get("/api/status").json()
    assert status["workers"][0]["pid"] == 41
    assert status["is_uniform"] is True
    assert status["generation"] == 7


def test_the_page_escapes_what_it_shows_and_holds_no_inline_code(friend: httpx.Client) -> None:
    page = friend.get("/").text
    assert "/&lt;script&gt;" in page
    assert not re.search(r"<script>|<style| style=| on\w+=", page)
    assert "canary 5%" in page
    assert "<code>shop/users.py:31</code>" in page


@pytest.mark.parametrize("path", [*PATHS, "/?token=wrong"])
def test_every_answer_is_hardened(friend: httpx.Client, path: str) -> None:
    headers = friend.get(path).headers
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert headers["cache-control"] == "no-store"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["referrer-policy"] == "no-referrer"


def test_the_page_says_when_rate_limits_are_not_shared_and_the_status_why() -> None:
    reason = "ConnectionError: <refused>"
    report = replace(OVERVIEW.report, limits={"is_ok": False, "reason": reason}, lag_s=0.25)
    overview = replace(OVERVIEW, report=report)
    with running(create_admin(lambda: overview, TOKEN), lifespan="off") as url:
        headers = {"Authorization": f"Bearer {TOKEN}"}
        page = httpx.get(url, headers=headers).text
        assert "Rate limits are counted by each worker alone" in page
        assert "ConnectionError: &lt;refused&gt;" in page
        status = httpx.get(f"{url}/api/status", headers=headers).json()
        assert (status["limits"]["reason"], status["event_loop_lag_s"]) == (reason, 0.25)


def test_the_page_and_the_status_say_whom_events_do_not_reach() -> None:
    well = {
        "url": "http://well/hook",
        "delivered": 9,
        "given_up": 0,
        "failing_since": 0.0,
        "is_stopped": False,
    }
    ill = {**well, "url": "http://ill/hook", "failing_since": 1.0, "last_error": "status <500>"}
    receivers = ({**well, "last_error": ""}, ill)
    overview = replace(OVERVIEW, report=replace(OVERVIEW.report, receivers=receivers))
    with running(create_admin(lambda: overview, TOKEN), lifespan="off") as url:
        headers = {"Authorization": f"Bearer {TOKEN}"}
        page = httpx.get(url, headers=headers).text
        assert re.search(r"events do not reach http://ill/hook, for \d+ d now: status &lt;500&gt;", page)
        assert "http://well" not in page
        assert httpx.get(f"{url}/api/status", headers=headers).json()["receivers"] == list(receivers)


def test_a_route_says_how_fast_both_sides_answer() -> None:
    totals = Totals()
    for backend, seconds in (("legacy", 0.010), ("new", 0.002)):
        totals.add(ROUTES[0].key, f"seconds.{backend}.{bin_of(seconds)}", 1)
    overview = replace(OVERVIEW, totals=totals)
    with running(create_admin(lambda: overview, TOKEN), lifespan="off") as url:
        headers = {"Authorization": f"Bearer {TOKEN}"}
        first, second = httpx.get(f"{url}/api/routes", headers=headers).json()["routes"]
        assert first["latency"]["legacy"]["p99_s"] == pytest.approx(0.010, rel=0.08)
        assert first["latency"]["new"]["p50_s"] == pytest.approx(0.002, rel=0.08)
        assert second["latency"] == {}
        assert re.search(r"[\d.]+ / [\d.]+ / [\d.]+ ms since the start", httpx.get(url, headers=headers).text)
