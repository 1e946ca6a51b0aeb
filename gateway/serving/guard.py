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
from ipaddress import IPv6Address, ip_address
from typing import TYPE_CHECKING

from werkzeug.sansio.http import parse_cookie

from gateway.errors import RequestRefused

if TYPE_CHECKING:
    from ipaddress import IPv4Address, IPv4Network, IPv6Network

    from gateway.backends.base import Scope

log = logging.getLogger("gateway.guard")

HEADERS_LIMIT = 100
REFUSED_METHODS = frozenset({"CONNECT", "TRACE"})
BACKEND_HEADER = b"x-gateway-backend"
TOKEN_HEADER = b"x-gateway-token"
REQUEST_ID_HEADER = b"x-request-id"
# The admin page's session. A browser sends it to every port of its host: no app may have it.
ADMIN_COOKIE = b"gateway_admin"
FORWARDING_PREFIX = b"x-forwarded-"
FORWARDING_HEADERS = frozenset(
    {
        b"cf-connecting-ip",
        b"forwarded",
        b"true-client-ip",
        b"x-client-ip",
        b"x-cluster-client-ip",
        b"x-original-forwarded-for",
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
# Twice, one framework would join them and the other take the first (gunicorn refuses two Content-Type).
SINGLE_HEADERS = frozenset({b"authorization", b"content-type"})
_HOST = re.compile(rb"(?:[A-Za-z0-9_.~%!$&'()*+,;=-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{0,5})?")
_REQUEST_ID = re.compile(rb"[\x21-\x7e]{1,200}")
_LEARNED_LIMIT = 1_000
_LEARNED_LENGTH_LIMIT = 64  # a client chooses what is learned, and could fill each place with 60 KiB
_SAFE_COOKIE_VALUE = re.compile(r"[!#-:<-\[\]-~]*")  # RFC 6265, 4.1.1, with the comma that browsers send

_known_plain: set[bytes] = {
    b"accept",
    b"accept-encoding",
    b"accept-language",
    b"cache-control",
    b"connection",
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
        is_plain, is_admin = True, False
        singles: tuple[bytes, ...] = ()
        for name, value in headers:
            if name in _known_plain:
                continue
            if name == b"host":
                hosts += 1
                if value not in _known_hosts:
                    _check_host(value)
            elif name == b"cookie":
                cookies += 1
                if b";" in value and _is_ambiguous(value):
                    screened.has_repeated_cookie = True
                if ADMIN_COOKIE in value:
                    is_admin = True
            elif name in SINGLE_HEADERS:
                if name in singles:
                    raise RequestRefused(400, f"more than one {name.decode()} header", is_closing=True)
                singles = (*singles, name)
            else:
                is_plain = False
        if hosts != 1 and (hosts or scope.get("http_version") != "1.0"):
            raise RequestRefused(400, "a request names its host in exactly one Host header", is_closing=True)
        if cookies > 1:
            headers = _join_cookies(headers, screened)
            scope["headers"] = headers
        if is_admin:
            headers = scope["headers"] = _drop_admin_cookie(headers)
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
            if name in _known_plain or name in SINGLE_HEADERS or name in (b"host", b"cookie"):
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
            elif name.startswith(FORWARDING_PREFIX) or name in FORWARDING_HEADERS:
                if self._trusted is None:
                    self._warn_once(name)
                    kept.append((name, value))
                elif is_trusted:
                    forwarding.setdefault(name, []).append(value)
                    kept.append((name, value))
            else:
                kept.append((name, value))
                if len(_known_plain) < _LEARNED_LIMIT and len(name) <= _LEARNED_LENGTH_LIMIT:
                    _known_plain.add(name)
        if forwarding:
            self._believe(scope, forwarding)
        return kept

    def _is_trusted_peer(self, scope: Scope) -> bool:
        client = scope.get("client")
        return self._trusted is not None and client is not None and self._is_trusted(client[0])

    def _is_trusted(self, address: str) -> bool:
        parsed = _address_of(address)
        return parsed is not None and any(parsed in network for network in self._trusted or ())

    def _believe(self, scope: Scope, forwarding: dict[bytes, list[bytes]]) -> None:
        """Take client address and scheme from a trusted peer's headers.

        The client is the right-most address of X-Forwarded-For that is not itself a trusted proxy
        (what is further left was written by somebody unknown).
        """
        hops = [hop.strip() for value in forwarding.get(b"x-forwarded-for", ()) for hop in value.split(b",")]
        for hop in reversed(hops):
            parsed = _address_of(hop.decode("latin-1"))
            if parsed is None:
                break
            address = str(parsed)
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
    """Return the headers with each cookie once, as Werkzeug reads it: the first of a name.

    Starlette would read the last one, and would take apart a quoted value that holds a semicolon; whoever
    answers must see the same caller.
    """
    return [(name, _as_werkzeug_reads(value) if name == b"cookie" else value) for name, value in headers]


def _as_werkzeug_reads(value: bytes) -> bytes:
    cookies: dict[str, str] = {}
    for name, text in parse_cookie(value.decode("latin-1")).items(multi=True):
        cookies.setdefault(name.strip(), text)  # Starlette strips what HTTP does not call a space, too
    return "; ".join(f"{name}={_quote(text)}" for name, text in cookies.items()).encode("latin-1")


def _quote(text: str) -> str:
    """Return a cookie's value in the spelling that both frameworks read back as ``text``."""
    if _SAFE_COOKIE_VALUE.fullmatch(text):
        return text
    octets = text.encode("latin-1") if all(ord(letter) < 256 for letter in text) else text.encode()
    return '"' + "".join(_quoted(octet) for octet in octets) + '"'


def _quoted(octet: int) -> str:
    letter = chr(octet)
    return (
        letter if _SAFE_COOKIE_VALUE.fullmatch(letter) or octet >= 0x80 or octet == 0x20 else f"\\{octet:03o}"
    )


def _is_ambiguous(value: bytes) -> bool:
    """Tell whether two parsers may disagree: a name occurs twice, or quotes may hold a semicolon."""
    if b'"' in value and (b"\\" in value or any(part.count(b'"') % 2 for part in value.split(b";"))):
        return True
    names = [_name_of(part) for part in value.split(b";")]
    return len(names) != len(set(names))


def _drop_admin_cookie(headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    kept = []
    for name, value in headers:
        if name == b"cookie":
            parts = [part for part in value.split(b";") if _name_of(part) != ADMIN_COOKIE]
            if not parts:
                continue
            kept.append((name, b";".join(parts).strip()))
        else:
            kept.append((name, value))
    return kept


def _name_of(part: bytes) -> bytes:
    """Return the name of one ``name=value`` of a Cookie header, without what any parser strips."""
    return part.partition(b"=")[0].strip(b" \t\x85\xa0")


def _join_cookies(headers: list[tuple[bytes, bytes]], screened: Screened) -> list[tuple[bytes, bytes]]:
    """Join several Cookie fields with ``; `` (RFC 9113, 8.2.3; a comma would corrupt them)."""
    joined = b"; ".join(value for name, value in headers if name == b"cookie")
    screened.has_repeated_cookie = _is_ambiguous(joined)
    return [field for field in headers if field[0] != b"cookie"] + [(b"cookie", joined)]


def _address_of(text: str) -> IPv4Address | IPv6Address | None:
    """Return the address in a peer or a hop: less its port; an IPv4 address in an IPv6 one as itself."""
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def _check_host(value: bytes) -> None:
    if not _HOST.fullmatch(value):
        raise RequestRefused(400, "the Host header is malformed", is_closing=True)
    if len(_known_hosts) < _LEARNED_LIMIT and len(value) <= _LEARNED_LENGTH_LIMIT:
        _known_hosts.add(value)
