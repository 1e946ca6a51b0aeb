"""Count what one request does. The tally is found by a context variable, which tasks inherit.

A statement counts by its text without its values: one text sent again and again is what an N+1 looks like.
Only statements that read or write rows count; transactions, settings and pings do not.
"""

from __future__ import annotations

import asyncio
import re
import sys
import sysconfig
import threading
import time
from collections import Counter
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit, urlunsplit

from gateway.ci.watching.patches import Patches
from gateway.compare.observation import Effects, OutboundCall, Queries

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

KEPT_TEXTS = 500
KEPT_CALLS = 500
TEXT_CHARACTERS = 300
BODY_BYTES = 65_536
"""Bodies of calls up to this length are compared."""

LEFT_RUNNING_S = 2.0
"""How long what a request left running (a thread, a task) is waited for."""

UNWATCHED = ("pycurl", "grpc", "niquests", "tornado.simple_httpclient", "twisted.web.client")
"""Modules that call others in ways that are not watched."""

GATEWAY = str(Path(__file__).parents[2]) + "/"
"""Where this package lies: its own frames and tasks are not the app's."""

_PATHS = sysconfig.get_paths()
_FOREIGN = (*(f"{_PATHS[each]}/" for each in ("stdlib", "platstdlib", "purelib", "platlib")), GATEWAY)

_current: ContextVar[Tally | None] = ContextVar("gateway_watched_request", default=None)

_VERB = re.compile(r"(?:\s+|\(|--[^\n]*\n|/\*.*?\*/)*([a-z]+)", re.IGNORECASE | re.DOTALL)
_ROWS = frozenset(
    {"select", "insert", "update", "delete", "replace", "merge", "with", "values", "call", "exec", "execute"}
)
_PING = re.compile(r"\s*select\s+1\s*;?\s*\Z", re.IGNORECASE)
_LITERAL = re.compile(r"'(?:[^']|'')*'|(?<![\w$:.@])\d+(?:\.\d+)?\b")
_LIST = re.compile(r"\(\s*(?P<mark>\?|%s|[:$]\w+|%\(\w+\)s)(?:\s*,\s*(?:\?|%s|[:$]\w+|%\(\w+\)s))*\s*\)")


def current() -> Tally | None:
    """Return the tally of the request in whose course this is called, or None."""
    return _current.get()


@contextmanager
def carrying(tally: Tally | None) -> Iterator[None]:
    """Let what is done in the block count for ``tally``."""
    token = _current.set(tally)
    try:
        yield
    finally:
        _current.reset(token)


