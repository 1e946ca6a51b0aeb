"""Give every kind of value in routing.yaml its pydantic type: how it is read, and its JSON Schema.

Each type pairs a reader of :mod:`gateway.table.grammar` or :mod:`gateway.table.units` with the shape
that an editor is told. Readers raise :class:`Wrong`, whose words reach the person; pydantic's never do.
"""

from __future__ import annotations

import re
from datetime import date, datetime
from functools import partial
from ipaddress import IPv4Network, IPv6Network, ip_network
from itertools import pairwise
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, PlainValidator
from pydantic import WithJsonSchema as Shape

from gateway.table import grammar, units
from gateway.table.spec import KeySource, Pin, RateLimit, RolloutStep, Stage
from gateway.table.spelling import Wrong, flag, one_word, reading, repair_for_text, shown, text, whole

RULES = ("ignore", "ignore_presence", "unordered", "tolerance", "instant", "matches", "map")
ENV_NAME = r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}"

PERCENT_PATTERN = r"^[0-9]{1,3}(\.[0-9]+)?%$"
_DURATION = r"^([0-9]+(\.[0-9]+)?(ms|s|m|h|d))+$"
_KEY_SOURCE = r"^(client|(session|jwt|header|cookie|query|path):.+)$"
SHORTHAND_PATTERN = r"^\s*(legacy|retired|(shadow|canary|new)(\s+[0-9]{1,3}(\.[0-9]+)?\s?%)?)\s*$"


def words_type(*words: str) -> Any:
    return PlainValidator(partial(_one_of, words)), Shape({"type": "string", "enum": list(words)})


def _one_of(words: tuple[str, ...], value: object) -> str:
    if value is False and "none" in words:
        raise Wrong("false is not one of its words", "write none")
    return one_word(value, words)


def whole_type(minimum: int, maximum: int) -> Any:
    shape = Shape({"type": "integer", "minimum": minimum, "maximum": maximum})
    return PlainValidator(lambda value: whole(value, minimum, maximum)), shape


def _or_none(read: Any, *words: str) -> Any:
    """Let a value be null, or one of the words that say the same."""
    return lambda value: None if value is None or value in words else read(value)


def as_list(value: object) -> object:
    return [value] if isinstance(value, str | dict) else value


def not_empty(values: list[Any]) -> list[Any]:
    if not values:
        raise Wrong("is an empty list", "write at least one, or leave the key out")
    return values


def read_date(value: object) -> date:
    if isinstance(value, datetime):
        raise Wrong("must be a date without a time", f"write {value.date().isoformat()}")
    if isinstance(value, date):
        return value
    try:
        return date.fromisoformat(value if isinstance(value, str) else "")
    except ValueError:
        raise Wrong(f"{shown(value)} is not a date", "write a day that exists, like 2027-03-01") from None


def read_number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e300:
        raise Wrong(f"{shown(value)} is not a number above zero", "write it like 0.01")
    return float(value)


def read_alpha(value: object) -> float:
    alpha = units.fraction(value) if isinstance(value, str) else read_number(value)
    if not 0 < alpha < 0.5:
        raise Wrong(f"{shown(value)} is not an error rate", "write a number between 0 and 0.5, like 0.05")
    return alpha


def read_budget(value: object) -> float:
    budget = units.fraction(value)
    if not 0 < budget < 1:
        raise Wrong(f"{shown(value)} is no budget", "write a percentage above 0% and below 100%, like 0.1%")
    return budget


def read_regex(value: object) -> str:
    written = text(value)
    try:
        re.compile(written)
    except (re.error, RecursionError, OverflowError) as error:
        raise Wrong(f"is not a regular expression: {shown(error)}", "mend it") from None
    return written


def rising(steps: list[RolloutStep]) -> list[RolloutStep]:
    rank = {Stage.SHADOW: 0, Stage.CANARY: 1, Stage.NEW: 2}
    for before, after in pairwise(steps):
        if (rank[after.stage], after.weight_bp) <= (rank[before.stage], before.weight_bp):
            message = f"do not rise: {step_text(after)} stands after {step_text(before)}"
            raise Wrong(message, "order them, each step further than the one before")
    return steps


