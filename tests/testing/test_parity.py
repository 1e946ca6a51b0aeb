"""The fixture `parity` as teams use it: their own suites, in processes of their own."""

from __future__ import annotations

import re
import sqlite3
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from gateway.testing import plugin
from tests.projects import make_project

if TYPE_CHECKING:
    from collections.abc import Mapping

pytest_plugins = ["pytester"]

LEGACY = """
    import os
    import sqlite3
    import time

    from flask import Flask, jsonify, redirect, request, session

    app = Flask(__name__)
    app.secret_key = "not a secret"
    DATABASE = os.environ.get("DATABASE_URL", "").removeprefix("sqlite:///")
    SIDE = os.environ.get("SIDE", "")

    @app.get("/users/<int:user_id>")
    def user(user_id):
        return jsonify(id=user_id, name="Ada", token="legacy-secret-value")

    @app.get("/same/<path:name>")
    def same(name):
        return jsonify(name=name, agent=request.headers.get("User-Agent"))

    @app.get("/side")
    def side():
        return jsonify(side=SIDE)

    @app.post("/login")
    def login():
        session["user"] = request.json["name"]
        return jsonify(ok=True)

    @app.get("/me")
    def me():
        return jsonify(user=session.get("user"))

    @app.get("/old")
    def old():
        return jsonify(old=True)

    @app.get("/ticket")
    def ticket():
        return jsonify(ticket=f"legacy-{time.time_ns()}")

    @app.get("/tickets/<ticket>")
    def use(ticket):
        return jsonify(is_mine=ticket.startswith("legacy-"))

    @app.post("/notes")
    def note():
        with sqlite3.connect(DATABASE) as connection:
            connection.execute("INSERT INTO notes (text) VALUES (?)", (request.json["text"],))
        count = connection.execute("SELECT count(*) FROM notes").fetchone()[0]
        connection.close()
        return jsonify(count=count), 201

    @app.get("/boom")
    def boom():
        return "fine"

    @app.get("/slow")
    def slow():
        return "fine"
    """

NEW = """
    import asyncio
    import os
    import sqlite3
    import time
    from contextlib import asynccontextmanager

    from fastapi import Body, Depends, FastAPI, Request

    from gateway.compat import FlaskSessions

    @asynccontextmanager
    async def lifespan(app):
        app.state.side = os.environ.get("SIDE", "")
        yield

    app = FastAPI(lifespan=lifespan)
    sessions = FlaskSessions(secret_key="not a secret")
    sessions.install(app)
    DATABASE = os.environ.get("DATABASE_URL", "").removeprefix("sqlite:///")

    @app.get("/users/{user_id}")
    async def user(user_id: int):
        return {"id": user_id, "name": "Eve", "token": "new-secret-value"}

    @app.get("/same/{name:path}")
    async def same(name: str, request: Request):
        return {"agent": request.headers["user-agent"], "name": name}

    @app.get("/side")
    async def side(request: Request):
        return {"side": request.app.state.side}

    @app.post("/login")
    async def login(name: str = Body(embed=True), session=Depends(sessions)):
        await asyncio.sleep(1.1)  # the clock ticks: a signed cookie says another second
        session["user"] = name
        return {"ok": True}

    @app.get("/me")
    async def me(session=Depends(sessions)):
        return {"user": session.get("user")}

    @app.get("/ticket")
    async def ticket():
        return {"ticket": f"new-{time.time_ns()}"}

    @app.get("/tickets/{ticket}")
    async def use(ticket: str):
        return {"is_mine": ticket.startswith("new-")}

    @app.post("/notes", status_code=201)
    async def note(text: str = Body(embed=True)):
        connection = sqlite3.connect(DATABASE)
        with connection:
            stored = text.upper() if text.startswith("shout") else text
            connection.execute("INSERT INTO notes (text) VALUES (?)", (stored,))
        count = connection.execute("SELECT count(*) FROM notes").fetchone()[0]
        connection.close()
        return {"count": count}

    @app.get("/boom")
    async def boom():
        raise KeyError("no such thing")

    @app.get("/slow")
    async def slow():
        await asyncio.sleep(60)
    """

ROUTES = """
    routes:
      GET /users/{user_id:int}: shadow
      GET /same/{name:path}: shadow
      GET /side: shadow
      POST /login: legacy
      GET /me: shadow
      GET /ticket: shadow
      GET /tickets/{ticket}: shadow
      POST /notes: legacy
      GET /boom: shadow
      GET /slow: { stage: shadow, timeout: 200ms }
    """

