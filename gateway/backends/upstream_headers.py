"""Decide which headers cross the gateway on the way to an upstream and back.

Everything here is pure: header lists in, header lists or bytes out, in the order in which they came.
Hop-by-hop headers (RFC 9110, section 7.6.1) stop here in both directions, those that ``Connection`` names
included; but a client must not be able to strip what identity, routing and framing rest on, so the names in
:data:`PROTECTED` (and with :data:`PROTECTED_PREFIXES`) cross whatever ``Connection`` says.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from gateway.backends.base import Scope

Headers: TypeAlias = Sequence[tuple[bytes, bytes]]

HOP_BY_HOP = frozenset(
    (b"connection", b"keep-alive", b"proxy-connection", b"te", b"trailer", b"transfer-encoding", b"upgrade")
)
# The prefixes cover what a proxy in front says of who is asking, and from where.
PROTECTED_PREFIXES = (b"x-forwarded-", b"x-original-", b"x-remote-", b"remote-", b"x-client-", b"x-auth-")
PROTECTED = frozenset(
    (
        *(b"x-request-id", b"true-client-ip", b"cf-connecting-ip", b"x-cluster-client-ip"),
        *(b"x-scheme", b"x-url-scheme"),
        *(b"authorization", b"cookie", b"host", b"forwarded", b"x-real-ip", b"set-cookie", b"location"),
        *(b"content-length", b"content-type", b"content-encoding", b"origin"),
    )
)

# The server in front writes its own; twice they would be (nginx hides an upstream's as well).
_STOPPED_IN_RESPONSES = HOP_BY_HOP | {b"date", b"server"}
_STOPPED_IN_REQUESTS = HOP_BY_HOP | {b"expect"}  # the server in front answers 100 when the body is first read


def named_by_connection(values: Iterable[bytes]) -> frozenset[bytes]:
    """Return the lower-case names that ``Connection`` headers list, less the protected ones."""
    names = {name.strip().lower() for value in values for name in value.split(b",")}
    return frozenset(name for name in names - PROTECTED if not name.startswith(PROTECTED_PREFIXES))


def request_headers(
    scope: Scope, *, prefix: str = "", is_forwarding: bool = True
) -> list[tuple[bytes, bytes]]:
    """Return the headers to send to an upstream for ``scope``, without framing for a body of unknown length.

    With ``is_forwarding`` the peer is appended to ``X-Forwarded-For``, and ``X-Forwarded-Proto``, ``-Host``
    and (for a ``prefix``) ``-Prefix`` are set where the request has none: how else would an upstream know.
    """
    came: list[tuple[bytes, bytes]] = scope["headers"]
    stopped = _STOPPED_IN_REQUESTS
    connection = [value for name, value in came if name == b"connection"]
    if connection:
        stopped = stopped | named_by_connection(connection)
    kept = [pair for pair in came if pair[0] not in stopped]
    if is_forwarding:
        _add_forwarding(kept, scope, prefix)
    return kept


def _add_forwarding(headers: list[tuple[bytes, bytes]], scope: Scope, prefix: str) -> None:
    names = {name for name, _ in headers}
    client = scope.get("client")
    if client:
        peer = str(client[0]).encode("latin-1", "replace")
        if b"x-forwarded-for" in names:
            came = b", ".join(value for name, value in headers if name == b"x-forwarded-for")
            headers[:] = [pair for pair in headers if pair[0] != b"x-forwarded-for"]
            peer = came + b", " + peer
        headers.append((b"x-forwarded-for", peer))
    if b"x-forwarded-proto" not in names:
        scheme = str(scope.get("scheme", "http"))
        headers.append((b"x-forwarded-proto", {"ws": "http", "wss": "https"}.get(scheme, scheme).encode()))
    if b"x-forwarded-host" not in names:
        host = next((value for name, value in headers if name == b"host"), None)
        if host:
            headers.append((b"x-forwarded-host", host))
    if prefix and b"x-forwarded-prefix" not in names:
        headers.append((b"x-forwarded-prefix", prefix.encode("latin-1", "replace")))


def response_headers(status: int, came: Headers) -> list[tuple[bytes, bytes]]:
    """Return the headers of an upstream's response that go on to the client.

    204 and 304 lose ``Content-Length``: neither has a body, and ASGI servers hold an application to the
    length that it announces.
    """
    stopped = _STOPPED_IN_RESPONSES
    connection = [value for name, value in came if name == b"connection"]
    if connection:
        stopped = stopped | named_by_connection(connection)
    if status in (204, 304):
        stopped = stopped | {b"content-length"}
    return [pair for pair in came if pair[0] not in stopped]


def request_head(method: str, target: bytes, headers: Headers) -> bytes:
    """Return the bytes of an HTTP/1.1 request up to and with its empty line (RFC 9112, section 3).

    Raises ``ValueError`` where a part holds a line break, which would make two requests of one, or where
    the target holds a space.
    """
    lines = [b"%b %b HTTP/1.1" % (method.encode("ascii"), target)]
    lines += [b"%b: %b" % pair for pair in headers]
    head = b"\r\n".join(lines)
    if head.count(b"\n") != len(lines) - 1 or head.count(b"\r") != len(lines) - 1 or b"\0" in head:
        raise ValueError("a line break or NUL in the request's method, target or headers")
    if b" " in target or not target.startswith((b"/", b"*")):
        raise ValueError("the request's target is no path")
    return head + b"\r\n\r\n"
