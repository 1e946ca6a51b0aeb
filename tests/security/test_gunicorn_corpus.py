"""What gunicorn's own tests call invalid is refused here, and what they call valid is read alike.

Its source distribution holds the requests; it is downloaded once and not part of this repository. Where
this server is stricter than gunicorn, or as strict in another place, the reason stands here.
"""

from __future__ import annotations

import asyncio
import re
import runpy
import subprocess
import sys
import tarfile
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import pytest
from gunicorn.config import Config  # type: ignore[import-untyped] # it ships no types

from gateway.serving.protocol import GuardedHttpProtocol
from tests.packages import CACHE, skip_unless_ci
from tests.raw import exchange
from tests.running import running

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LIMIT = "its limits are options; here they are 60 KiB of head and 100 fields"
GUARD = "the framing is sound: the guard refuses it, which knows headers, not bytes"
CODING = "a coding that an app would have to undo is refused, as HTTP allows (RFC 9112, 6.1)"
OPTION = "an option of gunicorn takes it; there is none here"
NOT_REFUSED = {
    **dict.fromkeys(("006", "007", "008", "010", "011", "012", "017", "limit_header_default_01"), LIMIT),
    "019": "X-Forwarded-* that disagree are believed as the table says (server.trusted_proxies)",
    "040": "a name with an underscore is dropped, not refused",
    "chunked_07": "a name with an underscore is dropped, not refused",
    "041": GUARD,
    "042": GUARD,
    "rfc9110_trailer_forbidden_host_01": "trailers are dropped, whatever they are",
    "rfc9112_leading_crlf_02": "line ends before a request are skipped (RFC 9112, 2.2), within a limit",
}
NOT_SERVED = {
    "013": "a space in a chunk's extension: nothing needs it, and parsers disagree about it",
    **dict.fromkeys(("025", "025_line", "029", "030"), CODING),
    **dict.fromkeys(("rfc9112_smuggle_gzip_chunked_01", "rfc9112_smuggle_te_identity_chunked_01"), CODING),
    "028": "a space before the colon (RFC 9112, 5.1: must be refused)",
    **dict.fromkeys(("031", "031compat", "031compat2"), "an unknown method: security over extension"),
    "099": "the body is shorter than its Content-Length: it is waited for",
    **dict.fromkeys(("compat_obs_fold", "compat_obs_fold_huge", "pp_01", "pp_02", "pp_04", "pp_05"), OPTION),
    **dict.fromkeys(
        (
            "rfc9112_target_absolute_01",
            "rfc9112_target_absolute_https_01",
            "rfc9112_target_absolute_ipv6_01",
            "rfc9112_target_absolute_userinfo_01",
        ),
        "an absolute target names a second host: refused",
    ),
    "rfc9112_target_authority_connect_01": "CONNECT is 405",
    "rfc9112_target_authority_ipv6_01": "CONNECT is 405",
}
READ_OTHERWISE = {"022": "HTTP/1.0 connections are closed after one request, whatever they ask for"}

calls: list[tuple[str, bytes, bytes]] = []


async def record(scope: Any, receive: Any, send: Any) -> None:
    body = b""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    query = scope["query_string"]
    calls.append((scope["method"], scope["raw_path"] + (b"?" + query if query else b""), body))
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body", "body": b""})


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with running(record, http=GuardedHttpProtocol, lifespan="off", log_level="critical") as url:
        yield url


@pytest.fixture(scope="module")
def corpus() -> Path:
    """Return the folder with gunicorn's requests, of the version that is installed."""
    wanted = f"gunicorn-{version('gunicorn')}"
    folder = CACHE / f"{wanted}-requests"
    if not folder.exists():
        folder.mkdir(parents=True)
        fetch = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:"]
        result = subprocess.run(
            [*fetch, "--dest", str(folder), wanted.replace("-", "==")],
            capture_output=True,
            text=True,
            check=False,
        )
        found = list(folder.glob("*.tar.gz"))
        if result.returncode or not found:
            folder.rmdir()
            last = (result.stderr.strip() or "pip failed").splitlines()[-1]
            skip_unless_ci(f"{wanted} could not be downloaded: {last}")
        with tarfile.open(found[0]) as archive:
            archive.extractall(folder, filter="data")
    return next(folder.glob("gunicorn-*")) / "tests" / "requests"


def bytes_of(file: Path) -> bytes:
    """Return a request as it goes on the wire; the files spell out line ends and bytes beyond ASCII."""
    data = file.read_bytes().replace(b"\n", b"")
    for spelled, meant in ((b"\\r\\n", b"\r\n"), (b"\\0", b"\0"), (b"\\n", b"\n"), (b"\\t", b"\t")):
        data = data.replace(spelled, meant)
    return re.sub(rb"\\x([0-9A-Fa-f]{2})", lambda found: bytes.fromhex(found[1].decode()), data)


def test_what_gunicorn_refuses_is_refused(server: str, corpus: Path) -> None:
    served = {}
    for file in sorted((corpus / "invalid").glob("*.http")):
        calls.clear()
        answer = exchange(server, bytes_of(file), timeout_s=0.5, wait_s=0.05)
        if answer.status == 200 or calls:
            served[file.stem] = (answer.status, list(calls))
    assert served.keys() - NOT_REFUSED.keys() == set(), served


def test_what_gunicorn_serves_is_read_alike(server: str, corpus: Path) -> None:
    refused, different = {}, {}
    for file in sorted((corpus / "valid").glob("*.http")):
        calls.clear()
        told = runpy.run_path(
            str(file.with_suffix(".py")), {"uri": lambda raw: raw, "cfg": Config(), "asyncio": asyncio}
        )["request"]
        expected = [
            (each["method"], each["uri"], each["body"] or b"")
            for each in (told if isinstance(told, list) else [told])
        ]
        answer = exchange(server, bytes_of(file), timeout_s=0.5, wait_s=0.05)
        if answer.status != 200:
            refused[file.stem] = answer.data.partition(b"\r\n\r\n")[2]
        elif calls != [
            (method, uri.encode("latin-1").partition(b"#")[0], body) for method, uri, body in expected
        ]:
            different[file.stem] = (list(calls), expected)
    assert different.keys() - READ_OTHERWISE.keys() == set(), different
    assert refused.keys() - NOT_SERVED.keys() == set(), refused
