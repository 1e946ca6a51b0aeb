"""Hold what was measured: ratios round by round, held against targets. Pure values."""

from __future__ import annotations

from dataclasses import dataclass, field
from statistics import median
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Target:
    """Bound a figure: from below (higher is better) or, with ``is_ceiling``, from above."""

    bound: float
    is_ceiling: bool = False

    def is_met(self, value: float) -> bool:
        """Tell whether ``value`` keeps to the bound."""
        return value <= self.bound if self.is_ceiling else value >= self.bound

    def __str__(self) -> str:
        return f"{'≤' if self.is_ceiling else '≥'} {self.bound:g}"


def at_least(bound: float) -> Target:
    """Return the target of a figure for which higher is better."""
    return Target(bound)


def at_most(bound: float) -> Target:
    """Return the target of a figure for which lower is better."""
    return Target(bound, is_ceiling=True)


@dataclass(frozen=True, slots=True)
class Finding:
    """Be one line of the results: a figure per round, or the reason why there is none.

    ``unit`` is empty for a ratio. ``by_processor`` holds the same ratio by processor time instead of
    wall time: what other programs do on the machine hardly touches it.
    """

    text: str
    values: tuple[float, ...] = ()
    target: Target | None = None
    unit: str = ""
    missing: str = ""
    by_processor: tuple[float, ...] = ()

    @property
    def value(self) -> float:
        """Return the median over the rounds."""
        return median(self.values)

    @property
    def verdict(self) -> str:
        """Return ``met``, ``missed``, ``not measured``, or nothing for a figure without a target."""
        if not self.values:
            return "not measured"
        if self.target is None:
            return ""
        return "met" if self.target.is_met(self.value) else "missed"

    @property
    def spread(self) -> float:
        """Return (largest - smallest) / median over the rounds: how much the machine disturbed."""
        if len(self.values) < 2 or not self.value:
            return 0.0
        return (max(self.values) - min(self.values)) / abs(self.value)


@dataclass(frozen=True, slots=True)
class Absolute:
    """Be one contender's own figures (medians over the rounds), or the reason for its absence."""

    contender: str
    figures: Mapping[str, float] = field(default_factory=dict)
    missing: str = ""


@dataclass(frozen=True, slots=True)
class Chapter:
    """Be one scenario's results."""

    title: str
    findings: tuple[Finding, ...]
    absolutes: tuple[Absolute, ...] = ()
    note: str = ""
