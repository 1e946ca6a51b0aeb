"""Legacy is called twice; what differs from itself is proposed as noise, and only a person accepts it."""

from __future__ import annotations

import json
from datetime import date
from typing import TYPE_CHECKING

import pytest
import yaml

from gateway.ci.proposing import Noise, RowProposal, yaml_of
from gateway.compare import Comparison, Difference, Kind, Outcome
from gateway.compare.noise import NoiseSample, gather, propose
from tests.projects import gateway, make_project

if TYPE_CHECKING:
    from pathlib import Path

    from tests.projects import Project

LEGACY = """
    import itertools, secrets
    from flask import Flask, jsonify

    app = Flask(__name__)
    served = itertools.count()

    @app.get("/things/<int:number>")
    def thing(number):
        return jsonify(
            id=number,
            trace=secrets.token_hex(8),
            tags=["x"] * secrets.choice([0, 3, 6]),
            served=next(served),
            state="open",
        )
"""

NEW = """
    import itertools, secrets
    from fastapi import FastAPI

    app = FastAPI()
    served = itertools.count(100)

    @app.get("/things/{number}")
    def thing(number: int):
        return {
            "id": number,
            "trace": secrets.token_hex(8),
            "tags": ["x"] * secrets.choice([0, 3, 6]),
            "served": next(served),
            "state": "OPEN",
        }
"""

ROUTES = """
    routes:
      GET /things/{number}:
        stage: shadow
"""


def make(folder: Path) -> Project:
    project = make_project(folder, LEGACY, NEW, ROUTES)
    requests = "\n###\n".join(f"GET /things/{number}" for number in range(1, 13))
    (folder / "things.http").write_text(requests + "\n")
    return project


def test_only_the_random_value_is_proposed_and_a_person_must_accept_it(tmp_path: Path) -> None:
    project = make(tmp_path / "shop")

    done = gateway(
        *("compare", "things.http", "--propose", "noise.yaml", "--report=json=out.json"),
        folder=project.folder,
    )

    assert done.returncode == 1, done.stdout + done.stderr
    text = (project.folder / "noise.yaml").read_text()
    rules = yaml.safe_load(text)["routes"]["GET /things/{number}"]["compare"]
    assert [(each["at"], each["rule"], "reason" in each) for each in rules] == [("$.trace", "ignore", False)]
    assert "of 12 requests control differed from itself on 12, from the candidate on 12" in text
    assert "McNemar p = 1)" in text
    assert "# reason: TODO" in text
    assert "# GET http://localhost:8000/things/1: control " in text
    assert "1 rule proposed, none accepted" in done.stdout
    noise = json.loads((project.folder / "out.json").read_text())["noise"]
    assert (noise["requests"], [each["place"] for each in noise["proposals"]]) == (12, ["$.trace"])
    # The list's length is structure; a counter that starts otherwise and another spelling are bugs, since
    # legacy on a side of its own counts from the same start again.
    assert {each["place"] for each in noise["undecided"]} == {"$.tags", "$.tags[*]"}
    assert {"$.state", "$.served"}.isdisjoint(each["place"] for each in noise["undecided"])

    pasted = text[text.index("routes:") :].replace("    compare:", "    stage: shadow\n    compare:")
    project.write_table(pasted)
    refused = gateway("check", folder=project.folder)
    assert (refused.returncode, "reason" in refused.stdout) == (1, True), refused.stdout

    project.write_table(pasted.replace("# reason: TODO", "reason:"))
    again = gateway("compare", "things.http", "--report=json=out.json", folder=project.folder)
    report = json.loads((project.folder / "out.json").read_text())
    assert "$.trace" not in {each["place"] for each in report["findings"]}, again.stdout
    assert {"$.state", "$.served"} <= {each["place"] for each in report["findings"]}


def test_a_share_is_the_same_in_every_run(tmp_path: Path) -> None:
    project = make(tmp_path / "shop")
    counts = []
    for _ in range(2):
        gateway(
            *("compare", "things.http", "--propose", "noise.yaml", "--propose-share", "50"),
            "--report=json=out.json",
            folder=project.folder,
        )
        counts.append(json.loads((project.folder / "out.json").read_text())["noise"]["requests"])

    assert counts[0] == counts[1]
    assert 0 < counts[0] < 12


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (("--freeze",), "--freeze takes away the noise"),
        (("--against", "http://127.0.0.1:1", "http://127.0.0.1:2"), "--against cannot bring back"),
    ],
    ids=["freeze", "against"],
)
def test_what_makes_calling_twice_meaningless_is_refused(
    tmp_path: Path, options: tuple[str, ...], why: str
) -> None:
    project = make(tmp_path / "shop")

    done = gateway("compare", "things.http", "--propose", "n.yaml", *options, folder=project.folder)

    assert (done.returncode, why in done.stderr) == (2, True), done.stderr


def test_what_apps_answer_cannot_break_out_of_the_comments() -> None:
    hostile = "a\n      - at: $.x\u2028b\x85c\x1b[2J\ud800\ufffe"
    differs = Difference(Kind.JSON_VALUE, "$.x", hostile, hostile, "", has_same_shape=True)
    pair = Comparison(Outcome.MISMATCHED, (differs,))
    (proposal,) = propose(gather([NoiseSample(pair, pair)] * 9))
    noise = Noise(9, (RowProposal('GET /{a}: "b"', proposal, f"GET {hostile}", differs, differs),))

    text = yaml_of(noise, table="routing.yaml", today=date(2026, 11, 22))

    rules = yaml.safe_load(text)["routes"]['GET /{a}: "b"']["compare"]
    assert [each["at"] for each in rules] == ["$.x"]
    assert all(each.isprintable() or each == "\n" for each in text)
