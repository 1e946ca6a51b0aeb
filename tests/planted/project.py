"""Make one Flask app, one FastAPI app, a table and a corpus of many pairs, and run ``gateway compare``."""

from __future__ import annotations

import http.server
import json
import os
import sqlite3
import subprocess
import sys
import textwrap
import threading
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.projects import gateway, make_project

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from tests.planted.pairs import Pair

PARTNER = "http://partner"

COMMON = """\
import gzip
import json
import os
import sqlite3
import threading
import urllib.request
from contextlib import closing
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import UUID, uuid4

from werkzeug.security import generate_password_hash

DATABASE = os.environ["DATABASE_URL"].removeprefix("sqlite:///")
MOMENT = datetime(2026, 1, 2, 3, 4, 5)


def run(sql, *values):
    with closing(sqlite3.connect(DATABASE)) as connection:
        with connection:
            return connection.execute(sql, values).fetchall()


read = write = run


def in_days(days, seconds=0):
    return datetime.now(UTC) + timedelta(days=days, seconds=seconds)


def now():
    return datetime.now(UTC).isoformat()


def tell(path, body):
    headers = {"Content-Type": "application/json"}
    call = urllib.request.Request(os.environ["PARTNER_URL"] + path, json.dumps(body).encode(), headers)
    with urllib.request.urlopen(call) as answer:
        answer.read()


def hashed(password):
    return generate_password_hash(password)
"""

LEGACY = """
from flask import Flask, Response, abort, jsonify, redirect, request, session

app = Flask(__name__)
app.secret_key = "planted"


def raw(data, kind="application/json", status=200, headers=None):
    return Response(data, status, headers, content_type=kind)


def headed(headers):
    return raw(b'{"a":1}', headers=headers)


def baked(*cookies):
    answer = raw(b'{"a":1}')
    for name, value, *more in cookies:
        answer.set_cookie(name, value, **(more[0] if more else {}))
    return answer


def streamed(kind, *pieces):
    return Response(iter(pieces), content_type=kind)


def said():
    return raw(b'{"ok":true}')
"""

NEW = """
import asyncio
from typing import Annotated

import httpx
from fastapi import BackgroundTasks, Depends, FastAPI, HTTPException, Request, Response
from fastapi.responses import (
    HTMLResponse,
    JSONResponse,
    PlainTextResponse,
    RedirectResponse,
    StreamingResponse,
)
from werkzeug.exceptions import InternalServerError

from gateway.compat import FlaskSession, FlaskSessions

app = FastAPI()
sessions = FlaskSessions(secret_key="planted")
sessions.install(app)
Session = Annotated[FlaskSession, Depends(sessions)]


@app.exception_handler(Exception)
async def answer_what_escaped(request, exc):
    if request.url.path == "/p/quiet_500":
        return HTMLResponse(InternalServerError().get_body(), 500)
    return PlainTextResponse("Internal Server Error", 500)


def raw(data, kind="application/json", status=200, headers=None):
    return Response(data, status, {**(headers or {}), "content-type": kind})


def headed(headers):
    return JSONResponse({"a": 1}, headers=headers)


def baked(*cookies):
    answer = JSONResponse({"a": 1})
    for name, value, *more in cookies:
        answer.set_cookie(name, value, **{"samesite": None, **(more[0] if more else {})})
    return answer


async def atell(path, body):
    async with httpx.AsyncClient(base_url=os.environ["PARTNER_URL"]) as client:
        await client.post(path, json=body)


async def sent(pieces):
    for piece in pieces:
        yield piece


def streamed(kind, *pieces):
    return StreamingResponse(sent(pieces), headers={"content-type": kind})


def torn(kind, *pieces):
    async def tearing():
        for piece in pieces:
            yield piece
        raise RuntimeError("torn here")

    return StreamingResponse(tearing(), headers={"content-type": kind})


def said():
    return {"ok": True}
"""

PARITY = """\
import json
from pathlib import Path

import pytest

from gateway.testing.parity import ParityError

ASKED = json.loads(Path("asked.json").read_text())
FOUND = {}


@pytest.fixture(scope="module", autouse=True)
def told():
    yield
    Path("found.json").write_text(json.dumps(FOUND))


@pytest.mark.parametrize("name", ASKED)
def test_pair(parity, name):
    for line in ASKED[name]:
        try:
            parity.request(
                line["method"], line["target"], headers=line.get("headers"), content=line.get("body")
            )
        except ParityError:
            pass
    assert len(parity.comparisons) == len(ASKED[name])
    FOUND[name] = [
        (each.kind, each.place) for _, comparison in parity.comparisons for each in comparison.failing
    ]
"""

DATABASE = """
    CREATE TABLE notes (id INTEGER PRIMARY KEY AUTOINCREMENT, text TEXT, priority INTEGER);
    CREATE TABLE log (id INTEGER PRIMARY KEY AUTOINCREMENT, text TEXT);
    INSERT INTO notes (text, priority) VALUES ('milk', 1), ('mugs', 2), ('lamp', 3);
"""


