"""Orders, figures, reports, pictures and products answer alike on both sides, but where it is documented."""

from __future__ import annotations

import csv
import re
import time
from typing import TYPE_CHECKING

import pytest

from tests.reference.conftest import database_is_not_asked, log_in, token_of

if TYPE_CHECKING:
    import httpx

    from tests.reference.conftest import Database, ProvidersControl, Side

PNG = b"\x89PNG\r\n\x1a\n" + b"pixels" * 100


def test_an_order_is_paid_and_told(
    client: httpx.Client, side: Side, database: Database, providers: ProvidersControl
) -> None:
    answer = client.post("/orders", json={"product_id": 1, "quantity": 3}, headers=token_of())

    assert answer.status_code == 201
    order = answer.json()
    assert answer.headers["Location"] == "/orders/241"
    assert (order["id"], order["user_id"], order["total"], order["status"]) == (241, 2, "38.70", "paid")
    assert order["product"] == {"id": 1, "sku": "MUG-01", "name": "Enamel mug", "price": "12.90"}
    assert re.fullmatch(r"pay_[0-9a-f]{12}", order["payment_reference"])
    pattern = r"\w{3}, \d\d \w{3} \d{4} [\d:]{8} GMT" if side == "legacy" else r"\d{4}-\d\d-\d\dT[\d:]{8}Z"
    assert re.fullmatch(pattern, order["created_at"]), "a documented difference"
    assert database.rows("SELECT status, total_cents FROM orders WHERE id = 241") == [("paid", 3870)]
    assert providers.calls("payment") == [{"provider": "payment", "key": "order-241", "amount_cents": 3870}]
    assert providers.calls("mail") == [
        {"provider": "mail", "recipient": "grace2@example.com", "subject": "Your order 241"}
    ]
    assert providers.calls("analytics") == [
        {"provider": "analytics", "name": "order.placed", "order_id": 241}
    ]


@pytest.mark.parametrize(
    ("mood", "quantity", "status", "message", "kept"),
    [
        ({}, 100, 402, "The payment was declined", "declined"),
        ({"status": 500}, 1, 502, "The payment provider failed", "failed"),
    ],
)
def test_an_unpaid_order_is_kept_as_such(
    client: httpx.Client,
    database: Database,
    providers: ProvidersControl,
    mood: dict[str, float],
    quantity: int,
    status: int,
    message: str,
    kept: str,
) -> None:
    providers.set(payment=mood)

    answer = client.post("/orders", json={"product_id": 6, "quantity": quantity}, headers=token_of())

    assert (answer.status_code, answer.json()) == (status, {"error": message})
    assert database.rows("SELECT status, payment_reference FROM orders WHERE id = 241") == [(kept, None)]


def test_an_order_stands_without_mail_and_analytics(
    client: httpx.Client, providers: ProvidersControl
) -> None:
    providers.set(mail={"status": 500}, analytics={"status": 500})

    answer = client.post("/orders", json={"product_id": 1, "quantity": 1}, headers=token_of())

    assert (answer.status_code, answer.json()["status"]) == (201, "paid")


@database_is_not_asked
@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({}, "product_id is required"),
        ({"product_id": 1}, "quantity is required"),
        ({"product_id": 1, "quantity": 0}, "quantity must be at least 1"),
        ({"product_id": 1, "quantity": 101}, "quantity must be at most 100"),
        ({"product_id": "1", "quantity": 1}, "product_id must be a whole number"),
        ({"product_id": 99, "quantity": 1}, "product_id names no product"),
    ],
)
def test_a_bad_order_is_refused(
    client: httpx.Client, database: Database, body: dict[str, object], message: str
) -> None:
    answer = client.post("/orders", json=body, headers=token_of())

    assert (answer.status_code, answer.json()) == (400, {"error": message})
    assert database.rows("SELECT count(*) FROM orders") == [(240,)]


def test_an_order_is_shown_to_its_owner_and_to_administrators(client: httpx.Client) -> None:
    assert client.get("/orders/1").status_code == 401
    assert client.get("/orders/1", headers=token_of()).json()["user_id"] == 2
    assert client.get("/orders/2", headers=token_of()).json() == {"error": "Not found"}
    assert client.get("/orders/2", headers=token_of(1)).status_code == 200
    assert client.get("/orders/999", headers=token_of(1)).status_code == 404


@database_is_not_asked
def test_an_order_needs_somebody(client: httpx.Client, database: Database) -> None:
    answer = client.post("/orders", json={"product_id": 1, "quantity": 1})

    assert (answer.status_code, answer.json()) == (401, {"error": "Not authenticated"})
    assert database.rows("SELECT count(*) FROM orders") == [(240,)]


