"""A login or a token of one side is good on the other, and nothing else is."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import jwt
import pytest
from sqlalchemy import text

from legacy_flask import settings as legacy_settings
from new_api import settings as new_settings
from reference.seed import DEMO_PASSWORD
from tests.reference.conftest import ADMIN, MEMBER, ask_for_token, database_is_not_asked, log_in

if TYPE_CHECKING:
    from pathlib import Path

    import httpx

    from tests.reference.conftest import Database, Side

WRONG = {"error": "Wrong e-mail address or password"}
NOBODY = {"error": "Not authenticated"}


def test_a_login_opens_a_session_and_a_logout_closes_it(client: httpx.Client) -> None:
    assert client.get("/me").status_code == 401
    answer = log_in(client)

    assert (answer.status_code, answer.json()["status"]) == (200, "logged in")
    assert answer.json()["user"]["email"] == MEMBER
    cookie = answer.headers["Set-Cookie"]
    assert cookie.startswith("session=")
    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie
    assert client.get("/me").json()["email"] == MEMBER

    assert client.post("/logout").json() == {"status": "logged out"}
    assert client.get("/me").status_code == 401


@database_is_not_asked
@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        ({"email": MEMBER, "password": "wrong-password"}, 401, WRONG["error"]),
        ({"email": "nobody@example.com", "password": DEMO_PASSWORD}, 401, WRONG["error"]),
        ({"email": MEMBER}, 400, "password is required"),
        ({"email": 5, "password": DEMO_PASSWORD}, 400, "email must be text"),
    ],
)
def test_a_bad_login_opens_nothing(
    client: httpx.Client, body: dict[str, object], status: int, message: str
) -> None:
    answer = client.post("/login", json=body)

    assert (answer.status_code, answer.json()) == (status, {"error": message})
    assert client.get("/me").status_code == 401


@pytest.mark.parametrize("opens_first", ["legacy", "new"])
def test_a_session_opened_on_one_side_is_read_and_closed_on_the_other(
    legacy: httpx.Client, new: httpx.Client, opens_first: Side
) -> None:
    opener, other = (legacy, new) if opens_first == "legacy" else (new, legacy)
    log_in(opener)
    cookie = opener.cookies["session"]

    other.cookies.set("session", cookie, domain="127.0.0.1")
    assert other.get("/me").json() == opener.get("/me").json()

    answer = other.post("/logout")
    assert "session=;" in answer.headers["Set-Cookie"]


def test_a_login_on_new_opens_the_admin_pages_of_legacy(legacy: httpx.Client, new: httpx.Client) -> None:
    log_in(new, ADMIN)
    legacy.cookies.set("session", new.cookies["session"], domain="127.0.0.1")

    assert legacy.get("/admin/users").status_code == 200


@database_is_not_asked
def test_a_login_on_new_is_as_fresh_as_legacys_own(
    legacy: httpx.Client, new: httpx.Client, legacy_app: object
) -> None:
    agent = {"User-Agent": "one browser"}
    cookies = [
        side.post("/login", json={"email": MEMBER, "password": DEMO_PASSWORD}, headers=agent).cookies
        for side in (legacy, new)
    ]
    interface = legacy_app.session_interface  # type: ignore[attr-defined]  # a Flask app
    serializer = interface.get_signing_serializer(legacy_app)
    assert serializer.loads(cookies[0]["session"]) == serializer.loads(cookies[1]["session"])


@database_is_not_asked
def test_a_tampered_session_is_nobodys(client: httpx.Client) -> None:
    log_in(client)
    cookie = client.cookies["session"]
    client.cookies.clear()
    client.cookies.set("session", "e" + cookie[1:-1] + ("A" if cookie[-1] != "A" else "B"))

    assert client.get("/me").status_code == 401


def test_a_token_says_who_asks(client: httpx.Client) -> None:
    answer = client.post("/token", data={"username": MEMBER, "password": DEMO_PASSWORD})

    assert answer.status_code == 200
    assert answer.json() == {
        "access_token": answer.json()["access_token"],
        "token_type": "bearer",
        "expires_in": 3600,
    }
    assert client.get("/me", headers=ask_for_token(client)).json()["email"] == MEMBER


@pytest.mark.parametrize("gives", ["legacy", "new"])
def test_a_token_of_one_side_is_good_on_the_other(
    legacy: httpx.Client, new: httpx.Client, gives: Side
) -> None:
    giver, other = (legacy, new) if gives == "legacy" else (new, legacy)

    assert other.get("/me", headers=ask_for_token(giver)).json()["email"] == MEMBER


def test_a_bad_password_gives_no_token(client: httpx.Client) -> None:
    answer = client.post("/token", data={"username": MEMBER, "password": "wrong-password"})

    assert (answer.status_code, answer.json()) == (401, WRONG)
    assert answer.headers["WWW-Authenticate"] == "Bearer"


@database_is_not_asked
@pytest.mark.parametrize("form", [{}, {"username": "", "password": "x"}], ids=["nothing", "empty name"])
def test_a_token_wants_a_name(client: httpx.Client, form: dict[str, str]) -> None:
    answer = client.post("/token", data=form)

    assert (answer.status_code, answer.json()) == (400, {"error": "username is required"})


def forge(**changes: object) -> str:
    claims = {"sub": "1", "exp": datetime.now(UTC) + timedelta(hours=1)} | changes
    return jwt.encode(
        {name: value for name, value in claims.items() if value is not None}, new_settings.secret_key()
    )


BAD_TOKENS = {
    "no token": "nonsense",
    "another key": jwt.encode({"sub": "1", "exp": 2_000_000_000}, "another secret of thirty-two bytes"),
    "unsigned": jwt.encode({"sub": "1", "exp": 2_000_000_000}, None, algorithm="none"),
    "expired": forge(exp=datetime.now(UTC) - timedelta(seconds=5)),
    "endless": forge(exp=None),
    "no subject": forge(sub=None),
    "a foreign subject": forge(sub="ada"),
    "nobody": forge(sub="999"),
}


@database_is_not_asked
@pytest.mark.parametrize("token", BAD_TOKENS.values(), ids=BAD_TOKENS.keys())
def test_a_bad_token_is_nobodys(client: httpx.Client, token: str) -> None:
    answer = client.get("/me", headers={"Authorization": f"Bearer {token}"})

    assert (answer.status_code, answer.json()) == (401, NOBODY)
    assert answer.headers["WWW-Authenticate"] == "Bearer"


def test_a_closed_account_is_nobodys(client: httpx.Client, database: Database) -> None:
    header = ask_for_token(client)
    log_in(client)
    with database.engine.begin() as connection:
        connection.execute(text("UPDATE users SET is_active = false WHERE id = 2"))

    assert client.get("/me").status_code == 401, "the session"
    client.cookies.clear()
    assert client.get("/me", headers=header).status_code == 401, "the token"
    assert log_in(client).json() == WRONG


def test_both_sides_agree_on_a_secret_made_once(tmp_path: Path) -> None:
    path = tmp_path / "var" / "secret_key"

    made = legacy_settings.development_secret(path)

    assert new_settings.development_secret(path) == made
    assert len(made) == 64
    assert path.stat().st_mode & 0o777 == 0o600
    assert [each.name for each in path.parent.iterdir()] == ["secret_key"]
