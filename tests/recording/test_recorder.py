"""What is offered is written: redacted, bounded, in order, by sessions, and never at a client's expense."""

from __future__ import annotations

import gzip
import json
import re
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.ci.recordings import read_har
from gateway.compare.observation import Body, Observation, RequestRecord
from gateway.errors import SettingsError
from gateway.recording import RECORD_VARIABLE, RecordOptions, recorder_from_environ
from gateway.recording.archive import Archive, create_archive, read_state
from gateway.recording.har import har_entry
from gateway.recording.recorder import QUEUE_LIMIT, Recorder
from tests.recording.samples import KEY, SESSION, answer, entries, log, record, recorder
from tests.running import wait_until

if TYPE_CHECKING:
    from pathlib import Path

SECRETS = (
    "hunter2-secret",
    "Zm9vOmJhcg-secret",
    "cookie-secret-0123456789",
    "query-secret",
    "card-secret-4111",
)


def offer_secrets(to: Recorder) -> None:
    password, basic, cookie, query, card = SECRETS
    to.offer(
        record(
            "POST",
            f"/login?token={query}",
            json.dumps({"password": password, "name": "ada"}).encode(),
            content_type="application/json",
            authorization=f"Basic {basic}",
            cookie=f"session={cookie}; theme=dark",
        ),
        answer(
            gzip.compress(json.dumps({"card_number": card, "ok": True}).encode()),
            200,
            f"session={cookie}; Path=/; HttpOnly",
            content_type="application/json",
            content_encoding="gzip",
        ),
        "legacy",
    )


def test_no_secret_reaches_the_file_and_equal_ones_stay_equal(tmp_path: Path) -> None:
    path = tmp_path / "a.har"
    to = recorder(path)
    offer_secrets(to)
    to.close()
    text = path.read_text()
    assert [secret for secret in SECRETS if secret in text] == []
    assert KEY not in text
    entry = entries(path)[0]
    sent = {each["name"]: each["value"] for each in entry["request"]["cookies"]}
    assert sent["session"] == entry["response"]["cookies"][0]["value"]
    assert sent["session"].startswith("redacted:")
    assert json.loads(entry["response"]["content"]["text"])["ok"] is True
    assert json.loads(entry["request"]["postData"]["text"])["name"] == "ada"


def test_nothing_tells_how_long_a_secret_was(tmp_path: Path) -> None:
    found = []
    for password in ("short", "a very much longer pass phrase"):
        path = tmp_path / f"{len(password)}.har"
        to = recorder(path)
        body = json.dumps({"password": password}).encode()
        to.offer(
            record("POST", "/login", body, content_length=str(len(body)), content_type="application/json"),
            answer(),
            "legacy",
        )
        to.close()
        text = re.sub(r"redacted:[0-9a-f]{16}", "", json.dumps(entries(path)[0]["request"]))
        found.append(text)
    assert found[0] == found[1]


def test_a_trusted_place_may_keep_the_secrets_and_the_file_says_so(tmp_path: Path) -> None:
    path = tmp_path / "a.har"
    to = recorder(path, is_redacting=False)
    offer_secrets(to)
    to.close()
    text = path.read_text()
    assert [secret for secret in SECRETS if secret not in text] == []
    assert "SECRETS INCLUDED" in log(path)["comment"]
    assert log(path)["_recording"]["is_redacted"] is False


def test_the_tables_own_names_are_secret_too(tmp_path: Path) -> None:
    path = tmp_path / "a.har"
    create_archive(path, is_redacted=True)
    options = RecordOptions(str(path), KEY, redact=("plate",))
    to = recorder_from_environ({RECORD_VARIABLE: options.encode()}, redact=("birthday",))
    assert to is not None
    to.offer(record("POST", "/", b'{"birthday": "1815-12-10", "plate": "ADA-1", "n": 5}'), answer(), "new")
    to.close()
    assert "1815-12-10" not in path.read_text()
    assert "ADA-1" not in path.read_text()


TEXTS = st.binary(max_size=200) | st.text(max_size=100).map(str.encode)


@given(sent=TEXTS, got=TEXTS)
def test_bodies_come_back_byte_for_byte_from_the_reader_of_corpora(
    tmp_path_factory: pytest.TempPathFactory, sent: bytes, got: bytes
) -> None:
    path = tmp_path_factory.mktemp("har") / "a.har"
    to = recorder(path, is_redacting=False)
    to.offer(record("POST", "/x?a=1&b", sent), answer(got), "legacy")
    to.close()
    (scenario,) = read_har(path).scenarios
    (request,) = scenario.requests
    assert (request.method, request.target, request.body) == ("POST", "/x?a=1&b", sent)
    assert request.recorded is not None
    assert request.recorded.body == got


