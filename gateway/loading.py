"""Load a migration: read the table, import the two apps, hold the one against the others.

Every problem of all three steps is collected, so that a person mends them in one go. Loading again
(:func:`reload_migration`) keeps the apps as they were imported and only reads and compiles the table.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.backends.importing import import_app
from gateway.backends.inspect import inspect_legacy, inspect_new
from gateway.errors import BackendImportError, GatewayError, Problem, Severity, TableError
from gateway.serving.shared_limits import why_unusable
from gateway.table.compile import compile_table
from gateway.table.inventory import LegacyInventory, NewInventory
from gateway.table.read import read_table
from gateway.table.rules_file import read_rules

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.table.route import Snapshot
    from gateway.table.spec import BackendSpec, TableSpec


RESTART_NEEDED = ("store", "shared")
"""Keys of the table that are read once, at the start."""


@dataclass(frozen=True, slots=True, eq=False)
class Apps:
    """Hold the two apps as imported (None for one that runs elsewhere) and what is known of them."""

    legacy: object | None
    new: object | None
    legacy_inventory: LegacyInventory
    new_inventory: NewInventory


@dataclass(frozen=True, slots=True, eq=False)
class Migration:
    """Be the outcome of loading one table: what could be read, what could be compiled, every problem.

    ``snapshot`` is None when any problem is an error; ``spec`` is None when not even the file's
    outline could be read.
    """

    path: Path
    spec: TableSpec | None
    apps: Apps | None
    snapshot: Snapshot | None
    problems: tuple[Problem, ...]

    @property
    def errors(self) -> tuple[Problem, ...]:
        """Return the problems that refuse the table."""
        return tuple(problem for problem in self.problems if problem.is_error)


def load_migration(path: Path, *, environ: Mapping[str, str] | None = None, generation: int = 1) -> Migration:
    """Read ``path``, import both apps, compile. Never raises for what is wrong with table or apps."""
    parsed = read_table(path, environ=os.environ if environ is None else environ)
    if parsed.spec is None:
        return Migration(path, None, None, None, parsed.problems)
    apps, import_problems = _import_apps(parsed.spec, path)
    return _compile(path, parsed.spec, apps, parsed.problems + import_problems, generation)


def reload_migration(
    path: Path, apps: Apps, in_force: TableSpec, *, environ: Mapping[str, str] | None = None, generation: int
) -> Migration:
    """Read and compile ``path`` again, with the apps as they are.

    Another ``backends`` block than that of ``in_force`` changes nothing until a restart, nor does another
    ``store`` or ``shared``; each is a warning that says so.
    """
    parsed = read_table(path, environ=os.environ if environ is None else environ)
    if parsed.spec is None:
        return Migration(path, None, apps, None, parsed.problems)
    spec, problems = parsed.spec, parsed.problems
    for old, given in ((in_force.legacy, spec.legacy), (in_force.new, spec.new)):
        if replace(old, line=0) != replace(given, line=0):
            problems += (
                Problem(
                    Severity.WARNING,
                    spec.source,
                    given.line,
                    f"backends.{given.name}",
                    "the backend was changed, and both apps stay as they were imported",
                    "restart the gateway to put this change in force",
                ),
            )
    for name in RESTART_NEEDED:
        if getattr(in_force, name) != getattr(spec, name):
            message = f"{name} was changed, and stays as it was when the gateway started"
            repair = "restart the gateway to put this change in force"
            problems += (Problem(Severity.WARNING, spec.source, 0, name, message, repair),)
    return _compile(path, spec, apps, problems, generation)


def load_table(path: str | Path = "routing.yaml") -> Snapshot:
    """Return the compiled table at ``path``, held against both apps, which are imported.

    Raises :class:`~gateway.errors.TableError` with every problem when it is refused.
    """
    migration = load_migration(Path(path))
    if migration.snapshot is None:
        raise TableError(migration.problems)
    return migration.snapshot


def _compile(
    path: Path, spec: TableSpec, apps: Apps, problems: tuple[Problem, ...], generation: int
) -> Migration:
    compiled = compile_table(
        spec,
        apps.legacy_inventory,
        apps.new_inventory,
        generation=generation,
        today=datetime.now(UTC).date(),
    )
    found = (*compiled.problems, *_shared_problems(spec))
    if any(problem.is_error for problem in problems):
        # Rows that could not be read are missing here: what only their absence suggests is not said.
        found = tuple(problem for problem in found if problem.is_error)
    problems = tuple(sorted((*problems, *found), key=lambda problem: problem.line))
    is_refused = any(problem.is_error for problem in problems)
    snapshot = (
        None if is_refused or compiled.snapshot is None else replace(compiled.snapshot, warnings=problems)
    )
    return Migration(path, spec, apps, snapshot, problems)


def _import_apps(spec: TableSpec, path: Path) -> tuple[Apps, tuple[Problem, ...]]:
    legacy, legacy_problems = _import_one(spec, spec.legacy)
    new, new_problems = _import_one(spec, spec.new)
    problems = legacy_problems + new_problems
    legacy_inventory = LegacyInventory(is_known=False)
    if legacy is not None:
        legacy_inventory = inspect_legacy(legacy)
    elif spec.legacy.rules is not None:
        try:
            legacy_inventory = read_rules(path.parent / spec.legacy.rules)
        except GatewayError as error:
            problems += (_problem(spec, spec.legacy, str(error)),)
    new_inventory = NewInventory(is_known=False) if new is None else inspect_new(new)
    return Apps(legacy, new, legacy_inventory, new_inventory), problems


def _import_one(spec: TableSpec, backend: BackendSpec) -> tuple[object | None, tuple[Problem, ...]]:
    if backend.kind not in ("wsgi", "asgi"):
        return None, ()
    try:
        return import_app(backend.target, backend.name), ()
    except BackendImportError as error:
        return None, (_problem(spec, backend, error.detail.removeprefix(f"backends.{backend.name}: ")),)


def _shared_problems(spec: TableSpec) -> tuple[Problem, ...]:
    wrong = None if spec.shared is None else why_unusable(spec.shared)
    if wrong is None:
        return ()
    return (Problem(Severity.ERROR, spec.source, spec.shared_line, "shared", *wrong),)


def _problem(spec: TableSpec, backend: BackendSpec, message: str) -> Problem:
    return Problem(Severity.ERROR, spec.source, backend.line, f"backends.{backend.name}", message)
