"""Say what a backend is: an ASGI application with a name, a life and a health.

A backend may raise :class:`~gateway.errors.BackendError` before its response has started (the serving
floor makes a response of it) and :class:`~gateway.errors.BackendTorn` afterwards (the server then cuts
the connection, so that a torn answer never looks whole).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias, runtime_checkable

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
AsgiApp: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Health:
    """Tell whether a backend can answer, why not, and numbers worth showing (threads, queue, connections)."""

    is_ok: bool
    reason: str = ""
    facts: Mapping[str, int | float | str] = field(default_factory=dict)


@runtime_checkable
class Backend(Protocol):
    """Be something that answers requests."""

    name: str

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request (or websocket) as an ASGI application."""
        ...

    async def start(self) -> None:
        """Get ready, in the event loop that will serve."""
        ...

    async def stop(self, grace_s: float) -> None:
        """Finish what is under way within ``grace_s`` seconds, then free everything."""
        ...

    def health(self) -> Health:
        """Return the present health, without waiting."""
        ...
