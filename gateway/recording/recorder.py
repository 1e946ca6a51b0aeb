"""Take exchanges from the event loop and write them from a thread of its own. No client ever waits for it.

Laws: :meth:`Recorder.offer` never blocks and never raises; what does not fit the queue is counted as
dropped. Nothing reaches the disk unredacted (but with ``--redact off``): what the redactor could not
handle is dropped. A recording that cannot go on ends, says why, and leaves serving alone.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections import Counter, deque
from dataclasses import dataclass, replace
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from gateway.compare.observation import Body, header_value
from gateway.compare.redaction import Redactor
from gateway.recording.archive import Archive, ArchiveBusy, ArchiveError, Line, RecordingState
from gateway.recording.har import har_entry, unwrapped
from gateway.recording.options import RECORD_VARIABLE, RecordOptions, read_options
from gateway.recording.sessions import Sessions

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from gateway.compare.observation import Headers, Observation, RequestRecord
    from gateway.recording.har import Json

logger = logging.getLogger("gateway.recording")

QUEUE_LIMIT = 1_000
QUEUE_LIMIT_BYTES = 64 * 1024 * 1024
BATCH = 50
TOLD_EVERY_S = 1.0
"""How often the file's account of itself is brought up to date while nothing else is written."""

BUSY_PATIENCE_S = 30.0
"""How long a new worker waits for the one before it to let go of the file."""


@dataclass(frozen=True, slots=True)
class _Offered:
    record: RequestRecord
    observation: Observation
    primary: str
    started_at: float

    @property
    def size_bytes(self) -> int:
        return len(self.record.body.captured) + len(self.observation.body.captured) + 2_000