def test_a_body_above_the_cap_is_cut_and_says_so(tmp_path: Path) -> None:
    path = tmp_path / "a.har"
    to = recorder(path, body_cap_bytes=9)
    body = "ääääääää".encode()
    to.offer(record("POST", "/", body), answer(b"\xff" * 20), "legacy")
    to.close()
    request, response = entries(path)[0]["request"], entries(path)[0]["response"]
    assert request["postData"]["text"] == "ääää"
    assert request["postData"]["_truncated"] == {
        "captured": 9,
        "length": 16,
        "digest": request["postData"]["_truncated"]["digest"],
    }
    assert request["postData"]["_truncated"]["digest"].startswith("redacted:")
    assert response["content"]["encoding"] == "base64"
    assert response["content"]["_truncated"]["length"] == 20


def sessions(path: Path) -> list[str]:
    return [entry["_session"] for entry in entries(path)]


def test_a_login_leads_into_the_session_that_it_opens(tmp_path: Path) -> None:
    path = tmp_path / "a.har"
    to = recorder(path)
    other = SESSION.replace("e", "f")
    to.offer(record("POST", "/login"), answer(b"", 200, f"session={SESSION}; HttpOnly"), "legacy")
    to.offer(record("POST", "/login"), answer(b"", 200, f"session={other}; HttpOnly"), "legacy")
    to.offer(record("GET", "/me", cookie=f"lang=en; session={SESSION}"), answer(), "legacy")
    to.offer(record("GET", "/me", cookie=f"lang=en; session={other}"), answer(), "legacy")
    to.offer(record("GET", "/"), answer(), "legacy")
    to.close()
    ada, grace, again, grace_again, nobody = sessions(path)
    assert (ada, grace) == (again, grace_again)
    assert len({ada, grace, nobody}) == 3
    assert nobody == "anonymous"
    assert [page["id"] for page in log(path)["pages"]] == [ada, grace, nobody]
    assert len(read_har(path).scenarios) >= 2


def test_a_cookie_that_changes_with_every_answer_stays_one_session(tmp_path: Path) -> None:
    path = tmp_path / "a.har"
    to = recorder(path)
    for number in range(5):
        given, sent = f"session={SESSION}{number + 1}; Path=/", f"session={SESSION}{number}"
        to.offer(record("GET", "/", cookie=sent), answer(b"", 200, given), "legacy")
    to.close()
    assert len(set(sessions(path))) == 1


def test_a_token_in_a_body_leads_to_the_requests_that_present_it(tmp_path: Path) -> None:
    path = tmp_path / "a.har"
    to = recorder(path)
    to.offer(record("POST", "/token"), answer(b'{"access_token": "abc.def.ghi"}'), "legacy")
    to.offer(record("GET", "/me", authorization="Bearer abc.def.ghi"), answer(), "new")
    to.close()
    assert len(set(sessions(path))) == 1
    body = json.loads(entries(path)[0]["response"]["content"]["text"])
    headers = {each["name"]: each["value"] for each in entries(path)[1]["request"]["headers"]}
    assert headers["authorization"] == f"Bearer {body['access_token']}"


def test_the_limit_ends_the_recording_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.har"
    to = recorder(path, limit=3)
    for number in range(10):
        to.offer(record(path=f"/{number}"), answer(), "legacy")
    wait_until(lambda: not to.is_recording, what="the end of the recording")
    assert not to.wants({"client": None, "headers": []})
    assert to.offer(record(), answer(), "legacy") is False
    to.close()
    assert [entry["request"]["url"][-2:] for entry in entries(path)] == ["/0", "/1", "/2"]
    assert log(path)["_recording"]["ended"] == "the limit of exchanges is reached"


def test_the_time_ends_a_recording_that_nobody_visits(tmp_path: Path) -> None:
    path = tmp_path / "a.har"
    to = recorder(path, for_s=0.05)
    to.start()
    wait_until(lambda: not to.is_recording, what="the end of the time")
    to.close()
    assert log(path)["_recording"]["ended"] == "its time is over"


def test_the_file_never_grows_beyond_its_size_but_for_its_tail(tmp_path: Path) -> None:
    path = tmp_path / "a.har"
    to = recorder(path, size_bytes=20_000)
    for _ in range(50):
        to.offer(record("POST", "/", b"x" * 1000), answer(b"y" * 1000), "legacy")
    wait_until(lambda: not to.is_recording, what="the end of the recording")
    to.close()
    assert 15_000 < path.stat().st_size < 21_000
    assert log(path)["_recording"]["ended"] == "the file has reached its size"


def test_offering_never_waits_and_what_is_lost_is_counted(tmp_path: Path) -> None:
    path = tmp_path / "a.har"
    to = recorder(path)
    blocking = Archive(path)  # as the worker before it would
    began = time.monotonic()
    taken = [to.offer(record(), answer(), "legacy") for _ in range(QUEUE_LIMIT + 50)]
    assert time.monotonic() - began < 1.0
    assert taken.count(False) == 50
    blocking.close()
    to.close()
    state = read_state(path)
    assert state is not None
    assert (state.entries, state.offered) == (QUEUE_LIMIT, QUEUE_LIMIT + 50)
    assert state.dropped == {"queue full": 50}


