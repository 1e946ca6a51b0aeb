"""Read the path spellings of the table, of Flask and of Starlette, and write OpenAPI's.

OpenAPI knows only ``{name}``; what a converter says goes into the parameter's schema.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_TABLE = re.compile(
    r"""\{(?P<name>\w+)(?::(?P<converter>\w+)(?:\((?P<arguments>(?:"[^"]*"|'[^']*'|[^)"'])*)\))?)?\}"""
)
_FLASK = re.compile(
    r"""<(?:(?P<converter>\w+)(?:\((?P<arguments>(?:"[^"]*"|'[^']*'|[^)"'])*)\))?:)?(?P<name>\w+)>"""
)


@dataclass(frozen=True, slots=True)
class PathParameter:
    """Be one parameter of a path, with the converter as it is written (empty: none is)."""

    name: str
    converter: str = ""
    arguments: str = ""


@dataclass(frozen=True, slots=True)
class Path:
    """Be one path: literal texts with parameters between them (one literal more than parameters)."""

    literals: tuple[str, ...]
    parameters: tuple[PathParameter, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Return the parameters' names, in order."""
        return tuple(parameter.name for parameter in self.parameters)

    @property
    def text(self) -> str:
        """Return the path as OpenAPI writes it: ``/users/{user_id}``."""
        return self._with([f"{{{name}}}" for name in self.names])

    @property
    def shape(self) -> str:
        """Return what is equal for paths that OpenAPI holds to be identical: names do not count."""
        return self._with(["{}"] * len(self.parameters))

    def _with(self, texts: list[str]) -> str:
        first, *rest = self.literals
        return first + "".join(text + literal for text, literal in zip(texts, rest, strict=True))


def parse_table_path(text: str) -> Path:
    """Read the table's spelling: ``/users/{user_id:int}``."""
    return _parse(text, _TABLE)


def parse_flask_rule(text: str) -> Path:
    """Read Flask's spelling: ``/users/<int:user_id>``."""
    return _parse(text, _FLASK)


def parse_starlette_path(text: str) -> Path:
    """Read Starlette's spelling (``/users/{user_id:int}``), which is the table's without arguments."""
    return _parse(text, _TABLE)


def _parse(text: str, pattern: re.Pattern[str]) -> Path:
    literals, parameters, place = [], [], 0
    for found in pattern.finditer(text):
        literals.append(text[place : found.start()])
        parameters.append(PathParameter(found["name"], found["converter"] or "", found["arguments"] or ""))
        place = found.end()
    literals.append(text[place:])
    return Path(tuple(literals), tuple(parameters))