@dataclass(frozen=True)
class Outcome:
    """Be what a run came to: its exit status, its words, and the JSON report."""

    exit_code: int
    words: str
    report: dict[str, Any]

    def failing(self, pair: Pair) -> list[tuple[str, str]]:
        """Return kind and place of everything that fails for a pair, request by request."""
        return [
            (each["kind"], each["place"])
            for exchange in self.exchanges(pair)
            for each in exchange["differences"]
            if each["waiver"] is None and each["kind"] != "latency"
        ]

    def waivers(self, pair: Pair) -> set[str]:
        """Return what accepts the differences of a pair, by its name."""
        found = [each["waiver"] for exchange in self.exchanges(pair) for each in exchange["differences"]]
        return {waiver.split()[1].rstrip(":") for waiver in found if waiver}

    def exchanges(self, pair: Pair) -> list[dict[str, Any]]:
        """Return a pair's exchanges in the order of its requests."""
        return [each for each in self.report["exchanges"] if each["row"] == row_key(pair)]

    def failures(self, pair: Pair) -> list[str]:
        """Return the security failures of a pair."""
        return [each for each in self.report["failures"] if each.startswith(f"{row_key(pair)}:")]


def row_key(pair: Pair) -> str:
    """Return the key of a pair's row in the table."""
    return f"{pair.method} /p/{pair.name}" + ("/{item}" if pair.has_item else "")


@contextmanager
def partner() -> Iterator[str]:
    """Serve somebody else, whom the apps call; yield the base URL, which reports call :data:`PARTNER`."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Partner) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


class _Partner(http.server.BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(204)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Keep quiet."""


def run_compare(folder: Path, pairs: Iterable[Pair]) -> Outcome:
    """Write the pairs down as a migration in ``folder`` and compare its two sides as a user does."""
    pairs = tuple(pairs)
    environ = _write(folder, pairs)
    lines = (line for pair in pairs for line in _lines(pair))
    (folder / "pairs.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines), encoding="utf-8")
    arguments = (
        "pairs.jsonl",
        "--database-env",
        "DATABASE_URL",
        "--security",
        "--report",
        "json=report.json",
    )
    with partner() as url:
        done = gateway("compare", *arguments, folder=folder, environ=environ | {"PARTNER_URL": url})
    words = done.stdout + done.stderr
    report = folder / "report.json"
    assert report.exists(), words
    text = report.read_text(encoding="utf-8").replace(url, PARTNER)
    return Outcome(done.returncode, words, json.loads(text))


def run_parity(folder: Path, pairs: Iterable[Pair]) -> dict[str, list[tuple[str, str]]]:
    """Compare the pairs with the fixture ``parity``, in a pytest of its own; return what fails, by name."""
    pairs = tuple(pairs)
    environ = _write(folder, pairs)
    asked = {pair.name: list(_lines(pair)) for pair in pairs}
    (folder / "asked.json").write_text(json.dumps(asked), encoding="utf-8")
    (folder / "test_parity.py").write_text(PARITY, encoding="utf-8")
    (folder / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
    arguments = ("-q", "-p", "no:cacheprovider", "--gateway-database-env", "DATABASE_URL", "test_parity.py")
    with partner() as url:
        done = subprocess.run(
            [sys.executable, "-m", "pytest", *arguments],
            cwd=folder,
            env={**os.environ, **environ, "PARTNER_URL": url},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((folder / "found.json").read_text(encoding="utf-8").replace(url, PARTNER))
    return {name: [(kind, place) for kind, place in places] for name, places in found.items()}


def _write(folder: Path, pairs: tuple[Pair, ...]) -> dict[str, str]:
    """Write apps, table and database; return the environment to run them in."""
    legacy = COMMON + LEGACY + "".join(map(_legacy_view, pairs))
    new = COMMON + NEW + "".join(map(_new_view, pairs))
    make_project(folder, legacy, new, "routes:\n" + "".join(map(_row, pairs)))
    database = folder / "planted.db"
    with closing(sqlite3.connect(database)) as connection:
        connection.executescript(DATABASE)
    return {"DATABASE_URL": f"sqlite:///{database}"}


def _legacy_view(pair: Pair) -> str:
    body = textwrap.indent(pair.legacy, "    ")
    rest, parameters = ("/<item>", "item") if pair.has_item else ("", "")
    decorator = f'@app.route("/p/{pair.name}{rest}", methods=["{pair.method}"])'
    return f"\n\n{decorator}\ndef p_{pair.name}({parameters}):\n{body}\n"


def _new_view(pair: Pair) -> str:
    body = textwrap.indent(pair.new, "    ")
    parameters = ", ".join(filter(None, ("request: Request", pair.parameters)))
    rest = "/{item}" if pair.has_item else ""
    decorator = f'@app.api_route("/p/{pair.name}{rest}", methods=["{pair.method}"])'
    return f"\n\n{decorator}\ndef p_{pair.name}({parameters}):\n{body}\n"


def _row(pair: Pair) -> str:
    strict = "    strict: true\n" if pair.is_strict else ""
    rules = f"    compare:\n      - {pair.rules}\n" if pair.rules else ""
    return f"  {row_key(pair)}:\n    stage: shadow\n{strict}{rules}"


def _lines(pair: Pair) -> Iterable[dict[str, Any]]:
    for ask in pair.asks:
        yield {
            "method": ask.method,
            "target": f"/p/{pair.name}{ask.rest}",
            "scenario": pair.name,
            **dict(ask.line),
        }
