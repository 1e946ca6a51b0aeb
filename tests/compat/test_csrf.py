"""Claim that a token of either side is good on the other, and every doubt a 400; Flask-WTF is the oracle."""

from typing import Annotated, Any

import flask
import httpx
import pytest
from fastapi import Depends, FastAPI, Form
from flask import Flask
from flask_wtf.csrf import CSRFProtect, generate_csrf

from gateway.compat import FlaskCsrf, FlaskSessions
from tests.compat.apps import ask, ask_flask, flask_app, under_gateway

BASE = "https://shop.example"
GOOD = {"referer": f"{BASE}/form"}


def legacy_app(**config: Any) -> Flask:
    app = flask_app(**config)
    CSRFProtect(app)

    @app.get("/form")
    def form() -> str:
        return str(generate_csrf())

    @app.route("/act", methods=["GET", "POST", "PUT", "PATCH", "DELETE"])
    def act() -> str:
        return "done"

    return app


def new_app(legacy: Flask) -> Any:
    app, sessions = FastAPI(), FlaskSessions()
    sessions.install(app)
    csrf = FlaskCsrf(sessions)

    @app.get("/form")
    async def form(token: Annotated[str, Depends(csrf.token)]) -> str:
        return token

    @app.api_route("/act", methods=["GET", "POST", "PUT", "PATCH", "DELETE"], dependencies=[Depends(csrf)])
    async def act(word: Annotated[str | None, Form()] = None) -> str:
        return word or "done"

    return under_gateway(app, legacy)


async def post(app: Any, method: str = "POST", **parts: Any) -> tuple[int, str]:
    """Send to either app over the same client; return status and text."""
    if isinstance(app, Flask):
        return _post_to_flask(app, method, parts)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=BASE) as client:
        answer = await client.request(method, "/act", **parts)
        return answer.status_code, answer.text


def _post_to_flask(app: Flask, method: str, parts: dict[str, Any]) -> tuple[int, str]:
    with httpx.Client(transport=httpx.WSGITransport(app), base_url=BASE) as client:
        answer = client.request(method, "/act", **parts)
        return answer.status_code, answer.text


async def form_of(app: Any) -> tuple[str, str]:
    """Return a token and the session's Cookie header that belongs to it."""
    if isinstance(app, Flask):
        answer = ask_flask(app, "/form")
        return answer.text, answer.headers["Set-Cookie"].partition(";")[0]
    other = await ask(app, "/form")
    return other.json(), other.headers["set-cookie"].partition(";")[0]


@pytest.mark.parametrize("is_swapped", [False, True], ids=["legacy issues", "new issues"])
async def test_a_token_of_one_side_is_good_on_the_other_in_every_place(is_swapped: bool) -> None:
    legacy = legacy_app()
    new = new_app(legacy)
    token, cookie = await form_of(new if is_swapped else legacy)
    headers = {"cookie": cookie, **GOOD}
    ways: list[dict[str, Any]] = [
        {"data": {"csrf_token": token}, "headers": headers},
        {"data": {"login-csrf_token": token}, "headers": headers},
        {"files": {"file": b"x"}, "data": {"csrf_token": token}, "headers": headers},
        {"headers": {**headers, "X-CSRFToken": token}},
        {"headers": {**headers, "X-CSRF-Token": token}, "json": {}},
    ]
    for way in ways:
        assert (await post(legacy, **way))[0] == 200
        assert (await post(new, **way))[0] == 200
    assert (await post(new, data={"csrf_token": token, "word": "kept"}, headers=headers))[1] == '"kept"'