CONFIGURATION = """
    [pytest]
    filterwarnings = error
    gateway_legacy_env = SIDE=one
    gateway_new_env = SIDE=one
    """


@pytest.fixture
def suite(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """Return a team's project, with its two apps, and a suite still to be written."""
    make_project(pytester.path, LEGACY, NEW, ROUTES)
    (pytester.path / "pytest.ini").write_text(textwrap.dedent(CONFIGURATION))
    monkeypatch.delenv("GATEWAY_CONFIG", raising=False)
    return pytester


def run(suite: pytest.Pytester, body: str, *options: str, **expected: int) -> str:
    suite.makepyfile(test_team=body)
    result = suite.runpytest_subprocess("-p", "no:cacheprovider", *options, timeout=100)
    result.assert_outcomes(**expected)
    return result.stdout.str()


def test_answers_that_a_client_cannot_tell_apart_pass(suite: pytest.Pytester) -> None:
    text = run(
        suite,
        """
        def test_same(parity):
            answer = parity.get("/same/caf%C3%A9/x", headers={"User-Agent": "team"})
            assert answer.status_code == answer.candidate.status_code == 200
            assert answer.json() == answer.candidate.json() == {"name": "café/x", "agent": "team"}
            assert answer.comparison.is_same

        def test_each_side_keeps_its_own_session(parity):
            assert parity.post("/login", json={"name": "ada"}).status_code == 200
            assert parity.get("/me").json() == {"user": "ada"}
            assert parity.control.cookies["session"] != parity.candidate.cookies["session"]

        def test_no_session_outlives_its_test(parity):
            assert parity.get("/me").json() == {"user": None}

        def test_each_side_has_its_environment_while_it_is_imported_and_started(parity):
            assert parity.get("/side").json() == {"side": "one"}

        def test_what_a_side_gave_out_goes_back_to_it(parity):
            answer = parity.get("/ticket", is_compared=False)
            assert not answer.comparison.is_same
            url = answer.both(lambda side: "/tickets/" + side.json()["ticket"])
            assert parity.get(url).json() == {"is_mine": True}

        def test_head_has_no_body(parity):
            assert parity.head("/same/x").content == b""
        """,
        passed=6,
    )
    assert re.search(r"^parity: 7 exchanges compared: .*\d waived", text, re.MULTILINE)


def test_a_difference_names_route_place_values_and_the_line_that_repeats_it(suite: pytest.Pytester) -> None:
    text = run(
        suite,
        """
        def test_user(parity):
            parity.get("/users/1?token=query-secret", headers={"Authorization": "Bearer header-secret"})

        def test_old(parity):
            parity.get("/old")

        def test_boom(parity):
            parity.get("/boom")

        def test_slow(parity):
            parity.get("/slow")
        """,
        failed=4,
    )
    for words in (
        "legacy answered 200, new 200",
        "route: GET /users/{user_id:int} (stage shadow)",
        "json.value at $.name",
        'legacy: "Ada"',
        'new:    "Eve"',
        "curl -sS",
        "route: GET /old (not listed in the table, so legacy's; new has no route for it)",
        "KeyError: 'no such thing'",
        "new did not answer within 0.2 s",
        "parity: 4 exchanges compared: 4 mismatched",
    ):
        assert words in text
    told = "\n".join(line for line in text.splitlines() if line.startswith("E "))
    for secret in ("query-secret", "header-secret", "legacy-secret-value", "new-secret-value"):
        assert secret not in told
    assert "gateway/testing" not in text


def test_a_marker_accepts_a_difference_with_a_reason(suite: pytest.Pytester) -> None:
    text = run(
        suite,
        """
        import pytest

        pytestmark = pytest.mark.parity_rule("$.token", reason="each side signs its own")

        @pytest.mark.parity_rule("$.name", rule="matches", regex="[A-Z][a-z]+", reason="seeds differ")
        def test_user(parity):
            assert parity.get("/users/1").json()["name"] == "Ada"

        @pytest.mark.parity_rule("$.nothing", reason="long gone")
        def test_idle(parity):
            parity.get("/users/1", is_compared=False)
            parity.get("/me")

        @pytest.mark.parity_rule("$.name")
        def test_without_reason(parity):
            pass

        @pytest.mark.parity_rule("$.name", "ignroe", reason="typo")
        def test_typo(parity):
            pass

        @pytest.mark.parity_rule("$[", reason="broken")
        def test_broken(parity):
            pass
        """,
        "-W",
        "default",
        passed=2,
        errors=3,
        warnings=2,
    )
    assert "the rule ignore at $.nothing met nothing; take it out" in text
    assert "missing 1 required keyword-only argument: 'reason'" in text
    assert "there is no rule 'ignroe'" in text


def make_notes(folder: Path) -> str:
    path = folder / "notes.db"
    connection = sqlite3.connect(path)
    with connection:
        connection.execute("CREATE TABLE notes (id INTEGER PRIMARY KEY, text TEXT)")
        connection.execute("INSERT INTO notes (text) VALUES ('first')")
    connection.close()
    return f"sqlite:///{path}"


NOTES = """
    import pytest

    @pytest.mark.parametrize("turn", range(3))
    def test_every_test_starts_from_the_same_state(parity, turn):
        assert parity.post("/notes", json={"text": "mine"}).json() == {"count": 2}
        assert parity.post("/notes", json={"text": "mine"}).json() == {"count": 3}

    def test_the_same_answer_with_another_row_is_a_difference(parity):
        parity.post("/notes", json={"text": "shout"})
    """


@pytest.mark.parametrize("options", [(), ("-n", "2")], ids=["one process", "xdist"])
def test_each_side_has_a_copy_of_the_database_and_its_rows_are_compared(
    suite: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...]
) -> None:
    url = make_notes(suite.path)
    monkeypatch.setenv("DATABASE_URL", url)
    text = run(suite, NOTES, "--gateway-database-env", "DATABASE_URL", *options, passed=3, failed=1)
    assert "effects.rows" in text
    assert "parity: 7 exchanges compared: 1 mismatched" in text
    connection = sqlite3.connect(suite.path / "notes.db")
    assert connection.execute("SELECT count(*) FROM notes").fetchone() == (1,)
    connection.close()


