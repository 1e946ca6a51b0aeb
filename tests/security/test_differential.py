"""Whatever the table and however a path is spelled, the router that decides and the one that serves agree.

Random tables over random Flask apps, each row with its FastAPI twin; random raw paths, through the whole
gateway in this process. Werkzeug itself, asked with the path that gunicorn would give it, is the oracle:
a rule that the table leaves with legacy is served by exactly that view with those arguments, and one that
it has given to new is never served by legacy, nor by another route of new.
"""

from __future__ import annotations

import itertools
import random
import sys
import types
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, unquote_to_bytes

import httptools
import pytest
from fastapi import FastAPI
from flask import Flask
from flask import request as flask_request
from starlette.requests import Request  # noqa: TC002 - FastAPI resolves the annotation at runtime
from werkzeug.exceptions import HTTPException
from werkzeug.routing import RequestRedirect

from gateway.app import Gateway, create_app
from gateway.errors import TableError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

TABLES = 24
PATHS = 140

LITERALS = ["items", "me", "a.b", "x-y"]
PARAMETERS = {"<s{n}>": "{{s{n}}}", "<int:i{n}>": "{{i{n}:int}}", "<float:f{n}>": "{{f{n}:float}}"}
MIXED = {"<m{n}>.csv": "{{m{n}}}.csv", "v<int:m{n}>": "v{{m{n}:int}}"}
RANKS = {"lit": 0, "mixed": 1, "int": 2, "float": 3, "s": 4, "path": 5}

TEXTS = [
    "items",
    "me",
    "a.b",
    "x-y",
    "7",
    "007",
    "7.5",
    "-7",
    "u",
    "u.csv",
    ".csv",
    "v7",
    "vx",
    "\u00fc",
    "a b",
]
TRICKS = [
    "%2f", "%2F", "%5c", "\\", "%00", ".", "..", "%2e", "%2E%2e", "%0A", "%0a%0a", "%0D", "%FF", "%C3%BC",
    "%25", "%20", "", "//", "/", ";x", "%3B", "%3F", "%23", "+", "~", ":", "@", "items%0A", "%69tems",
    "ITEMS", "7%0A", "%EF%BC%97", "%D9%A7", "u%00", "%u0041", "%", "%zz", "..%2f", "%252e", "%c0%ae",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Twin:
    """Be one endpoint: its Flask rule, its FastAPI path, its method, and who the table gives it to."""

    rule: str
    path: str
    method: str
    rank: tuple[int, ...]
    is_new: bool


def make_twins(chance: random.Random) -> list[Twin]:
    """Return endpoints of different shapes."""
    found: dict[tuple[str, str], Twin] = {}
    for _ in range(chance.randint(3, 9)):
        rule = path = ""
        rank: list[int] = []
        for number in range(chance.randint(1, 3)):
            kind = chance.choice(["lit", "lit", "lit", "s", "int", "float", "mixed"])
            if kind == "lit":
                pair = (chance.choice(LITERALS),) * 2
            elif kind == "mixed":
                pair = chance.choice(list(MIXED.items()))
            else:
                pair = next(item for item in PARAMETERS.items() if item[0].startswith(f"<{kind}"))
            rule += "/" + pair[0].format(n=number)
            path += "/" + (pair[1].format(n=number) if kind != "lit" else pair[1])
            rank.append(RANKS[kind])
        if chance.random() < 0.15:
            rule, path = rule + "/<path:rest>", path + "/{rest:path}"
            rank.append(RANKS["path"])
        elif chance.random() < 0.2:
            rule, path = rule + "/", path + "/"
        method = chance.choice(["GET", "GET", "POST"])
        found[rule, method] = Twin(rule, path, method, tuple(rank), chance.random() < 0.5)
    return list(found.values())


def make_path(chance: random.Random, twins: list[Twin]) -> str:
    """Return a raw path near one of the endpoints, spelled with tricks."""
    if chance.random() < 0.75:
        parts = [
            chance.choice(TEXTS) if "<" in part and chance.random() < 0.9 else part
            for part in chance.choice(twins).rule[1:].split("/")
        ]
    else:
        parts = [chance.choice(TEXTS) for _ in range(chance.randint(1, 3))]
    for _ in range(chance.choice([0, 0, 1, 1, 2])):
        place = chance.randrange(len(parts))
        trick = chance.choice(TRICKS)
        parts[place] = chance.choice([trick, parts[place] + trick, trick + parts[place]])
    path = (
        chance.choice(["/", "/", "/", "/", "//", "///"])
        + "/".join(parts)
        + chance.choice(["", "", "", "/", "%0A"])
    )
    return "".join(
        letter
        if letter.isascii() and letter != " "
        else "".join(f"%{octet:02X}" for octet in letter.encode())
        for letter in path
    )


class Lab:
    """Be one gateway over twins that note which of them was called, with what."""

    numbers = itertools.count()

    def __init__(self, folder: Path, twins: list[Twin]) -> None:
        self.twins = twins
        self.calls: list[tuple[str, str, str, dict[str, str]]] = []
        self.flask = Flask("lab")
        new = FastAPI(openapi_url=None)
        for number, twin in enumerate(twins):
            self.flask.add_url_rule(twin.rule, f"e{number}", self._legacy_view(twin), methods=[twin.method])
        for twin in sorted(twins, key=lambda twin: twin.rank):
            new.add_api_route(twin.path, self._new_view(twin), methods=[twin.method])
        number = next(self.numbers)
        for kind, app in (("legacy", self.flask), ("new", new)):
            module: Any = types.ModuleType(f"security_lab_{kind}_{number}")
            module.app = app
            sys.modules[module.__name__] = module
        rows = [f"  {twin.method} {twin.path}: new" for twin in twins if twin.is_new]
        table = folder / f"routing-{number}.yaml"
        table.write_text(
            "version: 1\nbackends:\n"
            f"  legacy: {{wsgi: 'security_lab_legacy_{number}:app', threads: 2}}\n"
            f"  new: {{asgi: 'security_lab_new_{number}:app'}}\n"
            + ("routes:\n" + "\n".join(rows) if rows else "routes: {}")
        )
        self.gateway: Gateway = create_app(table)

    def _legacy_view(self, twin: Twin) -> Callable[..., str]:
        def view(**arguments: Any) -> str:
            told = {name: str(value) for name, value in arguments.items()}
            self.calls.append(("legacy", twin.rule, flask_request.method, told))
            return "legacy"

        return view

    def _new_view(self, twin: Twin) -> Callable[..., Any]:
        async def view(request: Request) -> str:
            told = {name: str(value) for name, value in request.path_params.items()}
            self.calls.append(("new", twin.rule, request.method, told))
            return "new"

        return view

    def expected(self, method: str, raw: str) -> tuple[Twin, dict[str, str]] | None:
        """Return what Werkzeug makes of the path, as gunicorn would give it: the endpoint, or None."""
        path = unquote_to_bytes(raw).decode("utf-8", "replace")
        if path.startswith("//"):
            path = "/" + path.lstrip("/")
        try:
            rule, arguments = self.flask.url_map.bind("a").match(path, method, return_rule=True)
        except (RequestRedirect, HTTPException):
            return None
        for twin in self.twins:
            if twin.rule == rule.rule and (rule.methods is None or twin.method in rule.methods):
                return twin, {name: str(value) for name, value in arguments.items()}
        return None

    async def ask(self, method: str, raw: str) -> int:
        """Send one request through the gateway, parsed as its server parses it; return the status."""
        url = httptools.parse_url(raw.encode())
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": unquote(url.path.decode()),
            "raw_path": url.path,
            "query_string": url.query or b"",
            "root_path": "",
            "headers": [(b"host", b"a")],
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 2),
        }
        status: list[int] = []

        async def receive() -> Any:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: Any) -> None:
            if message["type"] == "http.response.start":
                status.append(message["status"])

        await self.gateway(scope, receive, send)
        return status[0]