async def test_every_doubt_is_a_400_with_flask_wtfs_reason() -> None:
    legacy = legacy_app()
    new = new_app(legacy)
    token, cookie = await form_of(legacy)
    foreign, foreign_cookie = await form_of(legacy)
    ok = {"cookie": cookie, **GOOD}
    ways: list[dict[str, Any]] = [
        {"headers": ok},
        {"headers": GOOD, "data": {"csrf_token": token}},
        {"headers": ok, "data": {"csrf_token": foreign}},
        {"headers": {"cookie": foreign_cookie, **GOOD}, "data": {"csrf_token": token}},
        {"headers": ok, "data": {"csrf_token": token[:-3] + "abc"}},
        {"headers": {**ok, "X-CSRFToken": token}, "data": {"csrf_token": "bad"}},
        {"headers": ok, "json": {"csrf_token": token}},
        {"headers": ok, "params": {"csrf_token": token}},
        {"headers": {"cookie": cookie}, "data": {"csrf_token": token}},
        {"headers": {"cookie": cookie, "referer": "http://shop.example/"}, "data": {"csrf_token": token}},
        {"headers": {"cookie": cookie, "referer": "https://evil.example/"}, "data": {"csrf_token": token}},
        {"headers": {"cookie": cookie, "referer": f"{BASE}:444/"}, "data": {"csrf_token": token}},
    ]
    for way in ways:
        theirs, ours = await post(legacy, **way), await post(new, **way)
        assert (ours[0], theirs[0]) == (400, 400), way
        reason = httpx.Response(400, text=ours[1]).json()["detail"]
        assert reason in theirs[1]


async def test_a_referrer_that_is_no_address_is_refused() -> None:
    legacy = legacy_app()
    token, cookie = await form_of(legacy)
    for referrer in ("https://[", "https://shop.example:x/"):
        headers = {"cookie": cookie, "referer": referrer}
        assert (await post(new_app(legacy), data={"csrf_token": token}, headers=headers))[0] == 400


async def test_an_expired_token_is_refused() -> None:
    legacy = legacy_app(WTF_CSRF_TIME_LIMIT=-1)
    token, cookie = await form_of(legacy)
    headers = {"cookie": cookie, **GOOD}
    status, text = await post(new_app(legacy), data={"csrf_token": token}, headers=headers)
    assert (status, "expired" in text) == (400, True)


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE"])
async def test_only_the_methods_that_change_something_need_a_token(method: str) -> None:
    legacy = legacy_app()
    theirs, ours = await post(legacy, method), await post(new_app(legacy), method)
    assert ours[0] == theirs[0]


@pytest.mark.parametrize(
    "config",
    [
        pytest.param({"WTF_CSRF_ENABLED": False}, id="off"),
        pytest.param({"WTF_CSRF_METHODS": ["DELETE"]}, id="methods"),
        pytest.param({"WTF_CSRF_FIELD_NAME": "token"}, id="field"),
        pytest.param({"WTF_CSRF_SECRET_KEY": "its own"}, id="key"),
        pytest.param({"WTF_CSRF_SSL_STRICT": False}, id="no referrer"),
        pytest.param({"WTF_CSRF_HEADERS": ["X-Token"]}, id="headers"),
        pytest.param({"WTF_CSRF_TIME_LIMIT": None}, id="no limit"),
    ],
)
async def test_the_legacy_configuration_holds_on_both_sides(config: dict[str, Any]) -> None:
    legacy = legacy_app(**config)
    new = new_app(legacy)
    token, cookie = await form_of(legacy)
    ways: list[dict[str, Any]] = [
        {},
        {"headers": {"cookie": cookie}, "data": {"token": token, "csrf_token": token}},
        {"headers": {"cookie": cookie, **GOOD}, "data": {"token": token}},
        {"headers": {"cookie": cookie, **GOOD, "X-Token": token}},
        {"headers": {"cookie": cookie, **GOOD}, "data": {"csrf_token": token}},
    ]
    for way in ways:
        assert (await post(new, **way))[0] == (await post(legacy, **way))[0], way


async def test_a_session_value_that_is_no_token_is_refused() -> None:
    legacy = legacy_app()

    @legacy.get("/odd")
    def odd() -> str:
        flask.session["csrf_token"] = 7
        return str(generate_csrf())

    answer = ask_flask(legacy, "/odd")
    headers = {"cookie": answer.headers["Set-Cookie"].partition(";")[0], **GOOD}
    assert (await post(new_app(legacy), data={"csrf_token": answer.text}, headers=headers))[0] == 400
