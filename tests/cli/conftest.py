"""Give each test two small apps of its own in a working directory of its own."""

from __future__ import annotations

import sys
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from gateway.cli import main

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

LEGACY = """
from flask import Flask

app = Flask(__name__)


@app.route("/users")
def list_users():
    return "users"


@app.route("/users/<int:user_id>", methods=["GET", "PUT"])
def one_user(user_id):
    return f"user {user_id}"


@app.route("/users/me")
def me():
    return "me"


@app.route("/orders", methods=["POST"])
def make_order():
    return "made"
"""

NEW = """
from fastapi import FastAPI

app = FastAPI()


@app.get("/users/{user_id}")
async def one_user(user_id: int):
    return user_id


@app.get("/fresh")
async def fresh():
    return "fresh"
"""


@dataclass
class Result:
    """Be what one call of the command line came to."""

    status: int
    out: str
    err: str


@dataclass
class Project:
    """Be a working directory with a legacy and a new app."""

    folder: Path
    run: Callable[..., Result]
    legacy: str
    new: str

    @property
    def table(self) -> Path:
        return self.folder / "routing.yaml"

    def write_table(self, routes: str) -> None:
        """Write a table for the two apps; ``routes`` are its rows, indented."""
        self.table.write_text(
            f"version: 1\nbackends:\n  legacy:\n    wsgi: {self.legacy}\n  new:\n    asgi: {self.new}\n"
            f"routes:\n{routes}"
        )

    def line_of(self, text: str) -> int:
        """Return the line of the table that holds ``text``."""
        return next(i for i, line in enumerate(self.table.read_text().splitlines(), 1) if text in line)


@pytest.fixture
def make_project(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Project]:
    """Return a maker of projects from the sources of their two apps."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.delenv("GATEWAY_CONFIG", raising=False)
    monkeypatch.delenv("FORCE_COLOR", raising=False)

    def run(*arguments: str) -> Result:
        capsys.readouterr()
        status = main(arguments)
        captured = capsys.readouterr()
        return Result(status, captured.out, captured.err)

    def make(legacy: str = LEGACY, new: str = NEW) -> Project:
        # Modules are cached by name, so every project's have names of their own.
        name = uuid.uuid4().hex[:8]
        (tmp_path / f"legacy_{name}.py").write_text(legacy)
        (tmp_path / f"new_{name}.py").write_text(new)
        return Project(tmp_path, run, f"legacy_{name}:app", f"new_{name}:app")

    return make


@pytest.fixture
def project(make_project: Callable[..., Project]) -> Project:
    """Return the usual project, whose table lists nothing yet."""
    project = make_project()
    project.write_table("  {}\n")
    return project