@database_is_not_asked
def test_the_dashboard_shows_the_providers_figures(client: httpx.Client, providers: ProvidersControl) -> None:
    providers.set(mail={"status": 503})

    assert client.get("/dashboard").json() == {
        "payments": {"captured_cents": 1_284_350, "refunded_cents": 12_900},
        "mails": None,
        "events": {"visits": 20_417, "visitors": 6_120},
    }


@database_is_not_asked
@pytest.mark.parametrize("method", ["GET /dashboard", "POST /orders"])
def test_new_answers_in_forty_percent_of_legacys_time(
    legacy: httpx.Client, new: httpx.Client, providers: ProvidersControl, method: str
) -> None:
    header = token_of()
    slow = {"latency_ms": 400.0}  # long beside what a busy machine adds
    providers.set(payment=slow, mail=slow, analytics=slow)
    verb, path = method.split()

    def best_time_s(client: httpx.Client) -> float:
        times = []
        for _ in range(3):
            began = time.perf_counter()
            body = {"product_id": 1, "quantity": 1} if verb == "POST" else None
            client.request(verb, path, headers=header, json=body).raise_for_status()
            times.append(time.perf_counter() - began)
        return min(times)

    assert best_time_s(new) <= 0.4 * best_time_s(legacy)


@pytest.mark.parametrize(("name", "count"), [("products", 8), ("orders", 240)])
def test_a_report_is_streamed_as_csv(client: httpx.Client, name: str, count: int) -> None:
    with client.stream("GET", f"/reports/{name}.csv") as answer:
        chunks = list(answer.iter_raw())

    assert answer.headers["Content-Type"] == "text/csv; charset=utf-8"
    assert answer.headers["Content-Disposition"] == f'attachment; filename="{name}.csv"'
    assert "Content-Length" not in answer.headers, "it is not gathered before it is sent"
    rows = list(csv.DictReader(b"".join(chunks).decode().splitlines()))
    assert len(rows) == count
    assert rows[0]["id"] == "1"


@database_is_not_asked
def test_an_unknown_report_is_told_in_each_sides_words(client: httpx.Client, side: Side) -> None:
    answer = client.get("/reports/salaries.csv")

    key = "error" if side == "legacy" else "detail"
    assert (answer.status_code, answer.json()) == (404, {key: "No such report"})


def picture_path(side: Side, avatar_id: int) -> str:
    """Return where a side keeps pictures; the table's ``new_path`` hides that from clients."""
    return f"/avatars/{avatar_id}" if side == "legacy" else f"/media/avatars/{avatar_id}"


def test_a_picture_is_stored_and_shown(client: httpx.Client, side: Side) -> None:
    log_in(client)
    answer = client.post("/avatars", files={"file": ("me.gif", PNG, "image/gif")})

    assert answer.status_code == 201
    assert answer.json() == {"id": 1, "content_type": "image/png", "size": 608, "url": "/avatars/1"}
    assert answer.headers["Location"] == "/avatars/1"
    shown = client.get(picture_path(side, 1))
    assert shown.content == PNG
    assert shown.headers["Content-Type"] == "image/png"
    assert shown.headers["X-Content-Type-Options"] == "nosniff"
    assert shown.headers["Cache-Control"] == "private, max-age=3600"
    assert client.get(picture_path(side, 2)).json() == {"error": "Not found"}


@database_is_not_asked
@pytest.mark.parametrize(
    ("field", "content", "status", "message"),
    [
        ("other", PNG, 400, "file is required"),
        ("file", b"<script>", 400, "file must be a PNG, JPEG or GIF picture"),
        ("file", PNG + b"x" * 1024 * 1024, 413, "The picture must have at most 1 MiB"),
    ],
    ids=["no file", "no picture", "too large"],
)
def test_a_bad_upload_is_refused(
    client: httpx.Client, database: Database, field: str, content: bytes, status: int, message: str
) -> None:
    answer = client.post("/avatars", files={field: ("x.png", content)}, headers=token_of())

    assert (answer.status_code, answer.json()) == (status, {"error": message})
    assert database.rows("SELECT count(*) FROM avatars") == [(0,)]


@database_is_not_asked
def test_an_upload_needs_somebody(client: httpx.Client) -> None:
    assert client.post("/avatars", files={"file": ("x.png", PNG)}).status_code == 401


def test_the_catalogue_lists_every_product(client: httpx.Client) -> None:
    products = client.get("/api/data").json()["data"]

    assert len(products) == 8
    assert products[5] == {"id": 6, "sku": "LMP-05", "name": "Desk lamp “Größe M”", "price": "79.00"}


@database_is_not_asked
def test_neither_app_counts_requests_itself(client: httpx.Client) -> None:
    assert {client.get("/api/data").status_code for _ in range(110)} == {200}
