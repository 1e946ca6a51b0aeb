"""Work out the splices that make one row say a new stage, weight or sample, however it is written.

In one line, in quotes, within braces, as a block with comments, or empty: what stands around the new
words stays. Whether the result means what was asked for is judged by :mod:`gateway.table.edit`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import yaml

from gateway.errors import EditError
from gateway.table.layout import Splice, end, indent, line_end, line_start, start
from gateway.table.spec import Stage

if TYPE_CHECKING:
    from gateway.table.layout import Layout, Row


@dataclass(frozen=True, slots=True)
class Change:
    """Say what a row shall be: its stage, and perhaps its weight and sample (basis points).

    A weight or sample of None keeps what the row says, where it fits the stage.
    """

    stage: Stage
    weight_bp: int | None = None
    sample_bp: int | None = None


def _percent(basis_points: int) -> str:
    return f"{basis_points / 100:g}%"


def one_line(change: Change, weight: str | None = None, sample: str | None = None) -> str:
    """Write a row in one line; ``weight`` and ``sample`` are what it said before and may keep."""
    if change.weight_bp is not None:
        weight = _percent(change.weight_bp)
    if change.sample_bp is not None:
        sample = _percent(change.sample_bp)
    if change.stage is Stage.CANARY and sample is not None:
        middle = f"weight: {weight}, " if weight is not None else ""
        return f"{{stage: canary, {middle}sample: {sample}}}"
    percentage = weight if change.stage is Stage.CANARY else sample
    return change.stage.value if percentage is None else f"{change.stage.value} {percentage}"


def change_row(layout: Layout, row: Row, change: Change) -> list[Splice]:
    """Return the splices that change a row; none when it says so already."""
    if isinstance(row.value, yaml.ScalarNode):
        return _change_scalar(layout.text, row.value, change)
    if isinstance(row.value, yaml.MappingNode):
        return _change_mapping(layout, row.value, change)
    raise EditError(f"{row.key.text} is neither a stage nor a mapping")


def _change_scalar(text: str, node: yaml.ScalarNode, change: Change) -> list[Splice]:
    stage, _, percentage = node.value.strip().partition(" ")
    kept = percentage.strip() or None
    is_same = stage == change.stage
    written = one_line(
        change,
        weight=kept if is_same and change.stage is Stage.CANARY else None,
        sample=kept if is_same and change.stage is not Stage.CANARY else None,
    )
    if node.value == written:
        return []
    return [_replace_scalar(text, node, written)]


def _replace_scalar(text: str, node: yaml.ScalarNode, written: str) -> Splice:
    """Replace a scalar's text within its quotes; a mapping in its place stands without quotes."""
    begin, stop = start(node), end(text, node)
    if begin == stop:
        return Splice(begin, stop, f" {written}")
    if node.style in ("'", '"') and not written.startswith("{"):
        return Splice(begin + 1, stop - 1, written)
    return Splice(begin, stop, written)


def _change_mapping(layout: Layout, node: yaml.MappingNode, change: Change) -> list[Splice]:
    pairs: dict[str, tuple[yaml.ScalarNode, yaml.ScalarNode]] = {
        key.value: (key, value) for key, value in node.value
    }
    text = layout.text
    wishes: dict[str, str | None] = {"stage": change.stage.value}
    if change.stage is not Stage.CANARY:
        wishes["weight"] = None
    elif change.weight_bp is not None:
        wishes["weight"] = _percent(change.weight_bp)
    if change.sample_bp is not None:
        wishes["sample"] = _percent(change.sample_bp)
    splices: list[Splice] = []
    added: list[str] = []
    for key, wish in wishes.items():
        pair = pairs.get(key)
        if pair is None and wish is not None:
            added.append(f"{key}: {wish}")
        elif pair is not None and wish is None and not ("stage" not in pairs and len(pairs) == 1):
            splices.append(_remove(text, node, pair))
        elif pair is not None and wish is not None and pair[1].value != wish:
            splices.append(_replace_scalar(text, pair[1], wish))
    if "stage" not in pairs and len(pairs) == 1 and "weight" in pairs and wishes.get("weight", "") is None:
        key_node, value = pairs["weight"]
        return [Splice(start(key_node), end(text, value), ", ".join(added) if node.flow_style else added[0])]
    if added:
        splices.append(_insert(layout, node, added, pairs.get("stage")))
    return splices


def _insert(
    layout: Layout,
    node: yaml.MappingNode,
    added: list[str],
    stage: tuple[yaml.ScalarNode, yaml.ScalarNode] | None,
) -> Splice:
    """Insert keys behind ``stage`` when the row has it, else before its first key."""
    text = layout.text
    if not node.value:
        return Splice(start(node), end(text, node), "{" + ", ".join(added) + "}")
    if node.flow_style:
        if stage is not None:
            place = end(text, stage[1])
            return Splice(place, place, "".join(f", {words}" for words in added))
        place = start(node.value[0][0])
        return Splice(place, place, "".join(f"{words}, " for words in added))
    between = layout.newline + indent(text, node.value[0][0])
    if stage is not None:
        place = line_end(text, end(text, stage[1]))
        return Splice(place, place, "".join(between + words for words in added))
    place = start(node.value[0][0])
    return Splice(place, place, "".join(words + between for words in added))


def _remove(text: str, node: yaml.MappingNode, pair: tuple[yaml.ScalarNode, yaml.ScalarNode]) -> Splice:
    """Take a key and its value out; a comment behind them stays."""
    begin, stop = start(pair[0]), end(text, pair[1])
    index = next(index for index, (key, _) in enumerate(node.value) if key is pair[0])
    if node.flow_style:
        before = end(text, node.value[index - 1][1]) if index else begin
        if index and "#" not in text[before:begin]:
            return Splice(before, stop, "")
        if index + 1 < len(node.value):
            return Splice(begin, start(node.value[index + 1][0]), "")
        return Splice(begin, stop, "")
    indent(text, pair[0])
    first, last = line_start(text, begin), line_end(text, stop)
    behind = text[stop:last]
    if behind.strip():
        return Splice(begin, stop + len(behind) - len(behind.lstrip()), "")
    if last < len(text):
        return Splice(first, last + (2 if text.startswith("\r\n", last) else 1), "")
    return Splice(first - (2 if text[:first].endswith("\r\n") else 1), last, "")
