"""Take a body out of its wrapping: content coding, charset, and what sort of thing it is.

Decoding is capped against bombs, and what cannot be decoded stays the bytes that it is.
"""

from __future__ import annotations

import codecs
import importlib
import re
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from gateway.compare.headers import content_type
from gateway.compare.json_text import ABSENT, parse_json
from gateway.compare.observation import header_value, header_values

if TYPE_CHECKING:
    from gateway.compare.observation import Observation

Sort = Literal["nothing", "json", "html", "text", "bytes"]

DECODED_CAP_BYTES = 8 * 1024 * 1024

_HTML = re.compile(rb"\s*(?:<!doctype\s+html|<html)", re.IGNORECASE)
_TEXTUAL = re.compile(
    r"text/|application/(?:.*\+)?(?:xml|javascript|ecmascript|x-www-form-urlencoded|yaml|x-ndjson|graphql)"
)


@dataclass(frozen=True, slots=True)
class Content:
    """Be a body unwrapped: ``sort`` says which of ``value`` (JSON) and ``text`` is set; ``data`` always is.

    ``media`` is the declared media type, lower-case. ``is_misdeclared`` tells of a body that calls itself
    JSON and is none.
    """

    sort: Sort
    data: bytes
    media: str = ""
    value: object = ABSENT
    text: str = ""
    is_misdeclared: bool = False


def content_of(observation: Observation, cap_bytes: int = DECODED_CAP_BYTES) -> Content:
    """Return the content of a whole (not truncated) body."""
    declared, parameters = content_type(header_value(observation.headers, b"content-type"))
    data = decoded(observation, cap_bytes)
    raw = observation.body.captured if data is None else data
    if not raw:
        return Content("nothing", b"", declared)
    if data is None:
        return Content("bytes", raw, declared)
    is_json = declared == "application/json" or declared.endswith("+json")
    if is_json or not declared:
        value = parse_json(raw)
        if value is not ABSENT:
            return Content("json", raw, declared, value)
    text = _text(raw, dict(parameters).get("charset", "utf-8"))
    if text is None:
        return Content("bytes", raw, declared, is_misdeclared=is_json)
    if "html" in declared or (not declared and _HTML.match(raw)):
        return Content("html", raw, declared, text=text)
    if is_json or _TEXTUAL.match(declared) or (not declared and "\0" not in text):
        return Content("text", raw, declared, text=text, is_misdeclared=is_json)
    return Content("bytes", raw, declared)


def _text(data: bytes, charset: str) -> str | None:
    try:
        is_text = codecs.lookup(charset)._is_text_encoding
    except (LookupError, ValueError):
        charset, is_text = "utf-8", True
    try:
        return data.decode(charset if is_text else "utf-8")
    except (ValueError, LookupError):
        return None


def decoded(observation: Observation, cap_bytes: int = DECODED_CAP_BYTES) -> bytes | None:
    """Return the body without its content codings (RFC 9110, 8.4), or None where that cannot be done."""
    data = observation.body.captured
    codings = [
        each.strip().lower()
        for value in header_values(observation.headers, b"content-encoding")
        for each in value.split(",")
        if each.strip() and each.strip().lower() != "identity"
    ]
    for coding in reversed(codings):
        if not data:
            return data
        unpacked = _unpack(data, coding, cap_bytes)
        if unpacked is None:
            return None
        data = unpacked
    return data


def _unpack(data: bytes, coding: str, cap_bytes: int) -> bytes | None:
    if coding in ("gzip", "x-gzip"):
        return _inflate(data, 16 + zlib.MAX_WBITS, cap_bytes)
    if coding == "deflate":
        unpacked = _inflate(data, zlib.MAX_WBITS, cap_bytes)
        return _inflate(data, -zlib.MAX_WBITS, cap_bytes) if unpacked is None else unpacked
    return _unbrotli(data, cap_bytes) if coding == "br" else None


def _inflate(data: bytes, window_bits: int, cap_bytes: int) -> bytes | None:
    pieces: list[bytes] = []
    room = cap_bytes
    while data:
        inflater = zlib.decompressobj(window_bits)
        try:
            piece = inflater.decompress(data, room + 1)
        except zlib.error:
            return None
        room -= len(piece)
        if room < 0 or not inflater.eof:
            return None
        pieces.append(piece)
        data = inflater.unused_data if window_bits > zlib.MAX_WBITS else b""
    return b"".join(pieces)


def _unbrotli(data: bytes, cap_bytes: int) -> bytes | None:
    """Decode Brotli where a library for it is installed; it is fed little by little, so that a bomb stops."""
    try:
        library: Any = importlib.import_module("brotli")
    except ImportError:
        return None
    pieces: list[bytes] = []
    length = 0
    try:
        decoder = library.Decompressor()
        for start in range(0, len(data), 256):
            piece = decoder.process(data[start : start + 256])
            length += len(piece)
            if length > cap_bytes:
                return None
            pieces.append(piece)
        return b"".join(pieces) if decoder.is_finished() else None
    except library.error:
        return None
