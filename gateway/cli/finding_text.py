"""Write findings for people: a list, worst first, and one whole with both answers side by side. Pure."""

from __future__ import annotations

import textwrap
import time
from typing import TYPE_CHECKING, Any

from gateway.cli.output import counted
from gateway.rollout.wording import ago
from gateway.web.found import parse_found

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from gateway.cli.findings import Selection
    from gateway.compare.beside import SideLine
    from gateway.web.found import Found, Pair

Part = str | tuple[str, str]
Line = tuple[Part, ...]

_GUTTERS = {"same": "   ", "changed": " ≠ ", "missing": " < ", "added": " > ", "cut": "   "}
_LEAST_COLUMN = 20

SHOWN_DIGITS = 8
"""Of a finding's id, which may be typed as short as it is unique."""


def list_lines(selection: Selection, width: int | None) -> Iterator[Line]:
    """Yield the findings by route, the route with the most first."""
    found = [parse_found(each) for each in selection.listed]
    if not found:
        where = f" on {selection.route}" if selection.route else ""
        yield (f"No difference that counts was found{where}.",)
    by_route: dict[str, list[Found]] = {}
    for each in found:
        by_route.setdefault(each.route or f"(no row any more) {each.route_id}", []).append(each)
    for key, of_route in sorted(by_route.items(), key=lambda item: -sum(each.count for each in item[1])):
        yield ((key, "bold"), f"  {counted(len(of_route), 'finding')}")
        for each in of_route:
            yield from _entry(each, selection.now, width)
        yield ("",)
    if selection.hidden:
        verb = "is" if selection.hidden == 1 else "are"
        yield (f"{selection.hidden} more {verb} waived, or only advice; --all lists them.",)
        yield ("",)
    if found:
        first = found[0]
        yield (("Next", "bold"),)
        yield ("  ", (f"gateway differences {_shortest(first, found)}", "bold"), ("  shows it whole", "dim"))


def _entry(found: Found, now: float, width: int | None) -> Iterator[Line]:
    style = "" if found.is_waived or found.is_advisory else "red"
    marks = "  waived" if found.is_waived else "  advice" if found.is_advisory else ""
    yield (
        f"  {found.signature[:SHOWN_DIGITS]}  ",
        (f"{found.count:,}×", style),
        f"  {found.kind}",
        f" at {found.place}" if found.place != found.kind else "",
        (marks, "yellow"),
        (f"  {ago(found.last_seen, now)}", "dim"),
    )
    indent = " " * (SHOWN_DIGITS + 4)
    for piece in textwrap.wrap(found.sentence, max(30, width - len(indent))) if width else [found.sentence]:
        yield (indent, piece)


def _shortest(found: Found, others: list[Found]) -> str:
    """Return what names ``found`` alone: its id, with its route where several routes have the same one."""
    if sum(each.signature == found.signature for each in others) > 1:
        return f"'{found.route}' {found.signature[:SHOWN_DIGITS]}"
    return found.signature[:SHOWN_DIGITS]


def whole_lines(data: Mapping[str, Any], width: int, *, examples: int) -> Iterator[Line]:
    """Yield one finding whole, with its first ``examples`` pairs."""
    found, now = parse_found(data), time.time()
    where = f" at {found.place}" if found.place != found.kind else ""
    yield ((found.route or found.route_id, "bold"), f"  {found.kind}{where}")
    waived = ", waived" if found.is_waived else ", advice that fails nothing" if found.is_advisory else ""
    times = f"{found.count:,} time{'' if found.count == 1 else 's'}"
    yield (f"{times}{waived}, first {ago(found.first_seen, now)}, last {ago(found.last_seen, now)}",)
    yield ("",)
    for piece in textwrap.wrap(found.sentence, width):
        yield (piece,)
    for pair in found.pairs[:examples]:
        yield ("",)
        yield from _pair(pair, width)
    rest = len(found.pairs) - examples
    if not found.pairs:
        yield ("No example of it is kept.",)
    elif rest > 0:
        yield ("",)
        yield (f"{counted(rest, 'more example')} kept: --examples {len(found.pairs)}",)


def _pair(pair: Pair, width: int) -> Iterator[Line]:
    for name, value in zip(("legacy", "new"), pair.values, strict=True):
        shown = "nothing" if value is None else value
        for index, piece in enumerate(textwrap.wrap(shown, max(30, width - 10)) or [""]):
            yield (("  " + (name if not index else "").ljust(8), "dim"), (piece, "bold"))
    yield ("",)
    yield ((pair.request, "bold"),)
    column = max(_LEAST_COLUMN, (width - 3) // 2)
    yield (("legacy".ljust(column) + "   new", "dim"),)
    for line in pair.lines():
        yield from _beside(line, column)
    yield ("",)
    yield (("Repeat it: ", "dim"), pair.curl)


def _beside(line: SideLine, column: int) -> Iterator[Line]:
    """Yield one pair of lines in two columns, wrapped within each."""
    left, right = _cut(line.left, column), _cut(line.right, column)
    if line.mark == "cut":
        yield ((line.left, "dim"),)
        return
    for index in range(max(len(left), len(right))):
        mine = left[index] if index < len(left) else ""
        theirs = right[index] if index < len(right) else ""
        gutter = _GUTTERS[line.mark] if not index else "   "
        if line.mark == "same":
            yield (f"{mine.ljust(column)}{gutter}{theirs}".rstrip(),)
        else:
            yield ((mine.ljust(column), "red"), (gutter, "bold"), (theirs, "green"))


def _cut(text: str, column: int) -> list[str]:
    return [text[start : start + column] for start in range(0, len(text), column)] or [""]
