"""Validate a file against the models, and put every finding into the table's own words.

pydantic finds all that is wrong with single values in one pass; its messages stop here. What failed is
then taken out and the rest validated again, so that one bad value does not hide what stands beside it:
the result is the file as far as it can be understood, with the places that were left out.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ValidationError

from gateway.errors import Problem, Severity
from gateway.table import models
from gateway.table.source import Place, Source, dotted
from gateway.table.spelling import Wrong, listed, nearest, reading, shown

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pydantic_core import ErrorDetails

_ROUNDS = 8
_LEVELS: tuple[tuple[str, type[BaseModel]], ...] = (
    ("at the top of the file", models.FileModel),
    ("on a row or under defaults", models.RowModel),
    ("under backends.legacy or backends.new", models.BackendModel),
    ("under server", models.ServerModel),
    ("under a row's rollout", models.RolloutModel),
    ("in a rule of a row's compare", models.RuleModel),
    ("under the compare of the whole file", models.CompareModel),
    ("under a row's equivalences", models.EquivalencesModel),
    ("under backends", models.BackendsModel),
)
_NULL_MAY_STAND = {("defaults",), ("routes",), ("server",), ("compare",), ("events",)}


@dataclass(frozen=True, slots=True)
class Understood:
    """Be what could be read: ``file`` without what failed, whose places are in ``left_out``.

    ``around`` holds those and every place that leads to one. ``retried`` holds the places that were
    read as text after YAML had made something else of them.
    """

    file: models.FileModel
    left_out: frozenset[Place]
    problems: tuple[Problem, ...]
    retried: frozenset[Place] = frozenset()
    around: frozenset[Place] = frozenset()

    def has_left_out(self, place: Place) -> bool:
        """Tell whether a place, or anything below it, failed."""
        return place in self.around


def understand(source: Source, data: dict[str, Any]) -> Understood:
    """Validate ``data``, which was read from ``source``; never raises."""
    data = copy.deepcopy(data)
    problems, left_out = _refuse_empty(source, data)
    retried: dict[Place, tuple[str, str]] = {}
    surprised: set[Place] = set()
    for attempt in range(_ROUNDS):
        try:
            file = models.FileModel.model_validate(data)
        except ValidationError as error:
            details = error.errors(include_url=False)
        else:
            problems.extend(_surprise(source, place, *words, None) for place, words in retried.items())
            around = {place[:length] for place in left_out for length in range(len(place) + 1)}
            return Understood(
                file, frozenset(left_out), tuple(problems), frozenset(surprised), frozenset(around)
            )
        failed: list[Place] = []
        for detail in details:
            place = tuple(detail["loc"])
            value = _value_at(data, place)
            written = source.written_otherwise(place, value)
            if attempt == 0 and written is not None and detail["type"] != "extra_forbidden":
                retried[place] = (written, reading(value))
                surprised.add(place)
                _put(data, place, written)
                continue
            if place in retried:
                problems.append(_surprise(source, place, *retried.pop(place), _wrong(detail)))
            elif attempt == 0:
                problems.append(_problem(source, detail, place))
            failed.append(place[:-1] if detail["type"] == "missing" else place)
        left_out.update(failed)
        _remove(data, failed)
    return Understood(models.FileModel(), frozenset({()}), tuple(problems))  # pragma: no cover - it shrinks


def problem_at(
    source: Source, place: Place, message: str, repair: str, severity: Severity = Severity.ERROR
) -> Problem:
    """Make a problem at a place: its line, and the row or dotted place that a person knows it by."""
    return Problem(severity, source.name, source.line(place), row_name(place), message, repair)


def row_name(place: Place) -> str:
    """Return the row's key as written for a place within a row, else the dotted place."""
    if place[:1] == ("routes",) and len(place) > 1:
        return shown(str(place[1]).strip(), 120)
    return dotted(place)


def subject(place: Place) -> str:
    """Return what a sentence about a place begins with: the key, dotted within its row."""
    if place[:1] == ("routes",):
        return dotted(place[2:])
    inner = [step for step in place[-2:] if isinstance(step, int) or step is place[-1]]
    if place and isinstance(place[-1], int):
        return dotted(place[-2:])
    return dotted(tuple(inner[-1:]))


def begin(place: Place) -> str:
    """Return the subject with a colon, or nothing where the row itself is the subject."""
    name = subject(place)
    return f"{name}: " if name else ""


def _refuse_empty(source: Source, data: dict[str, Any]) -> tuple[list[Problem], set[Place]]:
    problems, left_out = [], set()
    for place in [place for place in source.scalars if source.is_empty(place)]:
        if place in _NULL_MAY_STAND or (len(place) == 2 and place[0] == "routes"):
            continue
        if _value_at(data, place) is None and _is_known(place):
            name = subject(place)
            repair = "write a value, or leave the key out"
            problems.append(problem_at(source, place, f"{name} has no value", repair))
            left_out.add(place)
    _remove(data, left_out)
    return problems, left_out


