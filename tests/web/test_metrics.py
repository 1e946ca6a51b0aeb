"""What /metrics says parses, is of the table only, and adds up."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from gateway.rollout.latency import bin_of
from gateway.web.admin import create_admin
from gateway.web.metrics import render_metrics
from gateway.web.reports import Overview, Report, RouteReport, WorkerState
from gateway.web.totals import Totals
from tests.running import running

if TYPE_CHECKING:
    from collections.abc import Iterable

OPENMETRICS = "application/openmetrics-text; version=1.0.0"

MEASURES: dict[str, dict[str, float]] = {
    'GET /a/{name:regex("\\d+")}': {
        "requests.canary.GET.new.200": 90,
        "requests.canary.GET.legacy.200": 9,
        "requests.legacy.HEAD.legacy.404": 1,
        f"seconds.new.{bin_of(0.001)}": 80,
        f"seconds.new.{bin_of(3.0)}": 9,
        f"seconds.new.{bin_of(1000.0)}": 1,
        "failures.new": 2,
        "fallbacks": 1,
        "blocks": 3,
        "compared.matched": 40,
        "differed.json.value": 2,
    },
    "unmatched": {"requests.none.other.legacy.404": 7},
    "": {
        f"overhead.{bin_of(0.000004)}": 5,
        "overhead.sum": 0.00002,
        "dropped.queue full": 4,
        "limited.shared": 11,
        "unstored.event": 1,
        "blocks": 1,
    },
}
REPORT = Report(
    generation=7,
    is_valid=False,
    routes=(
        RouteReport("0123456789ab", "GET /a", "shadow", states={"position": "canary", "breaker": "open"}),
        RouteReport("ba9876543210", "GET /b", "new"),
    ),
    threads={"threads": 16, "busy": 5, "stuck": 2, "queued": 3},
    in_flight=6,
    lag_s=0.25,
    limits={"is_ok": False, "reason": "it is down"},
    store={"is_ok": True, "reason": "", "pending": 2},
)
NAMES = {
    "gateway_requests",
    "gateway_request_seconds",
    "gateway_overhead_seconds",
    "gateway_comparisons",
    "gateway_differences",
    "gateway_shadow_dropped",
    "gateway_fallbacks",
    "gateway_breaker_state",
    "gateway_legacy_threads",
    "gateway_route_stage",
    "gateway_config_generation",
    "gateway_config_valid",
    "gateway_event_loop_lag_seconds",
}


def overview() -> Overview:
    totals = Totals()
    for label, values in MEASURES.items():
        for name, value in values.items():
            totals.add(label, name, value)
    workers = (WorkerState(0, 41, "serving"), WorkerState(1, 42, "draining"))
    return Overview(REPORT, workers, restarts=3, totals=totals)


def read(text: str, parse: Any = parse_text) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Return every sample by name and labels."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in parse(text)
        for sample in family.samples
    }


def rendered(accept: str = "") -> str:
    shown = overview()
    return render_metrics(shown, shown.totals.snapshot(), accept)[0].decode()


def of(samples: dict[Any, float], name: str, **labels: str) -> float:
    return samples[name, frozenset(labels.items())]


@pytest.mark.parametrize(
    ("accept", "parse"), [("", parse_text), (OPENMETRICS, parse_openmetrics)], ids=["text", "openmetrics"]
)
def test_every_promised_metric_is_there_and_parses(accept: str, parse: Any) -> None:
    text = rendered(accept)
    families: Iterable[Any] = list(parse(text))
    assert {family.name for family in families} >= NAMES
    assert all(family.documentation for family in families)
    assert all(family.samples for family in families)
    if parse is parse_openmetrics:
        assert read(text, parse) == read(rendered())


def test_the_documentation_names_every_metric_and_no_other() -> None:
    page = (Path(__file__).parents[2] / "docs" / "operating.md").read_text("utf-8")
    section = page.partition("\n## Metrics\n")[2].partition("\n## ")[0]
    totals = {
        f"{family.name}_total" if family.type == "counter" else family.name
        for family in parse_text(rendered())
    }
    assert set(re.findall(r"\bgateway_[a-z_]+", section)) == totals


def test_counters_carry_the_labels_that_are_promised() -> None:
    samples = read(rendered())
    route = 'GET /a/{name:regex("\\d+")}'
    canary = {"route": route, "stage": "canary", "method": "GET", "code": "200"}
    assert of(samples, "gateway_requests_total", backend="new", **canary) == 90
    assert of(samples, "gateway_requests_total", backend="legacy", **canary) == 9
    assert of(samples, "gateway_comparisons_total", route=route, result="matched") == 40
    assert of(samples, "gateway_differences_total", route=route, kind="json.value") == 2
    assert of(samples, "gateway_fallbacks_total", route=route) == 1
    assert of(samples, "gateway_failures_total", route=route, backend="new") == 2
    assert of(samples, "gateway_shadow_dropped_total", reason="queue full") == 4
    assert of(samples, "gateway_event_loop_blocks_total", route="none") == 1
    assert of(samples, "gateway_rate_limit_checks_total", storage="shared") == 11
    assert of(samples, "gateway_store_dropped_total", kind="event") == 1
    assert of(samples, "gateway_worker_restarts_total") == 3


def test_buckets_are_cumulative_and_count_what_is_slower_than_the_last_bound() -> None:
    samples = read(rendered())
    route = 'GET /a/{name:regex("\\d+")}'
    bounds = {
        dict(labels)["le"]: value
        for (name, labels), value in samples.items()
        if name == "gateway_request_seconds_bucket" and ("backend", "new") in labels
    }
    values = list(bounds.values())
    assert values == sorted(values)
    assert bounds["0.00064"] == 0
    assert bounds["0.00128"] == 80
    assert bounds["2.62144"] == 80
    assert bounds["5.24288"] == 89
    assert bounds["+Inf"] == 90
    assert of(samples, "gateway_request_seconds_count", route=route, backend="new") == 90
    total_s = of(samples, "gateway_request_seconds_sum", route=route, backend="new")
    assert total_s == pytest.approx(0.08 + 27 + 1000, rel=0.072)


def test_the_sum_of_the_overhead_is_exact() -> None:
    samples = read(rendered())
    assert of(samples, "gateway_overhead_seconds_sum") == 0.00002
    assert of(samples, "gateway_overhead_seconds_bucket", le="1e-05") == 5


def test_gauges_follow_the_living_workers() -> None:
    samples = read(rendered())
    assert of(samples, "gateway_route_stage", route="GET /a", stage="canary") == 1
    assert ("gateway_route_stage", frozenset({("route", "GET /a"), ("stage", "shadow")})) not in samples
    assert of(samples, "gateway_breaker_state", route="GET /a") == 2
    assert {
        state: of(samples, "gateway_legacy_threads", state=state) for state in ("busy", "stuck", "free")
    } == {"busy": 3, "stuck": 2, "free": 11}
    assert of(samples, "gateway_legacy_queue_length") == 3
    assert of(samples, "gateway_config_generation") == 7
    assert of(samples, "gateway_config_valid") == 0
    assert of(samples, "gateway_event_loop_lag_seconds") == 0.25
    assert of(samples, "gateway_workers", state="serving") == 1
    assert of(samples, "gateway_shared_limits_up") == 0
    assert of(samples, "gateway_store_up") == 1


def test_nothing_but_an_empty_report_still_parses() -> None:
    text = render_metrics(Overview(Report()), {}, OPENMETRICS)[0].decode()
    samples = read(text, parse_openmetrics)
    assert of(samples, "gateway_config_valid") == 1
    assert of(samples, "gateway_overhead_seconds_count") == 0


def test_a_scrape_needs_the_token_and_gets_the_format_it_asks_for() -> None:
    with running(create_admin(overview, "secret"), lifespan="off") as url:
        assert httpx.get(f"{url}/metrics").status_code == 401
        bearer = {"Authorization": "Bearer secret"}
        plain = httpx.get(f"{url}/metrics", headers=bearer)
        assert plain.headers["content-type"].startswith("text/plain; version=")
        assert read(plain.text) == read(rendered())
        modern = httpx.get(f"{url}/metrics", headers={**bearer, "Accept": OPENMETRICS})
        assert modern.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
        assert modern.text.endswith("# EOF\n")
