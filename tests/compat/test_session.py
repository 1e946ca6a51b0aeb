"""Claim that a FastAPI app reads and writes Flask's session exactly as Flask does; Flask is the oracle."""

import threading
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any
from uuid import UUID

import flask
import httpx
import pytest
from fastapi import Depends, FastAPI, WebSocket
from flask import Flask
from flask.sessions import SecureCookieSession, SecureCookieSessionInterface, SessionInterface
from hypothesis import given, settings
from hypothesis import strategies as st
from markupsafe import Markup
from starlette.applications import Starlette
from werkzeug.datastructures import ImmutableDict

from gateway.compat import ROLE_KEY, FlaskSession, FlaskSessions, SessionReader, read_session
from gateway.errors import SettingsError
from tests.compat.apps import (
    SECRET,
    add_flask_views,
    ask,
    ask_flask,
    fastapi_app,
    flask_app,
    under_gateway,
)
from tests.running import running

needs_flask_3_1 = pytest.mark.skipif(
    "SECRET_KEY_FALLBACKS" not in Flask.default_config,
    reason="key fallbacks and partitioned cookies came with Flask 3.1",
)

ANSWERS = ["/model", "/redirect", "/abort", "/stream", "/broken"]


def set_name(session: Any) -> None:
    session["name"] = "Ada"


def look(session: Any) -> None:
    session.get("name")


def cookie_of(legacy: Flask, content: dict[str, Any]) -> str:
    """Return the Cookie header with which Flask's own cookie for ``content`` comes back."""
    writer = add_flask_views(flask_app(**legacy.config), lambda session: session.update(content))
    return str(ask_flask(writer, "/model").headers["Set-Cookie"].partition(";")[0])


def read_by_flask(legacy: Flask, cookie: str) -> dict[str, Any]:
    seen: dict[str, Any] = {}
    reader = add_flask_views(flask_app(**legacy.config), lambda session: seen.update(session))
    ask_flask(reader, "/model", cookie)
    return seen


def parts_of(set_cookie: str) -> tuple[str, frozenset[str], datetime | None]:
    """Return a Set-Cookie as its pair's name, its attributes but for the date, and its expiry."""
    pair, *attributes = set_cookie.split("; ")
    expires = [value for value in attributes if value.startswith("Expires=")]
    when = datetime.strptime(expires[0], "Expires=%a, %d %b %Y %H:%M:%S GMT") if expires else None
    return pair.partition("=")[0], frozenset(attributes) - frozenset(expires), when


def assert_same_cookies(ours: httpx.Response, theirs: Any) -> None:
    """Hold all Set-Cookie lines and Vary of two responses against each other; dates may differ by 2 s."""
    left, right = ours.headers.get_list("set-cookie"), theirs.headers.getlist("Set-Cookie")
    assert len(left) == len(right)
    for one, other in zip(left, right, strict=True):
        name, attributes, when = parts_of(one)
        assert (name, attributes) == parts_of(other)[:2]
        other_when = parts_of(other)[2]
        assert (when is None) == (other_when is None)
        if when is not None and other_when is not None:
            assert abs(when - other_when) <= timedelta(seconds=2)
    assert ours.headers.get("vary") == theirs.headers.get("Vary")


@pytest.mark.parametrize("path", ANSWERS)
async def test_a_changed_session_is_written_on_whatever_is_answered(path: str) -> None:
    legacy = add_flask_views(flask_app(), set_name)
    new = under_gateway(fastapi_app(FlaskSessions(), set_name), legacy)
    theirs, ours = ask_flask(legacy, path), await ask(new, path)
    assert ours.status_code == theirs.status_code
    assert_same_cookies(ours, theirs)
    assert read_by_flask(legacy, ours.headers["set-cookie"].partition(";")[0]) == {"name": "Ada"}


async def test_a_validation_error_still_carries_the_session_that_a_dependency_changed() -> None:
    app = FastAPI()
    sessions = FlaskSessions(secret_key=SECRET)
    sessions.install(app)

    async def greeted(session: Annotated[FlaskSession, Depends(sessions)]) -> None:
        session["greeted"] = True

    @app.get("/", dependencies=[Depends(greeted)])
    async def number(value: int) -> int:
        return value

    answer = await ask(app, "/?value=x")
    assert answer.status_code == 422
    assert answer.headers.get_list("set-cookie")