def test_a_file_that_cannot_be_written_ends_the_recording_and_not_the_worker(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    to = Recorder(RecordOptions(str(tmp_path / "none" / "a.har"), KEY))
    assert to.offer(record(), answer(), "legacy") is True
    wait_until(lambda: not to.is_recording, what="the end of the recording")
    assert to.offer(record(), answer(), "legacy") is False
    assert "No such file" in to.report()["ended"]
    assert "the recording ended" in caplog.text
    to.close()


def test_what_the_redactor_cannot_handle_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.har"
    to = recorder(path)

    def fail(self: Any, record: RequestRecord) -> RequestRecord:
        raise ValueError("cannot")

    with monkeypatch.context() as patched:
        patched.setattr("gateway.compare.redaction.Redactor.request", fail)
        offer_secrets(to)
        to.close()
    assert entries(path) == []
    assert log(path)["_recording"]["dropped"] == {"not writable": 1}


def test_a_new_worker_continues_the_recording_with_the_same_digests(tmp_path: Path) -> None:
    path = tmp_path / "a.har"
    options = RecordOptions(str(path), KEY, limit=3)
    create_archive(path, is_redacted=True)
    for _ in range(3):
        to = recorder_from_environ({RECORD_VARIABLE: options.encode()})
        assert to is not None
        to.offer(record("GET", "/", cookie=f"session={SESSION}"), answer(), "legacy")
        to.close()
    assert len(set(sessions(path))) == 1
    assert len({entry["request"]["cookies"][0]["value"] for entry in entries(path)}) == 1
    assert log(path)["_recording"] | {"started_at": 0, "seen_at": 0} == {
        "started_at": 0,
        "seen_at": 0,
        "entries": 3,
        "sessions": 1,
        "offered": 3,
        "dropped": {},
        "is_redacted": True,
        "ended": "the limit of exchanges is reached",
    }


def test_the_id_that_the_gateway_gave_a_request_is_not_repeated(tmp_path: Path) -> None:
    path = tmp_path / "a.har"
    to = recorder(path)
    to.offer(record("GET", "/", x_request_id="184edca9", accept="*/*"), answer(), "legacy")
    to.close()
    assert [header["name"] for header in entries(path)[0]["request"]["headers"]] == ["host", "accept"]


def test_the_sample_takes_whole_callers(tmp_path: Path) -> None:
    to = recorder(tmp_path / "a.har", sample_bp=3000)
    scopes = [
        {"client": (f"10.0.{n >> 8}.{n & 255}", 5), "headers": [(b"user-agent", b"x")]} for n in range(2000)
    ]
    taken = [to.wants(scope) for scope in scopes]
    assert 500 < sum(taken) < 700
    assert [to.wants({**scope, "client": (scope["client"][0], 99)}) for scope in scopes] == taken


def test_no_recording_is_asked_for_by_default() -> None:
    assert recorder_from_environ({}) is None
    assert recorder_from_environ({RECORD_VARIABLE: ""}) is None


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"path": "/x"}', '{"path": "/x", "key": "00"}', f'{{"path": "x", "key": "{KEY}"}}']
)
def test_a_variable_that_makes_no_sense_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(SettingsError, match=r"GATEWAY_RECORD: .*`gateway record` sets it"):
        recorder_from_environ({RECORD_VARIABLE: text})


def test_exchanges_may_be_offered_from_many_threads(tmp_path: Path) -> None:
    path = tmp_path / "a.har"
    to = recorder(path)
    threads = [
        threading.Thread(target=lambda: [to.offer(record(), answer(), "new") for _ in range(50)])
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    to.close()
    assert len(entries(path)) == 200


def test_an_entry_has_what_har_asks_for() -> None:
    entry = har_entry(
        record(
            "POST", "/a?b=c%20d#f", b"x=1", content_type="application/x-www-form-urlencoded", cookie="a=b"
        ),
        Observation(
            302,
            ((b"location", b"/next"), (b"set-cookie", b"a=c; Path=/; Secure; SameSite=Lax")),
            Body.of(b""),
            first_byte_s=0.25,
            end_s=0.75,
        ),
        started_at=0.0,
        session="session-1",
        served_by="new",
    )
    assert entry["startedDateTime"] == "1970-01-01T00:00:00.000Z"
    assert entry["time"] == 750.0
    assert entry["timings"] == {"send": 0, "wait": 250.0, "receive": 500.0}
    request, response = entry["request"], entry["response"]
    assert isinstance(request, dict)
    assert isinstance(response, dict)
    assert request["queryString"] == [{"name": "b", "value": "c d"}]
    assert request["postData"] == {"mimeType": "application/x-www-form-urlencoded", "text": "x=1"}
    assert response["redirectURL"] == "/next"
    assert response["statusText"] == "Found"
    assert response["cookies"] == [
        {"name": "a", "value": "c", "path": "/", "secure": True, "sameSite": "Lax"}
    ]
    assert set(entry) >= {"startedDateTime", "time", "request", "response", "cache", "timings", "pageref"}
