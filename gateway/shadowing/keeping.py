"""Turn a finding into what the store keeps of it: a signature, and a whole example pair as JSON text. Pure.

What comes in has passed the redactor already. Bytes are kept as text, one character a byte, where they are
no UTF-8.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

from gateway.store import ExampleRecord, FindingRecord

if TYPE_CHECKING:
    from gateway.compare.observation import Body, Headers, Observation
    from gateway.compare.signature import Example, Finding


def signature_id(kind: str, place: str) -> str:
    """Return the 16 hexadecimal digits by which people name a signature of a route."""
    return hashlib.sha256(f"{kind}\0{place}".encode("utf-8", "surrogatepass")).hexdigest()[:16]


def to_records(route_id: str, finding: Finding) -> tuple[FindingRecord, ExampleRecord | None]:
    """Return a finding and its first example, if it has one, as the store takes them."""
    kind, place = finding.signature.kind.value, finding.signature.place
    record = FindingRecord(
        route_id=route_id,
        signature=signature_id(kind, place),
        kind=kind,
        place=place,
        sentence=finding.difference.message,
        is_waived=finding.is_waived,
        count=finding.count,
        first_seen=finding.first_s,
        last_seen=finding.last_s,
    )
    return record, _example(finding.examples[0]) if finding.examples else None


def _example(example: Example) -> ExampleRecord:
    difference = example.difference
    document = {
        "request": {
            "method": example.request.method,
            "url": example.request.url,
            "headers": _headers(example.request.headers),
            "body": _body(example.request.body),
        },
        "control": _observation(example.control),
        "candidate": _observation(example.candidate),
        "difference": {
            "kind": difference.kind.value,
            "place": difference.place,
            "message": difference.message,
            "control": difference.control,
            "candidate": difference.candidate,
        },
        "curl": example.curl,
    }
    return ExampleRecord(example.at_s, json.dumps(document))


def _observation(observation: Observation) -> dict[str, Any]:
    raised = observation.raised
    return {
        "status": observation.status,
        "headers": _headers(observation.headers),
        "body": _body(observation.body),
        "error": f"{raised.type}: {raised.message}\n{raised.traceback}" if raised is not None else "",
    }


def _headers(headers: Headers) -> list[list[str]]:
    return [[name.decode("latin-1"), value.decode("latin-1")] for name, value in headers]


def _body(body: Body) -> str:
    try:
        text = body.captured.decode()
    except UnicodeDecodeError:
        text = body.captured.decode("latin-1")
    if body.is_truncated:
        text += f"\n(the first {len(body.captured):,} of {body.length_bytes:,} bytes)"
    return text
