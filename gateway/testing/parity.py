"""Send one request to both implementations, hold the answers together, return control's.

Law: the two sides never see each other's cookies, and a difference that nobody accepted ends the test. The
rules are those of the row, with what the test's own markers add.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast
from urllib.parse import urlsplit

import httpx

from gateway.compare.engine import compare, terms_for
from gateway.compare.observation import Body, RequestRecord
from gateway.compare.pairing import Pairing
from gateway.compare.rows import KeyMap
from gateway.errors import GatewayError
from gateway.testing.complaint import complaint

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gateway.compare.difference import Comparison
    from gateway.compare.engine import Terms
    from gateway.compare.observation import Observation
    from gateway.compare.redaction import Redactor
    from gateway.table.route import Route
    from gateway.table.spec import CompareRule
    from gateway.testing.sides import Side, Sides

T = TypeVar("T")


class ParityError(AssertionError, GatewayError):
    """Report that the two implementations answered one request differently."""


class Answer(httpx.Response):
    """Be control's answer. ``candidate`` is what new answered, ``comparison`` how the two differ."""

    candidate: httpx.Response
    comparison: Comparison

    def both(self, read: Callable[[httpx.Response], T]) -> Both[T]:
        """Return what ``read`` finds in either answer, to be sent back to the side that gave it out."""
        return Both(read(self), read(self.candidate))


@dataclass(frozen=True, slots=True)
class Both(Generic[T]):
    """Hold one value for each side; :class:`Parity` sends each side its own."""

    control: T
    candidate: T


class _Transport(httpx.BaseTransport):
    """Be the wire between a client and one side, and keep what went over it last."""

    def __init__(self, sides: Sides, side: Side) -> None:
        self._sides = sides
        self._side: Side = side
        self.record: RequestRecord | None = None
        self.observation: Observation | None = None

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        record = RequestRecord(
            request.method,
            str(request.url.copy_with(fragment=None)),
            tuple(request.headers.raw),
            Body.of(request.read()),
        )
        observation = self._sides.ask(self._side, record)
        self.record, self.observation = record, observation
        return Answer(
            observation.status,
            headers=list(observation.headers),
            content=observation.body.captured,
            request=request,
        )


