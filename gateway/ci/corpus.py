"""Hold the requests that a comparison sends, and find the reader for each corpus file.

A **scenario** is a list of requests that belong together: they are sent in order, from the same starting
state, to one side and then to the other. Nothing here sends anything.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote

from gateway.errors import GatewayError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
"""Methods that ask for nothing to be changed (RFC 9110, 9.2.1)."""

HTTP_SUFFIXES = frozenset({".http", ".rest"})
JSONL_SUFFIXES = frozenset({".jsonl", ".ndjson"})
LOG_SUFFIXES = frozenset({".log"})
_PRINTABLE = "".join(map(chr, range(0x21, 0x7F)))

SUFFIXES = HTTP_SUFFIXES | JSONL_SUFFIXES | LOG_SUFFIXES | {".har"}


class CorpusError(GatewayError):
    """Report a corpus file that cannot be read, with its place and what to do."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """Be the answer that a recording holds for a request; values are looked up in it, nothing is compared."""

    status: int
    headers: tuple[tuple[bytes, bytes], ...] = ()
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class CorpusRequest:
    """Be one request as a corpus has it. ``target`` is in origin form (``/users?page=2``).

    Text may hold ``{{…}}``, filled in for each side when it is sent. ``name`` is what other requests call
    it; ``source`` is ``file:line`` or ``file#entry``. ``has_jar`` False: cookies of earlier answers are
    not sent along.
    """

    method: str
    target: str
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    name: str = ""
    source: str = ""
    recorded: Recorded | None = None
    has_jar: bool = True
    is_literal: bool = False

    @property
    def is_safe(self) -> bool:
        """Tell whether the method promises to change nothing."""
        return self.method in SAFE_METHODS

    def header(self, name: str) -> str:
        """Return the first value of the header ``name`` (lower-case), or the empty string."""
        return next((value for each, value in self.headers if each.lower() == name), "")


@dataclass(frozen=True, slots=True)
class Scenario:
    """Be requests that are sent in order; ``variables`` are the file's own (``@name = value``)."""

    name: str
    requests: tuple[CorpusRequest, ...]
    variables: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Corpus:
    """Be everything that was read; ``notes`` say what was left out and why."""

    scenarios: tuple[Scenario, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def request_count(self) -> int:
        """Return how many requests there are in all scenarios."""
        return sum(len(scenario.requests) for scenario in self.scenarios)


def read_corpora(paths: Iterable[Path]) -> Corpus:
    """Read every file in ``paths``; a folder stands for the corpus files below it.

    Raises :class:`CorpusError` for the first file that cannot be read or is none.
    """
    from gateway.ci.http_files import read_http
    from gateway.ci.logs import read_access_log, read_jsonl
    from gateway.ci.recordings import read_har

    scenarios: list[Scenario] = []
    notes: list[str] = []
    for path in _files(paths):
        suffix = path.suffix.lower()
        if suffix in HTTP_SUFFIXES:
            found = read_http(path)
        elif suffix in JSONL_SUFFIXES:
            found = read_jsonl(path)
        elif suffix in LOG_SUFFIXES:
            found = read_access_log(path)
        elif suffix == ".har":
            found = read_har(path)
        else:
            raise CorpusError(f"{path}: no corpus; one ends in {', '.join(sorted(SUFFIXES))}")
        scenarios.extend(found.scenarios)
        notes.extend(found.notes)
    return Corpus(tuple(scenarios), tuple(notes))


def _files(paths: Iterable[Path]) -> Iterable[Path]:
    seen: set[Path] = set()
    for path in paths:
        if path.is_dir():
            found = sorted(each for each in path.rglob("*") if each.suffix.lower() in SUFFIXES)
            if not found:
                raise CorpusError(
                    f"{path}: no corpus file below it; one ends in {', '.join(sorted(SUFFIXES))}"
                )
        elif path.exists():
            found = [path]
        else:
            raise CorpusError(f"there is no {path}")
        for each in found:
            if each.resolve() not in seen:
                seen.add(each.resolve())
                yield each


def read_bytes(path: Path) -> bytes:
    """Return a file's bytes; raises :class:`CorpusError` when there are none to be had."""
    try:
        return path.read_bytes()
    except OSError as exc:
        raise CorpusError(f"{path}: {exc.strerror or exc}") from exc


def read_text(path: Path) -> str:
    """Return a file's text (UTF-8, with or without a byte order mark)."""
    try:
        return read_bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        raise CorpusError(f"{path}: is not UTF-8 at byte {exc.start}") from exc


def as_sent(target: str) -> str:
    """Return a target as it goes over the wire: what no request line may hold is percent-encoded (UTF-8)."""
    return quote(target, safe=_PRINTABLE)


def split_url(text: str, place: str) -> tuple[str, str]:
    """Return the host (empty for a bare path) and the target in origin form of ``text``.

    A leading ``{{variable}}`` before a path stands for a base URL and is dropped: which server is asked is
    not the corpus's to say. A target that comes whole from an answer is kept, to be filled in. Raises
    :class:`CorpusError` for anything that is neither a URL nor a path.
    """
    host = ""
    if text.startswith("{{") and "}}" in text:
        word, _, rest = text.partition("}}")
        if ".response." in word or not rest.startswith("/"):
            return "", text
        text = rest
    elif text.lower().startswith(("http://", "https://")):
        rest = text.partition("://")[2]
        cut = min((rest.find(mark) for mark in "/?#" if mark in rest), default=len(rest))
        host, text = rest[:cut].rpartition("@")[2], rest[cut:]
        if not text.startswith("/"):
            text = "/" + text
    if not text.startswith("/"):
        raise CorpusError(f"{place}: {text!r} is neither a path nor an http(s) URL")
    return host, text.partition("#")[0]
