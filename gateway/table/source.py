"""Turn the bytes of routing.yaml into plain data, and remember where each piece stood.

The whole of YAML is more than a table that people review should use: anchors, aliases, tags, merge
keys, duplicate keys, several documents and deep nesting are refused, each as a problem with its line.
What is read is dicts with text keys, lists and scalars, plus for every place (the tuple of keys and
indexes that leads to it) its line and the scalar's own text, because YAML 1.1 reads ``on`` as true.

This never raises for anything that bytes can hold, and it never recurses: nesting cannot exhaust it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import yaml

from gateway.errors import Problem, Severity
from gateway.table.spelling import shown

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_BYTES = 1 << 20
MAX_DEPTH = 20
HOPELESS_DEPTH = 100
"""How far below the deepest level reading goes on: libyaml takes quadratic time in the nesting."""

Place = tuple[str | int, ...]
"""The keys and indexes that lead to a value, from the top of the file."""

_UNPRINTABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_TAB_INDENT = re.compile(r"[ ]*\t[ \t]*(?=\S)")
_DECEPTIVE = re.compile(r"[-+]?(?:0[0-7_]+|0b[01_]+|[1-9][0-9_]*(?::[0-5]?[0-9])+(?:\.[0-9_]*)?)", re.ASCII)


@dataclass(frozen=True, slots=True)
class Scalar:
    """Be one scalar as written: its text, and whether it stood without quotes."""

    text: str
    is_plain: bool


@dataclass(frozen=True, slots=True)
class Source:
    """Be the plain data of one file. ``data`` is None when nothing could be read.

    ``broken`` holds the places whose value was refused and left out, so that nobody reports them as
    missing as well.
    """

    name: str
    data: dict[str, Any] | None
    lines: dict[Place, int] = field(default_factory=dict)
    scalars: dict[Place, Scalar] = field(default_factory=dict)
    broken: frozenset[Place] = frozenset()
    problems: tuple[Problem, ...] = ()

    def line(self, place: Place) -> int:
        """Return the 1-based line of a place, or of the nearest thing around it that was written."""
        while place and place not in self.lines:
            place = place[:-1]
        return self.lines.get(place, 0)

    def written_otherwise(self, place: Place, value: object) -> str | None:
        """Return the text of an unquoted scalar that YAML 1.1 turned into another value, else None.

        ``on`` became true, ``1:30`` became 90, ``010`` became 8, ``1.10`` became 1.1.
        """
        scalar = self.scalars.get(place)
        if scalar is None or not scalar.is_plain or isinstance(value, str | None):
            return None
        return None if scalar.text.lower() == shown(value) else scalar.text

    def is_empty(self, place: Place) -> bool:
        """Tell whether a key stands there with nothing behind it (not even ``null``)."""
        scalar = self.scalars.get(place)
        return scalar is not None and scalar.is_plain and not scalar.text

    def deceptive_numbers(self) -> Iterator[tuple[Place, str]]:
        """Yield the unquoted scalars whose digits YAML 1.1 reads in base 60, 8 or 2."""
        for place, scalar in self.scalars.items():
            if scalar.is_plain and _DECEPTIVE.fullmatch(scalar.text):
                yield place, scalar.text


def read_source(data: bytes, name: str) -> Source:
    """Read the bytes of a table; every trouble is a problem in the result, nothing is raised."""
    if len(data) > MAX_BYTES:
        size = f"{len(data):,} bytes"
        return _refused(name, 0, f"is {size}, above 1 MiB", "split the API over several gateways")
    text_or_problem = _decode(data, name)
    if isinstance(text_or_problem, Source):
        return text_or_problem
    text = text_or_problem
    strange = _strange_lines(text, name)
    if strange:
        return Source(name, None, problems=tuple(strange))
    reader = _Reader(name)
    try:
        reader.read(text)
    except yaml.MarkedYAMLError as error:
        return _recover(text, name, reader, error)
    except yaml.YAMLError as error:  # pragma: no cover - the reader's own errors are caught by _strange_lines
        return _refused(name, 0, f"is not YAML: {shown(error)}", "mend the file")
    return reader.source()


def _decode(data: bytes, name: str) -> str | Source:
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return _refused(name, 1, "the file is UTF-16, not UTF-8", "save it as UTF-8")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        return _refused(name, line, f"byte 0x{data[error.start]:02x} is not UTF-8", "save the file as UTF-8")


def _refused(name: str, line: int, message: str, repair: str) -> Source:
    return Source(name, None, problems=(Problem(Severity.ERROR, name, line, "", message, repair),))


def _strange_lines(text: str, name: str) -> list[Problem]:
    found: dict[int, str] = {}
    for match in _UNPRINTABLE.finditer(text):
        found.setdefault(text.count("\n", 0, match.start()) + 1, match[0])
        if len(found) >= 20:
            break
    return [
        Problem(
            Severity.ERROR, name, line, "", f"the character U+{ord(letter):04X} is not allowed", "remove it"
        )
        for line, letter in found.items()
    ]


def _recover(text: str, name: str, reader: _Reader, error: yaml.MarkedYAMLError) -> Source:
    """Report a syntax error, and for tabs read on as if they were spaces, to report the rest as well."""
    tabs = [number for number, line in enumerate(text.split("\n"), 1) if _TAB_INDENT.match(line)]
    mark = error.problem_mark or error.context_mark
    line = mark.line + 1 if mark is not None else 0
    if not tabs or not (tabs[0] <= line <= tabs[-1] + 1):
        problem = Problem(Severity.ERROR, name, line, "", *_in_plain_words(text, error))
        return Source(name, None, problems=(*reader.problems, problem))
    problems = [
        Problem(Severity.ERROR, name, number, "", "a tab indents this line", "indent with spaces")
        for number in tabs
    ]
    lines = [
        _TAB_INDENT.sub(lambda match: match[0].replace("\t", "  "), line, count=1)
        for line in text.split("\n")
    ]
    again = _Reader(name)
    try:
        again.read("\n".join(lines))
    except yaml.YAMLError:
        return Source(name, None, problems=tuple(problems))
    whole = again.source()
    return Source(name, whole.data, whole.lines, whole.scalars, whole.broken, (*problems, *whole.problems))


_CHECK_INDENT = "check the indentation"
_SYNTAX: tuple[tuple[str, str, str], ...] = (
    (
        "mapping values are not allowed",
        "a `: ` stands where no value can begin",
        f"{_CHECK_INDENT}, and put text that contains `: ` in quotes",
    ),
    (
        "could not find expected ':'",
        "a line is not `key: value`",
        f"add the colon, or {_CHECK_INDENT} and the quotes",
    ),
    (
        "did not find expected key",
        "a key was expected",
        f"{_CHECK_INDENT}, and close every quote and bracket",
    ),
    (
        "did not find expected ',' or",
        "a bracket is not closed",
        "close it; inside { } and [ ], put paths in quotes",
    ),
    (
        "did not find expected node content",
        "a value was expected",
        "put it in quotes if it begins with a special character",
    ),
    (
        "found unknown escape character",
        "an unknown \\ escape stands in double quotes",
        "double the backslash, or use single quotes",
    ),
    ("did not find expected '-' indicator", "a list item was expected", _CHECK_INDENT),
    ("block sequence entries are not allowed", "a `- ` stands where no list can begin", _CHECK_INDENT),
    ("found unexpected end of stream", "a quote is not closed", "close it"),
    ("found unexpected document indicator", "a quote is not closed", "close it"),
    ("did not find expected <document start>", "something stands outside the table", _CHECK_INDENT),
)
"""What libyaml says, what a person should read, and the repair."""


def _in_plain_words(text: str, error: yaml.MarkedYAMLError) -> tuple[str, str]:
    problem = error.problem or "it cannot be read"
    mark = error.problem_mark
    if "cannot start any token" in problem and mark is not None:
        lines = text.split("\n")
        letter = lines[mark.line][mark.column : mark.column + 1] if mark.line < len(lines) else ""
        if letter == "\t":
            return "is not YAML: a tab stands where only spaces may", "indent with spaces"
        return f"is not YAML: no value can begin with {letter}", "put the value in quotes"
    for start, message, repair in _SYNTAX:
        if start in problem:
            return f"is not YAML: {message}", repair
    return f"is not YAML: {shown(problem, 120)}", "mend the file"


@dataclass(slots=True)
class _Frame:
    """Be one open mapping or list. ``place`` is None below something that is left out."""

    container: dict[str, Any] | list[Any]
    place: Place | None
    key: str | None = None
    is_key_kept: bool = True
    key_line: int = 0


class _Reader:
    """Build plain data from YAML events, with a stack of its own."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.problems: list[Problem] = []
        self.lines: dict[Place, int] = {}
        self.scalars: dict[Place, Scalar] = {}
        self.broken: set[Place] = set()
        self.roots: list[Any] = []
        self.stack: list[_Frame] = []

    def source(self) -> Source:
        """Return what was read."""
        data: dict[str, Any] | None = None
        root = self.roots[0] if self.roots else None
        if isinstance(root, dict):
            data = root
        elif not self.problems:
            what = "is empty" if root is None else "is not a mapping of keys to values"
            self._problem(0, what, "start from `gateway init`, or write version, backends and routes")
        return Source(self.name, data, self.lines, self.scalars, frozenset(self.broken), tuple(self.problems))

    def read(self, text: str) -> None:
        """Read the one document of ``text``; raise ``yaml.YAMLError`` where it is not YAML."""
        loader = _Loader(text)
        try:
            documents = 0
            skipped = 0
            for event in _events(loader):
                if isinstance(event, yaml.DocumentStartEvent):
                    documents += 1
                    if documents > 1:
                        line = _line(event)
                        self._problem(line, "a second document begins", "keep one table in one file")
                        return
                elif isinstance(event, yaml.CollectionStartEvent):
                    if skipped or len(self.stack) >= MAX_DEPTH:
                        skipped += 1
                        if skipped == 1:
                            self._too_deep(event)
                        elif skipped > HOPELESS_DEPTH:
                            self.roots.clear()
                            return
                    else:
                        self._open(event)
                elif isinstance(event, yaml.CollectionEndEvent):
                    if skipped:
                        skipped -= 1
                    else:
                        self.stack.pop()
                elif skipped:
                    continue
                elif isinstance(event, yaml.ScalarEvent):
                    self._scalar(event, loader)
                elif isinstance(event, yaml.AliasEvent):
                    self._alias(event)
        finally:
            loader.dispose()

    def _problem(self, line: int, message: str, repair: str) -> None:
        self.problems.append(Problem(Severity.ERROR, self.name, line, self._row(), message, repair))

    def _row(self) -> str:
        """Return the row (or the dotted place) in which reading stands."""
        place = next((frame.place for frame in reversed(self.stack) if frame.place is not None), ())
        if place[:1] == ("routes",) and len(place) > 1:
            return shown(place[1])
        return "" if place[:1] == ("routes",) else dotted(place)

    def _too_deep(self, event: yaml.Event) -> None:
        self._problem(_line(event), f"is nested more than {MAX_DEPTH} deep", "write it flatter")
        self._attach(None, event, is_broken=True)

    def _open(self, event: yaml.CollectionStartEvent) -> None:
        self._refuse_marks(event)
        container: dict[str, Any] | list[Any] = {} if isinstance(event, yaml.MappingStartEvent) else []
        frame = self.stack[-1] if self.stack else None
        if frame is not None and isinstance(frame.container, dict) and frame.key is None:
            self._problem(_line(event), "a key must be text, not a list or mapping", "quote it")
            frame.key, frame.is_key_kept = "", False
            self.stack.append(_Frame(container, None))
            return
        place = self._attach(container, event)
        self.stack.append(_Frame(container, place))

    def _scalar(self, event: yaml.ScalarEvent, loader: _Loader) -> None:
        self._refuse_marks(event)
        frame = self.stack[-1] if self.stack else None
        if frame is not None and isinstance(frame.container, dict) and frame.key is None:
            self._key(frame, event)
            return
        is_plain = event.style is None or event.style == ""
        value = loader.scalar(event) if is_plain else event.value
        place = self._attach(value, event)
        if place is not None:
            self.scalars[place] = Scalar(event.value, is_plain)

    def _key(self, frame: _Frame, event: yaml.ScalarEvent) -> None:
        line = _line(event)
        frame.key, frame.key_line, frame.is_key_kept = event.value, line, True
        if frame.place is None:
            frame.is_key_kept = False
        elif event.value in frame.container:
            first = self.lines[(*frame.place, event.value)]
            frame.is_key_kept = False
            repair = "keep one of the two"
            self._problem(line, f"the key {shown(event.value)} stands twice, first on line {first}", repair)
        elif event.value == "<<" and event.style in (None, ""):
            frame.is_key_kept = False
            self._problem(line, "merge keys (<<) are not allowed", "write the keys out, or use defaults")

    def _alias(self, event: yaml.AliasEvent) -> None:
        frame = self.stack[-1] if self.stack else None
        message, repair = f"the alias *{event.anchor} is not allowed", "write the value out"
        self._problem(_line(event), message, repair)
        if frame is not None and isinstance(frame.container, dict) and frame.key is None:
            frame.key, frame.is_key_kept = "", False
            return
        self._attach(None, event, is_broken=True)

    def _refuse_marks(self, event: yaml.ScalarEvent | yaml.CollectionStartEvent) -> None:
        line = _line(event)
        if event.anchor is not None:
            self._problem(
                line, f"the anchor &{event.anchor} is not allowed", "remove it; defaults share values"
            )
        if event.tag is not None:
            self._problem(line, f"the tag {shown(event.tag)} is not allowed", "remove it; quotes make text")

    def _attach(self, value: object, event: yaml.Event, *, is_broken: bool = False) -> Place | None:
        """Put a value where it belongs; return its place, or None when it is left out."""
        if not self.stack:
            if not is_broken:
                self.roots.append(value)
            return ()
        frame = self.stack[-1]
        container, parent = frame.container, frame.place
        line = _line(event)
        if isinstance(container, dict):
            key, is_kept, line = cast("str", frame.key), frame.is_key_kept, frame.key_line
            frame.key = None
            if not is_kept or parent is None:
                return None
            place = (*parent, key)
        else:
            if parent is None:
                return None
            place = (*parent, len(container))
        if is_broken:
            self.broken.add(place)
            return None
        self.lines[place] = line
        if isinstance(container, dict):
            container[cast("str", place[-1])] = value
        else:
            container.append(value)
        return place


