"""Make exchanges and recordings to test with."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from gateway.compare.observation import Body, Observation, RequestRecord
from gateway.recording.archive import create_archive
from gateway.recording.options import RecordOptions
from gateway.recording.recorder import Recorder

if TYPE_CHECKING:
    from pathlib import Path

KEY = "5f" * 32
SESSION = "eyJfdXNlcl9pZCI6IjcifQ.aBcDeF.signature"


def record(method: str = "GET", path: str = "/", body: bytes = b"", **headers: str) -> RequestRecord:
    """Return a request; ``content_type`` in ``headers`` is Content-Type."""
    pairs = [(b"host", b"shop.example")]
    pairs += [(name.replace("_", "-").encode(), value.encode("latin-1")) for name, value in headers.items()]
    return RequestRecord(method, f"http://shop.example{path}", tuple(pairs), Body.of(body))


def answer(body: bytes = b"", status: int = 200, *cookies: str, **headers: str) -> Observation:
    """Return an answer that took 20 ms."""
    pairs = [(name.replace("_", "-").encode(), value.encode("latin-1")) for name, value in headers.items()]
    pairs += [(b"set-cookie", cookie.encode("latin-1")) for cookie in cookies]
    return Observation(status, tuple(pairs), Body.of(body), first_byte_s=0.01, end_s=0.02)


def recorder(path: Path, **options: Any) -> Recorder:
    """Return a recorder of a fresh file."""
    chosen = RecordOptions(str(path), KEY, **options)
    create_archive(path, is_redacted=chosen.is_redacting)
    return Recorder(chosen)


def log(path: Path) -> dict[str, Any]:
    """Return the recording's log."""
    found: dict[str, Any] = json.loads(path.read_bytes())["log"]
    return found


def entries(path: Path) -> list[dict[str, Any]]:
    """Return the recording's entries."""
    found: list[dict[str, Any]] = log(path)["entries"]
    return found
