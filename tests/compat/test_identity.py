"""Claim that a login on one side is a login on the other; Flask-Login is the oracle."""

from typing import Annotated, Any

import flask
import flask_login
import pytest
from fastapi import Depends, FastAPI, Request
from flask import Flask
from hypothesis import given
from hypothesis import strategies as st

from gateway.compat import FlaskLogin, FlaskSessions, Identity
from gateway.compat.identity import caller_identifier, read_remember_cookie, write_remember_cookie
from tests.compat.apps import SECRET, ask, ask_flask, flask_app, under_gateway

# Flask-Login 0.6.3 calls datetime.utcnow, which Python 3.12 and later warn about.
pytestmark = pytest.mark.filterwarnings("ignore:datetime.datetime.utcnow:DeprecationWarning")

BROWSER = {"user_agent": "Mozilla/5.0", "x_forwarded_for": "203.0.113.9, 10.0.0.1"}
OTHER = {"user_agent": "curl", "x_forwarded_for": "203.0.113.9"}


class Person(flask_login.UserMixin):  # type: ignore[misc]  # Flask-Login has no types
    def __init__(self, name: str) -> None:
        self.id = name


def legacy_app(protection: str | None = "basic", **config: Any) -> Flask:
    app = flask_app(**config)
    manager = flask_login.LoginManager(app)
    manager.session_protection = protection
    manager.user_loader(Person)

    @app.get("/login")
    def login() -> str:
        remember = "remember" in flask.request.args
        flask.session.permanent = "permanent" in flask.request.args
        flask_login.login_user(Person("Ada"), remember=remember)
        return "in"

    @app.get("/logout")
    def logout() -> str:
        flask_login.logout_user()
        return "out"

    @app.get("/who")
    def who() -> Any:
        user = flask_login.current_user
        if not user.is_authenticated:
            return {"user": None}
        return {"user": user.get_id(), "fresh": flask_login.login_fresh()}

    @app.get("/guarded")
    @flask_login.login_required  # type: ignore[untyped-decorator]  # Flask-Login has no types
    def guarded() -> str:
        return "ok"

    @app.get("/guarded-fresh")
    @flask_login.fresh_login_required  # type: ignore[untyped-decorator]  # Flask-Login has no types
    def guarded_fresh() -> str:
        return "ok"

    return app


def new_app(legacy: Flask) -> Any:
    app, sessions = FastAPI(), FlaskSessions()
    sessions.install(app)
    login = FlaskLogin(sessions)

    @app.get("/login")
    async def log_in(request: Request) -> str:
        (await sessions(request)).permanent = "permanent" in request.query_params
        await login.log_in(request, "Ada", is_remembered="remember" in request.query_params)
        return "in"

    @app.get("/logout")
    async def log_out(request: Request) -> str:
        await login.log_out(request)
        return "out"

    @app.get("/who")
    async def who(identity: Annotated[Identity | None, Depends(login)]) -> dict[str, Any]:
        if identity is None:
            return {"user": None}
        return {"user": identity.user_id, "fresh": identity.is_fresh}

    @app.get("/guarded", dependencies=[Depends(login.required)])
    async def guarded() -> str:
        return "ok"

    @app.get("/guarded-fresh", dependencies=[Depends(login.fresh)])
    async def guarded_fresh() -> str:
        return "ok"

    return under_gateway(app, legacy)


