"""A small shop, written twice on one SQLite table, with a healthy new app and one full of planted changes."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

from tests.projects import Project, make_project

if TYPE_CHECKING:
    from pathlib import Path

LEGACY = """
    import os, secrets, sqlite3
    from flask import Flask, jsonify, request, session

    app = Flask(__name__)
    app.secret_key = "tests"

    INSERT = "INSERT INTO items (name, cents, is_hidden) VALUES (?, ?, 0)"

    def query(sql, *values):
        with sqlite3.connect(os.environ["DATABASE_URL"].removeprefix("sqlite:///")) as connection:
            connection.row_factory = sqlite3.Row
            found = connection.execute(sql, values)
            return found.lastrowid if sql.startswith("INSERT") else found.fetchall()

    def shown(row):
        return {"id": row["id"], "name": row["name"], "price": f'{row["cents"] / 100:.2f}'}

    @app.get("/items")
    def items():
        rows = query("SELECT * FROM items WHERE is_hidden = 0 ORDER BY id")
        return jsonify([shown(row) for row in rows])

    @app.get("/items/<int:item_id>")
    def item(item_id):
        rows = query("SELECT * FROM items WHERE id = ?", item_id)
        return jsonify(shown(rows[0])) if rows else (jsonify(error="Not found"), 404)

    @app.get("/prices/<int:item_id>")
    def price(item_id):
        rows = query("SELECT * FROM items WHERE id = ?", item_id)
        return jsonify(price=f'{rows[0]["cents"] / 100:.2f}')

    @app.post("/items")
    def make():
        body = request.get_json()
        number = query(INSERT, body["name"], body["cents"])
        return jsonify(id=number, token=secrets.token_hex(8)), 201, {"Location": f"/items/{number}"}

    @app.get("/guarded")
    def guarded():
        has_credentials = bool(request.headers.get("Authorization"))
        return (jsonify(ok=True), 200) if has_credentials else (jsonify(error="who?"), 401)
"""

NEW = """
    import os, secrets, sqlite3
    from fastapi import FastAPI, Request
    from fastapi.responses import JSONResponse

    app = FastAPI()

    INSERT = "INSERT INTO items (name, cents, is_hidden) VALUES (?, ?, 0)"

    def query(sql, *values):
        with sqlite3.connect(os.environ["DATABASE_URL"].removeprefix("sqlite:///")) as connection:
            connection.row_factory = sqlite3.Row
            found = connection.execute(sql, values)
            return found.lastrowid if sql.startswith("INSERT") else found.fetchall()

    def shown(row):
        return {"id": row["id"], "name": row["name"], "price": f'{row["cents"] / 100:.2f}'}

    @app.get("/items")
    def items():
        return [shown(row) for row in query("SELECT * FROM items WHERE is_hidden = 0 ORDER BY id")]

    @app.get("/items/{item_id}")
    def item(item_id: int):
        rows = query("SELECT * FROM items WHERE id = ?", item_id)
        return shown(rows[0]) if rows else JSONResponse({"error": "Not found"}, 404)

    @app.get("/prices/{item_id}")
    def price(item_id: int):
        rows = query("SELECT * FROM items WHERE id = ?", item_id)
        return {"price": f'{rows[0]["cents"] / 100:.2f}'}

    @app.post("/items")
    async def make(request: Request):
        body = await request.json()
        number = query(INSERT, body["name"], body["cents"])
        answer = {"id": number, "token": secrets.token_hex(8)}
        return JSONResponse(answer, 201, {"Location": f"/items/{number}"})

    @app.get("/guarded")
    def guarded(request: Request):
        return {"ok": True} if request.headers.get("Authorization") else JSONResponse({"error": "who?"}, 401)
"""

PLANTED = (
    ("""return shown(rows[0]) if rows else""", """return renamed(shown(rows[0])) if rows else"""),
    (
        """    app = FastAPI()\n""",
        """    app = FastAPI()\n\n    def renamed(it):\n        return it | {"label": it.pop("name")}\n""",
    ),
    (
        """return {"price": f'{rows[0]["cents"] / 100:.2f}'}""",
        """return {"price": rows[0]["cents"] / 100}""",
    ),
    ("""SELECT * FROM items WHERE is_hidden = 0 ORDER""", """SELECT * FROM items ORDER"""),
    ("""body["name"], body["cents"])""", """body["name"], body["cents"] + 1)"""),
)
"""A renamed field, a float for a Decimal, a filter that is gone, a row that is written otherwise."""

TABLE = """
    routes:
      GET /items: shadow
      GET /items/{item_id}: shadow
      GET /prices/{item_id}: new
      POST /items:
        stage: canary
        weight: 10%
        compare:
          - {at: $.token, rule: map, reason: drawn anew each time, until: 2099-12-31}
"""

CORPUS = """\
### All
GET /items

### One
GET /items/1

### Its price
GET /prices/1

### Make one
POST /items
Content-Type: application/json

{"name": "Lamp", "cents": 700}
"""


def planted(source: str) -> str:
    """Return the new app with every planted change."""
    for healthy, broken in PLANTED:
        assert source.count(healthy) == 1
        source = source.replace(healthy, broken)
    return source


def make_database(path: Path) -> str:
    """Make the shop's database; return its URL."""
    with sqlite3.connect(path) as connection:
        connection.executescript(
            """
            CREATE TABLE items (
              id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT, cents INTEGER, is_hidden INTEGER
            );
            INSERT INTO items (name, cents, is_hidden)
            VALUES ('Mug', 1250, 0), ('Tea', 890, 0), ('Secret', 1, 1);
            """
        )
    connection.close()
    return f"sqlite:///{path}"


def make_shop(
    folder: Path, new: str = NEW, routes: str = TABLE, *, legacy: str = LEGACY
) -> tuple[Project, dict[str, str]]:
    """Write the shop with a corpus; return it and the environment to run it in."""
    project = make_project(folder, legacy, new, routes)
    (folder / "shop.http").write_text(CORPUS)
    return project, {"DATABASE_URL": make_database(folder / "shop.db")}
