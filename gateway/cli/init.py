"""``gateway init``: write a first routing.yaml for two apps."""

import os
import tempfile
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from gateway.cli.loaded import WRONG_USAGE, refuse
from gateway.cli.options import DEFAULT_CONFIG, ConfigOption
from gateway.cli.output import counted, out


def run(
    legacy: Annotated[
        str,
        typer.Option(
            "--legacy", metavar="IMPORT", help="The Flask app: module:app, module:factory() or a URL."
        ),
    ],
    new: Annotated[
        str,
        typer.Option(
            "--new", metavar="IMPORT", help="The FastAPI app: module:app, module:factory() or a URL."
        ),
    ],
    config: ConfigOption = DEFAULT_CONFIG,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file.")] = False,
) -> int:
    """Import both apps and write one legacy row for each Flask rule; nothing is served differently by it."""
    from gateway.backends.importing import import_app
    from gateway.backends.inspect import inspect_legacy, inspect_new
    from gateway.cli.first_table import unseen_rules, write_first_table
    from gateway.table.inventory import LegacyInventory, NewInventory

    if config.exists() and not force:
        refuse(f"{config} is there already; --force overwrites it, --config names another", WRONG_USAGE)
    legacy_inventory = LegacyInventory(is_known=False)
    if not _is_url(legacy):
        legacy_inventory = inspect_legacy(import_app(legacy, "legacy"))
    new_inventory = NewInventory(is_known=False)
    if not _is_url(new):
        new_inventory = inspect_new(import_app(new, "new"))
    table = write_first_table(
        legacy_inventory,
        new_inventory,
        legacy_import=legacy,
        new_import=new,
        today=datetime.now(UTC).date(),
        has_schema_beside=config.with_name("routing.schema.json").exists(),
    )
    write_whole(config, table.text.encode())
    out(f"Wrote {config}: ", (counted(table.rows, "row"), "bold"), ", all at stage legacy.")
    if not table.is_legacy_known:
        out(unseen_rules(table.text).replace("\n# ", "\n"))
        out("What the table does not list is served by it.")
    for rule in table.left_out:
        out(f"Left implicit, still served by legacy: {rule}")
    if table.ready:
        out(f"The new app already has {table.ready} of them.")
    out("")
    where = "" if config == DEFAULT_CONFIG else f" --config {config}"
    verbs = [f"gateway {verb}{where}" for verb in ("serve", "routes")]
    width = max(map(len, verbs))
    out("Next: ", (verbs[0].ljust(width), "bold"), "  serves both apps; nothing changes for clients")
    out("      ", (verbs[1].ljust(width), "bold"), "  shows every endpoint and who answers")
    return 0


def _is_url(text: str) -> bool:
    return text.startswith(("http://", "https://"))


def write_whole(path: Path, data: bytes) -> None:
    """Write a new file so that nobody ever sees half of it."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary = Path(name)
        temporary.chmod(0o644)
        temporary.replace(path)
    except BaseException:
        with suppress(OSError):
            Path(name).unlink()
        raise
