"""Turn the rows into :class:`RouteSpec` values: defaults filled in, and each row held against itself.

A row's own keys are judged (a weight at stage new is an error, for it would be believed); what comes
from ``defaults`` is a wish for the rows it fits, and is never complained about.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

from gateway.errors import Problem, Severity
from gateway.table.grammar import RowKey, parameter_names, parse_row_key, parse_stage
from gateway.table.models import EQUIVALENCES, RowModel
from gateway.table.moves import can_shadow
from gateway.table.spec import (
    ANY_METHOD,
    DEFAULT_STICKY,
    WEBSOCKET,
    CompareRule,
    KeySource,
    Pins,
    Rollout,
    RouteSpec,
    Stage,
    sample_at,
)
from gateway.table.spelling import Wrong
from gateway.table.translation import Understood, problem_at, row_name
from gateway.table.values import step_text

if TYPE_CHECKING:
    from gateway.table.models import DefaultsModel, RolloutModel, RuleModel
    from gateway.table.source import Place, Source
    from gateway.table.spec import RuleName

_SAFE_METHODS = frozenset({"GET", "HEAD"})
_RANK = {Stage.LEGACY: 0, Stage.SHADOW: 1, Stage.CANARY: 2, Stage.NEW: 3, Stage.RETIRED: 4}


class RowReader:
    """Read the rows of one file, collecting problems."""

    def __init__(self, source: Source, understood: Understood) -> None:
        self.source = source
        self.understood = understood
        self.defaults = understood.file.defaults
        self.problems: list[Problem] = []

    def read(self) -> tuple[RouteSpec, ...]:
        """Return every row whose key and stage could be read, in the order of the file."""
        self._check_defaults()
        specs: list[RouteSpec] = []
        seen: dict[str, str] = {}
        raw = (self.source.data or {}).get("routes")
        for written in raw if isinstance(raw, dict) else ():
            place: Place = ("routes", written)
            try:
                key = parse_row_key(written)
            except Wrong as wrong:
                self._error(place, wrong.message, wrong.repair)
                continue
            first = seen.setdefault(key.text, written)
            if first != written:
                earlier: Place = ("routes", first)
                message = f"is the same row as {row_name(earlier)} on line {self.source.line(earlier)}"
                self._error(place, message, "keep one of the two")
                continue
            model = self.understood.file.routes.get(written)
            if model is None:
                continue
            spec = self._row(key, written, model)
            if (*place, "stage") not in self.understood.left_out:
                specs.append(spec)
        return tuple(specs)

    def implicit(self) -> RouteSpec:
        """Return what a rule of the legacy app gets that no row lists: the defaults, at stage legacy."""
        row = _Row(self, ("defaults",), RowModel())
        return replace(
            row.spec(RowKey((), "/")),
            stage=Stage.LEGACY,
            weight_bp=0,
            sample_bp=0,
            pins=Pins(),
            has_fallback=False,
            rollout=None,
        )

    def _row(self, key: RowKey, written: str, own: RowModel) -> RouteSpec:
        row = _Row(self, ("routes", written), own)
        spec = row.spec(key)
        if not self.understood.has_left_out(("routes", written)):
            row.check_whole(spec)
        row.check_parts(spec)
        return spec

    def _check_defaults(self) -> None:
        if self.defaults.new_path is not None:
            message = "new_path in defaults would send every row to one path"
            self._error(("defaults", "new_path"), message, "write it on the row it is for")
        row = _Row(self, ("defaults",), self.defaults)
        row.check_rules()
        row.check_equivalences()

    def _error(self, place: Place, message: str, repair: str) -> None:
        self.problems.append(problem_at(self.source, place, message, repair))


class _Row:
    """Be one row while it is read, or the defaults while they are checked."""

    def __init__(self, reader: RowReader, place: Place, own: RowModel) -> None:
        self.reader = reader
        self.place = place
        self.own = own
        self.defaults: DefaultsModel = reader.defaults

    def value(self, name: str, default: Any = None) -> Any:
        """Return what the row says (null: nothing), else what ``defaults`` say, else ``default``."""
        source = self.own if name in self.own.model_fields_set else self.defaults
        found = getattr(source, name)
        return default if found is None else found

    def spec(self, key: RowKey) -> RouteSpec:
        """Return the row with defaults filled in."""
        stage = self.value("stage", Stage.LEGACY)
        written_sample_bp = self.value("sample")
        return RouteSpec(
            key=key.text,
            written=row_name(self.place),
            line=self.reader.source.line(self.place),
            methods=key.methods,
            path=key.path,
            stage=stage,
            weight_bp=self.value("weight", 0) if stage is Stage.CANARY else 0,
            sample_bp=sample_at(stage, written_sample_bp),
            written_sample_bp=written_sample_bp,
            sticky=tuple(self.value("sticky", DEFAULT_STICKY)),
            group=self.value("group"),
            pins=self._pins(),
            timeout_s=self.value("timeout", 30.0),
            has_fallback=self.value("fallback") == "legacy",
            safe=self.value("safe"),
            writes=self.value("writes", "skip"),
            new_path=self.own.new_path,
            rate_limits=self.value("rate_limit", ()),
            rate_key=tuple(self.value("rate_key", (KeySource("client"),))),
            body_limit_bytes=self.value("body_limit"),
            allow_encoded_slash=self.value("allow_encoded_slash", False),
            rollout=self._rollout(key, stage),
            compare=self._rules(),
            equivalences=self._equivalences(),
            owner=self.value("owner"),
            ticket=self.value("ticket"),
            note=self.value("note"),
        )

    def _pins(self) -> Pins:
        model = self.value("pin")
        return Pins() if model is None else Pins(tuple(model.new), tuple(model.legacy))

    def _rollout(self, key: RowKey, stage: Stage) -> Rollout | None:
        """Return how the row moves by itself; what ``defaults`` say holds once a person started the row."""
        is_started = stage is not Stage.LEGACY and WEBSOCKET not in key.methods
        if "rollout" in self.own.model_fields_set or is_started:
            return _rollout(self.value("rollout"))
        return None

    def _rules(self) -> tuple[CompareRule, ...]:
        defaults: Place = ("defaults",)
        lists = [(defaults, self.defaults.compare), (self.place, self.own.compare)]
        return tuple(
            _rule(model, self.reader.source.line((*place, "compare", index)))
            for place, models in lists
            for index, model in enumerate(models or ())
        )

    def _equivalences(self) -> frozenset[str]:
        switches = dict(EQUIVALENCES)
        for model in (self.defaults, self.own):
            if model.strict is not None:
                switches = dict.fromkeys(switches, False) if model.strict else dict(EQUIVALENCES)
            named = model.equivalences
            for name in named.model_fields_set if named is not None else ():
                is_on = getattr(named, name)
                switches[name] = EQUIVALENCES[name] if is_on is None else is_on
        return frozenset(name for name, is_on in switches.items() if is_on)

    def check_whole(self, spec: RouteSpec) -> None:
        """Report what the row's keys say against each other; only for a row of which all was understood."""
        self._check_stage(spec)
        self._check_comparison(spec)
        self._check_rollout(spec)

    def check_parts(self, spec: RouteSpec) -> None:
        """Report what can be judged even where another key of the row failed."""
        self.check_rules()
        self.check_equivalences()
        self._check_callers(spec)

    def _check_stage(self, spec: RouteSpec) -> None:
        stage = spec.stage
        if self.own.weight is not None and stage is not Stage.CANARY:
            repair = "write sample" if stage is Stage.SHADOW else "remove it, or write stage: canary"
            self._error("weight", f"weight means nothing at {stage}, only in canary", repair)
        if self.own.sample is not None and stage in (Stage.LEGACY, Stage.RETIRED):
            self._warning("sample", f"sample means nothing at {stage}", "remove it, or leave it for later")
        if self.own.fallback == "legacy" and stage is Stage.RETIRED:
            self._warning("fallback", "fallback at retired leads to code that should be gone", "write none")
        if WEBSOCKET in spec.methods and stage not in (Stage.NEW, Stage.RETIRED):
            self._error("stage", f"websockets at {stage}: only new can serve them", f"write {spec.key}: new")
        if stage is Stage.CANARY and self.value("weight") is None and spec.rollout is None:
            self._warning("stage", "canary without a weight sends nobody to new", "write it like canary 1%")

    def _check_comparison(self, spec: RouteSpec) -> None:
        is_comparable, methods = can_shadow(spec), ",".join(spec.methods)
        if spec.stage is Stage.SHADOW and WEBSOCKET not in spec.methods:
            if not is_comparable:
                message = f"shadow compares nothing: {methods} may write"
                self._warning("stage", message, "write writes: rehearse, or safe: true")
            elif spec.sample_bp == 0:
                message = "shadow with a sample of 0% compares nothing"
                self._warning("sample", message, "raise it, or write legacy")
        elif self.own.sample and spec.sample_bp and not is_comparable:
            message = f"sample compares nothing: {methods} may write"
            self._warning("sample", message, "write writes: rehearse, or safe: true")
        elif self.own.sample and spec.stage is Stage.NEW and spec.writes == "rehearse" and _writes_only(spec):
            message = f"sample compares nothing at new: when {methods} is answered, new has made the write"
            self._warning("sample", message, "remove it, or leave it for shadow and canary")
        if self.own.writes == "rehearse" and (spec.safe is True or set(spec.methods) <= _SAFE_METHODS):
            self._warning("writes", "writes: rehearse on a row that writes nothing", "remove it")
        if self.own.rate_key is not None and not spec.rate_limits:
            message = "rate_key without rate_limit limits nothing"
            self._warning("rate_key", message, "add rate_limit, or remove it")

    def _check_rollout(self, spec: RouteSpec) -> None:
        if self.own.rollout is None or spec.rollout is None:
            return
        first, last = spec.rollout.steps[0], spec.rollout.steps[-1]
        if WEBSOCKET in spec.methods:
            self._error("rollout", "websockets cannot be compared, so they cannot roll out", "remove it")
        elif (_RANK[last.stage], last.weight_bp) <= (_RANK[spec.stage], spec.weight_bp):
            message = f"the rollout ends at {step_text(last)}, which the row has reached"
            self._warning("rollout", message, "remove the rollout, or add steps")
        elif spec.stage is Stage.LEGACY and first.stage is not Stage.SHADOW and can_shadow(spec):
            message = f"the rollout would jump from legacy to {step_text(first)} without evidence"
            self._error("rollout", message, "write stage: shadow, or shadow as the first step")

    def _check_callers(self, spec: RouteSpec) -> None:
        for key in ("sticky", "rate_key"):
            for index, source in enumerate(getattr(self.own, key) or ()):
                self._check_parameter(spec, source, key, index)
        pin = self.own.pin
        if pin is None:
            return
        for index, entry in enumerate(pin.legacy):
            if entry in pin.new:
                message = f"pin has {entry.source}={entry.value} on both sides"
                self._error("pin", message, "keep one of the two", "legacy", index)
        for side, entries in (("new", pin.new), ("legacy", pin.legacy)):
            for index, entry in enumerate(entries):
                self._check_parameter(spec, entry.source, "pin", side, index)

    def _check_parameter(self, spec: RouteSpec, source: KeySource, key: str, *within: str | int) -> None:
        names = parameter_names(spec.path)
        if source.kind == "path" and source.name not in names:
            known = f"its parameters are {', '.join(sorted(names))}" if names else "it has no parameters"
            self._error(key, f"{key} {source}: the path has no such parameter", known, *within)

    def check_rules(self) -> None:
        """Report comparison rules whose keys do not fit each other."""
        if self.reader.understood.has_left_out((*self.place, "compare")):
            return
        for index, rule in enumerate(self.own.compare or ()):
            for key, owner, example in (
                ("by", "tolerance", "by: 0.01"),
                ("regex", "matches", 'regex: "[0-9]+"'),
            ):
                is_given, name = getattr(rule, key) is not None, f"compare[{index}].{key}"
                if rule.rule == owner and not is_given:
                    message = f"{name} is missing, which {owner} needs"
                    self._error("compare", message, f"write {example}", index)
                elif rule.rule != owner and is_given:
                    repair = f"remove it, or write rule: {owner}"
                    self._error("compare", f"{name} means nothing for {rule.rule}", repair, index, key)

    def check_equivalences(self) -> None:
        """Report equivalences that are switched on beside ``strict: true``."""
        named = self.own.equivalences
        for name in sorted(named.model_fields_set) if self.own.strict and named is not None else ():
            if getattr(named, name):
                message = f"equivalences.{name} is on beside strict: true, which turns all off"
                self._error("equivalences", message, "remove one of the two", name)

    def _error(self, key: str, message: str, repair: str, *within: str | int) -> None:
        place = (*self.place, key, *within)
        self.reader.problems.append(problem_at(self.reader.source, place, message, repair))

    def _warning(self, key: str, message: str, repair: str) -> None:
        place = (*self.place, key)
        problem = problem_at(self.reader.source, place, message, repair, Severity.WARNING)
        self.reader.problems.append(problem)


def _writes_only(spec: RouteSpec) -> bool:
    """Tell whether no request of the row is known to write nothing."""
    return spec.safe is not True and _SAFE_METHODS.isdisjoint(spec.methods) and ANY_METHOD not in spec.methods


def _rule(model: RuleModel, line: int) -> CompareRule:
    return CompareRule(
        at=model.at,
        rule=cast("RuleName", model.rule),
        reason=model.reason,
        until=model.until,
        ticket=model.ticket,
        by=model.by,
        regex=model.regex,
        line=line,
    )


def _rollout(model: RolloutModel | None) -> Rollout | None:
    if model is None:
        return None
    return Rollout(
        steps=tuple(model.steps),
        mismatch_budget=model.mismatch_budget,
        min_requests=model.min_requests,
        min_time_s=model.min_time,
        on_fail=parse_stage(model.on_fail),
        alpha_promote=model.alpha_promote,
        alpha_rollback=model.alpha_rollback,
    )
