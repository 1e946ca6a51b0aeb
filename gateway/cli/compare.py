"""``gateway compare``: send the same requests to both apps, and fail where a client would notice."""

import signal
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.cli.loaded import WRONG_USAGE, load_valid, refuse
from gateway.cli.options import DEFAULT_CONFIG, ConfigOption
from gateway.cli.output import err, out

if TYPE_CHECKING:
    from gateway.ci.baseline import Accepted
    from gateway.ci.results import Run, Selection
    from gateway.loading import Migration
    from gateway.table.route import Snapshot


def run(
    corpora: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="CORPUS...", help=".http, .har, .jsonl or access .log files, or folders of them."
        ),
    ] = None,
    config: ConfigOption = DEFAULT_CONFIG,
    database_env: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="The variable that holds the database's URL: each side gets a copy."
        ),
    ] = None,
    no_database: Annotated[
        bool, typer.Option("--no-database", help="The apps keep no database: send writes as they are.")
    ] = False,
    against: Annotated[
        tuple[str, str] | None,
        typer.Option(metavar="CONTROL CANDIDATE", help="Compare two running servers instead, by their URLs."),
    ] = None,
    all_rows: Annotated[
        bool, typer.Option("--all", help="Judge every row that both apps can answer.")
    ] = False,
    changed_since: Annotated[
        str | None,
        typer.Option(metavar="REV", help="Judge the rows that changed in the table since a git revision."),
    ] = None,
    route: Annotated[
        list[str] | None, typer.Option("--route", metavar="ROUTE", help="Judge this row; may be repeated.")
    ] = None,
    jobs: Annotated[
        int, typer.Option(min=1, max=64, metavar="N", help="Scenarios at a time, each with its own copies.")
    ] = 1,
    timeout: Annotated[
        float, typer.Option(min=0.1, metavar="SECONDS", help="How long one answer may take.")
    ] = 60.0,
    body_cap: Annotated[
        str | None,
        typer.Option(metavar="SIZE", help="Compare bodies whole up to this size; default 16MiB."),
    ] = None,
    freeze: Annotated[
        bool, typer.Option("--freeze", help="Give both sides the same clock and the same chance.")
    ] = False,
    security: Annotated[
        bool,
        typer.Option(
            "--security", help="Ask again as nobody, as another user, forged, expired, with a bad CSRF token."
        ),
    ] = False,
    baseline: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Known differences, each with a reason and a day.")
    ] = None,
    accept: Annotated[
        bool, typer.Option("--accept", help="Put what differs into the baseline; needs --reason and --until.")
    ] = False,
    reason: Annotated[str | None, typer.Option(metavar="TEXT", help="Why --accept accepts.")] = None,
    until: Annotated[
        datetime | None,
        typer.Option(metavar="DATE", formats=["%Y-%m-%d"], help="Until when --accept accepts."),
    ] = None,
    generate: Annotated[
        int,
        typer.Option(min=0, metavar="N", help="Make up to N requests up for each operation of the new app."),
    ] = 0,
    header: Annotated[
        list[str] | None,
        typer.Option("--header", "-H", metavar="'NAME: VALUE'", help="Sent with made-up requests."),
    ] = None,
    propose: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Call legacy twice, and write rules for what differs from itself."),
    ] = None,
    propose_share: Annotated[
        float,
        typer.Option(min=0.0, max=100.0, metavar="PERCENT", help="Of the safe requests, for --propose."),
    ] = 100.0,
    strict: Annotated[
        bool, typer.Option("--strict", help="Fail on rules that matched nothing, too.")
    ] = False,
    report: Annotated[
        list[str] | None,
        typer.Option(
            "--report", metavar="KIND=FILE", help="json=, junit=, markdown=, html= a file; or github."
        ),
    ] = None,
    logs: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Keep the log of each server that is started here.")
    ] = None,
    verbose: Annotated[bool, typer.Option("--verbose", help="List every value that was sent back.")] = False,
) -> int:
    """Run corpora on both sides; return 0 when they are the same, 1 when not, 2 when nothing was compared."""
    from gateway.ci.comparing import Options, UsageError, compare_corpus
    from gateway.ci.corpus import CorpusError, read_corpora
    from gateway.ci.proposing import write_proposals
    from gateway.ci.reports import parse_reports, write_reports
    from gateway.ci.selecting import SelectionError
    from gateway.ci.tables import StateError
    from gateway.ci.terminal import terminal_lines
    from gateway.cli.progress import Progress

    # A cancelled CI job sends SIGTERM: servers are to be ended and copies dropped then, too.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        wanted = parse_reports(report or ())
        _check_usage(
            corpora, against, database_env, jobs, no_database=no_database, freeze=freeze, generate=generate
        )
        _check_propose(propose, against, freeze=freeze)
        migration, snapshot = load_valid(config)
        selection = _select(snapshot, config, changed_since, route or [], is_all=all_rows)
        corpus = read_corpora(corpora or [])
        options = Options(
            config=config,
            database_env=database_env,
            has_database=not no_database,
            against=against,
            jobs=jobs,
            is_strict=strict,
            is_frozen=freeze,
            has_attempts=security,
            generated=generate,
            generated_headers=tuple(_header(text) for text in header or ()),
            timeout_s=timeout,
            repeated_share=propose_share / 100 if propose else 0.0,
            body_cap_bytes=_size(body_cap),
            logs=logs,
        )
        known = _known(baseline, reason, until, is_accepting=accept)
        with Progress(len(corpus.scenarios)) as progress:
            found = compare_corpus(
                snapshot,
                corpus,
                selection,
                options,
                description=_description(migration) if generate else {},
                ears=progress.ears,
            )
        if baseline is not None:
            found = _held_to(found, baseline, known, reason, until)
        if propose is not None and found.noise is not None:
            today = datetime.now(UTC).date()
            write_proposals(propose, found.noise, table=str(config), today=today)
    except (UsageError, CorpusError, SelectionError, StateError) as exc:
        refuse(str(exc), WRONG_USAGE)
    for line in terminal_lines(found, is_verbose=verbose):
        out(*line)
    if propose is not None and found.noise is not None:
        out(f"written: {propose}")
    try:
        write_reports(found, wanted)
    except CorpusError as exc:
        refuse(str(exc), max(int(found.verdict), WRONG_USAGE))
    if found.crash is not None:
        err(("gateway: ", "bold"), found.crash.text)
    return int(found.verdict)


