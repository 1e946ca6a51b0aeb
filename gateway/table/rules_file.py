"""Read the output of ``flask routes`` as a legacy inventory, for an app that runs elsewhere.

The listing says less than the app: slashes count as strict, a converter of the app's own takes any one
segment, and where Flask would go by the order of registration, the order of the lines stands in
(``flask routes --sort match`` prints the true one). Format: flask/cli.py, ``routes_command``; the same
from Flask 2.2 to 3.1.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from gateway.errors import GatewayError
from gateway.table.converters import BUILT_IN, make_built_in
from gateway.table.inventory import Converter, LegacyInventory, LegacyRule
from gateway.table.template import TemplateError, parse_rule

if TYPE_CHECKING:
    from pathlib import Path

_RULER = re.compile(r"-{4,}(?:  -+)+\s*\Z")
_HEADERS = (
    ("Endpoint", "Methods", "Rule"),
    ("Endpoint", "Methods", "Host", "Rule"),
    ("Endpoint", "Methods", "Subdomain", "Rule"),
)
_MAKE = "make it with: flask --app APP routes --sort match > FILE"


class RulesFileError(GatewayError):
    """Refuse a file that is not the output of ``flask routes``; the message names the line."""


def read_rules(path: Path) -> LegacyInventory:
    """Read the file at ``path``. Raises :class:`RulesFileError`."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise RulesFileError(f"{path}: cannot be read: {error.strerror or error}; {_MAKE}") from error
    except UnicodeDecodeError as error:
        raise RulesFileError(f"{path}: is not UTF-8 text; {_MAKE}") from error
    return parse_rules(text, source=str(path))


def parse_rules(text: str, *, source: str) -> LegacyInventory:
    """Parse the output of ``flask routes``; lines above the table (logs, warnings) are skipped.

    Raises :class:`RulesFileError` with ``source`` and the line.
    """
    lines = text.lstrip("\ufeff").splitlines()
    start = next((number for number, line in enumerate(lines) if _RULER.match(line)), None)
    if start is None or start == 0:
        if any("No routes were registered" in line for line in lines):
            return _inventory([])
        raise RulesFileError(f"{source}: holds no table of routes; {_MAKE}")
    columns = [(found.start(), found.end()) for found in re.finditer("-+", lines[start])]
    headers = tuple(_cells(lines[start - 1], columns))
    if headers not in _HEADERS:
        raise RulesFileError(
            f"{source}:{start}: the columns are {', '.join(headers)}, not Endpoint, Methods, Rule; {_MAKE}"
        )
    rules: list[LegacyRule] = []
    for number, line in enumerate(lines[start + 1 :], start + 2):
        if line.strip():
            cells = dict(zip(headers, _cells(line, columns), strict=True))
            rules.append(_rule_of(cells, len(rules), f"{source}:{number}"))
    return _inventory(rules)


def _cells(line: str, columns: list[tuple[int, int]]) -> list[str]:
    """Cut a line at the ruler's columns; the last one runs on to the end."""
    ends = [start for start, _ in columns[1:]]
    return [
        line[start:end].strip()
        for start, end in zip((start for start, _ in columns), [*ends, None], strict=True)
    ]


def _rule_of(cells: dict[str, str], index: int, place: str) -> LegacyRule:
    rule = cells["Rule"]
    if not rule.startswith("/"):
        raise RulesFileError(f"{place}: {rule!r} is no rule, which starts with a slash; {_MAKE}")
    try:
        template = parse_rule(rule, make_converter=_guess)
    except TemplateError as error:
        raise RulesFileError(f"{place}: {error}") from error
    methods = frozenset(word.strip() for word in cells["Methods"].split(",") if word.strip())
    if "GET" in methods:
        methods |= {"HEAD"}
    endpoint = cells["Endpoint"]
    return LegacyRule(
        rule=rule,
        endpoint=endpoint,
        methods=methods | {"OPTIONS"} if methods else None,
        index=index,
        host=cells.get("Host", ""),
        subdomain=cells.get("Subdomain", ""),
        converters={parameter.name: parameter.converter for parameter in template.parameters},
        blueprint=endpoint.rpartition(".")[0],
    )


def _guess(name: str, arguments: str) -> Converter:
    try:
        return make_built_in(name, arguments)
    except LookupError:
        return Converter(name, arguments, "[^/]+")


def _inventory(rules: list[LegacyRule]) -> LegacyInventory:
    own = {converter.name for rule in rules for converter in rule.converters.values()}
    names = tuple(sorted(own | set(BUILT_IN)))

    def make_converter(name: str, arguments: str) -> Converter:
        if name not in names:
            raise LookupError(f"no rule of the legacy app uses a converter called {name!r}")
        return _guess(name, arguments)

    return LegacyInventory(
        is_known=True,
        rules=tuple(rules),
        make_converter=make_converter,
        converter_names=names,
        has_host_matching=any(rule.host for rule in rules),
    )
