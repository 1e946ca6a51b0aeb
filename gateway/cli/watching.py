"""Go on showing the situation: redrawn on a terminal, as a line for each change anywhere else."""

from __future__ import annotations

import json
import sys
import time
from datetime import datetime
from typing import TYPE_CHECKING, NoReturn

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from gateway.cli.output import out
from gateway.cli.status_text import status_lines
from gateway.rollout.wording import differing, verdict

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.cli.situation import RouteNow, Situation


def watch(situation: Callable[[], Situation], *, period_s: float, is_json: bool) -> NoReturn:
    """Show it every ``period_s`` seconds until Ctrl-C, which raises ``KeyboardInterrupt``."""
    console = Console(highlight=False, markup=False)
    if console.is_terminal and not is_json:
        _redraw(situation, console, period_s)
    _tell_changes(situation, period_s, is_json=is_json)


def _redraw(situation: Callable[[], Situation], console: Console, period_s: float) -> NoReturn:
    with Live(console=console, auto_refresh=False, screen=True, vertical_overflow="ellipsis") as live:
        while True:
            lines = status_lines(situation(), console.width, is_cut=True)
            live.update(Group(*(Text.assemble(*line, no_wrap=True) for line in lines)), refresh=True)
            time.sleep(period_s)


def _tell_changes(situation: Callable[[], Situation], period_s: float, *, is_json: bool) -> NoReturn:
    told: dict[str, str] = {}
    while True:
        now = situation()
        for route in now.routes:
            if route.is_quiet and route.standing.key not in told:
                continue
            text = _one_line(route)
            if told.get(route.standing.key) != text:
                told[route.standing.key] = text
                _say(route, text, now.now, is_json=is_json)
        if told.get("") != now.note:
            told[""] = now.note
            if now.note:
                out(f"No gateway can be asked: {now.note}")
        sys.stdout.flush()
        time.sleep(period_s)


def _say(route: RouteNow, text: str, now: float, *, is_json: bool) -> None:
    if is_json:
        from dataclasses import asdict

        sys.stdout.write(json.dumps({"at": now, **asdict(route)}, default=str) + "\n")
        return
    out(f"{datetime.fromtimestamp(now).astimezone():%H:%M:%S}  {text}")


def _one_line(route: RouteNow) -> str:
    """Return everything that may change of a route in one line, but for what changes by the clock."""
    standing = route.standing
    parts = [f"{standing.key}  {standing.step}"]
    if standing.is_held:
        parts.append("held")
    if route.breaker and route.breaker.get("state") != "closed":
        parts.append("breaker open")
    if standing.comparisons:
        parts.append(differing(standing))
    if standing.is_rolled_back or standing.outcome in ("pass", "fail"):
        parts.append(verdict(standing))
    return "  ".join(parts)