class Recorder:
    """Write what is served to the file that ``options`` names, which exists already."""

    def __init__(self, options: RecordOptions, *, redact: Sequence[str] = ()) -> None:
        self.options = options
        self._key = bytes.fromhex(options.key)
        self._redactor = Redactor(self._key, (*options.redact, *redact))
        self._sessions = Sessions(self._redactor)
        self._queue: deque[_Offered] = deque()
        self._queued_bytes = 0
        self._offered = 0
        self._dropped: Counter[str] = Counter()
        self._ended = ""
        self._is_closing = False
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._written = 0

    @property
    def is_recording(self) -> bool:
        """Tell whether the recording goes on."""
        return not self._ended and not self._is_closing

    @property
    def body_cap_bytes(self) -> int:
        """Return how much of a body is worth capturing."""
        return self.options.body_cap_bytes

    def wants(self, scope: Mapping[str, Any]) -> bool:
        """Tell whether this request is to be captured and offered; takes a microsecond.

        The sample is one of callers (address and user agent), not of requests: half a session is no use.
        """
        if self._ended or self._is_closing:
            return False
        if self.options.sample_bp >= 10_000:
            return True
        digest = blake2b(_caller(scope), key=self._key[:64], digest_size=8).digest()
        return int.from_bytes(digest) % 10_000 < self.options.sample_bp

    def offer(
        self,
        record: RequestRecord,
        observation: Observation,
        primary: Literal["legacy", "new"],
        *,
        started_at: float | None = None,
    ) -> bool:
        """Queue one exchange, and tell whether it was taken; never blocks, never raises.

        ``started_at`` is when the request came, in seconds since the epoch; by default it is reckoned
        back from now.
        """
        if self._ended or self._is_closing:
            return False
        if started_at is None:
            started_at = time.time() - (observation.end_s or 0.0)
        offered = _Offered(record, observation, primary, started_at)
        with self._changed:
            self._offered += 1
            is_full = len(self._queue) >= QUEUE_LIMIT
            if is_full or self._queued_bytes + offered.size_bytes > QUEUE_LIMIT_BYTES:
                self._dropped["queue full"] += 1
                return False
            self._queue.append(offered)
            self._queued_bytes += offered.size_bytes
            self._changed.notify()
        self.start()
        return True

    def start(self) -> None:
        """Start the writing thread; starting twice does nothing."""
        if self._thread is None and not self._is_closing:
            self._thread = threading.Thread(target=self._run, name="gateway-recording", daemon=True)
            self._thread.start()

    def close(self, timeout_s: float = 5.0) -> None:
        """Write what is queued and let go of the file, within ``timeout_s`` seconds. It blocks."""
        with self._changed:
            self._is_closing = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join(timeout_s)
            if self._thread.is_alive():
                logger.warning(
                    "the recording did not end within %g s; its last exchanges may be missing", timeout_s
                )

    def report(self) -> dict[str, Any]:
        """Return the recording's state as JSON-able values."""
        with self._changed:
            return {
                "path": self.options.path,
                "is_recording": self.is_recording,
                "ended": self._ended,
                "entries": self._written,
                "offered": self._offered,
                "dropped": dict(self._dropped),
                "queued": len(self._queue),
            }

    # --- the thread ----------------------------------------------------------------------------------------

    def _run(self) -> None:
        archive: Archive | None = None
        try:
            archive = self._open()
            if archive is not None:
                self._write_all(archive)
        except ArchiveError as exc:
            self._end(f"it failed: {exc}")
            logger.error("the recording ended: %s", exc)
        except Exception as exc:
            self._end(f"it failed: {type(exc).__name__}")
            logger.exception("the recording ended")
        finally:
            if archive is not None:
                self._close(archive)

    def _close(self, archive: Archive) -> None:
        if self._ended and not archive.state.ended:
            with contextlib.suppress(ArchiveError):  # what cannot be written in the file stands in the log
                archive.append((), replace(archive.state, ended=self._ended))
        archive.close()

    def _open(self) -> Archive | None:
        """Open the file; a worker that is being replaced may hold it for a while."""
        deadline = time.monotonic() + BUSY_PATIENCE_S
        while True:
            try:
                return Archive(Path(self.options.path))
            except ArchiveBusy:
                if time.monotonic() > deadline:
                    raise
            with self._changed:
                if self._is_closing:
                    return None
                self._changed.wait(0.2)

    def _write_all(self, archive: Archive) -> None:
        before = archive.state
        started_at = before.started_at or time.time()
        self._written = archive.entries
        if before.ended:
            self._end(before.ended)
            return
        while True:
            batch = self._next_batch(started_at)
            lines, is_full = self._lines(batch, archive)
            is_last = self._is_closing and not self._queue
            entries = archive.entries + len(lines)
            self._end(self._reason_to_end(entries, started_at, is_full=is_full))
            with self._changed:
                self._written = entries
                state = RecordingState(
                    started_at=started_at,
                    seen_at=time.time(),
                    entries=entries,
                    sessions=archive.sessions_with(lines),
                    offered=before.offered + self._offered,
                    dropped=dict(Counter(before.dropped) + self._dropped),
                    is_redacted=self.options.is_redacting,
                    ended=self._ended,
                )
            archive.append(lines, state)
            if self._ended or is_last:
                return

    def _next_batch(self, started_at: float) -> list[_Offered]:
        """Wait for exchanges, the end of the time, or the moment to give an account."""
        wait_s = TOLD_EVERY_S
        if self.options.for_s is not None:
            wait_s = min(wait_s, max(0.0, started_at + self.options.for_s - time.time()))
        with self._changed:
            if not self._queue and not self._is_closing:
                self._changed.wait(wait_s)
            batch = [self._queue.popleft() for _ in range(min(BATCH, len(self._queue)))]
            self._queued_bytes -= sum(each.size_bytes for each in batch)
        return batch

    def _lines(self, batch: Sequence[_Offered], archive: Archive) -> tuple[list[Line], bool]:
        """Return the batch as far as the recording has room for it, and whether that is used up."""
        lines: list[Line] = []
        room_bytes = self.options.size_bytes - archive.size_bytes
        for offered in batch[: max(0, self.options.limit - archive.entries)]:
            try:
                line = Line.of(self._entry(offered))
            except Exception:
                self._dropped["not writable"] += 1
                logger.exception("an exchange could not be recorded")
                continue
            room_bytes -= len(line.data) + 2
            if room_bytes < 0:
                return lines, True
            lines.append(line)
        return lines, False

    def _entry(self, offered: _Offered) -> Json:
        cap_bytes = self.options.body_cap_bytes
        record, answer = _as_sent(offered.record), unwrapped(offered.observation)
        is_unwrapped = answer is not offered.observation
        record = replace(record, body=_capped(record.body, cap_bytes))
        answer = replace(answer, body=_capped(answer.body, cap_bytes))
        safe_record, safe_answer = self._redactor.request(record), self._redactor.observation(answer)
        session = self._sessions.session_of(record, answer, safe_answer)
        if self.options.is_redacting:
            headers = _with_length(record.body, safe_record.headers, safe_record.body)
            record = replace(safe_record, headers=headers, body=self._sealed(safe_record.body))
            headers = _with_length(answer.body, safe_answer.headers, safe_answer.body)
            answer = replace(safe_answer, headers=headers, body=self._sealed(safe_answer.body))
        coding = header_value(offered.observation.headers, b"content-encoding") if is_unwrapped else ""
        return har_entry(
            record,
            answer,
            started_at=offered.started_at,
            session=session,
            served_by=offered.primary,
            coding=coding,
        )

    def _sealed(self, body: Body) -> Body:
        """Return a body whose digest, which was one of what it held before, is keyed as well."""
        return replace(body, digest=self._redactor.digest(body.digest)) if body.digest else body

    def _reason_to_end(self, entries: int, started_at: float, *, is_full: bool) -> str:
        options = self.options
        if entries >= options.limit:
            return "the limit of exchanges is reached"
        if is_full:
            return "the file has reached its size"
        if options.for_s is not None and time.time() >= started_at + options.for_s:
            return "its time is over"
        return ""

    def _end(self, reason: str) -> None:
        if reason and not self._ended:
            with self._changed:
                self._ended = reason
                self._queue.clear()
                self._queued_bytes = 0


