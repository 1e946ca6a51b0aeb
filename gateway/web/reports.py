"""Say what one worker knows of itself, and merge what many know into one view of the migration.

A report travels as JSON from worker to supervisor once a second; a table of 2,000 rows must not cost the
worker's event loop megabytes each time, so only what changed since the last one is sent
(:class:`ReportSender`, :class:`ReportReceiver`). Pure: values in, values out.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


@dataclass(frozen=True, slots=True)
class RouteReport:
    """Be one route as a worker serves it.

    ``counts`` are answers by ``legacy``, ``new`` and ``gateway``, and comparisons by outcome
    (``compared.matched``, ``compared.waived``, ``compared.mismatched``, ``compared.truncated``).
    ``weight`` and ``sample`` are as the worker words them (``5%``); views are ``file:line``.
    """

    id: str
    key: str
    stage: str
    methods: tuple[str, ...] = ()
    path: str = ""
    weight: str | float | None = None
    sample: str | float | None = None
    owner: str | None = None
    is_listed: bool = True
    legacy_view: str = ""
    new_view: str = ""
    counts: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Report:
    """Be the state of one worker, or of all of them together.

    ``generation`` and ``digest`` name the table in force; ``is_valid`` is False while the file on disk is
    refused (``problems`` says why) and the last good table serves. ``shadow_dropped`` counts comparisons
    that did not come about, by reason; ``shadow_stopped`` names the rows whose second call tried to write,
    with the statement; ``differences`` are the findings, most frequent first.
    """

    generation: int = 0
    digest: str = ""
    is_valid: bool = True
    problems: tuple[str, ...] = ()
    is_ready: bool = True
    reasons: tuple[str, ...] = ()
    routes: tuple[RouteReport, ...] = ()
    threads: Mapping[str, Any] = field(default_factory=dict)
    backends: Mapping[str, str] = field(default_factory=dict)
    shadow_dropped: Mapping[str, int] = field(default_factory=dict)
    shadow_stopped: Mapping[str, str] = field(default_factory=dict)
    differences: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class WorkerState:
    """Be one worker as the supervisor sees it; ``uptime_s`` counts from its readiness."""

    slot: int
    pid: int
    state: str
    uptime_s: float = 0.0
    generation: int = 0
    digest: str = ""
    is_valid: bool = True
    is_ready: bool = True


@dataclass(frozen=True, slots=True)
class Overview:
    """Be what the admin listener shows: the workers, and what they know, merged.

    ``folder`` is the working directory, below which files are named without it; times are Unix seconds.
    """

    report: Report
    workers: tuple[WorkerState, ...] = ()
    address: str = ""
    config: str = ""
    folder: str = ""
    started_at: float = 0.0
    restarts: int = 0

    @property
    def is_uniform(self) -> bool:
        """Tell whether every serving worker has the same table in force."""
        return len({worker.digest for worker in self.workers if worker.state == "serving"}) <= 1


def parse_report(data: Mapping[str, Any]) -> Report:
    """Return the report that a worker's JSON object holds; missing keys take their defaults."""
    return Report(
        generation=int(data.get("generation", 0)),
        digest=str(data.get("digest", "")),
        is_valid=bool(data.get("is_valid", True)),
        problems=tuple(map(str, data.get("problems", ()))),
        is_ready=bool(data.get("is_ready", True)),
        reasons=tuple(map(str, data.get("reasons", ()))),
        routes=tuple(_parse_route(route) for route in data.get("routes", ())),
        threads=dict(data.get("threads") or {}),
        backends={str(name): str(value) for name, value in (data.get("backends") or {}).items()},
        shadow_dropped=dict(data.get("shadow_dropped") or {}),
        shadow_stopped=dict(data.get("shadow_stopped") or {}),
        differences=tuple(data.get("differences") or ()),
    )


def _parse_route(data: Mapping[str, Any]) -> RouteReport:
    return RouteReport(
        id=str(data["id"]),
        key=str(data["key"]),
        stage=str(data["stage"]),
        methods=tuple(data.get("methods") or ()),
        path=str(data.get("path", "")),
        weight=data.get("weight"),
        sample=data.get("sample"),
        owner=data.get("owner"),
        is_listed=bool(data.get("is_listed", True)),
        legacy_view=str(data.get("legacy_view") or ""),
        new_view=str(data.get("new_view") or ""),
        counts=dict(data.get("counts") or {}),
    )


