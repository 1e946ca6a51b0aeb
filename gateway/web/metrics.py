"""Write the metrics in Prometheus' exposition formats. Pure: an overview and its totals in, bytes out.

Counters come from the totals of all workers and never go back; gauges are of the workers that live. Labels
come from the table: what no row takes shares ``route="unmatched"``. This module imports prometheus-client,
and is itself imported with the first scrape.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import choose_encoder

from gateway.rollout.latency import BIN_EDGES_S, BINS_PER_DOUBLING, bin_middle_s

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from gateway.web.reports import Overview

    Sums = Mapping[str, Mapping[str, float]]

NO_ROUTE = "none"
"""The route of what belongs to no request: a block of the event loop by something that runs beside them."""


def _bounds(powers: range) -> dict[int, str]:
    """Return bins that end at a power of two of 10 µs, each with that end in seconds, as it is written."""
    bins = [power * BINS_PER_DOUBLING for power in powers]
    return {number: f"{BIN_EDGES_S[number]:.9g}" for number in bins}


REQUEST_BOUNDS = _bounds(range(4, 23))
"""Where a request's buckets end: 160 µs to 42 s."""

OVERHEAD_BOUNDS = _bounds(range(13))
"""The same of the overhead: 10 µs to 41 ms."""

BREAKER_VALUES = {"closed": 0, "half_open": 1, "open": 2}


@dataclass(frozen=True, slots=True)
class _Count:
    """Be one counter: its name without ``_total``, and the labels that stand in a measure's name."""

    name: str
    text: str
    labels: tuple[str, ...] = ()
    has_route: bool = True


COUNTS = {
    "requests": _Count(
        "gateway_requests", "Responses sent.", ("stage", "method", "backend", "code")
    ),
    "failures": _Count(
        "gateway_failures", "Exceptions and timeouts of a backend, whoever answered then.", ("backend",)
    ),
    "fallbacks": _Count("gateway_fallbacks", "Requests that legacy answered because new had failed."),
    "compared": _Count("gateway_comparisons", "Comparisons by what they came to.", ("result",)),
    "differed": _Count(
        "gateway_differences", "Differences that nobody has accepted, by kind.", ("kind",)
    ),
    "dropped": _Count(
        "gateway_shadow_dropped", "Comparisons that did not come about.", ("reason",), has_route=False
    ),
    "blocks": _Count(
        "gateway_event_loop_blocks", "Times that the event loop stood still, by who held it."
    ),
    "unstored": _Count(
        "gateway_store_dropped", "Entries that the store found no place for.", ("kind",), has_route=False
    ),
    "limited": _Count(
        "gateway_rate_limit_checks",
        "Requests counted against a rate limit, by where: shared, or local while that cannot be reached.",
        ("storage",),
        has_route=False,
    ),
}  # fmt: skip


def render_metrics(overview: Overview, sums: Sums, accept: str) -> tuple[bytes, str]:
    """Return the metrics and their content type, in the format that ``accept`` (the header) asks for.

    ``sums`` are the overview's totals, copied, for this takes long enough to run in a thread.
    """
    encode, content_type = choose_encoder(accept)
    return encode(_Exposition(overview, sums)), content_type


class _Exposition:
    """Be what prometheus-client calls a registry."""

    def __init__(self, overview: Overview, sums: Sums) -> None:
        self._overview = overview
        self._sums = sums

    def collect(self) -> Iterator[Metric]:
        yield from _counters(self._sums)
        yield _request_seconds(self._sums)
        yield _overhead(self._sums.get("", {}))
        yield from _gauges(self._overview)


def _counters(sums: Sums) -> Iterator[Metric]:
    families = {}
    for head, count in COUNTS.items():
        labels = [*(["route"] if count.has_route else ()), *count.labels]
        families[head] = CounterMetricFamily(count.name, count.text, labels=labels)
    for route, values in sums.items():
        for measure, value in values.items():
            head, _, rest = measure.partition(".")
            if head in families:
                count = COUNTS[head]
                texts = rest.split(".", len(count.labels) - 1) if count.labels else []
                families[head].add_metric([*([route or NO_ROUTE] if count.has_route else ()), *texts], value)
    yield from families.values()


