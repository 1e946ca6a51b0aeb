"""Set up what the gateway's own processes write to stderr: one line an event, tracebacks only for bugs.

Only the loggers ``gateway`` and ``uvicorn`` are touched. The root logger belongs to the two apps: Flask adds
its own handler only while nobody else has, and an app that logged under gunicorn must log the same here.
"""

from __future__ import annotations

import logging
import sys
from typing import TextIO

_LOGGERS = ("gateway", "uvicorn")


class _LineFormatter(logging.Formatter):
    """Write ``12:31:07 gateway[41]: message``, with the level only where it is above information."""

    def format(self, record: logging.LogRecord) -> str:
        record.mark = "" if record.levelno <= logging.INFO else f"{record.levelname.lower()}: "
        return super().format(record)


class _StderrHandler(logging.StreamHandler[TextIO]):
    """Write to what stderr is at that moment, as ``logging.lastResort`` does: it may be replaced."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> TextIO:  # type: ignore[override] # read anew each time, and never set
        return sys.stderr


def configure_journal(level: str) -> None:
    """Send the gateway's and uvicorn's log lines at ``level`` and above to stderr.

    Uvicorn's own comings and goings are told by the supervisor, so below ``debug`` only its warnings show.
    """
    handler = _StderrHandler()
    handler.setFormatter(_LineFormatter("%(asctime)s gateway[%(process)d]: %(mark)s%(message)s", "%H:%M:%S"))
    for name in _LOGGERS:
        logger = logging.getLogger(name)
        logger.handlers[:] = [handler]
        logger.propagate = False
        logger.setLevel(level.upper())
    if level == "info":
        logging.getLogger("uvicorn").setLevel(logging.WARNING)
        logging.getLogger("uvicorn.access").setLevel(logging.INFO)
