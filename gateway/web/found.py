"""Read one finding as the API shows it: its signature and its example pairs, as texts that are safe to print.

What an app answered is somebody else's text: control characters are written as escapes here, so that no
terminal obeys them; whoever makes HTML of it escapes it once more.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gateway.compare.beside import SideLine, folded, readable, side_by_side
from gateway.compare.json_text import printable

if TYPE_CHECKING:
    from collections.abc import Mapping

CONTEXT_LINES = 5

_OWN_HEADERS = frozenset({"x-served-by", "x-request-id"})
"""What the gateway itself put on the answer that was sent; the other one never had it."""


@dataclass(frozen=True, slots=True)
class Pair:
    """Be one example: the request, both answers as texts, and the shell line that repeats it."""

    at: float
    request: str
    control: str
    candidate: str
    values: tuple[str | None, str | None]
    """What both sides had at the place that differs; None: nothing."""
    curl: str

    def lines(self) -> list[SideLine]:
        """Return both answers beside each other, legacy's on the left, with what is the same folded."""
        return folded(side_by_side(self.control, self.candidate), CONTEXT_LINES)


@dataclass(frozen=True, slots=True)
class Found:
    """Be one finding; times are Unix seconds."""

    route: str
    route_id: str
    signature: str
    kind: str
    place: str
    sentence: str
    is_waived: bool
    is_advisory: bool
    count: int
    first_seen: float
    last_seen: float
    pairs: tuple[Pair, ...] = ()


def parse_found(data: Mapping[str, Any]) -> Found:
    """Return the finding in a JSON object of ``/api/differences``, with its examples if it has any."""
    return Found(
        route=printable(str(data.get("route") or "")),
        route_id=str(data["route_id"]),
        signature=str(data["signature"]),
        kind=printable(str(data["kind"])),
        place=printable(str(data["place"])),
        sentence=printable(str(data["sentence"])),
        is_waived=bool(data["is_waived"]),
        is_advisory=bool(data.get("is_advisory")),
        count=int(data["count"]),
        first_seen=float(data["first_seen"]),
        last_seen=float(data["last_seen"]),
        pairs=tuple(_pair(each) for each in data.get("examples", ())),
    )


def _pair(data: Mapping[str, Any]) -> Pair:
    request, difference = data.get("request") or {}, data.get("difference") or {}
    return Pair(
        at=float(data.get("at", 0.0)),
        request=printable(f"{request.get('method', '')} {request.get('url', '')}".strip()),
        control=_answer(data.get("control") or {}),
        candidate=_answer(data.get("candidate") or {}),
        values=(_value(difference.get("control")), _value(difference.get("candidate"))),
        curl=printable(str(data.get("curl") or "")),
    )


def _value(value: object) -> str | None:
    return None if value is None else printable(str(value))


def _answer(data: Mapping[str, Any]) -> str:
    """Return an answer as people read it: status, headers by name, body, and what was raised."""
    status = data.get("status")
    lines = [f"status {status}" if status else "no answer"]
    headers = [(str(name).lower(), str(value)) for name, value in data.get("headers") or ()]
    headers.sort(key=lambda header: header[0])
    lines += [f"{name}: {value}" for name, value in headers if name not in _OWN_HEADERS]
    for text in (readable(str(data.get("body") or "")), str(data.get("error") or "")):
        if text:
            lines += ["", *text.splitlines()]
    return "\n".join(map(printable, lines))
