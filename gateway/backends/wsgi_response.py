"""Hold what ``start_response`` accepts, and turn it into ASGI's terms.

Law: what gunicorn refuses is refused here, with an exception in the app's own frame: a status that is
not three digits and a reason, a header that is not text, a name that is no token, a value with a
control character or outside latin-1 (PEP 3333, "The start_response() Callable"; RFC 9110 section 5.5).
An app that lets it escape is answered for with a 502 (:class:`MalformedHead`), as every backend is that
sends what would break the message apart; gunicorn's 500 would blame the request.
Hop-by-hop headers belong to the server and are dropped, ``Transfer-Encoding`` among them (PEP 3333,
"Other HTTP Features"). ASGI has no place for a reason phrase: the server writes the usual one.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

FILE_BLOCK_BYTES = 128 * 1024

# RFC 9112 section 4; codes beyond 599 have no meaning, and no ASGI server sends them.
_STATUS = re.compile(r"[1-5][0-9]{2}(?: [ \t\x21-\x7e\x80-\xff]*)?")
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_VALUE = re.compile(r"[ \t\x21-\x7e\x80-\xff]*")

_HOP_BY_HOP = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "te",
        "trailer",
        "trailers",
        "transfer-encoding",
        "upgrade",
    }
)
# Every server in question writes its own; two would reach the client.
_SERVERS_OWN = frozenset({"date", "server"})


class MalformedHead(ValueError):
    """Report a status or a header that must not go on the wire; the message repeats no value."""


_DROPPED = b""
_NAMES_LIMIT = 1024
_names: dict[str, bytes] = {}


def parse_status(status: str) -> int:
    """Return the code of ``"200 OK"``; raise TypeError or :class:`MalformedHead`."""
    if not isinstance(status, str):
        raise TypeError(f"{status!r} is not a string")
    if not _STATUS.fullmatch(status):
        raise MalformedHead(f"invalid status {status!r}")
    return int(status[:3])


def encode_headers(headers: Iterable[tuple[str, str]]) -> tuple[list[tuple[bytes, bytes]], int | None]:
    """Return the headers as ASGI wants them, and the Content-Length when there is one.

    Raises TypeError for what is not text, :class:`MalformedHead` for what must not go on the wire.
    """
    encoded: list[tuple[bytes, bytes]] = []
    length: int | None = None
    for name, value in headers:
        raw_name = _names.get(name)
        if raw_name is None:
            raw_name = _encode_name(name)
        if raw_name is _DROPPED:
            continue
        if not isinstance(value, str):
            raise TypeError(f"the value of response header {name!r} is not a string")
        # Printable ASCII is what nearly every value is; the expression decides about the rest.
        if not (value.isascii() and value.isprintable()) and not _VALUE.fullmatch(value):
            raise MalformedHead(
                f"the value of response header {name!r} holds a character that may not be sent"
            )
        value = value.strip(" \t")
        if raw_name == b"content-length":
            if not (value.isascii() and value.isdigit()):
                raise MalformedHead("the value of response header 'Content-Length' is not a number")
            if length is not None and int(value) != length:
                raise MalformedHead("two response headers 'Content-Length' differ")
            if length is not None:
                continue
            length = int(value)
        encoded.append((raw_name, value.encode("latin-1")))
    return encoded, length


def _encode_name(name: str) -> bytes:
    if not isinstance(name, str):
        raise TypeError(f"{name!r} is not a string")
    if not _TOKEN.fullmatch(name):
        raise MalformedHead(f"invalid response header name {name!r}")
    lowered = name.lower()
    raw_name = _DROPPED if lowered in _HOP_BY_HOP | _SERVERS_OWN else lowered.encode("latin-1")
    if len(_names) < _NAMES_LIMIT:
        _names[name] = raw_name
    return raw_name


def omits_body(method: str, status: int) -> bool:
    """Tell whether the answer may carry no body (RFC 9110 sections 9.3.2, 15.2, 15.3.5, 15.4.5)."""
    return method == "HEAD" or status in (204, 304) or status < 200


def forbids_length(status: int) -> bool:
    """Tell whether the answer may carry no Content-Length.

    204 and 1xx must not (RFC 9110 section 8.6). A 304 may, with the length that a 200 would have
    had, but a server that counts what it sends then takes the missing body for an error.
    """
    return status in (204, 304) or status < 200


class FileWrapper:
    """Be ``wsgi.file_wrapper``: read a file in blocks, on the worker's thread.

    ``block_bytes`` is the app's suggestion (PEP 3333, "Optional Platform-Specific File Handling");
    blocks are never smaller than ``FILE_BLOCK_BYTES``, for each costs a way to the event loop.
    """

    def __init__(self, filelike: Any, block_bytes: int = 8192) -> None:
        self.filelike = filelike
        self.block_bytes = max(block_bytes, FILE_BLOCK_BYTES)
        if hasattr(filelike, "close"):
            self.close = filelike.close

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        block: bytes = self.filelike.read(self.block_bytes)
        if not block:
            raise StopIteration
        return block
