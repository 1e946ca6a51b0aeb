"""What a call wrote is known from its statements, as far as they tell; what was undone was not written."""

from __future__ import annotations

import enum
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import (
    JSON,
    Engine,
    Enum,
    ForeignKey,
    Numeric,
    String,
    create_engine,
    delete,
    func,
    insert,
    select,
    text,
    update,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from gateway.compare.rows import Window
from gateway.shadowing import written
from gateway.shadowing.rehearsed import compared_rows
from gateway.shadowing.written import ALL_TABLES, WRITE_LOG, WriteLog

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.shadowing.conftest import Database


class Base(DeclarativeBase):
    """Be the root of this file's models."""


class Size(enum.Enum):
    """Be a value that the database keeps by its name."""

    SMALL = "s"


class Cart(Base):
    """Be a row with a key that the database deals."""

    __tablename__ = "carts"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(50), default="a")
    size: Mapped[Size] = mapped_column(Enum(Size, native_enum=False), default=Size.SMALL)
    note: Mapped[str | None] = mapped_column(String(50))
    total: Mapped[Decimal] = mapped_column(Numeric(10, 2), default=Decimal("1.50"))
    more: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)
    by: Mapped[str] = mapped_column(String(50), server_default="database")
    at: Mapped[datetime] = mapped_column(default=datetime.now)


class Line(Base):
    """Be a row that points to another."""

    __tablename__ = "lines"
    id: Mapped[int] = mapped_column(primary_key=True)
    cart_id: Mapped[int] = mapped_column(ForeignKey("carts.id"))


class Plain(DeclarativeBase):
    """Be the root of the same tables as another app maps them."""


class PlainCart(Plain):
    """Map the same rows by plainer types."""

    __tablename__ = "carts"
    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str] = mapped_column("name", String(50))
    size: Mapped[str] = mapped_column(String(50))
    total: Mapped[Decimal] = mapped_column(Numeric(10, 2))
    more: Mapped[dict[str, Any]] = mapped_column(JSON)
    at: Mapped[datetime] = mapped_column()


@pytest.fixture
def engine(database: Database) -> Iterator[Engine]:
    """Yield an engine on empty tables."""
    written.install()
    engine = create_engine(database.url)
    Base.metadata.create_all(engine)
    yield engine
    engine.dispose()


def logged(act: Callable[[], object]) -> WriteLog:
    """Return what ``act`` wrote."""
    log = WriteLog()
    token = WRITE_LOG.set(log)
    try:
        act()
    finally:
        WRITE_LOG.reset(token)
    return log


def in_session(engine: Engine, *acts: Callable[[Session], object]) -> WriteLog:
    """Return what ``acts`` write in one session that commits."""

    def act() -> None:
        with Session(engine) as session:
            for each in acts:
                each(session)
            session.commit()

    return logged(act)


def rows(control: WriteLog, candidate: WriteLog) -> Any:
    """Return both sides' rows and the dealt keys."""
    now = datetime.now(UTC)
    offset = now.astimezone().utcoffset() or timedelta(0)
    return compared_rows(control, candidate, Window(now - timedelta(minutes=1), now, offset))


def told(log: WriteLog) -> list[tuple[str, str, dict[str, object], dict[str, object]]]:
    """Return table, action, key and values of what was written."""
    found, _, _ = rows(log, log)
    return [(row.table, row.action, dict(row.key), dict(row.values)) for row in found]


def test_an_insert_is_its_values_as_they_go_to_the_database_and_its_dealt_key(engine: Engine) -> None:
    log = in_session(engine, lambda session: session.add(Cart(more={"b": 1, "a": 2})))
    ((table, action, key, values),) = told(log)
    assert (table, action, key) == ("carts", "insert", {"id": 1})
    assert values.pop("total") in (1.5, "1.50")  # SQLite keeps a number, PostgreSQL a decimal one
    assert str(values.pop("at")).startswith("(now, ")
    assert values == {"name": "a", "size": "SMALL", "more": '{"a": 2, "b": 1}'}


def test_many_rows_of_one_statement_are_told_one_by_one(engine: Engine) -> None:
    log = in_session(engine, lambda session: session.add_all([Cart(name=name) for name in "abc"]))
    assert [(key, values["name"]) for _table, _action, key, values in told(log)] == [
        ({"id": 1}, "a"),
        ({"id": 2}, "b"),
        ({"id": 3}, "c"),
    ]


def test_updates_and_deletes_are_known_by_the_key_that_they_name(engine: Engine) -> None:
    in_session(engine, lambda session: session.add_all([Cart(), Cart(), Cart()]))

    def change(session: Session) -> None:
        cart = session.get_one(Cart, 1)
        cart.name = "b"
        session.delete(session.get_one(Cart, 2))
        session.flush()
        session.execute(update(Cart).where(Cart.id == 3).values(name="c"))
        session.execute(delete(Cart).where(Cart.id == 99))

    assert told(in_session(engine, change)) == [
        ("carts", "update", {"id": 1}, {"name": "b"}),
        ("carts", "delete", {"id": 2}, {}),
        ("carts", "update", {"id": 3}, {"name": "c"}),
    ]


