"""Users are read, listed, made and signed up alike on both sides."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.reference.conftest import database_is_not_asked
from tests.running import wait_until

if TYPE_CHECKING:
    import httpx

    from tests.reference.conftest import Database, ProvidersControl, Side

NEW_USER = {"email": "Mary@Example.com", "name": "Mary Ward", "age": 44, "password": "long enough"}


def test_a_user_is_shown_by_id(client: httpx.Client) -> None:
    answer = client.get("/users/1")

    assert answer.status_code == 200
    assert answer.json() == {
        "id": 1,
        "email": "ada@example.com",
        "name": "Ada Lovelace",
        "age": 27,
        "role": "admin",
        "created_at": "2026-01-05T22:00:00Z",
    }


@pytest.mark.parametrize("user_id", ["999", "0", "abc", "-1", "2147483648", "99999999999999999999"])
def test_a_user_who_is_not_there_is_not_found(client: httpx.Client, user_id: str) -> None:
    answer = client.get(f"/users/{user_id}")

    assert (answer.status_code, answer.json()) == (404, {"error": "Not found"})


def test_users_are_listed_a_page_at_a_time(client: httpx.Client) -> None:
    answer = client.get("/users", params={"page": 2, "per_page": 5}).json()

    assert [user["id"] for user in answer["users"]] == [6, 7, 8, 9, 10]
    assert (answer["page"], answer["per_page"], answer["total"]) == (2, 5, 24)


def test_users_are_filtered_by_role_and_by_a_part_of_the_name(client: httpx.Client) -> None:
    assert client.get("/users", params={"role": "admin"}).json()["total"] == 1
    found = client.get("/users", params={"q": "LOVE"}).json()["users"]
    assert [user["name"] for user in found] == ["Ada Lovelace"]
    assert client.get("/users", params={"q": "%"}).json()["total"] == 0, "a wildcard is searched for as it is"
    assert client.get("/users", params={"q": "", "role": ""}).json()["total"] == 24


@database_is_not_asked
@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("page=0", "page must be at least 1"),
        ("page=10001", "page must be at most 10000"),
        ("page=x", "page must be a whole number"),
        ("page=", "page must be a whole number"),
        ("per_page=101", "per_page must be at most 100"),
        ("q=%00", "q must be printable text"),
        ("role=" + "r" * 21, "role is too long (longest: 20)"),
    ],
)
def test_a_bad_query_is_refused_in_the_same_words(client: httpx.Client, query: str, message: str) -> None:
    answer = client.get(f"/users?{query}")

    assert (answer.status_code, answer.json()) == (400, {"error": message})


def test_a_user_is_made_with_a_hashed_password(client: httpx.Client, database: Database) -> None:
    answer = client.post("/users", json=NEW_USER)

    assert answer.status_code == 201
    user = answer.json()
    assert answer.headers["Location"] == f"/users/{user['id']}"
    assert (user["id"], user["email"], user["role"]) == (25, "mary@example.com", "member")
    [(kept, version)] = database.rows("SELECT password_hash, version FROM users WHERE id = 25")
    assert kept.startswith("$argon2id$")
    assert version == 1
    assert client.get("/users/25").json() == user


@pytest.mark.parametrize("path", ["/users", "/signup"])
def test_an_address_is_taken_once(client: httpx.Client, path: str, database: Database) -> None:
    answer = client.post(path, json=NEW_USER | {"email": "ADA@example.com"})

    assert (answer.status_code, answer.json()) == (409, {"error": "This e-mail address is taken"})
    assert database.rows("SELECT count(*) FROM users") == [(24,)]
    assert database.rows("SELECT count(*) FROM mails") == [(0,)]


BAD_USERS: list[tuple[dict[str, Any], str, str]] = [
    ({"email": None}, "email", "email is required"),
    ({"email": "nobody"}, "email", "email must be an e-mail address"),
    ({"name": ""}, "name", "name is too short (shortest: 1)"),
    ({"name": 7}, "name", "name must be text"),
    ({"name": "a\0b"}, "name", "name must be printable text"),
    ({"name": "\ud800"}, "name", "name must be printable text"),
    ({"name": "n" * 101}, "name", "name is too long (longest: 100)"),
    ({"age": 17}, "age", "age must be at least 18"),
    ({"age": "44"}, "age", "age must be a whole number"),
    ({"age": True}, "age", "age must be a whole number"),
    ({"password": "1234567"}, "password", "password is too short (shortest: 8)"),
]


@database_is_not_asked
@pytest.mark.parametrize(("change", "field", "message"), BAD_USERS)
def test_a_bad_user_is_refused(
    client: httpx.Client, side: Side, change: dict[str, Any], field: str, message: str, database: Database
) -> None:
    body = json.dumps(NEW_USER | change).encode()
    header = {"Content-Type": "application/json"}

    for path in ("/users", "/signup"):
        answer = client.post(path, content=body, headers=header)
        if side == "new" and path == "/users":
            assert answer.status_code == 422, "FastAPI's own shape: a documented difference"
            [problem] = answer.json()["detail"]
            assert problem["loc"] == ["body", field]
            assert set(problem) == {"type", "loc", "msg"}, "the input, maybe a password, is not sent back"
        else:
            assert (answer.status_code, answer.json()) == (400, {"error": message})
    assert database.rows("SELECT count(*) FROM users") == [(24,)]


@database_is_not_asked
@pytest.mark.parametrize(
    ("content", "content_type"),
    [
        (b"", "application/json"),
        (b"{", "application/json"),
        (b"[]", "application/json"),
        (b"null", "application/json"),
        (b"{}", "text/plain"),
    ],
)
def test_a_body_that_is_no_json_object_is_refused(
    client: httpx.Client, content: bytes, content_type: str
) -> None:
    answer = client.post("/signup", content=content, headers={"Content-Type": content_type})

    assert (answer.status_code, answer.json()) == (400, {"error": "The body must be a JSON object"})


@database_is_not_asked
def test_new_wants_an_address_that_could_exist_and_legacy_an_at_sign(
    client: httpx.Client, side: Side
) -> None:
    answer = client.post("/users", json=NEW_USER | {"email": "mary@nowhere"})

    assert answer.status_code == (201 if side == "legacy" else 422)


def test_signing_up_sends_a_welcome(
    client: httpx.Client, database: Database, providers: ProvidersControl
) -> None:
    answer = client.post("/signup", json=NEW_USER)

    assert answer.status_code == 201
    wait_until(
        lambda: (
            database.rows("SELECT recipient, subject, status FROM mails")
            == [("mary@example.com", "Welcome, Mary Ward", "sent")]
        ),
        what="the mail's status",
    )
    assert [call["subject"] for call in providers.calls("mail")] == ["Welcome, Mary Ward"]


def test_a_sign_up_outlives_the_mail_provider(
    client: httpx.Client, database: Database, providers: ProvidersControl
) -> None:
    providers.set(mail={"status": 503})

    assert client.post("/signup", json=NEW_USER).status_code == 201
    wait_until(lambda: database.rows("SELECT status FROM mails") == [("failed",)], what="the mail's failure")


def test_new_answers_a_sign_up_before_the_mail_is_sent(
    new: httpx.Client, database: Database, providers: ProvidersControl
) -> None:
    providers.set(mail={"latency_ms": 400})

    answer = new.post("/signup", json=NEW_USER)

    assert answer.status_code == 201
    assert database.rows("SELECT status FROM mails") == [("queued",)]
    wait_until(lambda: database.rows("SELECT status FROM mails") == [("sent",)], what="the mail's sending")
