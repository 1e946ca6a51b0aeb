"""Find values that an answer gave out and a later request sends back, and put each side's own in their place.

There is a *reference* (what was recorded, or what control did) and a side that is being asked. Wherever the
two answers differ at the same place - a JSON member, a header, a hidden field - the side's value stands for
the reference's from then on. What a person reads is which place led to which; values are never shown.

Short values (numbers, mostly) are taken only from places whose name says that they identify something, and
put only where something is identified: a path segment, or a member with such a name.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from gateway.ci.html_values import hidden_fields, is_csrf_name
from gateway.compare.cookies import parse_set_cookie

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.ci.exchange import Sent

_LONG = 8
_IDENTIFYING = re.compile(
    r"(?:^|[_-])(?:id|uuid|guid|key|slug|token|etag|version|code|number|ref|reference|nonce|state)$|[a-z](?:Id|Key|Token|Uuid)$",
)
_HEADERS_GIVEN = frozenset({"location", "etag", "last-modified", "content-location"})
_NEVER = frozenset(
    {"host", "cookie", "content-type", "accept", "accept-encoding", "accept-language", "user-agent"}
)
Headers = tuple[tuple[bytes, bytes], ...]


@dataclass(frozen=True, slots=True)
class Correlation:
    """Say that a value from one place was sent back at another; requests are numbered from 1."""

    scenario: str
    giver: int
    giver_place: str
    taker: int
    taker_place: str

    def __str__(self) -> str:
        return f"{self.giver_place} of request {self.giver} → {self.taker_place} of request {self.taker}"


@dataclass(frozen=True, slots=True)
class _Source:
    value: str
    giver: int
    place: str
    is_identifying: bool


@dataclass(slots=True)
class Jar:
    """Keep one side's cookies within a scenario, as a client of one host does."""

    cookies: dict[str, tuple[str, str]] = field(default_factory=dict)

    def learn(self, headers: Headers) -> None:
        """Take in what an answer sets."""
        for name, value in headers:
            if name.lower() == b"set-cookie":
                cookie = parse_set_cookie(value.decode("latin-1"))
                if cookie.is_deletion:
                    self.cookies.pop(cookie.name, None)
                elif cookie.name:
                    self.cookies[cookie.name] = (cookie.value, cookie.attributes.get("path") or "/")

    def apply(self, sent: Sent, *, is_literal: bool) -> Sent:
        """Return the request with this side's cookies; ``is_literal``: only names that it carries already."""
        pairs: dict[str, str] = {}
        for name, value in sent.headers:
            if name.lower() == "cookie":
                for pair in value.split(";"):
                    key, separator, content = pair.strip().partition("=")
                    if separator:
                        pairs[key] = content
        path = sent.target.partition("?")[0]
        mine = {name: value for name, (value, scope) in self.cookies.items() if _is_below(path, scope)}
        if is_literal:
            pairs = {name: mine.get(name, value) for name, value in pairs.items()}
        else:
            pairs = {**mine, **pairs}
        others = tuple(pair for pair in sent.headers if pair[0].lower() != "cookie")
        if not pairs:
            return replace(sent, headers=others)
        return replace(
            sent, headers=(*others, ("Cookie", "; ".join(f"{name}={value}" for name, value in pairs.items())))
        )


def _is_below(path: str, scope: str) -> bool:
    return scope == "/" or path == scope or path.startswith(scope if scope.endswith("/") else scope + "/")


