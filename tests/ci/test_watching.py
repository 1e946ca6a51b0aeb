"""What a request does to databases and to others is counted for that request, whatever it does it with."""

from __future__ import annotations

import asyncio
import http.server
import importlib
import smtplib
import socketserver
import sqlite3
import sys
import threading
import urllib.parse
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import TYPE_CHECKING

import aiohttp
import aiosmtplib
import aiosqlite
import httpx
import psycopg
import pytest
import requests
import sqlalchemy
from sqlalchemy.ext.asyncio import create_async_engine

from gateway.ci.outbound import settled
from gateway.ci.watching import Watcher
from gateway.ci.watching.followers import follow_tasks
from gateway.ci.watching.tally import is_counted, request, settle, without_values
from gateway.compare.observation import OutboundCall
from gateway.compare.rows import Window
from tests.reference.conftest import POSTGRES
from tests.running import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from gateway.compare.observation import Effects

ONE = "SELECT a FROM t WHERE a = 1"


@pytest.fixture
def watcher() -> Iterator[Watcher]:
    """Watch this process until the test ends."""
    watcher = Watcher()
    watcher.install()
    yield watcher
    watcher.undo()


@pytest.fixture
def database(tmp_path: Path) -> str:
    """Return the path of a small SQLite database."""
    path = str(tmp_path / "t.db")
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE t (a INTEGER)")
        connection.executemany("INSERT INTO t VALUES (?)", [(1,), (2,), (3,)])
    return path


def did(watcher: Watcher, work: Callable[[], object]) -> Effects:
    """Return what ``work`` did, as a request would be told to have done it."""
    with request() as tally:
        work()
    asyncio.run(settle(tally))
    return watcher.effects(tally)


def count(watcher: Watcher, work: Callable[[], object]) -> int:
    """Return how many statements ``work`` sent."""
    queries = did(watcher, work).queries
    assert queries is not None
    return queries.count


# statements


def by_connection(path: str) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(ONE)
        connection.executemany("INSERT INTO t VALUES (?)", [(4,), (5,)])


def by_cursor(path: str) -> None:
    with closing(sqlite3.connect(path)) as connection:
        cursor = connection.cursor()
        cursor.execute(ONE)
        cursor.execute(ONE)


class OwnConnection(sqlite3.Connection):
    """Be what an app passes as factory."""


class OwnCursor(sqlite3.Cursor):
    """Be what an app passes as factory."""


def by_factories(path: str) -> None:
    with closing(sqlite3.connect(path, factory=OwnConnection)) as connection:
        assert isinstance(connection, OwnConnection)
        cursor = connection.cursor(OwnCursor)
        assert isinstance(cursor, OwnCursor)
        cursor.execute(ONE)
        connection.execute(ONE)


def by_engine(path: str) -> None:
    engine = sqlalchemy.create_engine(f"sqlite:///{path}")
    with engine.connect() as connection:
        connection.execute(sqlalchemy.text(ONE))
        connection.execute(sqlalchemy.text(ONE))
    engine.dispose()


def by_async_engine(path: str) -> None:
    async def work() -> None:
        engine = create_async_engine(f"sqlite+aiosqlite:///{path}")
        async with engine.connect() as connection:
            await connection.execute(sqlalchemy.text(ONE))
            await connection.execute(sqlalchemy.text(ONE))
        await engine.dispose()

    asyncio.run(work())


def by_aiosqlite(path: str) -> None:
    async def work() -> None:
        async with aiosqlite.connect(path) as connection:
            await connection.execute(ONE)
            await connection.execute(ONE)

    asyncio.run(work())


@pytest.mark.parametrize(
    "work",
    [by_connection, by_cursor, by_factories, by_engine, by_async_engine, by_aiosqlite],
    ids=lambda work: work.__name__,
)
def test_each_statement_counts_once_whatever_sends_it(
    watcher: Watcher, database: str, work: Callable[[str], None]
) -> None:
    assert count(watcher, lambda: work(database)) == 2