def _description(migration: "Migration") -> dict[str, Any]:
    """Return what the new app says of itself in OpenAPI; nothing where it says nothing."""
    from gateway.ci.comparing import UsageError

    openapi = getattr(migration.apps.new if migration.apps else None, "openapi", None)
    try:
        found = openapi() if callable(openapi) else None
    except Exception as exc:
        raise UsageError(
            f"--generate: the new app cannot describe itself: {type(exc).__name__}: {exc}"
        ) from exc
    if not isinstance(found, dict) or not found.get("paths"):
        raise UsageError("--generate: the new app describes no operation (its openapi() has no paths)")
    return found


def _size(text: str | None) -> int | None:
    from gateway.ci.comparing import UsageError
    from gateway.table.spelling import Wrong
    from gateway.table.units import size_bytes

    try:
        return None if text is None else size_bytes(text)
    except Wrong as wrong:
        raise UsageError(f"--body-cap: {wrong.message}; {wrong.repair}") from wrong


def _header(text: str) -> tuple[str, str]:
    from gateway.ci.comparing import UsageError

    name, colon, value = text.partition(":")
    if not colon or not name.strip().isascii() or not name.strip():
        raise UsageError(f"{text!r} is no header; write -H 'Name: value'")
    return name.strip(), value.strip()


def _known(
    path: Path | None, reason: str | None, until: datetime | None, *, is_accepting: bool
) -> "tuple[Accepted, ...]":
    from gateway.ci.baseline import read_baseline
    from gateway.ci.comparing import UsageError

    if is_accepting and (path is None or not reason or until is None):
        raise UsageError("--accept needs --baseline FILE, --reason TEXT and --until DATE")
    if not is_accepting and (reason or until):
        raise UsageError("--reason and --until belong to --accept")
    if path is None or (is_accepting and not path.exists()):
        return ()
    return read_baseline(path)


def _held_to(
    found: "Run", path: Path, known: "tuple[Accepted, ...]", reason: str | None, until: datetime | None
) -> "Run":
    from gateway.ci.baseline import apply_baseline, updated, write_baseline

    if reason and until is not None and found.is_whole:
        known = updated(found, known, reason=reason, until=until.date())
        write_baseline(path, known)
    return apply_baseline(found, known, today=datetime.now(UTC).date())


def _check_usage(
    corpora: list[Path] | None,
    against: tuple[str, str] | None,
    database_env: str | None,
    jobs: int,
    *,
    no_database: bool,
    freeze: bool,
    generate: int,
) -> None:
    from gateway.ci.comparing import UsageError

    if not corpora and not generate:
        raise UsageError("nothing to compare: name corpora, such as `gateway compare corpora/*.http`")
    if against and database_env:
        raise UsageError(
            "--against compares running servers on their own state; --database-env has no meaning there"
        )
    if against and freeze:
        raise UsageError("--freeze stops the clocks of servers that this command starts, not of --against's")
    if against and generate:
        raise UsageError(
            "--generate starts each request from the starting state, which --against cannot bring back"
        )
    if against and jobs > 1:
        raise UsageError("--jobs needs copies of the state, which --against does not make")
    if database_env and no_database:
        raise UsageError("--database-env and --no-database contradict each other")
    for url in against or ():
        if not url.startswith(("http://", "https://")):
            raise UsageError(f"--against {url}: that is no http(s) URL")


def _check_propose(propose: Path | None, against: tuple[str, str] | None, *, freeze: bool) -> None:
    from gateway.ci.comparing import UsageError

    if propose is None:
        return
    if freeze:
        raise UsageError("--freeze takes away the noise that --propose looks for; leave one of them out")
    if against:
        raise UsageError(
            "--propose calls legacy twice from the starting state, which --against cannot bring back"
        )


def _select(
    snapshot: "Snapshot", config: Path, changed_since: str | None, routes: list[str], *, is_all: bool
) -> "Selection":
    from gateway.ci.comparing import UsageError
    from gateway.ci.selecting import select_all, select_by_stage, select_changed, select_rows
    from gateway.cli.target import find_target, suggest

    if sum((is_all, changed_since is not None, bool(routes))) > 1:
        raise UsageError("--all, --changed-since and --route each choose the rows; give one of them")
    if is_all:
        return select_all(snapshot)
    if changed_since is not None:
        return select_changed(snapshot, config.absolute(), changed_since)
    if not routes:
        return select_by_stage(snapshot)
    specs = [each.spec for each in snapshot.routes]
    keys = []
    for text in routes:
        target = find_target(text, specs)
        if target is None:
            hint = suggest(text, specs) or "`gateway routes` lists them all"
            raise UsageError(f"no row is called {text!r}; {hint}")
        keys.append(target.spec.key)
    selection = select_rows(snapshot, keys)
    for key, why in selection.left_out:
        raise UsageError(f"--route {key!r} cannot be compared: {why}")
    return selection
