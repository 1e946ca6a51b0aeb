"""Be a backend that is reached over HTTP: forward ASGI requests to a server by its URL.

The law: what the client sent reaches the upstream, and what the upstream answered reaches the client, byte
for byte, but for what HTTP itself forbids a proxy to pass on (:mod:`gateway.backends.upstream_headers`).
Nothing is decoded, decompressed, followed, remembered or added, but the forwarding headers. Bodies stream
both ways, paced by the slower side. A client that leaves takes its upstream request with it.

The client is httptools (uvicorn's own parser) on an asyncio protocol. Measured per request on one core,
uvicorn with a small ASGI app in another process on another (wall / CPU of this side, µs):

    httptools on a protocol    84 /  38
    h11 on asyncio streams    135 /  94
    aiohttp 3.14              137 /  98
    httpcore 1.0              521 / 479
    httpx 0.28                621 / 599

aiohttp is the only library near, and cannot do what a gateway needs: it re-encodes header bytes that are no
UTF-8, upper-cases methods, sends idempotent requests again on its own (even on a fresh connection), and lets
any number of requests wait for its pool.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

from websockets.exceptions import InvalidStatus

from gateway.backends.base import Health, Message, Receive, Scope, Send
from gateway.backends.upstream_connection import ClientGone, Connection, ConnectionFailed
from gateway.backends.upstream_headers import request_head, request_headers, response_headers
from gateway.backends.upstream_pool import Pool
from gateway.backends.upstream_websocket import GOING_AWAY, open_websocket, refuse, relay
from gateway.errors import BackendTorn, BackendUnavailable

if TYPE_CHECKING:
    from websockets.asyncio.client import ClientConnection

logger = logging.getLogger("gateway.upstream")

WATCH_AFTER_S = 0.02
"""After this time without a whole answer the client is watched: a fast answer needs no watcher."""

_IDEMPOTENT = frozenset(("GET", "HEAD", "OPTIONS", "PUT", "DELETE", "TRACE"))  # RFC 9110, section 9.2.2


class Upstream:
    """Forward requests to the server at ``url`` (``http(s)://host[:port][/base]``).

    ``pool`` bounds the connections of this worker, ``root_path`` is the prefix that the upstream believes
    it is mounted under: it is cut from the path and named in ``X-Forwarded-Prefix``.
    ``is_forwarding`` False sends no ``X-Forwarded-*`` of its own. Certificates are verified against the
    system's store unless ``ssl_context`` says otherwise. Raises ``ValueError`` for a URL it cannot use.
    """

    def __init__(
        self,
        url: str,
        *,
        pool: int = 100,
        connect_timeout_s: float = 2.0,
        root_path: str = "",
        name: str = "legacy",
        is_forwarding: bool = True,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"{url!r} is no http(s) URL")
        if parts.query or parts.fragment or parts.username is not None:
            raise ValueError(f"{url!r} has a query, a fragment or a user, which an upstream's URL cannot")
        if pool < 1:
            raise ValueError(f"a pool of {pool} connections serves nobody")
        self.name = name
        self.url = url
        self.root_path = root_path.rstrip("/")
        self._base = parts.path.rstrip("/").encode("ascii")
        self._is_forwarding = is_forwarding
        is_tls = parts.scheme == "https"
        self._ssl_context = (ssl_context or ssl.create_default_context()) if is_tls else None
        self._pool = Pool(
            parts.hostname,
            parts.port or (443 if is_tls else 80),
            name=name,
            limit=pool,
            connect_timeout_s=connect_timeout_s,
            ssl_context=self._ssl_context,
        )
        self._active = 0
        self._websockets: set[ClientConnection] = set()

    async def start(self) -> None:
        """Do nothing: connections are made when requests need them, in the loop that serves them."""

    async def stop(self, grace_s: float) -> None:
        """Refuse new requests, give those under way ``grace_s`` seconds, then close every connection."""
        leaving = [asyncio.create_task(socket.close(GOING_AWAY)) for socket in self._websockets]
        await self._pool.close(grace_s)
        if leaving:
            await asyncio.wait(leaving, timeout=min(grace_s, 1.0))
            for socket in tuple(self._websockets):
                socket.transport.abort()

    def health(self) -> Health:
        """Return whether the last attempt to connect succeeded, and the pool's numbers."""
        pool = self._pool
        facts: dict[str, int | float | str] = {
            "url": self.url,
            "active": self._active,
            "connections": pool.open,
            "idle": pool.idle,
            "waiting": pool.waiting,
            "pool": pool.limit,
        }
        return Health(not pool.last_error and not pool.is_closed, pool.last_error, facts)

    async def probe(self) -> Health:
        """Return the health after a TCP connection made for the purpose."""
        with contextlib.suppress(BackendUnavailable):  # the health says so
            await self._pool.probe()
        return self.health()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Forward one request, or relay one websocket.

        Raises :class:`BackendUnavailable` or :class:`BackendOverloaded` before the response has begun,
        :class:`BackendTorn` afterwards. Returns silently when the client has left.
        """
        if scope["type"] not in ("http", "websocket"):
            raise BackendUnavailable(self.name, f"{self.name} takes no {scope['type']} connections")
        self._active += 1
        try:
            if scope["type"] == "http":
                await self._forward(scope, receive, send)
            else:
                await self._relay(scope, receive, send)
        finally:
            self._active -= 1

    async def _relay(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._pool.is_closed:
            raise BackendUnavailable(self.name, f"{self.name} is shutting down")
        await receive()  # websocket.connect
        target, prefix = self._target(scope)
        try:
            connection = await open_websocket(
                self.name,
                scope,
                request_headers(scope, prefix=prefix, is_forwarding=self._is_forwarding),
                target,
                host=self._pool.host,
                port=self._pool.port,
                ssl_context=self._ssl_context,
                connect_timeout_s=self._pool.connect_timeout_s,
            )
        except InvalidStatus as exc:
            await refuse(scope, send, exc)
            return
        self._websockets.add(connection)
        try:
            await relay(connection, receive, send)
        finally:
            self._websockets.discard(connection)

    async def _forward(self, scope: Scope, receive: Receive, send: Send) -> None:
        method: str = scope["method"]
        is_idempotent = method in _IDEMPOTENT
        connection = await self._pool.acquire(is_repeatable=is_idempotent)
        exchange = _Exchange(self.name, scope, receive, send)
        try:
            first = await receive()
            if first["type"] == "http.disconnect":
                return
            if not connection.is_open:  # closed while the client took its time
                self._pool.discard(connection)
                connection = await self._pool.acquire(is_repeatable=False, is_new_wanted=True)
            head = self._head(scope, first)
            try:
                await exchange.request(connection, *head, first)
            except ConnectionFailed:
                is_stale = connection.requests > 1 and not connection.has_received
                if not (is_stale and is_idempotent and exchange.is_bodiless):
                    raise
                self._pool.discard(connection)
                connection = await self._pool.acquire(is_repeatable=True, is_new_wanted=True)
                await exchange.request(connection, *head, first)
            await exchange.respond(connection)
        except ConnectionFailed as exc:
            detail = f"{self.name} {exc.detail}"
            logger.warning("%s %s: %s", method, scope.get("path"), detail)
            if exchange.has_started:
                raise BackendTorn(self.name, detail) from exc
            raise BackendUnavailable(self.name, detail) from exc
        except ClientGone:
            return
        finally:
            is_reusable = connection.finish() and exchange.is_sent
            if is_reusable:
                self._pool.release(connection)
            else:
                self._pool.discard(connection)
            await exchange.end()

    def _head(self, scope: Scope, first: Message) -> tuple[bytes, int | None]:
        """Return the request's head, and how many bytes its body must have (None: chunked)."""
        target, prefix = self._target(scope)
        headers = request_headers(scope, prefix=prefix, is_forwarding=self._is_forwarding)
        length = next((value for name, value in headers if name == b"content-length"), None)
        body_bytes: int | None
        if length is not None:
            body_bytes = int(length) if length.isdigit() else -1
        elif first.get("more_body") or first.get("body"):
            headers.append((b"transfer-encoding", b"chunked"))
            body_bytes = None
        else:
            if scope["method"] in ("POST", "PUT", "PATCH"):
                headers.append((b"content-length", b"0"))  # RFC 9110, section 8.6
            body_bytes = 0
        try:
            if body_bytes == -1:
                raise ValueError("the request's Content-Length is no number")
            return request_head(scope["method"], target, headers), body_bytes
        except ValueError as exc:
            raise BackendUnavailable(self.name, f"not forwarded: {exc}") from exc

    def _target(self, scope: Scope) -> tuple[bytes, str]:
        """Return the request target as it came, less the root path, and the prefix cut from it."""
        raw = scope.get("raw_path")
        path: bytes = raw if raw else quote(scope["path"], safe="/:@!$&'()*+,;=~-._%").encode("ascii")
        prefix = ""
        if self.root_path:
            mounted = quote(self.root_path, safe="/:@!$&'()*+,;=~-._%").encode("ascii")
            if path == mounted or path.startswith(mounted + b"/"):
                path = path[len(mounted) :] or b"/"
                prefix = self.root_path
        query: bytes = scope.get("query_string") or b""
        return self._base + path + (b"?" + query if query else b""), prefix


class _Exchange:
    """Hold what one request needs while it is under way."""

    def __init__(self, name: str, scope: Scope, receive: Receive, send: Send) -> None:
        self.name = name
        self._method: str = scope["method"]
        self._receive = receive
        self._send = send
        self._loop = asyncio.get_running_loop()
        self._follower: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._left: int | None = 0
        self.is_bodiless = False
        self.is_sent = False
        self.has_started = False

    async def request(
        self, connection: Connection, head: bytes, body_bytes: int | None, first: Message
    ) -> None:
        """Send the request, or begin to, and wait for the head of the response."""
        self._left = body_bytes
        self.is_bodiless = body_bytes == 0
        connection.begin(head + self._framed(first), is_head=self._method == "HEAD")
        if first.get("more_body"):
            self._follower = self._loop.create_task(self._follow(connection))
        else:
            self.is_sent = True
            self._timer = self._loop.call_later(WATCH_AFTER_S, self._watch, connection)
        try:
            await connection.read_head()
        finally:
            if connection.failure is not None and self._timer is not None:
                self._timer.cancel()

    def _framed(self, message: Message) -> bytes:
        """Return a request message's body as it goes on the wire, and hold it to its Content-Length."""
        body: bytes = message.get("body", b"")
        is_last = not message.get("more_body", False)
        if self._left is None:
            chunk = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
            return chunk + b"0\r\n\r\n" if is_last else chunk
        self._left -= len(body)
        if self._left < 0 or (is_last and self._left):
            # Sent on, the excess would be read as another request, and a lack would hang the upstream.
            raise ConnectionFailed("was not asked: the request's body does not have its Content-Length")
        return body

    def _watch(self, connection: Connection) -> None:
        self._follower = self._loop.create_task(self._follow(connection))

    async def _follow(self, connection: Connection) -> None:
        """Send on what is left of the body, then notice when the client leaves."""
        try:
            while True:
                message = await self._receive()
                if message["type"] == "http.disconnect":
                    connection.fail(ClientGone())
                    return
                if self.is_sent:
                    continue
                framed = self._framed(message)
                if framed:
                    connection.write(framed)
                self.is_sent = not message.get("more_body", False)
                await connection.drain()
        except ConnectionFailed as exc:
            connection.fail(exc)
        except (
            Exception
        ) as exc:  # what receive raises, such as a body over its limit, is the request's outcome
            connection.fail(exc)

    async def respond(self, connection: Connection) -> None:
        """Send the response on as it comes."""
        status = connection.status
        self.has_started = True
        await self._send(
            {
                "type": "http.response.start",
                "status": status,
                "headers": response_headers(status, connection.headers),
            }
        )
        is_last = False
        while not is_last:
            body, is_last = await connection.read_body()
            await self._send({"type": "http.response.body", "body": body, "more_body": not is_last})

    async def end(self) -> None:
        """Stop watching the client."""
        if self._timer is not None:
            self._timer.cancel()
        if self._follower is not None and not self._follower.done():
            self._follower.cancel()
            await asyncio.wait((self._follower,))
