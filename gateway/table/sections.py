"""Turn the sections of the file apart from its rows into values: backends, server, events, compare, store.

Here stand the rules that need several keys at once, and the one place where the environment is read:
``${NAME}`` in a secret or a URL becomes that variable, and a missing one is a problem that names it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal, cast

from gateway.table.grammar import check_url
from gateway.table.spec import BackendSpec, CompareSpec, ServerSpec, Webhook, has_signing_key
from gateway.table.spelling import Wrong, listed, shown
from gateway.table.translation import Understood, problem_at
from gateway.table.values import ENV_NAME

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.errors import Problem
    from gateway.table.models import BackendModel
    from gateway.table.source import Place, Source

KINDS = ("wsgi", "asgi", "url", "command")
_ONLY_OF: Mapping[str, tuple[str, ...]] = {
    "threads": ("wsgi",),
    "queue": ("wsgi",),
    "bridge": ("wsgi",),
    "rules": ("url", "command"),
    "pool": ("url", "command"),
    "connect_timeout": ("url", "command"),
}
"""The keys that mean something for some kinds of backend only."""

_STORES = ("sqlite", "postgresql")
_SHARED = ("redis", "rediss", "unix")


class Sections:
    """Read one file's sections, collecting problems. ``environ`` None leaves ``${NAME}`` as it stands."""

    def __init__(self, source: Source, understood: Understood, environ: Mapping[str, str] | None) -> None:
        self.source = source
        self.understood = understood
        self.file = understood.file
        self.environ = environ
        self.problems: list[Problem] = []

    def check_presence(self) -> None:
        """Report the keys that every file needs."""
        data = self.source.data or {}
        for key, repair in (
            ("version", "write version: 1"),
            ("backends", "write backends with legacy and new below"),
            ("routes", "write routes: {} when there are no rows yet"),
        ):
            if key not in data and (key,) not in self.source.broken:
                self.problems.append(problem_at(self.source, (), f"{key} is missing", repair))

    def backend(self, name: Literal["legacy", "new"]) -> BackendSpec | None:
        """Return how a backend is reached, or None where that cannot be told."""
        place: Place = ("backends", name)
        backends = self.file.backends
        model = getattr(backends, name) if backends is not None else None
        if model is None:
            is_told = self.understood.has_left_out(place) or ("backends",) in self.understood.left_out
            if "backends" in (self.source.data or {}) and not is_told and place not in self.source.broken:
                example = "wsgi: package.module:app" if name == "legacy" else "asgi: package.module:app"
                self._problem(place, f"the backend {name} is missing", f"write {name}: {{{example}}}")
            return None
        kinds = [kind for kind in KINDS if getattr(model, kind) is not None]
        has_failed = any((*place, kind) in self.understood.left_out for kind in KINDS)
        if len(kinds) != 1:
            if len(kinds) > 1:
                self._problem(
                    (*place, kinds[1]), f"{listed(kinds, 'and')} exclude each other", "keep one of them"
                )
            elif not has_failed:
                self._problem(place, f"says nowhere how {name} is reached", f"write {listed(KINDS)}")
            return None
        if not has_failed:
            self._check_kind(model, kinds[0], name)
        return _backend_spec(model, kinds[0], name, self.source.line(place))

    def _check_kind(self, model: BackendModel, kind: str, name: str) -> None:
        for key, kinds in _ONLY_OF.items():
            if getattr(model, key) is None:
                continue
            place = ("backends", name, key)
            if kind not in kinds:
                self._problem(place, f"{key} means nothing for {kind}", f"remove it, or use {listed(kinds)}")
            elif key == "rules" and name == "new":
                self._problem(place, "rules are those of legacy", "move it under backends.legacy")

    def server(self) -> ServerSpec:
        """Return the gateway's public behaviour."""
        model, defaults = self.file.server, self.file.defaults
        shape = model.error_shape or defaults.error_shape or ("problem", "error")
        if model.error_shape and defaults.error_shape and model.error_shape != defaults.error_shape:
            message = "error_shape differs from server.error_shape, which wins"
            self._problem(("defaults", "error_shape"), message, "keep the one under server")
        if model.docs is not None and model.docs == model.openapi:
            self._problem(
                ("server", "openapi"), f"openapi and docs are both {model.docs}", "change one of them"
            )
        proxies = model.trusted_proxies
        token = model.override_token
        return ServerSpec(
            trusted_proxies=None if proxies is None else tuple(proxies),
            is_exposed=model.expose,
            prefix=model.prefix,
            docs=model.docs,
            openapi=model.openapi,
            error_shape=shape[0],
            error_key=shape[1],
            override_token=None if token is None else self._fill(token, ("server", "override_token")),
        )

    def events(self) -> tuple[Webhook, ...]:
        """Return the receivers of events."""
        found = []
        for index, model in enumerate(self.file.events or ()):
            place: Place = ("events", index)
            url = self._url(model.url, (*place, "url"), ("http", "https"))
            secret = None if model.secret is None else self._fill(model.secret, (*place, "secret"))
            if url is not None:
                found.append(Webhook(url, secret))
            if secret is not None and "${" not in secret and not has_signing_key(secret):
                repair = "write whsec_ and the base64 of the key, or a text that begins otherwise"
                self._problem((*place, "secret"), "the secret has no base64 after whsec_", repair)
        return tuple(found)

    def store(self) -> str | None:
        """Return the SQLAlchemy URL of the state, or None for the default."""
        if self.file.store is None:
            return None
        url = self._fill(self.file.store, ("store",))
        if url is None or (self.environ is None and "${" in url):
            return url
        scheme = url.partition("://")[0].partition("+")[0]
        if "://" not in url or scheme not in _STORES:
            repair = "write sqlite:///FILE or postgresql://HOST/NAME"
            if scheme == "postgres":
                repair = "write postgresql:// instead of postgres://"
            self._problem(("store",), "store is no URL of SQLite or PostgreSQL", repair)
            return None
        return url

    def shared(self) -> str | None:
        """Return the Redis URL, or None."""
        return None if self.file.shared is None else self._url(self.file.shared, ("shared",), _SHARED)

    def compare(self) -> CompareSpec:
        """Return the table-wide settings of comparison."""
        model, default = self.file.compare, CompareSpec()
        body = model.body_cap or default.body_cap_bytes
        memory = model.memory_cap or default.memory_cap_bytes
        if body > memory:
            key = "body_cap" if model.body_cap else "memory_cap"
            self._problem(
                ("compare", key), "body_cap is above memory_cap", "nothing could be captured: lower it"
            )
        identity = default.identity_keys if model.identity_keys is None else tuple(model.identity_keys)
        return CompareSpec(tuple(model.redact or ()), identity, body, memory)

    def _url(self, written: str, place: Place, schemes: tuple[str, ...]) -> str | None:
        url = self._fill(written, place)
        if url is None or (self.environ is None and "${" in url):
            return url
        if url.startswith("unix://") and "unix" in schemes:
            return url
        try:
            return check_url(url, schemes)
        except Wrong:  # its words would show what may hold a password
            ends = f"write {schemes[0]}://HOST"
            self._problem(place, f"{place[-1]} is no URL of {listed(schemes)}", ends)
            return None

    def _fill(self, written: str, place: Place) -> str | None:
        """Put the environment's values for ``${NAME}``; None where one is missing."""
        environ = self.environ
        if environ is None:
            return written
        missing = False
        for name in dict.fromkeys(re.findall(ENV_NAME, written)):
            if not environ.get(name):
                missing = True
                state = "is empty" if name in environ else "is not set"
                message = f"the environment variable {name} {state}"
                self._problem(place, message, f"set {name} before the gateway starts")
        if missing:
            return None
        filled = re.sub(ENV_NAME, lambda match: environ[match[1]], written)
        if "${" in written and not re.search(ENV_NAME, written):
            self._problem(
                place, f"{shown(place[-1])} has a ${{ that names no variable", "write it like ${NAME}"
            )
            return None
        return filled

    def _problem(self, place: Place, message: str, repair: str) -> None:
        self.problems.append(problem_at(self.source, place, message, repair))


def _backend_spec(model: BackendModel, kind: str, name: Literal["legacy", "new"], line: int) -> BackendSpec:
    default = BackendSpec(name, "wsgi")
    return BackendSpec(
        name=name,
        kind=cast("Literal['wsgi', 'asgi', 'url', 'command']", kind),
        target="" if kind == "command" else getattr(model, kind),
        argv=model.command or (),
        threads=model.threads or default.threads,
        queue=default.queue if model.queue is None else model.queue,
        bridge=cast("Literal['gateway', 'a2wsgi']", model.bridge or default.bridge),
        rules=model.rules,
        root_path=model.root_path,
        pool=model.pool or default.pool,
        connect_timeout_s=model.connect_timeout or default.connect_timeout_s,
        line=line,
    )
