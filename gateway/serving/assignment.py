"""Say who a caller is, and which side that caller gets: the same one every time.

bucket = hash(salt, group, key) mod 10,000; a caller is on new when bucket < weight in basis points.
So raising the weight only adds callers and lowering it only removes the last added. Nothing here is
trusted for anything but this choice: a token's claim is read, not verified.
"""

from __future__ import annotations

import base64
import binascii
import json
from hashlib import blake2b
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from gateway.backends.base import Scope
    from gateway.table.route import Route
    from gateway.table.spec import KeySource

BUCKETS = 10_000


def bucket_of(salt: str, group: str, key: str) -> int:
    """Return the caller's bucket, 0 to 9,999, evenly spread and stable for ever."""
    digest = blake2b(f"{salt}\0{group}\0{key}".encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big") % BUCKETS


def caller_key(
    sources: Sequence[KeySource],
    scope: Scope,
    route: Route,
    read_session: Callable[[bytes], Mapping[str, object] | None],
) -> str:
    """Return the first present of ``sources`` as ``kind:name=value``; without any, the client's address."""
    for source in sources:
        value = value_of(source, scope, route, read_session)
        if value:
            return f"{source}={value}"
    return f"client={_client(scope)}"


def value_of(
    source: KeySource,
    scope: Scope,
    route: Route,
    read_session: Callable[[bytes], Mapping[str, object] | None],
) -> str | None:
    """Return what the request holds at ``source``, or None. Never raises on anything a client sends."""
    match source.kind:
        case "client":
            return _client(scope)
        case "header":
            return _header(scope, source.name.lower().encode("latin-1", "replace"))
        case "cookie":
            return _cookie(scope, source.name)
        case "query":
            query = scope.get("query_string", b"").decode("latin-1")
            return next((value for name, value in _pairs(query) if name == source.name), None)
        case "path":
            found: str | None = route.template.params(scope["path"]).get(source.name)
            return found
        case "jwt":
            return _claim(_header(scope, b"authorization"), source.name)
        case "session":
            cookies = b"; ".join(value for name, value in scope["headers"] if name == b"cookie")
            session = read_session(cookies) if cookies else None
            value = session.get(source.name) if session else None
            return str(value) if value is not None else None


def _client(scope: Scope) -> str:
    client = scope.get("client")
    return client[0] if client else ""


def _header(scope: Scope, wanted: bytes) -> str | None:
    for name, value in scope["headers"]:
        if name == wanted:
            text: str = value.decode("latin-1")
            return text
    return None


def _cookie(scope: Scope, wanted: str) -> str | None:
    for header, value in scope["headers"]:
        if header == b"cookie":
            for part in value.decode("latin-1").split(";"):
                name, _, text = part.strip().partition("=")
                if name == wanted:
                    return str(text).strip('"')
    return None


def _pairs(query: str) -> list[tuple[str, str]]:
    try:
        return parse_qsl(query, keep_blank_values=True, max_num_fields=1_000)
    except ValueError:
        return []


def _claim(authorization: str | None, name: str) -> str | None:
    scheme, _, token = (authorization or "").partition(" ")
    parts = token.strip().split(".")
    if scheme.lower() != "bearer" or len(parts) != 3:
        return None
    try:
        payload = parts[1] + "=" * (-len(parts[1]) % 4)
        claims = json.loads(base64.urlsafe_b64decode(payload))
    except (binascii.Error, ValueError, RecursionError):
        return None
    value = claims.get(name) if isinstance(claims, dict) else None
    return str(value) if isinstance(value, str | int) and not isinstance(value, bool) else None