class Side:
    """Drive one of the two apps as a browser would, keeping cookies in ``jar``."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def ask(self, path: str, jar: dict[str, str], **headers: str) -> Any:
        cookie = "; ".join(f"{name}={value}" for name, value in jar.items())
        if isinstance(self.app, Flask):
            answer = ask_flask(self.app, path, cookie, **headers)
            lines = answer.headers.getlist("Set-Cookie")
        else:
            answer = await ask(self.app, path, cookie, **headers)
            lines = answer.headers.get_list("set-cookie")
        for line in lines:
            name, _, value = line.partition(";")[0].partition("=")
            if value and "Max-Age=0" not in line:
                jar[name] = value
            else:
                jar.pop(name, None)
        return answer


def both(**config: Any) -> tuple[Side, Side]:
    legacy = legacy_app(**config)
    return Side(legacy), Side(new_app(legacy))


def user_of(answer: Any) -> Any:
    return answer.get_json() if hasattr(answer, "get_json") else answer.json()


PROTECTIONS = [pytest.param(mode, id=str(mode)) for mode in ("basic", "strong", None)]
LAYOUTS = [pytest.param(False, id="legacy logs in"), pytest.param(True, id="new logs in")]


@pytest.mark.parametrize("is_swapped", LAYOUTS)
@pytest.mark.parametrize("protection", PROTECTIONS)
@pytest.mark.parametrize("query", ["", "?remember", "?permanent"])
@pytest.mark.parametrize("forget", [False, True], ids=["with session", "without session"])
async def test_both_sides_agree_on_who_is_logged_in(
    is_swapped: bool, protection: str | None, query: str, forget: bool
) -> None:
    legacy, new = both(protection=protection)
    first = new if is_swapped else legacy
    start: dict[str, str] = {}
    await first.ask(f"/login{query}", start, **BROWSER)
    assert set(start) == ({"session", "remember_token"} if query == "?remember" else {"session"})
    if forget:
        start.pop("session")
    for caller in (BROWSER, OTHER):
        for path in ("/who", "/guarded", "/guarded-fresh"):
            ours, theirs = dict(start), dict(start)
            for _ in range(2):
                left, right = await new.ask(path, ours, **caller), await legacy.ask(path, theirs, **caller)
                assert left.status_code == right.status_code
                if path == "/who":
                    assert user_of(left) == user_of(right)
                assert set(ours) == set(theirs)


@pytest.mark.parametrize("is_swapped", LAYOUTS)
async def test_a_logout_on_one_side_is_a_logout_on_the_other(is_swapped: bool) -> None:
    legacy, new = both()
    first, second = (new, legacy) if is_swapped else (legacy, new)
    jar: dict[str, str] = {}
    await first.ask("/login?remember", jar, **BROWSER)
    assert user_of(await second.ask("/who", jar, **BROWSER)) == {"user": "Ada", "fresh": True}
    await second.ask("/logout", jar, **BROWSER)
    assert "remember_token" not in jar
    assert user_of(await first.ask("/who", jar, **BROWSER)) == {"user": None}


async def test_the_remember_cookie_has_flask_logins_attributes() -> None:
    config = {
        "REMEMBER_COOKIE_SECURE": True,
        "REMEMBER_COOKIE_SAMESITE": "Lax",
        "REMEMBER_COOKIE_NAME": "stay",
    }
    legacy, new = both(**config)
    theirs = (await legacy.ask("/login?remember", {}, **BROWSER)).headers.getlist("Set-Cookie")
    ours = (await new.ask("/login?remember", {}, **BROWSER)).headers.get_list("set-cookie")

    def attributes(lines: list[str]) -> list[str]:
        (line,) = [line for line in lines if line.startswith("stay=")]
        return [part for part in line.split("; ") if not part.startswith("Expires")]

    assert attributes(ours) == attributes(theirs)


async def test_a_forged_remember_cookie_logs_nobody_in() -> None:
    _, new = both()
    for forged in ("Ada|", "Ada|0", "Ada", "|", write_remember_cookie("Ada", "another key")):
        assert user_of(await new.ask("/who", {"remember_token": forged}, **BROWSER)) == {"user": None}


@given(name=st.text(max_size=20), other=st.text(max_size=20))
def test_remember_cookies_are_flask_logins_own(name: str, other: str) -> None:
    written = flask_login.encode_cookie(name, key=SECRET)
    assert write_remember_cookie(name, SECRET) == written
    assert read_remember_cookie(written, SECRET) == name
    assert read_remember_cookie(other, SECRET) is None


HEADER = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=20)


@given(agent=st.none() | HEADER, forwarded=st.none() | HEADER)
def test_a_callers_identifier_is_flask_logins(agent: str | None, forwarded: str | None) -> None:
    named = {"User-Agent": agent, "X-Forwarded-For": forwarded}
    headers = {name: value for name, value in named.items() if value is not None}
    scope = {
        "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
        "client": ("127.0.0.1", 1),
    }
    environ = {"REMOTE_ADDR": "127.0.0.1"}
    with APP.test_request_context(headers=headers, environ_base=environ):
        if agent is None:
            flask.request.environ.pop("HTTP_USER_AGENT", None)
        assert caller_identifier(scope) == flask_login.utils._create_identifier()


APP = flask_app()
