"""Hold the compiled table: one :class:`Route` a row, one :class:`Snapshot` a generation.

Everything here is immutable and built once per load, so that a request does nothing that could
have been done before it came.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from gateway.table.spec import Stage

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.errors import Problem
    from gateway.table.inventory import LegacyRule, NewRoute
    from gateway.table.spec import RouteSpec, TableSpec
    from gateway.table.template import Template


@dataclass(frozen=True, slots=True, eq=False)
class Route:
    """Be one row compiled: what it says, which legacy rules it claims, which new route answers it.

    ``id`` is the first 12 hexadecimal digits of SHA-256 of the canonical key. ``methods`` is None
    for a row that takes ANY method. An implicit row (``is_listed`` False) stands for a rule of the
    legacy app that the table does not list; its ``spec`` carries the table's defaults at stage legacy.
    Routes compare by identity: two generations never share one.
    """

    id: str
    key: str
    methods: frozenset[str] | None
    template: Template
    spec: RouteSpec
    is_listed: bool
    is_websocket: bool = False
    legacy_rules: tuple[LegacyRule, ...] = ()
    new_route: NewRoute | None = None
    new_template: Template | None = None

    def is_safe(self, method: str) -> bool:
        """Tell whether ``method`` on this row writes nothing: what the row says, else GET and HEAD."""
        if self.spec.safe is not None:
            return self.spec.safe
        return method in ("GET", "HEAD")

    def is_compared(self, method: str) -> bool:
        """Tell whether a sample of ``method`` is compared: it writes nothing, or is rehearsed."""
        if not self.spec.sample_bp:
            return False
        is_rehearsed = self.spec.writes == "rehearse" and self.spec.stage is not Stage.NEW
        return self.is_safe(method) or is_rehearsed


class Matcher(Protocol):
    """Find the route of a request; see :mod:`gateway.table.match`."""

    def match(self, method: str, path: str) -> Route | None:
        """Return the most specific route that takes ``method`` on the decoded ``path``, or None."""
        ...

    def routes_at(self, path: str) -> tuple[Route, ...]:
        """Return every route whose template takes ``path``, whatever its methods, best first."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Snapshot:
    """Be one immutable generation of the compiled table. A request sees exactly one, start to finish."""

    generation: int
    spec: TableSpec
    routes: tuple[Route, ...]
    matcher: Matcher
    websocket_matcher: Matcher
    warnings: tuple[Problem, ...] = ()
    by_id: Mapping[str, Route] = field(default_factory=dict)
