"""Make a small shop twice, in Flask and in FastAPI on one database, to rehearse its writes.

Legacy takes an order on any path: it notes it, and takes a piece out of the stock (but for ``/plain``). New
does the same, and what else it does, its path says. Rows are counted behind the apps' backs.
"""

from __future__ import annotations

import contextlib
import itertools
import sys
import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import create_engine, text

from gateway.app import Gateway, create_app

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from gateway.backends.base import Receive, Scope, Send
    from tests.shadowing.conftest import Database

LEGACY = """
    from datetime import datetime
    from flask import Flask, jsonify, request
    from sqlalchemy import String, create_engine
    from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

    class Base(DeclarativeBase):
        pass

    class Order(Base):
        __tablename__ = "orders"
        id: Mapped[int] = mapped_column(primary_key=True)
        name: Mapped[str] = mapped_column(String(200))
        cents: Mapped[int] = mapped_column(default=100)
        by: Mapped[str] = mapped_column(String(10), server_default="nobody")
        at: Mapped[datetime] = mapped_column(default=datetime.now)

    class Stock(Base):
        __tablename__ = "stock"
        id: Mapped[int] = mapped_column(primary_key=True)
        pieces: Mapped[int]

    app = Flask(__name__)
    engine = create_engine(THE_URL, **THE_OPTIONS)

    @app.post("/<path:_path>")
    def order(_path):
        name = (request.get_json(silent=True) or {"name": str(len(request.get_data()))})["name"]
        with Session(engine) as session:
            if _path != "plain":
                session.get(Stock, 1).pieces -= 1
            order = Order(name=name)
            session.add(order)
            session.commit()
            answer = jsonify(id=order.id, name=order.name)
            return answer, 201, {"Location": f"/orders/{order.id}"}
"""

