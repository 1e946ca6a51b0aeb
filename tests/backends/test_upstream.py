"""What a client sends reaches the upstream, and the answer the client, byte for byte and at the same pace."""

from __future__ import annotations

import asyncio
import gzip
import itertools
import re
import socket
import ssl
import subprocess
import tracemalloc
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.backends.upstream import Upstream
from gateway.backends.upstream_connection import BUFFER_LIMIT_BYTES, Connection
from gateway.backends.upstream_headers import PROTECTED, request_head, request_headers, response_headers
from gateway.backends.upstream_pool import Pool
from gateway.errors import BackendOverloaded, BackendTorn, BackendUnavailable, RequestRefused
from tests.running import free_port, running, wait_until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
    from pathlib import Path

    from gateway.backends.base import Backend

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
MIB = 1_048_576


class Client:
    """Be the server's side of one ASGI call: hand out a body, take the answer, leave when told."""

    def __init__(self, *body: bytes, is_leaving_after_body: bool = False) -> None:
        self.pieces = list(body) or [b""]
        self.sent: list[Any] = []
        self.gone = asyncio.Event()
        self.handed = 0
        self.is_leaving_after_body = is_leaving_after_body

    async def receive(self) -> Any:
        if self.handed < len(self.pieces):
            self.handed += 1
            is_more = self.handed < len(self.pieces) or self.is_leaving_after_body
            return {"type": "http.request", "body": self.pieces[self.handed - 1], "more_body": is_more}
        if not self.is_leaving_after_body:
            await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        self.sent.append(message)

    @property
    def status(self) -> int:
        return int(self.sent[0]["status"])

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        return list(self.sent[0]["headers"])

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.sent)

    @property
    def is_whole(self) -> bool:
        return bool(self.sent) and self.sent[-1].get("more_body") is False


def scope_of(method: str = "GET", target: str = "/", headers: Iterable[tuple[bytes, bytes]] = ()) -> Any:
    path, _, query = target.partition("?")
    return {
        "type": "http",
        "http_version": "1.1",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "headers": [(b"host", b"api.example"), *headers],
        "client": ("203.0.113.9", 1234),
        "scheme": "https",
    }


async def ask(
    backend: Backend, method: str = "GET", target: str = "/", *body: bytes, **options: Any
) -> Client:
    client = Client(*body)
    await backend(scope_of(method, target, **options), client.receive, client.send)
    return client


class Served:
    """Be what a raw upstream has seen: connections, and the bytes of each."""

    def __init__(self) -> None:
        self.url = ""
        self.received: list[bytearray] = []
        self.closed: list[asyncio.Event] = []

    @property
    def connections(self) -> int:
        return len(self.received)


@asynccontextmanager
async def raw_upstream(
    answer: Callable[[asyncio.StreamReader, asyncio.StreamWriter, int], Awaitable[None]],
) -> AsyncIterator[Served]:
    """Serve with bare sockets: ``answer`` is called for each connection, and the rest of it is read."""
    served = Served()
    tasks: set[asyncio.Task[None] | None] = set()
    writers: list[asyncio.StreamWriter] = []

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.current_task())
        writers.append(writer)
        index = served.connections
        served.received.append(bytearray())
        served.closed.append(asyncio.Event())
        read = reader.read

        async def noted(n: int = -1) -> bytes:
            data = await read(n)
            served.received[index] += data
            return data

        reader.read = noted  # type: ignore[method-assign] # the cheapest way to see what a handler reads
        try:
            with suppress(ConnectionError, asyncio.CancelledError):
                await answer(reader, writer, index)
                while await reader.read(65_536):
                    pass
        finally:
            served.closed[index].set()
            writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    served.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield served
    finally:
        server.close()
        for _ in range(3):  # a connection just accepted needs some turns of the loop to reach its handler
            await asyncio.sleep(0)
        for task in tasks:
            if task is not None:
                task.cancel()
        await asyncio.gather(*(task for task in tasks if task is not None), return_exceptions=True)
        for writer in writers:
            writer.transport.abort()
        await asyncio.sleep(0)


