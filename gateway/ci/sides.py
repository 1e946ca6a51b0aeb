"""Be one side of a comparison: where its requests go, and the state that it runs on.

An **own side** runs an implementation as a process of its own on its own copy of the database. The candidate
answers with new what new can answer; what only legacy has is asked of legacy, on the candidate's copy, as it
would be behind the gateway. A **remote side** is a server that somebody else runs, a **split side** the
candidate that one of them is a part of.
"""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol
from urllib.parse import quote, unquote, urlsplit

from gateway.ci.exchange import Address, Sent, send
from gateway.ci.outbound import settled
from gateway.ci.servers import RaisedReport, SideError, SideServer
from gateway.compare.observation import Body, Effects
from gateway.compare.rows import Reading, Window, written

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from gateway.ci.databases import Copy, Original
    from gateway.compare.observation import Observation, RowWrite
    from gateway.table.route import Route

NUMBER_HEADER = "X-Gateway-Compare-Number"
MOMENT_HEADER = "X-Gateway-Compare-Moment"
CONNECT_TIMEOUT_S = 10.0
_PATH_SAFE = "/-._~!$&'()*+,;=:@"


@dataclass(frozen=True, slots=True)
class Asked:
    """Be what came of one request: the observation, and what escaped from the app, if anything did.

    ``unwatched`` are modules of the app whose calls to others are not seen; its calls are unknown then.
    """

    observation: Observation
    raised: RaisedReport | None = None
    unwatched: tuple[str, ...] = ()


class Side(Protocol):
    """Be something that is asked."""

    def prepare(self) -> None:
        """Bring the starting state about."""
        ...

    def ask(self, sent: Sent, route: Route | None, moment: str, *, cap_bytes: int, timeout_s: float) -> Asked:
        """Send one request; ``moment`` (``N:NAME``) is when, where the clock is frozen."""
        ...

    def late_rows(self) -> tuple[RowWrite, ...] | None:
        """Return rows written since the last answer; None where rows are not observed."""
        ...

    def reading(self) -> Reading:
        """Return the outline of the tables."""
        ...

    def abort(self) -> None:
        """End what is under way at once; may be called from another thread."""
        ...

    def close(self) -> None:
        """Free everything."""
        ...


