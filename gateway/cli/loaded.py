"""Load the table and both apps for a verb, or say in one block why that cannot be."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import typer

from gateway.cli.output import counted, err

if TYPE_CHECKING:
    from gateway.loading import Migration
    from gateway.table.route import Snapshot

FINDINGS, WRONG_USAGE, NOT_STARTED = 1, 2, 3


def load(config: Path) -> Migration:
    """Return the migration at ``config``; exit with 3 when there is no such file."""
    from gateway.loading import load_migration

    if not config.exists():
        refuse(f"there is no {config} here; `gateway init` writes one, --config names another", NOT_STARTED)
    return load_migration(config.absolute())


def load_valid(config: Path) -> tuple[Migration, Snapshot]:
    """Return a migration that serves; print every error and exit with 1 when the table is refused."""
    migration = load(config)
    if migration.snapshot is None:
        for problem in migration.errors:
            err(str(problem))
        refuse(f"{config} is refused: {counted(len(migration.errors), 'error')}", FINDINGS)
    return migration, migration.snapshot


def refuse(message: str, status: int) -> NoReturn:
    """Say one clear line on stderr and exit with ``status``."""
    err(("gateway: ", "bold"), message)
    raise typer.Exit(status)


def shown_place(place: str) -> str:
    """Return ``file:line`` relative to the working directory, or to the installed packages, if below."""
    path, colon, line = place.rpartition(":")
    if not colon:
        return place
    if "site-packages/" in path:
        return place.rpartition("site-packages/")[2]
    try:
        return f"{Path(path).relative_to(Path.cwd())}:{line}"
    except ValueError:
        return place
