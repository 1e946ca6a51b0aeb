"""Stop the clock and fix the dice of this process, so that two implementations see the same time and chance.

Called before the app is imported. Each request is given its own moment and its own seed, the same on both
sides: what is stamped, signed or drawn while it runs is the same too, unless the two draw in another order.

Frozen: ``time.time`` and its kin, ``datetime.now/utcnow/today``, ``date.today``; the ``random`` module,
``os.urandom`` and what is made of it (``secrets``, ``uuid.uuid4``). Not frozen: monotonic clocks, which event
loops and timeouts live by; a database's own clock; NumPy; OpenSSL.
"""

from __future__ import annotations

import ctypes
import datetime
import gc
import os
import random
import time
from typing import Any

BEFORE_S = 600
"""How long before the run the frozen time lies, so that it is never taken for the present."""


class Clock:
    """Be the moment that everything in this process takes for now, in seconds since 1970."""

    def __init__(self, start_s: int, seed: str) -> None:
        self._start_s = start_s
        self._seed = seed
        self.now_s = start_s
        self._dice = random.Random(seed)  # noqa: S311 - to be foreseen is what it is for

    def move(self, moment: str) -> None:
        """Go to a request's own moment: ``N:NAME``, the N-th second after the start, with the seed NAME."""
        number, _, name = moment.partition(":")
        self.now_s = self._start_s + (int(number) if number.isdigit() else 0)
        self._dice.seed(f"{self._seed}/{moment}/{name}")
        random.seed(f"{self._seed}/{moment}")

    def draw(self, size: int) -> bytes:
        """Return bytes in place of the operating system's."""
        return self._dice.randbytes(size)


def freeze(text: str) -> Clock:
    """Freeze this process at ``START:SEED`` (seconds since 1970, and any text), for good."""
    start, _, seed = text.partition(":")
    clock = Clock(int(start), seed)
    _freeze_time(clock)
    _freeze_datetime(clock)
    _freeze_chance(clock)
    clock.move("0:start")
    return clock


def _freeze_time(clock: Clock) -> None:
    gmtime, localtime, strftime, ctime = time.gmtime, time.localtime, time.strftime, time.ctime
    clock_gettime = time.clock_gettime

    def now_or(seconds: float | None) -> float:
        return clock.now_s if seconds is None else seconds

    frozen: dict[str, Any] = {
        "time": lambda: float(clock.now_s),
        "time_ns": lambda: clock.now_s * 1_000_000_000,
        "gmtime": lambda seconds=None: gmtime(now_or(seconds)),
        "localtime": lambda seconds=None: localtime(now_or(seconds)),
        "ctime": lambda seconds=None: ctime(now_or(seconds)),
        "strftime": lambda form, moment=None: strftime(
            form, localtime(clock.now_s) if moment is None else moment
        ),
        "clock_gettime": lambda which: (
            float(clock.now_s) if which == time.CLOCK_REALTIME else clock_gettime(which)
        ),
    }
    for name, function in frozen.items():
        setattr(time, name, function)


def _freeze_datetime(clock: Clock) -> None:
    """Replace methods of the built-in classes themselves: a class in their place would be another type."""
    real_date, real_datetime = datetime.date, datetime.datetime

    def now(cls: type[datetime.datetime], tz: datetime.tzinfo | None = None) -> datetime.datetime:
        return cls.fromtimestamp(clock.now_s, tz)

    def utcnow(cls: type[datetime.datetime]) -> datetime.datetime:
        return cls.fromtimestamp(clock.now_s, datetime.UTC).replace(tzinfo=None)

    def today(cls: type[datetime.date]) -> datetime.date:
        return cls.fromtimestamp(clock.now_s)

    _set_on_builtin(real_datetime, "now", classmethod(now))
    _set_on_builtin(real_datetime, "utcnow", classmethod(utcnow))
    _set_on_builtin(real_datetime, "today", classmethod(today))
    _set_on_builtin(real_date, "today", classmethod(today))


def _set_on_builtin(owner: type, name: str, value: object) -> None:
    # The dictionary behind the read-only proxy; CPython's attribute cache is told afterwards.
    attributes = gc.get_referents(owner.__dict__)[0]
    attributes[name] = value
    ctypes.pythonapi.PyType_Modified(ctypes.py_object(owner))


def _freeze_chance(clock: Clock) -> None:
    os.urandom = clock.draw
    random._urandom = clock.draw  # type: ignore[attr-defined] # what SystemRandom, and so secrets, draws from
    if hasattr(os, "getrandom"):
        os.getrandom = lambda size, flags=0: clock.draw(size)
