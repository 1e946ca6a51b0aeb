"""Accept known differences by their signature, each with a reason and a day on which that ends.

A baseline is a YAML list. It is for the day on which a team begins to compare and finds a hundred
differences: known ones are accepted until their day, new ones fail. A difference that is gone is taken out
only when its row was exercised again.

.. code-block:: yaml

    - row: GET /users
      kind: json.value
      place: $.users[*].name
      reason: new trims names; decided in SHOP-7
      until: 2027-03-31
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from datetime import date
from typing import TYPE_CHECKING

import yaml
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from gateway.ci.corpus import CorpusError, read_text
from gateway.compare.difference import Kind
from gateway.compare.signature import Signature

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from gateway.ci.results import Run

_HEAD = """\
# Differences that are known and accepted for a while; `gateway compare --baseline` reads this file.
"""


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=False)

    row: str = Field(min_length=1)
    kind: Kind
    place: str = Field(min_length=1)
    reason: str = Field(min_length=1)
    until: date


@dataclass(frozen=True, slots=True)
class Accepted:
    """Be one accepted signature."""

    signature: Signature
    reason: str
    until: date


def read_baseline(path: Path) -> tuple[Accepted, ...]:
    """Return what the file accepts; raises :class:`CorpusError` with the number of a wrong entry."""
    try:
        document = yaml.safe_load(read_text(path))
        entries = TypeAdapter(list[_Entry]).validate_python(document or [])
    except yaml.YAMLError as exc:
        mark = getattr(exc, "problem_mark", None)
        raise CorpusError(f"{path}:{mark.line + 1 if mark else 1}: is no YAML") from exc
    except ValidationError as exc:
        first = exc.errors(include_url=False)[0]
        where = ".".join(str(part + 1 if isinstance(part, int) else part) for part in first["loc"])
        raise CorpusError(f"{path}: entry {where}: {first['msg']}") from exc
    return tuple(
        Accepted(Signature(entry.row, entry.kind, entry.place), entry.reason, entry.until)
        for entry in entries
    )


def apply_baseline(run: Run, accepted: Iterable[Accepted], *, today: date) -> Run:
    """Return the run with accepted differences taken out of what fails it, and a note for each one gone.

    An entry past its day accepts nothing and fails the run, as a rule of the table does.
    """
    accepted = tuple(accepted)
    valid = {each.signature: each for each in accepted if each.until >= today}
    expired = [each for each in accepted if each.until < today]
    taken = tuple((each, valid[each.signature].reason) for each in run.failing if each.signature in valid)
    fixed = fixed_since(run, accepted)
    notes = tuple(
        f"in the baseline and gone: {each.signature}; take it out (--accept does)" for each in fixed
    )
    failures = tuple(
        f"baseline: {each.signature}: accepted until {each.until}; mend new, or decide again"
        for each in expired
        if each not in fixed
    )
    return replace(run, accepted=taken, notes=run.notes + notes, failures=run.failures + failures)


def fixed_since(run: Run, accepted: Iterable[Accepted]) -> tuple[Accepted, ...]:
    """Return the entries whose row was exercised in this run without the difference."""
    exercised = {row.key for row in run.rows if row.is_exercised}
    found = {each.signature for each in run.findings if not each.is_waived}
    return tuple(
        each for each in accepted if each.signature.route in exercised and each.signature not in found
    )


def updated(run: Run, accepted: Iterable[Accepted], *, reason: str, until: date) -> tuple[Accepted, ...]:
    """Return the baseline with what fails this run added, and what is gone taken out."""
    accepted = tuple(accepted)
    fixed = set(fixed_since(run, accepted))
    kept = [each for each in accepted if each not in fixed]
    known = {each.signature for each in kept}
    kept += [Accepted(each.signature, reason, until) for each in run.failing if each.signature not in known]
    return tuple(sorted(kept, key=lambda each: str(each.signature)))


def write_baseline(path: Path, accepted: Iterable[Accepted]) -> None:
    """Write the file, whole or not at all."""
    entries = [
        {
            "row": each.signature.route,
            "kind": each.signature.kind.value,
            "place": each.signature.place,
            "reason": each.reason,
            "until": each.until,
        }
        for each in accepted
    ]
    text = _HEAD + yaml.safe_dump(entries, sort_keys=False, allow_unicode=True, width=110)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        draft.write_text(text, encoding="utf-8")
        draft.replace(path)
    except OSError as exc:
        raise CorpusError(f"{path}: cannot be written: {exc.strerror}") from exc