def step_text(step: RolloutStep) -> str:
    """Write a rollout's step as the table does: ``canary 2.5%``."""
    return f"{step.stage} {step.weight_bp / 100:g}%" if step.stage is Stage.CANARY else str(step.stage)


def read_network(value: object) -> IPv4Network | IPv6Network:
    if not isinstance(value, str):
        raise Wrong(f"must be an address or network, not {reading(value)}", repair_for_text(value))
    if value in ("*", "all", "any"):
        raise Wrong("would believe everyone", "write the proxies' addresses, or 0.0.0.0/0 if that is meant")
    try:
        return ip_network(value)
    except ValueError:
        pass
    try:
        repair = f"write {ip_network(value, strict=False)}"
    except ValueError:
        raise Wrong(f"{shown(value)} is no address", "write it like 10.0.0.0/8 or 127.0.0.1") from None
    raise Wrong(f"{shown(value)} has bits beyond its prefix", repair)


def _public_path_or_off(value: object) -> str | None:
    if value is False or value == "off":
        return None
    if value is True:
        raise Wrong("true is not a path", "write a path, or off")
    return grammar.check_public_path(value)


ErrorShape = tuple[Literal["problem", "legacy", "key"], str]


def read_error_shape(value: object) -> ErrorShape:
    if isinstance(value, dict):
        if list(value) != ["key"]:
            raise Wrong("must be a mapping with the one key `key`", "write {key: error}")
        try:
            return "key", text(value["key"])
        except Wrong as wrong:
            raise Wrong(f"key {wrong.message}", wrong.repair) from wrong
    if value == "problem" or value == "legacy":
        return ("problem" if value == "problem" else "legacy"), "error"
    repair = "write problem, legacy or {key: error}"
    raise Wrong(f"{shown(value)} is no shape of an error", repair)


def _secret(value: object) -> str:
    if not isinstance(value, str) or re.fullmatch(ENV_NAME, value.strip()) is None:
        raise Wrong(
            "is written in the file, where secrets never stand", "write ${NAME} and set that variable"
        )
    return value.strip()


def row_keys(value: object) -> object:
    """Turn a shorthand into a row's keys; leave a mapping to the model."""
    if value is None:
        return {}
    if isinstance(value, str):
        return grammar.parse_shorthand(value)
    if not isinstance(value, dict):
        raise Wrong(f"a row must be a stage or a mapping, not {reading(value)}", "write it like canary 5%")
    return value


def defaults_keys(value: object) -> object:
    if isinstance(value, str):
        raise Wrong("must be a mapping", f"write defaults: {{stage: {shown(value.split(' ')[0])}}}")
    return value


def manual(value: object) -> object:
    return None if value in ("manual", "none") else value


def section(value: object) -> object:
    return {} if value is None else value


Text = Annotated[str, PlainValidator(text), Shape({"type": "string", "minLength": 1})]
Flag = Annotated[bool, PlainValidator(flag), Shape({"type": "boolean"})]
Percent = Annotated[
    int,
    PlainValidator(units.percent_bp),
    Shape({"type": "string", "pattern": PERCENT_PATTERN, "examples": ["5%"]}),
]
Duration = Annotated[
    float,
    PlainValidator(units.duration_s),
    Shape({"type": "string", "pattern": _DURATION, "examples": ["30s"]}),
]
Size = Annotated[
    int,
    PlainValidator(units.size_bytes),
    Shape({"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?(KiB|MiB|GiB)$", "examples": ["10MiB"]}),
]
SizeOrNone = Annotated[
    int | None,
    PlainValidator(_or_none(units.size_bytes, "none")),
    Shape({"type": "string", "pattern": r"^(none|[0-9]+(\.[0-9]+)?(KiB|MiB|GiB))$", "examples": ["10MiB"]}),
]
Rates = Annotated[
    tuple[RateLimit, ...] | None,
    PlainValidator(_or_none(units.rate_limits, "none")),
    Shape({"type": "string", "examples": ["100/minute", "10/second;1000/hour"]}),
]
StageWord = Annotated[
    Stage,
    PlainValidator(grammar.parse_stage),
    Shape({"type": "string", "enum": [stage.value for stage in Stage]}),
]
_CALLER = {"type": "string", "pattern": _KEY_SOURCE, "examples": ["session:_user_id", "client"]}
_PIN = {"type": "string", "pattern": r"^[^=]+=.+$", "examples": ["header:x-team=qa"]}


