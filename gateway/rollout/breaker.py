"""Cut one route off from new the moment new breaks, and try again later. Pure: time is an argument.

    closed ──5 failures in a row, over half of ≥ 20 in 10 s, or over 20% fallbacks──▶ open
    open ──30 s × times opened──▶ half-open: one request goes to new, the rest to legacy
    half-open ──it succeeds──▶ closed        ──it fails──▶ open, one time more

It never opens while legacy is failing as well, for then legacy is no way out: new keeps its share, and the
trouble is reported. The breaker is instant and forgets; a verdict is judged and lasts. Times are seconds of
any monotonic clock. Not safe for several threads: it belongs to one event loop.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

FAILURES_IN_A_ROW = 5
WINDOW_S = 10
MIN_ANSWERS = 20
MAX_FAILURE_SHARE = 0.5
MAX_FALLBACK_SHARE = 0.2
FIRST_WAIT_S = 30.0
PROBE_LIMIT_S = 60.0
"""How long a probe may go unanswered before it counts as lost, and another is let through."""
FORGIVEN_AFTER_S = 600.0
"""How long the breaker must have stayed closed before ``times_opened`` starts anew."""


class BreakerState(StrEnum):
    """Say what the breaker does with requests for new."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


_CLOSED = BreakerState.CLOSED

Way = Literal["new", "legacy", "probe"]
"""Where a request that was decided for new goes; a ``probe`` goes to new, and its result decides."""


class _Window:
    """Count answers, failures and fallbacks of the last ten seconds, in slots of one second."""

    __slots__ = ("_answers", "_failures", "_second", "_slot", "_slot_ends_at")

    def __init__(self) -> None:
        self._answers = [0] * WINDOW_S
        self._failures = [0] * WINDOW_S
        self._second: int | None = None
        self._slot = 0
        self._slot_ends_at = float("-inf")

    def answer(self, now: float) -> None:
        """Count one that is no failure."""
        if now >= self._slot_ends_at:
            self._turn(now)
        self._answers[self._slot] += 1

    def add(self, now: float, *, is_failure: bool) -> None:
        self.answer(now)
        if is_failure:
            self._failures[self._slot] += 1

    def sums(self, now: float) -> tuple[int, int]:
        """Return (answers, failures)."""
        self._turn(now)
        return sum(self._answers), sum(self._failures)

    def _turn(self, now: float) -> None:
        """Empty the slots of the seconds that have gone by; time never runs backwards here."""
        second = int(now)
        if self._second is None:
            self._second = second
        for passed in range(max(self._second + 1, second - WINDOW_S + 1), second + 1):
            self._answers[passed % WINDOW_S] = 0
            self._failures[passed % WINDOW_S] = 0
        self._second = max(self._second, second)
        self._slot = self._second % WINDOW_S
        self._slot_ends_at = self._second + 1


class _Side:
    """Follow one backend's answers on the route."""

    __slots__ = ("in_a_row", "last_failure_at", "window")

    def __init__(self) -> None:
        self.window = _Window()
        self.in_a_row = 0
        self.last_failure_at = float("-inf")

    def add(self, now: float, *, is_failure: bool) -> None:
        self.window.add(now, is_failure=is_failure)
        if is_failure:
            self.in_a_row += 1
            self.last_failure_at = now
        else:
            self.in_a_row = 0

    def is_failing(self, now: float) -> bool:
        answers, failures = self.window.sums(now)
        if self.in_a_row >= FAILURES_IN_A_ROW and now - self.last_failure_at < WINDOW_S:
            return True
        return answers >= MIN_ANSWERS and failures > answers * MAX_FAILURE_SHARE


