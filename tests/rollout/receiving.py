"""Be a receiver of webhooks on a real socket, as well or as badly behaved as a test wants it."""

from __future__ import annotations

import contextlib
import json
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Iterator

Behaviour = int | Literal["hang", "drip", "cut"]
"""A status to answer with, or: no answer at all; an answer byte by byte; a connection that is cut."""


@dataclass(frozen=True, slots=True)
class Received:
    """Be one request as it came."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def id(self) -> str:
        """Return the notice's id."""
        return self.headers["webhook-id"]

    @property
    def document(self) -> dict[str, Any]:
        """Return the body."""
        document: dict[str, Any] = json.loads(self.body)
        return document


class Receiver:
    """Take what is posted. ``behaviour`` holds for every request whose turn comes while it is set."""

    def __init__(self, behaviour: Behaviour = 204) -> None:
        self.behaviour = behaviour
        self.received: list[Received] = []
        self.answer_headers: dict[str, str] = {}
        self._released = threading.Event()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                receiver.handle(self)

            def log_message(self, *_args: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)

    @property
    def port(self) -> int:
        """Return the port it listens on."""
        return self._server.server_address[1]

    @property
    def url(self) -> str:
        """Return where to post."""
        return f"http://127.0.0.1:{self.port}/hook"

    @property
    def ids(self) -> list[str]:
        """Return the ids of what came, in order, repeats included."""
        return [each.id for each in self.received]

    @property
    def routes(self) -> list[str]:
        """Return the routes of what came, in order."""
        return [each.document["route"] for each in self.received]

    def handle(self, request: BaseHTTPRequestHandler) -> None:
        """Take one request, and behave."""
        behaviour = self.behaviour
        body = request.rfile.read(int(request.headers.get("content-length", "0")))
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.received.append(Received(request.path, headers, body))
        if behaviour == "hang":
            self._released.wait(30)
            behaviour = self.behaviour if self.behaviour != "hang" else "cut"
        if behaviour == "drip":
            with contextlib.suppress(OSError):
                for byte in b"HTTP/1.1 204 No Content\r\n" * 100:
                    request.wfile.write(bytes((byte,)))
                    if self._released.wait(0.02):
                        return
        elif behaviour == "cut":
            request.connection.close()
        else:
            assert isinstance(behaviour, int)
            request.send_response(behaviour)
            for name, value in self.answer_headers.items():
                request.send_header(name, value)
            request.send_header("content-length", "0")
            request.end_headers()

    def release(self, behaviour: int) -> None:
        """Let what hangs be answered with ``behaviour``, and everything after it."""
        self.behaviour = behaviour
        self._released.set()

    @contextlib.contextmanager
    def serving(self) -> Iterator[Receiver]:
        """Serve until the block ends."""
        self._thread.start()
        try:
            yield self
        finally:
            self._released.set()
            self._server.shutdown()
            self._server.server_close()
            self._thread.join(5)
