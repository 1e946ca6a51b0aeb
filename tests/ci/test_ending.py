"""A run that ends before its time tells what it has found until then, in every report, and says so."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
from typing import TYPE_CHECKING
from unittest.mock import Mock
from xml.etree import ElementTree

import pytest

from gateway.ci.corpus import Scenario
from gateway.ci.running import run_scenarios
from gateway.ci.sides import RemoteSide
from tests.ci.shop import LEGACY, NEW, TABLE, make_shop
from tests.projects import Project, gateway
from tests.running import wait_until

if TYPE_CHECKING:
    from pathlib import Path

ISOLATED = ("--database-env", "DATABASE_URL")
KINDS = ("json", "junit", "markdown", "html", "github")
REPORTS = tuple(f"--report={kind}=reports/{kind}" for kind in KINDS)
LAST_WORDS = "the licence has run out"
LEGACY_MORE = """
    @app.get("/die")
    def die():
        return jsonify(ok=True)

    @app.get("/slow")
    def slow():
        return jsonify(ok=True)
"""
NEW_MORE = f"""
    @app.get("/die")
    def die():
        print({LAST_WORDS!r}, flush=True)
        os._exit(7)

    @app.get("/slow")
    def slow():
        import time; time.sleep(60)
"""


@pytest.fixture
def shop(tmp_path: Path) -> tuple[Project, dict[str, str]]:
    """Return a shop in which a price differs, and whose new app dies, or hangs, where it is asked to."""
    new = NEW.replace('return {"price": f\'{rows[0]["cents"] / 100:.2f}\'}', 'return {"price": 1}')
    assert new != NEW
    routes = TABLE.replace("routes:", "routes:\n      GET /die: new\n      GET /slow: new")
    return make_shop(tmp_path / "shop", new + NEW_MORE, routes, legacy=LEGACY + LEGACY_MORE)


def reports(folder: Path) -> dict[str, str]:
    """Return every report's text."""
    return {kind: (folder / "reports" / kind).read_text(encoding="utf-8") for kind in KINDS}


def check_findings(folder: Path, word: str) -> None:
    """See that every report holds the finding of what was compared, and that this is not all."""
    told = reports(folder)
    assert [each["place"] for each in json.loads(told["json"])["findings"]] == ["$.price"]
    suites = ElementTree.fromstring(told["junit"])
    assert (suites.get("failures"), suites.get("errors")) != ("0", "0")
    assert [each.get("name") for each in suites.iter("testcase") if each.find("error") is not None] == [
        "run to the end"
    ]
    for kind in ("markdown", "html"):
        assert "$.price" in told[kind]
        assert word in told[kind]
        assert re.search(r"in \d of \d scenarios", told[kind])
    assert "::error" in told["github"]


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_side_that_dies_leaves_what_was_compared_its_last_words_and_exit_3(
    shop: tuple[Project, dict[str, str]], tmp_path: Path, jobs: int
) -> None:
    project, environ = shop
    # The request that kills stands behind others of its scenario, which count as well.
    (project.folder / "shop.http").write_text(
        "GET /prices/1\n\n### Dies\nGET /die\n\n### Never\nGET /items\n"
    )
    scratch = tmp_path / "scratch"
    scratch.mkdir()

    done = gateway(
        "compare",
        "shop.http",
        *ISOLATED,
        *REPORTS,
        f"--jobs={jobs}",
        folder=project.folder,
        environ=environ | {"TMPDIR": str(scratch)},
    )

    assert done.returncode == 3, done.stdout + done.stderr
    died = "new died (exit status 7) while it answered GET /die"
    assert died in done.stderr
    assert done.stderr.count("died") == 1
    assert "Traceback" not in done.stderr
    assert LAST_WORDS in done.stdout
    check_findings(project.folder, "Not finished")
    told = reports(project.folder)
    assert all(died in told[kind].replace("\\", "") for kind in KINDS)
    assert all(LAST_WORDS in told[kind] for kind in ("json", "junit", "markdown", "html"))
    (left,) = scratch.iterdir()
    assert str(left) in done.stdout
    assert LAST_WORDS in left.read_text()