def is_ordinary(raw: str) -> bool:
    """Tell whether nothing in the path is among what new never sees."""
    lowered = raw.lower()
    return not (
        any(trick in lowered for trick in ("%2f", "%5c", "%00", "\\", "%0a"))
        or any(unquote(part) in (".", "..") for part in raw.split("/"))
        or any(letter.isdecimal() and not letter.isascii() for letter in unquote(raw))
    )


@pytest.mark.parametrize("seed", range(TABLES))
async def test_the_router_that_decides_and_the_one_that_serves_agree(seed: int, tmp_path: Path) -> None:
    chance = random.Random(seed)
    while True:
        try:
            lab = Lab(tmp_path, make_twins(chance))
            break
        except TableError:
            continue  # rows that overlap: not a table
    try:
        for _ in range(PATHS):
            raw = make_path(chance, lab.twins)
            method = chance.choice(["GET", "GET", "POST", "HEAD"])
            lab.calls.clear()
            status = await lab.ask(method, raw)
            expected = lab.expected(method, raw)
            case = (method, raw, status, lab.calls, expected, [twin for twin in lab.twins if twin.is_new])
            assert status < 500, case
            if expected is None:
                assert lab.calls == [], case
                continue
            twin, arguments = expected
            if not twin.is_new:
                assert lab.calls == [("legacy", twin.rule, method, arguments)], case
            else:
                for backend, rule, _method, _arguments in lab.calls:
                    # Which of its own routes new prefers is new's affair, as long as the table has it.
                    served = [other.is_new for other in lab.twins if other.rule == rule]
                    assert (backend, any(served)) == ("new", True), case
                if is_ordinary(raw):
                    assert lab.calls, case
                assert lab.calls or status in (400, 404, 405), case
                if lab.calls and lab.calls[0][1] == twin.rule:
                    assert lab.calls[0][3] == arguments, case
    finally:
        await lab.gateway.stop()
