"""Say what one worker knows of itself, and merge what many know into one view of the migration.

A report travels as JSON from worker to supervisor once a second (:mod:`gateway.web.report_changes`). Pure:
values in, values out.

A report is a dictionary of facts, ``routes`` and ``measures``. Each route has, besides what its row says,
``counts`` (:class:`RouteReport`) and ``states``: words that change while the table stays,

    position      the stage that the route is served at, where that is another than the file's
    breaker       ``closed``, ``half_open`` or ``open``; without one, the route has none

``measures`` only ever grow while a worker lives; :class:`~gateway.web.totals.Totals` adds them up over all
workers. They go by the route's canonical key, ``unmatched`` for what no row takes, and the empty text for
the worker as a whole; their names are

    requests.STAGE.METHOD.BACKEND.STATUS    responses sent
    seconds.BACKEND.BIN                     the same by time (bins of :mod:`gateway.rollout.latency`)
    failures.BACKEND, fallbacks             exceptions and timeouts; answers of legacy for new
    compared.OUTCOME, differed.KIND         comparisons; findings of a kind that nobody accepted, each time
    blocks                                  times that the event loop was held
    overhead.BIN, overhead.sum              the gateway's own time on sampled requests; its sum in seconds
    dropped.REASON                          comparisons that did not come about
    unstored.KIND                           entries that the store found no place for
    limited.shared, limited.local           requests counted against a limit, by where they were counted
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from gateway.web.totals import Totals

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


@dataclass(frozen=True, slots=True)
class RouteReport:
    """Be one route as a worker serves it.

    ``counts`` are answers by ``legacy``, ``new`` and ``gateway``, and comparisons by outcome
    (``compared.matched``, ``compared.waived``, ``compared.mismatched``, ``compared.truncated``).
    ``weight`` and ``sample`` are as the worker words them (``5%``); views are ``file:line``. ``states`` are
    the words of this module's head.
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
    states: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Report:
    """Be the state of one worker, or of all of them together.

    ``generation`` and ``digest`` name the table in force; ``is_valid`` is False while the file on disk is
    refused (``problems`` says why) and the last good table serves. ``shadow_dropped`` counts comparisons
    that did not come about, by reason; ``shadow_stopped`` names the rows that are compared no more, and why,
    with the statement; ``differences`` are the findings, most frequent first. ``lag_s`` is how long the
    event loop has kept a timer waiting, at worst in the last seconds. ``limits`` and ``store`` say how the
    shared rate limits and the store do (``is_ok``, ``reason`` and numbers); empty where there are none.
    ``breakers`` says which routes' breakers are not closed and why, by route id, and in how many ``workers``.
    ``receivers`` says how each receiver of events does (:meth:`gateway.rollout.webhooks.Webhooks.report`).
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
    in_flight: int = 0
    lag_s: float = 0.0
    limits: Mapping[str, Any] = field(default_factory=dict)
    store: Mapping[str, Any] = field(default_factory=dict)
    breakers: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    receivers: tuple[Mapping[str, Any], ...] = ()


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

    ``totals`` are the measures of all workers, those that are gone included.
    ``folder`` is the working directory, below which files are named without it; times are Unix seconds.
    """

    report: Report
    workers: tuple[WorkerState, ...] = ()
    address: str = ""
    config: str = ""
    folder: str = ""
    started_at: float = 0.0
    restarts: int = 0
    totals: Totals = field(default_factory=Totals)

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
        in_flight=int(data.get("in_flight", 0)),
        lag_s=float(data.get("lag_s", 0.0)),
        limits=dict(data.get("limits") or {}),
        store=dict(data.get("store") or {}),
        breakers=dict(data.get("breakers") or {}),
        receivers=tuple(data.get("receivers") or ()),
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
        states=dict(data.get("states") or {}),
    )


def merge_reports(reports: Iterable[Report]) -> Report:
    """Return one report for all workers: newest table, counts summed, every trouble named."""
    reports = tuple(reports)
    if not reports:
        return Report(is_ready=False, reasons=("no worker has reported yet",))
    newest = max(reports, key=lambda report: report.generation)
    totals: dict[str, Counter[str]] = {}
    breakers: dict[str, set[str]] = {}
    for report in reports:
        for route in report.routes:
            totals.setdefault(route.id, Counter()).update(route.counts)
            breakers.setdefault(route.id, set()).add(route.states.get("breaker", ""))
    threads: Counter[str] = Counter()
    for report in reports:
        threads.update({name: n for name, n in report.threads.items() if isinstance(n, int | float)})
    return replace(
        newest,
        is_valid=all(report.is_valid for report in reports),
        problems=tuple(dict.fromkeys(problem for report in reports for problem in report.problems)),
        is_ready=all(report.is_ready for report in reports),
        reasons=tuple(dict.fromkeys(reason for report in reports for reason in report.reasons)),
        routes=tuple(
            replace(
                route,
                counts=dict(totals[route.id]),
                states={**route.states, **_worst_breaker(breakers[route.id])},
            )
            for route in newest.routes
        ),
        threads=dict(threads),
        shadow_dropped=_summed(report.shadow_dropped for report in reports),
        shadow_stopped={row: why for report in reports for row, why in report.shadow_stopped.items()},
        differences=_merge_differences(reports),
        in_flight=sum(report.in_flight for report in reports),
        lag_s=max(report.lag_s for report in reports),
        limits=_merge_health([report.limits for report in reports]),
        store=_merge_health([report.store for report in reports]),
        breakers=_merge_breakers(reports),
        receivers=next((report.receivers for report in reports if report.receivers), ()),
    )


def _worst_breaker(states: set[str]) -> dict[str, str]:
    return next(({"breaker": state} for state in ("open", "half_open", "closed") if state in states), {})


def _merge_health(parts: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Add up the numbers; it is well where it is well everywhere, and the first trouble is named."""
    parts = [part for part in parts if part]
    if not parts:
        return {}
    numbers: Counter[str] = Counter()
    for part in parts:
        numbers.update({name: n for name, n in part.items() if type(n) in (int, float)})
    return {
        **parts[0],
        **numbers,
        "is_ok": all(part.get("is_ok", True) for part in parts),
        "reason": next((part["reason"] for part in parts if part.get("reason")), ""),
    }


def _summed(counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for each in counts:
        total.update(each)
    return dict(total)


def _merge_breakers(reports: Iterable[Report]) -> dict[str, dict[str, Any]]:
    """Return each route's breaker in its worst state, and in how many workers it is not closed."""
    merged: dict[str, dict[str, Any]] = {}
    for report in reports:
        for route_id, breaker in report.breakers.items():
            known = merged.get(route_id, {"workers": 0})
            worst = known if known.get("state") == "open" else {**known, **breaker}
            merged[route_id] = {**worst, "workers": known["workers"] + (breaker.get("state") != "closed")}
    return merged


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