async def test_vary_is_added_to_what_the_response_already_varies_on() -> None:
    app = fastapi_app(FlaskSessions(secret_key=SECRET), set_name)
    assert (await ask(app, "/response")).headers.get_list("vary") == ["Accept, Cookie"]


ATTRIBUTES: list[Any] = [
    pytest.param({}, id="defaults"),
    pytest.param({"SESSION_COOKIE_NAME": "sid"}, id="name"),
    pytest.param({"SESSION_COOKIE_DOMAIN": "example.com"}, id="domain"),
    pytest.param({"SESSION_COOKIE_PATH": "/app"}, id="path"),
    pytest.param({"APPLICATION_ROOT": "/root"}, id="application root"),
    pytest.param({"SESSION_COOKIE_HTTPONLY": False}, id="not http-only"),
    pytest.param({"SESSION_COOKIE_SECURE": True}, id="secure"),
    pytest.param({"SESSION_COOKIE_SAMESITE": "Lax"}, id="lax"),
    pytest.param({"SESSION_COOKIE_SAMESITE": "Strict"}, id="strict"),
    pytest.param(
        {"SESSION_COOKIE_SECURE": True, "SESSION_COOKIE_PARTITIONED": True},
        id="partitioned",
        marks=needs_flask_3_1,
    ),
    pytest.param({"PERMANENT_SESSION_LIFETIME": timedelta(hours=1)}, id="lifetime"),
    pytest.param({"SESSION_REFRESH_EACH_REQUEST": False}, id="no refresh"),
]


def make_permanent(session: Any) -> None:
    session.permanent = True
    session["name"] = "Ada"


def clear(session: Any) -> None:
    session.clear()


def change_inside(session: Any) -> None:
    session.setdefault("list", []).append(1)


CHANGES: list[Any] = [set_name, look, make_permanent, clear, change_inside, lambda session: None]
CONTENTS: list[dict[str, Any]] = [{}, {"name": "Bob"}, {"_permanent": True, "list": [1]}]


@pytest.mark.parametrize("config", ATTRIBUTES)
async def test_every_attribute_of_the_cookie_is_flasks_own(config: dict[str, Any]) -> None:
    for change in CHANGES:
        legacy = add_flask_views(flask_app(**config), change)
        new = under_gateway(fastapi_app(FlaskSessions(), change), legacy)
        explicit = fastapi_app(FlaskSessions({"SECRET_KEY": SECRET, **config}), change)
        for content in CONTENTS:
            cookie = cookie_of(legacy, content) if content else ""
            for path in ("/model", "/untouched"):
                theirs = ask_flask(legacy, path, cookie)
                if path == "/model":
                    # The oracle must touch the session where an endpoint has it injected.
                    theirs.headers["Vary"] = "Cookie"
                assert_same_cookies(await ask(new, path, cookie), theirs)
                assert_same_cookies(await ask(explicit, path, cookie), theirs)


SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**53), 2**53),
    st.text(max_size=8),
    st.binary(max_size=8),
    st.text(max_size=8).map(Markup),
    st.uuids(),
    st.datetimes(datetime(1971, 1, 1), datetime(2100, 1, 1)).map(
        lambda when: when.replace(microsecond=0, tzinfo=UTC)
    ),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(st.text(max_size=4), inner, max_size=3),
    ),
    max_leaves=6,
)
SESSIONS = st.dictionaries(st.text(min_size=1, max_size=6).filter(lambda key: key != "_permanent"), VALUES)


