"""What a row can say about serving holds on a real socket: limits, timeouts, fallback, canary, streams."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import httpx
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from tests.projects import BACKENDS, Project, Served, make_project, served
from tests.running import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

LEGACY = """
    import time
    from pathlib import Path
    from flask import Flask, Response, jsonify, request
    from werkzeug.exceptions import HTTPException

    app = Flask(__name__)

    @app.errorhandler(HTTPException)
    def tell(error):
        return jsonify(oops=error.code, why=error.description), error.code

    @app.get("/slow")
    def slow():
        time.sleep(float(request.args.get("s", 5)))
        return "slow"

    @app.route("/echo", methods=["GET", "POST"])
    def echo():
        return Response(
            request.get_data(), headers={"X-Id": request.headers["X-Request-ID"], "X-By": "legacy"}
        )

    @app.get("/thing")
    @app.get("/canary")
    @app.get("/canary-too")
    @app.get("/limited")
    @app.get("/plain")
    def thing():
        return jsonify(by="legacy", headers=sorted(name for name, _ in request.headers))

    @app.get("/stream")
    def stream():
        def ticks():
            for number in range(3):
                yield f"{number}"
                time.sleep(0.3)
        return Response(ticks(), mimetype="text/plain")

    @app.get("/bad-header")
    def bad_header():
        response = Response("x")
        response.headers._list.append(("X-Bad", "a\\r\\nSet-Cookie: evil=1"))
        return response

    @app.post("/write")
    def write():
        return "legacy wrote"
"""
NEW = """
    import asyncio
    from contextlib import asynccontextmanager
    from fastapi import FastAPI, Request, WebSocket
    from fastapi.responses import JSONResponse, PlainTextResponse, StreamingResponse

    life = []

    @asynccontextmanager
    async def lifespan(app):
        life.append("started")
        yield {"from_lifespan": "yes"}
        print("new app shut down", flush=True)

    app = FastAPI(lifespan=lifespan, openapi_url=None)
    failing = {"mode": ""}

    async def misbehave():
        match failing["mode"]:
            case "raise":
                raise RuntimeError("new is broken")
            case "500":
                return PlainTextResponse("no", 503)
            case "hang":
                await asyncio.sleep(60)
        return None

    @app.post("/mode/{mode}")
    async def mode(mode: str):
        failing["mode"] = mode.replace("none", "")

    @app.get("/thing")
    async def thing(request: Request):
        return await misbehave() or JSONResponse(
            {"by": "new", "headers": sorted(request.headers), "state": request.state.from_lifespan,
             "life": life}
        )

    @app.get("/canary")
    @app.get("/canary-too")
    @app.get("/limited")
    @app.get("/plain")
    async def others():
        return {"by": "new"}

    @app.post("/write")
    async def write(request: Request):
        await request.body()
        return await misbehave() or PlainTextResponse("new wrote")

    @app.post("/upload")
    async def upload(request: Request):
        sizes = [len(chunk) async for chunk in request.stream()]
        return {"bytes": sum(sizes), "chunks": len(sizes)}

    @app.get("/hang")
    async def hang():
        await asyncio.sleep(60)

    @app.get("/ticks")
    async def ticks():
        async def produce():
            for number in range(3):
                yield f"{number}"
                await asyncio.sleep(0.3)
        return StreamingResponse(produce(), media_type="text/plain")

    @app.get("/inner/{name}/v2")
    async def inner(name: str):
        return {"name": name}

    @app.websocket("/ws/{room}")
    async def talk(socket: WebSocket, room: str):
        await socket.accept()
        await socket.send_text(room + await socket.receive_text())
        await socket.close()