NEW = """
    import asyncio
    import http.client
    import smtplib
    import socket
    import subprocess
    import sys
    import threading
    import time
    from contextlib import asynccontextmanager
    from datetime import datetime
    from typing import Annotated

    import httpx
    from fastapi import BackgroundTasks, Depends, FastAPI, HTTPException, Response
    from pydantic import BaseModel
    from sqlalchemy import String, create_engine, insert, text, update
    from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
    from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, sessionmaker
    from gateway.compat import rehearsable

    class Base(DeclarativeBase):
        pass

    class Order(Base):
        __tablename__ = "orders"
        id: Mapped[int] = mapped_column(primary_key=True)
        name: Mapped[str] = mapped_column(String(200))
        cents: Mapped[int] = mapped_column(default=100)
        at: Mapped[datetime] = mapped_column(default=datetime.now)

    class Stock(Base):
        __tablename__ = "stock"
        id: Mapped[int] = mapped_column(primary_key=True)
        pieces: Mapped[int]

    class Ordered(BaseModel):
        name: str

    engine = create_async_engine(THE_ASYNC_URL)
    Sessions = rehearsable(async_sessionmaker(engine, expire_on_commit=False))
    OwnSessions = async_sessionmaker(engine, expire_on_commit=False)
    sync_engine = create_engine(THE_URL)
    SyncSessions = rehearsable(sessionmaker(sync_engine, expire_on_commit=False))
    OwnSyncSessions = sessionmaker(sync_engine)

    INSERT = "INSERT INTO orders (name, cents, at) VALUES ('new', 1, '2026-01-01')"

    calls = []
    threads = []
    elsewhere = {}

    @asynccontextmanager
    async def lifespan(app):
        async with httpx.AsyncClient() as client:
            elsewhere["client"] = client
            yield
        if "writer" in elsewhere:
            elsewhere["writer"].close()
            elsewhere["http"].close()
        await engine.dispose()
        sync_engine.dispose()

    app = FastAPI(openapi_url=None, lifespan=lifespan)

    async def session():
        async with Sessions() as session:
            yield session

    async def committing():
        async with Sessions() as session:
            yield session
            await session.commit()

    async def take(session, name, **more):
        calls.append(name)
        stock = await session.get(Stock, 1)
        stock.pieces -= 1
        order = Order(name=name, **more)
        session.add(order)
        await session.flush()
        return order

    def answer(order, response):
        response.headers["Location"] = f"/orders/{order.id}"
        return {"id": order.id, "name": order.name}

    async def place(name, response, **more):
        async with Sessions() as session:
            order = await take(session, name, **more)
            await session.commit()
        return answer(order, response)

    @app.get("/warm")
    async def warm():
        host, port = "127.0.0.1", elsewhere["port"]
        await elsewhere["client"].post(elsewhere["url"] + "/warm")
        reader, elsewhere["writer"] = await asyncio.open_connection(host, port)
        connection = elsewhere["http"] = http.client.HTTPConnection(host, port)
        await asyncio.to_thread(connection.request, "POST", "/warm")
        await asyncio.to_thread(lambda: connection.getresponse().read())

    def on(path):
        return app.post(path, status_code=201)

    @on("/same")
    async def same(body: Ordered, response: Response):
        return await place(body.name, response)

    @on("/wrong")
    async def wrong(body: Ordered, response: Response):
        return await place(body.name, response, cents=99)

    @on("/plain")
    async def plain(body: Ordered, response: Response):
        async with Sessions() as session:
            order = Order(name=body.name, cents=99 if body.name.endswith("7") else 100)
            session.add(order)
            await session.commit()
        return answer(order, response)

    @on("/forgets")
    async def forgets(body: Ordered, response: Response):
        async with Sessions() as session:
            return answer(await take(session, body.name), response)

    @on("/depends")
    async def depends(body: Ordered, response: Response, session=Depends(session)):
        order = await take(session, body.name)
        await session.commit()
        return answer(order, response)

    @on("/commits-behind")
    async def commits_behind(body: Ordered, response: Response, session=Depends(committing)):
        return answer(await take(session, body.name), response)

    @on("/begin")
    async def begin(body: Ordered, response: Response):
        async with Sessions.begin() as session:
            order = await take(session, body.name)
        return answer(order, response)

    @on("/core")
    async def core(body: Ordered, response: Response):
        async with Sessions.begin() as session:
            await session.execute(update(Stock).where(Stock.id == 1).values(pieces=Stock.pieces - 1))
            ids = await session.scalars(insert(Order).returning(Order.id), [{"name": body.name}])
            order = await session.get(Order, ids.one())
        return answer(order, response)

    @on("/nested")
    async def nested(body: Ordered, response: Response):
        async with Sessions() as session:
            order = await take(session, body.name)
            async with Sessions() as other:
                other.add(Order(name="audit"))
                await other.rollback()
            try:
                async with session.begin_nested():
                    session.add(Order(id=order.id, name="twice"))
            except Exception:
                pass
            await session.commit()
        return answer(order, response)

    @app.post("/sync", status_code=201)
    def sync(body: Ordered, response: Response):
        with SyncSessions() as session:
            session.get(Stock, 1).pieces -= 1
            order = Order(name=body.name)
            session.add(order)
            session.commit()
        return answer(order, response)

    @on("/hangs")
    async def hangs(body: Ordered, response: Response):
        async with Sessions() as session:
            await take(session, body.name)
            await asyncio.sleep(60)

    @on("/stubborn")
    async def stubborn(body: Ordered, response: Response):
        ends = time.monotonic() + 4
        async with Sessions() as session:
            await take(session, body.name)
            while time.monotonic() < ends:
                try:
                    await asyncio.sleep(4)
                except asyncio.CancelledError:
                    pass
            await session.commit()

    @app.post("/hangs-in-thread", status_code=201)
    def hangs_in_thread(body: Ordered):
        with SyncSessions() as session:
            session.get(Stock, 1).pieces -= 1
            session.add(Order(name=body.name))
            session.flush()
            time.sleep(4)
            session.commit()

    @app.post("/computes-in-database", status_code=201)
    def computes_in_database(body: Ordered):
        with SyncSessions() as session:
            session.get(Stock, 1).pieces -= 1
            session.flush()
            if sync_engine.dialect.name == "sqlite":
                numbers = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n)"
                session.execute(text(numbers + " SELECT max(x) FROM n"))
            else:
                session.execute(text("SELECT pg_sleep(60)"))

    @on("/raises")
    async def raises(body: Ordered):
        async with Sessions() as session:
            await take(session, body.name)
            raise RuntimeError("after a write")

    @on("/exits")
    async def exits(body: Ordered):
        async with Sessions() as session:
            await take(session, body.name)
            raise SystemExit(3)

    @on("/invalid")
    async def invalid(body: Ordered):
        raise HTTPException(422)

    @on("/at-once")
    async def at_once(body: Ordered, response: Response):
        async with Sessions() as one, Sessions() as other:
            await take(one, body.name)
            await take(other, body.name)
            await one.commit()
            await other.commit()

    # What must not be, each in its own way.

    @on("/own-session")
    async def own_session(body: Ordered):
        async with OwnSessions() as session:
            await take(session, body.name)
            await session.commit()

    @on("/connection")
    async def connection(body: Ordered):
        async with engine.begin() as connection:
            await connection.execute(text(INSERT))

    @on("/autocommit")
    async def autocommit(body: Ordered):
        async with engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
            await connection.execute(text(INSERT))

    @on("/autocommit-session")
    async def autocommit_session(body: Ordered):
        async with Sessions(bind=engine.execution_options(isolation_level="AUTOCOMMIT")) as session:
            await take(session, body.name)

    @on("/locks")
    async def locks(body: Ordered):
        async with OwnSessions() as session:
            await session.execute(text("SELECT pieces FROM stock FOR UPDATE"))

    @on("/commits-connection")
    async def commits_connection(body: Ordered):
        async with Sessions() as session:
            await take(session, "new")
            await (await session.connection()).commit()

    @on("/commits-by-text")
    async def commits_by_text(body: Ordered):
        async with Sessions() as session:
            await take(session, "new")
            await session.execute(text("COMMIT"))

    @on("/two-statements")
    async def two_statements(body: Ordered):
        async with Sessions() as session:
            await (await session.connection()).exec_driver_sql("SELECT 1; COMMIT")

    @on("/setval")
    async def setval(body: Ordered):
        async with Sessions() as session:
            await session.execute(text("SELECT setval('orders_id_seq', 1000)"))

    @on("/truncates")
    async def truncates(body: Ordered):
        async with Sessions() as session:
            await session.execute(text("TRUNCATE orders"))

    @on("/connects")
    async def connects(body: Ordered):
        async with httpx.AsyncClient() as client:
            await client.post(elsewhere["url"] + "/new")

    @on("/keeps-connection")
    async def keeps_connection(body: Ordered, response: Response):
        try:
            await elsewhere["client"].post(elsewhere["url"] + "/new")
        except httpx.HTTPError:
            pass
        return await place(body.name, response)

    @on("/streams")
    async def streams(body: Ordered):
        elsewhere["writer"].write(b"POST /new HTTP/1.1\\r\\nHost: a\\r\\nContent-Length: 0\\r\\n\\r\\n")

    @app.post("/keeps-socket", status_code=201)
    def keeps_socket(body: Ordered):
        elsewhere["http"].request("POST", "/new")

    @app.post("/mails", status_code=201)
    def mails(body: Ordered):
        smtplib.SMTP("127.0.0.1", elsewhere["port"]).sendmail("a@example.com", "b@example.com", "new")

    @on("/executor")
    async def executor(body: Ordered):
        def work():
            with OwnSyncSessions.begin() as session:
                session.add(Order(name="new"))
        await asyncio.get_running_loop().run_in_executor(None, work)

    @on("/connects-in-executor")
    async def connects_in_executor(body: Ordered):
        port = elsewhere["port"]
        await asyncio.get_running_loop().run_in_executor(None, socket.create_connection, ("127.0.0.1", port))

    @on("/thread")
    async def thread(body: Ordered):
        def work():
            with OwnSyncSessions.begin() as session:
                session.add(Order(name="new"))
        threading.Thread(target=work).start()

    @on("/process")
    async def process(body: Ordered):
        await asyncio.create_subprocess_exec(sys.executable, "-c", "")

    @app.post("/process-in-thread", status_code=201)
    def process_in_thread(body: Ordered):
        subprocess.run([sys.executable, "-c", ""])

    @app.post("/own-sqlite", status_code=201)
    def own_sqlite(body: Ordered):
        import sqlite3
        path = sync_engine.url.database if sync_engine.dialect.name == "sqlite" else ":memory:"
        sqlite3.connect(path).close()

    @on("/later")
    async def later(body: Ordered, response: Response):
        async def work():
            await asyncio.sleep(0.2)
            async with Sessions.begin() as session:
                session.add(Order(name="new"))
        threads.append(asyncio.create_task(work()))
        return await place(body.name, response)

    # What is left undone.

    @on("/background")
    async def background(body: Ordered, response: Response, tasks: BackgroundTasks):
        async def work():
            async with OwnSessions.begin() as session:
                session.add(Order(name="new"))
        tasks.add_task(work)
        return await place(body.name, response)
"""