def answering(*responses: bytes, is_closing: bool = False) -> Any:
    """Answer each request on a connection with the next response, the last one again and again."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, index: int) -> None:
        turn = 0
        seen = b""
        while data := await reader.read(65_536):
            seen += data
            if b"\r\n\r\n" in seen:
                seen = b""
                writer.write(responses[min(turn, len(responses) - 1)])
                await writer.drain()
                turn += 1
                if is_closing:
                    writer.close()
                    return

    return answer


@asynccontextmanager
async def upstream_at(url: str, **options: Any) -> AsyncIterator[Upstream]:
    upstream = Upstream(url, **options)
    await upstream.start()
    try:
        yield upstream
    finally:
        await upstream.stop(1.0)


async def request_bytes(*args: Any, options: dict[str, Any] | None = None, **more: Any) -> bytes:
    async with (
        raw_upstream(answering(OK)) as served,
        upstream_at(served.url, **(options or {})) as upstream,
    ):
        assert (await ask(upstream, *args, **more)).body == b"ok"
        return bytes(served.received[0])


# What reaches the upstream


async def test_the_request_arrives_byte_for_byte() -> None:
    headers = [
        (b"x-odd", b"caf\xe9 \xff"),
        (b"accept", b"a"),
        (b"cookie", b"a=1"),
        (b"accept", b"b"),
        (b"cookie", b'b="2;3"'),
    ]
    sent = await request_bytes(
        "GET", "/a%2Fb/%zz//c/../%C3%A9;x=1?q=%20+&&=%2F?", headers=headers, options={"is_forwarding": False}
    )
    assert sent == (
        b"GET /a%2Fb/%zz//c/../%C3%A9;x=1?q=%20+&&=%2F? HTTP/1.1\r\n"
        b"host: api.example\r\nx-odd: caf\xe9 \xff\r\naccept: a\r\ncookie: a=1\r\naccept: b\r\n"
        b'cookie: b="2;3"\r\n\r\n'
    )


async def test_the_upstream_learns_the_client_the_scheme_and_the_host() -> None:
    sent = await request_bytes(
        headers=[(b"x-forwarded-for", b"198.51.100.1"), (b"x-forwarded-for", b"10.0.0.1")]
    )
    assert b"x-forwarded-for: 198.51.100.1, 10.0.0.1, 203.0.113.9\r\n" in sent
    assert b"x-forwarded-proto: https\r\nx-forwarded-host: api.example\r\n" in sent


async def test_forwarding_headers_that_came_are_kept() -> None:
    came = [(b"x-forwarded-proto", b"http"), (b"x-forwarded-host", b"public.example")]
    sent = await request_bytes(headers=came)
    assert sent.count(b"x-forwarded-proto") == 1
    assert b"x-forwarded-proto: http\r\nx-forwarded-host: public.example\r\n" in sent


@pytest.mark.parametrize("name", ["PURGE", "get", "M-SEARCH"])
async def test_a_method_arrives_as_it_was_sent(name: str) -> None:
    assert (await request_bytes(name)).startswith(name.encode() + b" / HTTP/1.1\r\n")


async def test_a_base_path_goes_in_front_and_the_root_path_is_cut_at_a_segment() -> None:
    async with (
        raw_upstream(answering(OK)) as served,
        upstream_at(served.url + "/base/", root_path="/sub") as upstream,
    ):
        for target in ("/sub/users?a=1", "/submarine", "/sub"):
            await ask(upstream, "GET", target)
        heads = bytes(served.received[0]).split(b"\r\n\r\n")
    assert [head.split(b" ")[1] for head in heads[:3]] == [b"/base/users?a=1", b"/base/submarine", b"/base/"]
    assert b"x-forwarded-prefix: /sub" in heads[0]
    assert b"x-forwarded-prefix" not in heads[1]


@pytest.mark.parametrize(
    ("method", "headers", "body", "end"),
    [
        pytest.param("GET", [], (), b"\r\n\r\n", id="no body"),
        pytest.param("DELETE", [], (), b"\r\n\r\n", id="no body on DELETE"),
        pytest.param("POST", [], (), b"content-length: 0\r\n\r\n", id="POST without a body"),
        pytest.param("POST", [(b"content-length", b"0")], (), b"\r\n\r\n", id="POST of nothing"),
        pytest.param("PUT", [(b"content-length", b"6")], (b"abc", b"def"), b"\r\n\r\nabcdef", id="length"),
        pytest.param("PUT", [], (b"abc",), b"\r\n\r\n3\r\nabc\r\n0\r\n\r\n", id="one chunk"),
        pytest.param(
            "PATCH",
            [(b"transfer-encoding", b"chunked")],
            (b"abc", b"", b"0123456789abcdef", b""),
            b"transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n10\r\n0123456789abcdef\r\n0\r\n\r\n",
            id="chunks",
        ),
    ],
)
async def test_a_body_is_framed_as_it_came(
    method: str, headers: list[tuple[bytes, bytes]], body: tuple[bytes, ...], end: bytes
) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, index: int) -> None:
        seen = b""
        while not seen.endswith(end):
            seen += await reader.read(65_536)
        writer.write(OK)

    async with raw_upstream(answer) as served, upstream_at(served.url, is_forwarding=False) as upstream:
        async with asyncio.timeout(5):
            client = await ask(upstream, method, "/", *body, headers=headers)
        assert client.body == b"ok"
        sent = bytes(served.received[0])
    assert sent.endswith(end)
    assert sent.count(b"content-length") + sent.count(b"transfer-encoding") == int(
        method not in ("GET", "DELETE")
    )


def test_hop_by_hop_headers_stop_here_and_connection_strips_nothing_that_matters() -> None:
    came = [
        (b"connection", b"close, X-Hop, Cookie, authorization, host, X-Forwarded-For"),
        (b"connection", b"x-other"),
        *(
            (name, b"1")
            for name in (b"te", b"upgrade", b"keep-alive", b"proxy-connection", b"trailer", b"expect")
        ),
        *((name, b"2") for name in (b"x-hop", b"x-other")),
        *((name, b"3") for name in (b"cookie", b"authorization", b"x-forwarded-for")),
    ]
    kept = request_headers(scope_of(headers=came), is_forwarding=False)
    assert kept == [
        (b"host", b"api.example"),
        *((name, b"3") for name in (b"cookie", b"authorization", b"x-forwarded-for")),
    ]


@given(st.lists(st.tuples(st.sampled_from(sorted(PROTECTED)), st.binary(max_size=5)), max_size=8))
def test_no_connection_header_strips_a_protected_one(pairs: list[tuple[bytes, bytes]]) -> None:
    naming = (b"connection", b", ".join(sorted(PROTECTED)))
    assert response_headers(200, [naming, *pairs]) == pairs


@given(
    st.binary(min_size=1, max_size=20),
    st.lists(st.tuples(st.binary(min_size=1, max_size=6), st.binary(max_size=9)), max_size=4),
)
def test_no_header_or_target_can_smuggle_a_line(target: bytes, headers: list[tuple[bytes, bytes]]) -> None:
    target = b"/" + target
    parts = [target, *(part for pair in headers for part in pair)]
    has_break = any(byte in part for part in parts for byte in (b"\r", b"\n", b"\0"))
    try:
        head = request_head("GET", target, headers)
    except ValueError:
        assert has_break or b" " in target
    else:
        assert not has_break
        assert head.count(b"\r\n") == 2 + len(headers)


async def test_a_body_that_belies_its_length_never_reaches_the_next_request() -> None:
    async with raw_upstream(answering(OK)) as served, upstream_at(served.url) as upstream:
        with pytest.raises(BackendUnavailable, match="Content-Length"):
            await ask(upstream, "POST", "/", b"abcGET /evil", headers=[(b"content-length", b"3")])
        with pytest.raises(BackendUnavailable, match="Content-Length"):
            await ask(upstream, "POST", "/", b"abc", headers=[(b"content-length", b"5")])
        assert b"evil" not in b"".join(served.received)


# What reaches the client


async def answer_to(response: bytes, method: str = "GET", *, is_closing: bool = False) -> Client:
    async with (
        raw_upstream(answering(response, is_closing=is_closing)) as served,
        upstream_at(served.url) as upstream,
    ):
        async with asyncio.timeout(5):
            return await ask(upstream, method)


async def test_repeated_headers_come_back_in_order_with_their_bytes() -> None:
    client = await answer_to(
        b"HTTP/1.1 299 Odd\r\nSet-Cookie: a=1; Path=/\r\nX-B: caf\xe9\r\n"
        b"set-cookie: b=2\r\nContent-Length: 0\r\n\r\n"
    )
    assert client.status == 299
    assert client.headers == [
        (b"set-cookie", b"a=1; Path=/"),
        (b"x-b", b"caf\xe9"),
        (b"set-cookie", b"b=2"),
        (b"content-length", b"0"),
    ]


async def test_cookies_are_not_remembered_and_redirects_not_followed() -> None:
    redirect = b"HTTP/1.1 302 Found\r\nLocation: /there\r\nSet-Cookie: a=1\r\nContent-Length: 0\r\n\r\n"
    async with raw_upstream(answering(redirect)) as served, upstream_at(served.url) as upstream:
        assert (await ask(upstream)).status == 302
        assert (b"location", b"/there") in (await ask(upstream)).headers
        assert served.connections == 1
        assert b"cookie" not in bytes(served.received[0])
        assert served.received[0].count(b"GET") == 2


@pytest.mark.parametrize(
    ("method", "response", "body", "length"),
    [
        pytest.param("HEAD", b"200 OK\r\nContent-Length: 77\r\n\r\n", b"", b"77", id="HEAD"),
        pytest.param("HEAD", b"200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"", None, id="HEAD chunked"),
        pytest.param("GET", b"204 No Content\r\n\r\n", b"", None, id="204"),
        pytest.param("GET", b"304 Not Modified\r\nContent-Length: 77\r\n\r\n", b"", None, id="304"),
        pytest.param("GET", b"200 OK\r\nContent-Length: 0\r\n\r\n", b"", b"0", id="empty"),
        pytest.param(
            "GET",
            b"200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-T\r\n\r\n2\r\nok\r\n0\r\nX-T: 1\r\n\r\n",
            b"ok",
            None,
            id="trailers are dropped",
        ),
        pytest.param(
            "GET",
            b"103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
            b"ok",
            b"2",
            id="early hints are dropped",
        ),
    ],
)
async def test_every_kind_of_end_is_seen(
    method: str, response: bytes, body: bytes, length: bytes | None
) -> None:
    async with (
        raw_upstream(answering(b"HTTP/1.1 " + response)) as served,
        upstream_at(served.url) as upstream,
        asyncio.timeout(5),
    ):
        for _ in range(2):
            client = await ask(upstream, method)
            assert client.is_whole
            assert client.body == body
            assert dict(client.headers).get(b"content-length") == length
            assert not {b"transfer-encoding", b"trailer", b"x-t", b"link"} & dict(client.headers).keys()
        assert served.connections == 1


async def test_a_response_that_ends_with_its_connection_is_whole() -> None:
    client = await answer_to(b"HTTP/1.0 200 OK\r\nX-A: 1\r\n\r\nall of it", is_closing=True)
    assert client.body == b"all of it"
    assert client.is_whole


@pytest.mark.parametrize(
    "response",
    [
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nsome", id="length"),
        pytest.param(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nsome\r\n", id="chunked"),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nsome\r\nzz\r\n", id="bad chunk"
        ),
    ],
)
async def test_a_torn_response_never_looks_whole(response: bytes) -> None:
    async with raw_upstream(answering(response, is_closing=True)) as served:
        upstream = Upstream(served.url, name="new")
        client = Client()
        with pytest.raises(BackendTorn) as caught:
            await upstream(scope_of(), client.receive, client.send)
    assert caught.value.backend == "new"
    assert not client.is_whole


@pytest.mark.parametrize(
    ("response", "detail"),
    [
        pytest.param(b"SSH-2.0-OpenSSH\r\n\r\n", "no valid HTTP", id="another protocol"),
        pytest.param(b"HTTP/1.1 200 OK\r\nbad header\r\n\r\n", "no valid HTTP", id="a bad header"),
        pytest.param(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n", "no valid HTTP", id="a switch"
        ),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
            "no valid HTTP",
            id="two framings",
        ),
        pytest.param(b"HTTP/1.1 200 OK\r\nX-A: " + b"a" * 200_000, "bytes of headers", id="endless header"),
        pytest.param(b"HTTP/1.1 200 OK\r\nX-A: 1\r\n", "mid-response", id="half a head"),
        pytest.param(b"", "closed the connection", id="nothing"),
    ],
)
async def test_an_answer_that_is_none_is_unavailable(response: bytes, detail: str) -> None:
    with pytest.raises(BackendUnavailable, match=detail):
        await answer_to(response, is_closing=True)


async def test_each_chunk_is_sent_on_before_the_next_one_comes() -> None:
    client = Client()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, index: int) -> None:
        await reader.read(65_536)
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for number in range(5):
            while len(client.sent) < 1 + number:  # noqa: ASYNC110 - the client's list has no event
                await asyncio.sleep(0.001)
            writer.write(b"1\r\n%d\r\n" % number)
        writer.write(b"0\r\n\r\n")

    async with raw_upstream(answer) as served, upstream_at(served.url) as upstream, asyncio.timeout(5):
        await upstream(scope_of(), client.receive, client.send)
    assert client.body == b"01234"
    assert client.is_whole


async def test_what_an_upstream_says_unasked_costs_it_the_connection() -> None:
    async with raw_upstream(answering(OK + OK)) as served, upstream_at(served.url) as upstream:
        assert (await ask(upstream)).body == b"ok"
        assert (await ask(upstream)).body == b"ok"
        assert served.connections == 2


RESPONSES = (
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nX-A: 1\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"5\r\nhello\r\n6;x=1\r\n world\r\n0\r\nT: 1\r\n\r\n"
)


@given(st.lists(st.integers(0, len(RESPONSES)), max_size=12))
def test_no_splitting_into_packets_changes_a_response(cuts: list[int]) -> None:
    loop = asyncio.new_event_loop()
    try:
        connection = Connection(loop, lambda _: None)
        connection.connection_made(_NoTransport())
        connection.begin(b"", is_head=False)
        places = sorted({0, len(RESPONSES), *cuts})
        for start, end in itertools.pairwise(places):
            connection.data_received(RESPONSES[start:end])
        assert connection.status == 200
        assert connection.headers == [(b"x-a", b"1"), (b"transfer-encoding", b"chunked")]
        assert loop.run_until_complete(connection.read_body()) == (b"hello world", True)
        assert connection.finish()
    finally:
        loop.close()


class _NoTransport(asyncio.Transport):
    def write(self, data: Any) -> None:
        """Take the request, which nobody reads."""

    def is_closing(self) -> bool:
        return False


# Connections


async def test_a_connection_is_used_again() -> None:
    async with raw_upstream(answering(OK)) as served, upstream_at(served.url) as upstream:
        for _ in range(5):
            await ask(upstream)
        assert served.connections == 1


def closing_after_first(served_requests: list[bytes]) -> Any:
    """Answer once per connection; close it silently when another request comes on it."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, index: int) -> None:
        served_requests.append(await reader.read(65_536))
        writer.write(OK)
        await reader.read(65_536)
        writer.close()

    return answer


