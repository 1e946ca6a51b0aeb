"""Follow one request through the table, without sending it: guard, match, decision, comparison.

Each step is the serving one itself (:mod:`gateway.serving`), so that what is explained is what happens.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import unquote_to_bytes

from gateway.cli.endpoints import knows_legacy, percent, unlisted_endpoints
from gateway.cli.standing import at_its_place
from gateway.compat import SessionReader
from gateway.errors import RequestRefused
from gateway.rollout.positions import own_step, step_name
from gateway.serving.decide import decide, overridden
from gateway.serving.guard import Guard
from gateway.serving.paths import canonicalise
from gateway.table.spec import Stage
from gateway.table.template import Kind, TemplateError, parse_template

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from gateway.loading import Migration
    from gateway.rollout.positions import Position
    from gateway.table.route import Route, Snapshot
    from gateway.table.template import Part

_KINDS = {
    Kind.LITERAL: "the literal",
    Kind.MIXED: "text with a parameter,",
    Kind.TYPED: "the typed parameter",
    Kind.PLAIN: "the plain parameter",
    Kind.PATH: "the path parameter",
}


@dataclass(frozen=True, slots=True)
class Explanation:
    """Say what becomes of one request.

    ``backend`` is who would answer (``legacy``, ``new`` or ``gateway``), ``why`` the decision in words;
    ``route`` is the row that matched, as it is served; ``file_stage`` what the file says of its stage where
    it stands elsewhere; ``over`` why it came before the other rows that take the path.
    """

    method: str
    path: str
    backend: str
    why: str
    route: Route | None = None
    file_stage: str = ""
    over: tuple[str, ...] = ()
    compared: str = "never"
    parameters: tuple[tuple[str, str], ...] = ()


def explain(
    migration: Migration,
    snapshot: Snapshot,
    method: str,
    target: str,
    headers: Sequence[tuple[str, str]],
    positions: Mapping[str, Position],
) -> Explanation:
    """Return what the gateway would do with ``method target`` (a path, with a query if there is one).

    ``positions`` are where rows stand, by route id.
    """
    scope = _scope(method, target, headers)
    path: str = scope["path"]
    try:
        screened = Guard(snapshot.spec.server.trusted_proxies).screen(scope)
        if method == "WS":
            return _explain_websocket(migration, snapshot, path)
        route = snapshot.matcher.match(method, path)
        if route is None:
            return _explain_unmatched(migration, snapshot, method, path)
        written, route = route, at_its_place(route, positions)
        reader = SessionReader(migration.apps.legacy if migration.apps else None)
        decision = decide(route, scope, salt=snapshot.spec.salt, read_session=reader.read)
        backend, why = str(decision.backend), decision.reason
        choice = overridden(screened.override, screened.token, snapshot.spec.server.override_token)
        if choice is not None:
            backend, why = choice, "a tester's override asks for it"
        if not route.is_listed:
            why = "the table does not list it, and what is not listed is legacy's"
        if backend == "new":
            canonicalise(scope, allow_encoded_slash=route.spec.allow_encoded_slash)
    except RequestRefused as refusal:
        return Explanation(method, path, "gateway", f"{refusal.status}: {refusal.detail}")
    return Explanation(
        method,
        path,
        backend,
        why,
        route,
        "" if route.spec == written.spec else step_name(own_step(written.spec)),
        tuple(_over(written, snapshot.matcher.routes_at(path), method)),
        compared(route, method),
        tuple(route.template.params(path).items()),
    )


def _scope(method: str, target: str, headers: Sequence[tuple[str, str]]) -> dict[str, Any]:
    raw, _, query = target.partition("?")
    given = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers]
    if all(name != b"host" for name, _ in given):
        given.append((b"host", b"localhost"))
    return {
        "type": "websocket" if method == "WS" else "http",
        "http_version": "1.1",
        "method": method,
        "path": unquote_to_bytes(raw).decode("utf-8", "replace"),
        "raw_path": raw.encode(),
        "query_string": query.encode(),
        "headers": given,
        "client": ("127.0.0.1", 0),
        "scheme": "http",
    }


def _explain_websocket(migration: Migration, snapshot: Snapshot, path: str) -> Explanation:
    route = snapshot.websocket_matcher.match("WS", path)
    if route is None:
        why = "no WS row lists this path, and legacy speaks no websocket"
        return Explanation("WS", path, "gateway", why + _missing_row(migration, snapshot, "WS", path))
    return Explanation("WS", path, "new", "only new serves websockets", route)


def _explain_unmatched(migration: Migration, snapshot: Snapshot, method: str, path: str) -> Explanation:
    others = snapshot.matcher.routes_at(path)
    is_known = knows_legacy(migration)
    if not others:
        takers = "no row and no legacy rule takes" if is_known else "no row takes"
        why = f"{takers} this path, so legacy answers{' with its own 404' if is_known else ''}"
        return Explanation(method, path, "legacy", why + _missing_row(migration, snapshot, method, path))
    known = (
        any(route.legacy_rules for route in others)
        if is_known
        else any(route.spec.stage is not Stage.RETIRED for route in others)
    )
    listed = ", ".join(sorted({route.key for route in others}))
    if known:
        why = f"the path is known for other methods ({listed}): legacy answers as before"
        return Explanation(method, path, "legacy", why)
    why = f"only new knows this path, for other methods ({listed}): it answers for them"
    return Explanation(method, path, "new", why)


def _missing_row(migration: Migration, snapshot: Snapshot, method: str, path: str) -> str:
    """Say which row would give the request to new, where new could answer and no row lets it."""
    for endpoint in unlisted_endpoints(migration, snapshot):
        try:
            is_taken = method in endpoint.methods and parse_template(endpoint.path).matches(path)
        except TemplateError:
            continue
        if is_taken:
            stage = "new" if method == "WS" or knows_legacy(migration) else "shadow"
            return f"; the new app has it, and is asked once a row says {method} {endpoint.path}: {stage}"
    return ""


def compared(route: Route, method: str) -> str:
    """Say which share of a row's requests is compared, and why not where none is."""
    spec = route.spec
    if spec.stage in (Stage.LEGACY, Stage.RETIRED):
        return f"never: at {spec.stage} only one side is asked"
    if not spec.sample_bp:
        return "never: its sample is 0%"
    if not route.is_safe(method) and spec.writes != "rehearse":
        return f"never: {method} may write, and the row neither says `safe: true` nor `writes: rehearse`"
    if not route.is_compared(method):
        return f"never: at {spec.stage} new has made the write when legacy could be asked"
    how = "" if route.is_safe(method) else ", in a rehearsal on new before legacy answers"
    return f"{percent(spec.sample_bp)} of its requests{how}"


def _over(winner: Route, others: Sequence[Route], method: str) -> list[str]:
    """Say, for each other row that takes the path, why it does not get the request."""
    lines = []
    for other in others:
        if other is winner:
            continue
        if other.methods is not None and method not in other.methods:
            reason = f"is not for {method}"
        else:
            reason = _less_specific(winner, other)
        line = f"{other.key} {reason}"
        if line not in lines:
            lines.append(line)
    return lines


def _less_specific(winner: Route, other: Route) -> str:
    for mine, theirs in zip(winner.template.parts, other.template.parts, strict=False):
        if mine.kind is not theirs.kind:
            return f"is less specific: {_worded(mine)} comes before {_worded(theirs)}"
    if winner.methods is not None and other.methods is None:
        return "takes ANY method, and a row that names the method comes first"
    if winner.is_listed and not other.is_listed:
        return "is implicit, and a listed row comes first"
    return "comes later"


def _worded(part: Part) -> str:
    pieces = (piece if isinstance(piece, str) else f"{{{piece.name}}}" for piece in part.pieces)
    return f"{_KINDS[part.kind]} {''.join(pieces)}"