TABLE = """
    version: 1
    backends:
      legacy: {{wsgi: "{legacy}:app"}}
      new: {{asgi: "{new}:app"}}
    defaults: {{{defaults}}}
    routes: {{}}
"""

numbers = itertools.count()


@dataclass(slots=True)
class Shop:
    """Be both apps behind a gateway, and a look into their database."""

    app: Gateway
    new: Any
    legacy: Any
    database: Database

    def rows(self, query: str = "SELECT name FROM orders ORDER BY id") -> list[Any]:
        """Return the first column of what ``query`` finds."""
        engine = create_engine(self.database.url)
        with engine.connect() as connection:
            found = [row[0] for row in connection.execute(text(query))]
        engine.dispose()
        return found

    def outcomes(self, path: str) -> dict[str, int]:
        """Return what the comparisons of ``POST path`` came to."""
        return {str(name): count for name, count in self.app.ledger.outcomes(f"POST {path}").items()}

    def dropped(self) -> dict[str, int]:
        """Return how many comparisons came not about, by reason."""
        return self.app.ledger.dropped()

    def stopped(self, path: str) -> str:
        """Return why ``POST path`` is not rehearsed any more, or nothing."""
        return self.app.ledger.stopped().get(f"POST {path}", "")

    def failing(self) -> list[tuple[str, str, str | None, str | None]]:
        """Return kind, place and both values of what differed and counts."""
        found = [each.difference for each in self.app.ledger.findings() if each.difference.is_failing]
        return [(each.kind.value, each.place, each.control, each.candidate) for each in found]


