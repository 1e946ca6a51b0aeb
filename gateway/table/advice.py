"""Warn about what works, but not as a person would think; each warning names its repair.

A table of day 0 gives few warnings: a difference that no request can notice is none.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from gateway.errors import Problem, Severity
from gateway.table import converters
from gateway.table.coverage import overlaps
from gateway.table.spec import Stage
from gateway.table.template import Kind, parse_template, spell_converter

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import date

    from gateway.table.answers import Answer
    from gateway.table.claims import Claimable
    from gateway.table.inventory import NewRoute
    from gateway.table.listed import Row, Rows
    from gateway.table.template import Template

_SOON = timedelta(days=14)
_UNLISTED_LIMIT = 20  # so many unlisted routes are named one by one


def advise(rows: Rows, today: date) -> Iterator[Problem]:
    """Yield every warning of a table's rows, and of what no row lists."""
    for row in rows.rows:
        for message, repair in _about(rows, row):
            yield _warning(rows, row.spec.line, row.spec.written or row.spec.key, message, repair)
        yield from _expiring(rows, row, today)
    yield from _unlisted(rows)
    yield from _hidden_by_gateway(rows)
    yield from _unseen(rows)
    yield from _unrehearsed(rows)


def _warning(rows: Rows, line: int, row: str, message: str, repair: str) -> Problem:
    return Problem(Severity.WARNING, rows.spec.source, line, row, message, repair)


def _about(rows: Rows, row: Row) -> Iterator[tuple[str, str]]:
    """Yield message and repair of what is odd about one row."""
    stage = row.spec.stage
    if row.claim.ambiguous:
        return  # the row is refused, and what it would do is not settled
    if stage is Stage.LEGACY:
        own = next((each.route for each in _answers(row) if _is_own(row, each)), None)
        if own is not None and not row.is_websocket:
            yield f"stays at legacy although the new app has {own.path}", "set it to shadow to compare both"
        return
    for answer in _answers(row):
        if answer.hidden is not None:
            yield (
                f"the new app asks {answer.route.path} before {answer.hidden.path}, so that it answers",
                f"register {answer.hidden.path} earlier in the new app",
            )
        if answer.rival is not None:
            yield (
                f"the new app asks {answer.rival.path} before {answer.route.path}, which takes some "
                "of the row's requests",
                f"register {answer.route.path} earlier in the new app",
            )
        if answer.hidden is None and _is_own(row, answer):
            yield from _about_converters(row, answer)
    if row.is_websocket:
        return
    yield from _about_slashes(rows, row)
    yield from _about_order(rows, row)
    if stage in (Stage.SHADOW, Stage.CANARY) and rows.legacy.is_known and not rows.is_known_to_legacy(row):
        yield (
            f"the legacy app has no such route: at {stage} it answers with its 404",
            "set the stage to new, or to legacy",
        )


def _answers(row: Row) -> list[Answer]:
    """Return a row's answers, each once: methods often share one."""
    unique = {(id(each.route), id(each.hidden), id(each.rival)): each for each in row.answers.values()}
    return list(unique.values())


def _is_own(row: Row, answer: Answer) -> bool:
    """Tell whether an answer was written for the row's paths, rather than being a mount or a catch-all."""
    if answer.template is None or row.target is None or answer.route.kind == "mount":
        return False
    return answer.template.shape == row.target.shape


def _about_converters(row: Row, answer: Answer) -> Iterator[tuple[str, str]]:
    """Compare what the row gives to new with what new takes, and with what legacy took."""
    assert row.target is not None and answer.template is not None  # noqa: S101, PT018 - _is_own said so
    for mine, theirs in zip(row.target.parameters, answer.template.parameters, strict=True):
        if not converters.covers(theirs.converter, mine.converter):
            word = spell_converter(mine.converter) or "str"
            yield (
                f"the row takes every {word} as {{{mine.name}}}, "
                f"the new app's {answer.route.path} does not: the rest gets its 404",
                f"widen {{{theirs.name}}} in the new app",
            )
    names = row.template.names
    for rule in row.claim.rules:
        for name, mine, theirs in zip(names, row.template.parameters, rule.template.parameters, strict=True):
            if not converters.covers(theirs.converter, mine.converter):
                word = spell_converter(theirs.converter) or "str"
                yield (
                    f"the legacy app's {rule.rule.rule} answers 404 to some texts that this row gives to new",
                    f"write {{{name}:{word}}} to keep its answer, if clients may rely on it",
                )


