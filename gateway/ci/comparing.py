"""Put a run together: state, sides, scenarios, verdict. The one place where this package's parts meet."""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gateway.ci.corpus import Corpus
from gateway.ci.databases import open_original
from gateway.ci.freezing import BEFORE_S
from gateway.ci.judging import Gathered, Settings
from gateway.ci.proposing import noise_of
from gateway.ci.results import Crash, RuleReport, Run, visible
from gateway.ci.running import run_scenarios
from gateway.ci.selecting import answered_by_new
from gateway.ci.servers import SideError
from gateway.ci.sides import OwnSide, RemoteSide, SideOptions, SplitSide
from gateway.ci.tables import StateError
from gateway.ci.variables import check_templates
from gateway.compare.redaction import Redactor
from gateway.errors import GatewayError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from gateway.ci.corpus import Scenario
    from gateway.ci.results import Selection
    from gateway.ci.running import Pair
    from gateway.ci.sides import Side
    from gateway.table.route import Snapshot


LOG_BYTES = 65_536
"""How much of a dead server's log reports hold, from its end."""


class UsageError(GatewayError):
    """Report options that do not go together; nothing was compared."""


@dataclass(frozen=True, slots=True)
class Options:
    """Say how to compare. ``against`` are the base URLs of two running servers, or None for own ones.

    ``database_env`` names the variable that holds the database's URL; ``has_database`` False says that the
    apps keep no state worth a copy. ``repeated_share`` (0 to 1) of the safe requests is sent to legacy twice.
    ``logs`` is the folder in which the servers' logs stay, None for one that is thrown away.
    """

    config: Path
    database_env: str | None = None
    has_database: bool = True
    against: tuple[str, str] | None = None
    jobs: int = 1
    is_strict: bool = False
    is_frozen: bool = False
    has_attempts: bool = False
    timeout_s: float = 60.0
    base_url: str = ""
    generated: int = 0
    generated_headers: tuple[tuple[str, str], ...] = ()
    repeated_share: float = 0.0
    body_cap_bytes: int | None = None
    logs: Path | None = None


@dataclass(frozen=True, slots=True)
class Ears:
    """Hear how a run goes on: ``scenario_done`` after each scenario."""

    scenario_done: Callable[[Scenario], None] = lambda scenario: None


