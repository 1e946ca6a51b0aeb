"""Install packages for one test into a folder of their own, where they never meet the project's."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

CACHE = Path(__file__).parent.parent / ".cache" / "packages"


def skip_unless_ci(reason: str) -> None:
    """Skip the test for ``reason``, or fail where nothing may be skipped (GATEWAY_TESTS_SKIP_NOTHING)."""
    if os.environ.get("GATEWAY_TESTS_SKIP_NOTHING"):
        pytest.fail(f"nothing may be skipped here, and this would be: {reason}")
    pytest.skip(reason)


def installed(name: str, *requirements: str) -> Path:
    """Return a folder with ``requirements`` and what they need, to be put first on PYTHONPATH.

    It is filled by pip once and kept; without the package index the test is skipped, saying so.
    """
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    folder = CACHE / f"{name}-{version}"
    stamp = folder / ".installed"
    wanted = "\n".join(requirements)
    if stamp.exists() and stamp.read_text() == wanted:
        return folder
    result = subprocess.run(
        [
            sys.executable,
            "-m",
            "pip",
            "install",
            "--quiet",
            "--upgrade",
            "--target",
            str(folder),
            *requirements,
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode:
        last = (result.stderr.strip() or "pip failed").splitlines()[-1]
        skip_unless_ci(f"{', '.join(requirements)} could not be installed: {last}")
    stamp.write_text(wanted)
    return folder


def with_packages(folder: Path | None) -> dict[str, str]:
    """Return the environment that puts ``folder`` first on the path, and gives sets one order everywhere.

    Flask writes ``Allow`` out of a set: two processes with different hash seeds would word it differently.
    """
    paths = [str(folder)] if folder is not None else []
    if os.environ.get("PYTHONPATH"):
        paths.append(os.environ["PYTHONPATH"])
    return {"PYTHONPATH": os.pathsep.join(paths), "PYTHONHASHSEED": "0"}