_Base: type[Any] = yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader


class _Loader(_Base):  # type: ignore[misc]  # which base there is depends on how PyYAML was built
    """Be PyYAML's safe loader, asked for events and single scalars only."""

    def scalar(self, event: yaml.ScalarEvent) -> object:
        """Return what YAML 1.1 makes of a plain scalar; its text when its looks deceive (``2027-02-30``)."""
        tag = self.resolve(yaml.ScalarNode, event.value, (True, False))
        method = _SCALARS.get(tag)
        if method is None:
            return event.value
        try:
            value: object = getattr(self, method)(yaml.ScalarNode(tag, event.value))
        except ValueError:
            return event.value
        return value


_SCALARS = {
    "tag:yaml.org,2002:null": "construct_yaml_null",
    "tag:yaml.org,2002:bool": "construct_yaml_bool",
    "tag:yaml.org,2002:int": "construct_yaml_int",
    "tag:yaml.org,2002:float": "construct_yaml_float",
    "tag:yaml.org,2002:timestamp": "construct_yaml_timestamp",
}


def _events(loader: _Loader) -> Iterator[yaml.Event]:
    while loader.check_event():
        yield loader.get_event()


def _line(event: yaml.Event) -> int:
    """Return the 1-based line on which an event begins (the stubs allow for parsers without marks)."""
    return event.start_mark.line + 1 if event.start_mark is not None else 0


def dotted(place: Place) -> str:
    """Write a place as people do: ``backends.legacy.threads``, ``compare[0].until``."""
    words = ""
    for step in place:
        words += f"[{step}]" if isinstance(step, int) else f".{shown(step)}"
    return words.removeprefix(".")
