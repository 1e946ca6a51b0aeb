"""A rehearsable factory is the factory that it was, until somebody lends its sessions a connection."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, scoped_session, sessionmaker

from gateway.compat import rehearsable
from gateway.compat.rehearsal import LENDER
from gateway.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Iterator


class Base(DeclarativeBase):
    """Be the root of this file's models."""


class Thing(Base):
    """Be a row."""

    __tablename__ = "things"
    id: Mapped[int] = mapped_column(primary_key=True)


class Lending:
    """Lend one connection, in whose outer transaction the sessions live."""

    def __init__(self, connection: Connection | None = None) -> None:
        self.connection = connection
        self.adopted: list[tuple[Session, bool]] = []

    def connection_of(self, _engine: Engine) -> Connection:
        """Return the connection."""
        assert self.connection is not None
        return self.connection

    def adopt(self, session: Session, *, is_async: bool) -> None:
        """Keep the session."""
        self.adopted.append((session, is_async))


@pytest.fixture
def engine() -> Iterator[Engine]:
    engine = create_engine("sqlite://")
    Base.metadata.create_all(engine)
    yield engine
    engine.dispose()


class OwnSession(Session):
    """Be a session class of the app's own."""


class OwnMaker(sessionmaker[OwnSession]):
    """Be a factory of the app's own."""

    def __call__(self, **local_kw: Any) -> OwnSession:
        """Make a session, and say so."""
        session = super().__call__(**local_kw)
        session.info["made"] = "by the app's factory"
        return session


def test_what_comes_out_is_of_the_same_kind_and_makes_the_same_sessions(engine: Engine) -> None:
    plain = sessionmaker(engine, class_=OwnSession, expire_on_commit=False)
    wrapped = rehearsable(plain)
    assert isinstance(wrapped, sessionmaker)
    assert type(wrapped).__name__ == "sessionmaker"
    with wrapped() as session, plain() as other:
        assert type(session) is type(other)
        assert session.bind is engine
        assert session.expire_on_commit is False
        assert session.join_transaction_mode == other.join_transaction_mode == "conditional_savepoint"


def test_a_factory_of_the_apps_own_class_keeps_its_ways(engine: Engine) -> None:
    wrapped = rehearsable(OwnMaker(engine, class_=OwnSession))
    assert isinstance(wrapped, OwnMaker)
    with wrapped() as session:
        assert session.info == {"made": "by the app's factory"}
    with engine.connect() as connection, connection.begin():
        token = LENDER.set(Lending(connection))
        try:
            with wrapped() as session:
                assert session.info == {"made": "by the app's factory"}
                assert session.connection() is connection
        finally:
            LENDER.reset(token)


def test_both_factories_are_configured_as_one(engine: Engine) -> None:
    plain: sessionmaker[Session] = sessionmaker()
    wrapped = rehearsable(plain)
    plain.configure(bind=engine)
    wrapped.configure(autoflush=False)
    assert wrapped().bind is plain().bind is engine
    assert wrapped().autoflush is plain().autoflush is False


def test_wrapping_twice_is_wrapping_once(engine: Engine) -> None:
    wrapped = rehearsable(sessionmaker(engine))
    assert rehearsable(wrapped) is wrapped


@pytest.mark.parametrize(
    "made",
    [
        pytest.param(None, id="nothing"),
        pytest.param(Session, id="a session class"),
        pytest.param(scoped_session(sessionmaker()), id="a scoped session"),
    ],
)
def test_anything_but_a_factory_is_refused_with_the_repair(made: object) -> None:
    with pytest.raises(SettingsError, match="takes a sessionmaker or an async_sessionmaker"):
        rehearsable(made)


def test_a_lent_session_commits_a_savepoint_and_the_outer_transaction_undoes_it(engine: Engine) -> None:
    wrapped = rehearsable(sessionmaker(engine))
    events: list[str] = []
    event.listen(wrapped, "after_commit", lambda _session: events.append("commit"))
    connection = engine.connect()
    connection.exec_driver_sql("BEGIN")
    outer = connection.get_transaction()
    lending = Lending(connection)
    token = LENDER.set(lending)
    try:
        with wrapped.begin() as session:
            session.add(Thing(id=1))
        with wrapped() as session:
            session.add(Thing(id=2))
            session.flush()
        with wrapped() as session:
            assert session.scalars(text("SELECT id FROM things")).all() == [1]
    finally:
        LENDER.reset(token)
    assert outer is not None
    outer.rollback()
    connection.close()
    assert events == ["commit"], "listeners of the factory hear of lent sessions"
    assert [is_async for _session, is_async in lending.adopted] == [False] * 3
    with wrapped() as session:
        assert session.scalars(text("SELECT id FROM things")).all() == []


def test_a_session_that_outlives_its_rehearsal_is_an_ordinary_one(engine: Engine) -> None:
    wrapped = rehearsable(sessionmaker(engine))
    token = LENDER.set(Lending())
    session = wrapped()
    LENDER.reset(token)
    session.add(Thing(id=1))
    session.commit()
    assert session.connection().engine is engine
    session.close()


async def test_asynchronous_factories_lend_as_well() -> None:
    engine = create_async_engine("sqlite+aiosqlite://")
    async with engine.begin() as made:
        await made.run_sync(Base.metadata.create_all)
    wrapped = rehearsable(async_sessionmaker(engine, expire_on_commit=False))
    assert isinstance(wrapped, async_sessionmaker)
    async with wrapped() as plain:
        assert type(plain) is AsyncSession
        assert plain.sync_session.join_transaction_mode == "conditional_savepoint"
    async with engine.connect() as connection:
        outer = await connection.begin()
        await connection.exec_driver_sql("BEGIN")
        lending = Lending(connection.sync_connection)
        token = LENDER.set(lending)
        try:
            async with wrapped.begin() as session:
                session.add(Thing(id=1))
        finally:
            LENDER.reset(token)
        await outer.rollback()
        assert [is_async for _session, is_async in lending.adopted] == [True]
    async with wrapped() as session:
        assert (await session.scalars(text("SELECT id FROM things"))).all() == []
    await engine.dispose()


def test_an_app_without_sqlalchemy_does_not_pay_for_it() -> None:
    code = "import sys, gateway.compat; sys.exit('sqlalchemy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
