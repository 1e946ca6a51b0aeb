"""Share what every test may need: the event loop's choice, and real servers on real sockets."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Run asynchronous tests on asyncio, which is what uvicorn runs the gateway on."""
    return "asyncio"
