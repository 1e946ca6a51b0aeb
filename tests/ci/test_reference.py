"""The reference migration's corpora pass on both databases, each side on its own copy."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from gateway.ci.corpus import read_corpora
from gateway.loading import load_table
from gateway.table.spec import Stage
from reference.environment import ROOT
from tests.projects import gateway
from tests.reference.conftest import (  # noqa: F401 - fixtures
    database_url,
    live_providers,
    postgres,
    providers,
    scratch_database,
    seeded_sqlite,
)

if TYPE_CHECKING:
    from pathlib import Path

    from tests.reference.conftest import ProvidersControl


def test_the_corpora_pass_with_every_deliberate_difference_waived(
    database_url: str,  # noqa: F811 - the fixture of that name
    providers: ProvidersControl,  # noqa: F811 - the fixture of that name
    tmp_path: Path,
) -> None:
    report = tmp_path / "out.json"

    done = gateway(
        "compare",
        "corpora",
        *("--database-env", "DATABASE_URL"),
        "--freeze",
        f"--report=json={report}",
        folder=ROOT,
        environ={"DATABASE_URL": database_url, "PROVIDERS_URL": providers.url},
        timeout_s=110,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(report.read_text())
    assert all(row["is_exercised"] for row in found["rows"] if row["is_selected"])
    assert "demo-password" not in report.read_text()


def test_the_corpora_name_every_endpoint_that_both_apps_have() -> None:
    snapshot = load_table(ROOT / "routing.yaml")
    asked = {
        route.key
        for scenario in read_corpora([ROOT / "corpora"]).scenarios
        for request in scenario.requests
        if (route := snapshot.matcher.match(request.method, request.target.partition("?")[0])) is not None
    }
    shared = {route.key for route in snapshot.routes if route.is_listed and route.new_route is not None}

    # These two are asked for under the address that an answer gave.
    assert shared - asked <= {"GET /orders/{order_id}", "GET /avatars/{avatar_id}"}
    assert {route.spec.stage for route in snapshot.routes} > {Stage.SHADOW, Stage.CANARY, Stage.NEW}
