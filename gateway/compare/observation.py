"""Hold what one backend did once, as frozen values: the material of every comparison.

Headers are an ordered list of raw pairs and never a mapping, since ``Set-Cookie`` repeats. Times are
seconds from the moment the request was handed over. Nothing here judges; see :mod:`gateway.compare.engine`.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from typing import Literal

Scalar = str | int | float | bool | None
Headers = tuple[tuple[bytes, bytes], ...]


@dataclass(frozen=True, slots=True)
class Body:
    """Be a body as it went over the wire: the bytes captured, and how many there were in all.

    ``captured`` is the beginning, up to the cap of whoever captured it; where that is not all,
    ``digest`` is the SHA-256 (hex) of the whole, kept while it streamed past.
    """

    captured: bytes = b""
    length_bytes: int = 0
    digest: str = ""

    @classmethod
    def of(cls, data: bytes, *, cap_bytes: int | None = None) -> Body:
        """Return the body that a capture with this cap would have kept of ``data``."""
        if cap_bytes is None or len(data) <= cap_bytes:
            return cls(data, len(data))
        return cls(data[:cap_bytes], len(data), sha256(data).hexdigest())

    @property
    def is_truncated(self) -> bool:
        """Tell whether only the beginning was captured."""
        return self.length_bytes > len(self.captured)


@dataclass(frozen=True, slots=True)
class Raised:
    """Be an exception that escaped from a backend; ``type`` is its qualified name."""

    type: str
    message: str = ""
    traceback: str = ""


@dataclass(frozen=True, slots=True)
class RowWrite:
    """Be one row that a request wrote: ``key`` holds its primary key, ``values`` what else was written."""

    table: str
    action: Literal["insert", "update", "delete"]
    key: tuple[tuple[str, Scalar], ...] = ()
    values: tuple[tuple[str, Scalar], ...] = ()


@dataclass(frozen=True, slots=True)
class OutboundCall:
    """Be one call that a request made to somebody else; ``body`` None: it could not be seen whole."""

    method: str
    url: str
    body: bytes | None = b""


@dataclass(frozen=True, slots=True)
class Queries:
    """Count the statements that a request sent to databases.

    ``again`` of them had been sent before by the same request, values apart. ``text`` is the one that was
    sent most often (``times``), with placeholders for its values, ``place`` the ``file:line`` that sent it;
    all empty where none was sent twice.
    """

    count: int
    again: int = 0
    text: str = ""
    times: int = 0
    place: str = ""


@dataclass(frozen=True, slots=True)
class Effects:
    """Hold what a request did besides answering. None: not observed, which is no observation of nothing."""

    rows: tuple[RowWrite, ...] | None = None
    queries: Queries | None = None
    outbound: tuple[OutboundCall, ...] | None = None


@dataclass(frozen=True, slots=True)
class Observation:
    """Be what one backend did once.

    ``status`` 0 says that no response began (``raised`` then says why). ``first_byte_s`` and ``end_s``
    are None where time was not measured.
    """

    status: int
    headers: Headers = ()
    body: Body = Body()
    raised: Raised | None = None
    first_byte_s: float | None = None
    end_s: float | None = None
    effects: Effects = Effects()


@dataclass(frozen=True, slots=True)
class RequestRecord:
    """Be a request as it can be kept and repeated: ``url`` is absolute, ``headers`` as they came."""

    method: str
    url: str
    headers: Headers = ()
    body: Body = Body()


def header_values(headers: Headers, name: bytes) -> tuple[str, ...]:
    """Return every value of the header ``name`` (lower-case), in order, decoded as latin-1."""
    return tuple(value.decode("latin-1").strip() for each, value in headers if each.lower() == name)


def header_value(headers: Headers, name: bytes) -> str:
    """Return the first value of the header ``name`` (lower-case), or the empty string."""
    return next(iter(header_values(headers, name)), "")
