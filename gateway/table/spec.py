"""Hold what ``routing.yaml`` says, as frozen values: one :class:`TableSpec`, one :class:`RouteSpec` a row.

These are the table *as written*, validated and with defaults filled in, but not yet held against
the two apps; :mod:`gateway.table.compile` does that. Units stand in names: ``_s`` seconds,
``_bytes`` bytes, ``_bp`` basis points (hundredths of a percent, 0-10,000).
"""

from __future__ import annotations

import base64
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from datetime import date
    from ipaddress import IPv4Network, IPv6Network

ANY_METHOD = "ANY"
"""The method word that claims every method no other row of the same path lists."""

WEBSOCKET = "WS"
"""The method word of a websocket row."""


class Stage(StrEnum):
    """Say where one route is on its way from legacy to new."""

    LEGACY = "legacy"
    SHADOW = "shadow"
    CANARY = "canary"
    NEW = "new"
    RETIRED = "retired"


KeyKind = Literal["session", "jwt", "header", "cookie", "query", "path", "client"]


@dataclass(frozen=True, slots=True)
class KeySource:
    """Name one place of a request that can identify a caller, such as ``header:authorization``.

    ``name`` is empty for ``client`` (the caller's address); header names are lower-case.
    """

    kind: KeyKind
    name: str = ""

    def __str__(self) -> str:
        return f"{self.kind}:{self.name}" if self.name else self.kind


@dataclass(frozen=True, slots=True)
class Pin:
    """Match callers whose ``source`` equals ``value``."""

    source: KeySource
    value: str


@dataclass(frozen=True, slots=True)
class Pins:
    """List the callers that always get one side; ``legacy`` is looked at first (the way back)."""

    new: tuple[Pin, ...] = ()
    legacy: tuple[Pin, ...] = ()


@dataclass(frozen=True, slots=True)
class RateLimit:
    """Allow ``amount`` requests per ``multiples`` × ``unit`` (second, minute, hour or day)."""

    amount: int
    multiples: int
    unit: Literal["second", "minute", "hour", "day"]

    def __str__(self) -> str:
        return f"{self.amount}/{self.multiples if self.multiples != 1 else ''}{self.unit}"


RuleName = Literal["ignore", "ignore_presence", "unordered", "tolerance", "instant", "matches", "map"]


@dataclass(frozen=True, slots=True)
class CompareRule:
    """Accept one kind of difference at one place, with a reason and (mostly) an expiry date."""

    at: str
    rule: RuleName
    reason: str
    until: date | None = None
    ticket: str | None = None
    by: float | None = None
    regex: str | None = None
    line: int = 0


@dataclass(frozen=True, slots=True)
class RolloutStep:
    """Be one rung of an automatic rollout: a stage, with its weight when it is canary."""

    stage: Stage
    weight_bp: int = 0


@dataclass(frozen=True, slots=True)
class Rollout:
    """Say how a row moves by itself. ``mismatch_budget`` and the alphas are fractions (0.001 is 0.1%)."""

    steps: tuple[RolloutStep, ...]
    mismatch_budget: float = 0.001
    min_requests: int = 500
    min_time_s: float = 600.0
    on_fail: Stage = Stage.SHADOW
    alpha_promote: float = 0.05
    alpha_rollback: float = 0.01


DEFAULT_STICKY = (
    KeySource("session", "_user_id"),
    KeySource("jwt", "sub"),
    KeySource("header", "authorization"),
    KeySource("client"),
)


@dataclass(frozen=True, slots=True)
class RouteSpec:
    """Be one row as written, with ``defaults`` applied.

    ``key`` is the row's canonical key (``GET,POST /reports/{name}.csv``: methods upper-case, sorted,
    path in the table's own spelling), ``written`` the key as it stands in the file, ``line`` where.
    ``safe`` is None when the row does not say (then GET and HEAD are safe). ``sample_bp`` is the share that
    is compared at the row's stage, ``written_sample_bp`` what the file says of it (None: nothing).
    """

    key: str
    written: str
    line: int
    methods: tuple[str, ...]
    path: str
    stage: Stage = Stage.LEGACY
    weight_bp: int = 0
    sample_bp: int = 0
    written_sample_bp: int | None = None
    sticky: tuple[KeySource, ...] = DEFAULT_STICKY
    group: str | None = None
    pins: Pins = Pins()
    timeout_s: float = 30.0
    has_fallback: bool = False
    safe: bool | None = None
    writes: Literal["skip", "rehearse"] = "skip"
    new_path: str | None = None
    rate_limits: tuple[RateLimit, ...] = ()
    rate_key: tuple[KeySource, ...] = (KeySource("client"),)
    body_limit_bytes: int | None = None
    allow_encoded_slash: bool = False
    rollout: Rollout | None = None
    compare: tuple[CompareRule, ...] = ()
    equivalences: frozenset[str] = frozenset()
    owner: str | None = None
    ticket: str | None = None
    note: str | None = None

    @property
    def may_reach_new(self) -> bool:
        """Tell whether new may be asked for the row: by its stage, its pins, or as its rollout moves on."""
        return self.stage is not Stage.LEGACY or bool(self.pins.new) or self.rollout is not None

    def at(self, step: RolloutStep) -> RouteSpec:
        """Return the row as if the file put it on ``step``; what else it says stays."""
        return replace(
            self,
            stage=step.stage,
            weight_bp=step.weight_bp if step.stage is Stage.CANARY else 0,
            sample_bp=sample_at(step.stage, self.written_sample_bp),
        )