def same(one: Any, other: Any) -> bool:
    """Compare values with their types: a tuple is no list, a Markup no str."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


@given(content=SESSIONS)
@settings(max_examples=40, deadline=None)
def test_what_one_side_writes_the_other_reads_with_the_same_types(content: dict[str, Any]) -> None:
    import anyio

    async def both_ways() -> None:
        legacy = flask_app()
        cookie = cookie_of(legacy, content) if content else ""
        seen: list[dict[str, Any]] = []
        reader = fastapi_app(FlaskSessions(secret_key=SECRET), lambda session: seen.append(dict(session)))
        await ask(reader, "/model", cookie)
        assert same(seen[0], content)
        if content:
            writer = fastapi_app(FlaskSessions(secret_key=SECRET), lambda session: session.update(content))
            written = (await ask(writer, "/model")).headers["set-cookie"].partition(";")[0]
            assert same(read_by_flask(legacy, written), content)

    anyio.run(both_ways)


@needs_flask_3_1
async def test_a_rotated_key_logs_nobody_out_and_new_cookies_need_the_new_key() -> None:
    old, rotated = flask_app(SECRET_KEY="old"), flask_app(SECRET_KEY="new", SECRET_KEY_FALLBACKS=["old"])
    seen: list[dict[str, Any]] = []

    def count(session: Any) -> None:
        seen.append(dict(session))
        session["visits"] = session.get("visits", 0) + 1

    new = under_gateway(fastapi_app(FlaskSessions(), count), rotated)
    answer = await ask(new, "/model", cookie_of(old, {"visits": 4}))
    assert seen == [{"visits": 4}]
    cookie = answer.headers["set-cookie"].partition(";")[0]
    assert read_by_flask(flask_app(SECRET_KEY="new"), cookie) == {"visits": 5}
    assert read_by_flask(old, cookie) == {}


@pytest.mark.parametrize("place", [0, 5, 20, -1])
async def test_a_tampered_cookie_is_an_empty_session(place: int) -> None:
    name, _, value = cookie_of(flask_app(), {"name": "Ada"}).partition("=")
    letters = list(value)
    # Not the last letter of the signature's base64 alone: some of its bits carry nothing.
    letters[place] = "A" if letters[place] != "A" else "B"
    letters[-2] = "A" if letters[-2] != "A" else "B"
    seen: list[dict[str, Any]] = []
    app = fastapi_app(FlaskSessions(secret_key=SECRET), lambda session: seen.append(dict(session)))
    await ask(app, "/model", f"{name}={''.join(letters)}")
    assert seen == [{}]


async def test_a_cookie_older_than_the_lifetime_is_an_empty_session() -> None:
    cookie = cookie_of(flask_app(), {"name": "Ada"})
    for lifetime, expected in ((timedelta(seconds=-1), {}), (timedelta(days=1), {"name": "Ada"})):
        seen: list[dict[str, Any]] = []
        config = {"SECRET_KEY": SECRET, "PERMANENT_SESSION_LIFETIME": lifetime}
        app = fastapi_app(FlaskSessions(config), lambda session, seen=seen: seen.append(dict(session)))  # type: ignore[misc]  # a lambda's default has no type
        await ask(app, "/model", cookie)
        assert seen == [expected]


async def test_the_first_of_two_cookies_with_one_name_counts_as_in_flask() -> None:
    first, second = cookie_of(flask_app(), {"name": "one"}), cookie_of(flask_app(), {"name": "two"})
    seen: list[dict[str, Any]] = []
    app = fastapi_app(FlaskSessions(secret_key=SECRET), lambda session: seen.append(dict(session)))
    await ask(app, "/model", f"{first}; {second}")
    assert seen == [{"name": "one"}]
    assert read_by_flask(flask_app(), f"{first}; {second}") == {"name": "one"}


class StoredSession(SecureCookieSession):
    """Be a server-side session, as extensions keep them."""

    sid = ""


class Store(SessionInterface):
    """Keep sessions in a dict under a plain id, and insist on Flask's request context as extensions may."""

    def __init__(self) -> None:
        self.rows: dict[str, dict[str, Any]] = {}
        self.threads: set[str] = set()

    def open_session(self, app: Flask, request: flask.Request) -> StoredSession:
        assert flask.current_app.name == app.name
        assert flask.request.path == request.path
        self.threads.add(threading.current_thread().name)
        sid = request.cookies.get(self.get_cookie_name(app), "")
        session = StoredSession(self.rows.get(sid))
        session.sid = sid if sid in self.rows else f"sid-{len(self.rows) + 1}"
        return session

    def save_session(self, app: Flask, session: Any, response: flask.Response) -> None:
        assert flask.request.cookies is not None
        if session.modified:
            self.rows[session.sid] = dict(session)
            response.set_cookie(self.get_cookie_name(app), session.sid)


