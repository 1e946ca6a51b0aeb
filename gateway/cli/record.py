"""``gateway record``: serve as ``gateway serve`` does, while the worker writes a HAR file of what is served.

The worker learns of the recording from its environment, and the file itself tells how far it is: nothing
here stands in the way of a request. When the recording ends serving goes on, for its clients' sake.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import secrets
import shlex
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.cli.serve import WRONG_USAGE, make_parser, serve, serve_options
from gateway.processes.control import START_FAILED
from gateway.recording.archive import ArchiveError, RecordingState, create_archive, read_state
from gateway.recording.options import (
    DEFAULT_BODY_CAP_BYTES,
    DEFAULT_LIMIT,
    DEFAULT_SIZE_BYTES,
    RECORD_VARIABLE,
    RecordOptions,
)
from gateway.table.spelling import Wrong
from gateway.table.units import FULL_BP, duration_s, percent_bp, size_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from gateway.processes.child import ServeOptions

DEFAULT_OUTPUT = "recording.har"
POLL_S = 0.5
PLAIN_LINE_EVERY_S = 10.0
MEBIBYTE = 1 << 20


@dataclass(frozen=True, slots=True)
class Call:
    """Be one call of the verb: what to serve, what to record, and what to do at the end."""

    serving: ServeOptions
    recording: RecordOptions
    shown_path: str
    is_forced: bool
    is_exiting: bool


def run(arguments: Sequence[str]) -> int:
    """Serve and record until stopped; return the exit status (0, 2, 3 or 130)."""
    try:
        call = read_call(arguments, os.environ)
    except SystemExit as exit_:  # argparse's way to say help, or wrong usage
        return exit_.code if isinstance(exit_.code, int) else WRONG_USAGE
    path = Path(call.recording.path)
    try:
        if call.is_forced:
            path.unlink(missing_ok=True)
        create_archive(path, is_redacted=call.recording.is_redacting)
    except (ArchiveError, OSError) as exc:
        print(f"gateway record: {exc}", file=sys.stderr)
        return START_FAILED
    os.environ[RECORD_VARIABLE] = call.recording.encode()
    watch = Watch(call)
    try:
        return serve(call.serving, alongside=watch.start)
    finally:
        watch.finish()


class Watch:
    """Tell on the terminal how the recording goes, and what to do with it at its end."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self._path = Path(call.recording.path)
        self._task: asyncio.Task[None] | None = None
        self._is_told = False
        self._is_terminal = sys.stdout.isatty()
        self._line = ""

    async def start(self) -> None:
        """Say what is recorded, and follow it from now on."""
        print(f"\n{announcement(self._call)}", flush=True)
        self._task = asyncio.get_running_loop().create_task(self._follow())

    async def _follow(self) -> None:
        told_at = time.monotonic()
        while True:
            await asyncio.sleep(POLL_S)
            state = read_state(self._path)
            if state is None:
                continue
            if state.ended:
                break
            if self._is_terminal or time.monotonic() - told_at >= PLAIN_LINE_EVERY_S:
                told_at = time.monotonic()
                self._tell(progress(state))
        if self._call.is_exiting:
            signal.raise_signal(signal.SIGTERM)
        else:
            self._sum_up(state)
            print("Still serving; Ctrl-C stops.", flush=True)

    def _tell(self, line: str) -> None:
        if line == self._line:
            return
        if self._is_terminal:
            print(f"\r{line.ljust(len(self._line))}", end="", flush=True)
        else:
            print(line, flush=True)
        self._line = line

    def finish(self) -> None:
        """Say what came of it, unless that was said; throw away a file that holds nothing."""
        state = read_state(self._path)
        if state is not None and not state.entries:
            with contextlib.suppress(OSError):
                self._path.unlink()
        if self._task is not None and not self._is_told:
            self._sum_up(state or RecordingState())

    def _sum_up(self, state: RecordingState) -> None:
        self._is_told = True
        if self._line and self._is_terminal:
            print()
        print(f"\n{summary(self._call, state)}", flush=True)


def announcement(call: Call) -> str:
    """Return what is printed when the recording begins."""
    options = call.recording
    bounds = [f"{options.limit:,} exchanges", f"{options.size_bytes / MEBIBYTE:g} MiB"]
    if options.for_s is not None:
        bounds.append(f"{options.for_s:g} s")
    share = "" if options.sample_bp == FULL_BP else f", of {options.sample_bp / 100:g}% of the callers"
    lines = [f"Recording to {call.shown_path}: up to {', '.join(bounds)}{share}."]
    if options.is_redacting:
        more = f", and {', '.join(options.redact)}" if options.redact else ""
        lines.append(f"Secrets are replaced by digests before they are written{more}.")
    else:
        lines.append("SECRETS ARE RECORDED (--redact off): passwords, cookies and tokens stand in the file.")
    return "\n".join(lines)