"""
ROUTES = """
    defaults:
      timeout: 700ms
    salt: test
    server:
      override_token: ${OVERRIDE}
    routes:
      GET /thing: {stage: new, fallback: legacy}
      POST /write: {stage: new, fallback: legacy}
      GET /canary: {stage: canary, weight: 50%, sticky: ["header:x-user"], group: g}
      GET /canary-too: {stage: canary, weight: 50%, sticky: ["header:x-user"], group: g}
      GET /limited: {stage: canary, weight: 50%, rate_limit: 5/minute, rate_key: ["header:x-user"]}
      POST /upload: {stage: new, body_limit: 1MiB}
      GET,POST /echo: {stage: legacy, body_limit: 1KiB}
      GET /hang: new
      GET /ticks: new
      GET /public/{name}: {stage: new, new_path: "/inner/{name}/v2"}
      POST /mode/{mode}: new
      WS /ws/{room}: new
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return make_project(tmp_path_factory.mktemp("serving"), LEGACY, NEW, ROUTES)


@pytest.fixture(scope="module")
def running(project: Project) -> Iterator[Served]:
    with served(project.folder, environ={"OVERRIDE": "sesame"}) as running:
        yield running


@pytest.fixture
def url(running: Served) -> Iterator[str]:
    yield running.url
    httpx.post(f"{running.url}/mode/none")


@pytest.mark.parametrize("path", ["/slow", "/hang"])
def test_a_backend_without_a_first_byte_in_time_is_a_504(url: str, path: str) -> None:
    answer = httpx.get(url + path)
    assert answer.status_code == 504
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["x-served-by"] == "gateway"
    assert answer.json()["detail"].endswith("did not respond within 0.7 s")


@pytest.mark.parametrize("mode", ["raise", "500", "hang"])
def test_legacy_answers_a_safe_request_that_new_failed(url: str, mode: str) -> None:
    httpx.post(f"{url}/mode/{mode}")
    answer = httpx.get(f"{url}/thing")
    assert (answer.status_code, answer.headers["x-served-by"], answer.json()["by"]) == (
        200,
        "legacy",
        "legacy",
    )


def test_a_write_falls_back_only_with_an_idempotency_key(url: str) -> None:
    httpx.post(f"{url}/mode/500")
    assert httpx.post(f"{url}/write", content=b"x").status_code == 503
    repeatable = httpx.post(f"{url}/write", content=b"x", headers={"idempotency-key": "1"})
    assert (repeatable.status_code, repeatable.text) == (200, "legacy wrote")


def test_both_lifespans_run_and_their_state_arrives(url: str) -> None:
    answer = httpx.get(f"{url}/thing").json()
    assert (answer["state"], answer["life"]) == ("yes", ["started"])


def test_a_caller_stays_on_its_side_and_a_group_shares_it(url: str) -> None:
    sides = {}
    with httpx.Client() as client:
        for number in range(60):
            headers = {"x-user": str(number)}
            answers = {
                client.get(url + path, headers=headers).json()["by"]
                for path in ("/canary", "/canary-too") * 2
            }
            assert len(answers) == 1, number
            sides[number] = answers.pop()
    assert set(sides.values()) == {"legacy", "new"}


def test_one_rate_limit_counts_for_both_backends(url: str) -> None:
    headers = {"x-user": "limited"}
    answers = [httpx.get(f"{url}/limited", headers=headers) for _ in range(7)]
    assert [answer.status_code for answer in answers] == [200] * 5 + [429] * 2
    assert answers[-1].headers["x-served-by"] == "gateway"
    assert 1 <= int(answers[-1].headers["retry-after"]) <= 60
    assert httpx.get(f"{url}/limited", headers={"x-user": "another"}).status_code == 200


