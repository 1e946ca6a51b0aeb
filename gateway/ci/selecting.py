"""Choose the rows that a verdict is about."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

from gateway.ci.results import Selection
from gateway.errors import GatewayError
from gateway.table.read import parse_table
from gateway.table.spec import Stage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from gateway.table.route import Route, Snapshot
    from gateway.table.spec import RouteSpec

COMPARED_STAGES = frozenset({Stage.SHADOW, Stage.CANARY, Stage.NEW})
_WHERE_IT_STANDS = frozenset({"line", "written", "note", "owner", "ticket"})


class SelectionError(GatewayError):
    """Report a selection that makes no sense."""


def select_by_stage(snapshot: Snapshot) -> Selection:
    """Return the rows on their way: shadow, canary, new."""
    return _selection(
        snapshot, lambda route: route.spec.stage in COMPARED_STAGES, "rows at shadow, canary and new"
    )


def select_all(snapshot: Snapshot) -> Selection:
    """Return every row that both apps can answer."""
    return _selection(snapshot, lambda route: True, "all rows")


def select_rows(snapshot: Snapshot, keys: Iterable[str]) -> Selection:
    """Return the rows with these keys."""
    wanted = set(keys)
    how = ", ".join(sorted(wanted))
    return _selection(snapshot, lambda route: route.key in wanted, how, is_named=True)


def select_changed(snapshot: Snapshot, path: Path, revision: str) -> Selection:
    """Return the rows whose words (stage, weight, rules, …) are others than in ``revision`` of the file.

    Raises :class:`SelectionError` when git does not know the revision, or the file in it.
    """
    before = parse_table(_at_revision(path, revision), source=f"{revision}:{path.name}", environ=None)
    if before.spec is None:
        raise SelectionError(f"--changed-since {revision}: the table was unreadable then")
    old = {row.key: row for row in before.spec.routes}
    has_other_terms = before.spec.compare != snapshot.spec.compare

    def is_changed(route: Route) -> bool:
        if not route.is_listed or route.spec.stage is Stage.LEGACY:
            return False
        return has_other_terms or route.key not in old or _words(old[route.key]) != _words(route.spec)

    return _selection(snapshot, is_changed, f"rows changed since {revision}")


def _words(spec: RouteSpec) -> tuple[object, ...]:
    values = []
    for name in spec.__slots__:
        value = getattr(spec, name)
        if name == "compare":
            value = tuple((rule.at, rule.rule, rule.by, rule.regex, rule.until) for rule in value)
        if name not in _WHERE_IT_STANDS:
            values.append(value)
    return tuple(values)


def _at_revision(path: Path, revision: str) -> bytes:
    if revision.startswith("-"):
        raise SelectionError(f"--changed-since {revision}: that is no revision")
    try:
        found = subprocess.run(  # noqa: S603 - a revision is one argument, and never an option
            ["git", "show", f"{revision}:./{path.name}"],  # noqa: S607 - git is found on the path, as everywhere
            cwd=path.parent,
            capture_output=True,
            check=False,
        )
    except OSError as exc:
        raise SelectionError(f"--changed-since needs git: {exc.strerror}") from exc
    if found.returncode:
        words = found.stderr.decode("utf-8", "replace").strip().splitlines()
        raise SelectionError(f"--changed-since {revision}: {words[0] if words else 'git show failed'}")
    return found.stdout


def _selection(
    snapshot: Snapshot, is_wanted: Callable[[Route], bool], how: str, *, is_named: bool = False
) -> Selection:
    routes: list[Route] = []
    left_out: list[tuple[str, str]] = []
    for route in snapshot.routes:
        if not is_wanted(route):
            continue
        if route.is_websocket:
            left_out.append((route.key, "websockets are not compared"))
        elif not sees_new(snapshot) and route.spec.stage is Stage.LEGACY and not is_named:
            left_out.append((route.key, "whether new has it cannot be seen, and --route does not name it"))
        elif sees_new(snapshot) and not is_answered_by_new(route):
            left_out.append((route.key, "only legacy has it"))
        elif not route.legacy_rules and sees_legacy(snapshot):
            left_out.append((route.key, "only new has it"))
        else:
            routes.append(route)
    return Selection(tuple(routes), how, tuple(left_out))


def sees_legacy(snapshot: Snapshot) -> bool:
    """Tell whether any rule of legacy could be seen: not those of a URL without ``rules``."""
    return any(route.legacy_rules for route in snapshot.routes)


def sees_new(snapshot: Snapshot) -> bool:
    """Tell whether any route of new could be seen: not those of a URL or a command."""
    return any(route.new_route is not None for route in snapshot.routes)


def is_answered_by_new(route: Route) -> bool:
    """Tell whether new has something to answer a row with, where its routes can be seen."""
    return route.new_route is not None or (route.is_listed and not route.legacy_rules)


def answered_by_new(snapshot: Snapshot, selection: Selection) -> frozenset[str]:
    """Return the ids of the rows that the candidate answers with new; the others are legacy's on both sides.

    Where new's routes cannot be seen, the table is believed: new has what is on its way, and what was named.
    """
    if sees_new(snapshot):
        return frozenset(route.id for route in snapshot.routes if is_answered_by_new(route))
    return frozenset(
        route.id
        for route in snapshot.routes
        if route.is_listed and (route.spec.stage is not Stage.LEGACY or selection.has(route))
    )