class Elsewhere:
    """Be another company's server: count what it is asked, but for what opens a connection beforehand."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 200 to everything."""
        if scope["type"] != "http":
            raise ValueError("only http")
        if scope["path"] != "/warm":
            self.asked.append(scope["path"])
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})


@contextlib.contextmanager
def shop(
    folder: Path,
    database: Database,
    paths: Sequence[str],
    *,
    more: str = "",
    defaults: str = "stage: shadow, writes: rehearse",
    legacy_options: dict[str, Any] | None = None,
) -> Iterator[Shop]:
    """Yield a shop with a row ``POST path`` for each of ``paths``, which says what ``defaults`` says.

    ``more`` is added to the source of the new app, ``legacy_options`` are those of legacy's engine.
    """
    number = next(numbers)
    legacy_name, new_name = f"rehearsed_legacy_{number}", f"rehearsed_new_{number}"
    options = legacy_options
    if options is None:
        options = {"connect_args": {"timeout": 1}} if database.is_sqlite else {}
    sources = {legacy_name: LEGACY, new_name: NEW}
    for name, source in sources.items():
        source = textwrap.dedent(source) + (textwrap.dedent(more) if name == new_name else "")
        source = source.replace("THE_ASYNC_URL", repr(database.async_url))
        source = source.replace("THE_URL", repr(database.url)).replace("THE_OPTIONS", repr(options))
        (folder / f"{name}.py").write_text(source)
    table = textwrap.dedent(TABLE.format(legacy=legacy_name, new=new_name, defaults=defaults))
    rows = "".join(f"  POST {path}: {{}}\n" for path in paths)
    table = table.replace("routes: {}\n", f"routes:\n  GET /warm: new\n{rows}")
    (folder / "routing.yaml").write_text(table)
    sys.path.insert(0, str(folder))
    try:
        app = create_app(folder / "routing.yaml")
    finally:
        sys.path.remove(str(folder))
    # A busy machine's late event loop would call off most of what is to be seen here.
    app.shadows._lag_s = lambda: 0.0
    legacy, new_module = sys.modules[legacy_name], sys.modules[new_name]
    legacy.Base.metadata.create_all(legacy.engine)
    with legacy.engine.begin() as connection:
        connection.execute(text("INSERT INTO stock VALUES (1, 100000)"))
    yield Shop(app, new_module, legacy, database)
    legacy.engine.dispose()
    for name in (legacy_name, new_name):
        del sys.modules[name]