def progress(state: RecordingState) -> str:
    """Return one line that says how far the recording is."""
    return f"  recorded: {_counts(state)}{_lost(state)}"


def summary(call: Call, state: RecordingState) -> str:
    """Return what is printed at the end, with the command to type next."""
    if not state.entries:
        return f"Nothing was recorded{_lost(state)}; no request came while {call.shown_path} was open."
    why = f": {state.ended}" if state.ended else ""
    return (
        f"The recording has ended{why}. {call.shown_path} holds {_counts(state)}{_lost(state)}.\n"
        f"Next: gateway compare {shlex.quote(call.shown_path)}"
    )


def _counts(state: RecordingState) -> str:
    exchanges = f"{state.entries:,} exchange{'' if state.entries == 1 else 's'}"
    return f"{exchanges} in {state.sessions:,} session{'' if state.sessions == 1 else 's'}"


def _lost(state: RecordingState) -> str:
    lost = ", ".join(f"{count:,} ({reason})" for reason, count in state.dropped.items() if count)
    return f"; lost: {lost}" if lost else ""


def read_call(arguments: Sequence[str], environ: Mapping[str, str]) -> Call:
    """Return what the command line asks for; exit with 2 when it makes no sense, with 3 without a table."""
    parser = make_record_parser(environ)
    parsed = parser.parse_args(arguments)
    if parsed.workers != 1:
        parser.error("--workers: a recording is written by one worker; leave it out")
    is_redacting = parsed.redact != ["off"]
    if is_redacting and "off" in parsed.redact:
        parser.error("--redact: either off, or names")
    path = Path(parsed.output)
    return Call(
        serving=serve_options("record", parsed, environ),
        recording=RecordOptions(
            path=str(path.absolute()),
            key=secrets.token_hex(32),
            limit=parsed.limit,
            for_s=parsed.for_,
            size_bytes=parsed.max_size,
            body_cap_bytes=parsed.body_cap,
            sample_bp=parsed.sample,
            is_redacting=is_redacting,
            redact=tuple(parsed.redact) if is_redacting else (),
        ),
        shown_path=str(path),
        is_forced=parsed.force,
        is_exiting=parsed.exit,
    )


def make_record_parser(environ: Mapping[str, str]) -> argparse.ArgumentParser:
    """Return the parser of ``gateway record``: that of ``gateway serve``, and the recording's own options."""
    parser = make_parser("record", environ)
    parser.set_defaults(workers=1)  # GATEWAY_WORKERS is meant for serving
    parser.description = "Serve the two apps behind one address, and record what is served."
    parser.epilog = (
        "Serving options can also be set as GATEWAY_OPTION in the environment, as for gateway serve."
    )
    add = parser.add_argument_group("recording").add_argument
    add("--output", default=DEFAULT_OUTPUT, metavar="FILE", help=f"the HAR file to write ({DEFAULT_OUTPUT})")
    add("--force", action="store_true", help="replace FILE if it is there")
    add(
        "--limit",
        type=_limit,
        default=DEFAULT_LIMIT,
        metavar="N",
        help=f"end after N exchanges ({DEFAULT_LIMIT})",
    )
    add("--for", dest="for_", type=_read(duration_s), metavar="DURATION", help="end after this time, as 10m")
    size = f"{DEFAULT_SIZE_BYTES // MEBIBYTE}MiB"
    add("--max-size", type=_read(size_bytes), default=size, metavar="SIZE", help=f"end at this size ({size})")
    cap = f"{DEFAULT_BODY_CAP_BYTES // MEBIBYTE}MiB"
    add(
        "--body-cap",
        type=_read(size_bytes),
        default=cap,
        metavar="SIZE",
        help=f"keep so much of a body ({cap})",
    )
    add(
        "--sample", type=_read(percent_bp), default="100%", metavar="PERCENT", help="share of callers (100%%)"
    )
    add(
        "--redact",
        type=_names,
        default=[],
        metavar="NAMES",
        help="more names whose values are secret, comma-separated; off records secrets, too",
    )
    add("--exit", action="store_true", help="stop serving when the recording has ended")
    return parser


def _limit(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= 1_000_000:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of exchanges: 1 to 1000000")
    return int(text)


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _read(quantity: Callable[[object], float | int]) -> Callable[[str], float | int]:
    def read(text: str) -> float | int:
        try:
            return quantity(text)
        except Wrong as wrong:
            repair = f"; {wrong.repair}" if wrong.repair else ""
            raise argparse.ArgumentTypeError(f"{wrong.message}{repair}") from wrong

    return read
