"""Share what every test may need: the event loop's choice, and real servers on real sockets."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from collections.abc import Iterator

# An example's time says how busy the machine is. In CI the same examples are tried every time; elsewhere
# new ones are.
settings.register_profile("house", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("house")


@pytest.fixture(autouse=True)
def _own_logging() -> Iterator[None]:
    """Give every test the loggers as they were: a verb run in this process sets them up for itself."""
    loggers = [logging.getLogger(name) for name in ("gateway", "uvicorn", "uvicorn.access")]
    before = [(each.handlers[:], each.level, each.propagate) for each in loggers]
    yield
    for each, (handlers, level, propagate) in zip(loggers, before, strict=True):
        each.handlers[:], each.propagate = handlers, propagate
        each.setLevel(level)


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Run asynchronous tests on asyncio, which is what uvicorn runs the gateway on."""
    return "asyncio"
