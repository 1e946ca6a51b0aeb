"""Name the folder beside the table in which state is kept by default, and make it. Needs no SQLAlchemy."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

FOLDER = ".gateway"
FILE = "state.db"


def default_file(table: Path) -> Path:
    """Return the SQLite file in which the state of ``table`` (a ``routing.yaml``) is kept by default."""
    return table.absolute().parent / FOLDER / FILE


def prepare_folder(path: Path) -> None:
    """Make the folder of the file ``path``, readable by its owner only and ignored by git."""
    if path.parent.is_dir():
        return
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if path.parent.name == FOLDER:
        with contextlib.suppress(FileExistsError), (path.parent / ".gitignore").open("x") as file:
            file.write("*\n")
