"""Build observations in one line."""

from __future__ import annotations

import json
from typing import Any

from gateway.compare import Body, Effects, Observation, RequestRecord

JSON = "application/json"
HTML = "text/html; charset=utf-8"


def seen(
    body: bytes | str = b"",
    status: int = 200,
    media: str | None = JSON,
    *headers: str,
    effects: Effects | None = None,
    **rest: Any,
) -> Observation:
    """Return an observation; further headers are written ``Name: value``."""
    data = body.encode() if isinstance(body, str) else body
    pairs = [("content-type", media)] if media is not None else []
    pairs += [(name, value.strip()) for name, _, value in (each.partition(":") for each in headers)]
    raw = tuple((name.encode("latin-1"), value.encode("latin-1")) for name, value in pairs)
    return Observation(status, raw, Body.of(data), effects=effects or Effects(), **rest)


def as_json(value: object, status: int = 200, *headers: str, **rest: Any) -> Observation:
    """Return an answer with a JSON body, written compactly."""
    return seen(json.dumps(value, separators=(",", ":")), status, JSON, *headers, **rest)


def as_html(text: str, status: int = 200, *headers: str) -> Observation:
    """Return an answer with a page."""
    return seen(text, status, HTML, *headers)


REQUEST = RequestRecord("GET", "http://localhost:8000/items?page=2", ((b"accept", b"*/*"),))