def _one_or_more(shape: dict[str, Any]) -> Shape:
    """Return the shape of a list that may also be written as its one item."""
    return Shape({"anyOf": [shape, {"type": "array", "items": shape}]})


Caller = Annotated[KeySource, PlainValidator(grammar.parse_key_source)]
Callers = Annotated[list[Caller], BeforeValidator(as_list), AfterValidator(not_empty), _one_or_more(_CALLER)]
PinText = Annotated[Pin, PlainValidator(grammar.parse_pin)]
PinTexts = Annotated[list[PinText], BeforeValidator(as_list), _one_or_more(_PIN)]
ImportString = Annotated[
    str,
    PlainValidator(grammar.check_import_string),
    Shape({"type": "string", "pattern": "^[^:]+:.+$", "examples": ["legacy_flask.app:create_app()"]}),
]
PublicPath = Annotated[
    str, PlainValidator(grammar.check_public_path), Shape({"type": "string", "pattern": "^/.+[^/]$"})
]
PathOrOff = Annotated[
    str | None,
    PlainValidator(_public_path_or_off),
    Shape({"anyOf": [{"type": "string", "pattern": "^(/.+|off)$"}, {"const": False}]}),
]
EnvText = Annotated[
    str, PlainValidator(text), Shape({"type": "string", "minLength": 1, "examples": ["${DATABASE_URL}"]})
]
Secret = Annotated[
    str, PlainValidator(_secret), Shape({"type": "string", "pattern": r"^\$\{[A-Za-z_][A-Za-z0-9_]*\}$"})
]
Day = Annotated[date, PlainValidator(read_date), Shape({"type": "string", "format": "date"})]
Regex = Annotated[str, PlainValidator(read_regex), Shape({"type": "string"})]
Distance = Annotated[float, PlainValidator(read_number), Shape({"type": "number", "minimum": 0})]
ComparePlace = Annotated[str, PlainValidator(grammar.check_compare_place), Shape({"type": "string"})]
Step = Annotated[
    RolloutStep,
    PlainValidator(grammar.parse_step),
    Shape({"type": "string", "pattern": r"^(shadow|new|canary\s+[0-9]{1,3}(\.[0-9]+)?%)$"}),
]
Steps = Annotated[list[Step], AfterValidator(not_empty), AfterValidator(rising)]
Budget = Annotated[float, PlainValidator(read_budget), Shape({"type": "string", "pattern": PERCENT_PATTERN})]
Alpha = Annotated[float, PlainValidator(read_alpha), Shape({"type": ["number", "string"]})]
NewPath = Annotated[str, PlainValidator(grammar.check_new_path), Shape({"type": "string", "pattern": "^/"})]
RootPath = Annotated[str, PlainValidator(grammar.check_root_path), Shape({"type": "string"})]
UpstreamUrl = Annotated[
    str, PlainValidator(grammar.check_upstream_url), Shape({"type": "string", "pattern": "^https?://"})
]
Argv = Annotated[
    tuple[str, ...],
    PlainValidator(grammar.check_argv),
    Shape({"type": "array", "items": {"type": "string"}, "minItems": 1}),
]
Network = Annotated[IPv4Network | IPv6Network, PlainValidator(read_network)]
Networks = Annotated[
    list[Network],
    BeforeValidator(as_list),
    _one_or_more({"type": "string", "examples": ["10.0.0.0/8"]}),
]
ErrorShapeValue = Annotated[
    ErrorShape,
    PlainValidator(read_error_shape),
    Shape(
        {
            "anyOf": [
                {"type": "string", "enum": ["problem", "legacy"]},
                {
                    "type": "object",
                    "properties": {"key": {"type": "string", "minLength": 1}},
                    "required": ["key"],
                    "additionalProperties": False,
                },
            ]
        }
    ),
]
