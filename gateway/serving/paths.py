"""Make sure that new is asked for the path that was matched, and for nothing its router reads otherwise.

Legacy in-process gets every path as it came, as under gunicorn. New gets the canonical path: one
leading slash, no encoded slash, backslash or NUL, no dot segment, no trailing line feed.
"""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING

from gateway.errors import RequestRefused

if TYPE_CHECKING:
    from gateway.backends.base import Receive, Scope, Send

_SUSPICIOUS = re.compile(rb"%2f|%5c|%00|\\|(?:^|/)(?:\.|%2e){1,2}(?:/|$)", re.IGNORECASE)
_ENCODED_SLASH = re.compile(rb"%2f", re.IGNORECASE)
# Python refuses to convert longer digit strings (sys.int_info); Starlette's int convertor then raises.
_LONG_NUMBER = re.compile(r"\d{4000}")


def spell_plainly(path: str) -> str:
    """Return ``path`` with what Flask's parameters take and Starlette's do not in a spelling that both take.

    That is decimal digits beyond ASCII, and a line feed at the end.
    """
    if path.endswith("\n"):
        path = path[:-1] + "x"
    if path.isascii():
        return path
    return "".join(str(unicodedata.decimal(letter)) if letter.isdecimal() else letter for letter in path)


async def refuse_path(_scope: Scope, _receive: Receive, _send: Send) -> None:
    """Be new for a path that its router does not take, though the table gives it to new."""
    raise RequestRefused(404, "Not Found")


def canonicalise(scope: Scope, *, allow_encoded_slash: bool) -> None:
    """Give ``scope`` the one path that new may see, or raise :class:`RequestRefused` (400 or 404)."""
    path: str = scope["path"]
    encoded = path.encode()
    raw: bytes = scope.get("raw_path") or encoded
    # Where nothing was decoded the text can be searched, in a fraction of the time that bytes take.
    if raw != encoded or "%" in path or "/." in path or "\\" in path:
        inspected = _ENCODED_SLASH.sub(b"x", raw) if allow_encoded_slash else raw
        if _SUSPICIOUS.search(inspected):
            raise RequestRefused(400, "the path has an encoded slash, a backslash, a NUL or a dot segment")
    if path[-1:] == "\n":
        raise RequestRefused(404, "Not Found")
    if len(path) > 4000 and _LONG_NUMBER.search(path):
        raise RequestRefused(404, "Not Found")
    if path[:2] == "//":
        scope["path"] = "/" + path.lstrip("/")
        scope["raw_path"] = b"/" + raw.lstrip(b"/")
