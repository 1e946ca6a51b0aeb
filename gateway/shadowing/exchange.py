"""Hold one captured request with what its primary answered, and all that a second call needs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from gateway.backends.base import Scope
    from gateway.compare.observation import Observation, RequestRecord


@dataclass(frozen=True, slots=True, eq=False)
class Exchange:
    """Be one request and its answer. ``scope`` is the request as the guard left it, a copy of its own."""

    record: RequestRecord
    observation: Observation
    primary: Literal["legacy", "new"]
    scope: Scope

    @property
    def size_bytes(self) -> int:
        """Return roughly what keeping this exchange costs in memory."""
        return len(self.record.body.captured) + len(self.observation.body.captured) + 2_000
