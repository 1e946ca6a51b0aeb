"""Claim that the page for authors of the new app shows code that works, and every public name."""

import re
from pathlib import Path
from typing import Any

import gateway.compat
from tests.compat.apps import ask, flask_app, under_gateway
from tests.compat.test_session import cookie_of, read_by_flask

PAGE = (Path(__file__).parents[2] / "docs" / "compat.md").read_text("utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


def test_every_python_block_of_the_page_compiles() -> None:
    assert len(BLOCKS) == 6
    for block in BLOCKS:
        compile(block, "docs/compat.md", "exec")


async def test_the_first_example_works_as_it_stands() -> None:
    names: dict[str, Any] = {}
    exec(compile(BLOCKS[0], "docs/compat.md", "exec"), names)
    legacy = flask_app()
    answer = await ask(under_gateway(names["app"], legacy), "/me", cookie_of(legacy, {"name": "Ada"}))
    assert answer.json() == {"name": "Ada"}
    cookie = answer.headers["set-cookie"].partition(";")[0]
    assert read_by_flask(legacy, cookie) == {"name": "Ada", "visits": 1}


def test_the_page_names_what_an_author_may_import() -> None:
    for_the_gateway_alone = {"ROLE_KEY", "SessionMiddleware", "read_session"}
    for name in set(gateway.compat.__all__) - for_the_gateway_alone:
        assert name in PAGE
    assert sorted(gateway.compat.__all__) == [
        "FlaskCsrf",
        "FlaskLogin",
        "FlaskSession",
        "FlaskSessions",
        "Identity",
        "LEGACY_APP_KEY",
        "ROLE_KEY",
        "SessionMiddleware",
        "SessionReader",
        "flash",
        "read_session",
        "rehearsable",
        "take_flashes",
    ]
