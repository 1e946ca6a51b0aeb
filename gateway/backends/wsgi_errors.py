"""Turn what an app writes to ``wsgi.errors`` into log records, a line each.

Law: text is never lost and never loops. Flask's documented logging set-up points the root handler at
``wsgi.errors``; a record that comes back here while one is being logged goes to the process's stderr.
"""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import logging
    from collections.abc import Iterable


class ErrorLog:
    """Be a ``wsgi.errors`` stream (PEP 3333): text in, records of ``logger`` at level ERROR out."""

    encoding = "utf-8"
    errors = "backslashreplace"

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger
        # Per thread: lines of two requests must not mix, nor may one thread's logging stop another's.
        self._local = threading.local()

    def write(self, text: str) -> int:
        """Log each whole line of ``text``; keep the rest until its end, or a flush, comes."""
        if getattr(self._local, "is_logging", False):
            sys.stderr.write(text)
            return len(text)
        *lines, rest = (getattr(self._local, "rest", "") + text).split("\n")
        self._local.rest = rest
        for line in lines:
            self._log(line)
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write each of ``lines``."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Log what was kept of an unfinished line."""
        if getattr(self._local, "is_logging", False):
            sys.stderr.flush()
            return
        rest = getattr(self._local, "rest", "")
        self._local.rest = ""
        self._log(rest)

    def isatty(self) -> bool:
        """Say that nobody types here."""
        return False

    def _log(self, line: str) -> None:
        line = line.rstrip("\r")
        if not line:
            return
        self._local.is_logging = True
        try:
            self._logger.error("%s", line)
        finally:
            self._local.is_logging = False