def compare_corpus(
    snapshot: Snapshot,
    corpus: Corpus,
    selection: Selection,
    options: Options,
    *,
    description: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
    ears: Ears | None = None,
) -> Run:
    """Run the corpus on both sides and return what was found.

    Ctrl-C, and a side that does not start or dies, return what was found until then. Raises
    :class:`UsageError`, or :class:`~gateway.ci.tables.StateError` where the state cannot be copied.
    """
    ears = ears or Ears()
    environ = dict(os.environ if environ is None else environ)
    _refuse_shared_writes(selection, corpus, options)
    for scenario in corpus.scenarios:
        check_templates(scenario, environ)
    began = time.monotonic()
    against = options.against
    answered = answered_by_new(snapshot, selection)
    settings = Settings(
        snapshot=snapshot,
        selection=selection,
        today=datetime.now(UTC).date(),
        redactor=Redactor(secrets.token_bytes(16), snapshot.spec.compare.redact),
        environ=environ,
        base_url=options.base_url or (against[0].rstrip("/") if against else "http://localhost:8000"),
        base_urls=against or ("", ""),
        answered=frozenset(snapshot.by_id) if against else answered,
        timeout_s=options.timeout_s,
        has_attempts=options.has_attempts,
        is_frozen=options.is_frozen,
        repeated_share=options.repeated_share,
        body_cap_bytes=options.body_cap_bytes,
    )
    gathered = Gathered(settings)
    if not selection.routes:
        corpus = Corpus()  # there is nothing to judge, and so nothing to start
    is_interrupted = False
    crash: Crash | None = None
    with ExitStack() as stack:
        if against:
            make_pair, make_again = _remote_pairs(against), None
        else:
            make_pair, make_again = _own_sides(snapshot, options, answered, environ, stack)
        jobs = max(1, min(options.jobs, len(corpus.scenarios)))
        try:
            run_scenarios(
                corpus.scenarios,
                make_pair,
                gathered,
                jobs=jobs,
                make_again=make_again if options.repeated_share else None,
                told=ears.scenario_done,
            )
            if options.generated and selection.routes:
                _generate(make_pair, gathered, options, description or {})
        except KeyboardInterrupt:
            is_interrupted = True
        except (SideError, StateError) as exc:
            crash = _crash(exc, keep=options.logs is None)
    notes = [*corpus.notes, *gathered.notes, *_unseen(gathered)]
    return Run(
        selection=selection,
        rows=tuple(row for row in gathered.rows.values() if row.is_selected or row.requests),
        exchanges=tuple(gathered.exchanges),
        findings=tuple(gathered.findings),
        rules=tuple(_rule_reports(gathered)),
        correlations=tuple(gathered.correlations),
        notes=tuple(notes),
        failures=tuple(map(str, gathered.holes.values())),
        attempted=gathered.attempted,
        noise=noise_of(gathered) if options.repeated_share else None,
        sides=("control", "candidate") if against else ("legacy", "new"),
        table=snapshot.spec.source,
        scenario_count=len(corpus.scenarios),
        scenarios_done=gathered.scenarios_done,
        elapsed_s=time.monotonic() - began,
        judging_s=gathered.judging_s,
        is_strict=options.is_strict,
        is_interrupted=is_interrupted,
        crash=crash,
    )


def _crash(exc: SideError | StateError, *, keep: bool) -> Crash:
    """Put into words why the run cannot go on; ``keep``: the log would go with its folder."""
    log = exc.log if isinstance(exc, SideError) else None
    if log is None or not log.exists():
        return Crash(str(exc))
    if keep:
        descriptor, name = tempfile.mkstemp(prefix=f"gateway-compare-{log.stem}-", suffix=".log")
        os.close(descriptor)
        log = Path(shutil.copyfile(log, name))
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - LOG_BYTES))
        text = file.read().decode("utf-8", "replace")
    return Crash(str(exc), visible(text).strip(), str(log))


def _generate(
    make_pair: Callable[[int], Pair], gathered: Gathered, options: Options, description: Mapping[str, Any]
) -> None:
    try:
        from gateway.ci.generating import generate, operations
    except ImportError as exc:
        raise UsageError("--generate needs Hypothesis; pip install hypothesis") from exc
    pair = make_pair(0)
    try:
        found = list(operations(gathered.settings.selection.routes, description))
        described = {operation.route.id for operation in found}
        gathered.notes.extend(
            f"{route.key}: the new app describes no such operation; nothing is made up for it"
            for route in gathered.settings.selection.routes
            if route.id not in described
        )
        generate(found, pair, gathered, count=options.generated, headers=options.generated_headers)
    finally:
        for side in pair:
            side.close()


def _refuse_shared_writes(selection: Selection, corpus: Corpus, options: Options) -> None:
    """Refuse to send writes to a state that nobody copied, unless that was asked for."""
    if options.against or options.database_env or not options.has_database:
        return
    changing = [
        route.key for route in selection.routes if not all(map(route.is_safe, route.methods or ("*",)))
    ]
    if options.generated and changing:
        raise UsageError(
            f"--generate would make requests up that may write ({changing[0]}); name the variable of the "
            "database to be copied, --database-env DATABASE_URL, or say that there is none, --no-database"
        )
    writes = [
        request for scenario in corpus.scenarios for request in scenario.requests if not request.is_safe
    ]
    if writes:
        first = writes[0]
        raise UsageError(
            f"the corpora hold requests that may write ({len(writes)}, the first is {first.method} "
            f"{first.target} at {first.source}); name the variable of the database to be copied, "
            "--database-env DATABASE_URL, or say that there is none, --no-database"
        )


