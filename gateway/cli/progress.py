"""Show how far long work has come: one line that is written over on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

from gateway.ci.comparing import Ears

if TYPE_CHECKING:
    from gateway.ci.corpus import Scenario

PLAIN_EVERY_S = 10.0
PLAIN_EACH = 20
"""Up to so many scenarios are told one by one where nothing can be written over."""


class Progress:
    """Count scenarios on stderr, while the block lasts."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._done = 0
        self._is_terminal = sys.stderr.isatty()
        self._last = time.monotonic()

    @property
    def ears(self) -> Ears:
        """Return what a run tells."""
        return Ears(self._scenario_done)

    def __enter__(self) -> Progress:
        self._write("starting both sides")
        return self

    def __exit__(self, *exc: object) -> None:
        if self._is_terminal:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()

    def _scenario_done(self, scenario: Scenario) -> None:
        self._done += 1
        self._write(f"{self._done} of {self._total} scenarios: {scenario.name}")

    def _write(self, text: str) -> None:
        if self._is_terminal:
            sys.stderr.write(f"\r\x1b[K{text[:100]}")
        elif self._done and (self._total <= PLAIN_EACH or time.monotonic() - self._last > PLAIN_EVERY_S):
            self._last = time.monotonic()
            sys.stderr.write(f"gateway compare: {text}\n")
        sys.stderr.flush()
