"""Keep of a description's components what its kept operations reach, directly or through one another."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_PREFIX: Final = "#/components/"


def prune_components(components: Mapping[str, Any], *parts: Mapping[str, Any]) -> dict[str, Any]:
    """Return the components that ``parts`` refer to (``$ref``, discriminators, security schemes)."""
    kept: set[tuple[str, str]] = set()
    waiting = [place for part in parts for place in _references(part)]
    while waiting:
        place = waiting.pop()
        section, name = place
        if place not in kept and name in components.get(section, {}):
            kept.add(place)
            waiting.extend(_references(components[section][name]))
    pruned = {
        section: {name: value for name, value in entries.items() if (section, name) in kept}
        for section, entries in components.items()
        if isinstance(entries, dict)
    }
    return {section: entries for section, entries in pruned.items() if entries}


def _references(value: Any) -> Iterator[tuple[str, str]]:
    stack = [value]
    while stack:
        node = stack.pop()
        if isinstance(node, list):
            stack.extend(node)
        elif isinstance(node, dict):
            stack.extend(node.values())
            for requirement in _listed(node.get("security")):
                yield from (("securitySchemes", name) for name in requirement)
        elif isinstance(node, str) and node.startswith(_PREFIX):
            # Any text of this form counts, so that a discriminator's mapping keeps what it names.
            section, _, name = node.removeprefix(_PREFIX).partition("/")
            yield section, name.partition("/")[0].replace("~1", "/").replace("~0", "~")


def _listed(value: Any) -> list[dict[str, Any]]:
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []
