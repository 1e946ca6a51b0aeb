"""Install packages for one test into a folder of their own, where they never meet the project's."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

CACHE = Path(__file__).parent.parent / ".cache" / "packages"


def skip_unless_ci(reason: str) -> None:
    """Skip the test for ``reason``, or fail where nothing may be skipped (GATEWAY_TESTS_SKIP_NOTHING)."""
    if os.environ.get("GATEWAY_TESTS_SKIP_NOTHING"):
        pytest.fail(f"nothing may be skipped here, and this would be: {reason}")
    pytest.skip(reason)


def other_python() -> str:
    """Return an older Python than this one where the machine has one (PATH, pyenv), else this one."""
    names = ("python3.8", "python3.9", "python3.10")
    found = [path for path in map(shutil.which, names) if path]
    found += [str(path) for name in ("3.8", "3.9", "3.10") for path in _pyenv(name)]
    for path in found:
        is_usable = subprocess.run([path, "-m", "pip", "--version"], capture_output=True, check=False)
        if is_usable.returncode == 0:
            return path
    return sys.executable


def _pyenv(version: str) -> list[Path]:
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    return sorted((root / "versions").glob(f"{version}.*/bin/python"))


def installed(name: str, *requirements: str, python: str = sys.executable) -> Path:
    """Return a folder with ``requirements`` and what they need, to be put first on PYTHONPATH.

    It is filled by ``python``'s pip once and kept; without the package index the test is skipped, saying so.
    """
    ask = "import sys; print('%d.%d' % sys.version_info[:2])"
    version = subprocess.run([python, "-c", ask], capture_output=True, text=True, check=True).stdout.strip()
    wanted = "\n".join(requirements)
    folder = CACHE / f"{name}-{version}-{hashlib.sha256(wanted.encode()).hexdigest()[:8]}"
    if folder.exists():
        return folder
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as fresh:
        argv = [python, "-m", "pip", "install", "--quiet", "--target", f"{fresh}/packages", *requirements]
        result = subprocess.run(argv, capture_output=True, text=True, check=False)
        if result.returncode:
            last = (result.stderr.strip() or "pip failed").splitlines()[-1]
            skip_unless_ci(f"{', '.join(requirements)} could not be installed: {last}")
        # Another test process may have been first: then its folder is as good as ours.
        with contextlib.suppress(OSError):
            Path(fresh, "packages").rename(folder)
    return folder


def with_packages(folder: Path | None) -> dict[str, str]:
    """Return the environment that puts ``folder`` first on the path, and gives sets one order everywhere.

    Flask writes ``Allow`` out of a set: two processes with different hash seeds would word it differently.
    """
    paths = [str(folder)] if folder is not None else []
    if os.environ.get("PYTHONPATH"):
        paths.append(os.environ["PYTHONPATH"])
    return {"PYTHONPATH": os.pathsep.join(paths), "PYTHONHASHSEED": "0"}
