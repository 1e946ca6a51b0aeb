"""Secrets are in no report, and what a body holds is markup or a command in none."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.ci.shop import make_database
from tests.projects import gateway, make_project

if TYPE_CHECKING:
    from pathlib import Path

LEGACY = """
    from flask import Flask, Response, jsonify, request

    app = Flask(__name__)

    @app.post("/echo")
    def echo():
        answer = jsonify(password="SEEDED-5-legacy", html="<script>alert(1)</script>", note="a")
        answer.set_cookie("session", "SEEDED-6-legacy")
        return answer

    @app.get("/boom")
    def boom():
        return jsonify(ok=True)
"""
NEW = """
    from fastapi import FastAPI
    from fastapi.responses import JSONResponse

    app = FastAPI()

    @app.post("/echo")
    def echo():
        page = "</pre><img src=x onerror=alert(2)>`|\\x1b[31m"
        answer = JSONResponse({"password": "SEEDED-5-new", "html": page, "note": "b"})
        answer.set_cookie("session", "SEEDED-6-new")
        return answer

    @app.get("/boom")
    def boom():
        raise RuntimeError("token=SEEDED-7 \\x1b[2J")
"""
CORPUS = """\
POST /echo?api_key=SEEDED-1&page=1
Authorization: Bearer SEEDED-2-token
Cookie: session=SEEDED-3-cookie
Content-Type: application/json

{"password": "SEEDED-4", "name": "Ada"}

###
GET /boom
"""


def test_seeded_secrets_and_live_markup_are_in_no_report(tmp_path: Path) -> None:
    project = make_project(
        tmp_path / "shop", LEGACY, NEW, "routes:\n  POST /echo: shadow\n  GET /boom: shadow\n"
    )
    (project.folder / "a.http").write_text(CORPUS)
    environ = {"DATABASE_URL": make_database(project.folder / "shop.db")}
    kinds = ("json", "junit", "markdown", "html")

    done = gateway(
        *("compare", "a.http", "--no-database", "--verbose", "--security", "--report=github"),
        *(f"--report={kind}={kind}" for kind in kinds),
        folder=project.folder,
        environ=environ,
    )

    assert done.returncode == 1, done.stderr
    texts = {kind: (project.folder / kind).read_text() for kind in kinds} | {
        "terminal": done.stdout + done.stderr
    }
    for kind, text in texts.items():
        assert "/echo" in text, kind
        assert "SEEDED" not in text, (kind, text[text.index("SEEDED") - 200 :][:300])
        assert "\x1b" not in text, kind
    assert "<script" not in texts["html"]
    assert "<img" not in texts["html"]
