"""Compare both reference apps on the corpora: ``python -m reference.compare [OPTION...]``.

Seeds a database of its own, starts the providers, and runs ``gateway compare`` on a copy for each side.
Options go to ``gateway compare``. The exit code is its own.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from sqlalchemy import make_url

from gateway.ci.corpus import SUFFIXES
from reference.environment import ROOT
from reference.run import Stopped, StopRequest, free_port, started, wait_until_ready
from reference.schema import upgrade
from reference.seed import seed


def main(options: list[str]) -> int:
    """Run the comparison and return its exit code."""
    stop = StopRequest()
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="reference-compare-") as folder:
        url = make_url(f"sqlite:///{Path(folder) / 'reference.db'}")
        upgrade(url)
        seed(url)
        with started("reference.providers", ["reference.providers", "--port", str(port)]) as providers:

            def check() -> None:
                stop.check()
                providers.check()

            try:
                wait_until_ready(f"http://127.0.0.1:{port}/control", check)
                return compare(options, str(url), f"http://127.0.0.1:{port}", stop)
            except Stopped as stopped:
                return 128 + stopped.number


def compare(options: list[str], database_url: str, providers_url: str, stop: StopRequest) -> int:
    """Run ``gateway compare`` to its end; a signal that came meanwhile is asked after when it has ended."""
    environ = os.environ | {"DATABASE_URL": database_url, "PROVIDERS_URL": providers_url}
    done = subprocess.run([sys.executable, "-m", *command(options)], cwd=ROOT, env=environ, check=False)  # noqa: S603 - our own module and the command line's options
    stop.check()
    return done.returncode


def command(options: list[str]) -> list[str]:
    """Return the command line that is run: ``corpora/`` unless other corpora are named."""
    named = [Path(each) for each in options if not each.startswith("-")]
    corpora = [] if any(each.is_dir() or each.suffix in SUFFIXES for each in named) else ["corpora"]
    # What --propose looks for is what --freeze takes away.
    freeze = [] if any(each.partition("=")[0] == "--propose" for each in options) else ["--freeze"]
    return ["gateway", "compare", *corpora, "--database-env", "DATABASE_URL", *freeze, *options]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
