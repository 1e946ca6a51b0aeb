"""Feel the event loop's pulse: how late it comes to a timer, and when it last turned at all.

One timer, twenty times a second. What it finds is read by other threads: plain numbers, never locked.
"""

from __future__ import annotations

import sys
import threading
from time import monotonic
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio

PERIOD_S = 0.05
HELD_S = 0.25
"""A pause from which on the loop was held, and not just busy."""

WINDOW_S = 5.0
"""The worst lag is that of the present window and the one before: of the last five to ten seconds."""


class Pulse:
    """Beat in one event loop.

    ``beat_s`` is when it last beat and ``resumed_s`` when it did so after having been held (monotonic);
    ``lag_s`` is how late the last beat was. ``thread`` is the loop's thread, ``floor`` the ids of the frames
    that run it, on which everything stands that runs in it.
    """

    def __init__(self) -> None:
        self.beat_s = self.resumed_s = self.lag_s = 0.0
        self.thread = 0
        self.floor: frozenset[int] = frozenset()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._window_ends_s = 0.0
        self._worst_s = self._worst_before_s = 0.0

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin to beat; call it in the thread that runs ``loop``."""
        self._loop = loop
        self.thread = threading.get_ident()
        self.beat_s = monotonic()
        self._window_ends_s = self.beat_s + WINDOW_S
        self._timer = loop.call_later(PERIOD_S, self._beat)

    def stop(self) -> None:
        """Beat no more. Stopping twice does nothing."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = self._loop = None

    def worst_lag_s(self) -> float:
        """Return the worst lag of the last seconds."""
        return max(self._worst_s, self._worst_before_s)

    def _beat(self) -> None:
        if self._loop is None:
            return
        now_s = monotonic()
        pause_s = now_s - self.beat_s
        self.lag_s = lag_s = max(0.0, pause_s - PERIOD_S)
        if not self.floor:
            self.floor = _frames_below(sys._getframe())
        if now_s >= self._window_ends_s:
            self._worst_before_s, self._worst_s = self._worst_s, 0.0
            self._window_ends_s = now_s + WINDOW_S
        self._worst_s = max(self._worst_s, lag_s)
        if pause_s > HELD_S:
            self.resumed_s = now_s
        self.beat_s = now_s
        self._timer = self._loop.call_later(PERIOD_S, self._beat)


def _frames_below(frame: object) -> frozenset[int]:
    ids = []
    frame = getattr(frame, "f_back", None)
    while frame is not None:
        ids.append(id(frame))
        frame = getattr(frame, "f_back", None)
    return frozenset(ids)