async def test_a_stale_connection_costs_an_idempotent_request_nothing() -> None:
    requests: list[bytes] = []
    async with raw_upstream(closing_after_first(requests)) as served, upstream_at(served.url) as upstream:
        await ask(upstream)
        assert (await ask(upstream, "DELETE")).body == b"ok"
        assert served.connections == 2


async def test_a_post_is_never_sent_twice() -> None:
    requests: list[bytes] = []
    async with raw_upstream(closing_after_first(requests)) as served, upstream_at(served.url) as upstream:
        await ask(upstream)
        with pytest.raises(BackendUnavailable):
            await ask(upstream, "POST")
        assert served.connections == 1


async def test_a_post_rides_on_no_connection_that_idled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.backends.upstream_pool.FRESH_S", 0.0)
    requests: list[bytes] = []
    async with raw_upstream(closing_after_first(requests)) as served, upstream_at(served.url) as upstream:
        await ask(upstream)
        await asyncio.sleep(0)
        assert (await ask(upstream, "POST")).body == b"ok"
        assert served.connections == 2


async def test_a_request_that_a_new_connection_did_not_answer_is_not_repeated() -> None:
    async with raw_upstream(answering(b"", is_closing=True)) as served, upstream_at(served.url) as upstream:
        with pytest.raises(BackendUnavailable):
            await ask(upstream)
        assert served.connections == 1


