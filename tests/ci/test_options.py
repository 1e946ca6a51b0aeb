"""Baselines, security parity, several jobs, and servers that somebody else runs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import yaml

from gateway.ci.exchange import Sent
from gateway.ci.security import attempts, forged
from tests.ci.shop import LEGACY, NEW, TABLE, make_shop, planted
from tests.projects import gateway, make_project, served

if TYPE_CHECKING:
    from pathlib import Path

ISOLATED = ("--database-env", "DATABASE_URL")
ACCEPT = ("--accept", "--reason", "known since day 0", "--until", "2099-01-31")


def test_a_baseline_accepts_what_is_known_fails_what_is_new_and_is_pruned_when_retested(
    tmp_path: Path,
) -> None:
    project, environ = make_shop(tmp_path / "shop", planted(NEW))

    def compare(*arguments: str) -> tuple[int, str]:
        done = gateway(
            "compare",
            "shop.http",
            *ISOLATED,
            "--baseline",
            "known.yaml",
            *arguments,
            folder=project.folder,
            environ=environ,
        )
        return done.returncode, done.stdout + done.stderr

    known = project.folder / "known.yaml"
    assert compare("--accept", "--until", "2099-01-31")[0] == 2
    status, text = compare(*ACCEPT)
    assert status == 0, text
    assert "known since day 0" in text
    entries = yaml.safe_load(known.read_text())
    assert len(entries) == 5

    known.write_text(yaml.safe_dump([each for each in entries if each["row"] != "GET /items"]))
    status, text = compare()
    assert (status, "on 1 row." in text) == (1, True), text

    known.write_text(yaml.safe_dump([each | {"until": "2020-01-01"} for each in entries]))
    status, text = compare()
    assert (status, "accepted until 2020-01-01" in text) == (1, True), text

    known.write_text(yaml.safe_dump([*entries, entries[0] | {"place": "$.gone"}]))
    status, text = compare()
    assert (status, "in the baseline and gone" in text) == (0, True), text
    compare(*ACCEPT)
    assert len(yaml.safe_load(known.read_text())) == 5


def test_a_baseline_that_is_wrong_is_told_with_its_entry(tmp_path: Path) -> None:
    project, environ = make_shop(tmp_path / "shop")
    (project.folder / "known.yaml").write_text("- {row: GET /, kind: json.value, place: $.a, reason: x}\n")

    done = gateway(
        "compare", "shop.http", *ISOLATED, "--baseline", "known.yaml", folder=project.folder, environ=environ
    )

    assert done.returncode == 2
    assert "known.yaml: entry 1.until" in done.stderr


def test_whom_legacy_keeps_out_and_new_lets_in_fails_whatever_is_waived(tmp_path: Path) -> None:
    open_door = NEW.replace('if request.headers.get("Authorization") else', "if True else")
    assert open_door != NEW
    routes = """
    routes:
      GET /guarded:
        stage: shadow
        compare:
          - {at: status, rule: ignore, reason: all of it, until: 2099-12-31}
          - {at: body, rule: ignore, reason: all of it, until: 2099-12-31}
    """
    project, environ = make_shop(tmp_path / "shop", open_door, routes)
    (project.folder / "guarded.http").write_text("GET /guarded\nAuthorization: Bearer abcdefgh\n")

    plain = gateway("compare", "guarded.http", folder=project.folder, environ=environ)
    secure = gateway("compare", "guarded.http", "--security", folder=project.folder, environ=environ)

    assert plain.returncode == 0, plain.stdout
    assert secure.returncode == 1
    assert "GET /guarded: as nobody, control keeps out (401) and the candidate lets in (200)" in secure.stdout


def test_attempts_are_made_as_each_kind_of_stranger() -> None:
    form = (
        ("Content-Type", "application/x-www-form-urlencoded"),
        ("Cookie", "session=eyJhIjoxfQ.abcdef.signature-of-it"),
    )
    sent = Sent("POST", "/x", form, b"csrf_token=right&a=1")
    other = (("Cookie", "session=another"),)

    made = {each.who: each for each in attempts(sent, (other,), can_move_clock=True)}

    assert list(made) == [
        "as nobody",
        "as another user",
        "with forged credentials",
        "with a session two days old",
        "with an expired session",
        "with a wrong CSRF token",
    ]
    assert made["as nobody"].sent.headers == form[:1]
    assert made["as another user"].sent.headers == (*form[:1], *other)
    assert made["with a wrong CSRF token"].sent.body == b"csrf_token=wrong&a=1"
    ages_s = [made[who].later_s for who in ("with a session two days old", "with an expired session")]
    assert 86_400 < ages_s[0] < 31 * 86_400 < ages_s[1]
    assert list(attempts(Sent("GET", "/"), (other,), can_move_clock=True)) == []


def test_forged_credentials_differ_where_a_signature_would_notice() -> None:
    value = "Bearer eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIyIn0.c2lnbmF0dXJl"

    assert forged(value) != value
    assert len(forged(value)) == len(value)
    assert forged(value).startswith("Bearer ")


def test_several_jobs_find_what_one_finds(tmp_path: Path) -> None:
    project, environ = make_shop(tmp_path / "shop", planted(NEW))
    text = (project.folder / "shop.http").read_text()
    for number in range(3):
        (project.folder / f"again{number}.http").write_text(text)

    done = gateway(
        "compare",
        ".",
        *ISOLATED,
        "--jobs",
        "2",
        "--report=json=out.json",
        folder=project.folder,
        environ=environ,
    )

    assert done.returncode == 1, done.stderr
    report = json.loads((project.folder / "out.json").read_text())
    assert report["scenarios"] == {"all": 4, "done": 4}
    assert {(each["row"], each["count"]) for each in report["findings"]} == {
        ("GET /items", 4),
        ("GET /items/{item_id}", 4),
        ("GET /prices/{item_id}", 4),
        ("POST /items", 4),
    }


def test_two_running_servers_are_compared_as_they_are(tmp_path: Path) -> None:
    routes = TABLE.replace("canary\n        weight: 10%", "legacy")
    one, environ = make_shop(
        tmp_path / "one", routes=routes.replace(": new", ": legacy").replace(": shadow", ": legacy")
    )
    other, other_environ = make_shop(tmp_path / "other", planted(NEW), routes.replace(": shadow", ": new"))
    (one.folder / "read.http").write_text("GET /items/1\n###\nGET /items\n")

    with (
        served(one.folder, environ=environ) as control,
        served(other.folder, environ=other_environ) as candidate,
    ):
        done = gateway(
            "compare",
            "read.http",
            *("--against", control.url, candidate.url),
            *("--route", "GET /items/{item_id}"),
            folder=one.folder,
            environ=environ,
        )

    assert done.returncode == 1, done.stdout + done.stderr
    assert "json.missing  $.name" in done.stdout
    assert f"curl -sS -g --path-as-is {control.url}/items/1" in done.stdout


def test_made_up_requests_find_a_difference_and_shrink_it_to_the_smallest(tmp_path: Path) -> None:
    legacy = (
        LEGACY
        + """
    @app.get("/echo")
    def echo():
        return jsonify(n="short")
