"""Measure the comparison engine against ``json.loads`` of both answers, which any comparison pays."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.findings import Chapter, Finding, at_most

if TYPE_CHECKING:
    from benchmarks.race import Bench

TITLE = "Comparing two JSON answers of 100 KiB"


def measure(_bench: Bench) -> Chapter:
    """Return what comparing equal and unequal answers costs."""
    return Chapter(
        TITLE,
        (
            Finding(
                "equal ÷ json.loads of both", target=at_most(0.1), missing="gateway.compare is not built yet"
            ),
            Finding(
                "unequal ÷ json.loads of both", target=at_most(3), missing="gateway.compare is not built yet"
            ),
        ),
    )
