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

    In a revision without the file every row is another one. Raises :class:`SelectionError` when git does not
    know the revision, or the table could not be read in it.
    """
    text = _at_revision(path, revision)
    old: dict[str, RouteSpec] = {}
    has_other_terms = text is None
    how = f"rows changed since {revision}"
    if text is None:
        how += f", which had no {path.name}"
    else:
        before = parse_table(text, source=f"{revision}:{path.name}", environ=None)
        if before.spec is None:
            raise SelectionError(f"--changed-since {revision}: the table was unreadable then")
        old = {row.key: row for row in before.spec.routes}
        has_other_terms = before.spec.compare != snapshot.spec.compare

    def is_changed(route: Route) -> bool:
        if not route.is_listed or route.spec.stage is Stage.LEGACY:
            return False
        return has_other_terms or route.key not in old or _words(old[route.key]) != _words(route.spec)

    return _selection(snapshot, is_changed, how)


def _words(spec: RouteSpec) -> tuple[object, ...]:
    values = []
    for name in spec.__slots__:
        value = getattr(spec, name)
        if name == "compare":
            value = tuple((rule.at, rule.rule, rule.by, rule.regex, rule.until) for rule in value)
        if name not in _WHERE_IT_STANDS:
            values.append(value)
    return tuple(values)


def _at_revision(path: Path, revision: str) -> bytes | None:
    """Return the file as it was in a revision; None where the revision has no such file."""
    if not revision.strip() or revision.startswith("-"):
        raise SelectionError(f"--changed-since {revision!r}: that is no revision")
    commit = _git(path.parent, "rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}")
    if commit.returncode:
        words = commit.stderr.decode("utf-8", "replace").strip().removeprefix("fatal: ").splitlines()
        why = (
            words[0]
            if words
            else (
                "git knows no such commit; after a shallow clone fetch the history first (actions/checkout: "
                "fetch-depth: 0)"
            )
        )
        raise SelectionError(f"--changed-since {revision}: {why}")
    found = _git(path.parent, "show", f"{commit.stdout.decode('ascii').strip()}:./{path.name}")
    return None if found.returncode else found.stdout


def _git(folder: Path, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    try:
        return subprocess.run(  # noqa: S603 - a revision is one argument, and never an option
            ["git", *arguments],  # noqa: S607 - git is found on the path, as everywhere
            cwd=folder,
            capture_output=True,
            check=False,
        )
    except OSError as exc:
        raise SelectionError(f"--changed-since needs git: {exc.strerror}") from exc


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
