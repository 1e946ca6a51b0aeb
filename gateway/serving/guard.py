"""Settle, before any decision, what the two frameworks would read differently in a request.

This is the part of the ingress guard that works on the ASGI scope, under any server: header names
that would merge or spoof, forwarding headers from peers that are not trusted, a Host that is missing
or malformed, methods that are never passed on. What is settled here is settled once, for both
backends. It changes ``scope["headers"]``, ``["client"]`` and ``["scheme"]`` and nothing else, and it
knows neither routes nor backends.
"""

from __future__ import annotations

import itertools
import logging
import os
import re
from dataclasses import dataclass
from ipaddress import ip_address
from typing import TYPE_CHECKING

from gateway.errors import RequestRefused

if TYPE_CHECKING:
    from ipaddress import IPv4Network, IPv6Network

    from gateway.backends.base import Scope

log = logging.getLogger("gateway.guard")

HEADERS_LIMIT = 100
REFUSED_METHODS = frozenset({"CONNECT", "TRACE"})
BACKEND_HEADER = b"x-gateway-backend"
TOKEN_HEADER = b"x-gateway-token"
REQUEST_ID_HEADER = b"x-request-id"
FORWARDING_HEADERS = frozenset(
    {
        b"forwarded",
        b"x-forwarded-for",
        b"x-forwarded-host",
        b"x-forwarded-port",
        b"x-forwarded-prefix",
        b"x-forwarded-proto",
        b"x-forwarded-protocol",
        b"x-forwarded-scheme",
        b"x-forwarded-server",
        b"x-forwarded-ssl",
        b"x-real-ip",
        b"x-scheme",
        b"x-url-scheme",
    }
)
# What a login proxy in front of an app sets; from anyone else it is an impersonation.
IDENTITY_HEADERS = frozenset(
    {
        b"remote-user",
        b"remote-email",
        b"remote-groups",
        b"remote-name",
        b"x-remote-user",
        b"x-remote-email",
        b"x-remote-groups",
        b"x-remote-name",
    }
)
_HOST = re.compile(rb"(?:[A-Za-z0-9_.~%!$&'()*+,;=-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{0,5})?")
_REQUEST_ID = re.compile(rb"[\x21-\x7e]{1,200}")
_LEARNED_LIMIT = 1_000

_known_plain: set[bytes] = {
    b"accept",
    b"accept-encoding",
    b"accept-language",
    b"authorization",
    b"cache-control",
    b"connection",
    b"content-type",
    b"content-length",
    b"origin",
    b"pragma",
    b"referer",
    b"user-agent",
    b"transfer-encoding",
}
_known_hosts: set[bytes] = set()
_id_prefix = os.urandom(8).hex().encode()
_id_numbers = itertools.count(int.from_bytes(os.urandom(4), "big"))


def _renew_ids_after_fork() -> None:
    global _id_prefix
    _id_prefix = os.urandom(8).hex().encode()


os.register_at_fork(after_in_child=_renew_ids_after_fork)


@dataclass(slots=True)
class Screened:
    """Say what the guard took out of a request, for the decision and for the answer.

    ``override`` and ``token`` are the testers' headers as sent (empty when absent);
    ``has_repeated_cookie`` tells that a cookie name occurs twice.
    """

    request_id: bytes = b""
    override: bytes = b""
    token: bytes = b""
    has_repeated_cookie: bool = False


