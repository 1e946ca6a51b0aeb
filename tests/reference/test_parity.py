"""Clients cannot tell the two apps apart but where docs/reference.md says so, and the table knows it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

from gateway.backends.inspect import inspect_new
from gateway.loading import load_migration
from new_api.main import app
from reference.environment import ROOT
from tests.reference.conftest import database_is_not_asked, token_of

if TYPE_CHECKING:
    import httpx

REQUESTS = (
    "GET /users/1",
    "GET /users/999",
    "GET /users/abc",
    "GET /users",
    "GET /users?page=3&per_page=7&role=member",
    "GET /users?q=e&page=0",
    "GET /me",
    "GET /api/data",
    "GET /orders/1",
    "GET /orders/2",
    "GET /dashboard",
    "GET /reports/orders.csv",
    "GET /reports/products.csv",
    "GET /reports/salaries.csv",
    "GET /nowhere",
    "POST /logout",
    "POST /login",
    "POST /token",
    "POST /orders",
    "POST /avatars",
    "POST /signup",
    "POST /users",
)
"""None of these writes: the posted bodies are empty."""

DIFFERENCES = {
    "GET /orders/1": {"$.created_at"},
    "GET /reports/salaries.csv": {"$.error", "$.detail"},
    "POST /users": {"status", "$.error", "$.detail"},
    # No route of new answers, so none of its dependencies looks at the session; legacy has this path anyway.
    "GET /nowhere": {"header:vary"},
}

HEADERS = ("content-type", "content-disposition", "location", "vary", "www-authenticate", "cache-control")


def seen(client: httpx.Client, request: str, header: dict[str, str]) -> dict[str, Any]:
    """Return what a client notices of an answer, by place."""
    answer = client.request(*request.split(), headers=header)
    places: dict[str, Any] = {"status": answer.status_code}
    places |= {f"header:{name}": answer.headers.get(name) for name in HEADERS}
    if answer.headers["content-type"] != "application/json":
        return places | {"body": answer.content}
    return places | {f"$.{key}": value for key, value in answer.json().items()}


@database_is_not_asked
@pytest.mark.parametrize("header", [{}, token_of()], ids=["stranger", "member"])
def test_the_two_sides_differ_only_where_it_is_documented(
    legacy: httpx.Client, new: httpx.Client, header: dict[str, str]
) -> None:
    found: dict[str, set[str]] = {}
    documented: dict[str, set[str]] = {}
    for request in REQUESTS:
        old, young = seen(legacy, request, header), seen(new, request, header)
        found[request] = {place for place in old | young if old.get(place) != young.get(place)}
        # Who may not look sees no difference either.
        documented[request] = DIFFERENCES.get(request, set()) if old["status"] != 401 else set()

    assert found == documented


def test_the_committed_table_has_no_error_and_waives_every_documented_difference_of_a_compared_row() -> None:
    migration = load_migration(ROOT / "routing.yaml", environ=os.environ)

    assert [str(problem) for problem in migration.problems if problem.is_error] == []
    assert migration.snapshot is not None
    rows = {route.key: route.spec for route in migration.snapshot.routes if route.is_listed}
    assert {str(spec.stage) for spec in rows.values()} == {"legacy", "shadow", "canary", "new"}
    assert {rule.at for rule in rows["GET /orders/{order_id}"].compare} == DIFFERENCES["GET /orders/1"]
    assert {rule.at for rule in rows["GET /reports/{name}.csv"].compare} == (
        DIFFERENCES["GET /reports/salaries.csv"]
    )


def test_the_table_names_every_endpoint_that_both_apps_have() -> None:
    migration = load_migration(ROOT / "routing.yaml", environ=os.environ)

    assert migration.snapshot is not None
    listed = {route.key for route in migration.snapshot.routes if route.is_listed}
    implicit = {route.key for route in migration.snapshot.routes if not route.is_listed}
    assert len(listed) == 15
    assert all("/admin" in key for key in implicit)
    claimed = {route.new_route.path for route in migration.snapshot.routes if route.new_route}
    assert {route.path for route in inspect_new(app).routes if route.is_in_schema} == claimed
