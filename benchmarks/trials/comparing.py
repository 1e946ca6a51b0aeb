"""Measure the comparison engine against ``json.loads`` of both answers, which any comparison pays."""

from __future__ import annotations

import json
from time import process_time
from typing import TYPE_CHECKING, Any

from benchmarks.findings import Chapter, Finding, at_most

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.race import Bench
    from gateway.compare import Observation

SIZE_BYTES = 100 * 1024
CALLS = 20


def measure(bench: Bench) -> Chapter:
    """Return what comparing equal and unequal answers costs, by processor time, in this process."""
    from gateway.compare import compare

    body = payload()
    control, same, other = (observe(data) for data in (body, body, changed(body)))
    texts = body, changed(body)
    respelled = observe(json.dumps(json.loads(body), indent=1).encode())
    nameless = [{f"_{name}": value for name, value in order.items()} for order in json.loads(body)]
    plain = observe(json.dumps(nameless[:-1]).encode())
    shifted = observe(json.dumps(nameless[1:]).encode())
    rewritten = observe(json.dumps([order | {"_status": "open"} for order in nameless[1:]]).encode())
    equal, spelled, unequal, moved, everywhere = [], [], [], [], []
    for _ in range(bench.rounds):
        parsing_s = _time_s(lambda: [json.loads(text) for text in texts])
        equal.append(_time_s(lambda: compare(control, same)) / parsing_s)
        spelled.append(_time_s(lambda: compare(control, respelled)) / parsing_s)
        unequal.append(_time_s(lambda: compare(control, other)) / parsing_s)
        moved.append(_time_s(lambda: compare(plain, shifted)) / parsing_s)
        everywhere.append(_time_s(lambda: compare(plain, rewritten)) / parsing_s)
    return Chapter(
        f"Comparing two JSON answers of {SIZE_BYTES // 1024} KiB",
        (
            Finding("equal ÷ json.loads of both", tuple(equal), at_most(0.1)),
            Finding("equal, spelled otherwise ÷ json.loads of both", tuple(spelled)),
            Finding("unequal (ten values differ) ÷ json.loads of both", tuple(unequal), at_most(3)),
            Finding("unequal (a list without ids shifted by one) ÷ …", tuple(moved), at_most(3)),
            Finding("unequal (the same, and every element changed as well) ÷ …", tuple(everywhere)),
        ),
    )


def payload() -> bytes:
    """Return a list of orders as JSON, at least :data:`SIZE_BYTES` long."""
    orders: list[dict[str, Any]] = []
    while len(orders) * 200 < SIZE_BYTES or len(json.dumps(orders)) < SIZE_BYTES:
        number = len(orders)
        lines = [{"sku": f"SKU-{number}-{line}", "count": line + 1, "cents": 1999} for line in range(3)]
        orders.append(
            {
                "id": number,
                "status": "paid",
                "created_at": f"2026-11-{number % 28 + 1:02}T09:00:00Z",
                "lines": lines,
            }
        )
    return json.dumps(orders).encode()


def changed(body: bytes) -> bytes:
    """Return ``body`` with ten values changed, all over it."""
    orders = json.loads(body)
    for place in range(10):
        orders[place * len(orders) // 10]["status"] = "open"
    return json.dumps(orders).encode()


def observe(body: bytes) -> Observation:
    """Return the observation of an answer with this body."""
    from gateway.compare import Body, Observation

    headers = ((b"content-type", b"application/json"), (b"content-length", str(len(body)).encode()))
    return Observation(200, headers, Body.of(body))


def _time_s(call: Callable[[], object]) -> float:
    call()
    began = process_time()
    for _ in range(CALLS):
        call()
    return (process_time() - began) / CALLS
