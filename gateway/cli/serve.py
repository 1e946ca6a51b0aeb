"""``gateway serve`` and ``gateway dev``: read the options, bind, supervise, and say what is served.

Options are read by argparse: typer would double the start-up and the memory of a process that then idles
for months. An option's default comes from ``GATEWAY_<OPTION>``, as :mod:`gateway.settings` has it.
"""

from __future__ import annotations

import argparse
import asyncio
import errno
import os
import secrets
import socket
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from gateway.processes.admin_file import AdminNote, note_path, remove_note, url_of, write_note
from gateway.processes.admin_listener import AdminListener
from gateway.processes.child import ServeOptions
from gateway.processes.control import DEFAULT_APP, START_FAILED
from gateway.processes.journal import configure_journal
from gateway.processes.sockets import ListenError, address_of, bind
from gateway.processes.supervisor import Supervisor

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from gateway.web.reports import Overview

    Alongside = Callable[[], Awaitable[None]]

WRONG_USAGE = 2


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        print(f"{self.prog}: {message}; see `{self.prog} --help`", file=sys.stderr)
        raise SystemExit(WRONG_USAGE)


def run(verb: str, arguments: Sequence[str]) -> int:
    """Serve until stopped; return the exit status (0, 2, 3 or 130)."""
    try:
        options = read_options(verb, arguments, os.environ)
    except SystemExit as exit_:  # argparse's way to say help, or wrong usage
        return exit_.code if isinstance(exit_.code, int) else WRONG_USAGE
    return serve(options)


def serve(options: ServeOptions, *, alongside: Alongside | None = None) -> int:
    """Bind, supervise and serve until stopped; ``alongside`` is awaited once everything serves."""
    configure_journal(options.log_level)
    token = options.admin_token or secrets.token_urlsafe(24)
    listeners: list[socket.socket] = []
    try:
        listeners += bind(options.host, options.port, options.workers)
        admin = AdminListener(*options.admin, token) if options.admin else None
        return asyncio.run(_supervise(options, listeners, admin, token, alongside))
    except ListenError as exc:
        print(f"gateway: {exc}; {_way_out(exc, is_admin=bool(listeners))}", file=sys.stderr)
        return START_FAILED
    finally:
        for listener in listeners:
            listener.close()


def _way_out(error: ListenError, *, is_admin: bool) -> str:
    """Name the option that mends an address that cannot be listened on."""
    if is_admin:
        return "choose another with --admin HOST:PORT, or --admin off"
    cause = error.__cause__
    is_host = isinstance(cause, socket.gaierror) or getattr(cause, "errno", None) == errno.EADDRNOTAVAIL
    return f"choose another with {'--host' if is_host else '--port'}"


async def _supervise(
    options: ServeOptions,
    listeners: list[socket.socket],
    admin: AdminListener | None,
    token: str,
    alongside: Alongside | None,
) -> int:
    note = note_path(options.config)

    async def announce(supervisor: Supervisor) -> None:
        if admin is not None:
            admin.start(supervisor.overview, supervisor.ask)
            write_note(note, AdminNote(url_of(address_of(admin.socket)), token, os.getpid()))
        where = f"http://{address_of(admin.socket)}/" if admin else ""
        secret = "" if options.admin_token else f"?token={token}"
        print(banner(supervisor.overview(), options, where and where + secret), flush=True)
        if alongside is not None:
            await alongside()

    try:
        return await Supervisor(options, listeners, on_ready=announce).run()
    finally:
        if admin is not None:
            remove_note(note, pid=os.getpid())
            await admin.stop()


def banner(overview: Overview, options: ServeOptions, admin_url: str) -> str:
    """Return what is printed once everything serves."""
    report = overview.report
    workers = f"{options.workers} worker{'s' if options.workers > 1 else ''}"
    lines = [f"Serving {overview.config} on http://{overview.address} with {workers}.", ""]
    lines += [f"  {name:<8}{value}" for name, value in report.backends.items()]
    listed = Counter(route.stage for route in report.routes if route.is_listed)
    implicit = sum(not route.is_listed for route in report.routes)
    stages = ", ".join(f"{listed[stage]} {stage}" for stage in _STAGES if listed[stage]) or "none"
    rest = f"; {implicit} implicit, served by legacy" if implicit else ""
    lines.append(f"  {'rows':<8}{stages}{rest}")
    if admin_url:
        own = " (its token is GATEWAY_ADMIN_TOKEN)" if options.admin_token else ""
        lines.append(f"  {'admin':<8}{admin_url}{own}")
    how = (
        "Python files are watched"
        if options.is_reloading
        else f"kill -HUP {os.getpid()} restarts the workers"
    )
    lines += ["", f"{how}, Ctrl-C stops."]
    return "\n".join(lines)


