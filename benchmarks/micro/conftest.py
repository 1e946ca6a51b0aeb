"""Give the micro-benchmarks a started gateway, and a way to run coroutines on one event loop."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from benchmarks.contenders import rows_for, write_table
from benchmarks.trials.own_work import scope_for
from gateway import create_app

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from gateway.app import Gateway


class Laboratory:
    """Be one gateway on one event loop."""

    def __init__(self, gateway: Gateway, loop: asyncio.AbstractEventLoop) -> None:
        self.gateway = gateway
        self.loop = loop

    def call(self, app: Any, path: str) -> Callable[[], None]:
        """Return what asks ``app`` for ``path`` once, as a server would."""
        answers: list[int] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: Any) -> None:
            if message["type"] == "http.response.start":
                answers.append(message["status"])

        def ask() -> None:
            answers.clear()
            self.loop.run_until_complete(app(scope_for(path), receive, send))
            assert answers == [200]

        return ask


@pytest.fixture(scope="module", params=[10, 2000], ids=lambda count: f"{count}-rows")
def laboratory(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Laboratory]:
    """Return a started gateway with 10, then with 2,000 new rows; its last resource is ``rows - 1``."""
    count: int = request.param
    path: Path = tmp_path_factory.mktemp("table") / "routing.yaml"
    write_table(path, new=f"benchmarks.apps.new:flat_{count}()", rows=rows_for(count))
    gateway = create_app(path)
    with asyncio.Runner() as runner:
        runner.run(gateway.start())
        yield Laboratory(gateway, runner.get_loop())
        runner.run(gateway.stop())


@pytest.fixture
def last_path(laboratory: Laboratory) -> str:
    """Return a path of the table's last row."""
    rows = [route for route in laboratory.gateway.snapshot.routes if route.new_route is not None]
    return f"/resource-{len(rows) - 1}/7"