def test_what_becomes_of_a_row_within_a_request_counts_once(engine: Engine) -> None:
    def make_and_change(session: Session) -> None:
        cart = Cart(name="a", note="x")
        session.add(cart)
        session.flush()
        cart.name, cart.note = "b", None
        session.flush()

    def make_and_remove(session: Session) -> None:
        cart = Cart()
        session.add(cart)
        session.flush()
        session.delete(cart)

    ((_table, action, _key, values),) = told(in_session(engine, make_and_change))
    assert (action, values["name"], "note" in values) == ("insert", "b", False)
    assert told(in_session(engine, make_and_remove)) == []


def test_what_was_rolled_back_was_not_written(engine: Engine) -> None:
    def act() -> None:
        with Session(engine) as session:
            session.add(Cart(name="kept"))
            session.flush()
            with session.begin_nested() as inner:
                session.add(Cart(name="undone"))
                session.flush()
                inner.rollback()
            with session.begin_nested():
                session.add(Cart(name="released"))
            session.commit()
            session.add(Cart(name="forgotten"))
            session.flush()

    assert [values["name"] for *_row, values in told(logged(act))] == ["kept", "released"]


COPIED = [Cart.name, Cart.size, Cart.total, Cart.more, Cart.at]
UNTOLD = {
    "text": lambda session: session.execute(text("UPDATE carts SET name = 'x'")),
    "the driver": lambda session: session.connection().exec_driver_sql("UPDATE \"carts\" SET name = 'x'"),
    "a condition": lambda session: session.execute(update(Cart).where(Cart.name == "a").values(name="x")),
    "a select": lambda session: session.execute(insert(Cart).from_select(COPIED, select(*COPIED))),
}


@pytest.mark.parametrize("act", UNTOLD.values(), ids=UNTOLD)
def test_a_table_of_which_nobody_can_tell_is_compared_on_neither_side(
    act: Callable[[Session], object], engine: Engine
) -> None:
    add = lambda session: session.add_all([Cart(id=10), Line(id=10, cart_id=10)])  # noqa: E731 - one line of a test
    in_session(engine, lambda session: session.add(Cart()))
    log = in_session(engine, act)
    assert log.untold == {"carts"}
    other = in_session(engine, add)
    control, candidate, _ = rows(other, log)
    assert [row.table for row in control] == ["lines"]
    assert candidate == ()


def test_a_write_without_a_table_leaves_all_rows_uncompared(engine: Engine) -> None:
    log = in_session(engine, lambda session: session.execute(text("CREATE TABLE x (n int)")))
    assert log.untold == {ALL_TABLES}
    assert rows(log, log) == (None, None, {})


def test_a_side_that_made_no_statement_was_not_observed(engine: Engine) -> None:
    log = in_session(engine, lambda session: session.add(Cart()))
    assert rows(WriteLog(), log)[0] is None
    control, candidate, _ = rows(log, WriteLog())
    assert len(control) == 1
    assert candidate == ()


def test_two_apps_that_map_the_same_row_in_their_own_ways_wrote_the_same(engine: Engine) -> None:
    mine = in_session(engine, lambda session: session.add(Cart(more={"a": 1})))
    other = PlainCart(title="a", size="SMALL", total=Decimal("1.50"), more={"a": 1}, at=datetime.now())
    theirs = in_session(engine, lambda session: session.add(other))
    control, candidate, dealt = rows(mine, theirs)
    assert control == candidate
    assert dealt == {"2": "1"}


def test_keys_that_point_to_dealt_keys_are_aligned_with_them(engine: Engine) -> None:
    def make(session: Session) -> None:
        cart = Cart()
        session.add(cart)
        session.flush()
        session.add(Line(cart_id=cart.id))

    control, candidate, dealt = rows(in_session(engine, make), in_session(engine, make))
    assert control == candidate
    assert dealt == {"2": "1"}


def test_a_column_that_only_the_database_knows_on_one_side_is_compared_on_neither(engine: Engine) -> None:
    named = in_session(engine, lambda session: session.add(Cart(by="me")))
    left = in_session(engine, lambda session: session.add(Cart()))
    control, candidate, _ = rows(named, left)
    assert control == candidate
    expression = in_session(
        engine, lambda s: s.execute(update(Cart).where(Cart.id == 1).values(name=func.upper(Cart.name)))
    )
    value = in_session(engine, lambda s: s.execute(update(Cart).where(Cart.id == 1).values(name="A")))
    control, candidate, _ = rows(expression, value)
    assert control == candidate


def test_an_outer_savepoint_that_ends_before_an_inner_one_is_told_before_it_counts_as_ended(
    engine: Engine,
) -> None:
    """Two sessions on one connection: the end of the outer savepoint takes the inner one's rows along."""
    told_of: list[object] = []

    def refuse(connection: object) -> None:
        told_of.append(connection)
        raise LookupError

    log = WriteLog(refuse)
    with engine.connect() as connection:
        log.began_savepoint(connection, "outer")
        log.began_savepoint(connection, "inner")
        for is_kept in (True, False):
            with pytest.raises(LookupError):
                log.ended_savepoint(connection, "outer", is_kept=is_kept)
        assert told_of == [connection, connection]
        log.ended_savepoint(connection, "inner", is_kept=True)
        log.ended_savepoint(connection, "outer", is_kept=True)
        assert told_of == [connection, connection]