class Breaker:
    """Be the breaker of one route towards new.

    Ask :meth:`way` for each request decided for new, and report each answer of either backend. A report
    that opened or closed it returns True.
    """

    __slots__ = (
        "_closed_at",
        "_fallbacks",
        "_legacy",
        "_new",
        "_opened_at",
        "_probe_at",
        "is_legacy_failing",
        "reason",
        "state",
        "times_opened",
    )

    def __init__(self) -> None:
        self.state = BreakerState.CLOSED
        self.times_opened = 0
        self.reason = ""
        self.is_legacy_failing = False
        """Whether new broke while legacy was failing as well, which left the breaker closed."""
        self._new = _Side()
        self._legacy = _Side()
        self._fallbacks = _Window()
        self._opened_at = 0.0
        self._closed_at: float | None = None
        self._probe_at: float | None = None

    @property
    def wait_s(self) -> float:
        """Return how long the breaker stays open this time, in seconds."""
        return FIRST_WAIT_S * self.times_opened

    def way(self, now: float) -> Way:
        """Return where a request that was decided for new goes."""
        if self.state is BreakerState.CLOSED:
            return "new"
        if self.state is BreakerState.OPEN and now - self._opened_at >= self.wait_s:
            self.state = BreakerState.HALF_OPEN
            self._probe_at = None
        if self.state is BreakerState.HALF_OPEN and (
            self._probe_at is None or now - self._probe_at >= PROBE_LIMIT_S
        ):
            self._probe_at = now
            return "probe"
        return "legacy"

    def record_new(self, now: float, *, is_failure: bool, is_probe: bool = False) -> bool:
        """Report an answer of new: a failure is a 5xx, an exception or a timeout.

        Answers to requests that were let through before the breaker opened change nothing any more.
        """
        if self.state is BreakerState.CLOSED:
            if not is_failure:
                self.succeed(now)
                return False
            self._new.add(now, is_failure=True)
            return self._open_if_broken(now)
        if not is_probe or self.state is not BreakerState.HALF_OPEN:
            return False
        if is_failure:
            self._open(now, "the request that tried new again failed")
        else:
            self._close(now)
        return True

    def succeed(self, now: float) -> None:
        """Report an answer of new that is no failure, to a request that was no probe: by far the most."""
        if self.state is _CLOSED:
            side = self._new
            side.in_a_row = 0
            side.window.answer(now)
            if self.is_legacy_failing:
                self.is_legacy_failing = side.is_failing(now)

    def abandon_probe(self) -> None:
        """Report that a probe ended without an answer (the client left): the next request is the probe."""
        self._probe_at = None

    def record_legacy(self, now: float, *, is_failure: bool) -> None:
        """Report an answer of legacy on the route, as primary or as the fallback."""
        self._legacy.add(now, is_failure=is_failure)
        if self.is_legacy_failing and not self._legacy.is_failing(now):
            self.is_legacy_failing = False

    def record_request(self, now: float, *, is_fallback: bool) -> bool:
        """Report one finished request of the route, whoever answered it; the fallbacks have a budget."""
        self._fallbacks.add(now, is_failure=is_fallback)
        return is_fallback and self.state is BreakerState.CLOSED and self._open_if_broken(now)

    def _open_if_broken(self, now: float) -> bool:
        reason = self._broken(now)
        if not reason:
            return False
        self.is_legacy_failing = self._legacy.is_failing(now)
        if self.is_legacy_failing:
            return False
        self._open(now, reason)
        return True

    def _broken(self, now: float) -> str:
        if self._new.in_a_row >= FAILURES_IN_A_ROW:
            return f"{self._new.in_a_row} failures of new in a row"
        answers, failures = self._new.window.sums(now)
        if answers >= MIN_ANSWERS and failures > answers * MAX_FAILURE_SHARE:
            return f"{failures} of {answers} answers of new failed in {WINDOW_S} s"
        requests, fallbacks = self._fallbacks.sums(now)
        if requests >= MIN_ANSWERS and fallbacks > requests * MAX_FALLBACK_SHARE:
            return f"{fallbacks} of {requests} requests fell back to legacy in {WINDOW_S} s"
        return ""

    def _open(self, now: float, reason: str) -> None:
        if self._closed_at is not None and now - self._closed_at >= FORGIVEN_AFTER_S:
            self.times_opened = 0
        self.state = BreakerState.OPEN
        self.reason = reason
        self.times_opened += 1
        self._opened_at = now
        self._closed_at = None
        self._probe_at = None

    def _close(self, now: float) -> None:
        """Trust new again; the windows are empty by now, since it was open for longer than they reach."""
        self.state = BreakerState.CLOSED
        self.reason = ""
        self._closed_at = now
        self._probe_at = None
        self._new.in_a_row = 0
