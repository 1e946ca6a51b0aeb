"""The examples for CI parse and run: the hook checks the table, the workflow compares as make does."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway.ci.reports import parse_reports
from reference.compare import command

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "docs" / "examples"


def parsed(path: Path) -> Any:
    return yaml.safe_load(path.read_text("utf-8"))


def hooks() -> list[dict[str, Any]]:
    (repository,) = parsed(EXAMPLES / "pre-commit-config.yaml")["repos"]
    return [*repository["hooks"], *parsed(ROOT / ".pre-commit-hooks.yaml")]


def lines() -> list[list[str]]:
    """Return every command line of the workflow."""
    steps = parsed(EXAMPLES / "github-actions.yml")["jobs"]["compare"]["steps"]
    return [shlex.split(line) for step in steps for line in step.get("run", "").splitlines()]


def run(argv: list[str]) -> subprocess.CompletedProcess[str]:
    assert argv[0] == "gateway"
    return subprocess.run(
        [sys.executable, "-m", *argv], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )


def test_the_offered_hook_is_the_one_of_the_example() -> None:
    example, offered = hooks()
    assert example == offered
    assert example["id"] == "gateway-check"
    assert not example["pass_filenames"]


def test_the_hook_and_the_workflow_check_the_reference_table() -> None:
    (check,) = [line for line in lines() if line[:2] == ["gateway", "check"]]
    assert check == shlex.split(hooks()[0]["entry"])

    done = run(check)

    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("path", "is_ours"),
    [
        ("routing.yaml", True),
        ("shop/routing.yaml", True),
        ("new_api/main.py", True),
        ("README.md", False),
        ("other-routing.yaml", False),
    ],
)
def test_the_hook_runs_where_the_table_or_the_apps_change(path: str, is_ours: bool) -> None:
    assert (re.search(hooks()[0]["files"], path) is not None) == is_ours


def test_the_workflow_compares_what_make_compare_does_and_uploads_every_report() -> None:
    (compare,) = [line for line in lines() if line[:2] == ["gateway", "compare"]]
    plain = command([])
    assert compare[: len(plain)] == plain
    options = compare[len(plain) :]
    assert options[::2] == ["--report"] * (len(options) // 2)

    wanted = parse_reports(options[1::2])

    steps = parsed(EXAMPLES / "github-actions.yml")["jobs"]["compare"]["steps"]
    (upload,) = [step["with"] for step in steps if "upload-artifact" in step.get("uses", "")]
    assert {each.kind for each in wanted} == {"github", "junit", "html", "markdown"}
    assert all(f"{each.path.parent}/" == upload["path"] for each in wanted if each.path is not None)


def test_every_module_that_the_workflow_runs_is_there() -> None:
    modules = [line[2] for line in lines() if line[:2] == ["python", "-m"]]
    assert modules == ["reference.seed", "reference.providers"]
    assert all(
        (ROOT / module.replace(".", "/")).with_suffix(".py").is_file()
        or (ROOT / module.replace(".", "/") / "__main__.py").is_file()
        for module in modules
    )
