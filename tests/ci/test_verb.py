"""``gateway compare`` fails where a client would notice, and says where; it passes where nobody would."""

from __future__ import annotations

import json
import shlex
import sqlite3
import subprocess
from contextlib import closing
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import pytest

from tests.ci.shop import NEW, TABLE, make_shop, planted
from tests.projects import gateway

if TYPE_CHECKING:
    from pathlib import Path

ISOLATED = ("--database-env", "DATABASE_URL")
REPORTS = ("json", "junit", "markdown", "html")


@pytest.fixture(scope="module")
def failed(tmp_path_factory: pytest.TempPathFactory) -> tuple[subprocess.CompletedProcess[str], Path]:
    """Return one run against a new app with planted changes, and its folder with every report."""
    project, environ = make_shop(tmp_path_factory.mktemp("planted") / "shop", planted(NEW))
    reports = [f"--report={kind}=reports/{kind}" for kind in REPORTS]
    done = gateway(
        "compare", "shop.http", *ISOLATED, *reports, "--report=github", folder=project.folder, environ=environ
    )
    return done, project.folder


def findings(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """Return the JSON report's findings by row."""
    report = json.loads((folder / "reports/json").read_text())
    found: dict[str, list[dict[str, Any]]] = {}
    for finding in report["findings"]:
        found.setdefault(finding["row"], []).append(finding)
    return found


@pytest.mark.parametrize(
    ("row", "kind", "place", "control", "candidate"),
    [
        ("GET /items/{item_id}", "json.missing", "$.name", '"Mug"', None),
        ("GET /prices/{item_id}", "json.number_form", "$.price", '"12.50"', "12.5"),
        ("GET /items", "json.added", "$[*]", None, "Secret"),
        ("POST /items", "effects.rows", "rows:items:insert.cents", "700", "701"),
    ],
    ids=["renamed field", "float for Decimal", "missing filter", "same answer, other row"],
)
def test_a_planted_change_is_named_with_row_place_both_values_and_a_curl_line(
    failed: tuple[subprocess.CompletedProcess[str], Path],
    row: str,
    kind: str,
    place: str,
    control: str | None,
    candidate: str | None,
) -> None:
    done, folder = failed
    assert done.returncode == 1, done.stderr
    found = {(each["kind"], each["place"]): each for each in findings(folder)[row]}
    finding = found[kind, place]
    assert finding["difference"]["control"] == control
    assert (candidate or "") in (finding["difference"]["candidate"] or "")
    assert f"✗ {row}" in done.stdout
    method, _, path = row.partition(" ")
    words = shlex.split(finding["examples"][0]["curl"])
    url = next(word for word in words if word.startswith("http"))
    assert words[0] == "curl"
    assert url.startswith("http://localhost:8000" + path.partition("{")[0])
    assert finding["examples"][0]["curl"] in done.stdout
    assert finding["examples"][0]["method"] == method


def test_the_original_database_is_never_written(
    failed: tuple[subprocess.CompletedProcess[str], Path],
) -> None:
    with closing(sqlite3.connect(failed[1] / "shop.db")) as connection:
        assert connection.execute("SELECT count(*) FROM items").fetchone() == (3,)


def test_every_report_tells_the_same_findings(
    failed: tuple[subprocess.CompletedProcess[str], Path],
) -> None:
    done, folder = failed
    suites = ElementTree.parse(folder / "reports/junit").getroot()
    assert suites.get("failures") == "4"
    markdown = (folder / "reports/markdown").read_text()
    page = (folder / "reports/html").read_text()
    for row in findings(folder):
        assert row in markdown
        assert row in page
        assert f"title={row}::" in done.stdout
    assert "default-src 'none'" in page
    assert "<script" not in page


def test_what_differs_in_drawn_values_alone_is_the_same(tmp_path: Path) -> None:
    project, environ = make_shop(tmp_path / "shop")

    done = gateway("compare", "shop.http", *ISOLATED, folder=project.folder, environ=environ)

    assert done.returncode == 0, done.stdout + done.stderr
    assert "The same: 4 rows" in done.stdout


def test_a_selected_row_that_no_request_exercised_is_no_pass(tmp_path: Path) -> None:
    project, environ = make_shop(tmp_path / "shop")
    (project.folder / "one.http").write_text("GET /items\n")

    done = gateway("compare", "one.http", folder=project.folder, environ=environ)

    assert done.returncode == 2
    assert "nothing exercised" in done.stdout
    assert "GET /prices/{item_id}" in done.stdout


def test_without_a_copy_of_the_state_no_write_is_sent(tmp_path: Path) -> None:
    project, environ = make_shop(tmp_path / "shop")

    done = gateway("compare", "shop.http", folder=project.folder, environ=environ)

    assert done.returncode == 2
    assert "POST /items" in done.stderr
    assert "--database-env" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--database-env", "DATABASE_URL"), "name corpora"),
        (("shop.http", "--report", "pdf=x"), "there is no report 'pdf'"),
        (("shop.http", "--database-env", "NO_SUCH"), "the environment has no NO_SUCH"),
        (("nowhere.http",), "there is no nowhere.http"),
        (("shop.http", "--all", "--route", "GET /items"), "give one of them"),
        (("shop.http", "--no-such-option"), "No such option"),
        (("shop.http", "--against", "ftp://a", "http://b"), "no http(s) URL"),
    ],
    ids=[
        "no corpus",
        "unknown report",
        "unset variable",
        "no file",
        "two selections",
        "unknown option",
        "no URL",
    ],
)
def test_wrong_usage_is_one_line_and_exit_2(tmp_path: Path, arguments: tuple[str, ...], words: str) -> None:
    project, environ = make_shop(tmp_path / "shop")

    done = gateway("compare", *arguments, folder=project.folder, environ=environ)

    assert done.returncode == 2, done.stdout
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_an_expired_waiver_fails_the_run(tmp_path: Path) -> None:
    project, environ = make_shop(tmp_path / "shop", routes=TABLE.replace("2099-12-31", "2026-01-31"))

    done = gateway("compare", "shop.http", *ISOLATED, folder=project.folder, environ=environ)

    assert done.returncode == 1
    assert "map at $.token: the waiver has expired" in done.stdout