def _is_known(place: Place) -> bool:
    """Tell whether some level knows a key; an unknown one has a problem of its own."""
    return any(place[-1] in model.model_fields for _, model in _LEVELS) or place[-1] in ("key", "new", "url")


def _wrong(detail: ErrorDetails) -> Wrong | None:
    error = detail.get("ctx", {}).get("error")
    return error if isinstance(error, Wrong) else None


def _surprise(source: Source, place: Place, written: str, became: str, wrong: Wrong | None) -> Problem:
    repair = f'write "{written}" in quotes'
    if wrong is not None and wrong.repair:
        repair = f'{wrong.repair} ("{written}" in quotes would be text)'
    return problem_at(source, place, f"{begin(place)}YAML reads {shown(written)} as {became}", repair)


def _problem(source: Source, detail: ErrorDetails, place: Place) -> Problem:
    wrong, kind, name = _wrong(detail), detail["type"], subject(place)
    if wrong is not None:
        return problem_at(source, place, f"{name} {wrong.message}".strip(), wrong.repair)
    if kind == "missing":
        return problem_at(source, place, f"{name} is missing", f"add {place[-1]}")
    if kind == "extra_forbidden":
        return _unknown_key(source, place)
    value = reading(detail["input"])
    if kind in ("list_type", "tuple_type"):
        return problem_at(source, place, f"{name} must be a list, not {value}", "begin each item with `- `")
    if kind in ("model_type", "model_attributes_type", "dict_type"):
        return problem_at(source, place, f"{name} must be a mapping, not {value}", "write keys below it")
    return problem_at(source, place, f"{name} {value} is not understood", "see `gateway schema`")


def _unknown_key(source: Source, place: Place) -> Problem:
    key, level = str(place[-1]), _model_at(place[:-1])
    message = f"{shown(key)} is no key {_where(place[:-1])}"
    at_home = [where for where, model in _LEVELS if key in model.model_fields and model is not level]
    known: Iterable[str] = level.model_fields if level is not None else ()
    if len(place) == 1 and "/" in key:
        return problem_at(source, place, message, "rows belong under routes: indent it there")
    meant = nearest(key, known)
    if at_home:
        repair = f"{key} belongs {listed(at_home)}"
    elif meant is not None:
        repair = f"did you mean {meant}?"
    else:
        elsewhere = [(nearest(key, model.model_fields, cutoff=0.8), where) for where, model in _LEVELS]
        found = next(((word, where) for word, where in elsewhere if word), None)
        repair = f"did you mean {found[0]}, which belongs {found[1]}?" if found else f"write {listed(known)}"
    return problem_at(source, place, message, repair)


def _model_at(place: Place) -> type[BaseModel] | None:
    """Return the model whose keys stand at a place."""
    steps = [step for step in place if not isinstance(step, int)]
    head = steps[:2] if steps[:1] == ["routes"] else steps[:1]
    within = steps[2:] if steps[:1] == ["routes"] else steps[1:]
    if not head:
        return models.FileModel
    if head[0] in ("routes", "defaults"):
        row: Mapping[str, type[BaseModel]] = {
            "rollout": models.RolloutModel,
            "compare": models.RuleModel,
            "pin": models.PinModel,
            "equivalences": models.EquivalencesModel,
        }
        if within:
            return row.get(str(within[0]))
        return models.DefaultsModel if head[0] == "defaults" else models.RowModel
    if head[0] == "backends" and within:
        return models.BackendModel
    if head[0] == "backends":
        return models.BackendsModel
    section: Mapping[str, type[BaseModel]] = {
        "server": models.ServerModel,
        "events": models.WebhookModel,
        "compare": models.CompareModel,
    }
    return section.get(str(head[0]))


def _where(place: Place) -> str:
    if not place:
        return "at the top of the file"
    if place[0] == "routes":
        return "of a row" if len(place) == 2 else f"of {dotted(place[2:])}"
    return f"of {dotted(place)}"


def _value_at(data: Any, place: Place) -> Any:
    for step in place:
        try:
            data = data[step]
        except (KeyError, IndexError, TypeError):
            return None
    return data


def _put(data: Any, place: Place, value: object) -> None:
    container = _value_at(data, place[:-1])
    if isinstance(container, dict | list):
        container[place[-1]] = value  # type: ignore[index]  # the place leads into this very container


def _remove(data: dict[str, Any], places: Iterable[Place]) -> None:
    """Take values out, the last items of lists first, so that the places of the others stay true."""
    unique = set(places)
    for place in sorted(unique, key=lambda place: [_rank(step) for step in place], reverse=True):
        _remove_one(data, place)


def _remove_one(data: dict[str, Any], place: Place) -> None:
    while place:
        container, last = _value_at(data, place[:-1]), place[-1]
        if isinstance(container, dict) and last in container:
            del container[last]
            return
        if isinstance(container, list) and isinstance(last, int) and last < len(container):
            del container[last]
            return
        place = place[:-1]  # what failed was made from something shorter, such as one text for a list


def _rank(step: str | int) -> tuple[int, int, str]:
    return (0, step, "") if isinstance(step, int) else (1, 0, step)
