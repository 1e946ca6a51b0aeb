"""Read ``.http`` files, as editors know them: requests divided by ``###``, with headers and a body.

.. code-block:: http

    @password = demo-password

    ### Log in
    # @name login
    POST /login
    Content-Type: application/json

    {"email": "ada@example.com", "password": "{{password}}"}

    ### What the session shows
    GET /orders/{{login.response.body.$.user.id}}

One file is one scenario. A line ``< ./file`` in a body stands for that file's bytes; the lines of a form
are joined, those of a multipart body end in CRLF (RFC 2046, 4.1.1). Scripts (``> {% … %}``) are left out,
and said.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from gateway.ci.corpus import Corpus, CorpusError, CorpusRequest, Scenario, read_bytes, read_text, split_url

if TYPE_CHECKING:
    from pathlib import Path

_VARIABLE = re.compile(r"@([\w.-]+)\s*=\s*(.*)")
_DIRECTIVE = re.compile(r"(?:#|//)\s*@([\w-]+)(?:\s*=?\s*(.*))?")
_REQUEST = re.compile(r"(?:([A-Za-z][A-Za-z-]*)\s+)?(\S.*?)(?:\s+HTTP/\d(?:\.\d)?)?\s*")
_HEADER = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+)\s*:\s*(.*)")


def read_http(path: Path) -> Corpus:
    """Return the file's one scenario; raises :class:`CorpusError` with file and line."""
    variables: list[tuple[str, str]] = []
    requests: list[CorpusRequest] = []
    notes: list[str] = []
    for first_line, title, lines in _blocks(read_text(path)):
        parsed = _Block(path, first_line, title, lines, variables, notes).request()
        if parsed is not None:
            requests.append(parsed)
    names = [request.name for request in requests if request.name]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise CorpusError(f"{path}: two requests are called {twice!r}; a name is given once in a file")
    if not requests:
        return Corpus((), (f"{path}: holds no request",))
    return Corpus((Scenario(path.stem, tuple(requests), tuple(variables)),), tuple(notes))


def _blocks(text: str) -> list[tuple[int, str, list[str]]]:
    """Return the parts between ``###`` lines: the number of their first line, their title, their lines."""
    blocks: list[tuple[int, str, list[str]]] = [(1, "", [])]
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith("###"):
            blocks.append((number + 1, line.lstrip("#").strip(), []))
        else:
            blocks[-1][2].append(line)
    return blocks


class _Block:
    """Parse the lines of one request; lives for one block."""

    def __init__(
        self,
        path: Path,
        first_line: int,
        title: str,
        lines: list[str],
        variables: list[tuple[str, str]],
        notes: list[str],
    ) -> None:
        self.path = path
        self.number = first_line - 1
        self.lines = iter(lines)
        self.variables = variables
        self.notes = notes
        self.name = ""
        self.has_jar = True

    def request(self) -> CorpusRequest | None:
        """Return the block's request, or None for a block of comments and variables."""
        head = self._head()
        if head is None:
            return None
        start = self.number
        place = f"{self.path}:{start}"
        method, url = self._request_line(head, place)
        headers = self._headers()
        body = self._body(headers)
        for line in headers.pop("", []):
            url += line
        host, target = split_url(url, place)
        pairs = [(name, value) for name, values in headers.items() for value in values]
        if host and not any(name.lower() == "host" for name, _ in pairs):
            pairs.insert(0, ("Host", host))
        return CorpusRequest(
            method=method,
            target=target,
            headers=tuple(pairs),
            body=body,
            name=self.name,
            source=place,
            has_jar=self.has_jar,
        )

    def _next(self) -> str | None:
        self.number += 1
        return next(self.lines, None)

    def _head(self) -> str | None:
        while (line := self._next()) is not None:
            line = line.strip()
            if not line:
                continue
            if (variable := _VARIABLE.fullmatch(line)) is not None:
                self.variables.append((variable[1], variable[2].strip()))
            elif line.startswith(("#", "//")):
                self._directive(line)
            else:
                return line
        return None

    def _directive(self, line: str) -> None:
        found = _DIRECTIVE.fullmatch(line)
        if found is None:
            return
        word, value = found[1], (found[2] or "").strip()
        if word == "name":
            if not re.fullmatch(r"\w+", value):
                raise CorpusError(
                    f"{self.path}:{self.number}: {value!r} is no name; letters, digits and _ make one"
                )
            self.name = value
        elif word == "no-cookie-jar":
            self.has_jar = False

    def _request_line(self, line: str, place: str) -> tuple[str, str]:
        found = _REQUEST.fullmatch(line)
        if found is None:
            raise CorpusError(f"{place}: {line!r} is no request; write `METHOD /path`")
        method, url = found[1] or "GET", found[2]
        if found[1] is not None and not url.startswith(("/", "http", "{{")):
            raise CorpusError(f"{place}: {line!r} is no request; write `METHOD /path`")
        return method.upper(), url

    def _headers(self) -> dict[str, list[str]]:
        """Return the headers in order; what continues the query stands under the empty name."""
        headers: dict[str, list[str]] = {}
        while (line := self._next()) is not None and line.strip():
            stripped = line.strip()
            if stripped.startswith(("?", "&")) and set(headers) <= {""}:
                headers.setdefault("", []).append(stripped)
            elif stripped.startswith(("#", "//")):
                self._directive(stripped)
            elif (found := _HEADER.fullmatch(stripped)) is not None:
                headers.setdefault(found[1], []).append(found[2].strip())
            else:
                raise CorpusError(
                    f"{self.path}:{self.number}: {stripped!r} is no header; "
                    "an empty line stands before the body"
                )
        return headers

    def _body(self, headers: dict[str, list[str]]) -> bytes:
        kind = next(
            (values[0] for name, values in headers.items() if name.lower() == "content-type"), ""
        ).lower()
        is_multipart, is_form = kind.startswith("multipart/"), "x-www-form-urlencoded" in kind
        pieces: list[bytes] = []
        while (line := self._next()) is not None:
            if line.startswith("> {%"):
                self._skip_script(line)
            elif line.startswith(("< ", "<@ ")):
                try:
                    pieces.append(read_bytes(self.path.parent / line.partition(" ")[2].strip()))
                except CorpusError as exc:
                    raise CorpusError(f"{self.path}:{self.number}: {exc}") from exc
            elif not line.startswith("<> "):
                pieces.append(line.encode())
        while pieces and not pieces[-1].strip():
            pieces.pop()
        if is_form:
            return b"".join(piece.strip() for piece in pieces)
        if is_multipart:
            return b"\r\n".join(pieces) + (b"\r\n" if pieces else b"")
        return b"\n".join(pieces)

    def _skip_script(self, line: str) -> None:
        self.notes.append(f"{self.path}:{self.number}: the script is left out")
        following: str | None = line
        while following is not None and "%}" not in following:
            following = self._next()
