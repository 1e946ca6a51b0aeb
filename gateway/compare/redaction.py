"""Take secrets out of what is kept, each replaced by a keyed digest, so that equality can still be seen.

Secret are all cookies' values, the ``Authorization`` headers, and whatever stands under a name that contains
one of a list of words. Bodies are changed in place: everything that is no secret keeps its bytes, so that a
redacted observation still compares as the original did. What cannot be looked into (a coding or charset
that cannot be read) is replaced whole. Nothing raises, and the time is linear in what is read.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from functools import lru_cache
from hashlib import blake2b
from typing import TYPE_CHECKING
from urllib.parse import unquote_plus

from gateway.compare.content import decoded
from gateway.compare.headers import content_type
from gateway.compare.json_text import show
from gateway.compare.observation import Body, Observation, RequestRecord, header_value

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gateway.compare.observation import Headers, OutboundCall, RowWrite, Scalar

SECRET_WORDS = (
    "password",
    "passwd",
    "passphrase",
    "pwd",
    "token",
    "secret",
    "card",
    "cvv",
    "cvc",
    "ssn",
    "iban",
    "apikey",
    "privatekey",
    "accesskey",
    "credential",
    "authorization",
    "csrf",
    "xsrf",
    "sessionid",
)
"""Words that make a name secret, wherever they stand in it; ``-``, ``_`` and case do not matter."""

_SECRET_HEADERS = frozenset({"authorization", "proxy-authorization"})
_MARK = "redacted:"
_DONE = re.compile(r"redacted:[0-9a-f]{16}\Z")
_STRING = re.compile(r'"(?:[^"\\]++|\\.)*+("?)', re.DOTALL)
_COLON = re.compile(r"\s*:\s*")
_BRACKETS = re.compile(r'"(?:[^"\\]++|\\.)*+"?|[\[\]{}]', re.DOTALL)
_PLAIN = re.compile(r"[^,\]}\s]*")
_ASSIGNMENT = re.compile(r"(?<![\w.\-\[\]%])([\w.\-\[\]%]++)[\"']?\s{0,9}[:=]\s{0,9}")
_ASSIGNED = re.compile(r"(\"|')?((?(1)[^\"'\n]*+|[^\s\"'&<>,;)}\\]++))")
_SCHEMES = frozenset({"Bearer", "Basic", "Token"})
_BEARER = re.compile(r"\b(Bearer|Basic|Token)\s{1,9}([A-Za-z0-9._~+/=-]{6,}+)")
_TAG = re.compile(r"<(?:input|meta)\b[^<>]{0,2000}>", re.IGNORECASE)
_ATTRIBUTE = re.compile(r"(?<![\w-])([\w-]++)\s{0,9}=\s{0,9}(\"[^\"]*+\"|'[^']*+'|[^\s\"'<>]++)")
_USERINFO = re.compile(r"(?<=://)[^/?#@\s]{1,500}(?=@)")
_NAME_IN_PART = re.compile(rb'(?<![\w*])name="([^"]*)"')


@dataclass(frozen=True, slots=True)
class Redactor:
    """Replace secrets with digests under ``key`` (at least one byte); ``words`` adds to the built-in ones."""

    key: bytes
    words: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.key:
            raise ValueError("a redactor needs a key: without one, digests of short secrets can be guessed")

    def is_secret(self, name: str) -> bool:
        """Tell whether what stands under ``name`` is a secret."""
        return _is_secret(name[:200], self.words)

    def digest(self, value: str) -> str:
        """Return what stands for ``value``: the same for the same value, telling nothing else."""
        if _DONE.match(value):
            return value
        key = self.key if len(self.key) <= 64 else blake2b(self.key).digest()
        data = value.encode("utf-8", "surrogatepass")
        return _MARK + blake2b(data, key=key, digest_size=8).hexdigest()

    def request(self, record: RequestRecord) -> RequestRecord:
        """Return a request without its secrets."""
        body = self._body(record.body, record.headers)
        return replace(record, url=self.url(record.url), headers=self.headers(record.headers), body=body)

    def observation(self, observation: Observation) -> Observation:
        """Return an observation without its secrets."""
        raised, effects = observation.raised, observation.effects
        if raised is not None:
            raised = replace(raised, message=self.text(raised.message), traceback=self.text(raised.traceback))
        if effects.rows:
            effects = replace(effects, rows=tuple(self._row(row) for row in effects.rows))
        if effects.outbound:
            effects = replace(effects, outbound=tuple(self._call(call) for call in effects.outbound))
        return replace(
            observation,
            headers=self.headers(observation.headers),
            body=self._body(observation.body, observation.headers),
            raised=raised,
            effects=effects,
        )

    def headers(self, headers: Headers) -> Headers:
        """Return headers without their secrets; names, cookies' names and their attributes stay."""
        found = []
        for name, value in headers:
            text = self.header(name.decode("latin-1").strip().lower(), value.decode("latin-1"))
            found.append((name, text.encode("latin-1", "replace")))
        return tuple(found)

    def header(self, name: str, value: str) -> str:
        """Return the value of the header ``name`` (lower-case) without its secrets."""
        if name == "set-cookie":
            first, separator, rest = value.partition(";")
            return self._cookie(first) + separator + rest
        if name == "cookie":
            return ";".join(self._cookie(each) for each in value.split(";"))
        if name in _SECRET_HEADERS:
            scheme, separator, rest = value.strip().partition(" ")
            return f"{scheme} {self.digest(rest)}" if separator else self.digest(value.strip())
        if self.is_secret(name):
            return self.digest(value.strip())
        return self.url(value)

    def _cookie(self, pair: str) -> str:
        name, separator, value = pair.partition("=")
        if not separator:
            return self.digest(pair.strip()) if pair.strip() else pair
        return f"{name}={self.digest(value.strip())}" if value.strip() else pair

    def url(self, text: str) -> str:
        """Return a URL without the secrets in its query and without user and password."""
        text = _USERINFO.sub(lambda match: self.digest(match[0]), text)
        head, separator, query = text.partition("?")
        if not separator:
            return self.text(text)
        query, mark, fragment = query.partition("#")
        return self.text(head) + separator + self.form(query) + mark + self.text(fragment)

    def form(self, text: str) -> str:
        """Return form data (``a=1&b=2``) without its secrets."""
        pairs = []
        for pair in text.split("&"):
            name, separator, value = pair.partition("=")
            if separator and value and self.is_secret(unquote_plus(name)):
                pair = f"{name}={self.digest(unquote_plus(value))}"
            pairs.append(pair)
        return "&".join(pairs)

    def text(self, text: str) -> str:
        """Return free text without what stands behind a secret name, in fields of a page, or as a bearer."""
        text = _TAG.sub(self._tag, text)
        text = _BEARER.sub(lambda match: f"{match[1]} {self.digest(match[2])}", text)
        pieces: list[str] = []
        done = position = 0
        while (name := _ASSIGNMENT.search(text, position)) is not None:
            position = name.end()
            value = _ASSIGNED.match(text, position) if self.is_secret(unquote_plus(name[1])) else None
            if value is not None and value[2] and value[2] not in _SCHEMES:
                pieces.extend((text[done : value.start(2)], self.digest(value[2])))
                done = position = value.end()
        return "".join((*pieces, text[done:]))

    def _tag(self, match: re.Match[str]) -> str:
        attributes = {each[1].lower(): each[2].strip("\"'") for each in _ATTRIBUTE.finditer(match[0])}
        names = (attributes.get("name", ""), attributes.get("id", ""), attributes.get("type", ""))
        if not any(self.is_secret(name) for name in names):
            return match[0]

        def change(attribute: re.Match[str]) -> str:
            if attribute[1].lower() not in ("value", "content"):
                return attribute[0]
            return f'{attribute[1]}="{self.digest(attribute[2].strip(chr(34) + chr(39)))}"'

        return _ATTRIBUTE.sub(change, match[0])

    def json_text(self, text: str) -> str:
        """Return JSON without the values of secret members; every other byte stays. It may be cut."""
        pieces: list[str] = []
        done = position = 0
        while (string := _STRING.search(text, position)) is not None:
            position = string.end()
            colon = _COLON.match(text, position)
            if colon is None:
                if "=" in string[0] or "://" in string[0]:
                    pieces.extend((text[done : string.start()], self._inner(string[0])))
                    done = position
                continue
            position = start = colon.end()
            if not self.is_secret(_unescaped(string[0])):
                continue
            position = _value_end(text, start)
            value = text[start:position]
            if value not in ("null", '""', ""):
                pieces.extend((text[done:start], f'"{self.digest(_plain_value(value))}"'))
                done = position
        pieces.append(text[done:])
        return "".join(pieces)

    def _inner(self, string: str) -> str:
        """Return a JSON string without the secrets of a URL or an assignment in it."""
        end = -1 if len(string) > 1 and string.endswith('"') else len(string)
        return '"' + self.text(_USERINFO.sub(lambda each: self.digest(each[0]), string[1:end])) + string[end:]

    def shown(self, value: object, names: Sequence[str | int]) -> str:
        """Return a JSON value that stands under ``names`` as people may see it, bounded."""
        if any(isinstance(name, str) and self.is_secret(name) for name in names) and value is not None:
            return self.digest(value if isinstance(value, str) else show(value))
        return self.json_text(show(value))

    def _row(self, row: RowWrite) -> RowWrite:
        def pair(name: str, value: Scalar) -> tuple[str, Scalar]:
            is_kept = value is None or not self.is_secret(name)
            return name, value if is_kept else self.digest(str(value))

        return replace(
            row,
            key=tuple(pair(*each) for each in row.key),
            values=tuple(pair(*each) for each in row.values),
        )

    def _call(self, call: OutboundCall) -> OutboundCall:
        return replace(call, url=self.url(call.url), body=call.body and self.data(call.body, ""))

    def _body(self, body: Body, headers: Headers) -> Body:
        data = body.captured
        if not data:
            return body
        if header_value(headers, b"content-encoding"):
            plain = None if body.is_truncated else decoded(Observation(200, headers, body))
            redacted = None if plain is None else self.data(plain, header_value(headers, b"content-type"))
            if redacted is None:
                redacted = self._whole(data)
            elif redacted == plain:
                return body
        else:
            redacted = self.data(data, header_value(headers, b"content-type"))
        if redacted == data:
            return body
        beyond = body.length_bytes - len(data)
        return Body(redacted, len(redacted) + beyond, body.digest)

    def _whole(self, data: bytes) -> bytes:
        return self.digest(data.hex()).encode()

    def data(self, data: bytes, declared: str) -> bytes:
        """Return a decoded body, of the declared content type, without its secrets."""
        media, parameters = content_type(declared)
        if media.startswith("multipart/"):
            return self._multipart(data, dict(parameters).get("boundary", "").encode("latin-1", "replace"))
        if data[:2] in (b"\xff\xfe", b"\xfe\xff") or b"\0" in data[:4]:
            return self._whole(data) if "json" in media or media.startswith("text/") else data
        if "json" in media or data.lstrip()[:1] in (b"{", b"["):
            return _through(self.json_text, data)
        if media == "application/x-www-form-urlencoded":
            return _through(self.form, data)
        if not media or media.startswith("text/") or media.endswith(("xml", "javascript")):
            return _through(lambda text: self.text(self.json_text(text)), data)
        return data

    def _multipart(self, data: bytes, boundary: bytes) -> bytes:
        if not boundary:
            return self._whole(data)
        parts = data.split(b"--" + boundary)
        for index, part in enumerate(parts):
            head, separator, content = part.partition(b"\r\n\r\n")
            name = _NAME_IN_PART.search(head)
            if separator and name is not None and self.is_secret(name[1].decode("utf-8", "replace")):
                end = b"\r\n" if content.endswith(b"\r\n") else b""
                digest = self.digest(content.removesuffix(b"\r\n").decode("latin-1")).encode()
                parts[index] = head + separator + digest + end
        return (b"--" + boundary).join(parts)


@lru_cache(maxsize=4096)
def _is_secret(name: str, words: tuple[str, ...]) -> bool:
    bare = _bare(name)
    return any(_bare(word) in bare for word in (*SECRET_WORDS, *words) if _bare(word))


def _bare(name: str) -> str:
    return re.sub(r"[\W_]", "", name).lower()


def _through(change: Callable[[str], str], data: bytes) -> bytes:
    return change(data.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape")


def _unescaped(string: str) -> str:
    try:
        value = json.loads(string, strict=False)
    except ValueError:
        return string
    return value if isinstance(value, str) else string


def _plain_value(value: str) -> str:
    return _unescaped(value) if value.startswith('"') else value


def _value_end(text: str, start: int) -> int:
    """Return where the JSON value at ``start`` ends; the end of the text where it was cut."""
    first = text[start : start + 1]
    if first == '"':
        match = _STRING.match(text, start)
    elif first in ("{", "["):
        depth = 0
        for token in _BRACKETS.finditer(text, start):
            if token[0] in ("{", "["):
                depth += 1
            elif token[0] in ("}", "]"):
                depth -= 1
                if depth == 0:
                    return token.end()
        return len(text)
    else:
        match = _PLAIN.match(text, start)
    return match.end() if match is not None else len(text)
