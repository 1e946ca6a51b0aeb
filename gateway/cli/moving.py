"""Move a route by editing the table: what ``promote`` and ``rollback`` share."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from gateway.cli.endpoints import percent
from gateway.cli.loaded import FINDINGS, NOT_STARTED, WRONG_USAGE, refuse
from gateway.cli.output import STAGE_STYLES, counted, err, out
from gateway.cli.target import Target, find_target, shape_of, suggest
from gateway.errors import EditError
from gateway.table.edit import Change, edit_row, write_atomically
from gateway.table.read import parse_table
from gateway.table.spec import WEBSOCKET, RouteSpec, Stage
from gateway.table.spelling import Wrong
from gateway.table.units import percent_bp

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.loading import Migration

FIRST_WEIGHT_BP = 500
"""The share that a row gets when it comes to canary and nobody says which: 5%."""

_ORDER = tuple(Stage)

_MEANINGS = {
    Stage.LEGACY: "legacy answers everyone",
    Stage.SHADOW: "legacy answers; new gets a copy, and the two answers are compared",
    Stage.NEW: "new answers everyone",
    Stage.RETIRED: "new answers everyone, and `gateway check` fails while legacy's code has the rule",
}


@dataclass(frozen=True, slots=True)
class Move:
    """Be one move: the row, its stage and weight before, and the change."""

    target: Target
    change: Change

    @property
    def is_needed(self) -> bool:
        """Tell whether anything changes."""
        before = self.target.spec
        weight_bp = before.weight_bp if self.change.weight_bp is None else self.change.weight_bp
        has_weight = self.change.stage is Stage.CANARY and weight_bp != before.weight_bp
        return self.change.stage is not before.stage or has_weight

    @property
    def after(self) -> RouteSpec:
        """Return the row as it will be, as far as stage and weight go."""
        weight_bp = self.change.weight_bp
        return replace(
            self.target.spec,
            stage=self.change.stage,
            weight_bp=self.target.spec.weight_bp if weight_bp is None else weight_bp,
        )


def find(config: Path, text: str) -> tuple[Target, bytes]:
    """Return the row that ``text`` means, and the table's bytes.

    Listed rows are found without importing an app, so that a rollback works while one is broken; only an
    endpoint that the table does not list is looked for in the apps.
    """
    try:
        data = config.read_bytes()
    except OSError as exc:
        refuse(f"{config} cannot be read: {exc.strerror}", NOT_STARTED)
    parsed = parse_table(data, source=config.name, environ=None)
    rows = parsed.spec.routes if parsed.spec else ()
    target = find_target(text, rows)
    if target is not None:
        return target, data
    implicit, unlisted, is_only_new = _beyond_the_table(config)
    target = find_target(text, implicit)
    if target is None:
        for key in unlisted:
            if shape_of(text) in (shape_of(key), shape_of(key.partition(" ")[2])):
                what = "only the new app has" if is_only_new else "no row lists"
                stage = "new" if is_only_new or key.startswith(WEBSOCKET) else "shadow"
                refuse(f"{what} {key}: there is nothing to move; add `{key}: {stage}`", WRONG_USAGE)
        hint = suggest(text, (*rows, *implicit)) or "`gateway routes` lists them all"
        refuse(f"no row is called {text!r}; {hint}", WRONG_USAGE)
    return target, data


def _beyond_the_table(config: Path) -> tuple[tuple[RouteSpec, ...], tuple[str, ...], bool]:
    """Return the implicit rows, the keys of new's unlisted routes, and whether those are new's alone."""
    from gateway.cli.endpoints import knows_legacy, unlisted_endpoints
    from gateway.loading import load_migration

    migration = load_migration(config.absolute())
    if migration.snapshot is None:
        for problem in migration.errors:
            err(str(problem))
        refuse(f"{config} is refused: {counted(len(migration.errors), 'error')}", FINDINGS)
    implicit = tuple(route.spec for route in migration.snapshot.routes if not route.is_listed)
    unlisted = unlisted_endpoints(migration, migration.snapshot)
    keys = tuple(f"{','.join(endpoint.methods)} {endpoint.path}" for endpoint in unlisted)
    return implicit, keys, knows_legacy(migration)


def read_weight(text: str | None) -> int | None:
    """Return a weight in basis points; exit with 2 and the right spelling for anything but a percentage."""
    if text is None:
        return None
    try:
        return percent_bp(text)
    except Wrong as wrong:
        refuse(f"--weight {wrong.message}; {wrong.repair}", WRONG_USAGE)


def is_forward(before: RouteSpec, after: RouteSpec) -> bool:
    """Tell whether new answers more callers, or is nearer to it, after the move."""
    return _rank(after) > _rank(before)


def _rank(spec: RouteSpec) -> tuple[int, int]:
    return (_ORDER.index(spec.stage), spec.weight_bp if spec.stage is Stage.CANARY else 0)


def worded(spec: RouteSpec) -> str:
    """Return a row's stage as the table writes it in one line."""
    return f"{spec.stage} {percent(spec.weight_bp)}" if spec.stage is Stage.CANARY else str(spec.stage)


