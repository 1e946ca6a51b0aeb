"""A frozen process sees the moment and the chance that it was given, whatever it asks."""

from __future__ import annotations

import json
import subprocess
import sys

SCRIPT = """
import json, sys
from gateway.ci.freezing import freeze
clock = freeze("1700000000:" + sys.argv[1])
import datetime, os, random, secrets, time, uuid

def look():
    return [
        time.time(), time.time_ns(), time.gmtime()[:6], time.strftime("%Y"),
        datetime.datetime.now(datetime.UTC).isoformat(), datetime.date.today().isoformat(),
        str(uuid.uuid4()), secrets.token_hex(4), random.random(), os.urandom(4).hex(),
    ]

def at(moment):
    clock.move(moment)
    return look()

assert type(datetime.datetime.now()) is datetime.datetime
assert time.monotonic() != time.monotonic_ns() / 1e9 + 5
print(json.dumps([at("1:a"), at("1:a"), at("2:a"), at("1:b")]))
"""


def looks(seed: str) -> list[list[object]]:
    """Return what a process of its own sees at four moments."""
    done = subprocess.run([sys.executable, "-c", SCRIPT, seed], capture_output=True, text=True, check=True)
    found: list[list[object]] = json.loads(done.stdout)
    return found


def test_the_same_moment_looks_the_same_in_every_process_and_another_does_not() -> None:
    first, again, later, elsewhere = looks("x")

    assert first == again == looks("x")[0]
    assert first[0] == 1_700_000_001
    assert first[4] == "2023-11-14T22:13:21+00:00"
    assert later[0] == 1_700_000_002
    assert not set(map(str, first[6:])) & set(map(str, (*later[6:], *elsewhere[6:], *looks("y")[0][6:])))
