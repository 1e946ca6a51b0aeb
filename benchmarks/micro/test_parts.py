"""Time the parts of a request's way: match, decide, bridge, dispatch, and the whole of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from benchmarks.apps.legacy import app as flask_app
from benchmarks.trials.own_work import scope_for
from gateway.serving.decide import decide

if TYPE_CHECKING:
    from benchmarks.micro.conftest import Laboratory


def test_match(benchmark: Any, laboratory: Laboratory, last_path: str) -> None:
    matcher = laboratory.gateway.snapshot.matcher
    assert benchmark(matcher.match, "GET", last_path) is not None


def test_match_of_a_path_in_no_row(benchmark: Any, laboratory: Laboratory) -> None:
    matcher = laboratory.gateway.snapshot.matcher
    assert benchmark(matcher.match, "GET", "/nobody/knows/this") is None


def test_decide(benchmark: Any, laboratory: Laboratory, last_path: str) -> None:
    snapshot = laboratory.gateway.snapshot
    route = snapshot.matcher.match("GET", last_path)
    assert route is not None
    scope = scope_for(last_path)

    def call() -> str:
        return decide(route, scope, salt=snapshot.spec.salt, read_session=lambda _cookies: None).backend

    assert benchmark(call) == "new"


def test_dispatch_of_new_by_its_row(benchmark: Any, laboratory: Laboratory, last_path: str) -> None:
    front = laboratory.gateway.front
    way = front.generation.way_of("GET", last_path)
    benchmark(laboratory.call(way.new, last_path))


def test_dispatch_of_new_by_fastapi_itself(benchmark: Any, laboratory: Laboratory, last_path: str) -> None:
    from benchmarks.apps.new import flat

    count = int(last_path.split("/")[1].removeprefix("resource-")) + 1
    benchmark(laboratory.call(flat(count), last_path))


def test_bridge(benchmark: Any, laboratory: Laboratory) -> None:
    benchmark(laboratory.call(laboratory.gateway.legacy, "/hello"))


def test_flask_itself(benchmark: Any) -> None:
    environ = flask_app.test_request_context("/hello").request.environ

    def call() -> bytes:
        return b"".join(flask_app(dict(environ), _start_response))

    assert b"world" in benchmark(call)


def _start_response(*_: object) -> Any:
    """Be the server's start_response, and forget what it is told."""


def test_new_row_whole_way(benchmark: Any, laboratory: Laboratory, last_path: str) -> None:
    benchmark(laboratory.call(laboratory.gateway, last_path))


def test_legacy_row_whole_way(benchmark: Any, laboratory: Laboratory) -> None:
    benchmark(laboratory.call(laboratory.gateway, "/hello"))