def make(config: Path, data: bytes, move: Move, *, is_dry: bool, is_checked: bool) -> int:
    """Edit the file (or show the difference), and say what changed and what to do next."""
    key = move.target.key
    if not move.is_needed:
        out(f"{key} is at {worded(move.target.spec)} already; nothing to do.")
        return 0
    edited = edit_row(data, key, move.change, source=config.name)
    if is_checked and (errors := _new_errors(config, edited)):
        for line in errors:
            err(line)
        refuse(f"{key} cannot go to {worded(move.after)}; {config} is as it was", FINDINGS)
    if is_dry:
        _show_difference(config, data, edited)
        return 0
    if config.read_bytes() != data:
        raise EditError(f"{config} was changed by somebody else meanwhile; run this again")
    write_atomically(config, edited)
    before, after = move.target.spec, move.after
    out(
        (key, "bold"),
        ": ",
        (worded(before), STAGE_STYLES[before.stage]),
        " → ",
        (worded(after), STAGE_STYLES[after.stage]),
    )
    share = percent(after.weight_bp)
    meaning = _MEANINGS.get(after.stage, f"new answers {share} of the callers, the same ones every time")
    out(f"  {meaning}")
    out(f"  {config} is changed; a running gateway has it in force within 2 seconds")
    return 0


def _new_errors(config: Path, edited: bytes) -> list[str]:
    """Hold the edited table against both apps; return the errors, as far as the apps can be imported."""
    from gateway.loading import load_migration
    from gateway.table.compile import compile_table

    migration: Migration = load_migration(config.absolute())
    if migration.apps is None:
        return [str(problem) for problem in migration.errors]
    imports = [str(problem) for problem in migration.errors if problem.row.startswith("backends.")]
    parsed = parse_table(edited, source=config.name, environ=None)
    if parsed.spec is None:
        return [str(problem) for problem in parsed.problems]
    apps = migration.apps
    compiled = compile_table(
        parsed.spec,
        apps.legacy_inventory,
        apps.new_inventory,
        generation=1,
        today=datetime.now(UTC).date(),
    )
    return imports + [str(problem) for problem in compiled.problems if problem.is_error]


def _show_difference(config: Path, before: bytes, after: bytes) -> None:
    lines = difflib.unified_diff(
        before.decode().splitlines(keepends=True),
        after.decode().splitlines(keepends=True),
        f"a/{config.name}",
        f"b/{config.name}",
    )
    styles = {"+": "green", "-": "red", "@": "cyan"}
    for line in lines:
        out((line.rstrip("\r\n"), "" if line[:3] in ("+++", "---") else styles.get(line[0], "")))


def is_websocket(spec: RouteSpec) -> bool:
    """Tell whether the row is a websocket's."""
    return WEBSOCKET in spec.methods
