"""Make the responses that are the gateway's own: refusals, limits, a backend that could not answer.

``application/problem+json`` (RFC 9457) by default; with ``error_shape`` the legacy app's own error
shape or a one-key JSON object. All of them carry ``X-Served-By: gateway``.
"""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from gateway.backends.base import Scope, Send
    from gateway.table.spec import ServerSpec

    LegacyShape = Callable[[Scope, int, str], Awaitable[tuple[bytes, bytes] | None]]

log = logging.getLogger("gateway")

_TITLES = {status.value: status.phrase for status in HTTPStatus}


@dataclass(frozen=True, slots=True)
class Answer:
    """Be one response of the gateway's own: status, a sentence for people, extra headers."""

    status: int
    detail: str
    headers: tuple[tuple[bytes, bytes], ...] = ()


class Answers:
    """Send answers in the shape that the table asks for.

    ``legacy_shape`` makes the body as the legacy app's own error handlers would: it takes the scope,
    status and detail and returns (content type, body), or None when it cannot.
    """

    def __init__(self, server: ServerSpec, legacy_shape: LegacyShape | None = None) -> None:
        self._server = server
        self._legacy_shape = legacy_shape

    async def send(self, answer: Answer, scope: Scope, send: Send, request_id: bytes = b"") -> None:
        """Send ``answer`` whole. ``send`` is the server's own, not a responder's."""
        content_type, body = await self._body(answer, scope)
        headers = [
            (b"content-type", content_type),
            (b"content-length", str(len(body)).encode()),
            (b"cache-control", b"no-store"),
            *answer.headers,
        ]
        if self._server.is_exposed:
            headers.append((b"x-served-by", b"gateway"))
        if request_id:
            headers.append((b"x-request-id", request_id))
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send(
            {"type": "http.response.body", "body": b"" if scope.get("method") == "HEAD" else body},
        )

    async def _body(self, answer: Answer, scope: Scope) -> tuple[bytes, bytes]:
        title = _TITLES.get(answer.status, "Error")
        if self._server.error_shape == "legacy" and self._legacy_shape is not None:
            try:
                shaped = await self._legacy_shape(scope, answer.status, answer.detail)
            except Exception:
                log.exception("the legacy app's error handler failed for a %s", answer.status)
                shaped = None
            if shaped is not None:
                return shaped
        if self._server.error_shape == "key":
            return b"application/json", json.dumps({self._server.error_key: answer.detail}).encode()
        problem = {"type": "about:blank", "title": title, "status": answer.status, "detail": answer.detail}
        return b"application/problem+json", json.dumps(problem).encode()


def retry_after(seconds: float) -> Sequence[tuple[bytes, bytes]]:
    """Return the Retry-After header (RFC 9110, 10.2.3) for a wait of ``seconds``, at least one."""
    return ((b"retry-after", str(max(1, int(seconds + 0.999))).encode()),)
