"""A body of any size passes in either direction at flat memory.

The default run moves ``GATEWAY_TEST_BODY_MIB`` (64) MiB each way; set it to 1024 for the full claim.
"""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.backends.conformance import connect
from tests.running import free_port, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

MIB = 1 << 20
BODY_MIB = int(os.environ.get("GATEWAY_TEST_BODY_MIB", "64"))
LIMIT_MIB = 16

PROGRAM = """
    import uvicorn
    from gateway.backends.bridge import WsgiBridge

    def app(environ, start_response):
        size, total = int(environ["QUERY_STRING"]), 0
        while block := environ["wsgi.input"].read(65536):
            total += len(block)
        if environ["PATH_INFO"] == "/down":
            start_response("200 OK", [("Content-Length", str(size))])
            return (b"x" * 1048576 for _ in range(size >> 20))
        if environ["PATH_INFO"] == "/file":
            start_response("200 OK", [("Content-Length", str(size))])
            return environ["wsgi.file_wrapper"](open("/dev/zero", "rb"))
        start_response("200 OK", [])
        return [str(total).encode()]

    uvicorn.run(WsgiBridge(app), port={port}, log_level="critical")
"""


class Server:
    """Be a server process whose memory can be read."""

    def __init__(self, process: subprocess.Popen[bytes], url: str) -> None:
        self.process = process
        self.url = url
        self.idle_mib = 0.0

    def memory_mib(self, key: str) -> float:
        """Return resident memory: ``VmRSS`` now, ``VmHWM`` at its peak."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(next(line.split()[1] for line in status.splitlines() if line.startswith(key))) / 1024

    def above_idle_mib(self) -> float:
        """Return how far the peak so far lies above the memory after the first request."""
        return self.memory_mib("VmHWM") - self.idle_mib


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    port = free_port()
    process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(PROGRAM.format(port=port))])
    server = Server(process, f"http://127.0.0.1:{port}")

    def is_up() -> bool:
        try:
            upload(server.url, 1, "Content-Length: %d")
        except OSError:
            return False
        return True

    try:
        wait_until(is_up, timeout_s=20, what="the server's start")
        server.idle_mib = server.memory_mib("VmRSS")
        yield server
    finally:
        process.kill()
        process.wait()


def upload(url: str, size_mib: int, framing: str) -> bytes:
    block = b"y" * MIB
    with connect(url) as client:
        head = f"POST /up?0 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{framing}\r\n\r\n"
        client.sendall((head % (size_mib * MIB) if "%d" in head else head).encode())
        for _ in range(size_mib):
            client.sendall(block if "%d" in framing else b"%x\r\n%b\r\n" % (MIB, block))
        if "%d" not in framing:
            client.sendall(b"0\r\n\r\n")
        answer = b""
        while piece := client.recv(65536):
            answer += piece
    return answer


@pytest.mark.parametrize("framing", ["Content-Length: %d", "Transfer-Encoding: chunked"])
def test_a_large_upload_costs_no_memory(server: Server, framing: str) -> None:
    assert str(BODY_MIB * MIB).encode() in upload(server.url, BODY_MIB, framing)
    assert server.above_idle_mib() <= LIMIT_MIB


@pytest.mark.parametrize("path", ["/down", "/file"])
def test_a_large_download_costs_no_memory(server: Server, path: str) -> None:
    got = 0
    with connect(server.url) as client:
        request = f"GET {path}?{BODY_MIB * MIB} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
        client.sendall(request.encode())
        while piece := client.recv(1 << 18):
            got += len(piece)
    assert BODY_MIB * MIB < got < BODY_MIB * MIB + 1000
    assert server.above_idle_mib() <= LIMIT_MIB
