"""Read requests written one a line: JSON lines, and the paths of an access log.

A JSON line is an object: ``method`` (GET), ``target`` (or ``path``, ``url``), ``headers`` (an object or a
list of pairs), one of ``body`` (text), ``json``, ``form``, ``base64``; ``name`` and ``scenario``. Lines with
the same ``scenario`` belong together; without one the file is the scenario.

An access log (common or combined format) tells no bodies and no headers: its GET and HEAD requests are
taken, each target once.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlencode

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from gateway.ci.corpus import Corpus, CorpusError, CorpusRequest, Scenario, read_text, split_url

if TYPE_CHECKING:
    from pathlib import Path

_LOGGED = re.compile(r'"([A-Z]+) (\S+) HTTP/[\d.]+"\s+(\d{3})')


class _Line(BaseModel):
    model_config = ConfigDict(extra="forbid")

    method: str = "GET"
    target: Annotated[str, Field(validation_alias="target")] = ""
    path: str = ""
    url: str = ""
    headers: dict[str, str] | list[tuple[str, str]] = Field(default_factory=dict)
    body: str | None = None
    base64: str | None = None
    json_: Annotated[Any, Field(validation_alias="json")] = None
    form: dict[str, str] | None = None
    name: str = ""
    scenario: str = ""


def read_jsonl(path: Path) -> Corpus:
    """Return the scenarios of a file of JSON lines; raises :class:`CorpusError` with file and line."""
    scenarios: dict[str, list[CorpusRequest]] = {}
    for number, text in enumerate(read_text(path).splitlines(), 1):
        if not text.strip() or text.lstrip().startswith("#"):
            continue
        place = f"{path}:{number}"
        try:
            line = _Line.model_validate_json(text)
        except ValidationError as exc:
            first = exc.errors(include_url=False)[0]
            where = ".".join(map(str, first["loc"])).removesuffix("_")
            raise CorpusError(f"{place}: {where + ': ' if where else ''}{first['msg']}") from exc
        scenarios.setdefault(line.scenario, []).append(_request(line, place))
    if not scenarios:
        return Corpus((), (f"{path}: holds no request",))
    return Corpus(
        tuple(
            Scenario(f"{path.stem}: {name}" if name else path.stem, tuple(requests))
            for name, requests in scenarios.items()
        )
    )


def _request(line: _Line, place: str) -> CorpusRequest:
    written = line.target or line.path or line.url
    if not written:
        raise CorpusError(f'{place}: has no target; write {{"method": "GET", "target": "/…"}}')
    host, target = split_url(written, place)
    headers = list(line.headers.items() if isinstance(line.headers, dict) else line.headers)
    names = {name.lower() for name, _ in headers}
    body, kind = b"", ""
    if line.body is not None:
        body = line.body.encode()
    elif line.base64 is not None:
        try:
            body = base64.b64decode(line.base64, validate=True)
        except binascii.Error as exc:
            raise CorpusError(f"{place}: base64: {exc}") from exc
    elif line.json_ is not None:
        body, kind = json.dumps(line.json_, ensure_ascii=False).encode(), "application/json"
    elif line.form is not None:
        body, kind = urlencode(line.form).encode(), "application/x-www-form-urlencoded"
    if kind and "content-type" not in names:
        headers.append(("Content-Type", kind))
    if host and "host" not in names:
        headers.insert(0, ("Host", host))
    return CorpusRequest(
        method=line.method.upper(),
        target=target,
        headers=tuple(headers),
        body=body,
        name=line.name,
        source=place,
    )


def read_access_log(path: Path) -> Corpus:
    """Return the log's GET and HEAD requests as one scenario, each target once."""
    requests: dict[tuple[str, str], CorpusRequest] = {}
    other = unread = 0
    for number, text in enumerate(read_text(path).splitlines(), 1):
        found = _LOGGED.search(text)
        if found is None:
            unread += bool(text.strip())
        elif found[1] not in ("GET", "HEAD") or not found[2].startswith("/"):
            other += 1
        else:
            request = CorpusRequest(found[1], found[2], source=f"{path}:{number}", is_literal=True)
            requests.setdefault((found[1], found[2]), request)
    notes = []
    if other:
        notes.append(f"{path}: {other} requests are left out: a log does not tell what a write sent")
    if unread:
        notes.append(f"{path}: {unread} lines are no requests in the common log format")
    if not requests:
        raise CorpusError(f"{path}: holds no GET request in the common log format")
    return Corpus((Scenario(path.stem, tuple(requests.values())),), tuple(notes))
