"""Hold the one-to-one mapping of generated values that the rule ``map`` builds up within a scenario.

Each rule has a mapping of its own: order 1 of control and user 1 of control are two things. The value is
immutable; binding returns another one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping

Key = tuple[str, str, str]
"""The mapping's name, a type name, and a text: 7 and "7" are two values."""


@dataclass(frozen=True, slots=True)
class Pairing:
    """Know which candidate value stands for which control value, and the other way round."""

    forward: Mapping[Key, Hashable] = field(default_factory=dict)
    backward: Mapping[Key, Hashable] = field(default_factory=dict)

    def is_consistent(self, name: str, control: tuple[str, str], candidate: tuple[str, str]) -> bool:
        """Tell whether the two values may stand for each other under the mapping called ``name``."""
        return (
            self.forward.get((name, *control), candidate) == candidate
            and self.backward.get((name, *candidate), control) == control
        )

    def bound(self, pairs: Mapping[Key, tuple[str, str]]) -> Pairing:
        """Return a pairing that also knows ``pairs``: control key to candidate value."""
        if not pairs:
            return self
        backward = {(key[0], *candidate): key[1:] for key, candidate in pairs.items()}
        return Pairing({**self.forward, **pairs}, {**self.backward, **backward})