async def test_a_connection_closed_while_idle_is_not_used() -> None:
    async with raw_upstream(answering(OK, is_closing=True)) as served, upstream_at(served.url) as upstream:
        for _ in range(3):
            assert (await ask(upstream, "POST")).body == b"ok"
            await served.closed[-1].wait()
            await asyncio.sleep(0.01)
        assert served.connections == 3


async def test_a_connection_closed_while_the_client_took_its_time_is_replaced() -> None:
    async with raw_upstream(closing_when_told := Closing()) as served, upstream_at(served.url) as upstream:
        await ask(upstream)
        client = Client(b"late")

        async def receive() -> Any:
            if not client.handed:
                closing_when_told.told.set()
                await served.closed[0].wait()
                await when(lambda: upstream.health().facts["connections"] == 0)
            return await client.receive()

        async with asyncio.timeout(5):
            await upstream(scope_of("POST", headers=[(b"content-length", b"4")]), receive, client.send)
        assert client.body == b"ok"
        assert served.connections == 2


class Closing:
    """Answer once on the first connection, and close it when told; answer the second."""

    def __init__(self) -> None:
        self.told = asyncio.Event()

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, index: int) -> None:
        await reader.read(65_536)
        writer.write(OK)
        if index == 0:
            await self.told.wait()
            writer.close()


