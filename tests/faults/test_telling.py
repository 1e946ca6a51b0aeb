"""What happens to a row reaches its receivers, from whichever worker, while one that hangs costs nobody."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

from standardwebhooks import Webhook

from tests.faults.lab import item, key_of, serving
from tests.faults.load import Load, told
from tests.rollout.receiving import Receiver
from tests.running import wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.faults.load import Asked

ROUTES = """\
  GET /walking/{item_id:int}:
    stage: shadow
    rollout: {steps: [canary 25%, canary 50%, new], mismatch_budget: 5%, min_requests: 20, min_time: 1s}
  GET /breaking/{item_id:int}: {stage: new, fallback: legacy}
events:
  - {url: "${HOOK}", secret: "${HOOK_SECRET}"}
  - {url: "${HANGING_HOOK}"}
"""


def test_every_move_and_every_breaker_is_told_in_order_and_no_client_notices(tmp_path: Path) -> None:
    def ask(number: int) -> Asked:
        return item("walking" if number % 2 else "breaking", number % 50, user=f"u{number % 300}")

    with Receiver().serving() as receiver, Receiver("hang").serving() as hanging:
        environ = {
            "HOOK": f"http://user:hush@127.0.0.1:{receiver.port}/hook?token=hush",
            "HOOK_SECRET": "hush",
            "HANGING_HOOK": hanging.url,
        }
        with serving(tmp_path, ROUTES, "--workers", "2", environ=environ) as lab:
            with Load(lab.url, ask) as load:
                wait_until(lambda: lab.stage("walking") == "canary", timeout_s=60, what="a step")
                lease = wait_until(lambda: lab.ask(lambda ledger: ledger.lease("webhooks")), what="a leader")
                killed_at = len(load.answers)
                os.kill(int(lease.holder.split("-")[-2]), signal.SIGKILL)
                lab.break_new("breaking", "raise")
                wait_until(lambda: lab.stage("walking") == "new", timeout_s=60, what="the end of the walk")
                wait_until(lambda: lab.events("breaking", "breaker_opened"), what="an open breaker")
                wait_until(
                    lambda: lab.ask(lambda ledger: ledger.next_event(newest_told(receiver))) is None,
                    timeout_s=40,
                    what="the last notice",
                )
            stored = [*lab.events("walking"), *lab.events("breaking")]
            text = lab.text()
    told_ids = list(dict.fromkeys(receiver.ids))
    assert [int(each.split("_")[1]) for each in told_ids] == sorted(event.id for event in stored)
    types = {received.document["type"] for received in receiver.received}
    assert types == {"route.placed", "route.advanced", "route.breaker_opened"}
    for received in receiver.received:
        assert Webhook(b"hush").verify(received.body, received.headers)
        assert received.document["route"] in {key_of("walking"), key_of("breaking")}
    assert len(receiver.received) - len(told_ids) <= 1, "at most what was under way is told twice"
    assert "hush" not in text
    assert len(load.failures) <= 8, told(load.failures)
    assert all(each in load.answers[killed_at - 70 : killed_at + 70] for each in load.failures)


def newest_told(receiver: Receiver) -> int:
    return max((int(each.split("_")[1]) for each in receiver.ids), default=0)
