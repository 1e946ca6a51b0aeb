"""Name whoever holds the event loop: the route, and where its code stands.

An ``async def`` that calls something blocking stops every request of its worker, and nothing in the loop
can say so. A thread looks on: it asks ten times a second when the loop last turned, and does nothing else
while all is well. What holds the loop is found in the frames of its thread. Each block is told once, when it
has begun and when it has ended; a route that goes on doing it is told of now and then, and always counted.

It runs as Python code: a function that keeps the interpreter to itself (a regular expression that backtracks
for seconds) is only seen when it returns.
"""

from __future__ import annotations

import asyncio
import linecache
import logging
import os
import selectors
import sys
import sysconfig
import threading
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

from gateway.compat import ROLE_KEY
from gateway.serving import front
from gateway.serving.generation import Way

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

    from gateway.serving.generation import Generation
    from gateway.serving.pulse import Pulse

log = logging.getLogger("gateway.watchdog")

CHECK_EVERY_S = 0.1
LIMIT_S = 0.3
"""How long the loop may stand still: told at the latest ``CHECK_EVERY_S`` later, half a second after."""

QUIET_S = 30.0
"""How long a route is not told of again."""

SHOWN_FRAMES = 12

_LOOP_FILES = (str(Path(asyncio.__file__).parent), selectors.__file__, threading.__file__)
_LIBRARY_FOLDERS = tuple(
    {
        "<frozen ",
        *(sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")),
        str(Path(__file__).parents[1]),
    }
)


@dataclass(slots=True)
class _Block:
    """Be a block that has begun: since when, by whom, and whether its beginning was told."""

    beat_s: float
    holder: str
    is_told: bool


class Watchdog:
    """Watch the loop of ``pulse``.

    ``generation`` returns the one in force; a block by a request counts in its tally, any other in
    ``blocks``.
    """

    def __init__(self, pulse: Pulse, generation: Callable[[], Generation]) -> None:
        self.blocks = 0
        self._pulse = pulse
        self._generation = generation
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._told_s: dict[str, float] = {}
        self._untold: Counter[str] = Counter()

    def start(self) -> None:
        """Begin to watch."""
        self._stop.clear()
        self._thread = threading.Thread(target=self._watch, name="gateway-watchdog", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Watch no more, and wait for the thread. Stopping twice does nothing."""
        self._stop.set()
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.join(1.0)

    def _watch(self) -> None:
        block: _Block | None = None
        while not self._stop.wait(CHECK_EVERY_S):
            try:
                block = self._look(block)
            except Exception:
                log.exception("the watchdog stumbled, and goes on")

    def _look(self, block: _Block | None) -> _Block | None:
        """Look once; return the block that goes on."""
        pulse = self._pulse
        beat_s = pulse.beat_s
        if block is not None:
            if beat_s == block.beat_s:
                return block
            if block.is_told:
                log.warning(
                    "the event loop turns again: %s held it for %.1f s",
                    block.holder,
                    pulse.resumed_s - block.beat_s,
                )
        held_s = monotonic() - beat_s
        if held_s <= LIMIT_S:
            return None
        frames = _frames_of(pulse)
        if not frames:  # the whole process was stopped, or is short of processor time
            return None
        return self._begin(beat_s, held_s, frames)

    def _begin(self, beat_s: float, held_s: float, frames: list[FrameType]) -> _Block:
        way, is_shadow = _way_of(frames, self._generation())
        if way is not None:
            way.tally.blocks += 1
        else:
            self.blocks += 1
        holder = _name(way, is_shadow=is_shadow)
        now_s = monotonic()
        told_s = self._told_s.get(holder)
        if told_s is not None and now_s - told_s < QUIET_S:
            self._untold[holder] += 1
            return _Block(beat_s, holder, is_told=False)
        self._told_s[holder] = now_s
        more = self._untold.pop(holder, 0)
        log.error(
            "the event loop has stood still for %.1f s: %s holds it, and every request of this worker "
            "waits%s\n%s",
            held_s,
            holder,
            f" ({more} more times since it was last told)" if more else "",
            "\n".join(_stack(frames)),
        )
        return _Block(beat_s, holder, is_told=True)


def _frames_of(pulse: Pulse) -> list[FrameType]:
    """Return what runs in the loop's thread on top of the loop, innermost first; nothing where it idles."""
    frames = []
    frame = sys._current_frames().get(pulse.thread)
    while frame is not None and id(frame) not in pulse.floor:
        frames.append(frame)
        frame = frame.f_back
    return frames if any(not frame.f_code.co_filename.startswith(_LOOP_FILES) for frame in frames) else []


def _way_of(frames: list[FrameType], generation: Generation) -> tuple[Way | None, bool]:
    """Return the way of the request that the frames serve, or None; and whether it is a second call."""
    scopes = list(_scopes_of(frames))
    is_shadow = any(scope.get(ROLE_KEY) == "shadow" for scope in scopes)
    for frame in frames:
        if frame.f_code.co_filename == front.__file__:
            way = frame.f_locals.get("way")
            if isinstance(way, Way):
                return way, is_shadow
    for scope in scopes:  # the outermost has the path as it came
        return generation.way_of(scope["method"], scope["path"]), is_shadow
    return None, False


def _scopes_of(frames: list[FrameType]) -> Iterator[dict[str, Any]]:
    """Yield the scopes of HTTP requests that the frames hold, outermost first."""
    for frame in reversed(frames):
        scope = frame.f_locals.get("scope")
        if isinstance(scope, dict) and scope.get("type") == "http" and scope.keys() >= {"method", "path"}:
            yield scope


def _name(way: Way | None, *, is_shadow: bool) -> str:
    if way is None:
        return "no request"
    name = way.tally.route if way.route is not None else "a request that no row takes"
    return f"the second call of {name}" if is_shadow else name


def _stack(frames: list[FrameType]) -> list[str]:
    """Word the frames, innermost first: those of the apps, then what they called in libraries."""
    own = [frame for frame in frames if not frame.f_code.co_filename.startswith(_LIBRARY_FOLDERS)]
    within = frames[: frames.index(own[0])] if own else frames
    lines = [_line(frame) for frame in own[:SHOWN_FRAMES]]
    if own and within:
        lines.append("  which called, innermost first")
    return lines + [_line(frame) for frame in within[: max(SHOWN_FRAMES - len(lines), 3)]]


def _line(frame: FrameType) -> str:
    code = frame.f_code
    source = linecache.getline(code.co_filename, frame.f_lineno).strip()
    place = f"  {os.path.relpath(code.co_filename)}:{frame.f_lineno} in {code.co_name}"
    return f"{place}: {source[:120]}" if source else place