async def test_a_server_side_session_of_the_legacy_app_is_shared_and_never_blocks_the_loop() -> None:
    legacy, store = add_flask_views(flask_app(), set_name), Store()
    legacy.session_interface = store
    seen: list[dict[str, Any]] = []
    new = under_gateway(fastapi_app(FlaskSessions(), lambda session: seen.append(dict(session))), legacy)
    cookie = ask_flask(legacy, "/model").headers["Set-Cookie"].partition(";")[0]
    assert cookie == "session=sid-1"
    store.threads.clear()
    await ask(new, "/model", cookie)
    assert seen == [{"name": "Ada"}]
    assert threading.current_thread().name not in store.threads
    writer = under_gateway(fastapi_app(FlaskSessions(), lambda session: session.update(age=36)), legacy)
    answer = await ask(writer, "/abort", cookie)
    assert answer.status_code == 403
    assert answer.headers["set-cookie"] == "session=sid-1; Path=/"
    assert store.rows == {"sid-1": {"name": "Ada", "age": 36}}


async def test_a_shadow_call_leaves_a_server_side_store_as_it_was() -> None:
    legacy, store = add_flask_views(flask_app(), set_name), Store()
    legacy.session_interface = store
    cookie = ask_flask(legacy, "/model").headers["Set-Cookie"].partition(";")[0]
    seen: list[dict[str, Any]] = []

    def change(session: Any) -> None:
        seen.append(dict(session))
        session["shadowed"] = True

    new = under_gateway(fastapi_app(FlaskSessions(), change), legacy)

    async def shadowed(scope: Any, receive: Any, send: Any) -> None:
        scope[ROLE_KEY] = "shadow"
        await new(scope, receive, send)

    answer = await ask(shadowed, "/model", cookie)
    assert (answer.status_code, seen) == (200, [{"name": "Ada"}])
    assert store.rows == {"sid-1": {"name": "Ada"}}
    await ask(new, "/model", cookie)
    assert store.rows == {"sid-1": {"name": "Ada", "shadowed": True}}


async def test_a_subclass_that_needs_the_request_gets_it() -> None:
    class PerHost(SecureCookieSessionInterface):
        def get_cookie_domain(self, app: Flask) -> str | None:
            return flask.request.host.partition(":")[0]

    legacy = flask_app()
    legacy.session_interface = PerHost()
    new = under_gateway(fastapi_app(FlaskSessions(), set_name), legacy)
    answer = await ask(new, "/model", host="shop.example")
    assert "Domain=shop.example" in answer.headers["set-cookie"]


async def test_without_a_secret_key_the_legacy_apps_session_reads_empty_and_refuses_writing() -> None:
    legacy = flask_app(SECRET_KEY=None)
    assert (await ask(under_gateway(fastapi_app(FlaskSessions(), look), legacy), "/model")).status_code == 200
    assert (
        await ask(under_gateway(fastapi_app(FlaskSessions(), set_name), legacy), "/model")
    ).status_code == 500


async def test_with_neither_a_legacy_app_nor_settings_the_error_says_what_to_do() -> None:
    app = fastapi_app(FlaskSessions(), set_name)
    transport = httpx.ASGITransport(app=under_gateway(app, None))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        with pytest.raises(SettingsError, match=r"FlaskSessions\(secret_key=\.\.\."):
            await client.get("/model")
        assert (await client.get("/untouched", headers={"cookie": "session=x"})).status_code == 200


async def test_sessions_that_nobody_installed_say_so_instead_of_losing_writes() -> None:
    app, sessions = FastAPI(), FlaskSessions(secret_key=SECRET)

    @app.get("/")
    async def root(session: Annotated[FlaskSession, Depends(sessions)]) -> None:
        session["lost"] = True

    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        with pytest.raises(SettingsError, match=r"sessions\.install\(app\)"):
            await client.get("/")


async def test_installing_after_the_first_request_is_refused() -> None:
    app = FastAPI()
    await ask(app, "/")
    with pytest.raises(SettingsError, match="too late"):
        FlaskSessions(secret_key=SECRET).install(app)


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda: FlaskSessions(cookie_name="sid"), id="no key"),
        pytest.param(lambda: FlaskSessions(flask_app(), secret_key="x"), id="an app and a key"),
    ],
)
def test_settings_that_make_no_sense_are_refused_at_once(make: Any) -> None:
    with pytest.raises(SettingsError):
        make()


