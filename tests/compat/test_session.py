"""Claim that a FastAPI app reads and writes Flask's session exactly as Flask does; Flask is the oracle."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.compat import FlaskSessions
from tests.compat.apps import add_flask_views, ask, ask_flask, fastapi_app, flask_app, under_gateway


def set_name(session: Any) -> None:
    session["name"] = "Ada"


ANSWERS = ["/model", "/redirect", "/abort", "/stream", "/broken"]


@pytest.mark.parametrize("path", ANSWERS)
async def test_a_changed_session_is_written_on_whatever_is_answered(path: str) -> None:
    legacy = add_flask_views(flask_app(), set_name)
    new = under_gateway(fastapi_app(FlaskSessions(), set_name), legacy)
    theirs, ours = ask_flask(legacy, path), await ask(new, path)
    assert ours.status_code == theirs.status_code
    assert len(ours.headers.get_list("set-cookie")) == 1
    assert ours.headers["vary"] == theirs.headers["Vary"] == "Cookie"
    cookie = ours.headers["set-cookie"].partition(";")[0]
    seen: list[Any] = []
    reader = add_flask_views(flask_app(), lambda session: seen.append(dict(session)))
    ask_flask(reader, "/model", cookie)
    assert seen == [{"name": "Ada"}]
