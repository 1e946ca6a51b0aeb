"""Keep a HAR file that is whole after every write, and can be continued by another process.

    {"log":{"version":"1.2","creator":{…},"comment":"…","entries":[      ← the head, one line
    {entry},                                                             ← one line each
    {entry}
    ],"pages":[…],"_recording":{…}}}                                     ← the tail, written anew each time

An append is one write that begins where the tail stands and ends with a new tail. Should that one write be
cut (a killed machine, a full disk), every line above it is still an entry: opening the file again drops the
broken line and writes the tail. The file is the owner's alone (0600), and one process writes at a time.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

from gateway.errors import GatewayError
from gateway.recording.har import page

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from gateway.recording.har import Json

_CREATOR = "strangler-gateway"
_HEAD_START = b'{"log":{"version":"1.2","creator":{"name":"strangler-gateway"'
_DECODER = json.JSONDecoder()
_TAIL_START = b'],"pages":['
_STATE = re.compile(rb'"_recording":(\{[^\n]*\})\}\}\s*\Z')
_TAIL_READ_BYTES = 4096


class ArchiveError(GatewayError):
    """Report a recording file that cannot be made, continued or written, with the reason."""


class ArchiveBusy(ArchiveError):
    """Report that another process still writes the file."""


@dataclass(frozen=True, slots=True)
class RecordingState:
    """Be what the file says of its own recording. Times are seconds since the epoch.

    ``offered`` counts exchanges that came, ``dropped`` those that were lost, by reason. ``ended`` is empty
    while the recording goes on; afterwards it says why it ended.
    """

    started_at: float = 0.0
    seen_at: float = 0.0
    entries: int = 0
    sessions: int = 0
    offered: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    is_redacted: bool = True
    ended: str = ""


@dataclass(frozen=True, slots=True)
class Line:
    """Be one entry as it stands in the file; ``moment`` is when its request came."""

    session: str
    moment: str
    data: bytes

    @classmethod
    def of(cls, entry: Json) -> Line:
        """Return the line of a HAR entry."""
        return cls(str(entry["_session"]), str(entry["startedDateTime"]), _encode(entry))


def create_archive(path: Path, *, is_redacted: bool) -> None:
    """Make an empty recording at ``path`` (mode 0600); raise :class:`ArchiveError` if something is there."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError as exc:
        raise ArchiveError(f"{path} is there already; choose another --output, or add --force") from exc
    except OSError as exc:
        raise ArchiveError(f"{path}: {exc.strerror or exc}") from exc
    state = RecordingState(is_redacted=is_redacted)
    with os.fdopen(descriptor, "wb") as file:
        os.fchmod(file.fileno(), 0o600)
        file.write(_head(is_redacted) + _tail([], state))


def read_state(path: Path) -> RecordingState | None:
    """Return what the file at ``path`` says of its recording; None where it cannot be told at this moment."""
    try:
        with path.open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - _TAIL_READ_BYTES))
            return _parse_state(file.read())
    except OSError:
        return None