async def test_nobody_listening_is_unavailable_and_shows_in_the_health() -> None:
    upstream = Upstream(f"http://127.0.0.1:{free_port()}")
    with pytest.raises(BackendUnavailable, match="connection refused") as caught:
        await ask(upstream)
    assert "127.0.0.1" not in caught.value.detail
    assert "127.0.0.1" in upstream.health().reason
    assert not upstream.health().is_ok
    assert not (await upstream.probe()).is_ok


async def test_an_unknown_name_is_unavailable() -> None:
    with pytest.raises(BackendUnavailable, match="cannot be resolved"):
        await ask(Upstream("http://no-such-host.invalid", connect_timeout_s=20))


async def test_a_silent_handshake_ends_with_the_connect_timeout() -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        upstream = Upstream(f"https://127.0.0.1:{mute.getsockname()[1]}", connect_timeout_s=0.2)
        with pytest.raises(BackendUnavailable, match="connect timeout"):
            await ask(upstream)


async def test_a_probe_heals_the_health() -> None:
    port = free_port()
    upstream = Upstream(f"http://127.0.0.1:{port}")
    assert not (await upstream.probe()).is_ok
    with socket.create_server(("127.0.0.1", port)):
        assert (await upstream.probe()).is_ok


@pytest.mark.parametrize("url", ["ftp://a", "//a", "http://", "http://u:p@a", "http://a/?q=1", "http://a/#f"])
def test_a_url_that_is_no_servers_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="http"):
        Upstream(url)