@dataclass(slots=True)
class Call:
    """Be one call to somebody else, while it is made. ``body`` None: it could not be seen."""

    method: str
    url: str
    media: str = ""
    body: bytearray | None = None

    def add(self, piece: Any) -> None:
        """Take a piece of the body; anything but bytes and text makes it unknown."""
        if self.body is None:
            return
        if isinstance(piece, str):
            piece = piece.encode("utf-8", "surrogateescape")
        if isinstance(piece, bytes | bytearray | memoryview) and len(self.body) + len(piece) <= BODY_BYTES:
            self.body += piece
        else:
            self.body = None

    def begin(self) -> None:
        """Forget what was added: the body is sent from its beginning, perhaps once more."""
        if self.body is not None:
            self.body.clear()

    def settled(self) -> OutboundCall:
        """Return the call in a form in which the same call by another client looks the same."""
        data = None if self.body is None else bytes(self.body)
        if data is not None and "x-www-form-urlencoded" in self.media:
            data = _form(data.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape")
        elif self.media.startswith("multipart/"):
            data = None  # each client draws a boundary, and orders the heads of the parts, as it likes
        return OutboundCall(self.method.upper(), _same_url(self.url), data)


class Tally:
    """Count the statements and calls of one request; several threads may add to it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._texts: Counter[str] = Counter()
        self._places: dict[str, str] = {}
        self._total = 0
        self._calls: list[Call] = []
        self._followers: list[Callable[[], bool]] = []
        self._is_open = True

    def note_statement(self, text: str) -> None:
        """Count one statement."""
        if not is_counted(text):
            return
        plain = without_values(text)
        with self._lock:
            if not self._is_open:
                return
            self._total += 1
            if plain in self._texts or len(self._texts) < KEPT_TEXTS:
                self._texts[plain] += 1
            if self._texts[plain] == 2:
                self._places[plain] = app_place()

    def note_call(self, method: str, url: str, media: str = "", *, has_body: bool = True) -> Call:
        """Count one call; pieces of its body are added to what is returned."""
        call = Call(method, url, media.lower(), bytearray() if has_body else None)
        with self._lock:
            if self._is_open and len(self._calls) < KEPT_CALLS:
                self._calls.append(call)
        return call

    def follow(self, is_busy: Callable[[], bool]) -> None:
        """Remember something that goes on in the request's name; ``is_busy`` tells whether it still does."""
        with self._lock:
            if self._is_open:
                self._followers = [each for each in self._followers if each()]
                self._followers.append(is_busy)

    def is_busy(self) -> bool:
        """Tell whether a thread, a pool's job or a task that the request started still runs."""
        return any(each() for each in list(self._followers))

    def close(self) -> Effects:
        """Return what was counted; what comes later counts for nobody."""
        with self._lock:
            self._is_open = False
            self._followers.clear()
            calls = tuple(each.settled() for each in self._calls)
            text, times = max(self._texts.items(), key=lambda each: each[1], default=("", 0))
            again = sum(self._texts.values()) - len(self._texts)
            queries = Queries(self._total)
            if again:
                queries = Queries(self._total, again, text, times, self._places.get(text, ""))
        return Effects(queries=queries, outbound=None if unwatched() else calls)


@contextmanager
def request() -> Iterator[Tally]:
    """Count what the block does for a tally of its own."""
    tally = Tally()
    with carrying(tally):
        yield tally


async def settle(tally: Tally, within_s: float = LEFT_RUNNING_S) -> None:
    """Wait until nothing goes on in the request's name, or the time is over."""
    deadline = time.monotonic() + within_s
    while tally.is_busy() and time.monotonic() < deadline:  # noqa: ASYNC110 - threads and jobs of any pool set no event of ours
        await asyncio.sleep(0.002)


def unwatched() -> tuple[str, ...]:
    """Return the modules that are imported and call others in ways that are not watched."""
    return tuple(name for name in UNWATCHED if name in sys.modules)


class Watcher:
    """Watch this process from :meth:`install` to :meth:`undo`."""

    def __init__(self) -> None:
        self._patches = Patches()
        self._has_seen_statements = False

    def install(self) -> None:
        """Begin; the app is to be imported afterwards."""
        from gateway.ci.watching import calls, followers, statements

        statements.watch(self._patches, self._note_statement)
        calls.watch(self._patches)
        followers.watch(self._patches)

    def undo(self) -> None:
        """Put everything back."""
        self._patches.undo()

    def _note_statement(self, text: str) -> None:
        self._has_seen_statements = self._has_seen_statements or is_counted(text)
        tally = _current.get()
        if tally is not None:
            tally.note_statement(text)

    def effects(self, tally: Tally) -> Effects:
        """Close a tally. While no statement was ever seen, the database's driver may be an unknown one."""
        effects = tally.close()
        return effects if self._has_seen_statements else Effects(outbound=effects.outbound)


def is_counted(text: str) -> bool:
    """Tell whether a statement reads or writes rows."""
    verb = _VERB.match(text)
    return verb is not None and verb[1].lower() in _ROWS and _PING.match(text) is None


def without_values(text: str) -> str:
    """Return a statement without its values: literals and lists of placeholders become one placeholder."""
    flat = _LITERAL.sub("?", " ".join(text.split()))
    return _LIST.sub(lambda found: f"({found['mark']})", flat)[:TEXT_CHARACTERS]


def _same_url(url: str) -> str:
    """Return a URL as any client would spell it, without user and password, its query in order."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2].lower()
    for scheme, port in (("http", ":80"), ("https", ":443")):
        if parts.scheme == scheme:
            host = host.removesuffix(port)
    path = quote(unquote(parts.path) or ("/" if host else ""), safe="/-._~!$&'()*+,;=:@")
    return urlunsplit((parts.scheme, host, path, _form(parts.query, is_sorted=True), ""))


def _form(text: str, *, is_sorted: bool = False) -> str:
    pairs = parse_qsl(text, keep_blank_values=True)
    return urlencode(sorted(pairs) if is_sorted else pairs, safe="@:/,")


def app_place() -> str:
    """Return ``file:line`` of the innermost frame of the app itself, or the empty string."""
    here = Path.cwd()
    for stack in _stacks():
        frame: FrameType | None = stack
        while frame is not None:
            name = frame.f_code.co_filename
            if name.startswith("/") and "site-packages" not in name and not name.startswith(_FOREIGN):
                path = Path(name)
                return f"{path.relative_to(here) if path.is_relative_to(here) else path}:{frame.f_lineno}"
            frame = frame.f_back
    return ""


def _stacks() -> Iterator[FrameType]:
    """Yield this thread's frame, and those that wait for it in other greenlets (asynchronous SQLAlchemy)."""
    yield sys._getframe(1)
    greenlet: Any = sys.modules.get("greenlet")
    inner = greenlet.getcurrent() if greenlet is not None else None
    while inner is not None and inner.parent is not None:
        inner = inner.parent
        if inner.gr_frame is not None:
            yield inner.gr_frame
