"""Call the other backend with a copy of a request, and return what it did. Nothing of it reaches a client."""

from __future__ import annotations

import asyncio
import traceback
from contextvars import copy_context
from time import monotonic
from typing import TYPE_CHECKING

from gateway.compare.observation import Observation, Raised
from gateway.compat import ROLE_KEY
from gateway.context import REQUEST_ID
from gateway.shadowing.capture import CappedBody
from gateway.shadowing.writes import SHADOW, ShadowMark

if TYPE_CHECKING:
    from gateway.backends.base import AsgiApp, Message, Scope
    from gateway.shadowing.exchange import Exchange

SHADOW_HEADER = (b"x-gateway-shadow", b"1")


class Candidate:
    """Be the ``receive`` and ``send`` of one call whose answer goes nowhere but into an observation."""

    def __init__(self, body: bytes, cap_bytes: int) -> None:
        self._body: bytes | None = body
        self._never = asyncio.Event()
        self._began_s = monotonic()
        self._response = CappedBody(cap_bytes)
        self._status = 0
        self._headers: tuple[tuple[bytes, bytes], ...] = ()
        self._first_byte_s: float | None = None
        self._is_whole = False

    async def receive(self) -> Message:
        body, self._body = self._body, None
        if body is None:
            await self._never.wait()
        return {"type": "http.request", "body": body or b"", "more_body": False}

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._status = message["status"]
            self._headers = tuple(message.get("headers", ()))
            self._first_byte_s = monotonic() - self._began_s
        elif message["type"] == "http.response.body":
            self._response.add(message.get("body", b""))
            self._is_whole = self._is_whole or not message.get("more_body", False)

    def observation(self, raised: BaseException | None) -> Observation:
        """Return what the call did. An exception counts where no whole answer came of it.

        Starlette raises a view's exception again behind its 500, Flask keeps it: a client sees the same.
        """
        error = None
        if raised is not None and not self._is_whole:
            name = f"{type(raised).__module__}.{type(raised).__qualname__}"
            error = Raised(name, str(raised), "".join(traceback.format_exception(raised))[-20_000:])
        return Observation(
            self._status,
            self._headers,
            self._response.body(),
            raised=error,
            first_byte_s=self._first_byte_s,
            end_s=monotonic() - self._began_s,
        )


async def call_shadow(
    app: AsgiApp, exchange: Exchange, *, timeout_s: float, cap_bytes: int, may_write: bool = False
) -> tuple[Observation, ShadowMark]:
    """Return what ``app`` answers to the copied request, and the mark of what it tried to write.

    SQL that writes is refused (see :mod:`gateway.shadowing.writes`) unless ``may_write``.

    The call runs in a context of its own. Whatever escapes from the app, ``SystemExit`` included, is part
    of the observation; only cancelling this call itself is not.
    """
    source = exchange.scope
    scope: Scope = {
        **source,
        "headers": [*source["headers"], SHADOW_HEADER],
        "state": dict(source.get("state") or {}),
        ROLE_KEY: "shadow",
    }
    candidate = Candidate(exchange.record.body.captured, cap_bytes)
    mark = ShadowMark()
    request_id = next((value for name, value in source["headers"] if name == b"x-request-id"), b"")
    raised: BaseException | None = None

    def enter() -> None:
        SHADOW.set(None if may_write else mark)
        REQUEST_ID.set(request_id.decode("latin-1"))

    async def run() -> BaseException | None:
        try:
            await app(scope, candidate.receive, candidate.send)
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # an app's SystemExit must not end the worker
            return error
        return scope.get("gateway.exception")

    context = copy_context()
    context.run(enter)
    task = asyncio.get_running_loop().create_task(run(), context=context)
    try:
        async with asyncio.timeout(timeout_s):
            raised = await task
    except TimeoutError as error:
        raised = error
    return candidate.observation(raised), mark