class Correlator:
    """Learn pairs of values within one scenario, on one side, and apply them; thrown away with it."""

    def __init__(self, scenario: str) -> None:
        self._scenario = scenario
        self._sources: dict[str, _Source] = {}
        self._csrf: dict[str, tuple[int, str]] = {}
        self.found: list[Correlation] = []

    def learn(
        self, number: int, reference: tuple[Headers, bytes] | None, headers: Headers, body: bytes
    ) -> None:
        """Take in answer ``number`` (from 1): the reference's, if there is one, and this side's."""
        for name, value in _fields(headers, body).items():
            if is_csrf_name(name) and value:
                self._csrf[name] = (number, value)
        if reference is None:
            return
        theirs = dict(_values(*reference))
        for place, (value, is_identifying) in _values(headers, body):
            known = theirs.get(place)
            if known is not None and (is_identifying or len(known[0]) >= _LONG):
                self._sources[known[0]] = _Source(value, number, place, is_identifying)
        for place, (value, _) in list(theirs.items()):
            if place == "header:location":
                self._learn_path(number, value, headers)

    def _learn_path(self, number: int, theirs: str, headers: Headers) -> None:
        mine = next((value.decode("latin-1") for name, value in headers if name.lower() == b"location"), "")
        left, right = (urlsplit(each).path.split("/") for each in (theirs, mine))
        if len(left) == len(right):
            for one, other in zip(left, right, strict=True):
                if one and one != other:
                    self._sources[unquote(one)] = _Source(unquote(other), number, "header:location", True)

    def apply(
        self, number: int, sent: Sent, *, has_literal_target: bool = True, has_literal_body: bool = True
    ) -> Sent:
        """Return request ``number`` with this side's own values in place of the reference's."""
        if has_literal_target:
            sent = replace(sent, target=self._target(number, sent.target))
        sent = replace(sent, headers=tuple(self._header(number, *pair) for pair in sent.headers))
        kind = next((value for name, value in sent.headers if name.lower() == "content-type"), "").lower()
        if not sent.body:
            return sent
        if "x-www-form-urlencoded" in kind:
            return replace(sent, body=self._form(number, sent.body, has_literal_body))
        if not has_literal_body:
            return sent
        if "json" in kind:
            return replace(sent, body=self._json(number, sent.body))
        return replace(sent, body=self._text(number, sent.body))

    def _put(self, number: int, value: str, place: str, *, is_identified: bool) -> str:
        source = self._sources.get(value)
        if source is None or source.value == value:
            return value
        if len(value) < _LONG and not (source.is_identifying and is_identified):
            return value
        self._note(source.giver, source.place, number, place)
        return source.value

    def _note(self, giver: int, giver_place: str, taker: int, taker_place: str) -> None:
        correlation = Correlation(self._scenario, giver, giver_place, taker, taker_place)
        if correlation not in self.found:
            self.found.append(correlation)

    def _target(self, number: int, target: str) -> str:
        path, mark, query = target.partition("?")
        segments = []
        for segment in path.split("/"):
            plain = unquote(segment)
            put = self._put(number, plain, "path", is_identified=True)
            segments.append(segment if put == plain else quote(put, safe="~!$&'()*+,;=:@-._"))
        path = "/".join(segments)
        if not query:
            return path + mark
        pieces = []
        for piece in query.split("&"):
            name, equals, raw = piece.partition("=")
            plain = unquote(raw.replace("+", " "))
            is_identified = _is_identifying(unquote(name))
            put = self._put(number, plain, f"query {unquote(name)}", is_identified=is_identified)
            pieces.append(piece if put == plain else f"{name}{equals}{quote(put, safe='')}")
        return path + mark + "&".join(pieces)

    def _header(self, number: int, name: str, value: str) -> tuple[str, str]:
        lower = name.lower()
        if lower in _NEVER:
            return name, value
        if is_csrf_name(name) and self._csrf:
            giver, token = list(self._csrf.values())[-1]
            if token != value:
                self._note(giver, "CSRF token", number, f"header {name}")
            return name, token
        put = self._put(
            number, value, f"header {name}", is_identified=_is_identifying(lower) or lower.startswith("if-")
        )
        if put == value and " " in value:
            scheme, _, rest = value.partition(" ")
            put = f"{scheme} {self._put(number, rest, f'header {name}', is_identified=False)}"
        return name, put

    def _form(self, number: int, body: bytes, is_literal: bool) -> bytes:
        try:
            pairs = parse_qsl(
                body.decode("ascii"), keep_blank_values=True, strict_parsing=True, errors="surrogateescape"
            )
        except ValueError:
            return body
        changed = []
        for name, value in pairs:
            if is_csrf_name(name) and name in self._csrf:
                giver, put = self._csrf[name]
                if put != value:
                    self._note(giver, f"field {name}", number, f"field {name}")
            else:
                put = (
                    self._put(number, value, f"field {name}", is_identified=_is_identifying(name))
                    if is_literal
                    else value
                )
            changed.append((name, put))
        return body if changed == pairs else urlencode(changed, errors="surrogateescape").encode()

    def _json(self, number: int, body: bytes) -> bytes:
        try:
            value = json.loads(body)
        except ValueError:
            return body
        changed = self._member(number, value, "$", "")
        return body if changed == value else json.dumps(changed, ensure_ascii=False).encode()

    def _member(self, number: int, value: Any, place: str, name: str) -> Any:
        if isinstance(value, dict):
            return {key: self._member(number, each, f"{place}.{key}", key) for key, each in value.items()}
        if isinstance(value, list):
            return [self._member(number, each, f"{place}[{index}]", name) for index, each in enumerate(value)]
        if isinstance(value, str):
            return self._put(number, value, place, is_identified=_is_identifying(name))
        if isinstance(value, int) and not isinstance(value, bool):
            put = self._put(number, str(value), place, is_identified=_is_identifying(name))
            return int(put) if put.lstrip("-").isdigit() else value
        return value

    def _text(self, number: int, body: bytes) -> bytes:
        for value, source in self._sources.items():
            if len(value) >= 16 and source.value != value and value.encode() in body:
                body = body.replace(value.encode(), source.value.encode())
                self._note(source.giver, source.place, number, "body")
        return body


def _is_identifying(name: str) -> bool:
    return _IDENTIFYING.search(name) is not None


def _fields(headers: Headers, body: bytes) -> dict[str, str]:
    kind = next((value for name, value in headers if name.lower() == b"content-type"), b"")
    return hidden_fields(body.decode("utf-8", "replace")) if b"html" in kind else {}


def _values(headers: Headers, body: bytes) -> Iterator[tuple[str, tuple[str, bool]]]:
    """Yield each place of an answer with its value as text, and whether its name identifies something."""
    for raw, value in headers:
        name = raw.decode("latin-1").lower()
        if name in _HEADERS_GIVEN or is_csrf_name(name) or "token" in name:
            yield f"header:{name}", (value.decode("latin-1"), True)
    for name, text in _fields(headers, body).items():
        yield f"field {name}", (text, _is_identifying(name))
    kind = next((value for name, value in headers if name.lower() == b"content-type"), b"")
    if b"json" in kind:
        try:
            document = json.loads(body)
        except (ValueError, RecursionError):
            return
        yield from _leaves(document, "$", "")


def _leaves(value: Any, place: str, name: str) -> Iterator[tuple[str, tuple[str, bool]]]:
    if isinstance(value, dict):
        for key, each in value.items():
            yield from _leaves(each, f"{place}.{key}", str(key))
    elif isinstance(value, list):
        for index, each in enumerate(value):
            yield from _leaves(each, f"{place}[{index}]", name)
    elif isinstance(value, str) and value:
        yield place, (value, _is_identifying(name))
    elif isinstance(value, int) and not isinstance(value, bool):
        yield place, (str(value), _is_identifying(name))