"""
    )
    new = (
        NEW
        + """
    @app.get("/echo")
    def echo(n: str = ""):
        return {"n": "long" if len(n) >= 6 else "short"}
"""
    )
    project, environ = make_shop(tmp_path / "shop")
    make_project(project.folder, legacy, new, "routes:\n  GET /echo: shadow\n")

    done = gateway(
        *("compare", "--generate", "60", *ISOLATED, "--report=json=out.json"),
        folder=project.folder,
        environ=environ,
    )

    assert done.returncode == 1, done.stdout + done.stderr
    (finding,) = json.loads((project.folder / "out.json").read_text())["findings"]
    assert finding["examples"][0]["url"] == "http://localhost:8000/echo?n=000000"


def test_a_recording_is_replayed_with_the_ids_of_the_day(tmp_path: Path) -> None:
    project, environ = make_shop(tmp_path / "shop")
    made = {
        "request": {
            "method": "POST",
            "url": "https://shop.example/items",
            "headers": [{"name": "Content-Type", "value": "application/json"}],
            "postData": {"text": '{"name": "Lamp", "cents": 700}'},
        },
        "response": {
            "status": 201,
            "headers": [{"name": "Content-Type", "value": "application/json"}],
            "content": {"text": '{"id": 99, "token": "0123456789abcdef"}'},
        },
    }
    asked = {"request": {"method": "GET", "url": "https://shop.example/items/99", "headers": []}}
    (project.folder / "day.har").write_text(json.dumps({"log": {"entries": [made, asked]}}))

    done = gateway(
        *("compare", "day.har", *ISOLATED, "--report=json=out.json"),
        *("--route", "GET /items/{item_id}", "--route", "POST /items"),
        folder=project.folder,
        environ=environ,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert "$.id of request 1 → path of request 2" in done.stdout
    exchanges = json.loads((project.folder / "out.json").read_text())["exchanges"]
    assert [(each["url"], each["control_status"]) for each in exchanges] == [
        ("http://localhost:8000/items", 201),
        ("http://localhost:8000/items/4", 200),
    ]
