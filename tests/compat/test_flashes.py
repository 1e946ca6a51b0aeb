"""Claim that a message flashed on one side is shown on the other; Flask is the oracle."""

from typing import Any

import flask
import pytest

from gateway.compat import FlaskSessions, flash, take_flashes
from tests.compat.apps import add_flask_views, ask, ask_flask, fastapi_app, flask_app

FLASHED = [("hello", "message"), ("careful", "warning"), ("again", "message")]


def cookie_of(answer: Any) -> str:
    return str(answer.headers["set-cookie"].partition(";")[0])


@pytest.mark.parametrize("with_categories", [False, True])
@pytest.mark.parametrize("only", [(), ("warning",), ("none such",)], ids=str)
async def test_messages_cross_in_both_directions(with_categories: bool, only: tuple[str, ...]) -> None:
    def flash_there(session: Any) -> None:
        for message, category in FLASHED:
            flask.flash(message, category)

    def flash_here(session: Any) -> None:
        for message, category in FLASHED:
            flash(session, message, category)

    theirs: list[Any] = []
    ours: list[Any] = []

    def take_there(session: Any) -> None:
        theirs.extend(flask.get_flashed_messages(with_categories, only))

    def take_here(session: Any) -> None:
        ours.extend(
            take_flashes(session, with_categories=True, only=only)
            if with_categories
            else take_flashes(session, only=only)
        )

    sessions = FlaskSessions(flask_app())
    from_flask = cookie_of(ask_flask(add_flask_views(flask_app(), flash_there), "/model"))
    from_new = cookie_of(await ask(fastapi_app(sessions, flash_here), "/model"))
    emptied = await ask(fastapi_app(sessions, take_here), "/model", from_flask)
    ask_flask(add_flask_views(flask_app(), take_there), "/model", from_new)
    assert ours == theirs
    assert "Max-Age=0" in emptied.headers["set-cookie"]
