"""Give each test a fresh, seeded database, live providers, and a client of the side under test.

A test that takes ``client`` runs four times: on each app, on SQLite and on PostgreSQL; twice where the
database is not asked.
"""

from __future__ import annotations

import shutil
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

import httpx
import jwt
import psycopg
import pytest
from sqlalchemy import Engine, create_engine, make_url, text

from legacy_flask.app import create_app as create_legacy
from new_api.main import create_app as create_new
from new_api.settings import Settings, secret_key
from reference.providers.app import create_app as create_providers
from reference.schema import upgrade
from reference.seed import DEMO_PASSWORD, seed
from tests.running import running

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from flask import Flask

Side = Literal["legacy", "new"]

ADMIN = "ada@example.com"
MEMBER = "grace2@example.com"
POSTGRES = ("postgresql://postgres@127.0.0.1:5432/postgres", "postgresql://root@127.0.0.1:5432/postgres")


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """Yield the URL of a PostgreSQL server on which databases may be made; skip when there is none."""
    reasons = []
    for url in POSTGRES:
        try:
            with psycopg.connect(url, connect_timeout=2):
                pass
        except psycopg.OperationalError as error:
            reasons.append(f"{url}: {error}")
        else:
            yield url
            return
    pytest.skip("PostgreSQL cannot be reached; " + "; ".join(reasons))


@pytest.fixture(scope="session")
def scratch_database(postgres: str) -> Iterator[str]:
    """Yield the URL of a PostgreSQL database made for this run, and drop it at the end."""
    name = f"reference_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"'.encode())
        yield make_url(postgres).set(drivername="postgresql+psycopg", database=name).render_as_string(False)
        connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)'.encode())


def emptied(url: str) -> str:
    """Return a PostgreSQL database's URL after throwing away all that is in it.

    To make a database a test would cost a second each: PostgreSQL writes a checkpoint when one is dropped.
    """
    plain = url.replace("postgresql+psycopg:", "postgresql:")
    with psycopg.connect(plain, autocommit=True) as connection:
        others = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
        connection.execute(f"{others} AND pid <> pg_backend_pid()".encode())
        connection.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    return url


@pytest.fixture(scope="session")
def seeded_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a seeded SQLite file, to be copied and not to be touched."""
    path = tmp_path_factory.mktemp("seeded") / "reference.db"
    url = make_url(f"sqlite:///{path}")
    upgrade(url)
    seed(url)
    return path


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Yield the URL of a fresh, seeded database."""
    if request.param == "sqlite":
        path = tmp_path / "reference.db"
        shutil.copyfile(request.getfixturevalue("seeded_sqlite"), path)
        yield f"sqlite:///{path}"
    else:
        url = emptied(request.getfixturevalue("scratch_database"))
        upgrade(make_url(url))
        seed(make_url(url))
        yield url


@pytest.fixture
def empty_database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Yield the URL of a database without any table; parametrize it indirectly by kind."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'empty.db'}"
    else:
        yield emptied(request.getfixturevalue("scratch_database"))


on_both_databases = pytest.mark.parametrize("empty_database_url", ["sqlite", "postgresql"], indirect=True)

database_is_not_asked = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
"""For tests of what happens before the database: once, on SQLite, is enough."""


@dataclass(frozen=True, slots=True)
class Database:
    """Look into the database behind the apps' backs."""

    engine: Engine

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """Return what a query finds."""
        with self.engine.connect() as connection:
            return [tuple(row) for row in connection.execute(text(query))]


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """Yield a look into the test's database."""
    engine = create_engine(database_url)
    yield Database(engine)
    engine.dispose()


def plain_client(**options: Any) -> httpx.Client:
    """Return a client that loads no certificates: 40 ms of work that no test here has a use for."""
    return httpx.Client(verify=False, **options)


@dataclass(frozen=True, slots=True)
class ProvidersControl:
    """Set the providers' moods and see what they were asked."""

    client: httpx.Client

    @property
    def url(self) -> str:
        """Return the providers' address."""
        return str(self.client.base_url).rstrip("/")

    def set(self, **moods: dict[str, float]) -> None:
        """Set moods by provider: ``payment={"latency_ms": 100}``, ``mail={"status": 503}``."""
        self.client.put("/control", json=moods).raise_for_status()

    def calls(self, provider: str) -> list[dict[str, Any]]:
        """Return the writes that a provider took."""
        taken = self.client.get("/control/calls").json()
        return [call for call in taken if call["provider"] == provider]


@pytest.fixture(scope="session")
def live_providers() -> Iterator[ProvidersControl]:
    """Yield the control of providers on a real socket."""
    with running(create_providers()) as url, plain_client(base_url=url) as client:
        yield ProvidersControl(client)


@pytest.fixture
def providers(live_providers: ProvidersControl) -> ProvidersControl:
    """Return the control of prompt, healthy providers that were not called yet."""
    live_providers.client.delete("/control/calls").raise_for_status()
    live_providers.set(payment={}, mail={}, analytics={})
    return live_providers


@pytest.fixture
def legacy_app(database_url: str, providers: ProvidersControl) -> Iterator[Flask]:
    """Yield the Flask app on the test's database."""
    app = create_legacy({"DATABASE_URL": database_url, "PROVIDERS_URL": providers.url})
    yield app
    app.extensions["engine"].dispose()
    app.extensions["providers"].close()


@pytest.fixture
def legacy(legacy_app: Flask) -> Iterator[httpx.Client]:
    """Yield a client of the Flask app."""
    transport = httpx.WSGITransport(legacy_app, raise_app_exceptions=False)
    with plain_client(transport=transport, base_url="http://127.0.0.1") as client:
        yield client


@pytest.fixture
def new(database_url: str, providers: ProvidersControl) -> Iterator[httpx.Client]:
    """Yield a client of the FastAPI app, on the same database, under a real server."""
    app = create_new(Settings(database_url=database_url, providers_url=providers.url))
    # The handler of last resort logs; uvicorn would log the same exception a second time.
    with running(app, log_level="critical") as url, plain_client(base_url=url) as client:
        yield client


@pytest.fixture(params=["legacy", "new"])
def side(request: pytest.FixtureRequest) -> Side:
    """Return which app is under test."""
    chosen: Side = request.param
    return chosen


@pytest.fixture
def client(side: Side, database_url: str, request: pytest.FixtureRequest) -> httpx.Client:
    """Return a client of the side under test."""
    client: httpx.Client = request.getfixturevalue(side)
    return client


def log_in(client: httpx.Client, email: str = MEMBER) -> httpx.Response:
    """Open a session; the client keeps its cookie."""
    return client.post("/login", json={"email": email, "password": DEMO_PASSWORD})


def ask_for_token(client: httpx.Client, email: str = MEMBER) -> dict[str, str]:
    """Return the header that carries a token which the app made for a demo user."""
    answer = client.post("/token", data={"username": email, "password": DEMO_PASSWORD})
    return {"Authorization": f"Bearer {answer.json()['access_token']}"}


def token_of(user_id: int = 2) -> dict[str, str]:
    """Return the header that carries a token as either app makes it, without the work of a password."""
    claims = {"sub": str(user_id), "exp": datetime.now(UTC) + timedelta(hours=1)}
    return {"Authorization": f"Bearer {jwt.encode(claims, secret_key())}"}