_STAGES = ("legacy", "shadow", "canary", "new", "retired")


def read_options(verb: str, arguments: Sequence[str], environ: Mapping[str, str]) -> ServeOptions:
    """Return the options of ``gateway serve`` or ``dev``; exit with 2 when they make no sense."""
    return serve_options(verb, make_parser(verb, environ).parse_args(arguments), environ)


def serve_options(verb: str, parsed: argparse.Namespace, environ: Mapping[str, str]) -> ServeOptions:
    """Return what the parser of :func:`make_parser` has read; exit with 3 when there is no table."""
    if not Path(parsed.config).is_file() and parsed.app == DEFAULT_APP:
        print(f"gateway: there is no {parsed.config} here; `gateway init` writes one", file=sys.stderr)
        raise SystemExit(START_FAILED)
    return ServeOptions(
        config=parsed.config,
        host=parsed.host,
        port=parsed.port,
        workers=parsed.workers,
        admin=parsed.admin,
        admin_token=environ.get("GATEWAY_ADMIN_TOKEN") or None,
        grace_s=parsed.grace,
        log_level=parsed.log_level,
        is_access_logged=parsed.access_log,
        is_reloading=verb == "dev",
        app=parsed.app,
    )


def make_parser(verb: str, environ: Mapping[str, str]) -> argparse.ArgumentParser:
    """Return the parser of ``gateway <verb>``, with the environment's values as defaults."""

    def default(name: str, value: str) -> str:
        return environ.get(f"GATEWAY_{name}") or value

    more = " and restart whenever a Python file changes" if verb == "dev" else ""
    parser = _Parser(
        prog=f"gateway {verb}",
        description=f"Serve the two apps behind one address{more}.",
        epilog="Every option but --access-log can also be set as GATEWAY_OPTION in the environment; "
        "GATEWAY_ADMIN_TOKEN sets the admin listener's token, which is made at each start otherwise.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--config", default=default("CONFIG", "routing.yaml"), metavar="FILE", help="the migration table")
    add("--host", default=default("HOST", "127.0.0.1"), help="address to listen on (127.0.0.1)")
    add("--port", type=_port, default=default("PORT", "8000"), help="port to listen on (8000)")
    add("--workers", type=_count, default=default("WORKERS", "1"), metavar="N", help="worker processes (1)")
    admin_help = "admin listener: HOST:PORT, PORT or off (127.0.0.1:8001)"
    add(
        "--admin", type=_admin, default=default("ADMIN", "127.0.0.1:8001"), metavar="ADDRESS", help=admin_help
    )
    grace = "1" if verb == "dev" else "10"
    grace_help = f"how long a stopping worker may finish what it serves ({grace})"
    add("--grace", type=_seconds, default=default("GRACE", grace), metavar="SECONDS", help=grace_help)
    levels = ("debug", "info", "warning", "error")
    add("--log-level", choices=levels, default=default("LOG_LEVEL", "info"), help="how much to log (info)")
    add("--access-log", action="store_true", help="log every request")
    add("--app", default=DEFAULT_APP, help=argparse.SUPPRESS)
    return parser


def _port(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 0 <= int(text) <= 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is no port: a number from 0 to 65535")
    return int(text)


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= 512:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of workers: 1 to 512")
    return int(text)


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 3600:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds from 0 to 3600")
    return value


def _admin(text: str) -> tuple[str, int] | None:
    if text == "off":
        return None
    host, _, port = text.rpartition(":")
    try:
        return (host.strip("[]") or "127.0.0.1", _port(port))
    except argparse.ArgumentTypeError:
        raise argparse.ArgumentTypeError(f"{text!r} is neither HOST:PORT, PORT nor off") from None