class Archive:
    """Be a recording file that is open for writing; make one with :func:`create_archive` first.

    Raises:
        ArchiveBusy: another process has it open.
        ArchiveError: there is no such file, or it is no recording of this gateway.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._pages: list[bytes] = []
        self._sessions: set[str] = set()
        try:
            self._descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError as exc:
            raise ArchiveError(f"{path}: {exc.strerror or exc}") from exc
        try:
            _lock(self._descriptor, path)
            self.entries, self._end, self.state = self._read()
        except BaseException:
            os.close(self._descriptor)
            raise
        self._size = os.fstat(self._descriptor).st_size

    @property
    def size_bytes(self) -> int:
        """Return the length of head and entries."""
        return self._end

    def sessions_with(self, lines: Sequence[Line]) -> int:
        """Return how many sessions there are once ``lines`` are written."""
        return len(self._sessions.union(line.session for line in lines))

    def append(self, lines: Sequence[Line], state: RecordingState) -> None:
        """Write entries and the tail; raise :class:`ArchiveError`, with the file as it was, if that fails."""
        first_page, sessions = len(self._pages), set(self._sessions)
        for line in lines:
            self._note_session(line.session, line.moment)
        text = b"".join(
            (b",\n" if self.entries or index else b"\n") + line.data for index, line in enumerate(lines)
        )
        tail = _tail(self._pages, state)
        missing = self._size - (self._end + len(text) + len(tail))
        data = text + tail[:-1] + b" " * max(0, missing) + b"\n"
        try:
            self._write(data, self._end)
        except OSError as exc:
            del self._pages[first_page:]
            self._sessions = sessions
            self._restore()
            raise ArchiveError(f"{self.path}: {exc.strerror or exc}") from exc
        self._size = self._end + len(data)
        self.entries += len(lines)
        self._end += len(text)
        self.state = state

    def close(self) -> None:
        """Make sure that what was written reaches the disk, and let go of the file."""
        try:
            os.fsync(self._descriptor)
        except OSError:  # what is lost with the power is lost; the file's contents stay whole
            pass
        finally:
            os.close(self._descriptor)

    def _write(self, data: bytes, offset: int) -> None:
        view = memoryview(data)
        while view:
            written = os.pwrite(self._descriptor, view, offset)
            view, offset = view[written:], offset + written

    def _restore(self) -> None:
        """Put the tail back behind the last whole entry, on room that the file already has."""
        tail = _tail(self._pages, self.state)
        try:
            self._write(tail, self._end)
            self._size = self._end + len(tail)
            os.ftruncate(self._descriptor, self._size)
        except OSError:
            return  # the next one to open the file mends it

    def _note_session(self, session: str, began: str) -> None:
        if session not in self._sessions:
            self._sessions.add(session)
            self._pages.append(_encode(page(session, began)))

    def _read(self) -> tuple[int, int, RecordingState]:
        """Return the number of whole entries, where they end, and the last state; mend what was cut."""
        entries = 0
        with os.fdopen(os.dup(self._descriptor), "rb") as file:
            head = file.readline()
            if not head.startswith(_HEAD_START) or not head.endswith(b"[\n"):
                raise ArchiveError(f"{self.path}: is no recording of this gateway; choose another --output")
            end = len(head) - 1
            at = len(head)
            rest = b""
            for line in file:
                entry, length = _parse_entry(line)
                if entry is None:
                    rest = line
                    break
                entries += 1
                end, at = at + length, at + len(line)
                self._note_session(str(entry.get("_session", "")), str(entry.get("startedDateTime", "")))
            state = _parse_state(rest) if rest.startswith(_TAIL_START) else None
        if state is None:
            state = RecordingState(entries=entries, sessions=len(self._sessions))
            os.ftruncate(self._descriptor, end)
            self._write(_tail(self._pages, state), end)
        return entries, end, state


def _lock(descriptor: int, path: Path) -> None:
    try:
        import fcntl
    except ImportError:  # no POSIX; there is no `gateway serve` there, either
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as exc:
        raise ArchiveBusy(f"{path}: another process is writing it") from exc


def _head(is_redacted: bool) -> bytes:
    try:
        number = version(_CREATOR)
    except PackageNotFoundError:  # run from a checkout that is not installed
        number = "0"
    how = (
        "Secrets are replaced by keyed digests: equal ones were equal."
        if is_redacted
        else "SECRETS INCLUDED: recorded with --redact off."
    )
    return (
        b'{"log":{"version":"1.2","creator":'
        + _encode({"name": _CREATOR, "version": number})
        + b',"comment":'
        + _encode(f"Recorded by gateway record. {how}")
        + b',"entries":['
    )


def _tail(pages: Sequence[bytes], state: RecordingState) -> bytes:
    return b"\n" + _TAIL_START + b",".join(pages) + b'],"_recording":' + _encode(asdict(state)) + b"}}\n"


def _encode(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=True).encode("ascii")


def _parse_entry(line: bytes) -> tuple[Json | None, int]:
    """Return the entry that a line begins with, and its length in bytes, whatever follows."""
    try:
        entry, length = _DECODER.raw_decode(line.decode("ascii"))
    except ValueError:
        return None, 0
    return (entry, length) if isinstance(entry, dict) and "request" in entry else (None, 0)


def _parse_state(data: bytes) -> RecordingState | None:
    found = _STATE.search(data)
    if found is None:
        return None
    try:
        return RecordingState(**json.loads(found[1]))
    except (ValueError, TypeError):
        return None