@pytest.fixture(scope="module")
def postgres_url() -> str:
    """Return the URL of a PostgreSQL server; skip when there is none."""
    for url in POSTGRES:
        try:
            psycopg.connect(url, connect_timeout=2).close()
        except psycopg.OperationalError:
            continue
        return url
    pytest.skip("PostgreSQL cannot be reached")


def test_psycopg_counts_by_itself_and_once_below_sqlalchemy(watcher: Watcher, postgres_url: str) -> None:
    def alone() -> None:
        with psycopg.connect(postgres_url) as connection:
            connection.execute("SELECT 2")
            connection.execute(psycopg.sql.SQL("SELECT 3"))

    async def at_once() -> None:
        async with await psycopg.AsyncConnection.connect(postgres_url) as connection:
            await connection.execute("SELECT 2")

    def below() -> None:
        engine = sqlalchemy.create_engine(postgres_url.replace("postgresql:", "postgresql+psycopg:"))
        with engine.connect() as connection:
            connection.execute(sqlalchemy.text("SELECT 2"))
        engine.dispose()

    assert count(watcher, alone) == 2
    assert count(watcher, lambda: asyncio.run(at_once())) == 1
    assert count(watcher, below) == 1


def test_a_statement_for_each_row_is_known_by_its_text_and_the_line_that_sends_it(
    watcher: Watcher, database: str
) -> None:
    async def asynchronously() -> None:
        engine = create_async_engine(f"sqlite+aiosqlite:///{database}")
        async with engine.connect() as connection:
            for number in (1, 2, 3):
                await connection.execute(sqlalchemy.text("SELECT a FROM t WHERE a = :a"), {"a": number})
        await engine.dispose()

    def plainly() -> None:
        with closing(sqlite3.connect(database)) as connection:
            for number in (1, 2, 3):
                connection.execute(f"SELECT a FROM t WHERE a = {number}")

    for work in (lambda: asyncio.run(asynchronously()), plainly):
        queries = did(watcher, work).queries
        assert queries is not None
        assert (queries.count, queries.again, queries.times) == (3, 2, 3)
        assert queries.text == "SELECT a FROM t WHERE a = ?"
        assert queries.place.startswith("tests/ci/test_watching.py:")


@pytest.mark.parametrize(
    ("text", "counts"),
    [
        ("select a from t", True),
        ("  -- why\n(SELECT 1) UNION SELECT 2", True),
        ("/* why */ WITH x AS (SELECT 1) SELECT * FROM x", True),
        ("INSERT INTO t VALUES (1)", True),
        ("PRAGMA foreign_keys=ON", False),
        ("BEGIN", False),
        ("SAVEPOINT a", False),
        ("SET TIME ZONE 'UTC'", False),
        ("SELECT 1", False),
        ("", False),
    ],
)
def test_only_what_reads_or_writes_rows_counts(text: str, counts: bool) -> None:
    assert is_counted(text) is counts


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("SELECT a\n  FROM t WHERE b = 'it''s' AND c = 1.5", "SELECT a FROM t WHERE b = ? AND c = ?"),
        ("SELECT a FROM t1 WHERE id IN (?, ?, ?)", "SELECT a FROM t1 WHERE id IN (?)"),
        ("SELECT a FROM t WHERE id IN (%(id_1)s, %(id_2)s)", "SELECT a FROM t WHERE id IN (%(id_1)s)"),
        ("SELECT a FROM t WHERE id IN (1, 2)", "SELECT a FROM t WHERE id IN (?)"),
    ],
)
def test_a_statement_is_known_without_its_values(text: str, plain: str) -> None:
    assert without_values(text) == plain


def test_while_no_statement_was_ever_seen_their_number_is_unknown(database: str, watcher: Watcher) -> None:
    assert did(watcher, lambda: None).queries is None
    by_connection(database)
    assert count(watcher, lambda: None) == 0