@pytest.mark.parametrize("is_chunked", [False, True])
@pytest.mark.parametrize(("path", "size"), [("/upload", 2 * 1024 * 1024), ("/echo", 2048)])
def test_a_body_over_its_limit_is_a_413(url: str, path: str, size: int, is_chunked: bool) -> None:
    content = iter([b"x" * 512] * (size // 512)) if is_chunked else b"x" * size
    answer = httpx.post(url + path, content=content)
    assert (answer.status_code, answer.headers["x-served-by"]) == (413, "gateway")


def test_a_body_within_its_limit_arrives_whole(url: str) -> None:
    answer = httpx.post(f"{url}/upload", content=iter([b"x" * 1000] * 1000))
    assert answer.json()["bytes"] == 1_000_000
    assert httpx.post(f"{url}/echo", content=b"y" * 1024).content == b"y" * 1024


@pytest.mark.parametrize("path", ["/ticks", "/stream"])
def test_streams_are_passed_on_as_they_come(url: str, path: str) -> None:
    with httpx.stream("GET", url + path) as answer:
        came = [(chunk, time.monotonic()) for chunk in answer.iter_text()]
    assert "".join(chunk for chunk, _when in came) == "012"
    assert came[-1][1] - came[0][1] > 0.4


def test_a_request_id_is_made_passed_on_and_returned(url: str) -> None:
    first = httpx.get(f"{url}/echo")
    assert len(first.headers["x-request-id"]) >= 16
    assert first.headers["x-id"] == first.headers["x-request-id"]
    assert httpx.get(f"{url}/echo").headers["x-request-id"] != first.headers["x-request-id"]


def test_the_override_works_with_its_token_and_never_shows_it_to_an_app(url: str) -> None:
    headers = {"x-gateway-backend": "legacy", "x-gateway-token": "sesame"}
    answer = httpx.get(f"{url}/thing", headers=headers)
    assert answer.headers["x-served-by"] == "legacy"
    assert answer.headers["cache-control"] == "private"
    assert not [name for name in answer.json()["headers"] if name.lower().startswith("x-gateway")]
    to_new = httpx.get(f"{url}/plain", headers=headers | {"x-gateway-backend": "new"})
    assert to_new.headers["x-served-by"] == "new"


def test_a_thousand_guesses_of_the_override_have_no_effect(url: str) -> None:
    with httpx.Client(base_url=url) as client:
        for number in range(1_000):
            headers = {"x-gateway-backend": "new", "x-gateway-token": f"sesam{number}"}
            assert client.get("/plain", headers=headers).headers["x-served-by"] == "legacy"


def test_a_row_may_have_another_path_on_new(url: str) -> None:
    assert httpx.get(f"{url}/public/a%20b").json() == {"name": "a b"}


def test_a_websocket_reaches_new_where_a_row_lists_it(url: str) -> None:
    with connect(url.replace("http", "ws") + "/ws/room") as socket:
        socket.send("!")
        assert socket.recv() == "room!"
    with pytest.raises(InvalidStatus), connect(url.replace("http", "ws") + "/elsewhere"):
        pass


def test_a_header_that_would_split_the_response_is_a_502(url: str) -> None:
    answer = httpx.get(f"{url}/bad-header")
    assert answer.status_code in (500, 502)
    assert "evil" not in str(answer.headers)


def test_a_forged_host_is_refused(url: str) -> None:
    answer = httpx.get(f"{url}/plain", headers={"host": "a/evil?x"})
    assert (answer.status_code, answer.headers["x-served-by"]) == (400, "gateway")


def test_errors_take_the_shape_that_the_table_asks_for(project: Project, running: Served) -> None:
    shapes = {"legacy": "oops", "{key: error}": "error", "problem": "status"}
    for shape, key in shapes.items():
        project.write_table(ROUTES.replace("    salt:", f"      error_shape: {shape}\n    salt:"), BACKENDS)

        def shaped(key: str = key) -> bool:
            return key in httpx.get(f"{running.url}/hang").json()

        wait_until(shaped, timeout_s=10, what=f"errors as {shape}")


def test_the_merged_description_covers_both_apps(url: str) -> None:
    paths = httpx.get(f"{url}/openapi.json").json()["paths"]
    assert paths["/slow"]["get"]["x-migration-stage"] == "legacy"
    assert paths["/upload"]["post"]["x-migration-stage"] == "new"
    assert "swagger" in httpx.get(f"{url}/docs").text


def test_stopping_ends_both_apps(project: Project) -> None:
    with served(project.folder, environ={"OVERRIDE": "sesame"}) as running:
        assert json.loads(httpx.get(f"{running.url}/-/health").content) == {"status": "ok"}
    assert running.process.returncode == 0
    assert "new app shut down" in running.text()