def test_settings_that_an_older_flask_would_ignore_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    known = {name: value for name, value in Flask.default_config.items() if name != "SECRET_KEY_FALLBACKS"}
    monkeypatch.setattr(Flask, "default_config", ImmutableDict(known))
    with pytest.raises(SettingsError, match=r"Flask 3\.1"):
        FlaskSessions(secret_key="new", key_fallbacks=["old"])


async def test_another_key_than_the_legacy_apps_is_warned_about_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    new = under_gateway(fastapi_app(FlaskSessions(secret_key="another"), look), flask_app())
    await ask(new, "/model")
    await ask(new, "/model")
    assert [record.getMessage().count("SECRET_KEY") for record in caplog.records] == [1]


def test_both_real_apps_behind_one_client_share_one_session() -> None:
    legacy = flask_app()

    @legacy.get("/login")
    def login() -> str:
        flask.session["user"] = ("Ada", UUID(int=7))
        return "in"

    @legacy.get("/whoami")
    def whoami() -> str:
        return repr(dict(flask.session))

    new, sessions = FastAPI(), FlaskSessions()
    sessions.install(new)

    @new.get("/new/leave")
    def leave(session: Annotated[FlaskSession, Depends(sessions)]) -> str:
        name: str = session.pop("user")[0]
        return name

    @new.websocket("/new/socket")
    async def socket(socket: WebSocket, session: Annotated[FlaskSession, Depends(sessions)]) -> None:
        await socket.accept()
        await socket.send_json(session["user"][0])
        await socket.close()

    from a2wsgi import WSGIMiddleware

    bridge = WSGIMiddleware(legacy)  # type: ignore[arg-type]  # a2wsgi types WSGI narrower than Flask does

    async def both(scope: Any, receive: Any, send: Any) -> None:
        scope["gateway.legacy_app"] = legacy
        is_new = scope["type"] == "lifespan" or scope["path"].startswith("/new")
        await (new if is_new else bridge)(scope, receive, send)

    with running(both) as base, httpx.Client(base_url=base) as client:
        client.get("/login")
        from websockets.sync.client import connect

        cookie = "; ".join(f"{name}={value}" for name, value in client.cookies.items())
        address = base.replace("http", "ws") + "/new/socket"
        with connect(address, additional_headers={"Cookie": cookie}) as connection:
            assert connection.recv() == '"Ada"'
        assert "Ada" in client.get("/whoami").text
        assert client.get("/new/leave").json() == "Ada"
        assert not client.cookies
        assert client.get("/whoami").text == "{}"


def test_the_reader_returns_only_verified_sessions() -> None:
    legacy = flask_app()
    cookie = cookie_of(legacy, {"_user_id": "7"}).encode()
    assert read_session(legacy, b"a=b; " + cookie) == {"_user_id": "7"}
    assert read_session({"SECRET_KEY": SECRET}, cookie) == {"_user_id": "7"}
    assert read_session(flask_app(SECRET_KEY="other"), cookie) is None
    assert read_session(legacy, b"") is None
    assert read_session(object(), cookie) is None
    assert read_session({}, cookie) is None
    assert read_session(flask_app(SECRET_KEY=None), cookie) is None


def test_the_reader_does_no_io_for_a_server_side_session() -> None:
    legacy = flask_app()
    legacy.session_interface = store = Store()
    reader = SessionReader(legacy)
    assert not reader.can_read
    assert reader.read(b"session=sid-1") is None
    assert not store.threads


@given(header=st.binary(max_size=200).map(lambda data: b"session=" + data))
def test_the_reader_never_raises(header: bytes) -> None:
    assert READER.read(header) is None


READER = SessionReader(flask_app())


async def test_a_plain_starlette_app_can_share_sessions_too() -> None:
    app, sessions = Starlette(), FlaskSessions(secret_key=SECRET)
    sessions.install(app)

    async def endpoint(request: Any) -> Any:
        from starlette.responses import PlainTextResponse

        (await sessions(request))["name"] = "Ada"
        return PlainTextResponse("ok")

    app.add_route("/", endpoint)
    cookie = (await ask(app, "/")).headers["set-cookie"].partition(";")[0]
    assert read_by_flask(flask_app(), cookie) == {"name": "Ada"}
