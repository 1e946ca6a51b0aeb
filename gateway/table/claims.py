"""Settle which rows claim which rules of the legacy app, and with which converters they then match.

A row claims the rules of the same shape that share a method with it. What nobody claims stays the
legacy app's, rule by rule and method by method, as implicit rows.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gateway.table.converters import covers, signature
from gateway.table.template import TemplateError, merge_slashes, parse_rule, spell_converter

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from gateway.table.inventory import Converter, LegacyInventory, LegacyRule
    from gateway.table.template import Template


@dataclass(slots=True, eq=False)
class Claimable:
    """Be one legacy rule, and what of it is still unclaimed.

    ``methods`` are the ones it was written for (None: any): HEAD beside GET, and OPTIONS, are Flask's
    additions. ``taken`` are those that rows have claimed whole; ``is_taken`` says that all are.
    """

    rule: LegacyRule
    template: Template
    methods: frozenset[str] | None
    taken: set[str] = field(default_factory=set)
    is_taken: bool = False

    @property
    def place(self) -> str:
        """Return the host or subdomain that the rule is bound to; empty for none."""
        return self.rule.host or self.rule.subdomain

    def shares(self, methods: frozenset[str] | None) -> bool:
        """Tell whether the rule and a row with ``methods`` have a method in common."""
        if methods is None or self.rule.methods is None:
            return True
        return bool(self.rule.methods & methods)


@dataclass(frozen=True, slots=True)
class Claim:
    """Be what one row claims: the template with its converters settled, and the rules.

    ``equal`` are the rules with the very same converters, ``others`` those of the shape whose converters
    the row overrides with wider ones. ``ambiguous`` holds the spellings to choose from when the row must
    write one.
    """

    template: Template
    equal: tuple[Claimable, ...] = ()
    others: tuple[Claimable, ...] = ()
    ambiguous: tuple[str, ...] = ()

    @property
    def rules(self) -> tuple[Claimable, ...]:
        """Return every rule that the row claims."""
        return self.equal or self.others


def read_rules(legacy: LegacyInventory) -> tuple[list[Claimable], list[str]]:
    """Return the legacy app's HTTP rules ready for claiming, and a message for each that cannot be read."""
    claimables: list[Claimable] = []
    messages: list[str] = []
    for rule in legacy.rules:
        if rule.is_websocket:
            continue
        text = merge_slashes(rule.rule) if legacy.has_merge_slashes else rule.rule
        try:
            template = parse_rule(text, rule.converters, legacy.make_converter)
        except TemplateError as error:
            messages.append(str(error))
            continue
        claimables.append(Claimable(rule, template, own_methods(rule.methods)))
    return claimables, messages


def own_methods(methods: frozenset[str] | None) -> frozenset[str] | None:
    """Return the methods that a rule was written for, without those that Flask adds by itself."""
    if methods is None:
        return None
    own = methods - {"OPTIONS"} or methods
    return own - {"HEAD"} if "GET" in own else own


def settle(template: Template, methods: frozenset[str] | None, candidates: Iterable[Claimable]) -> Claim:
    """Settle one row's claim among the rules of its shape; mark what it takes whole."""
    sharing = [each for each in candidates if each.shares(methods)]
    if not sharing:
        return Claim(template)
    is_open = [parameter.is_open for parameter in template.parameters]
    fitting = [each for each in sharing if _fits(template, each.template)]
    if any(is_open):
        pool = fitting or sharing
        choices: dict[tuple[object, ...], Claimable] = {}
        for each in pool:
            choices.setdefault(_open_signature(each.template, is_open), each)
        if len(choices) > 1:
            spellings = tuple(_spellings(template, choices.values(), is_open))
            return Claim(template, others=tuple(pool), ambiguous=spellings)
        adopted = next(iter(choices.values())).template
        template = template.with_converters(
            other.converter if parameter.is_open else parameter.converter
            for parameter, other in zip(template.parameters, adopted.parameters, strict=True)
        )
    equal = tuple(each for each in sharing if _signature(each.template) == _signature(template))
    wider = tuple(each for each in sharing if each not in equal and _covers(template, each.template))
    claim = Claim(template, equal, wider)
    for each in claim.rules:
        _take(each, methods)
    return claim


def _take(claimable: Claimable, methods: frozenset[str] | None) -> None:
    if methods is None:
        claimable.is_taken = True
        return
    claimable.taken |= methods
    if claimable.methods is not None and claimable.methods <= claimable.taken:
        claimable.is_taken = True


def _fits(row: Template, rule: Template) -> bool:
    """Tell whether the converters that a row wrote are the rule's."""
    return all(
        mine.is_open or signature(mine.converter) == signature(theirs.converter)
        for mine, theirs in zip(row.parameters, rule.parameters, strict=True)
    )


def _covers(row: Template, rule: Template) -> bool:
    return all(
        covers(mine.converter, theirs.converter)
        for mine, theirs in zip(row.parameters, rule.parameters, strict=True)
    )


def _signature(template: Template) -> tuple[object, ...]:
    return tuple(signature(parameter.converter) for parameter in template.parameters)


def _open_signature(template: Template, is_open: Sequence[bool]) -> tuple[object, ...]:
    every = zip(template.parameters, is_open, strict=True)
    return tuple(signature(parameter.converter) for parameter, is_asked in every if is_asked)


def _spellings(row: Template, rules: Iterable[Claimable], is_open: Sequence[bool]) -> Iterable[str]:
    """Yield the parameters of a row as each of several rules would have them written."""
    for each in rules:
        words = [
            f"{{{mine.name}:{_word(theirs.converter)}}}"
            for mine, theirs, is_asked in zip(row.parameters, each.template.parameters, is_open, strict=True)
            if is_asked
        ]
        yield f"{', '.join(words)} for {each.rule.rule}"


def _word(converter: Converter) -> str:
    return spell_converter(converter) or "str"