def recorder_from_environ(environ: Mapping[str, str], *, redact: Sequence[str] = ()) -> Recorder | None:
    """Return the recorder that ``gateway record`` asks for in the environment; None where nothing is asked.

    It is at work already: its time runs out whether or not a request ever comes.
    ``redact`` adds the table's names (``compare.redact``). Raises
    :class:`~gateway.errors.SettingsError` for a variable that makes no sense.
    """
    text = environ.get(RECORD_VARIABLE)
    if not text:
        return None
    recorder = Recorder(read_options(text), redact=redact)
    recorder.start()
    return recorder


def _caller(scope: Mapping[str, Any]) -> bytes:
    client = scope.get("client")
    parts = [str(client[0]).encode() if client else b""]
    parts += [
        value for name, value in scope.get("headers", ()) if name in (b"user-agent", b"x-forwarded-for")
    ]
    return b"\0".join(parts)


def _as_sent(record: RequestRecord) -> RequestRecord:
    """Return a request without the id that the gateway gave it: each replay gets one of its own."""
    return replace(record, headers=tuple(pair for pair in record.headers if pair[0] != b"x-request-id"))


def _capped(body: Body, cap_bytes: int) -> Body:
    if len(body.captured) <= cap_bytes:
        return body
    if body.is_truncated:
        return Body(body.captured[:cap_bytes], body.length_bytes, body.digest)
    return Body.of(body.captured, cap_bytes=cap_bytes)


def _with_length(before: Body, headers: Headers, after: Body) -> Headers:
    """Return headers whose Content-Length tells nothing about the secrets that were taken out."""
    if before.length_bytes == after.length_bytes:
        return headers
    length = str(after.length_bytes).encode()
    return tuple((name, length if name.lower() == b"content-length" else value) for name, value in headers)