def hanging(answered: asyncio.Event) -> Any:
    """Read requests and answer each only once the event is set."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, index: int) -> None:
        while await reader.read(65_536):
            if not answered.is_set():
                waiting = asyncio.ensure_future(answered.wait())
                reading = asyncio.ensure_future(reader.read(65_536))
                await asyncio.wait((waiting, reading), return_when=asyncio.FIRST_COMPLETED)
                waiting.cancel()
                if reading.done():
                    return
                reading.cancel()
                with suppress(asyncio.CancelledError):
                    await reading
            writer.write(OK)

    return answer


async def when(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - the conditions are plain state, without events
            await asyncio.sleep(0.001)


async def test_the_pool_bounds_connections_and_those_that_wait() -> None:
    answered = asyncio.Event()
    async with raw_upstream(hanging(answered)) as served, upstream_at(served.url, pool=2) as upstream:
        calls = [asyncio.ensure_future(ask(upstream)) for _ in range(2 + 8)]
        await when(lambda: upstream.health().facts["waiting"] == 8 and served.connections == 2)
        with pytest.raises(BackendOverloaded):
            await ask(upstream)
        answered.set()
        assert all(client.body == b"ok" for client in await asyncio.gather(*calls))
        assert served.connections == 2
        assert upstream.health().facts["waiting"] == 0


async def test_cancelled_waiters_and_requests_leave_the_pool_as_it_was() -> None:
    answered = asyncio.Event()
    async with raw_upstream(hanging(answered)) as served, upstream_at(served.url, pool=3) as upstream:
        for _ in range(20):
            calls = [asyncio.ensure_future(ask(upstream)) for _ in range(9)]
            await when(lambda: upstream.health().facts["waiting"] == 6)
            for call in calls:
                call.cancel()
            await asyncio.gather(*calls, return_exceptions=True)
        await when(lambda: upstream.health().facts["connections"] == 0)
        assert upstream.health().facts["active"] == 0
        answered.set()
        async with asyncio.timeout(5):
            assert (await ask(upstream)).body == b"ok"
        await when(lambda: all(closed.is_set() for closed in served.closed[:-1]))


@pytest.mark.parametrize("is_reusable", [True, False], ids=["given a connection", "given leave to open one"])
async def test_a_waiter_cancelled_in_the_moment_of_its_turn_passes_it_on(is_reusable: bool) -> None:
    async with raw_upstream(answering(OK)) as served:
        port = int(served.url.rpartition(":")[2])
        pool = Pool("127.0.0.1", port, name="new", limit=1, connect_timeout_s=2.0)
        connection = await pool.acquire(is_repeatable=True)
        waiters = [asyncio.ensure_future(pool.acquire(is_repeatable=True)) for _ in range(2)]
        await when(lambda: pool.waiting == 2)
        (pool.release if is_reusable else pool.discard)(connection)
        waiters[0].cancel()
        async with asyncio.timeout(5):
            second = await waiters[1]
        assert (second is connection) is is_reusable
        assert pool.open == 1
        assert waiters[0].cancelled()
        pool.discard(second)
        assert pool.open == 0
        await pool.close(1.0)


async def test_a_refused_connection_lets_the_next_one_try() -> None:
    upstream = Upstream(f"http://127.0.0.1:{free_port()}", pool=1)
    outcomes = await asyncio.gather(*(ask(upstream) for _ in range(4)), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [BackendUnavailable] * 4
    assert upstream.health().facts["connections"] == 0


async def test_stopping_lets_requests_finish_and_refuses_new_ones() -> None:
    answered = asyncio.Event()
    async with raw_upstream(hanging(answered)) as served:
        upstream = Upstream(served.url)
        call = asyncio.ensure_future(ask(upstream))
        await when(lambda: served.connections == 1)
        stopping = asyncio.ensure_future(upstream.stop(5.0))
        await asyncio.sleep(0)
        with pytest.raises(BackendUnavailable, match="shutting down"):
            await ask(upstream)
        answered.set()
        assert (await call).body == b"ok"
        async with asyncio.timeout(2):
            await stopping


async def test_stopping_cuts_what_outlasts_the_grace() -> None:
    async with raw_upstream(hanging(asyncio.Event())) as served:
        upstream = Upstream(served.url)
        call = asyncio.ensure_future(ask(upstream))
        await when(lambda: served.connections == 1)
        await upstream.stop(0.05)
        with pytest.raises(BackendUnavailable, match="shutting down"):
            await call


# Leaving


async def test_a_cancelled_request_is_cut_at_once() -> None:
    async with raw_upstream(hanging(asyncio.Event())) as served, upstream_at(served.url) as upstream:
        call = asyncio.ensure_future(ask(upstream))
        await when(lambda: served.connections == 1 and served.received[0])
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        async with asyncio.timeout(2):
            await served.closed[0].wait()


async def test_a_client_that_leaves_takes_its_request_along() -> None:
    async with raw_upstream(hanging(asyncio.Event())) as served, upstream_at(served.url) as upstream:
        client = Client()
        call = asyncio.ensure_future(upstream(scope_of(), client.receive, client.send))
        await when(lambda: served.connections == 1)
        client.gone.set()
        async with asyncio.timeout(2):
            await call
            await served.closed[0].wait()
        assert client.sent == []


async def test_a_client_that_leaves_in_mid_stream_ends_the_stream() -> None:
    async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, index: int) -> None:
        await reader.read(65_536)
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            writer.write(b"5\r\ndata\n\r\n")
            await writer.drain()
            await asyncio.sleep(0.001)

    async with raw_upstream(endless) as served, upstream_at(served.url) as upstream:
        client = Client()
        call = asyncio.ensure_future(upstream(scope_of(), client.receive, client.send))
        await when(lambda: len(client.sent) > 3)
        client.gone.set()
        async with asyncio.timeout(2):
            await call
            await served.closed[0].wait()
        assert not client.is_whole


async def test_an_aborted_upload_is_aborted_upstream() -> None:
    async with raw_upstream(hanging(asyncio.Event())) as served, upstream_at(served.url) as upstream:
        client = Client(b"five!", is_leaving_after_body=True)
        scope = scope_of("POST", headers=[(b"content-length", b"100")])
        async with asyncio.timeout(2):
            await upstream(scope, client.receive, client.send)
        assert client.sent == []
        if served.closed:
            await served.closed[0].wait()
            assert not served.received[0].endswith(b"0\r\n\r\n")


async def test_an_answer_before_the_end_of_the_upload_is_passed_on() -> None:
    refusal = b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig"
    async with raw_upstream(answering(refusal)) as served, upstream_at(served.url) as upstream:
        client = Client(b"a" * 1000)
        client.is_leaving_after_body = True
        pieces = client.receive

        async def receive() -> Any:
            if client.handed:
                await asyncio.Event().wait()
            return await pieces()

        async with asyncio.timeout(2):
            await upstream(scope_of("POST", headers=[(b"content-length", b"9999")]), receive, client.send)
            assert client.status == 413
            assert client.is_whole
            await served.closed[0].wait()


async def test_what_receive_raises_is_the_outcome() -> None:
    async with raw_upstream(hanging(asyncio.Event())) as served, upstream_at(served.url) as upstream:
        client = Client(b"first", b"second")

        async def receive() -> Any:
            if client.handed:
                raise RequestRefused(413, "too much")
            return await client.receive()

        with pytest.raises(RequestRefused):
            await upstream(scope_of("POST"), receive, client.send)
        assert upstream.health().facts["connections"] == 0


# Pace


async def test_an_upload_is_paced_by_the_upstream() -> None:
    reading = asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, index: int) -> None:
        await reading.wait()
        size = 0
        while size < 64 * MIB:
            size += len(await reader.read(MIB))
        writer.write(OK)

    async with raw_upstream(answer) as served, upstream_at(served.url) as upstream:
        client = Client(*[bytes(MIB)] * 64)
        call = asyncio.ensure_future(upstream(scope_of("POST"), client.receive, client.send))
        await when(lambda: client.handed > 0 and served.connections == 1)
        for _ in range(50):
            await asyncio.sleep(0.002)
        assert client.handed < 24  # what the kernel's socket buffers take, and no more
        reading.set()
        async with asyncio.timeout(20):
            await call
        assert client.body == b"ok"


async def test_a_download_is_paced_by_the_client_and_takes_no_memory() -> None:
    size = 100 * MIB
    written = 0
    piece = bytes(65_536)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, index: int) -> None:
        nonlocal written
        await reader.read(65_536)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        while written < size:
            writer.write(piece)
            written += len(piece)
            await writer.drain()

    async with raw_upstream(answer) as served, upstream_at(served.url) as upstream:
        client = Client()
        taking = asyncio.Event()
        taken = 0

        async def send(message: Any) -> None:
            nonlocal taken
            taken += len(message.get("body", b""))
            if taken:
                await taking.wait()

        tracemalloc.start()
        before, _ = tracemalloc.get_traced_memory()
        try:
            call = asyncio.ensure_future(upstream(scope_of(), client.receive, send))
            await when(lambda: taken)
            for _ in range(50):
                await asyncio.sleep(0.002)
            assert written < 24 * MIB
            taking.set()
            async with asyncio.timeout(60):
                await call
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert taken == size
        assert peak - before < 8 * BUFFER_LIMIT_BYTES


# Under real servers


def fronting(url: str) -> Any:
    """Return an ASGI app that is an upstream with its life in a lifespan."""
    upstream = Upstream(url)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "lifespan":
            await upstream(scope, receive, send)
            return
        await receive()
        await upstream.start()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await upstream.stop(1.0)
        await send({"type": "lifespan.shutdown.complete"})

    return app


async def echo_app(scope: Any, receive: Any, send: Any) -> None:
    """Answer gzip on /gzip, events on /events, else what came."""
    if scope["type"] != "http":
        return
    if scope["path"] == "/gzip":
        body = gzip.compress(b"squeezed" * 1000, mtime=0)
        headers = [(b"content-encoding", b"gzip"), (b"content-type", b"text/plain")]
    else:
        body = b""
        is_more = True
        while is_more:
            message = await receive()
            body += message.get("body", b"")
            is_more = message.get("more_body", False)
        headers = [(b"set-cookie", b"a=1"), (b"set-cookie", b"b=2")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def test_bytes_survive_both_servers() -> None:
    payload = bytes(range(256)) * 40_000
    with running(echo_app) as url, running(fronting(url)) as front, httpx.Client() as client:
        echoed = client.post(front + "/echo", content=payload)
        assert echoed.content == payload
        assert echoed.headers.get_list("set-cookie") == ["a=1", "b=2"]

        def pieces() -> Any:
            yield payload[:7]
            yield payload[7:]

        assert client.put(front + "/echo", content=pieces()).content == payload
        with client.stream("GET", front + "/gzip") as response:
            assert b"".join(response.iter_raw()) == gzip.compress(b"squeezed" * 1000, mtime=0)
            assert response.headers["content-encoding"] == "gzip"


def test_a_client_that_expects_100_continue_gets_it() -> None:
    with running(echo_app) as url, running(fronting(url)) as front:
        host, port = front.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=5) as client:
            client.sendall(
                b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n"
                b"Expect: 100-continue\r\nConnection: close\r\n\r\n"
            )
            assert client.recv(1000).startswith(b"HTTP/1.1 100 Continue")
            client.sendall(b"hello")
            answer = b""
            while data := client.recv(65_536):
                answer += data
    assert answer.startswith(b"HTTP/1.1 200")
    assert re.search(rb"hello\r\n|hello$", answer)


def test_events_are_flushed_one_by_one() -> None:
    async def events(scope: Any, receive: Any, send: Any) -> None:
        headers = [(b"content-type", b"text/event-stream")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"data: 1\n\n", "more_body": True})
        while (await receive())["type"] != "http.disconnect":
            pass
        left.append(True)

    left: list[bool] = []
    with running(events, lifespan="off") as url, running(fronting(url)) as front:
        with httpx.Client() as client, client.stream("GET", front) as response:
            assert next(response.iter_raw()) == b"data: 1\n\n"
        wait_until(lambda: left, what="the upstream's disconnect")


def test_certificates_are_verified(tmp_path: Path) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subprocess.run(
        [
            *(
                "openssl",
                "req",
                "-x509",
                "-newkey",
                "rsa:2048",
                "-nodes",
                "-days",
                "2",
                "-subj",
                "/CN=localhost",
            ),
            *("-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)),
        ],
        check=True,
        capture_output=True,
    )
    trusting = ssl.create_default_context(cafile=str(certificate))

    async def ask_both(url: str) -> None:
        with pytest.raises(BackendUnavailable, match="certificate is not valid"):
            await ask(Upstream(url))
        async with upstream_at(url, ssl_context=trusting) as upstream:
            for _ in range(2):
                assert (await ask(upstream, "POST", "/", b"secret")).body == b"secret"

    with running(echo_app, ssl_keyfile=str(key), ssl_certfile=str(certificate)) as url:
        asyncio.run(ask_both(url.replace("http:", "https:")))
