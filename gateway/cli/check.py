"""``gateway check``: hold the table against both apps, and report everything that is wrong."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli.loaded import FINDINGS, load
from gateway.cli.options import DEFAULT_CONFIG, ConfigOption, Output, OutputOption
from gateway.cli.output import counted, out, out_json
from gateway.errors import Problem

if TYPE_CHECKING:
    from gateway.loading import Migration


def run(
    config: ConfigOption = DEFAULT_CONFIG,
    strict: Annotated[bool, typer.Option("--strict", help="Fail on warnings, too.")] = False,
    output: OutputOption = Output.TABLE,
) -> int:
    """Print every problem, errors first; return 1 on errors (with ``strict`` on any finding), else 0."""
    migration = load(config)
    problems = sorted(
        _all_problems(migration, is_strict=strict),
        key=lambda problem: (not problem.is_error, problem.line),
    )
    errors = sum(problem.is_error for problem in problems)
    is_failing = bool(problems) if strict else errors > 0
    if output is Output.JSON:
        out_json({"is_valid": errors == 0, "problems": [_as_json(problem) for problem in problems]})
        return FINDINGS if is_failing else 0
    for problem in problems:
        out((str(problem), "red" if problem.is_error else "yellow"))
    rows = counted(len(migration.spec.routes) if migration.spec else 0, "row")
    if not problems:
        out(f"{config}: {rows}, no problems.")
        return 0
    out("")
    out(f"{config}: {rows}, {counted(errors, 'error')}, {counted(len(problems) - errors, 'warning')}.")
    return FINDINGS if is_failing else 0


def _all_problems(migration: "Migration", *, is_strict: bool) -> tuple[Problem, ...]:
    """Return what loading found and what only a check finds; strictly, warnings become errors."""
    from gateway.table.check import check_table

    if migration.snapshot is None:
        return migration.problems
    today = datetime.now(UTC).date()
    findings = check_table(migration.snapshot, today=today, is_strict=is_strict)
    return findings if is_strict else (*migration.problems, *findings)


def _as_json(problem: Problem) -> dict[str, object]:
    return {
        "severity": problem.severity.value,
        "source": problem.source,
        "line": problem.line,
        "row": problem.row,
        "message": problem.message,
        "repair": problem.repair,
    }
