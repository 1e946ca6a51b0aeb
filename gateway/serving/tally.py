"""Count what was served, per route: plain integers, written by the event loop's thread, read by others."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field


@dataclass(slots=True)
class Tally:
    """Count one route's responses by (who served, status), and what else happened to it.

    ``served`` is keyed by (``legacy``, ``new`` or ``gateway``; HTTP status). ``failures`` counts
    exceptions and timeouts by backend, ``fallbacks`` the requests that legacy answered for new.
    """

    served: defaultdict[tuple[str, int], int] = field(default_factory=lambda: defaultdict(int))
    failures: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))
    fallbacks: int = 0

    def by_backend(self) -> dict[str, int]:
        """Return the number of responses by who served them."""
        sums = {"legacy": 0, "new": 0, "gateway": 0}
        for (backend, _status), count in list(self.served.items()):
            sums[backend] += count
        return sums
