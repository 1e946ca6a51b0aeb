"""The admin pages: log in, list, edit; with flashes, CSRF tokens and hidden fields. Legacy alone has them."""

from __future__ import annotations

import re
from html import unescape
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text

from reference.seed import DEMO_PASSWORD
from tests.reference.conftest import ADMIN, MEMBER, database_is_not_asked, log_in

if TYPE_CHECKING:
    import httpx

    from tests.reference.conftest import Database


def hidden(page: httpx.Response, action: str = "") -> dict[str, str]:
    """Return the hidden fields of the page's last form, or of the one with this action."""
    forms = re.findall(r"<form[^>]*>.*?</form>", page.text, re.S)
    form = next((form for form in forms if f'action="{action}"' in form), forms[-1])
    names = re.findall(r'<input[^>]*name="([^"]+)"[^>]*type="hidden"[^>]*value="([^"]*)"', form)
    return {name: unescape(value) for name, value in names}


def enter(client: httpx.Client) -> httpx.Response:
    """Log in as an administrator, as a person does; return the page that follows."""
    form = hidden(client.get("/admin/login?next=/admin/users/2"))
    fields = form | {"email": ADMIN, "password": DEMO_PASSWORD}
    return client.post("/admin/login", data=fields, follow_redirects=True)


def edited(page: httpx.Response, **changes: str) -> dict[str, str]:
    """Return what a browser would send from user 2's form after these changes."""
    fields = {"email": MEMBER, "name": "Grace Hopper", "age": "34", "role": "member", "is_active": "y"}
    return hidden(page) | fields | changes


def test_a_stranger_is_led_to_the_login_and_back(legacy: httpx.Client) -> None:
    sent_away = legacy.get("/admin/users/2")
    assert (sent_away.status_code, sent_away.headers["Location"]) == (
        302,
        "/admin/login?next=/admin/users/2",
    )

    page = enter(legacy)

    assert page.url.path == "/admin/users/2"
    assert "Welcome back, Ada Lovelace." in page.text
    assert "Welcome back" not in legacy.get("/admin/users/2").text, "a flash is shown once"


@database_is_not_asked
@pytest.mark.parametrize(
    "target", ["https://evil.example/", "//evil.example/", "/admin/\\evil", "/users/1", ""]
)
def test_a_login_leads_to_no_other_site(legacy: httpx.Client, target: str) -> None:
    form = hidden(legacy.get("/admin/login", params={"next": target}))
    answer = legacy.post("/admin/login", data=form | {"email": ADMIN, "password": DEMO_PASSWORD})

    assert answer.headers["Location"] == "/admin/users"


@database_is_not_asked
def test_a_member_does_not_get_in(legacy: httpx.Client) -> None:
    form = hidden(legacy.get("/admin/login"))
    refused = legacy.post("/admin/login", data=form | {"email": MEMBER, "password": DEMO_PASSWORD})
    assert "Wrong e-mail address or password." in refused.text

    log_in(legacy)
    page = legacy.get("/admin/users")
    assert (page.status_code, page.headers["Content-Type"]) == (403, "text/html; charset=utf-8")
    assert "Forbidden" in page.text


def test_a_user_is_edited(legacy: httpx.Client, database: Database) -> None:
    page = enter(legacy)
    assert hidden(page).keys() == {"csrf_token", "version"}

    saved = legacy.post(
        "/admin/users/2", data=edited(page, name="Grace M. Hopper", role="admin"), follow_redirects=True
    )

    assert "Grace M. Hopper is saved." in saved.text
    found = database.rows("SELECT name, role, version FROM users WHERE id = 2")
    assert found == [("Grace M. Hopper", "admin", 2)]
    assert "Grace M. Hopper" in legacy.get("/admin/users").text


def test_two_who_edit_one_user_do_not_overwrite_each_other(legacy: httpx.Client, database: Database) -> None:
    page = enter(legacy)
    legacy.post("/admin/users/2", data=edited(page, name="First"))

    late = legacy.post("/admin/users/2", data=edited(page, name="Second"), follow_redirects=True)

    assert "Somebody else changed this user meanwhile" in late.text
    assert database.rows("SELECT name FROM users WHERE id = 2") == [("First",)]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"email": ADMIN}, "This e-mail address is taken."),
        ({"age": "17"}, "Number must be between 18 and 150."),
        ({"name": ""}, "This field is required."),
        ({"csrf_token": "forged"}, "<form"),
    ],
    ids=["taken", "too young", "no name", "forged token"],
)
def test_a_bad_edit_changes_nothing(
    legacy: httpx.Client, database: Database, changes: dict[str, str], message: str
) -> None:
    page = enter(legacy)

    answer = legacy.post(
        "/admin/users/2", data=edited(page, **{"name": "Other"} | changes), follow_redirects=True
    )

    assert message in answer.text
    assert database.rows("SELECT name, version FROM users WHERE id = 2") == [("Grace Hopper", 1)]


@database_is_not_asked
def test_a_logout_wants_its_token(legacy: httpx.Client) -> None:
    page = enter(legacy)

    assert legacy.post("/admin/logout").status_code == 400
    bye = legacy.post("/admin/logout", data=hidden(page, "/admin/logout"), follow_redirects=True)
    assert "You are logged out." in bye.text
    assert legacy.get("/admin/users").status_code == 302


@database_is_not_asked
def test_what_is_not_there_is_told_as_a_page(legacy: httpx.Client) -> None:
    enter(legacy)
    page = legacy.get("/admin/users/999")

    assert (page.status_code, page.headers["Content-Type"]) == (404, "text/html; charset=utf-8")
    assert "Not found" in page.text


@database_is_not_asked
def test_a_users_name_is_no_markup(legacy: httpx.Client, database: Database) -> None:
    with database.engine.begin() as connection:
        connection.execute(text("UPDATE users SET name = '<script>x</script>' WHERE id = 2"))
    enter(legacy)

    assert "<script>x" not in legacy.get("/admin/users").text
    assert "<script>x" not in legacy.get("/admin/users/2").text
