"""Say how much other work the machine did meanwhile: it is what spoils a benchmark most."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.findings import Chapter


def load_average() -> float:
    """Return the number of processes that wanted to run, over the last minute."""
    return os.getloadavg()[0]


def sentence(before: float, chapters: Sequence[Chapter]) -> str:
    """Say what the load was before the benchmark began, and how far the ratios spread."""
    spreads = sorted(
        found.spread
        for chapter in chapters
        for found in chapter.findings
        if len(found.values) > 1 and not found.unit
    )
    if not spreads:
        return f"load average before the start: {before:.1f}"
    middle = spreads[len(spreads) // 2]
    return (
        f"load average before the start: {before:.1f}; spread of the ratios over the rounds "
        f"((largest - smallest) ÷ median): {middle:.0%} in the middle, {spreads[-1]:.0%} at worst"
    )
