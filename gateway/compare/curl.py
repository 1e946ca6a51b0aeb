"""Write the shell line that repeats a request with curl (7.75 or later)."""

from __future__ import annotations

import base64
import shlex
from typing import TYPE_CHECKING

from gateway.compare.json_text import printable

if TYPE_CHECKING:
    from gateway.compare.observation import RequestRecord

_MADE_BY_CURL = frozenset(
    {"host", "content-length", "connection", "transfer-encoding", "accept-encoding", "expect"}
)
ARGUMENT_BYTES = 100_000
"""The longest body that is written into the line; shells and kernels bound their arguments."""


def curl_line(request: RequestRecord) -> str:
    """Return one line for a POSIX shell that repeats ``request``.

    Bodies that a command line cannot carry go through ``base64 -d``. A body that was not captured whole
    is sent as far as it was, and a comment at the end says so.
    """
    words = ["curl", "-sS", "-g", "--path-as-is"]
    names = {name.decode("latin-1").lower() for name, _ in request.headers}
    if request.method == "HEAD":
        words.append("--head")
    elif request.method != ("POST" if request.body.captured else "GET"):
        words.extend(("-X", shlex.quote(printable(request.method))))
    if "accept-encoding" in names:
        words.append("--compressed")
    words.append(shlex.quote(_url(request.url)))
    for raw, value in request.headers:
        name = raw.decode("latin-1")
        if name.lower() not in _MADE_BY_CURL:
            text = printable(value.decode("latin-1").strip())
            words.extend(("-H", shlex.quote(f"{printable(name)}: {text}" if text else f"{printable(name)};")))
    return _with_body(words, request, has_type="content-type" in names)


def _url(url: str) -> str:
    return "".join(
        char if char.isprintable() and char != " " else "".join(f"%{byte:02X}" for byte in _bytes(char))
        for char in url
    )


def _bytes(char: str) -> bytes:
    return char.encode("utf-8", "surrogatepass")


def _with_body(words: list[str], request: RequestRecord, *, has_type: bool) -> str:
    data = request.body.captured
    if not data:
        return " ".join(words)
    if not has_type:
        words.extend(("-H", "Content-Type:"))  # or curl calls every body a form
    comment = ""
    if request.body.is_truncated:
        comment = f"  # the body's first {len(data)} of {request.body.length_bytes} bytes"
    text = _plain_text(data)
    if text is not None:
        words.extend(("--data-raw", shlex.quote(text)))
        return " ".join(words) + comment
    words.extend(("--data-binary", "@-"))
    return f"printf %s {base64.b64encode(data).decode()} | base64 -d | {' '.join(words)}{comment}"


def _plain_text(data: bytes) -> str | None:
    if len(data) > ARGUMENT_BYTES:
        return None
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return None
    return text if printable(text) == text and "\r" not in text else None