class RemoteSide:
    """Be a server that runs already."""

    def __init__(self, url: str, *, is_new: bool = False) -> None:
        """Name the server; ``is_new``: it is new alone, and is asked as the gateway would ask it."""
        self._address = Address(url, is_own=False)
        self._is_new = is_new
        self._is_there = False

    def prepare(self) -> None:
        """See once that somebody listens; raises :class:`SideError`. Its state is not ours."""
        if self._is_there:
            return
        parts = urlsplit(self._address.url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        try:
            socket.create_connection((parts.hostname or "", port), CONNECT_TIMEOUT_S).close()
        except OSError as exc:
            raise SideError(f"nothing answers at {self._address.url}: {exc.strerror or exc}") from exc
        self._is_there = True

    def ask(self, sent: Sent, route: Route | None, moment: str, *, cap_bytes: int, timeout_s: float) -> Asked:
        """Send one request; nothing but the answer is observed."""
        is_bodiless = False
        if self._is_new and route is not None:
            sent, is_bodiless = bent(sent, route)
        observation = send(self._address, sent, cap_bytes=cap_bytes, timeout_s=timeout_s)
        return Asked(replace(observation, body=Body()) if is_bodiless else observation)

    def late_rows(self) -> tuple[RowWrite, ...] | None:
        """Return None: rows are not observed."""
        return None

    def reading(self) -> Reading:
        """Return nothing."""
        return Reading()

    def abort(self) -> None:
        """Do nothing: a request ends with its timeout."""

    def close(self) -> None:
        """Do nothing."""


class SplitSide:
    """Be the candidate where one of the apps runs elsewhere: what only legacy has is asked of legacy."""

    def __init__(self, new: Side, legacy: Side, answered: frozenset[str]) -> None:
        self._new = new
        self._legacy = legacy
        self._answered = answered

    def prepare(self) -> None:
        """Prepare new; legacy is prepared when it is asked."""
        self._new.prepare()

    def ask(self, sent: Sent, route: Route | None, moment: str, *, cap_bytes: int, timeout_s: float) -> Asked:
        """Ask whom the gateway would ask."""
        side = self._new if route is not None and route.id in self._answered else self._legacy
        if side is self._legacy:
            side.prepare()
        return side.ask(sent, route, moment, cap_bytes=cap_bytes, timeout_s=timeout_s)

    def late_rows(self) -> tuple[RowWrite, ...] | None:
        """Return None: rows are not observed."""
        return None

    def reading(self) -> Reading:
        """Return nothing."""
        return Reading()

    def abort(self) -> None:
        """End both."""
        self._new.abort()
        self._legacy.abort()

    def close(self) -> None:
        """Free both."""
        self._new.close()
        self._legacy.close()


@dataclass(frozen=True, slots=True)
class SideOptions:
    """Say how own sides are run.

    ``answered`` holds the ids of the rows that new answers. ``database`` is the variable's name and the state
    to copy, or None.
    """

    config: Path
    folder: Path
    logs: Path
    answered: frozenset[str]
    database: tuple[str, Original] | None = None
    frozen: str = ""
    environ: Mapping[str, str] | None = None


class OwnSide:
    """Run one implementation on a copy of the state of its own; started with its first scenario."""

    def __init__(self, label: str, backend: str, options: SideOptions) -> None:
        self.label = label
        self._backend = backend
        self._options = options
        self._servers: dict[str, SideServer] = {}
        self._copy: Copy | None = None
        self._start = Reading()
        self._last = Reading()
        self._number = 0
        self._launches = 0

    def prepare(self) -> None:
        """Start the server, or bring its state back to what it was when it had started."""
        if not self._servers:
            if self._options.database is not None:
                self._copy = self._options.database[1].copy(self.label)
            self._launch(self._backend)
            self._settle()
        elif self._copy is not None and self._copy.is_dirty():
            if self._copy.reset():
                self._last = self._start
            else:
                self._end_servers()
                self._launch(self._backend)
                self._settle()

    def _settle(self) -> None:
        if self._copy is not None:
            self._copy.keep()  # what the app itself does when it starts belongs to the starting state
            self._start = self._last = self._copy.read()

    def ask(self, sent: Sent, route: Route | None, moment: str, *, cap_bytes: int, timeout_s: float) -> Asked:
        """Send one request, and find out which rows it wrote."""
        backend = self._backend
        if backend == "new" and (route is None or route.id not in self._options.answered):
            backend = "legacy"
        server = self._servers.get(backend) or self._launch(backend)
        self._number += 1
        number = f"{self.label}-{self._number}"
        is_bodiless = False
        if backend == "new" and route is not None:
            sent, is_bodiless = bent(sent, route)
        began = datetime.now(UTC)
        address = Address(server.base_url)
        observation = send(
            address,
            sent,
            cap_bytes=cap_bytes,
            timeout_s=timeout_s,
            extra=((NUMBER_HEADER, number), (MOMENT_HEADER, moment)),
        )
        if is_bodiless:
            observation = replace(observation, body=Body())
        if observation.raised is not None and server.has_died():
            died = f"{backend} died ({server.epitaph()})"
            raise SideError(f"{died} while it answered {sent.method} {sent.target}", server.log)
        told = server.told(number)
        effects = replace(told.effects or Effects(), rows=self._written(began))
        if effects.outbound:
            effects = replace(effects, outbound=settled(effects.outbound, _window(began)))
        return Asked(replace(observation, effects=effects), told.raised, told.unwatched)

    def _written(self, began: datetime) -> tuple[RowWrite, ...] | None:
        if self._copy is None:
            return None
        if not self._copy.is_touched():
            return ()
        before, self._last = self._last, self._copy.read()
        return written(before, self._last, _window(began))

    def late_rows(self) -> tuple[RowWrite, ...] | None:
        """Return rows written since the last answer, by threads or processes that outlived it."""
        return self._written(datetime.now(UTC))

    def reading(self) -> Reading:
        """Return the last reading of the copy."""
        return self._last

    def abort(self) -> None:
        """Kill the servers, which ends the request that waits for one."""
        for server in list(self._servers.values()):
            server.kill()

    def close(self) -> None:
        """End the servers, throw the copy away."""
        self._end_servers()
        if self._copy is not None:
            self._copy.close()
            self._copy = None

    def _end_servers(self) -> None:
        servers, self._servers = self._servers, {}
        for server in servers.values():
            server.stop()

    def _launch(self, backend: str) -> SideServer:
        options = self._options
        environ = dict(os.environ if options.environ is None else options.environ)
        if options.database is not None and self._copy is not None:
            environ[options.database[0]] = self._copy.url
        self._launches += 1
        log = options.logs / f"{self.label}-{backend}-{self._launches}.log"
        server = SideServer(
            backend, options.config, log, environ, folder=options.folder, frozen=options.frozen
        )
        self._servers[backend] = server
        server.wait_until_ready()
        return server


def _window(began: datetime) -> Window:
    ended = datetime.now(UTC)
    offset = ended.astimezone().utcoffset()
    return Window(began, ended) if offset is None else Window(began, ended, offset)


def bent(sent: Sent, route: Route) -> tuple[Sent, bool]:
    """Return the request as the new route expects it, and whether only the head of its answer counts.

    It is what the gateway does in serving: the new route's own path, and GET where it knows no HEAD.
    """
    if route.new_template is not None:
        path, mark, query = sent.target.partition("?")
        inner = route.new_template.format(route.template.params(unquote(path)))
        sent = replace(sent, target=quote(inner, safe=_PATH_SAFE) + mark + query)
    methods = route.new_route.methods if route.new_route is not None else None
    if sent.method == "HEAD" and methods is not None and "GET" in methods and "HEAD" not in methods:
        return replace(sent, method="GET"), True
    return sent, False