class Parity:
    """Ask both implementations; each has a client, and so cookies, of its own.

    ``control`` and ``candidate`` are these clients, for requests that only one side is to get.
    """

    def __init__(
        self,
        sides: Sides,
        *,
        redactor: Redactor,
        rules: Sequence[CompareRule] = (),
        base_url: str = "http://localhost",
    ) -> None:
        self._sides = sides
        self._redactor = redactor
        self._rules = tuple(rules)
        self._base_url = base_url.rstrip("/")
        self._wires = (_Transport(sides, "legacy"), _Transport(sides, "new"))
        self.control, self.candidate = (
            httpx.Client(transport=wire, base_url=base_url, headers={"user-agent": "gateway-parity"})
            for wire in self._wires
        )
        self._pairing = Pairing()
        self._keys = KeyMap()
        self._terms: dict[str, Terms] = {}
        self.comparisons: list[tuple[str, Comparison]] = []
        """Every comparison of this test, with the row's key, in order."""

    def request(
        self, method: str, url: str | Both[str], *, is_compared: bool = True, **options: Any
    ) -> Answer:
        """Send a request to both sides and return control's answer.

        ``options`` are those of :meth:`httpx.Client.request`; any of them, and the values in them, may be a
        :class:`Both`. Redirects are answers and are not followed. With ``is_compared=False`` a
        difference is only noted in the answer's ``comparison``.

        Raises:
            ParityError: the sides differ in a way that no rule accepts.
        """
        __tracebackhide__ = True
        answers = [
            cast("Answer", client.request(method, _part(url, side), **_part(options, side)))
            for side, client in enumerate((self.control, self.candidate))
        ]
        record, control = _seen(self._wires[0])
        _, candidate = _seen(self._wires[1])
        control, candidate = (self._sides.session_cookies.read(each) for each in (control, candidate))
        route = self._sides.route_of(record)
        terms = self._terms_of(route)
        if control.effects.rows and candidate.effects.rows:
            rows = self._keys.align(control.effects.rows, candidate.effects.rows, self._sides.tables)
            candidate = replace(candidate, effects=replace(candidate.effects, rows=rows))
        comparison = compare(control, candidate, terms, method=method, pairing=self._pairing)
        self._pairing = comparison.pairing
        answer = answers[0]
        answer.candidate, answer.comparison = answers[1], comparison
        if is_compared:
            self.comparisons.append((route.key if route is not None else _path(record), comparison))
            if not comparison.is_same:
                text = complaint(record, route, comparison, (control, candidate), terms, self._redactor)
                raise ParityError(text)
        return answer

    async def request_async(self, method: str, url: str | Both[str], **options: Any) -> Answer:
        """Do what :meth:`request` does without keeping the test's event loop waiting."""
        __tracebackhide__ = True
        return await asyncio.to_thread(self.request, method, url, **options)

    def get(self, url: str | Both[str], **options: Any) -> Answer:
        """Send a GET request; see :meth:`request`."""
        __tracebackhide__ = True
        return self.request("GET", url, **options)

    def head(self, url: str | Both[str], **options: Any) -> Answer:
        """Send a HEAD request; see :meth:`request`."""
        __tracebackhide__ = True
        return self.request("HEAD", url, **options)

    def options(self, url: str | Both[str], **options: Any) -> Answer:
        """Send an OPTIONS request; see :meth:`request`."""
        __tracebackhide__ = True
        return self.request("OPTIONS", url, **options)

    def post(self, url: str | Both[str], **options: Any) -> Answer:
        """Send a POST request; see :meth:`request`."""
        __tracebackhide__ = True
        return self.request("POST", url, **options)

    def put(self, url: str | Both[str], **options: Any) -> Answer:
        """Send a PUT request; see :meth:`request`."""
        __tracebackhide__ = True
        return self.request("PUT", url, **options)

    def patch(self, url: str | Both[str], **options: Any) -> Answer:
        """Send a PATCH request; see :meth:`request`."""
        __tracebackhide__ = True
        return self.request("PATCH", url, **options)

    def delete(self, url: str | Both[str], **options: Any) -> Answer:
        """Send a DELETE request; see :meth:`request`."""
        __tracebackhide__ = True
        return self.request("DELETE", url, **options)

    def idle_rules(self) -> tuple[CompareRule, ...]:
        """Return the test's own rules that met nothing in any of its comparisons."""
        met = {
            count.rule
            for _, comparison in self.comparisons
            for count in comparison.rule_counts
            if count.places or count.waived
        }
        return tuple(rule for rule in self._rules if rule not in met)

    def close(self) -> None:
        """Close both clients."""
        self.control.close()
        self.candidate.close()

    def _terms_of(self, route: Route | None) -> Terms:
        key = route.id if route is not None else ""
        if key not in self._terms:
            table = self._sides.snapshot.spec
            row = route.spec if route is not None else table.implicit
            self._terms[key] = terms_for(
                replace(row, compare=(*row.compare, *self._rules)),
                table.compare,
                today=datetime.now(UTC).date(),
                base_urls=(self._base_url, self._base_url),
                redactor=self._redactor,
            )
        return self._terms[key]


def _part(value: Any, side: int) -> Any:
    """Return ``value`` as one side gets it (0: control, 1: candidate)."""
    if isinstance(value, Both):
        return value.candidate if side else value.control
    if isinstance(value, dict):
        return {_part(key, side): _part(each, side) for key, each in value.items()}
    if type(value) in (list, tuple):
        return type(value)(_part(each, side) for each in value)
    return value


def _seen(wire: _Transport) -> tuple[RequestRecord, Observation]:
    assert wire.record is not None, "a client that answered has sent something"  # noqa: S101 - an invariant, for the type checker
    assert wire.observation is not None, "what was sent was answered"  # noqa: S101 - the same
    return wire.record, wire.observation


def _path(record: RequestRecord) -> str:
    return f"{record.method} {urlsplit(record.url).path}"
