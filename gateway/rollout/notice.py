"""Say what a receiver of events is sent, how it is signed, and when it is tried again. Pure.

Signed after Standard Webhooks 1.0: ``webhook-signature`` is ``v1,`` and the base64 of HMAC-SHA256 over
``id.timestamp.body``. An event is tried until a day after it happened, or after the receiver stopped taking
what it is sent, whichever is later; then it is given up, and the next one's turn comes. Time and chance are
arguments.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import math
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from gateway.store.records import EventRecord, ReceiverRecord

GONE = 410


@dataclass(frozen=True, slots=True)
class Schedule:
    """Say when to try again: pauses double from ``first_s`` to ``longest_s``, for ``give_up_after_s``."""

    first_s: float = 5.0
    longest_s: float = 3600.0
    give_up_after_s: float = 86_400.0

    def pause_s(self, attempts: int, chance: float) -> float:
        """Return the pause after ``attempts`` (from 1) in vain; ``chance`` in [0, 1) takes off up to half."""
        whole_s = min(self.longest_s, self.first_s * 2.0 ** min(attempts - 1, 32))
        return whole_s * (1 - chance / 2)


@dataclass(frozen=True, slots=True)
class Outcome:
    """Be what came of one attempt: a status (0: no answer) or an error, and the answer's ``Retry-After``."""

    status: int = 0
    error: str = ""
    retry_after_s: float = 0.0

    @property
    def is_success(self) -> bool:
        """Tell whether the receiver has taken the event."""
        return 200 <= self.status <= 299

    @property
    def words(self) -> str:
        """Return what went wrong, for people."""
        return self.error or f"status {self.status}"


@dataclass(frozen=True, slots=True)
class Notice:
    """Be one event as it is sent. ``id`` is the same at every attempt, so that repeats can be dropped."""

    id: str
    body: bytes

    def headers(self, key: bytes | None, *, now: float) -> dict[str, str]:
        """Return the request's headers; where there is a ``key``, the time of this attempt is signed too."""
        timestamp = str(int(now))
        headers = {
            "Content-Type": "application/json",
            "Webhook-Id": self.id,
            "Webhook-Timestamp": timestamp,
        }
        if key is not None:
            headers["Webhook-Signature"] = sign(self.id, timestamp, self.body, key)
        return headers


def notice_of(event: EventRecord) -> Notice:
    """Return the notice of a stored event.

    The id has the event's time in it, for a store that was deleted counts from 1 again.
    """
    notice_id = f"evt_{event.id}_{round(event.at * 1000)}"
    at = datetime.fromtimestamp(event.at, UTC).isoformat(timespec="milliseconds")
    document = {
        "id": notice_id,
        "type": f"route.{event.kind}",
        "at": at.replace("+00:00", "Z"),
        "route": event.key,
        "route_id": event.route_id,
        "from": event.before,
        "to": event.after,
        "by": event.caused_by,
        "sentence": event.sentence,
        "numbers": {name: n if math.isfinite(n) else None for name, n in event.numbers.items()},
    }
    return Notice(notice_id, json.dumps(document).encode())


def sign(notice_id: str, timestamp: str, body: bytes, key: bytes) -> str:
    """Return the value of ``webhook-signature``."""
    signed = b".".join((notice_id.encode(), timestamp.encode(), body))
    return "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()


def after_attempt(
    record: ReceiverRecord,
    event: EventRecord,
    outcome: Outcome,
    *,
    now: float,
    chance: float,
    schedule: Schedule,
) -> ReceiverRecord:
    """Return how far the receiver has come after ``outcome`` of an attempt at ``event``."""
    if outcome.is_success:
        return replace(
            _past(record, event),
            failing_since=0.0,
            last_error="",
            delivered=record.delivered + 1,
            seen_at=now,
        )
    failed = replace(
        record, failing_since=record.failing_since or now, last_error=outcome.words[:200], seen_at=now
    )
    if outcome.status == GONE:
        return replace(failed, is_stopped=True)
    left_s = max(event.at, failed.failing_since) + schedule.give_up_after_s - now
    if left_s <= 0:
        return replace(_past(failed, event), given_up=record.given_up + 1)
    attempts = record.attempts + 1
    pause_s = schedule.pause_s(attempts, chance)
    pause_s = min(max(pause_s, min(outcome.retry_after_s, schedule.longest_s)), left_s)
    return replace(failed, attempts=attempts, next_try_at=now + pause_s)


def _past(record: ReceiverRecord, event: EventRecord) -> ReceiverRecord:
    return replace(record, last_id=event.id, attempts=0, next_try_at=0.0)


def receiver_name(url: str) -> str:
    """Return the name under which a receiver's progress is stored: a digest, for a URL may hold secrets."""
    return hashlib.sha256(url.encode()).hexdigest()


def shown_url(url: str) -> str:
    """Return ``url`` without user-info, query and fragment, for logs and pages."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
