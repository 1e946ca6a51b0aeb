"""Print for people and for machines: aligned columns, colours on a terminal only, nothing cut in a pipe."""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

STAGE_STYLES = {
    "legacy": "",
    "shadow": "magenta",
    "canary": "yellow",
    "new": "green",
    "retired": "cyan",
}

_GAP = "  "


def out(*parts: str | tuple[str, str]) -> None:
    """Print one line to stdout; a part with a style is ``(text, style)``."""
    _print(Console(highlight=False, markup=False), parts)


def err(*parts: str | tuple[str, str]) -> None:
    """Print one line to stderr."""
    _print(Console(stderr=True, highlight=False, markup=False), parts)


def _print(console: Console, parts: Sequence[str | tuple[str, str]]) -> None:
    console.print(Text.assemble(*parts), soft_wrap=True)


def terminal_width() -> int | None:
    """Return how many columns a line may take; None in a pipe, where nothing is wrapped."""
    if not sys.stdout.isatty() and not os.environ.get("COLUMNS"):
        return None
    return Console().width


def out_json(value: Any) -> None:
    """Print ``value`` as indented JSON."""
    json.dump(value, sys.stdout, indent=2, ensure_ascii=False, default=str)
    sys.stdout.write("\n")


def out_columns(head: Sequence[str], rows: Iterable[Sequence[str | tuple[str, str]]]) -> None:
    """Print rows in aligned columns under a quiet head; columns that are empty throughout are left out."""
    rows = [list(row) for row in rows]
    kept = [index for index in range(len(head)) if any(_text(row[index]) for row in rows)]
    widths = {index: max(len(head[index]), *(len(_text(row[index])) for row in rows)) for index in kept}
    out(*_line([(text, "dim") for text in head], kept, widths))
    for row in rows:
        out(*_line(row, kept, widths))


def _text(cell: str | tuple[str, str]) -> str:
    return cell if isinstance(cell, str) else cell[0]


def _line(
    row: Sequence[str | tuple[str, str]], kept: Sequence[int], widths: dict[int, int]
) -> list[tuple[str, str]]:
    parts: list[tuple[str, str]] = []
    filled = [index for index in kept if _text(row[index])]
    for index in kept:
        if not filled or index > filled[-1]:
            break  # no blanks at the end of a line
        cell = row[index]
        text, style = (cell, "") if isinstance(cell, str) else cell
        is_last = index == filled[-1]
        parts.append((text if is_last else text.ljust(widths[index]) + _GAP, style))
    return parts


def stage_cell(stage: str, share: str = "") -> tuple[str, str]:
    """Return a stage, with its percentage, in its colour."""
    return (f"{stage} {share}".strip(), STAGE_STYLES.get(stage, ""))


def counted(number: int, noun: str) -> str:
    """Return ``1 error``, ``2 errors``."""
    return f"{number} {noun}{'' if number == 1 else 's'}"
