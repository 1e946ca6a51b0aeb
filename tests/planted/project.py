"""Make one Flask app, one FastAPI app, a table and a corpus of many pairs, and run ``gateway compare``."""

from __future__ import annotations

import json
import sqlite3
import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.projects import gateway, make_project

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from tests.planted.pairs import Pair

COMMON = """\
import gzip
import os
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import UUID, uuid4

from werkzeug.security import generate_password_hash

MOMENT = datetime(2026, 1, 2, 3, 4, 5)


def run(sql, *values):
    with closing(sqlite3.connect(os.environ["DATABASE_URL"].removeprefix("sqlite:///"))) as connection:
        with connection:
            return connection.execute(sql, values).fetchall()


read = write = run


def in_days(days, seconds=0):
    return datetime.now(UTC) + timedelta(days=days, seconds=seconds)


def now():
    return datetime.now(UTC).isoformat()


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
    return jsonify(a=1), 200, headers


def baked(*cookies):
    answer = jsonify(a=1)
    for name, value, *more in cookies:
        answer.set_cookie(name, value, **(more[0] if more else {}))
    return answer


def streamed(kind, *pieces):
    return Response(iter(pieces), content_type=kind)


def said():
    return jsonify(ok=True)
"""

NEW = """
from typing import Annotated

from fastapi import Depends, FastAPI, HTTPException, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse, StreamingResponse

from gateway.compat import FlaskSession, FlaskSessions

app = FastAPI()
sessions = FlaskSessions(secret_key="planted")
sessions.install(app)
Session = Annotated[FlaskSession, Depends(sessions)]


def raw(data, kind="application/json", status=200, headers=None):
    return Response(data, status, {**(headers or {}), "content-type": kind})


def headed(headers):
    return JSONResponse({"a": 1}, headers=headers)


def baked(*cookies):
    answer = JSONResponse({"a": 1})
    for name, value, *more in cookies:
        answer.set_cookie(name, value, **{"samesite": None, **(more[0] if more else {})})
    return answer


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

    def exchanges(self, pair: Pair) -> list[dict[str, Any]]:
        """Return a pair's exchanges in the order of its requests."""
        row = f"{pair.method} /p/{pair.name}"
        return [each for each in self.report["exchanges"] if each["row"] == row]

    def failures(self, pair: Pair) -> list[str]:
        """Return the security failures of a pair."""
        return [each for each in self.report["failures"] if each.startswith(f"{pair.method} /p/{pair.name}:")]


def run_compare(folder: Path, pairs: Iterable[Pair]) -> Outcome:
    """Write the pairs down as a migration in ``folder`` and compare its two sides as a user does."""
    pairs = tuple(pairs)
    legacy = COMMON + LEGACY + "".join(map(_legacy_view, pairs))
    new = COMMON + NEW + "".join(map(_new_view, pairs))
    table = "routes:\n" + "".join(map(_row, pairs))
    project = make_project(folder, legacy, new, table)
    lines = (line for pair in pairs for line in _lines(pair))
    (folder / "pairs.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines), encoding="utf-8")
    connection = sqlite3.connect(folder / "planted.db")
    connection.executescript(DATABASE)
    connection.close()
    arguments = (
        "pairs.jsonl",
        "--database-env",
        "DATABASE_URL",
        "--security",
        "--report",
        "json=report.json",
    )
    environ = {"DATABASE_URL": f"sqlite:///{folder / 'planted.db'}"}
    done = gateway("compare", *arguments, folder=project.folder, environ=environ)
    words = done.stdout + done.stderr
    report = folder / "report.json"
    assert report.exists(), words
    return Outcome(done.returncode, words, json.loads(report.read_text(encoding="utf-8")))


def _legacy_view(pair: Pair) -> str:
    body = textwrap.indent(pair.legacy, "    ")
    decorator = f'@app.route("/p/{pair.name}", methods=["{pair.method}"])'
    return f"\n\n{decorator}\ndef p_{pair.name}():\n{body}\n"


def _new_view(pair: Pair) -> str:
    body = textwrap.indent(pair.new, "    ")
    parameters = ", ".join(filter(None, ("request: Request", pair.parameters)))
    decorator = f'@app.api_route("/p/{pair.name}", methods=["{pair.method}"])'
    return f"\n\n{decorator}\ndef p_{pair.name}({parameters}):\n{body}\n"


def _row(pair: Pair) -> str:
    strict = "    strict: true\n" if pair.is_strict else ""
    rules = f"    compare:\n      - {pair.rules}\n" if pair.rules else ""
    return f"  {pair.method} /p/{pair.name}:\n    stage: shadow\n{strict}{rules}"


def _lines(pair: Pair) -> Iterable[dict[str, Any]]:
    for ask in pair.asks:
        target = f"/p/{pair.name}" + (f"?{ask.query}" if ask.query else "")
        yield {"method": ask.method, "target": target, "scenario": pair.name, **dict(ask.line)}
