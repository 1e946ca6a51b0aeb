"""Send a worker's report as what has changed in it, and put it together again on the other side.

A report is made once a second; a table of 2,000 rows must not cost the worker's event loop megabytes each
time. What a report holds is said in :mod:`gateway.web.reports`. Pure: values in, values out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gateway.web.reports import Report, parse_report
from gateway.web.totals import Totals

if TYPE_CHECKING:
    from collections.abc import Mapping

_APART = ("routes", "measures")
_CHANGING = ("counts", "states")
"""What of a route changes while its row stays, and is sent apart."""


class ReportSender:
    """Turn each full report of a worker into the smallest message that brings the other side up to date."""

    def __init__(self) -> None:
        self._facts: dict[str, Any] | None = None
        self._routes: list[Mapping[str, Any]] = []
        self._measures: dict[str, Mapping[str, float]] = {}

    def changes(self, report: Mapping[str, Any]) -> dict[str, Any]:
        """Return what differs from the last report's; maybe nothing.

        ``facts`` are all of them, ``changed`` those that are not as they were; ``rows``, ``counts`` and
        ``states`` belong to routes; ``measures`` hold the names that have grown.
        """
        message = self._facts_of({name: value for name, value in report.items() if name not in _APART})
        message |= self._routes_of(list(report.get("routes", ())))
        grown = {}
        measures: Mapping[str, Mapping[str, float]] = report.get("measures", {})
        for label, sums in measures.items():
            before = self._measures.get(label, {})
            if sums is not before:
                self._measures[label] = sums
                if names := {name: n for name, n in sums.items() if before.get(name) != n}:
                    grown[label] = names
        return {**message, "measures": grown} if grown else message

    def _routes_of(self, routes: list[Mapping[str, Any]]) -> dict[str, Any]:
        before, self._routes = self._routes, routes
        if len(before) != len(routes) or any(
            now is not then and _row(now) != _row(then) for now, then in zip(routes, before, strict=True)
        ):
            changing = {name: {route["id"]: route.get(name, {}) for route in routes} for name in _CHANGING}
            return {"rows": [_row(route) for route in routes], **changing}
        message = {}
        changed = [pair for pair in zip(routes, before, strict=True) if pair[0] is not pair[1]]
        for name in _CHANGING:
            values = {
                now["id"]: now.get(name, {})
                for now, then in changed
                if now.get(name, {}) != then.get(name, {})
            }
            if values:
                message[name] = values
        return message

    def _facts_of(self, facts: dict[str, Any]) -> dict[str, Any]:
        before, self._facts = self._facts, facts
        if before is None or before.keys() != facts.keys():
            return {"facts": facts}
        changed = {name: value for name, value in facts.items() if before[name] != value}
        return {"changed": changed} if changed else {}


def _row(route: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in route.items() if name not in _CHANGING}


class ReportReceiver:
    """Rebuild a worker's latest report from the changes that it sends; add what has grown to ``totals``."""

    def __init__(self, totals: Totals | None = None) -> None:
        self._totals = Totals() if totals is None else totals
        self._facts: Mapping[str, Any] = {}
        self._rows: list[Mapping[str, Any]] = []
        self._changing: dict[str, dict[str, Mapping[str, Any]]] = {name: {} for name in _CHANGING}
        self._measures: dict[str, dict[str, float]] = {}
        self.has_report = False

    def apply(self, message: Mapping[str, Any]) -> None:
        """Take one message of :meth:`ReportSender.changes`."""
        self.has_report = self.has_report or "facts" in message
        self._facts = {**message.get("facts", self._facts), **message.get("changed", {})}
        if "rows" in message:
            self._rows = message["rows"]
            self._changing = {name: {} for name in _CHANGING}
        for name in _CHANGING:
            self._changing[name].update(message.get(name, {}))
        for label, values in message.get("measures", {}).items():
            known = self._measures.setdefault(label, {})
            for name, value in values.items():
                self._totals.add(label, name, value - known.get(name, 0))
                known[name] = value

    @property
    def report(self) -> Report:
        """Return the report as of the last message."""
        routes = [
            {**row, **{name: self._changing[name].get(row["id"], {}) for name in _CHANGING}}
            for row in self._rows
        ]
        return parse_report({**self._facts, "routes": routes})