# calls


class _Partner(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        if self.headers.get("Transfer-Encoding"):
            while size := int(self.rfile.readline(), 16):
                self.rfile.read(size + 2)
            self.rfile.readline()
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        is_moved = self.path == "/moved"
        self.send_response(302 if is_moved else 200)
        if is_moved:
            self.send_header("Location", "/a")
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_GET = do_POST  # noqa: N815 - the base class's way to name methods

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Keep quiet."""


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """Serve somebody who takes any call."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Partner) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


QUERY = {"b": "1", "a": "x y"}
DATA = {"to": "ada", "n": "1 2"}


def by_urllib(url: str) -> None:
    form = urllib.parse.urlencode(DATA).encode()
    headers = {"Content-Type": "application/json"}
    for body, more in ((b'{"n": 1}', headers), (form, {})):
        made = urllib.request.Request(f"{url}/a?b=1&a=x+y", body, more)
        with urllib.request.urlopen(made) as answer:
            answer.read()
    with urllib.request.urlopen(f"{url}/a?b=1&a=x%20y") as answer:
        answer.read()


def by_requests(url: str) -> None:
    with requests.Session() as session:
        session.post(f"{url}/a", params=QUERY, json={"n": 1})
        session.post(f"{url}/a", params=QUERY, data=DATA)
        session.get(f"{url}/a", params=QUERY)


def by_httpx(url: str) -> None:
    with httpx.Client() as client:
        client.post(f"{url}/a", params=QUERY, json={"n": 1})
        client.post(f"{url}/a", params=QUERY, data=DATA)
        client.get(f"{url}/a", params=QUERY)


def by_async_httpx(url: str) -> None:
    async def work() -> None:
        async with httpx.AsyncClient() as client:
            await asyncio.gather(
                client.get(f"{url}/a", params=QUERY),
                client.post(f"{url}/a", params=QUERY, data=DATA),
                client.post(f"{url}/a", params=QUERY, json={"n": 1}),
            )

    asyncio.run(work())


def by_aiohttp(url: str) -> None:
    async def work() -> None:
        async with aiohttp.ClientSession() as session:
            for body in ({"json": {"n": 1}}, {"data": DATA}):
                async with session.post(f"{url}/a", params=QUERY, **body) as answer:
                    await answer.read()
            async with session.get(f"{url}/a", params=QUERY) as answer:
                await answer.read()

    asyncio.run(work())


CLIENTS = [by_urllib, by_requests, by_httpx, by_async_httpx, by_aiohttp]


@pytest.mark.parametrize("work", CLIENTS, ids=lambda work: work.__name__)
def test_the_same_calls_look_the_same_whichever_client_makes_them(
    watcher: Watcher, url: str, work: Callable[[str], None]
) -> None:
    calls = did(watcher, lambda: work(url)).outbound
    assert calls is not None
    address = f"{url}/a?a=x+y&b=1"
    assert sorted((each.method, each.url, (each.body or b"").replace(b" ", b"")) for each in calls) == [
        ("GET", address, b""),
        ("POST", address, b"to=ada&n=1+2"),
        ("POST", address, b'{"n":1}'),
    ]


@pytest.mark.parametrize(
    "work",
    [
        lambda url: requests.post(url, data=iter([b'{"n"', b": 1}"])),
        lambda url: httpx.post(url, content=iter([b'{"n"', b": 1}"])),
    ],
    ids=["requests", "httpx"],
)
def test_a_body_sent_in_chunks_is_put_together(
    watcher: Watcher, url: str, work: Callable[[str], object]
) -> None:
    (call,) = did(watcher, lambda: work(f"{url}/a")).outbound or ()
    assert call.body == b'{"n": 1}'


@pytest.mark.parametrize(
    "work",
    [
        lambda url: requests.post(url, files={"f": b"x"}),
        lambda url: httpx.post(url, files={"f": b"x"}),
        lambda url: httpx.post(url, content=b"x" * 100_000),
    ],
    ids=["requests' parts", "httpx's parts", "large"],
)
def test_a_body_that_no_two_clients_write_the_same_is_not_compared(
    watcher: Watcher, url: str, work: Callable[[str], object]
) -> None:
    (call,) = did(watcher, lambda: work(f"{url}/a")).outbound or ()
    assert call.body is None


@pytest.mark.parametrize(
    "work",
    [
        lambda url: requests.get(f"{url}/moved"),
        lambda url: httpx.get(f"{url}/moved", follow_redirects=True),
    ],
    ids=["requests", "httpx"],
)
def test_a_redirect_that_is_followed_is_a_call_of_its_own(
    watcher: Watcher, url: str, work: Callable[[str], object]
) -> None:
    calls = did(watcher, lambda: work(url)).outbound
    assert [each.url.removeprefix(url) for each in calls or ()] == ["/moved", "/a"]


@pytest.mark.parametrize(
    "work",
    [
        lambda url: requests.get(url),
        lambda url: httpx.get(url),
        lambda url: asyncio.run(_get_by_aiohttp(url)),
    ],
    ids=["requests", "httpx", "aiohttp"],
)
def test_a_call_that_nobody_answers_counts_as_well(watcher: Watcher, work: Callable[[str], object]) -> None:
    def attempt() -> None:
        with pytest.raises((requests.RequestException, httpx.HTTPError, aiohttp.ClientError)):
            work("http://127.0.0.1:9/x")

    (call,) = did(watcher, attempt).outbound or ()
    assert call.url == "http://127.0.0.1:9/x"


async def _get_by_aiohttp(url: str) -> None:
    async with aiohttp.ClientSession() as session, session.get(url):
        pass


def test_no_password_of_a_url_is_kept(watcher: Watcher, url: str) -> None:
    with_password = url.replace("://", "://ada:hunter22@")
    (call,) = did(watcher, lambda: httpx.get(f"{with_password}/a")).outbound or ()
    assert call.url == f"{url}/a"


class _Mail(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        self.wfile.write(b"220 here\r\n")
        is_text = False
        for line in self.rfile:
            word = line.strip().upper()
            if is_text:
                is_text = line != b".\r\n"
                if is_text:
                    continue
            if word == b"DATA":
                is_text = True
            self.wfile.write(
                b"354 go on\r\n" if is_text else b"221 bye\r\n" if word == b"QUIT" else b"250 fine\r\n"
            )
            if word == b"QUIT":
                return


@pytest.fixture
def mail_port() -> Iterator[int]:
    """Serve somebody who takes any mail."""
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), _Mail) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