_SAMPLE_BP = {Stage.SHADOW: 10_000, Stage.CANARY: 1_000, Stage.NEW: 0}
"""The share of requests that is compared where nobody says; other stages compare nothing."""


def sample_at(stage: Stage, written_bp: int | None) -> int:
    """Return the share of requests that is compared at ``stage``, in basis points; 0 where nothing is."""
    if stage not in _SAMPLE_BP:
        return 0
    return _SAMPLE_BP[stage] if written_bp is None else written_bp


@dataclass(frozen=True, slots=True)
class BackendSpec:
    """Say how one backend is reached.

    ``kind`` is ``wsgi`` or ``asgi`` (``target`` is an import string), ``url`` (an http(s) URL) or
    ``command`` (``argv`` starts a process; ``{address}`` in it becomes ``HOST:PORT``).
    """

    name: Literal["legacy", "new"]
    kind: Literal["wsgi", "asgi", "url", "command"]
    target: str = ""
    argv: tuple[str, ...] = ()
    threads: int = 16
    queue: int = 128
    bridge: Literal["gateway", "a2wsgi"] = "gateway"
    rules: str | None = None
    root_path: str = ""
    pool: int = 100
    connect_timeout_s: float = 2.0
    line: int = 0


@dataclass(frozen=True, slots=True)
class ServerSpec:
    """Hold the gateway's own public behaviour. ``trusted_proxies`` is None when unset, which trusts nobody.

    ``error_shape`` is ``problem``, ``legacy``, or the key of a one-key JSON object (as ``{key: error}``).
    ``docs`` and ``openapi`` are paths, or None for off.
    """

    trusted_proxies: tuple[IPv4Network | IPv6Network, ...] | None = None
    is_exposed: bool = True
    prefix: str = "/-"
    docs: str | None = "/docs"
    openapi: str | None = "/openapi.json"
    error_shape: Literal["problem", "legacy", "key"] = "problem"
    error_key: str = "error"
    override_token: str | None = None


BASE64_SECRET = "whsec_"  # noqa: S105 -- what a secret begins with, not a secret


@dataclass(frozen=True, slots=True)
class Webhook:
    """Be one receiver of events; ``secret`` signs what is sent."""

    url: str
    secret: str | None = None

    @property
    def signing_key(self) -> bytes | None:
        """Return the key: what follows ``whsec_``, decoded (Standard Webhooks 1.0), or the text as it is."""
        if self.secret is None:
            return None
        if not self.secret.startswith(BASE64_SECRET):
            return self.secret.encode()
        encoded = self.secret.removeprefix(BASE64_SECRET)
        return base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)


def has_signing_key(secret: str) -> bool:
    """Tell whether ``secret`` can be read as a key: a damaged one would sign what nobody can verify."""
    try:
        return bool(Webhook("", secret).signing_key)
    except ValueError:
        return False


@dataclass(frozen=True, slots=True)
class CompareSpec:
    """Hold the table-wide settings of comparison: redacted names, identity keys, caps."""

    redact: tuple[str, ...] = ()
    identity_keys: tuple[str, ...] = ("id", "uuid")
    body_cap_bytes: int = 262_144
    memory_cap_bytes: int = 67_108_864


@dataclass(frozen=True, slots=True)
class TableSpec:
    """Be a whole ``routing.yaml``. ``digest`` is SHA-256 (hex) of its bytes, ``source`` its name in messages.

    ``implicit`` is what a rule of the legacy app gets that no row lists: ``defaults``, at stage legacy.
    """

    source: str
    digest: str
    legacy: BackendSpec
    new: BackendSpec
    routes: tuple[RouteSpec, ...] = ()
    server: ServerSpec = ServerSpec()
    salt: str = "strangler-gateway"
    store: str | None = None
    shared: str | None = None
    shared_line: int = 0
    events: tuple[Webhook, ...] = ()
    compare: CompareSpec = CompareSpec()
    implicit: RouteSpec = RouteSpec("", "", 0, (), "")
