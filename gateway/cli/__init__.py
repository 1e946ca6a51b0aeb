"""Parse, call, print: one module a verb, no logic.

:func:`main` imports only what its verb needs: ``gateway serve`` starts workers before anything else.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status (0, 1, 2, 3 or 130)."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given and given[0] in ("serve", "dev"):
        from gateway.cli.serve import run

        return run(given[0], given[1:])
    if given and given[0] == "record":
        from gateway.cli.record import run as run_record

        return run_record(given[1:])
    from gateway.cli.program import run as run_verb

    return run_verb(given)
