"""The file is whole after every write, survives every cut, and belongs to one writer and one reader."""

from __future__ import annotations

import errno
import json
import os
import stat
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.recording.archive import (
    Archive,
    ArchiveBusy,
    ArchiveError,
    Line,
    RecordingState,
    create_archive,
    read_state,
)
from gateway.recording.har import har_entry
from tests.recording.samples import answer, entries, log, record

if TYPE_CHECKING:
    from pathlib import Path


def line(number: int, session: str = "session-1") -> Line:
    entry = har_entry(
        record(path=f"/{number}"), answer(b"x"), started_at=1.0 * number, session=session, served_by="legacy"
    )
    return Line.of(entry)


def paths(path: Path) -> list[str]:
    return [entry["request"]["url"].rpartition("/")[2] for entry in entries(path)]


def test_the_file_is_valid_before_and_after_every_append(tmp_path: Path) -> None:
    path = tmp_path / "a.har"
    create_archive(path, is_redacted=True)
    assert entries(path) == []
    archive = Archive(path)
    for number in range(5):
        archive.append([line(number)], RecordingState(entries=number + 1, ended="x" * (50 - 10 * number)))
        assert paths(path) == [str(each) for each in range(number + 1)]
        state = read_state(path)
        assert state is not None
        assert state.entries == number + 1
    archive.close()


def test_only_its_owner_may_read_it(tmp_path: Path) -> None:
    path = tmp_path / "a.har"
    before = os.umask(0)
    try:
        create_archive(path, is_redacted=True)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_an_existing_file_is_never_replaced(tmp_path: Path) -> None:
    path = tmp_path / "a.har"
    path.write_text("mine")
    with pytest.raises(ArchiveError, match="is there already"):
        create_archive(path, is_redacted=True)
    with pytest.raises(ArchiveError, match="no recording of this gateway"):
        Archive(path)
    assert path.read_text() == "mine"


def test_a_second_writer_waits_its_turn(tmp_path: Path) -> None:
    path = tmp_path / "a.har"
    create_archive(path, is_redacted=True)
    first = Archive(path)
    with pytest.raises(ArchiveBusy):
        Archive(path)
    first.close()
    Archive(path).close()


def test_a_recording_is_continued_where_it_stopped(tmp_path: Path) -> None:
    path = tmp_path / "a.har"
    create_archive(path, is_redacted=True)
    first = Archive(path)
    first.append([line(1), line(2, "session-2")], RecordingState(entries=2, started_at=5.0))
    first.close()
    second = Archive(path)
    assert (second.entries, second.state.started_at) == (2, 5.0)
    second.append([line(3)], replace(second.state, entries=3))
    second.close()
    assert paths(path) == ["1", "2", "3"]
    assert [page["id"] for page in log(path)["pages"]] == ["session-1", "session-2"]


@given(written=st.integers(min_value=0), has_old_tail=st.booleans())
def test_a_write_that_was_cut_anywhere_costs_no_entry_above_it(
    tmp_path_factory: pytest.TempPathFactory, written: int, has_old_tail: bool
) -> None:
    path = tmp_path_factory.mktemp("cut") / "a.har"
    create_archive(path, is_redacted=True)
    archive = Archive(path)
    archive.append([line(1), line(2)], RecordingState(entries=2))
    before, safe = path.read_bytes(), archive._end
    archive.append([line(3)], RecordingState(entries=3))
    archive.close()
    whole = path.read_bytes()
    reached = safe + written % (len(whole) - safe)
    path.write_bytes(whole[:reached] + (before[reached:] if has_old_tail else b""))
    again = Archive(path)
    again.append([line(4)], RecordingState(entries=again.entries + 1))
    again.close()
    assert paths(path) in (["1", "2", "4"], ["1", "2", "3", "4"])


def test_a_full_disk_leaves_the_file_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.har"
    create_archive(path, is_redacted=True)
    archive = Archive(path)
    archive.append([line(1)], RecordingState(entries=1))
    write, room = os.pwrite, [path.stat().st_size + 100]

    def pwrite(descriptor: int, data: memoryview, offset: int) -> int:
        fitting = max(0, room[0] - offset)
        if not fitting:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(descriptor, bytes(data)[:fitting], offset)

    monkeypatch.setattr(os, "pwrite", pwrite)
    with pytest.raises(ArchiveError, match="No space left"):
        archive.append([line(2, "session-2")], RecordingState(entries=2))
    assert paths(path) == ["1"]
    monkeypatch.undo()
    archive.append([line(3)], RecordingState(entries=2))
    archive.close()
    assert paths(path) == ["1", "3"]
    assert [page["id"] for page in log(path)["pages"]] == ["session-1"]


def test_nothing_can_be_told_of_a_file_that_is_none(tmp_path: Path) -> None:
    assert read_state(tmp_path / "none.har") is None
    (tmp_path / "other.har").write_text(json.dumps({"log": {"entries": []}}))
    assert read_state(tmp_path / "other.har") is None


def test_an_account_that_gets_shorter_leaves_nothing_of_the_longer_one(tmp_path: Path) -> None:
    path = tmp_path / "a.har"
    create_archive(path, is_redacted=True)
    archive = Archive(path)
    for words in ("a long account of why it ended", "", "short"):
        archive.append([], RecordingState(ended=words))
        assert log(path)["_recording"]["ended"] == words
        state = read_state(path)
        assert state is not None
        assert state.ended == words
    archive.close()