def _remote_pairs(against: tuple[str, str]) -> Callable[[int], Pair]:
    def make(number: int) -> tuple[Side, Side]:
        return RemoteSide(against[0]), RemoteSide(against[1])

    return make


def _own_sides(
    snapshot: Snapshot,
    options: Options,
    answered: frozenset[str],
    environ: dict[str, str],
    stack: ExitStack,
) -> tuple[Callable[[int], Pair], Callable[[int], Side]]:
    folder = Path(tempfile.mkdtemp(prefix="gateway-compare-"))
    stack.callback(shutil.rmtree, folder, ignore_errors=True)
    database = None
    if options.database_env:
        url = environ.get(options.database_env, "")
        if not url:
            raise UsageError(
                f"--database-env {options.database_env}: the environment has no {options.database_env}"
            )
        original = open_original(url, options.database_env, folder)
        stack.callback(original.close)
        database = (options.database_env, original)
    for backend in (snapshot.spec.legacy, snapshot.spec.new):
        if backend.kind in ("url", "command") and options.is_frozen:
            raise UsageError(
                f"backends.{backend.name} is a {backend.kind}: --freeze stops the clock of apps that are "
                "imported; leave it out, and accept by rules what is drawn anew"
            )
        if backend.kind == "url" and database is not None:
            raise UsageError(
                f"backends.{backend.name} is a url: it runs elsewhere and cannot be given a copy of the "
                "database; compare running servers with --against URL URL, or leave --database-env out"
            )
    if options.logs is not None:
        options.logs.mkdir(parents=True, exist_ok=True)
    side_options = SideOptions(
        config=options.config.absolute(),
        folder=folder,
        logs=options.logs or folder,
        answered=answered,
        database=database,
        frozen=f"{int(time.time()) - BEFORE_S}:{secrets.token_hex(8)}" if options.is_frozen else "",
        environ=environ,
    )

    table = snapshot.spec
    is_apart = "url" in (table.legacy.kind, table.new.kind)

    def side(label: str, backend: str, number: int) -> Side:
        spec = table.legacy if backend == "legacy" else table.new
        if spec.kind == "url":
            return RemoteSide(spec.target, is_new=backend == "new")
        return OwnSide(f"{label}{number}", backend, side_options)

    def candidate(number: int) -> Side:
        new = side("candidate", "new", number)
        return SplitSide(new, side("candidate", "legacy", number), answered) if is_apart else new

    def make(number: int) -> tuple[Side, Side]:
        return side("control", "legacy", number), candidate(number)

    return make, lambda number: side("again", "legacy", number)


def _unseen(gathered: Gathered) -> Iterator[str]:
    if gathered.settings.has_attempts and not gathered.attempted and gathered.exchanges:
        yield "--security: no request on a judged row carries credentials; nobody was tried to be kept out"
    for name in sorted(gathered.skipped_tables):
        yield f"table {name} has too many rows to be compared"
    if gathered.unwatched:
        names = ", ".join(sorted(gathered.unwatched))
        yield f"outbound calls are not compared: those made by {names} cannot be seen"


def _rule_reports(gathered: Gathered) -> Iterator[RuleReport]:
    """Yield what became of every rule of the selected rows that were exercised, and of all that expired."""
    for row in gathered.rows.values():
        if not row.is_selected:
            continue
        rules = gathered.terms_of(row.route).rules
        for rule in rules.expired:
            yield RuleReport(row.key, rule, "expired", detail=f"its until is {rule.until}")
        for rule, why in rules.broken:
            yield RuleReport(row.key, rule, "broken", detail=why)
        if not row.is_exercised:
            continue
        for ready in rules.rules:
            line = ready.rule.line
            state = "used" if row.rule_places[line] else "dead"
            yield RuleReport(row.key, ready.rule, state, row.rule_waived[line])
