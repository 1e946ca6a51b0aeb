"""Read HAR recordings (HTTP Archive 1.2), from ``gateway record``, a browser or a proxy.

A page is a scenario; pages that share a session (one sends a cookie that another was given) belong
together. Requests to other hosts than the one that most requests went to are left out, and said. The
recorded answers are kept: values that they gave out and later requests send back are found in them.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections import Counter
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit

from gateway.ci.corpus import Corpus, CorpusError, CorpusRequest, Recorded, Scenario, read_text, split_url

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

_UNREPEATABLE = frozenset(
    {"connection", "content-length", "transfer-encoding", "keep-alive", "upgrade", "proxy-connection", "te"}
)


def read_har(path: Path) -> Corpus:
    """Return the recording's scenarios; raises :class:`CorpusError` for what is no whole HAR file."""
    entries = _entries(path)
    read = [(index, entry, _origin(entry)) for index, entry in enumerate(entries)]
    origins = Counter(origin for _, _, origin in read if origin)
    if not origins:
        raise CorpusError(f"{path}: holds no http(s) request")
    main = origins.most_common(1)[0][0]
    kept = [(index, entry) for index, entry, origin in read if origin == main]
    notes = []
    if len(kept) < len(entries):
        notes.append(
            f"{path}: {len(entries) - len(kept)} requests are left out: they went elsewhere than to {main}"
        )
    requests = [(_session(entry), _request(path, index, entry)) for index, entry in kept]
    return Corpus(tuple(_scenarios(path, requests)), tuple(notes))


def _entries(path: Path) -> list[dict[str, Any]]:
    text = read_text(path)
    try:
        document = json.loads(text)
    except ValueError as exc:
        where = f"line {getattr(exc, 'lineno', '?')}"
        is_cut = isinstance(exc, json.JSONDecodeError) and exc.pos >= len(text.rstrip()) - 1
        is_cut = is_cut or "Unterminated" in str(exc)
        what = "is cut off: the JSON ends early, in" if is_cut else "is no JSON in"
        raise CorpusError(f"{path}: the recording {what} {where}; record it again") from exc
    except RecursionError as exc:
        raise CorpusError(f"{path}: the recording is nested too deep to be one") from exc
    entries = document.get("log", {}).get("entries") if isinstance(document, dict) else None
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise CorpusError(f"{path}: is no HAR recording: it has no log.entries")
    return entries


def _origin(entry: dict[str, Any]) -> str:
    request = entry.get("request")
    url = urlsplit(str(request.get("url", ""))) if isinstance(request, dict) else None
    return f"{url.scheme}://{url.netloc}" if url is not None and url.scheme in ("http", "https") else ""


def _session(entry: dict[str, Any]) -> str:
    return str(entry.get("_session") or entry.get("pageref") or "")


def _request(path: Path, index: int, entry: dict[str, Any]) -> CorpusRequest:
    place = f"{path}#{index + 1}"
    request = entry["request"]
    try:
        method = str(request["method"]).upper()
        host, target = split_url(str(request["url"]), place)
        headers = [
            (str(header["name"]), str(header["value"]))
            for header in request.get("headers", ())
            if not str(header["name"]).startswith(":") and str(header["name"]).lower() not in _UNREPEATABLE
        ]
        body = _posted(request.get("postData"))
        recorded = _recorded(entry.get("response"))
    except (KeyError, TypeError, ValueError, binascii.Error) as exc:
        why = f"it has no {exc}" if isinstance(exc, KeyError) else str(exc)
        raise CorpusError(f"{place}: the entry is no whole request: {why}") from exc
    if not any(name.lower() == "host" for name, _ in headers):
        headers.insert(0, ("Host", host))
    return CorpusRequest(
        method=method,
        target=target,
        headers=tuple(headers),
        body=body,
        source=place,
        recorded=recorded,
        is_literal=True,
    )


def _posted(data: Any) -> bytes:
    if not data:
        return b""
    if data.get("text"):
        text = str(data["text"])
        return _from_base64(text) if data.get("encoding") == "base64" else text.encode()
    params = data.get("params") or ()
    return urlencode([(str(each["name"]), str(each.get("value", ""))) for each in params]).encode()


def _from_base64(text: str) -> bytes:
    return base64.b64decode("".join(text.split()), validate=True)


def _recorded(response: Any) -> Recorded | None:
    if not response or not response.get("status"):
        return None
    content = response.get("content") or {}
    text = str(content.get("text") or "")
    body = _from_base64(text) if content.get("encoding") == "base64" else text.encode()
    headers = tuple(
        (str(header["name"]).encode("latin-1", "replace"), line.encode("latin-1", "replace"))
        for header in response.get("headers", ())
        for line in str(header["value"]).split("\n")
    )
    return Recorded(int(response["status"]), headers, body)


def _scenarios(path: Path, requests: list[tuple[str, CorpusRequest]]) -> Iterable[Scenario]:
    """Yield a scenario for each page, with pages of one session as one."""
    group_of: dict[str, str] = {}
    givers: dict[str, str] = {}
    for page, request in requests:
        group_of.setdefault(page, page)
        for pair in request.header("cookie").split(";"):
            giver = givers.get(pair.strip())
            if giver is not None and group_of[giver] != group_of[page]:
                joined, into = group_of[page], group_of[giver]
                group_of = {each: into if group == joined else group for each, group in group_of.items()}
        for name, value in request.recorded.headers if request.recorded else ():
            if name.lower() == b"set-cookie":
                givers[value.decode("latin-1").partition(";")[0].strip()] = page
    groups: dict[str, list[CorpusRequest]] = {}
    for page, request in requests:
        groups.setdefault(group_of[page], []).append(request)
    for group, members in groups.items():
        yield Scenario(f"{path.stem}: {group}" if group and len(groups) > 1 else path.stem, tuple(members))
