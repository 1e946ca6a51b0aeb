"""Compare two answers' headers by what a client reads from them.

Ignored are the names that are the gateway's own or one connection's (RFC 9110, 7.6.1), and
``Content-Length``, which follows from the body.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from gateway.compare.cookies import cookie_differences
from gateway.compare.difference import Kind
from gateway.compare.found import Found
from gateway.compare.json_text import ABSENT
from gateway.compare.likeness import without_base

if TYPE_CHECKING:
    from gateway.compare.observation import Headers

OWN = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-connection",
        "proxy-authenticate",
        "proxy-authorization",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "date",
        "server",
        "x-served-by",
        "x-request-id",
        "content-length",
    }
)
"""Headers that are no part of an answer."""

_OWN_BYTES = frozenset(name.encode() for name in OWN - {"connection"})

_SETS = {
    "vary": True,
    "cache-control": True,
    "allow": False,
    "access-control-allow-methods": False,
    "access-control-allow-headers": True,
    "access-control-expose-headers": True,
}
"""Headers whose value is a set, and whether the case of its members is without meaning."""

_URLS = frozenset({"location", "content-location"})
_TYPED = frozenset({"content-type"})


def header_differences(control: Headers, candidate: Headers, base_urls: tuple[str, str]) -> list[Found]:
    """Return how two lists of headers differ, ``Set-Cookie`` included."""
    if _telling(control) == _telling(candidate):
        return []
    left, right = _grouped(control), _grouped(candidate)
    found: list[Found] = []
    for name, values in left.items():
        if name == "set-cookie":
            continue
        theirs = right.get(name)
        if theirs is None:
            found.append(Found(Kind.HEADER_MISSING, f"header:{name}", ", ".join(values), ABSENT))
        elif values != theirs and not _is_same(name, values, theirs, base_urls):
            one, other = ", ".join(values), ", ".join(theirs)
            found.append(Found(Kind.HEADER_VALUE, f"header:{name}", one, other, *_cause(name, one, other)))
    found.extend(
        Found(Kind.HEADER_ADDED, f"header:{name}", ABSENT, ", ".join(values))
        for name, values in right.items()
        if name not in left and name != "set-cookie"
    )
    found.extend(cookie_differences(left.get("set-cookie", ()), right.get("set-cookie", ())))
    found.extend(_case(control, candidate, left.keys() & right.keys()))
    return found


def _telling(headers: Headers) -> list[tuple[bytes, bytes]]:
    """Return what is certainly part of the answer, as it came: where that is equal, nothing differs.

    ``Connection`` names further headers that are none, so that it is left in and must be equal as well.
    """
    return [field for field in headers if field[0] not in _OWN_BYTES]


def _grouped(headers: Headers) -> dict[str, tuple[str, ...]]:
    named: dict[str, list[str]] = {}
    for raw, value in headers:
        named.setdefault(raw.decode("latin-1").strip().lower(), []).append(value.decode("latin-1").strip())
    listed = {name.strip().lower() for value in named.get("connection", ()) for name in value.split(",")}
    return {name: tuple(values) for name, values in named.items() if name not in OWN and name not in listed}


def _is_same(
    name: str, control: tuple[str, ...], candidate: tuple[str, ...], base_urls: tuple[str, str]
) -> bool:
    if name in _SETS:
        return members(name, control) == members(name, candidate)
    if name in _TYPED:
        return content_type(control[-1]) == content_type(candidate[-1])
    if name in _URLS:
        left = [without_base(each, base_urls[0]) for each in control]
        return left == [without_base(each, base_urls[1]) for each in candidate]
    return ", ".join(control) == ", ".join(candidate)


def members(name: str, values: tuple[str, ...]) -> frozenset[str]:
    """Return the members of a header whose value is a set."""
    parts = (part.strip() for value in values for part in value.split(","))
    found = (part.lower() if _SETS.get(name, False) else part for part in parts if part)
    return frozenset(part.replace('"', "") for part in found)


@lru_cache(maxsize=256)
def content_type(value: str) -> tuple[str, frozenset[tuple[str, str]]]:
    """Return the media type, and the parameters without their order; a charset's case has no meaning."""
    media, *rest = value.split(";")
    parameters: set[tuple[str, str]] = set()
    for part in rest:
        key, _, content = part.partition("=")
        if key.strip():
            name, plain = key.strip().lower(), content.strip().strip('"')
            parameters.add((name, plain.lower() if name == "charset" else plain))
    return media.strip().lower(), frozenset(parameters)


def _cause(name: str, control: str, candidate: str) -> tuple[str, str]:
    if name in _SETS:
        left, right = members(name, (control,)), members(name, (candidate,))
        lost, won = ", ".join(sorted(left - right)), ", ".join(sorted(right - left))
        return name if name in ("vary", "cache-control", "allow") else "set", "; ".join(
            text for text in (f"without {lost}" if lost else "", f"with {won}" if won else "") if text
        )
    if name in _TYPED:
        is_media = content_type(control)[0] != content_type(candidate)[0]
        return ("media" if is_media else "parameters"), ""
    return ("location", "") if name in _URLS else ("", "")


def _case(control: Headers, candidate: Headers, common: set[str]) -> list[Found]:
    left = {name.decode("latin-1").strip().lower(): name.decode("latin-1").strip() for name, _ in control}
    right = {name.decode("latin-1").strip().lower(): name.decode("latin-1").strip() for name, _ in candidate}
    names = sorted(name for name in common if left[name] != right[name])
    if not names:
        return []
    return [
        Found(
            Kind.HEADER_VALUE,
            "headers",
            ", ".join(left[name] for name in names),
            ", ".join(right[name] for name in names),
            "case",
            equivalence="header_case",
        )
    ]
