"""Read routing.yaml: bytes in, a :class:`TableSpec` and every problem at once out.

This file decides the order of reading and nothing else: YAML, single values, sections, rows. A table
with errors still yields what could be read, so that it can be held against the apps and *all* its
problems shown; whoever serves must look at the problems first.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from gateway.errors import Problem, Severity
from gateway.table.row_specs import RowReader
from gateway.table.sections import Sections
from gateway.table.source import MAX_BYTES, read_source
from gateway.table.spec import TableSpec
from gateway.table.spelling import shown
from gateway.table.translation import begin, problem_at, understand

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from gateway.table.source import Source
    from gateway.table.translation import Understood


@dataclass(frozen=True, slots=True)
class Parsed:
    """Be one reading of a table. ``spec`` is None when not even its backends can be told."""

    spec: TableSpec | None
    problems: tuple[Problem, ...]

    @property
    def has_errors(self) -> bool:
        """Tell whether the table is refused."""
        return any(problem.is_error for problem in self.problems)


def read_table(path: Path, *, environ: Mapping[str, str] | None) -> Parsed:
    """Read the table at ``path``; a file that cannot be read is one problem. See :func:`parse_table`."""
    source = path.name
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        why = error.strerror or type(error).__name__
        repair = "write one with `gateway init`" if isinstance(error, FileNotFoundError) else "check the path"
        return Parsed(None, (Problem(Severity.ERROR, source, 0, "", f"cannot be read: {why}", repair),))
    return parse_table(data, source=source, environ=environ)


def parse_table(text: bytes, *, source: str, environ: Mapping[str, str] | None) -> Parsed:
    """Read a table from its bytes; ``source`` is its name in problems. Never raises.

    ``environ`` gives the values of ``${NAME}``; None leaves them as they stand, for edits by machine,
    which must work where the secrets are not. Problems come in the order of their lines.
    """
    read = read_source(text, source)
    if read.data is None:
        return Parsed(None, read.problems)
    understood = understand(read, read.data)
    sections = Sections(read, understood, environ)
    sections.check_presence()
    legacy, new = sections.backend("legacy"), sections.backend("new")
    server, store, shared = sections.server(), sections.store(), sections.shared()
    events, compare = sections.events(), sections.compare()
    rows = RowReader(read, understood)
    routes = rows.read()
    found = (*read.problems, *understood.problems, *sections.problems, *rows.problems)
    found = (*found, *_deceptions(read, understood))
    problems = tuple(sorted(found, key=lambda problem: problem.line))
    if legacy is None or new is None:
        return Parsed(None, problems)
    spec = TableSpec(
        source=source,
        digest=hashlib.sha256(text).hexdigest(),
        legacy=legacy,
        new=new,
        routes=routes,
        server=server,
        store=store,
        shared=shared,
        shared_line=0 if shared is None else read.line(("shared",)),
        events=events,
        compare=compare,
        implicit=rows.implicit(),
    )
    if understood.file.salt is not None:
        spec = replace(spec, salt=understood.file.salt)
    return Parsed(spec, problems)


def _deceptions(read: Source, understood: Understood) -> Iterator[Problem]:
    """Report numbers that were accepted, but that YAML 1.1 reads in base 60, 8 or 2."""
    for place, written in read.deceptive_numbers():
        if understood.has_left_out(place) or place in understood.retried:
            continue
        value: object = read.data
        for step in place:
            value = value[step]  # type: ignore[index]  # the place was made while reading this very data
        if isinstance(value, int | float):
            message = f"{begin(place)}YAML reads {shown(written)} as the number {shown(value)}"
            yield problem_at(read, place, message, f'write {shown(value)}, or "{written}" in quotes for text')
