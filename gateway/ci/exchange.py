"""Send one request to one server over a socket of its own, and observe the answer as a client sees it.

Nothing is followed, decoded or remembered. The standard library's client is used: it keeps repeated headers
and their order, and adds nothing that it was not told to.
"""

from __future__ import annotations

import http.client
import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from gateway.ci.corpus import as_sent
from gateway.compare.observation import Observation, Raised
from gateway.shadowing.capture import CappedBody

if TYPE_CHECKING:
    from gateway.ci.corpus import CorpusRequest
    from gateway.compare.observation import Body

_CHUNK_BYTES = 65_536
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_BREAK = re.compile("[\r\n\0]")
_MADE_HERE = frozenset({"host", "content-length", "transfer-encoding", "connection"})


@dataclass(frozen=True, slots=True)
class Sent:
    """Be a request as it goes out: ``target`` in origin form, headers without those that framing makes."""

    method: str
    target: str
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    host: str = ""

    @classmethod
    def of(cls, request: CorpusRequest) -> Sent:
        """Return a corpus's request, ready to be filled in."""
        kept = tuple((name, value) for name, value in request.headers if name.lower() not in _MADE_HERE)
        # What a person wrote is filled in before it is encoded: `{{$processEnv NAME}}` has a space.
        target = as_sent(request.target) if request.is_literal else request.target
        return cls(request.method, target, kept, request.body, request.header("host"))

    @property
    def problem(self) -> str:
        """Return why no server can be sent this, or the empty string."""
        if not _TOKEN.fullmatch(self.method):
            return f"{self.method!r} is no method"
        for name, value in (("Host", self.host), *self.headers):
            if not _TOKEN.fullmatch(name):
                return f"{name!r} is no header's name"
            if _BREAK.search(value):
                return f"the header {name} holds a line break"
        return ""


@dataclass(frozen=True, slots=True)
class Address:
    """Be where a side listens. ``is_own`` False: it is somebody else's server, with its own ``Host``."""

    url: str
    is_own: bool = True


def send(
    address: Address, sent: Sent, *, cap_bytes: int, timeout_s: float, extra: tuple[tuple[str, str], ...] = ()
) -> Observation:
    """Return what ``address`` answers. A failure to answer is an observation, too (``raised``)."""
    parts = urlsplit(address.url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=timeout_s)
    host = (sent.host or "localhost") if address.is_own else parts.netloc
    began = time.perf_counter()
    first_byte_s: float | None = None
    try:
        connection.putrequest(
            sent.method, parts.path.rstrip("/") + sent.target, skip_host=True, skip_accept_encoding=True
        )
        connection.putheader("Host", host)
        for name, value in (*sent.headers, *extra):
            connection.putheader(name, value.encode("utf-8", "surrogateescape"))
        if sent.body or sent.method in ("POST", "PUT", "PATCH"):
            connection.putheader("Content-Length", str(len(sent.body)))
        connection.endheaders(sent.body or None)
        response = connection.getresponse()
        first_byte_s = time.perf_counter() - began
        headers = tuple(
            (name.encode("latin-1", "replace"), value.encode("latin-1", "replace"))
            for name, value in response.getheaders()
        )
        body, problem = _read(response, began + timeout_s, cap_bytes)
        return Observation(
            response.status,
            headers,
            body,
            problem,
            first_byte_s,
            time.perf_counter() - began,
        )
    except (OSError, http.client.HTTPException, ValueError) as exc:
        raised = Raised(f"{type(exc).__module__}.{type(exc).__qualname__}", str(exc) or "no answer")
        return Observation(0, raised=raised, first_byte_s=first_byte_s, end_s=time.perf_counter() - began)
    finally:
        connection.close()


def _read(response: http.client.HTTPResponse, deadline: float, cap_bytes: int) -> tuple[Body, Raised | None]:
    """Read to the end; beyond the cap only a digest goes on, so that no body is held that is not compared."""
    body = CappedBody(cap_bytes)
    problem: Raised | None = None
    try:
        while chunk := response.read1(_CHUNK_BYTES):
            body.add(chunk)
            if time.perf_counter() > deadline:
                return body.body(), Raised("timeout", "the answer did not end in time")
    except http.client.IncompleteRead as exc:
        body.add(exc.partial)
        problem = Raised("torn", "the answer ended early")
    except (OSError, http.client.HTTPException) as exc:
        problem = Raised("torn", f"the answer ended early: {exc}")
    if problem is None and response.length:
        problem = Raised("torn", f"the answer ended {response.length} bytes early")
    return body.body(), problem