def test_a_suite_may_choose_table_and_environments_by_fixtures(suite: pytest.Pytester) -> None:
    (suite.path / "routing.yaml").rename(suite.path / "elsewhere.yaml")
    suite.makeconftest(
        """
        import pytest

        @pytest.fixture(scope="session")
        def gateway_config(pytestconfig):
            return pytestconfig.rootpath / "elsewhere.yaml"

        @pytest.fixture(scope="session")
        def gateway_environments():
            return {"legacy": {"SIDE": "left"}, "new": {"SIDE": "right"}}
        """
    )
    text = run(suite, "def test_side(parity):\n    parity.get('/side')\n", failed=1)
    assert 'legacy: "left"' in text
    assert 'new:    "right"' in text


def test_asynchronous_tests_may_ask_without_waiting_in_their_loop(suite: pytest.Pytester) -> None:
    run(
        suite,
        """
        import pytest

        @pytest.fixture
        def anyio_backend():
            return "asyncio"

        @pytest.mark.anyio
        async def test_same(parity):
            answer = await parity.request_async("GET", "/same/x")
            assert answer.status_code == 200
        """,
        passed=1,
    )


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"legacy_app.py": "import nothing_like_it\n"}, "nothing_like_it"),
        ({"routing.yaml": "version: 1\n"}, "routing.yaml"),
        (
            {"new_app.py": NEW.replace("app.state.side =", "raise RuntimeError('no broker')\n        x =")},
            "no broker",
        ),
    ],
    ids=["import", "table", "lifespan"],
)
def test_sides_that_cannot_start_are_one_readable_error(
    suite: pytest.Pytester, change: Mapping[str, str], words: str
) -> None:
    for name, text in change.items():
        (suite.path / name).write_text(textwrap.dedent(text))
    text = run(suite, "def test_same(parity):\n    parity.get('/same/x')\n", errors=1)
    assert "the two implementations could not be started" in text
    assert words in text
    assert "gateway/testing" not in text


def test_a_run_that_does_not_ask_for_it_imports_nothing_of_the_gateway(suite: pytest.Pytester) -> None:
    run(
        suite,
        """
        import sys

        def test_imports():
            names = ("fastapi", "flask", "httpx", "sqlalchemy", "gateway.app", "gateway.testing.parity")
            assert [name for name in names if name in sys.modules] == []
        """,
        passed=1,
    )


def test_the_page_on_the_fixture_names_every_option_and_the_marker() -> None:
    text = (Path(__file__).parents[2] / "docs" / "pytest.md").read_text("utf-8")
    source = Path(plugin.__file__).read_text("utf-8")
    names = {*re.findall(r'"(--gateway-[a-z-]+)"', source), *re.findall(r'addini\(\s*"(\w+)"', source)}
    assert len(names) == 5
    names |= {"gateway_legacy_env", "gateway_new_env", f"pytest.mark.{plugin.MARKER}"}
    assert {name for name in names if name not in text} == set()
