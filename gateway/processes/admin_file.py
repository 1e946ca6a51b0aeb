"""Leave a note beside the table of where the admin listener is, for the verbs that speak to a gateway.

``.gateway/admin.json`` holds its URL, its token and the supervisor's process id, and is readable by its owner
only. It is removed at the end, if it is still ours. A folder that cannot be written (a read-only mount) costs
only this convenience.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

from gateway.store.folder import FOLDER, prepare_folder

logger = logging.getLogger("gateway.admin")

FILE = "admin.json"

_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}  # noqa: S104 - what a listener may say, not what we bind


@dataclass(frozen=True, slots=True)
class AdminNote:
    """Say where a running gateway's admin listener is; ``pid`` is the supervisor's."""

    url: str
    token: str
    pid: int


def note_path(config: str | Path) -> Path:
    """Return where the note of the table ``config`` is."""
    return Path(config).absolute().parent / FOLDER / FILE


def url_of(address: str) -> str:
    """Return the URL under which a listener at ``address`` (``HOST:PORT``) is reached from this machine."""
    host, _, port = address.rpartition(":")
    return f"http://{_EVERYWHERE.get(host, host)}:{port}"


def write_note(path: Path, note: AdminNote) -> None:
    """Write ``note`` at once, or log why that cannot be."""
    try:
        prepare_folder(path)
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{FILE}.")  # mode 0600
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                json.dump(asdict(note), file)
            Path(name).replace(path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as exc:
        logger.info(
            "%s cannot be written (%s); the verbs need --admin and GATEWAY_ADMIN_TOKEN", path, exc.strerror
        )


def read_note(path: Path) -> AdminNote | None:
    """Return the note at ``path``; None where there is none that can be read."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        return AdminNote(str(data["url"]), str(data["token"]), int(data["pid"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def remove_note(path: Path, *, pid: int) -> None:
    """Remove the note if the process ``pid`` wrote it."""
    note = read_note(path)
    if note is not None and note.pid == pid:
        with contextlib.suppress(OSError):
            path.unlink()