def merge_reports(reports: Iterable[Report]) -> Report:
    """Return one report for all workers: newest table, counts summed, every trouble named."""
    reports = tuple(reports)
    if not reports:
        return Report(is_ready=False, reasons=("no worker has reported yet",))
    newest = max(reports, key=lambda report: report.generation)
    totals: dict[str, Counter[str]] = {}
    for report in reports:
        for route in report.routes:
            totals.setdefault(route.id, Counter()).update(route.counts)
    threads: Counter[str] = Counter()
    for report in reports:
        threads.update({name: n for name, n in report.threads.items() if isinstance(n, int | float)})
    return replace(
        newest,
        is_valid=all(report.is_valid for report in reports),
        problems=tuple(dict.fromkeys(problem for report in reports for problem in report.problems)),
        is_ready=all(report.is_ready for report in reports),
        reasons=tuple(dict.fromkeys(reason for report in reports for reason in report.reasons)),
        routes=tuple(replace(route, counts=dict(totals[route.id])) for route in newest.routes),
        threads=dict(threads),
        shadow_dropped=_summed(report.shadow_dropped for report in reports),
        shadow_stopped={row: why for report in reports for row, why in report.shadow_stopped.items()},
        differences=_merge_differences(reports),
    )


def _summed(counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for each in counts:
        total.update(each)
    return dict(total)


def _merge_differences(reports: Iterable[Report]) -> tuple[Mapping[str, Any], ...]:
    """Add up the findings of one signature (route, kind, place), most frequent first."""
    merged: dict[tuple[str, str, str], dict[str, Any]] = {}
    for report in reports:
        for finding in report.differences:
            known = merged.setdefault(
                (finding["route"], finding["kind"], finding["place"]), {**finding, "count": 0, "waived": 0}
            )
            known["count"] += finding["count"]
            known["waived"] += finding["waived"]
            known["first"] = min(known["first"], finding["first"])
            known["last"] = max(known["last"], finding["last"])
    return tuple(sorted(merged.values(), key=lambda finding: -finding["count"]))


class ReportSender:
    """Turn each full report of a worker into the smallest message that brings the other side up to date."""

    def __init__(self) -> None:
        self._facts: dict[str, Any] | None = None
        self._rows: list[dict[str, Any]] = []
        self._counts: dict[str, Mapping[str, int]] = {}

    def changes(self, report: Mapping[str, Any]) -> dict[str, Any]:
        """Return ``facts``, ``rows`` and ``counts`` that differ from the last report's; maybe none."""
        facts = {name: value for name, value in report.items() if name != "routes"}
        routes = report.get("routes", ())
        rows = [{name: value for name, value in route.items() if name != "counts"} for route in routes]
        counts: dict[str, Mapping[str, int]] = {
            route["id"]: dict(route.get("counts") or {}) for route in routes
        }
        message: dict[str, Any] = {}
        if facts != self._facts:
            message["facts"] = facts
        if rows != self._rows:
            message["rows"] = rows
            message["counts"] = counts
        else:
            changed = {id_: count for id_, count in counts.items() if self._counts.get(id_) != count}
            if changed:
                message["counts"] = changed
        self._facts, self._rows, self._counts = facts, rows, counts
        return message


class ReportReceiver:
    """Rebuild a worker's latest report from the changes that it sends."""

    def __init__(self) -> None:
        self._facts: Mapping[str, Any] = {}
        self._rows: list[Mapping[str, Any]] = []
        self._counts: dict[str, Mapping[str, int]] = {}
        self.has_report = False

    def apply(self, message: Mapping[str, Any]) -> None:
        """Take one message of :meth:`ReportSender.changes`."""
        self.has_report = True
        self._facts = message.get("facts", self._facts)
        if "rows" in message:
            self._rows = message["rows"]
            self._counts = {}
        self._counts.update(message.get("counts", {}))

    @property
    def report(self) -> Report:
        """Return the report as of the last message."""
        routes = [{**row, "counts": self._counts.get(row["id"], {})} for row in self._rows]
        return parse_report({**self._facts, "routes": routes})
