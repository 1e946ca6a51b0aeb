"""Pass messages from one request to the next in the session, readable by either side.

The counterparts of ``flask.flash`` and ``flask.get_flashed_messages``, on an injected session.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, overload

if TYPE_CHECKING:
    from collections.abc import Collection, MutableMapping

_KEY = "_flashes"


def flash(session: MutableMapping[str, Any], message: str, category: str = "message") -> None:
    """Leave a message for the next request that shows them (``flask.flash``)."""
    session[_KEY] = [*session.get(_KEY, []), (category, message)]


@overload
def take_flashes(
    session: MutableMapping[str, Any], *, with_categories: Literal[True], only: Collection[str] = ()
) -> list[tuple[str, str]]: ...


@overload
def take_flashes(
    session: MutableMapping[str, Any], *, with_categories: Literal[False] = False, only: Collection[str] = ()
) -> list[str]: ...


def take_flashes(
    session: MutableMapping[str, Any], *, with_categories: bool = False, only: Collection[str] = ()
) -> list[str] | list[tuple[str, str]]:
    """Take all messages out of the session and return them (``flask.get_flashed_messages``).

    With ``only`` (categories) the others are taken out too, and dropped, as Flask does. Unlike in Flask,
    a second call within the same request finds nothing: keep what the first returned.
    """
    taken = session.pop(_KEY) if _KEY in session else []
    shown = [(category, message) for category, message in taken if not only or category in only]
    return shown if with_categories else [message for _, message in shown]