class Guard:
    """Screen requests for one generation of the table (its trusted proxies)."""

    def __init__(self, trusted_proxies: tuple[IPv4Network | IPv6Network, ...] | None) -> None:
        self._trusted = trusted_proxies
        self._has_warned = False

    def screen(self, scope: Scope) -> Screened:
        """Clean ``scope["headers"]`` in place of the old list, and return what was taken out.

        Raises :class:`~gateway.errors.RequestRefused` (400, 405 or 431) for what no backend may see.
        """
        headers: list[tuple[bytes, bytes]] = scope["headers"]
        if scope.get("method") in REFUSED_METHODS:
            raise RequestRefused(405, f"{scope['method']} is not passed on", is_closing=True)
        if len(headers) > HEADERS_LIMIT:
            raise RequestRefused(431, f"more than {HEADERS_LIMIT} header fields", is_closing=True)
        screened = Screened()
        hosts = cookies = 0
        is_plain = True
        for name, value in headers:
            if name in _known_plain:
                continue
            if name == b"host":
                hosts += 1
                if value not in _known_hosts:
                    _check_host(value)
            elif name == b"cookie":
                cookies += 1
                if b";" in value and _has_repeated_name(value):
                    screened.has_repeated_cookie = True
            else:
                is_plain = False
        if hosts != 1 and (hosts or scope.get("http_version") != "1.0"):
            raise RequestRefused(400, "a request names its host in exactly one Host header", is_closing=True)
        if cookies > 1:
            headers = _join_cookies(headers, screened)
            scope["headers"] = headers
        if not is_plain:
            headers = scope["headers"] = self._clean(scope, headers, screened)
        if not screened.request_id:
            screened.request_id = _id_prefix + b"%012x" % next(_id_numbers)
        headers.append((REQUEST_ID_HEADER, screened.request_id))
        return screened

    def _clean(
        self, scope: Scope, headers: list[tuple[bytes, bytes]], screened: Screened
    ) -> list[tuple[bytes, bytes]]:
        is_trusted = self._is_trusted_peer(scope)
        kept: list[tuple[bytes, bytes]] = []
        forwarding: dict[bytes, list[bytes]] = {}
        for name, value in headers:
            if name in _known_plain or name in (b"host", b"cookie"):
                kept.append((name, value))
            elif name.startswith(b"x-gateway-"):
                if name == BACKEND_HEADER:
                    screened.override = value
                elif name == TOKEN_HEADER:
                    screened.token = value
            elif b"_" in name or name == b"proxy":
                continue  # a WSGI app could not tell such a name from its spelling with a dash
            elif name == REQUEST_ID_HEADER:
                if is_trusted and _REQUEST_ID.fullmatch(value):
                    screened.request_id = value
            elif name in IDENTITY_HEADERS:
                if is_trusted:
                    kept.append((name, value))
            elif name in FORWARDING_HEADERS:
                if self._trusted is None:
                    self._warn_once(name)
                    kept.append((name, value))
                elif is_trusted:
                    forwarding.setdefault(name, []).append(value)
                    kept.append((name, value))
            else:
                kept.append((name, value))
                if len(_known_plain) < _LEARNED_LIMIT:
                    _known_plain.add(name)
        if forwarding:
            self._believe(scope, forwarding)
        return kept

    def _is_trusted_peer(self, scope: Scope) -> bool:
        client = scope.get("client")
        return self._trusted is not None and client is not None and self._is_trusted(client[0])

    def _is_trusted(self, address: str) -> bool:
        try:
            parsed = ip_address(address)
        except ValueError:
            return False
        return any(parsed in network for network in self._trusted or ())

    def _believe(self, scope: Scope, forwarding: dict[bytes, list[bytes]]) -> None:
        """Take client address and scheme from a trusted peer's headers.

        The client is the right-most address of X-Forwarded-For that is not itself a trusted proxy
        (what is further left was written by somebody unknown).
        """
        hops = [hop.strip() for value in forwarding.get(b"x-forwarded-for", ()) for hop in value.split(b",")]
        for hop in reversed(hops):
            address = hop.decode("latin-1").strip("[]")
            try:
                ip_address(address)
            except ValueError:
                break
            scope["client"] = (address, 0)
            if not self._is_trusted(address):
                break
        schemes = forwarding.get(b"x-forwarded-proto")
        if schemes:
            scheme = schemes[-1].split(b",")[-1].strip().lower()
            if scheme in (b"http", b"https"):
                is_websocket = scope["type"] == "websocket"
                scope["scheme"] = scheme.decode().replace("http", "ws" if is_websocket else "http")

    def _warn_once(self, name: bytes) -> None:
        if not self._has_warned:
            self._has_warned = True
            log.warning(
                "a request carries %s, and server.trusted_proxies is not set: both apps see the header as "
                "it came, the gateway believes none; set server.trusted_proxies to your proxies' addresses",
                name.decode("latin-1"),
            )


def keep_first_cookies(headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Return the headers with each cookie name once, its first value: what Werkzeug reads.

    Starlette would read the last one; whoever answers must see the same caller.
    """
    return [(name, _first_cookies(value) if name == b"cookie" else value) for name, value in headers]


def _first_cookies(value: bytes) -> bytes:
    seen: set[bytes] = set()
    kept = []
    for part in value.split(b";"):
        name = part.partition(b"=")[0].strip()
        if name not in seen:
            seen.add(name)
            kept.append(part.strip())
    return b"; ".join(kept)


def _has_repeated_name(value: bytes) -> bool:
    names = [part.partition(b"=")[0].strip() for part in value.split(b";")]
    return len(names) != len(set(names))


def _join_cookies(headers: list[tuple[bytes, bytes]], screened: Screened) -> list[tuple[bytes, bytes]]:
    """Join several Cookie fields with ``; `` (RFC 9113, 8.2.3; a comma would corrupt them)."""
    joined = b"; ".join(value for name, value in headers if name == b"cookie")
    screened.has_repeated_cookie = _has_repeated_name(joined)
    return [field for field in headers if field[0] != b"cookie"] + [(b"cookie", joined)]


def _check_host(value: bytes) -> None:
    if not _HOST.fullmatch(value):
        raise RequestRefused(400, "the Host header is malformed", is_closing=True)
    if len(_known_hosts) < _LEARNED_LIMIT:
        _known_hosts.add(value)