def _about_slashes(rows: Rows, row: Row) -> Iterator[tuple[str, str]]:
    path = row.spec.path
    twin = path[:-1] if path.endswith("/") else path + "/"
    for rule in row.claim.rules:
        if not rule.rule.is_strict_slashes and path != "/":
            redirects = "redirects one of them" if rows.new.redirects_slashes else "has only one of them"
            yield (
                f"the legacy app serves {path} and {twin} alike, the new app {redirects}",
                f"give the new app a route for {twin}, too",
            )
            return
    shape = row.template.shape
    other = shape[:-1] if shape.endswith("/") else shape + "/"
    if not row.claim.rules and path != "/":
        rule_there = next(
            (each for each in rows.rules_by_shape.get(other, ()) if each.shares(row.methods)), None
        )
        if rule_there is not None:
            yield (
                f"the legacy app's {rule_there.rule.rule} differs by its trailing slash, and stays legacy",
                f"list {twin} with new_path: {path}",
            )


def _about_order(rows: Rows, row: Row) -> Iterator[tuple[str, str]]:
    """Find rules that Flask would have asked before the row's own, but the table asks after it."""
    for rule in row.claim.equal:
        for template, rival in rows.rule_index.overlapping(row.template):
            if rival in row.claim.rules or not rival.shares(row.methods):
                continue
            if _is_before_in_flask(rival, rule) and _is_before_in_table(row.template, template):
                yield (
                    f"the legacy app asks {rival.rule.rule} before {rule.rule.rule}; this row turns them "
                    "round, so that some requests change who answers",
                    f"register {rule.rule.rule} before it in the legacy app, or leave this row at legacy",
                )
                return


def _is_before_in_flask(one: Claimable, other: Claimable) -> bool:
    for this, that in zip(one.template.parts, other.template.parts, strict=False):
        is_static, is_other_static = this.kind is Kind.LITERAL, that.kind is Kind.LITERAL
        if is_static and is_other_static:
            continue
        if is_static != is_other_static:
            return is_static
        if this.weighting != that.weighting:
            return this.weighting < that.weighting
        if this.pattern != that.pattern:
            return one.rule.index < other.rule.index
    return False


def _is_before_in_table(one: Template, other: Template) -> bool:
    """Tell whether ``one`` is more specific by its kinds alone, at the first part where both differ."""
    for this, that in zip(one.parts, other.parts, strict=False):
        if this.kind != that.kind:
            return this.kind < that.kind
        if this.pattern != that.pattern:
            return False
    return False


def _expiring(rows: Rows, row: Row, today: date) -> Iterator[Problem]:
    for rule in row.spec.compare:
        if rule.until is None or not today <= rule.until <= today + _SOON:
            continue
        days = (rule.until - today).days
        when = {0: "today", 1: "tomorrow"}.get(days, f"in {days} days")
        message = f"the waiver for {rule.at} ({rule.reason}) expires {when}, on {rule.until}"
        yield _warning(
            rows,
            rule.line or row.spec.line,
            row.spec.written or row.spec.key,
            message,
            "mend the difference, or accept it again with a later date",
        )


