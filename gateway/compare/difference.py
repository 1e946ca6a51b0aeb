"""Name what can differ, and hold what a comparison found: frozen values, meant to be stored and shown.

The values in a :class:`Difference` are texts for people, bounded and made of one line (but for unified
diffs); None says that a side has nothing at that place. What a client would notice is said in ``message``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Literal

from gateway.compare.pairing import Pairing

if TYPE_CHECKING:
    from gateway.table.spec import CompareRule


class Kind(StrEnum):
    """Say what sort of thing differs."""

    STATUS = "status"
    HEADER_MISSING = "header.missing"
    HEADER_ADDED = "header.added"
    HEADER_VALUE = "header.value"
    BODY_TYPE = "body.type"
    JSON_MISSING = "json.missing"
    JSON_ADDED = "json.added"
    JSON_VALUE = "json.value"
    JSON_TYPE = "json.type"
    JSON_ORDER = "json.order"
    JSON_LENGTH = "json.length"
    JSON_DATE_FORMAT = "json.date_format"
    JSON_NUMBER_FORM = "json.number_form"
    JSON_ENCODING = "json.encoding"
    ERROR_SHAPE = "error.shape"
    REDIRECT = "redirect"
    TEXT = "text"
    BYTES = "bytes"
    EXCEPTION = "exception"
    EFFECTS_ROWS = "effects.rows"
    EFFECTS_QUERIES = "effects.queries"
    EFFECTS_OUTBOUND = "effects.outbound"
    LATENCY = "latency"


ADVISORY = frozenset({Kind.LATENCY})
"""Kinds that are told and never fail a comparison."""

VALUE_KINDS = frozenset({Kind.JSON_VALUE, Kind.HEADER_VALUE, Kind.TEXT, Kind.BYTES})
"""Kinds of which noise can be made; everything else is structure, and never noise."""


class Outcome(StrEnum):
    """Say what a comparison came to."""

    MATCHED = "matched"
    WAIVED = "waived"
    MISMATCHED = "mismatched"
    TRUNCATED = "truncated"


@dataclass(frozen=True, slots=True)
class Waiver:
    """Say why a difference does not count: a known equivalence, or a rule of the table."""

    by: Literal["equivalence", "rule"]
    name: str
    reason: str = ""
    rule: CompareRule | None = None

    def __str__(self) -> str:
        return f"{self.by} {self.name}" + (f": {self.reason}" if self.reason else "")


@dataclass(frozen=True, slots=True)
class Difference:
    """Be one thing that differs.

    ``place`` is a JSONPath, ``header:NAME``, ``cookie:NAME``, ``status``, ``body`` or the kind's own name.
    ``has_same_shape`` tells that both values are of one type and one length. ``diff`` is the unified diff
    of two texts, and empty for everything else.
    """

    kind: Kind
    place: str
    control: str | None
    candidate: str | None
    message: str
    waiver: Waiver | None = None
    has_same_shape: bool = False
    diff: str = ""

    @property
    def is_waived(self) -> bool:
        """Tell whether an equivalence or a rule accepts this difference."""
        return self.waiver is not None

    @property
    def is_advisory(self) -> bool:
        """Tell whether this is told and never fails a comparison."""
        return self.kind in ADVISORY

    @property
    def is_failing(self) -> bool:
        """Tell whether this makes the comparison mismatched."""
        return self.waiver is None and self.kind not in ADVISORY


@dataclass(frozen=True, slots=True)
class RuleCount:
    """Count what one rule met: ``places`` where it applied, differences that it ``waived``."""

    rule: CompareRule
    places: int = 0
    waived: int = 0


@dataclass(frozen=True, slots=True)
class Comparison:
    """Be the result of holding two observations together.

    ``differences`` begins with those that count. It is bounded: ``omitted`` more were found, and are
    counted in ``outcome``. ``note`` says what could not be compared. ``pairing`` is to be passed to the
    next comparison of the same scenario.
    """

    outcome: Outcome
    differences: tuple[Difference, ...] = ()
    omitted: int = 0
    note: str = ""
    rule_counts: tuple[RuleCount, ...] = ()
    pairing: Pairing = field(default_factory=Pairing)

    @property
    def is_same(self) -> bool:
        """Tell whether a client would notice nothing that nobody accepted."""
        return self.outcome in (Outcome.MATCHED, Outcome.WAIVED)

    @property
    def failing(self) -> tuple[Difference, ...]:
        """Return the differences that count."""
        return tuple(each for each in self.differences if each.is_failing)