def test_a_mail_is_a_call_known_by_its_recipients(watcher: Watcher, mail_port: int) -> None:
    people = ["ada@example.com", "eve@example.com"]
    text = "Subject: hello\r\n\r\nhello\r\n"

    def plainly() -> None:
        with smtplib.SMTP("127.0.0.1", mail_port) as server:
            server.sendmail("shop@example.com", people, text)

    async def asynchronously() -> None:
        async with aiosmtplib.SMTP(hostname="127.0.0.1", port=mail_port, start_tls=False) as server:
            await server.sendmail("shop@example.com", people, text)

    expected = (OutboundCall("MAIL", "mailto:?to=ada@example.com&to=eve@example.com", None),)
    assert did(watcher, plainly).outbound == expected
    assert did(watcher, lambda: asyncio.run(asynchronously())).outbound == expected


def test_calls_are_unknown_where_the_app_can_make_them_unseen(
    watcher: Watcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert did(watcher, lambda: None).outbound == ()
    monkeypatch.setitem(sys.modules, "pycurl", sys)
    assert did(watcher, lambda: None).outbound is None


def test_a_moment_within_the_request_is_now_in_a_body() -> None:
    from datetime import UTC, datetime

    began = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    window = Window(began, began)
    bodies = [
        b'{"at": "2026-01-02T03:04:05+00:00", "n": 1767323045}',
        b'{"at": "2026-01-02T03:04:06Z", "n": 1767323046000}',
        b'{"at": "2026-01-09T03:04:06Z", "n": 17}',
        b"at=2026-01-02T03:04:06Z",
    ]
    calls = settled((OutboundCall("POST", "http://x/", body) for body in bodies), window)
    assert calls[0].body == calls[1].body == b'{"at": "(now, UTC)", "n": "(now, UTC)"}'
    assert [each.body for each in calls[2:]] == bodies[2:]


# whose it is


def test_threads_pools_and_tasks_count_for_the_request_that_started_them(
    watcher: Watcher, database: str
) -> None:
    def in_thread() -> None:
        threading.Thread(target=by_cursor, args=(database,)).start()

    pool = ThreadPoolExecutor(1)
    pool.submit(int).result()  # its thread is older than the request
    begun = asyncio.Event()

    async def in_task() -> None:
        follow_tasks(asyncio.get_running_loop())

        async def later() -> None:
            await begun.wait()
            await asyncio.to_thread(by_cursor, database)

        with request() as tally:
            tasks = [asyncio.create_task(later())]
        begun.set()
        await settle(tally)
        assert all(each.done() for each in tasks)
        queries = watcher.effects(tally).queries
        assert queries is not None
        assert queries.count == 2

    assert count(watcher, in_thread) == 2
    assert count(watcher, lambda: pool.submit(by_cursor, database)) == 2
    asyncio.run(in_task())
    pool.shutdown()


def test_what_runs_beside_a_request_does_not_count_for_it(watcher: Watcher, database: str) -> None:
    go, ended = threading.Event(), threading.Event()

    def beside() -> None:
        go.wait(10)
        by_cursor(database)
        ended.set()

    threading.Thread(target=beside).start()

    def work() -> None:
        by_cursor(database)
        go.set()
        wait_until(ended.is_set, what="the other thread's work")

    assert count(watcher, work) == 2


def test_what_comes_after_a_request_was_told_counts_for_nobody(watcher: Watcher, database: str) -> None:
    with request() as tally:
        by_cursor(database)
        before = watcher.effects(tally)
        by_cursor(database)
    assert watcher.effects(tally).queries == before.queries


# how it is done


def test_everything_is_put_back(database: str) -> None:
    places = [
        (sqlite3, "connect"),
        (threading.Thread, "start"),
        (ThreadPoolExecutor, "submit"),
        (http.client.HTTPConnection, "send"),
        (smtplib.SMTP, "sendmail"),
        (aiohttp.ClientRequest, "__init__"),
        (psycopg.Cursor, "execute"),
    ]
    before = [getattr(*each) for each in places]
    finders = list(sys.meta_path)
    watcher = Watcher()
    watcher.install()
    assert all(getattr(*each) is not value for each, value in zip(places, before, strict=True))
    watcher.undo()
    assert [getattr(*each) for each in places] == before
    assert sys.meta_path == finders
    with request() as tally:
        by_engine(database)
    assert watcher.effects(tally).queries is None


def test_a_module_imported_later_is_watched_and_does_not_know(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gateway.ci.watching.patches import Patches

    (tmp_path / "imported_later.py").write_text("value = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    patches = Patches()
    patches.when_imported(
        "imported_later", lambda module: patches.replace(module, "value", lambda old: old + 1)
    )
    module = importlib.import_module("imported_later")
    assert module.value == 2
    assert type(module.__loader__).__name__ == "SourceFileLoader"
    assert module.__spec__ is not None
    assert module.__spec__.loader is module.__loader__
    patches.undo()
    assert module.value == 1
    del sys.modules["imported_later"]