def _unlisted(rows: Rows) -> Iterator[Problem]:
    """Name the new app's routes that no row reaches."""
    reached: dict[int, set[str]] = {}
    for row in rows.rows:
        for method, answer in row.answers.items():
            # A hidden route is listed, too; that an earlier one answers in its stead is a warning of its own.
            for route in (answer.route, answer.hidden):
                if route is not None:
                    methods = reached.setdefault(route.index, set())
                    methods.update((route.methods or ()) if row.methods is None else (method,))
    lines: list[str] = []
    for route in rows.new.routes:
        if not route.is_in_schema or route.kind not in ("route", "websocket", "mount"):
            continue
        missing = _missing(route, reached.get(route.index))
        if missing:
            lines.append(_line_for(rows, route, missing))
    for line in lines[:_UNLISTED_LIMIT]:
        path = line.rpartition(":")[0]
        yield _warning(rows, 0, path, "no row lists this route of the new app", f"add {line}")
    if len(lines) > _UNLISTED_LIMIT:
        more = len(lines) - _UNLISTED_LIMIT
        yield _warning(
            rows, 0, "", f"{more} more routes of the new app are in no row", "list them as they are needed"
        )


def _missing(route: NewRoute, reached: set[str] | None) -> str:
    if route.kind == "mount":
        return "" if reached is not None else "ANY"
    if route.kind == "websocket":
        return "" if reached is not None else "WS"
    if route.methods is None:
        return "" if reached is not None else "ANY"
    own = route.methods - {"HEAD"} if "GET" in route.methods else route.methods
    return ",".join(sorted(own - (reached or set())))


def _line_for(rows: Rows, route: NewRoute, methods: str) -> str:
    path = route.path + ("/{path:path}" if route.kind == "mount" else "")
    template = (rows.websockets if route.kind == "websocket" else rows.http).templates[route.index]
    is_known = not rows.legacy.is_known or bool(rows.rules_by_shape.get(template.shape))
    return f"{methods} {path}: {'shadow' if is_known and route.kind == 'route' else 'new'}"


def _unseen(rows: Rows) -> Iterator[Problem]:
    """Say what it means that the rules of a legacy app elsewhere cannot be seen."""
    legacy = rows.spec.legacy
    if not rows.legacy.is_known and legacy.kind in ("url", "command") and legacy.rules is None:
        yield _warning(
            rows,
            legacy.line,
            "backends.legacy",
            "the legacy app's rules cannot be seen, so a row may take what another rule answers",
            "save the output of `flask routes` to a file and name it: rules: FILE",
        )


def _unrehearsed(rows: Rows) -> Iterator[Problem]:
    """Say where nothing can be rehearsed, for new runs elsewhere."""
    if rows.spec.new.kind not in ("url", "command"):
        return
    for row in rows.rows:
        if row.spec.writes == "rehearse" and row.spec.sample_bp and row.spec.safe is not True:
            yield _warning(
                rows,
                row.spec.line,
                row.spec.written,
                "writes: rehearse compares nothing: what new does elsewhere cannot be undone from here",
                "write new as asgi: MODULE:APP in this process, or writes: skip",
            )


def _hidden_by_gateway(rows: Rows) -> Iterator[Problem]:
    """Name legacy rules whose paths the gateway answers itself."""
    server = rows.spec.server
    prefix = parse_template(f"{server.prefix.rstrip('/')}/{{rest:path}}")
    for rule in rows.rules:
        first = rule.template.parts[0]
        is_catch_all = first.is_final and len(first.pieces) == 1
        is_below = first.kind is Kind.LITERAL and first.literal == prefix.parts[0].literal
        if (is_catch_all or is_below) and overlaps(rule.template, prefix):
            yield _warning(
                rows,
                0,
                rule.rule.rule,
                f"the legacy app never sees what this rule takes below {server.prefix}: those paths are "
                "the gateway's own",
                "set server.prefix to something that the legacy app does not use, if it needs them",
            )
    for key, path in (("server.docs", server.docs), ("server.openapi", server.openapi)):
        for rule in rows.rules:
            if path is not None and rule.template.is_literal and rule.template.text == path:
                yield _warning(
                    rows,
                    0,
                    key,
                    f"{path} is a rule of the legacy app, too, which goes on answering it",
                    f"set {key} to another path, or to off",
                )