def test_a_rule_that_matched_nothing_is_told_and_fails_only_a_strict_run(tmp_path: Path) -> None:
    routes = TABLE.replace(
        "compare:", "compare:\n          - {at: $.gone, rule: ignore, reason: long ago, until: 2099-12-31}"
    )
    project, environ = make_shop(tmp_path / "shop", routes=routes)

    lenient = gateway("compare", "shop.http", *ISOLATED, folder=project.folder, environ=environ)
    strict = gateway("compare", "shop.http", *ISOLATED, "--strict", folder=project.folder, environ=environ)

    assert (lenient.returncode, strict.returncode) == (0, 1)
    assert "ignore at $.gone: matched nothing" in lenient.stdout


def test_only_rows_that_changed_since_a_revision_are_judged(tmp_path: Path) -> None:
    project, environ = make_shop(tmp_path / "shop", planted(NEW))
    for command in ("init -q", "add .", "-c user.name=t -c user.email=t@t commit -qm first"):
        subprocess.run(["git", *command.split()], cwd=project.folder, check=True)

    unchanged = gateway(
        "compare", "shop.http", *ISOLATED, "--changed-since", "HEAD", folder=project.folder, environ=environ
    )
    project.write_table(TABLE.replace("GET /items: shadow", "GET /items: new"))
    changed = gateway(
        "compare", "shop.http", *ISOLATED, "--changed-since", "HEAD", folder=project.folder, environ=environ
    )
    unknown = gateway(
        "compare", "shop.http", *ISOLATED, "--changed-since", "nope", folder=project.folder, environ=environ
    )

    assert unchanged.returncode == 0
    assert "Nothing was selected" in unchanged.stdout
    assert changed.returncode == 1
    assert "on 1 row." in changed.stdout
    assert unknown.returncode == 2


def test_frozen_sides_draw_the_same_tokens(tmp_path: Path) -> None:
    routes = TABLE.partition("        compare:")[0]
    project, environ = make_shop(tmp_path / "shop", routes=routes)

    thawed = gateway("compare", "shop.http", *ISOLATED, folder=project.folder, environ=environ)
    frozen = gateway("compare", "shop.http", *ISOLATED, "--freeze", folder=project.folder, environ=environ)

    assert thawed.returncode == 1
    assert "$.token" in thawed.stdout
    assert frozen.returncode == 0, frozen.stdout
