"""Choose and write the reports that were asked for, each in a module of its own."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.ci.corpus import CorpusError
from gateway.ci.github_report import github_report
from gateway.ci.html_report import html_report
from gateway.ci.json_report import json_report
from gateway.ci.junit_report import junit_report
from gateway.ci.markdown_report import markdown_report

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from gateway.ci.results import Run

WRITERS: dict[str, Callable[[Run], str]] = {
    "json": json_report,
    "junit": junit_report,
    "markdown": markdown_report,
    "html": html_report,
    "github": github_report,
}


@dataclass(frozen=True, slots=True)
class WantedReport:
    """Be one report: its kind, and its file (None: standard output)."""

    kind: str
    path: Path | None


def parse_reports(texts: Iterable[str]) -> tuple[WantedReport, ...]:
    """Return what ``KIND=FILE`` texts ask for; raises :class:`CorpusError` for an unknown kind."""
    found = []
    for text in texts:
        kind, equals, path = text.partition("=")
        if kind == "github" and not equals:
            found.append(WantedReport("github", None))
        elif kind not in WRITERS:
            raise CorpusError(
                f"--report {text}: there is no report {kind!r}; there are {', '.join(sorted(WRITERS))}"
            )
        elif not path:
            raise CorpusError(f"--report {text}: write {kind}=FILE")
        else:
            found.append(WantedReport(kind, None if path == "-" else Path(path)))
    return tuple(found)


def write_reports(run: Run, wanted: Iterable[WantedReport]) -> None:
    """Write every report; its folder is made where it is missing."""
    for report in wanted:
        text = WRITERS[report.kind](run)
        if report.path is None:
            sys.stdout.write(text)
            continue
        try:
            report.path.parent.mkdir(parents=True, exist_ok=True)
            report.path.write_text(text, encoding="utf-8")
        except OSError as exc:
            raise CorpusError(f"--report: {report.path} cannot be written: {exc.strerror}") from exc
