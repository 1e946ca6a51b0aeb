"""Note the HTTP requests and mails that this process sends, at the few places where clients meet.

A redirect that a client follows is a call of its own, as is a repetition: each reaches somebody.
"""

from __future__ import annotations

from http import client as http_client
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from gateway.ci.watching.tally import current

if TYPE_CHECKING:
    import smtplib
    from collections.abc import AsyncIterator, Callable, Iterable, Iterator

    from gateway.ci.watching.patches import Patches
    from gateway.ci.watching.tally import Call


def watch(patches: Patches) -> None:
    """Begin."""
    patches.replace(http_client.HTTPConnection, "putrequest", _putting)
    patches.replace(http_client.HTTPConnection, "send", _sending)
    for name in ("httpcore", "httpcore2"):
        patches.when_imported(name, lambda module: _watch_httpcore(patches, module))
    patches.when_imported("aiohttp", lambda module: _watch_aiohttp(patches, module))
    patches.when_imported("smtplib", lambda module: _watch_mail(patches, module.SMTP))
    patches.when_imported("aiosmtplib", lambda module: _watch_mail(patches, module.SMTP))


class _Sending:
    """Follow one request of ``http.client``: the first ``send`` is of its head, the others of its body."""

    __slots__ = ("call", "has_head", "is_chunked", "is_within")

    def __init__(self, call: Call) -> None:
        self.call = call
        self.has_head = False
        self.is_chunked = False
        self.is_within = False

    def take(self, data: Any) -> None:
        if not self.has_head:
            self.has_head = True
            head = bytes(data) if isinstance(data, bytes | bytearray) else b""
            fields = [line.partition(b":") for line in head.split(b"\r\n")[1:]]
            headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, _, value in fields]
            _note_headers(self.call, headers)
            self.is_chunked = any(name.lower() == "transfer-encoding" for name, _ in headers)
            return
        if self.is_chunked and isinstance(data, bytes):
            # urllib3 and http.client send each chunk as one piece: size, CRLF, data, CRLF.
            size, separator, rest = data.partition(b"\r\n")
            is_chunk = separator and rest.endswith(b"\r\n") and size.isalnum()
            self.call.add(rest[:-2] if is_chunk else b"")
            return
        self.call.add(data)


def _note_headers(call: Call, headers: Iterable[tuple[str, str]]) -> None:
    for name, value in headers:
        if name.lower() == "content-type":
            call.media = value.strip().lower()
        elif name.lower() == "content-encoding":
            call.body = None


_UNDER_WAY = "_gateway_sending"


def _putting(original: Callable[..., None]) -> Callable[..., None]:
    def putrequest(self: Any, method: str, url: str, *arguments: Any, **named: Any) -> None:
        tally = current()
        sending = None
        if tally is not None:
            sending = _Sending(tally.note_call(method, _address(self, url)))
        setattr(self, _UNDER_WAY, sending)
        original(self, method, url, *arguments, **named)

    return putrequest


def _sending(original: Callable[..., None]) -> Callable[..., None]:
    def send(self: Any, data: Any) -> None:
        sending: _Sending | None = getattr(self, _UNDER_WAY, None)
        if sending is None or sending.is_within:  # opening a tunnel sends a request of its own within
            original(self, data)
            return
        sending.is_within = True
        try:
            sending.take(data)
            original(self, data)
        finally:
            sending.is_within = False

    return send


def _address(connection: Any, url: str) -> str:
    if not url.startswith("/"):
        return url  # to a proxy, which is told the whole
    scheme = "https" if connection.default_port == 443 else "http"
    host = connection._tunnel_host or connection.host
    port = connection._tunnel_port if connection._tunnel_host else connection.port
    host = f"[{host}]" if ":" in host else host
    return f"{scheme}://{host}:{port or connection.default_port}{url}"


class _Tee:
    """Be a request's body that is also added to its call, as it goes out."""

    def __init__(self, stream: Any, call: Call) -> None:
        self._stream = stream
        self._call = call

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def __iter__(self) -> Iterator[bytes]:
        self._call.begin()
        for piece in self._stream:
            self._call.add(piece)
            yield piece

    async def __aiter__(self) -> AsyncIterator[bytes]:
        self._call.begin()
        async for piece in self._stream:
            self._call.add(piece)
            yield piece


def _watch_httpcore(patches: Patches, module: Any) -> None:
    def watched(original: Callable[..., Any]) -> Callable[..., Any]:
        def handle(self: Any, request: Any) -> Any:
            tally = current()
            if tally is not None:
                url = bytes(request.url).decode("ascii", "replace")
                call = tally.note_call(request.method.decode("ascii", "replace"), url)
                pairs = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in request.headers]
                _note_headers(call, pairs)
                request.stream = _Tee(request.stream, call)
            return original(self, request)

        return handle

    patches.replace(module.ConnectionPool, "handle_request", watched)
    patches.replace(module.AsyncConnectionPool, "handle_async_request", watched)


def _watch_aiohttp(patches: Patches, module: Any) -> None:
    """Note each request as it is made, before a connection is: one that cannot be sent is a call as well."""

    def watched(original: Callable[..., None]) -> Callable[..., None]:
        def __init__(self: Any, method: str, url: Any, *arguments: Any, **named: Any) -> None:  # noqa: N807 - it stands for one
            original(self, method, url, *arguments, **named)
            tally = current()
            if tally is None:
                return
            call = tally.note_call(method, str(self.url))
            payload = getattr(self, "body", None)
            call.add(payload if isinstance(payload, bytes) else getattr(payload, "_value", b""))
            _note_headers(call, self.headers.items())

        return __init__

    patches.replace(module.ClientRequest, "__init__", watched)


def _watch_mail(patches: Patches, owner: type[smtplib.SMTP]) -> None:
    """Note mails by their recipients: what is written in them holds dates and drawn identifiers."""

    def watched(original: Callable[..., Any]) -> Callable[..., Any]:
        def sendmail(self: Any, sender: Any, recipients: Any, *arguments: Any, **named: Any) -> Any:
            tally = current()
            if tally is not None:
                given = [recipients] if isinstance(recipients, str) else list(recipients)
                url = "mailto:?" + urlencode([("to", str(each)) for each in given], safe="@")
                tally.note_call("MAIL", url, has_body=False)
            return original(self, sender, recipients, *arguments, **named)

        return sendmail

    patches.replace(owner, "sendmail", watched)