def test_a_side_that_does_not_start_is_told_with_its_own_words_and_exit_3(tmp_path: Path) -> None:
    lifespan = f"""
    import contextlib

    @contextlib.asynccontextmanager
    async def life(app):
        raise RuntimeError({LAST_WORDS!r})
        yield

    app.router.lifespan_context = life
"""
    project, environ = make_shop(tmp_path / "shop", NEW + lifespan)

    done = gateway("compare", "shop.http", *ISOLATED, *REPORTS, folder=project.folder, environ=environ)

    assert done.returncode == 3, done.stdout + done.stderr
    assert f"gateway: new: its startup failed: RuntimeError: {LAST_WORDS}\n" == done.stderr
    assert "Traceback" not in done.stderr
    assert "not exercised" not in done.stdout
    assert all(LAST_WORDS in text for text in reports(project.folder).values())


def test_logs_are_kept_where_they_are_wanted(shop: tuple[Project, dict[str, str]]) -> None:
    project, environ = shop
    (project.folder / "shop.http").write_text("GET /die\n")

    done = gateway(
        "compare", "shop.http", *ISOLATED, "--logs", "kept/here", folder=project.folder, environ=environ
    )

    assert done.returncode == 3
    logs = {path.name: path.read_text() for path in (project.folder / "kept/here").iterdir()}
    assert set(logs) == {"control1-legacy-1.log", "candidate1-new-1.log"}
    assert LAST_WORDS in logs["candidate1-new-1.log"]
    assert "kept/here/candidate1-new-1.log" in done.stdout


def test_an_interrupted_run_ends_when_its_workers_have() -> None:
    """Who cleans up behind them would otherwise throw away what they still use."""
    is_aborted, may_close = threading.Event(), threading.Event()
    closed: list[Mock] = []

    def interrupt() -> None:
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        assert is_aborted.wait(10)
        threading.Timer(0.3, may_close.set).start()

    control, candidate = Mock(spec=RemoteSide), Mock(spec=RemoteSide)
    control.prepare.side_effect = interrupt
    candidate.abort.side_effect = is_aborted.set
    candidate.close.side_effect = lambda: closed.append(candidate) if may_close.wait(10) else None
    with pytest.raises(KeyboardInterrupt):
        run_scenarios([Scenario("one", ())], lambda _number: (control, candidate), Mock())
    assert closed == [candidate]


@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_signal_leaves_a_report_of_what_was_done_and_nothing_else(
    shop: tuple[Project, dict[str, str]], tmp_path: Path, number: signal.Signals, jobs: int
) -> None:
    project, environ = shop
    # What was answered by both in a scenario that is under way counts as well.
    (project.folder / "z.http").write_text("GET /prices/2\n\n### Hangs\nGET /slow\n")
    (tmp_path / "scratch").mkdir()
    more = (*ISOLATED, *REPORTS, f"--jobs={jobs}")
    with (project.folder / "progress").open("w") as sink:
        process = subprocess.Popen(
            [sys.executable, "-m", "gateway", "compare", "shop.http", "z.http", *more],
            cwd=project.folder,
            env=os.environ | environ | {"TMPDIR": str(tmp_path / "scratch")},
            stdout=subprocess.PIPE,
            stderr=sink,
            text=True,
        )
    wait_until(
        lambda: "1 of 2" in (project.folder / "progress").read_text() or process.poll() is not None,
        timeout_s=60,
        what="the first scenario's end",
    )
    process.send_signal(number)
    output, _ = process.communicate(timeout=60)

    assert process.returncode == 130, output
    assert "Interrupted" in output
    assert json.loads(reports(project.folder)["json"])["scenarios"] == {"all": 2, "done": 1}
    check_findings(project.folder, "Interrupted")
    assert list((tmp_path / "scratch").iterdir()) == []