def _request_seconds(sums: Sums) -> Metric:
    family = HistogramMetricFamily(
        "gateway_request_seconds",
        "Time from a request's entry to the first message of its response; the sum is made of bins 15% wide.",
        labels=("route", "backend"),
    )
    for route, values in sums.items():
        bins: defaultdict[str, Counter[int]] = defaultdict(Counter)
        for measure, value in values.items():
            head, _, rest = measure.partition(".")
            if head == "seconds":
                backend, _, number = rest.partition(".")
                bins[backend][int(number)] += int(value)
        for backend, counts in sorted(bins.items()):
            sum_s = sum(bin_middle_s(number) * count for number, count in counts.items())
            family.add_metric((route, backend), _buckets(counts, REQUEST_BOUNDS), sum_s)
    return family


def _overhead(values: Mapping[str, float]) -> Metric:
    family = HistogramMetricFamily(
        "gateway_overhead_seconds",
        "What the gateway itself takes of a request, on a sample of those that wait for nothing before.",
    )
    names = {measure.partition(".")[2]: n for measure, n in values.items() if measure.startswith("overhead.")}
    sum_s = names.pop("sum", 0.0)
    counts = Counter({int(number): int(n) for number, n in names.items()})
    family.add_metric((), _buckets(counts, OVERHEAD_BOUNDS), sum_s)
    return family


def _buckets(counts: Mapping[int, int], bounds: Mapping[int, str]) -> list[tuple[str, float]]:
    """Return (upper bound in seconds, answers up to it); the bounds are edges of the bins, so it is exact."""
    left = sorted(counts, reverse=True)
    buckets, up_to = [], 0
    for last, text in bounds.items():
        while left and left[-1] <= last:
            up_to += counts[left.pop()]
        buckets.append((text, float(up_to)))
    return [*buckets, ("+Inf", float(sum(counts.values())))]


def _gauges(overview: Overview) -> Iterator[Metric]:
    report = overview.report
    stages = GaugeMetricFamily(
        "gateway_route_stage", "1 for the stage at which a route is served.", labels=("route", "stage")
    )
    breakers = GaugeMetricFamily(
        "gateway_breaker_state",
        "The breaker of a route towards new: 0 closed, 1 half-open, 2 open, at worst of all workers.",
        labels=("route",),
    )
    for route in report.routes:
        stages.add_metric((route.key, route.states.get("position", route.stage)), 1)
        if "breaker" in route.states:
            breakers.add_metric((route.key,), BREAKER_VALUES.get(route.states["breaker"], 0))
    yield stages
    yield breakers
    yield from _threads(report.threads)
    workers = GaugeMetricFamily("gateway_workers", "Worker processes by state.", labels=("state",))
    states = Counter(worker.state for worker in overview.workers)
    for state in ("starting", "serving", "draining"):
        workers.add_metric((state,), states[state])
    yield workers
    yield _gauge("gateway_config_generation", "Tables that have been in force so far.", report.generation)
    yield _gauge(
        "gateway_config_valid", "0 while the file is refused and the last good table serves.", report.is_valid
    )
    yield _gauge("gateway_ready", "1 while every backend can answer.", report.is_ready)
    yield _gauge("gateway_requests_in_flight", "Requests that are being served.", report.in_flight)
    yield _gauge(
        "gateway_event_loop_lag_seconds",
        "How late the event loop has come to a timer, at worst of all workers in the last seconds.",
        report.lag_s,
    )
    yield CounterMetricFamily(
        "gateway_worker_restarts", "Workers replaced because they ended by themselves.", overview.restarts
    )
    if report.limits:
        yield _gauge(
            "gateway_shared_limits_up", "0 while rate limits are counted locally.", report.limits["is_ok"]
        )
    if report.store:
        yield _gauge("gateway_store_up", "0 while the store cannot be used.", report.store["is_ok"])
        yield _gauge(
            "gateway_store_pending", "Entries that wait to be written.", report.store.get("pending", 0)
        )


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value=float(value))


def _threads(facts: Mapping[str, float]) -> Iterator[Metric]:
    """Tell what the threads of the legacy bridge do; nothing where legacy runs elsewhere."""
    if "busy" not in facts:
        return
    family = GaugeMetricFamily(
        "gateway_legacy_threads",
        "Threads of legacy: busy in a view, stuck in one that was given up and does not return, or free.",
        labels=("state",),
    )
    stuck = facts.get("stuck", 0)
    family.add_metric(("busy",), max(facts["busy"] - stuck, 0))
    family.add_metric(("stuck",), stuck)
    family.add_metric(("free",), max(facts.get("threads", 0) - facts["busy"], 0))
    yield family
    yield _gauge("gateway_legacy_queue_length", "Requests that wait for a thread.", facts.get("queued", 0))
